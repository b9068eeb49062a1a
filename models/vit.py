"""ViT: attention over patches and nothing else (Dosovitskiy et al., arXiv:2010.11929)."""

from timm.models.vision_transformer import VisionTransformer

from models.head import JetMassClassifier


def vit(pixels: int, width: float = 1.0) -> JetMassClassifier:
    """16-pixel patches and a class token, width 256, depth 6, 16 heads, inner width 1024.

    timm's `VisionTransformer` with the published settings. `width` scales the heads' width of 16
    and keeps their number.
    """
    backbone = VisionTransformer(
        img_size=pixels,
        patch_size=16,
        embed_dim=16 * round(16 * width),
        depth=6,
        num_heads=16,
        mlp_ratio=4.0,
        num_classes=0,
    )
    return JetMassClassifier(backbone, backbone.num_features, width)
