"""The networks of arXiv:2406.03096 as plain PyTorch modules: what ours are held against.

`python -m models` counts their sizes and costs, and `bench.py` times them beside ours. Nothing
trains them. Their sizes and costs are the published ones; that is what they were written after,
with the papers of CoAtNet (arXiv:2106.04803) and MaxViT (arXiv:2204.01697), and what is known of
the original code. Nothing but the settings is known of its ViT.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn
from torchvision.models.maxvit import MaxVit

from models.head import JetMassClassifier

# Of the 4×4 convolutions, by image side: the original ones are not known. With these, the last map
# is 8×8 and the cost the published one.
CNN_PADDINGS = {64: (0, 1, 2, 2), 128: (0, 2, 2, 1, 2)}

HEADS = 8
HEAD_WIDTH = 32


def cnn(pixels: int) -> JetMassClassifier:
    """4×4 convolutions 3 → 128 → 64 → 64 → 64 (→ 64 at 128 pixels), ReLU, 2×2 average pooling."""
    paddings = CNN_PADDINGS[pixels]
    channels = [3, 128] + [64] * (len(paddings) - 1)
    layers: list[nn.Module] = []
    for (inputs, outputs), padding in zip(pairwise(channels), paddings, strict=True):
        layers += [nn.Conv2d(inputs, outputs, 4, padding=padding), nn.ReLU(), nn.AvgPool2d(2)]
    layers[-1] = nn.Flatten()  # instead of a pooling
    return JetMassClassifier(nn.Sequential(*layers), 64 * 8 * 8, width=1)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
    """Convolution, batch norm and GELU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.GELU(),
    )


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Conv2d(inputs, outputs, 1, bias=False))


class SqueezeExcitation(nn.Module):
    """Channels scaled by a function of their means (Hu et al., arXiv:1709.01507)."""

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.gate = nn.Sequential(
            nn.Linear(channels, squeezed, bias=False),
            nn.GELU(),
            nn.Linear(squeezed, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x.mean((2, 3)))[..., None, None]


class MBConv(nn.Module):
    """Inverted bottleneck, four times as wide inside as its input, behind a batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int, side: int):
        super().__init__()
        inner = 4 * inputs
        self.shortcut = _shortcut(inputs, outputs, stride)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs),
            _convolution(inputs, inner, 1, stride),
            _convolution(inner, inner, 3, groups=inner),
            SqueezeExcitation(inner, inputs // 4),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.layers(x)


class RelativeAttention(nn.Module):
    """Softmax over j of q_i·k_j/√d + b(i − j), arXiv:2106.04803 eq. 3: (n, pixels, channels)."""

    def __init__(self, inputs: int, outputs: int, side: int):
        super().__init__()
        self.qkv = nn.Linear(inputs, 3 * HEADS * HEAD_WIDTH, bias=False)
        self.bias = nn.Parameter(torch.zeros((2 * side - 1) ** 2, HEADS))
        self.projection = nn.Linear(HEADS * HEAD_WIDTH, outputs)
        row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        position = (row * (2 * side - 1) + column).flatten()
        displacement = position[:, None] - position + 2 * side * (side - 1)
        self.register_buffer("displacement", displacement.flatten(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        qkv = self.qkv(x).unflatten(2, (3, HEADS, HEAD_WIDTH))
        query, key, value = qkv.transpose(1, 3).unbind(2)  # each (n, heads, pixels, head width)
        bias = self.bias[self.displacement].T.unflatten(1, (x.shape[1], x.shape[1]))
        score = query @ key.transpose(2, 3) / HEAD_WIDTH**0.5 + bias
        return self.projection((score.softmax(3) @ value).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Relative attention over all pixels of a map and a two-layer perceptron, behind norms."""

    def __init__(self, inputs: int, outputs: int, stride: int, side: int):
        super().__init__()
        self.pool = nn.MaxPool2d(3, 2, 1) if stride == 2 else nn.Identity()
        self.shortcut = _shortcut(inputs, outputs, stride)
        self.attention = nn.Sequential(
            nn.LayerNorm(inputs), RelativeAttention(inputs, outputs, side)
        )
        self.perceptron = nn.Sequential(
            nn.LayerNorm(outputs),
            nn.Linear(outputs, 4 * inputs),
            nn.GELU(),
            nn.Linear(4 * inputs, outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.pool(x)
        attended = self.attention(pooled.flatten(2).transpose(1, 2)).transpose(1, 2)
        x = self.shortcut(x) + attended.unflatten(2, pooled.shape[2:])
        return x + self.perceptron(x.flatten(2).transpose(1, 2)).transpose(1, 2).view_as(x)


def coatnet(pixels: int) -> JetMassClassifier:
    """Stages conv, MBConv, MBConv, attention, attention: widths 64 … 768, blocks 3, 3, 3, 5, 2."""
    layers: list[nn.Module] = [_convolution(3, 64, 3, 2)]
    layers += [_convolution(64, 64, 3) for _ in range(2)]
    inputs, side = 64, pixels // 2
    for block, outputs, depth in (
        (MBConv, 96, 3),
        (MBConv, 192, 3),
        (Transformer, 384, 5),
        (Transformer, 768, 2),
    ):
        side //= 2
        layers.append(block(inputs, outputs, 2, side))
        layers += [block(outputs, outputs, 1, side) for _ in range(depth - 1)]
        inputs = outputs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return JetMassClassifier(nn.Sequential(*layers), 768, width=1)


def maxvit(pixels: int) -> JetMassClassifier:
    """torchvision's, with its pooling, layer norm, 256 → 256 and tanh in front of the head."""
    backbone = MaxVit(
        input_size=(pixels, pixels),
        stem_channels=64,
        partition_size=4,
        block_channels=[64, 128, 256],
        block_layers=[2, 2, 2],
        head_dim=32,
        stochastic_depth_prob=0.0,
    )
    backbone.classifier[-1] = nn.Identity()
    return JetMassClassifier(backbone, 256, width=1)


REFERENCES: dict[str, Callable[[int], JetMassClassifier]] = {
    "CNN": cnn,
    "CoAtNet": coatnet,
    "MaxViT": maxvit,
}
