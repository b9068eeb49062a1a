"""The particle transformer (arXiv:2202.03772) of weaver-core, with the inputs of JetViT.

The package is optional (requirements-optional.txt); its network needs PyTorch and nothing else.
"""

from collections.abc import Mapping
from importlib.util import find_spec

import torch
from torch import nn

from models.head import scaled
from models.jetvit import BLOCKS, HEAD_WIDTH, HEADS

PAIR_LAYERS, PAIR_CHANNELS = 3, 64  # as published, like all that is not named here
GEV_PER_TEV = 1e3


def is_installed() -> bool:
    """Whether there is a weaver-core."""
    return find_spec("weaver") is not None


def four_vectors(momenta: torch.Tensor) -> torch.Tensor:
    """px, py, pz and E (b, 4, t) in GeV of pT, rapidity, phi and mass (b, t, 4) in TeV.

    >>> four_vectors(torch.tensor([[[0.003, 0.0, 0.0, 0.004]]])).round().flatten().tolist()
    [3.0, 0.0, 0.0, 5.0]
    """
    pt, rapidity, phi, mass = momenta.unbind(2)
    transverse = torch.hypot(pt, mass)
    columns = pt * phi.cos(), pt * phi.sin(), transverse * rapidity.sinh()
    return GEV_PER_TEV * torch.stack([*columns, transverse * rapidity.cosh()], dim=1)


class ParticleTransformer(nn.Module):
    """Constituents to logits; nothing of the whole jet."""

    ignores = ("jet",)

    def __init__(self, features: Mapping[str, int], width: float = 1.0) -> None:
        """Four blocks for the particles, as many as JetViT has; published are eight.

        Args:
            features: how many a constituent (`constituents`) has.
            width: of every layer, relative to the published network, whose heads and channels are
                those of JetViT.
        """
        super().__init__()
        from weaver.nn.model import ParticleTransformer as weaver

        heads = scaled(HEADS, width)
        channels = HEAD_WIDTH * heads
        self.body = weaver.ParticleTransformer(
            input_dim=features["constituents"],
            num_classes=2,
            use_pre_activation_pair=False,
            embed_dims=(channels, 4 * channels, channels),
            pair_embed_dims=(scaled(PAIR_CHANNELS, width),) * PAIR_LAYERS,
            num_heads=heads,
            num_layers=BLOCKS,
        )

    def forward(
        self,
        constituents: torch.Tensor,
        exists: torch.Tensor,
        momenta: torch.Tensor,
        jet: torch.Tensor,
    ) -> torch.Tensor:
        """Logits (b, 2) of background and signal, from the inputs of `models.jetvit.JetViT`."""
        return self.body(constituents.transpose(1, 2), four_vectors(momenta), exists[:, None])
