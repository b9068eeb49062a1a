"""MaxViT: attention within windows, then across a grid (Tu et al., arXiv:2204.01697)."""

from math import gcd

from timm.models.maxxvit import MaxxVit, MaxxVitCfg, MaxxVitTransformerCfg
from torch import nn

from models.head import JetMassClassifier


def maxvit(
    pixels: int, width: float = 1.0, published_batch_norm_momentum: bool = False
) -> JetMassClassifier:
    """Stem 64, three blocks of 2 layers, widths 64, 128, 256, heads of 32, 4×4 window and grid.

    timm's `MaxxVit`, without stochastic depth. `width` scales the heads' width and keeps their
    number. The last map has p/16 pixels a side; where 4 does not divide that, window and grid are
    the greatest common divisor (2×2 at 32 pixels).

    Args:
        pixels, width: as in `create_model`.
        published_batch_norm_momentum: use 0.99. It was meant as TensorFlow counts, the share of
            the old running mean and variance (0.01 in PyTorch, which counts the share of the new
            batch), but makes evaluation depend on the last batch alone. The default is PyTorch's
            0.1, as in CoAtNet: with 0.01 the initial mean 0 and variance 1 still weigh 17 %
            after the 175 steps of the demo, and dwarf the true variance of sparse images.
    """
    head_width = round(32 * width)
    window = gcd(4, pixels // 16)
    backbone = MaxxVit(
        MaxxVitCfg(
            embed_dim=(2 * head_width, 4 * head_width, 8 * head_width),
            depths=(2, 2, 2),
            block_type=("M", "M", "M"),
            stem_width=2 * head_width,
            transformer_cfg=MaxxVitTransformerCfg(
                dim_head=head_width, window_size=(window, window), grid_size=(window, window)
            ),
        ),
        img_size=pixels,
        num_classes=0,
    )
    if published_batch_norm_momentum:
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.99
    return JetMassClassifier(backbone, backbone.num_features, width)
