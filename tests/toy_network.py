"""A network that a user could have added: conftest.py registers it, and all tests have to hold."""

from torch import nn

from models.head import JetMassClassifier


def toy(pixels: int, width: float = 1.0) -> JetMassClassifier:
    """Squares of 8×8 pixels, each seen by itself, averaged to a map of 2×2."""
    channels = max(round(16 * width), 1)
    backbone = nn.Sequential(
        nn.Conv2d(3, channels, 8, stride=8), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )
    return JetMassClassifier(backbone, 4 * channels, width)
