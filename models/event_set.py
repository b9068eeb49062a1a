"""EventSet: a transformer whose tokens are the objects of an event, in any order.

Its blocks are those of the event transformer (arXiv:2401.00428). What two objects know of each
other is added to their attention, as in the particle transformer (arXiv:2202.03772).
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from models.event_transformer import HEADS, ClassAttention, EncoderBlock
from models.head import scaled

BLOCKS, OF_PAIRS = 2, 16  # encoder blocks; hidden units for a pair
SMALLEST = 1e-3  # TeV, and of a distance: what is smaller has this logarithm


class EventSet(nn.Module):
    """One lepton, the missing momentum, R = 0.4 jets and large-R jets to logits.

    The tokens of each kind have an embedding of their own; a jet has no place in an order.
    """

    def __init__(self, features: Mapping[str, int], channels: int, pairwise: bool) -> None:
        """From the number of features of each kind: lepton, missing, jets, large_jets."""
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                kind: nn.Sequential(
                    nn.Linear(n, channels), nn.GELU(), nn.Linear(channels, channels), nn.GELU()
                )
                for kind, n in features.items()
            }
        )
        self.of_pairs = (
            nn.Sequential(nn.Linear(3, OF_PAIRS), nn.GELU(), nn.Linear(OF_PAIRS, HEADS))
            if pairwise
            else None
        )
        self.blocks = nn.ModuleList(EncoderBlock(channels) for _ in range(BLOCKS))
        self.last = ClassAttention(channels)
        self.head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 1))

    def forward(
        self,
        lepton: torch.Tensor,
        missing: torch.Tensor,
        jets: torch.Tensor,
        jets_mask: torch.Tensor,
        large_jets: torch.Tensor,
        large_jets_mask: torch.Tensor,
        momenta: torch.Tensor,
    ) -> torch.Tensor:
        """Logits (b, 2) of background and signal, (0, z) as of an `EventClassifier`.

        Args:
            lepton, missing: features (b, f) of each kind.
            jets, large_jets: features (b, n, f).
            jets_mask, large_jets_mask: (b, n) which of them exist.
            momenta: (b, tokens, 4) pT, rapidity, phi and mass in TeV of all, in this order.
        """
        given = {"lepton": lepton[:, None], "missing": missing[:, None]}
        given |= {"jets": jets, "large_jets": large_jets}
        x = torch.cat([self.embeddings[kind](one) for kind, one in given.items()], dim=1)
        exists = torch.cat([jets_mask, large_jets_mask], dim=1)
        exists = functional.pad(exists, (2, 0), value=True)
        padding = x.new_zeros(exists.shape).masked_fill(~exists, -torch.inf)
        bias = None
        if self.of_pairs is not None:
            bias = self.of_pairs(pairs(momenta)).permute(0, 3, 1, 2).flatten(0, 1)
        for block in self.blocks:
            x = block(x, padding, bias)
        return functional.pad(self.head(self.last(x, padding)), (1, 0))


def pairs(momenta: torch.Tensor) -> torch.Tensor:
    """ln ΔR, ln kT and ln m² (b, t, t, 3) of all pairs; kT is the smaller pT times ΔR.

    The second token is the missing momentum, which has no rapidity: its pairs have the distance in
    phi and the transverse mass.

    Args:
        momenta: (b, t, 4) pT, rapidity, phi and mass in TeV; 0 of tokens that do not exist.

    Two massless objects of 100 GeV, back to back, have a mass of 200 GeV:

    >>> momenta = torch.tensor([[[0.1, 0, 0, 0], [0, 0, 0, 0], [0.1, 0, torch.pi, 0]]])
    >>> (pairs(momenta)[0, 0, 2, 2] / 2).exp()
    tensor(0.2000)
    """
    pt, rapidity, phi, mass = momenta.unbind(-1)
    transverse = torch.hypot(pt, mass)
    has_rapidity = torch.arange(pt.shape[1], device=pt.device) != 1
    between = rapidity[:, :, None] - rapidity[:, None]
    between = between * (has_rapidity[:, None] & has_rapidity)
    around = phi[:, :, None] - phi[:, None]
    around = torch.atan2(around.sin(), around.cos())
    distance = torch.hypot(between, around).clamp_min(SMALLEST)
    kt = torch.minimum(pt[:, :, None], pt[:, None]) * distance
    mixed = transverse[:, :, None] * transverse[:, None] * between.cosh()
    mixed = mixed - pt[:, :, None] * pt[:, None] * around.cos()
    squared = mass[:, :, None] ** 2 + mass[:, None] ** 2 + 2 * mixed
    return torch.stack(
        [distance.log(), kt.clamp_min(SMALLEST).log(), squared.clamp_min(SMALLEST**2).log()], dim=-1
    )


def event_set(features: Mapping[str, int], width: float = 1.0, pairwise: bool = True) -> EventSet:
    """Embeddings f → 32 → 32 of each kind; two encoder blocks with 4 heads of 8 (scaled, as many)
    and inner width 128; a class token. 34,309 parameters and 32 a feature of any kind; `pairwise`
    has 132 of them, 3 → 16 → 4 for the attention of pairs."""
    return EventSet(features, HEADS * scaled(8, width), pairwise)
