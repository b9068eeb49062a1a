"""The jet-mass head that all networks end in (arXiv:2406.03096)."""

import torch
from torch import nn


class JetMassClassifier(nn.Module):
    """A vision network whose features, with the jet mass appended, go through 256 → 128 → 2.

    The mass is one more feature and is used as given: in TeV as published, or standardised.
    """

    def __init__(self, backbone: nn.Module, features: int, width: float):
        """Its backbone maps images (n, 3, p, p) to (n, features); `width` scales the head too."""
        super().__init__()
        hidden, last = scaled(256, width), scaled(128, width)
        first, second = nn.Linear(features + 1, hidden), nn.Linear(hidden, last)
        self.backbone = backbone
        self.head = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(last, 2))

    def forward(self, images: torch.Tensor, mass: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, p, p) and jet masses (n,) to logits (n, 2) of background and signal."""
        return self.head(torch.cat([self.backbone(images), mass[:, None]], dim=1))


def scaled(channels: int, width: float) -> int:
    """The published number of channels, times the width of a study; a ValueError if none is left.

    >>> scaled(64, 0.25)
    16
    """
    if (left := round(channels * width)) < 1:
        raise ValueError(f"width {width:g} leaves a layer of {channels} channels none")
    return left
