"""EventSet: a transformer whose tokens are the objects of an event, in any order.

Its blocks are those of the event transformer (arXiv:2401.00428). What two objects know of each
other is added to their attention (models/pairs.py).
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from models.event_transformer import HEADS, ClassAttention, EncoderBlock
from models.head import scaled
from models.pairs import PairBias

BLOCKS = 2  # encoder blocks


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
        self.of_pairs = PairBias(HEADS) if pairwise else None
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
            is_missing = torch.arange(exists.shape[1], device=x.device) == 1
            bias = self.of_pairs(momenta, exists, ~is_missing).flatten(0, 1)
        for block in self.blocks:
            x = block(x, padding, bias)
        return functional.pad(self.head(self.last(x, padding)), (1, 0))


def event_set(features: Mapping[str, int], width: float = 1.0, pairwise: bool = True) -> EventSet:
    """Embeddings f → 32 → 32 of each kind; two encoder blocks with 4 heads of 8 (scaled, as many)
    and inner width 128; a class token. 34,325 parameters and 32 a feature of any kind; `pairwise`
    has 148 of them, 4 → 16 → 4 for the attention of pairs."""
    return EventSet(features, HEADS * scaled(8, width), pairwise)
