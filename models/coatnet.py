"""CoAtNet: convolution first, relative attention last (Dai et al., arXiv:2106.04803)."""

import torch
from timm.layers import Mlp, RelPosBias
from timm.models.maxxvit import MaxxVit, MaxxVitCfg, MaxxVitConvCfg, MaxxVitTransformerCfg
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from models.head import JetMassClassifier

HEADS = 8
HEAD_WIDTH = 32


class RelativeAttention(nn.Module):
    """Self-attention over all pixels of a map, with a learned bias per relative position.

    The number and width of the heads do not depend on the width of the stage; timm's own module
    has one head per 32 channels, which at the published widths costs 3.5 M more parameters.
    """

    def __init__(self, inputs: int, outputs: int, head_width: int, side: int):
        """Maps (n, inputs, side, side) to (n, outputs, side, side)."""
        super().__init__()
        self.qkv = nn.Linear(inputs, 3 * HEADS * head_width, bias=False)
        self.position_bias = RelPosBias(window_size=(side, side), num_heads=HEADS)
        self.projection = nn.Linear(HEADS * head_width, outputs)

    def forward(self, x: torch.Tensor, shared_rel_pos: None = None) -> torch.Tensor:
        """timm's block passes `shared_rel_pos`, which CoAtNet does not have."""
        x = x.permute(0, 2, 3, 1)
        qkv = self.qkv(x).flatten(1, 2).unflatten(2, (3, HEADS, -1))
        query, key, value = qkv.transpose(1, 3).unbind(2)  # each (n, heads, pixels, head width)
        bias = self.position_bias.get_bias()
        attended = scaled_dot_product_attention(query, key, value, attn_mask=bias)
        attended = attended.transpose(1, 2).flatten(2).unflatten(1, x.shape[1:3])
        return self.projection(attended).permute(0, 3, 1, 2)


class Perceptron(Mlp):
    """timm's two layers, on the pixels of a map (n, channels, rows, columns).

    As 1×1 convolutions, which on a CPU rearrange their weights in every step, they take up to four
    times as long (768 → 3,072 channels of 2×2 pixels, batch 8); so do those of the attention.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _stem(outputs: int) -> nn.Sequential:
    """Three 3×3 convolutions, the first with stride 2; timm's stem has two."""
    layers: list[nn.Module] = []
    for inputs, stride in ((3, 2), (outputs, 1), (outputs, 1)):
        convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.GELU()]
    return nn.Sequential(*layers)


def coatnet(pixels: int, width: float = 1.0) -> JetMassClassifier:
    """Stages conv, MBConv, MBConv, attention, attention: widths 64 … 768, blocks 3, 3, 3, 5, 2.

    Made of timm's `MaxxVit`, set to what the published network does where timm's default differs:
    three convolutions in the stem, inner widths of a block four times its *input* width, the
    stride in the first 1×1 convolution, max-pooled shortcuts, 8 heads of 32. What still differs:
    MBConv blocks end in a biased convolution (published: a batch norm), features are
    layer-normalised before they are averaged, and weights are initialised as timm does.
    """
    head_width = round(HEAD_WIDTH * width)
    backbone = MaxxVit(
        MaxxVitCfg(
            embed_dim=tuple(round(channels * width) for channels in (96, 192, 384, 768)),
            depths=(3, 3, 5, 2),
            block_type=("C", "C", "T", "T"),
            stem_width=round(64 * width),
            conv_cfg=MaxxVitConvCfg(
                expand_output=False,
                stride_mode="1x1",
                pool_type="max",
                attn_ratio=1 / 16,  # of the inner width: a quarter of the input width
            ),
            transformer_cfg=MaxxVitTransformerCfg(dim_head=head_width, pool_type="max"),
        ),
        img_size=pixels,
        num_classes=0,
    )
    backbone.stem = _stem(round(64 * width))
    for stage in backbone.stages[2:]:
        for block in stage.blocks:
            inputs, outputs = block.attn.qkv.in_channels, block.attn.proj.out_channels
            side = block.attn.rel_pos.window_size[0]
            block.attn = RelativeAttention(inputs, outputs, head_width, side)
            block.mlp = Perceptron(outputs, hidden_features=4 * inputs)
            block.init_weights("vit_eff")
    return JetMassClassifier(backbone, backbone.num_features, width)
