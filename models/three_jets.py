"""One network for the three hardest jets of an event."""

from functools import wraps

import torch
from torch import nn

from models.cnn import cnn
from models.head import JetMassClassifier
from models.maxvit import maxvit


class ThreeJets(JetMassClassifier):
    """The backbone of a network of one jet, shared by three, and one head for their features."""

    def __init__(self, network: JetMassClassifier) -> None:
        nn.Module.__init__(self)
        self.backbone = network.backbone
        first, *others = network.head
        self.head = nn.Sequential(nn.Linear(3 * first.in_features, first.out_features), *others)

    def forward(self, images: torch.Tensor, mass: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, 3, p, p) of the hardest jet first, and masses (n, 3), to logits (n, 2)."""
        features = self.backbone(images.flatten(0, 1)).unflatten(0, mass.shape)
        return self.head(torch.cat([features, mass[..., None]], dim=2).flatten(1))


def cnn3(pixels: int, width: float = 1.0) -> ThreeJets:
    """The CNN sees each jet; the features of all three and their masses go through one head."""
    return ThreeJets(cnn(pixels, width))


@wraps(maxvit, assigned=())  # whose options it has
def maxvit3(pixels: int, width: float = 1.0, **options) -> ThreeJets:
    """The same of MaxViT."""
    return ThreeJets(maxvit(pixels, width, **options))
