"""MaxViT: attention within windows, then across a grid (Tu et al., arXiv:2204.01697)."""

from functools import partial
from math import gcd, inf

from torch import nn
from torchvision.models.maxvit import MaxVit, RelativePositionalMultiHeadAttention

from models.head import JetMassClassifier, scaled


def maxvit(
    pixels: int,
    width: float = 1.0,
    batch_norm_momentum: float = 0.99,
    batch_norm_eps: float = 1e-3,
    attention_scale: str = "channels",
) -> JetMassClassifier:
    """Stem 64, three blocks of 2 layers, widths 64, 128, 256, heads of 32, 4×4 window and grid.

    torchvision's `MaxVit` without stochastic depth and up to its last map, which is averaged and
    then layer-normalised; weights start as torchvision's. `width` scales the heads' width and keeps
    their number. The last map has p/16 pixels a side; where 4 does not divide that, window and grid
    are the greatest common divisor (2×2 at 32 pixels).

    Args:
        pixels, width: as in `create_model`.
        batch_norm_momentum: share of the new batch in the running mean and variance. The published
            0.99 was meant as the share of the old ones, as TensorFlow counts; it makes evaluation
            depend on the last batch alone.
        batch_norm_eps: added to the variance. On sparse images most variances of the stem are
            below the published 1e-3.
        attention_scale: q·k is divided by the square root of the number of all `channels`, as
            published, or of those of one `head`, as in arXiv:1706.03762, eq. 1.
    """
    if not (0 < batch_norm_momentum <= 1 and 0 < batch_norm_eps < inf):
        raise ValueError(
            f"batch_norm_momentum is {batch_norm_momentum}, batch_norm_eps {batch_norm_eps}, "
            "expected a share of at most 1 and a positive number"
        )
    if attention_scale not in ("channels", "head"):
        raise ValueError(f"attention_scale is {attention_scale!r}, expected 'channels' or 'head'")
    if (head_width := scaled(32, width)) == 1:  # a quarter of two heads is squeezed to nothing
        raise ValueError(f"width {width:g} leaves a layer of 16 channels none")
    backbone = MaxVit(
        input_size=(pixels, pixels),
        stem_channels=2 * head_width,
        partition_size=gcd(4, pixels // 16),
        block_channels=[2 * head_width, 4 * head_width, 8 * head_width],
        block_layers=[2, 2, 2],
        head_dim=head_width,
        stochastic_depth_prob=0.0,
        norm_layer=partial(nn.BatchNorm2d, eps=batch_norm_eps, momentum=batch_norm_momentum),
    )
    if attention_scale == "head":
        for module in backbone.modules():
            if isinstance(module, RelativePositionalMultiHeadAttention):
                module.scale_factor = head_width**-0.5
    features = 8 * head_width
    norm = nn.LayerNorm(features)
    backbone.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), norm)
    return JetMassClassifier(backbone, features, width)
