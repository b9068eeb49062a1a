"""CoAtNet: convolution first, relative attention last (Dai et al., arXiv:2106.04803)."""

import torch
from timm.layers import ConvNormAct, Mlp, RelPosBias, SEModule
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from models.head import JetMassClassifier, scaled

HEADS = 8


class MBConv(nn.Module):
    """Inverted bottleneck, four times as wide inside as its input, behind a batch norm.

    Maps (n, inputs, s, s) to (n, outputs, s / stride, s / stride).
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        inner = 4 * inputs
        self.shortcut = _shortcut(inputs, outputs, stride)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs),
            ConvNormAct(inputs, inner, 1, stride, act_layer=nn.GELU),
            ConvNormAct(inner, inner, 3, groups=inner, act_layer=nn.GELU),
            SEModule(inner, rd_channels=max(inputs // 4, 1), bias=False, act_layer=nn.GELU),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.layers(x)


class RelativeAttention(nn.Module):
    """Softmax over j of q_i·k_j/√d + b(i − j), arXiv:2106.04803 eq. 3, over all pixels of a map:
    (n, side², inputs) to (n, side², outputs). All stages have the same heads."""

    def __init__(self, inputs: int, outputs: int, head_width: int, side: int):
        super().__init__()
        self.position_bias = RelPosBias((side, side), HEADS)
        nn.init.zeros_(self.position_bias.relative_position_bias_table)  # as published
        self.qkv = nn.Linear(inputs, 3 * HEADS * head_width, bias=False)
        self.projection = nn.Linear(HEADS * head_width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        qkv = self.qkv(x).unflatten(2, (3, HEADS, -1))
        query, key, value = qkv.transpose(1, 3).unbind(2)  # each (n, heads, pixels, head width)
        bias = self.position_bias.get_bias()
        attended = scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.projection(attended.transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Relative attention over all pixels of a map and a two-layer perceptron, behind norms.

    Maps (n, inputs, s, s) to (n, outputs, side, side), side = s / stride. The perceptron is four
    times as wide as `inputs`. Its layers work on pixels, not on the map: on a CPU 1×1 convolutions
    of small maps take up to four times as long.
    """

    def __init__(self, inputs: int, outputs: int, head_width: int, stride: int, side: int):
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2, 1) if stride == 2 else nn.Identity()
        self.shortcut = _shortcut(inputs, outputs, stride)
        self.attention = nn.Sequential(
            nn.LayerNorm(inputs), RelativeAttention(inputs, outputs, head_width, side)
        )
        self.perceptron = nn.Sequential(
            nn.LayerNorm(outputs), Mlp(outputs, hidden_features=4 * inputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels, attended = self.shortcut(x), self.attention(_pixels(self.pool(x)))
        x = _pixels(pixels) + attended
        x = x + self.perceptron(x)
        return x.transpose(1, 2).view_as(pixels)


def _pixels(x: torch.Tensor) -> torch.Tensor:
    """Maps (n, channels, s, s) as (n, s², channels)."""
    return x.flatten(2).transpose(1, 2)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Conv2d(inputs, outputs, 1, bias=False))


def coatnet(
    pixels: int, width: float = 1.0, normalised_features: bool = False
) -> JetMassClassifier:
    """Stages conv, MBConv, MBConv, attention, attention: widths 64 … 768, blocks 3, 3, 3, 5, 2.

    The first block of each stage halves the map. Heads are 8, 32 wide; `width` scales their width
    and keeps their number. Features are averaged over the last map. Weights start as PyTorch's
    default, the biases of relative positions at 0.

    Args:
        pixels, width: as in `create_model`.
        normalised_features: the features go through a layer norm before the head, as in MaxViT.
    """
    head_width = scaled(32, width)
    inputs, side = scaled(64, width), pixels // 2
    layers: list[nn.Module] = [ConvNormAct(3, inputs, 3, 2, act_layer=nn.GELU)]
    layers += [ConvNormAct(inputs, inputs, 3, act_layer=nn.GELU) for _ in range(2)]
    for channels, blocks in ((96, 3), (192, 3)):
        side, outputs = side // 2, scaled(channels, width)
        layers.append(MBConv(inputs, outputs, 2))
        layers += [MBConv(outputs, outputs, 1) for _ in range(blocks - 1)]
        inputs = outputs
    for channels, blocks in ((384, 5), (768, 2)):
        side, outputs = side // 2, scaled(channels, width)
        layers.append(Transformer(inputs, outputs, head_width, 2, side))
        layers += [Transformer(outputs, outputs, head_width, 1, side) for _ in range(blocks - 1)]
        inputs = outputs
    norm = [nn.LayerNorm(inputs)] if normalised_features else []
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *norm]
    return JetMassClassifier(nn.Sequential(*layers), inputs, width)
