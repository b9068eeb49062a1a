"""JetViT: a transformer over the constituents of a jet, combined with features of the whole jet.

Constituents are embedded linearly, a class token goes with them through an encoder, a perceptron
makes two numbers of it, another makes two of the jet's features, and one linear layer, the
combiner, makes logits of the four.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from models.head import scaled
from models.pairs import HIDDEN, PairBias

HEADS, HEAD_WIDTH, BLOCKS = 8, 16, 4
PLACES = 128  # constituents that a positional embedding knows; any number without one
SEES = "both", "constituents", "jet"


class Block(nn.Module):
    """Attention with a bias and a two-layer perceptron on (b, t, channels), each behind a layer
    norm and added to its input."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads, channels = heads, HEAD_WIDTH * heads
        self.norm = nn.LayerNorm(channels)
        self.projection = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)
        self.perceptron = _mlp(nn.LayerNorm(channels), channels, 4 * channels, channels)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """`bias` broadcasts to (b, heads, t, t); -inf where nothing may be attended to."""
        projected = self.projection(self.norm(x)).unflatten(2, (3, self.heads, -1))
        qkv = projected.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*qkv, attn_mask=bias)
        x = x + self.output(seen.transpose(1, 2).flatten(2))
        return x + self.perceptron(x)


def _mlp(norm: nn.Module, inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(norm, nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class JetViT(nn.Module):
    """Constituents and jet features to logits.

    Attributes:
        ignores: the inputs that it is not made to see.
    """

    def __init__(
        self, features: Mapping[str, int], heads: int, sees: str, positions: bool,
        pairwise: bool, jet_bias: bool,
    ) -> None:  # fmt: skip
        """From the number of features of `constituents` and of the `jet`; see `jetvit`."""
        super().__init__()
        of_constituents, of_jet = features["constituents"], features["jet"]
        channels = HEAD_WIDTH * heads
        if sees != "jet":
            self.embedding = nn.Linear(of_constituents, channels)
            self.class_token = nn.Parameter(torch.randn(channels))
            self.blocks = nn.ModuleList(Block(heads) for _ in range(BLOCKS))
            self.mlp = _mlp(nn.LayerNorm(channels), channels, channels, 2)
        self.position = nn.Parameter(torch.zeros(PLACES, channels)) if positions else None
        self.of_pairs = PairBias(heads) if pairwise else None
        self.of_keys = (
            _mlp(nn.Identity(), of_constituents + of_jet, HIDDEN, heads) if jet_bias else None
        )
        if sees != "constituents":
            self.jet_mlp = _mlp(nn.Identity(), of_jet, channels, 2)
        self.sees, self.combiner = sees, nn.Linear(4, 2)
        self.ignores = [] if pairwise else ["momenta"]
        if sees == "jet":
            self.ignores += ["constituents", "exists"]
        if sees == "constituents" and not jet_bias:
            self.ignores.append("jet")

    def forward(
        self,
        constituents: torch.Tensor,
        exists: torch.Tensor,
        momenta: torch.Tensor,
        jet: torch.Tensor,
    ) -> torch.Tensor:
        """Logits (b, 2) of background and signal.

        Args:
            constituents: features (b, t, f), falling in pT.
            exists: (b, t) which of them there are.
            momenta: (b, t, 4) pT, rapidity, phi and mass in TeV, 0 where there is none.
            jet: features (b, g).
        """
        token = of_jet = jet.new_zeros(len(jet), 2)
        if self.sees != "jet":
            token = self.mlp(self.encoded(constituents, exists, momenta, jet)[:, 0])
        if self.sees != "constituents":
            of_jet = self.jet_mlp(jet)
        return self.combiner(torch.cat([token, of_jet], dim=1))

    def encoded(
        self,
        constituents: torch.Tensor,
        exists: torch.Tensor,
        momenta: torch.Tensor,
        jet: torch.Tensor,
    ) -> torch.Tensor:
        """The class token and the constituents behind the encoder (b, 1 + t, channels)."""
        x = self.embedding(constituents)
        if self.position is not None:
            x = x + self.position[: x.shape[1]]
        x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1)
        bias = self.bias(constituents, exists, momenta, jet)
        for block in self.blocks:
            x = block(x, bias)
        return x

    def bias(
        self,
        constituents: torch.Tensor,
        exists: torch.Tensor,
        momenta: torch.Tensor,
        jet: torch.Tensor,
    ) -> torch.Tensor:
        """What is added to the attention, (b, 1 or heads, 1 or 1 + t, 1 + t): -inf for constituents
        that do not exist, and what pairs, or jet and constituent, say. The class token has 0."""
        exists = functional.pad(exists, (1, 0), value=True)
        bias = constituents.new_zeros(exists.shape).masked_fill(~exists, -torch.inf)[:, None, None]
        if self.of_pairs is not None:
            bias = bias + functional.pad(self.of_pairs(momenta), (1, 0, 1, 0))
        if self.of_keys is not None:
            of_jet = jet[:, None].expand(-1, constituents.shape[1], -1)
            keys = self.of_keys(torch.cat([constituents, of_jet], dim=2))
            bias = bias + functional.pad(keys.transpose(1, 2), (1, 0))[:, :, None]
        return bias


def jetvit(
    features: Mapping[str, int],
    width: float = 1.0,
    sees: str = "both",
    positions: bool = False,
    pairwise: bool = False,
    jet_bias: bool = False,
) -> JetViT:
    """Four encoder blocks with 8 heads (scaled) of 16 each and inner width 512.

    Args:
        features: how many a constituent (`constituents`) and a jet (`jet`) has.
        sees: `both`, or `constituents` or `jet` alone.
        positions: add a learnt embedding of a constituent's place in the order of pT.
        pairwise: `models.pairs` enter the attention, as in the particle transformer.
        jet_bias: what a constituent is attended with depends on its own and on the jet's features,
            one number for each head, the "jet bias".
    """
    if sees not in SEES:
        raise ValueError(f"sees of JetViT is {sees!r}, expected one of {', '.join(SEES)}")
    if sees == "jet" and (positions or pairwise or jet_bias):
        raise ValueError("JetViT sees the jet alone, so nothing can be said of constituents")
    return JetViT(features, scaled(HEADS, width), sees, positions, pairwise, jet_bias)
