"""ViT: attention over patches and nothing else (Dosovitskiy et al., arXiv:2010.11929)."""

import torch
from timm.layers import Attention, Mlp
from torch import nn

from models.head import JetMassClassifier, scaled

PATCH, HEADS, BLOCKS = 16, 16, 6  # a patch has 16 × 16 pixels


class Block(nn.Module):
    """Attention and a two-layer perceptron on (n, tokens, channels), each behind a layer norm and
    added to its input."""

    def __init__(self, channels: int, head_width: int, inner: int):
        super().__init__()
        self.attention = nn.Sequential(
            nn.LayerNorm(channels), Attention(channels, HEADS, attn_head_dim=head_width)
        )
        self.perceptron = nn.Sequential(nn.LayerNorm(channels), Mlp(channels, inner))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(x)
        return x + self.perceptron(x)


class ViT(nn.Module):
    """Patches, each flattened by row, column and channel, and a class token that ends as features.

    Positions and token start as standard normal numbers, other weights as PyTorch's default.
    """

    def __init__(self, pixels: int, channels: int, head_width: int, inner: int):
        """Images (n, 3, pixels, pixels) to features (n, channels)."""
        super().__init__()
        volume = 3 * PATCH**2
        self.position = nn.Parameter(torch.randn(1, 1 + (pixels // PATCH) ** 2, channels))
        self.class_token = nn.Parameter(torch.randn(1, 1, channels))
        self.embedding = nn.Sequential(
            nn.LayerNorm(volume), nn.Linear(volume, channels), nn.LayerNorm(channels)
        )
        self.norm = nn.LayerNorm(channels)
        self.blocks = nn.Sequential(*(Block(channels, head_width, inner) for _ in range(BLOCKS)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = images.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH))
        patches = patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        token = self.class_token.expand(len(images), -1, -1)
        tokens = torch.cat([token, self.embedding(patches)], dim=1) + self.position
        return self.norm(self.blocks(tokens)[:, 0])


def vit(pixels: int, width: float = 1.0) -> JetMassClassifier:
    """16-pixel patches and a class token, width 256, depth 6, 16 heads of 64 (scaled, as many),
    inner width 1024."""
    channels = scaled(256, width)
    backbone = ViT(pixels, channels, head_width=scaled(64, width), inner=scaled(1024, width))
    return JetMassClassifier(backbone, channels, width)
