"""JetViT: a transformer over the constituents of a jet, combined with features of the whole jet.

Constituents are embedded linearly, a class token goes with them through an encoder, a perceptron
makes two numbers of it, another makes two of the jet's features, and one linear layer, the
combiner, makes logits of the four.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from models.head import scaled
from models.pairs import HIDDEN, PairBias
from models.patches import Patches
from models.pretrained import load_encoder

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
        self.perceptron = mlp(nn.LayerNorm(channels), channels, 4 * channels, channels)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """`bias` broadcasts to (b, heads, t, t); -inf where nothing may be attended to."""
        projected = self.projection(self.norm(x)).unflatten(2, (3, self.heads, -1))
        qkv = projected.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*qkv, attn_mask=bias)
        x = x + self.output(seen.transpose(1, 2).flatten(2))
        return x + self.perceptron(x)


def mlp(norm: nn.Module, inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A norm and a perceptron with one hidden layer."""
    return nn.Sequential(norm, nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class Tokens(NamedTuple):
    """What an encoder takes of b jets.

    Attributes:
        embedded: (b, t, channels).
        exists: (b, t) which of them there are.
        momenta: (b, t, 4) pT, rapidity, phi and mass in TeV, 0 where there is none.
        holds: (b, t, constituents) of which of them a token is made; None: of its own.
        keys: (b, heads, t) what is added to the attention that a token gets; None: nothing.
    """

    embedded: torch.Tensor
    exists: torch.Tensor
    momenta: torch.Tensor
    holds: torch.Tensor | None = None
    keys: torch.Tensor | None = None

    def constituents_of(self, mask: torch.Tensor) -> torch.Tensor:
        """The constituents (b, constituents) of which the tokens of a mask (b, t) are made."""
        return mask if self.holds is None else (self.holds & mask[..., None]).any(dim=1)


def mean(values: torch.Tensor, exists: torch.Tensor) -> torch.Tensor:
    """The mean (b, ...) over those of the values (b, t, ...) that exist (b, t); 0 of none."""
    share = exists / exists.sum(dim=1, keepdim=True).clamp_min(1)
    return torch.einsum("bt,bt...->b...", share, values)


class Encoder(nn.Module):
    """Tokens of constituents, or of patches of them, that see each other.

    Attributes:
        first: (n, channels) the class token and the registers (arXiv:2309.16588), which stand
            before all others.
    """

    def __init__(
        self, features: Mapping[str, int], heads: int, positions: bool = False,
        pairwise: bool = False, jet_bias: bool = False, patches: int = 0, registers: int = 0,
    ) -> None:  # fmt: skip
        """See `jetvit`."""
        super().__init__()
        of_constituents, channels = features["constituents"], HEAD_WIDTH * heads
        self.embedding = (
            Patches(of_constituents, channels, patches)
            if patches
            else nn.Linear(of_constituents, channels)
        )
        self.first = nn.Parameter(torch.randn(1 + registers, channels))
        self.blocks = nn.ModuleList(Block(heads) for _ in range(BLOCKS))
        self.position = nn.Parameter(torch.zeros(PLACES, channels)) if positions else None
        self.of_pairs = PairBias(heads) if pairwise else None
        self.of_keys = (
            mlp(nn.Identity(), of_constituents + features["jet"], HIDDEN, heads)
            if jet_bias
            else None
        )

    def tokens(
        self,
        constituents: torch.Tensor,
        exists: torch.Tensor,
        momenta: torch.Tensor,
        jet: torch.Tensor,
        hidden: torch.Tensor | None = None,
    ) -> Tokens:
        """The inputs of `JetViT` as tokens, which have not seen each other.

        Args:
            hidden: (b, t) constituents of which no token knows.
        """
        if isinstance(self.embedding, Patches):
            return Tokens(*self.embedding(constituents, exists, momenta, hidden))
        if hidden is not None:
            exists = exists & ~hidden
        embedded, keys = self.embedding(constituents), None
        if self.position is not None:
            embedded = embedded + self.position[: embedded.shape[1]]
        if self.of_keys is not None:
            of_jet = jet[:, None].expand(-1, constituents.shape[1], -1)
            keys = self.of_keys(torch.cat([constituents, of_jet], dim=2)).transpose(1, 2)
        return Tokens(embedded, exists, momenta, keys=keys)

    def forward(self, tokens: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
        """`first` (b, n, channels) and the tokens (b, t, channels) behind the blocks."""
        n = len(self.first)
        x = torch.cat([self.first.expand(len(tokens.exists), -1, -1), tokens.embedded], dim=1)
        bias = self.bias(tokens)
        for block in self.blocks:
            x = block(x, bias)
        return x[:, :n], x[:, n:]

    def bias(self, tokens: Tokens) -> torch.Tensor:
        """What is added to the attention, (b, 1 or heads, 1 or n + t, n + t): -inf for tokens that
        do not exist, and what pairs, or jet and constituent, say. The n of `first` have 0."""
        n = len(self.first)
        exists = functional.pad(tokens.exists, (n, 0), value=True)
        bias = tokens.embedded.new_zeros(exists.shape).masked_fill(~exists, -torch.inf)
        bias = bias[:, None, None]
        if self.of_pairs is not None:
            bias = bias + functional.pad(self.of_pairs(tokens.momenta, tokens.exists), (n, 0, n, 0))
        if tokens.keys is not None:
            bias = bias + functional.pad(tokens.keys, (n, 0))[:, :, None]
        return bias


class JetViT(nn.Module):
    """Constituents and jet features to logits.

    Attributes:
        encoder: None if it sees the jet alone.
        ignores: the inputs that it is not made to see.
    """

    def __init__(
        self, features: Mapping[str, int], encoder: Encoder | None, sees: str, pooled: bool
    ) -> None:
        """See `jetvit`."""
        super().__init__()
        self.encoder, self.sees, self.pooled = encoder, sees, pooled
        needs_momenta = False
        if encoder is not None:
            channels = encoder.first.shape[1]
            self.mlp = mlp(nn.LayerNorm(channels), channels, channels, 2)
            needs_momenta = encoder.of_pairs is not None or isinstance(encoder.embedding, Patches)
        if sees != "constituents":
            hidden = HEAD_WIDTH * HEADS if encoder is None else encoder.first.shape[1]
            self.jet_mlp = mlp(nn.Identity(), features["jet"], hidden, 2)
        self.combiner = nn.Linear(4, 2)
        self.ignores = [] if needs_momenta else ["momenta"]
        if sees == "jet":
            self.ignores += ["constituents", "exists"]
        if sees == "constituents" and encoder.of_keys is None:
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
        of_constituents = of_jet = jet.new_zeros(len(jet), 2)
        if self.encoder is not None:
            tokens = self.encoder.tokens(constituents, exists, momenta, jet)
            first, seen = self.encoder(tokens)
            of_constituents = self.mlp(mean(seen, tokens.exists) if self.pooled else first[:, 0])
        if self.sees != "constituents":
            of_jet = self.jet_mlp(jet)
        return self.combiner(torch.cat([of_constituents, of_jet], dim=1))


def jetvit(
    features: Mapping[str, int],
    width: float = 1.0,
    sees: str = "both",
    positions: bool = False,
    pairwise: bool = False,
    jet_bias: bool = False,
    patches: int = 0,
    registers: int = 0,
    pooled: bool = False,
    init: str = "",
    frozen: bool = False,
) -> JetViT:
    """Four encoder blocks with 8 heads (scaled) of 16 each and inner width 512.

    Args:
        features: how many a constituent (`constituents`) and a jet (`jet`) has.
        sees: `both`, or `constituents` or `jet` alone.
        positions: add a learnt embedding of a constituent's place in the order of pT.
        pairwise: `models.pairs` enter the attention, as in the particle transformer.
        jet_bias: what a constituent is attended with depends on its own and on the jet's features,
            one number for each head, the "jet bias".
        patches: the tokens are so many patches of constituents (`models.patches`); 0: constituents.
        registers: tokens more that no constituent has, for what is not of one constituent.
        pooled: the perceptron sees the mean of the tokens in place of the class token.
        init: the file of a pre-trained encoder (pretrain.py), which has to be of the same kind.
        frozen: the encoder stays as it is.
    """
    if sees not in SEES:
        raise ValueError(f"sees of JetViT is {sees!r}, expected one of {', '.join(SEES)}")
    named = {"positions": positions, "pairwise": pairwise, "jet_bias": jet_bias}
    named |= {"patches": patches, "registers": registers}
    of_tokens = named.values()
    if sees == "jet" and any((*of_tokens, pooled, init, frozen)):
        raise ValueError("JetViT sees the jet alone, so nothing can be said of constituents")
    if patches and (positions or jet_bias):
        raise ValueError("JetViT has patches, and positions and jet_bias are of constituents")
    if min(patches, registers) < 0:
        raise ValueError(
            f"JetViT has {patches} patches and {registers} registers, expected 0 or more"
        )
    heads = scaled(HEADS, width)
    encoder = None if sees == "jet" else Encoder(features, heads, *of_tokens)
    if init:
        asked = {name: one for name, one in named.items() if one}
        load_encoder(Path(init), encoder, width, asked)
    if frozen:
        encoder.requires_grad_(False)
    return JetViT(features, encoder, sees, pooled)
