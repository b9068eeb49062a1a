"""HEP-JEPA: an encoder of jets learns without labels (arXiv:2502.03933, after arXiv:2301.08243).

Of the tokens of a jet, constituents or patches, some are targets and some of the others context.
The encoder sees the context, of which no token holds a constituent of a target. A predictor, told
where the targets are, predicts what a second encoder, which sees the whole jet, makes of them. That
encoder is a moving average of the first. All targets of a jet are predicted in one pass; widths and
depth of the predictor are ours.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from models.jetvit import Block, Encoder, Tokens, mean, mlp

PREDICTOR_BLOCKS = 2
SCALE = 0.4  # about the spread of rapidity and phi in a jet


class Masks(NamedTuple):
    """Which tokens (b, t) are context and which are targets; none is both."""

    context: torch.Tensor
    targets: torch.Tensor


class Predicted(NamedTuple):
    """What is predicted of the targets and what the target encoder makes of them, normalised to
    mean 0 and deviation 1 over channels, (b, k, channels), and which there are (b, k)."""

    found: torch.Tensor
    wanted: torch.Tensor
    exists: torch.Tensor


class JEPA(nn.Module):
    """Attributes:
    encoder: that sees the context and learns by gradients.
    target: its moving average, see `follow`.
    steps: of `follow` so far.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        if encoder.of_keys is not None:
            raise ValueError("jet_bias needs features of the whole jet, which tell of the targets")
        heads, channels = encoder.blocks[0].heads, encoder.first.shape[1]
        self.encoder, self.target = encoder, copy.deepcopy(encoder).requires_grad_(False)
        self.register_buffer("steps", torch.tensor(0))
        self.mask_token = nn.Parameter(0.02 * torch.randn(channels))
        self.place = mlp(nn.Identity(), 2, channels, channels)
        self.predictor = nn.ModuleList(Block(heads) for _ in range(PREDICTOR_BLOCKS))
        self.output = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, channels))

    def forward(self, masks: Masks, tokens: Tokens, whole: Tokens) -> Predicted:
        """The targets of b jets.

        Args:
            tokens: of the encoder, `encoder.tokens` without the constituents of targets.
            whole: of the target encoder, of all constituents.
        """
        context = taken(tokens, masks.context & tokens.exists)
        at_targets = taken(whole, masks.targets)
        first, seen = self.encoder(context)
        with torch.no_grad():
            wanted = taken(whole._replace(embedded=self.target(whole)[1]), masks.targets).embedded
            wanted = functional.layer_norm(wanted, wanted.shape[2:])
        places = (one.momenta[..., 1:3] / SCALE for one in (context, at_targets))
        of_context, of_targets = (self.place(place) for place in places)
        parts = first, seen + of_context, self.mask_token + of_targets
        n, k = len(self.encoder.first), at_targets.exists.shape[1]
        exists = torch.cat([context.exists, at_targets.exists], dim=1)
        exists = functional.pad(exists, (n, 0), value=True)[:, None, None]
        x = torch.cat(parts, dim=1)
        bias = torch.zeros_like(exists, dtype=x.dtype).masked_fill(~exists, -torch.inf)
        for block in self.predictor:
            x = block(x, bias)
        return Predicted(self.output(x[:, -k:]), wanted, at_targets.exists)

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """The target encoder becomes `momentum` times itself and the rest the encoder."""
        for mine, other in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
            mine.lerp_(other, 1 - momentum)
        self.steps += 1


def loss_of(predicted: Predicted) -> torch.Tensor:
    """Smooth L1 (arXiv:1504.08083, eq. 3) of each jet (b,), the mean over its targets."""
    of_token = functional.smooth_l1_loss(predicted.found, predicted.wanted, reduction="none")
    return mean(of_token.mean(dim=2), predicted.exists)


def taken(tokens: Tokens, mask: torch.Tensor) -> Tokens:
    """The tokens (b, k) of a mask (b, t) alone, in their order; k is the most of any jet."""
    k = max(int(mask.sum(dim=1).max()), 1)
    order = mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :k]
    embedded, momenta = (
        column.gather(1, order[..., None].expand(-1, -1, column.shape[2]))
        for column in (tokens.embedded, tokens.momenta)
    )
    return Tokens(embedded, mask.gather(1, order), momenta)


def draw_masks(
    tokens: Tokens,
    targets: int,
    target_scale: Sequence[float],
    context_scale: Sequence[float],
    is_contiguous: bool,
    generator: torch.Generator | None = None,
) -> Masks:
    """A block of context and blocks of targets, which are taken out of the context; they may
    overlap each other.

    A block holds a share of the tokens of its jet, at least one, drawn between the two of a scale:
    those that are nearest to one of them, or, if it need not be contiguous, any.
    """
    at, exists = tokens.momenta[..., 1:3], tokens.exists
    of_targets = blocks(at, exists, targets, target_scale, is_contiguous, generator).any(dim=1)
    context = blocks(at, exists, 1, context_scale, is_contiguous, generator)[:, 0]
    return Masks(context & ~of_targets, of_targets)


def blocks(
    places: torch.Tensor,
    exists: torch.Tensor,
    number: int,
    scale: Sequence[float],
    is_contiguous: bool,
    generator: torch.Generator | None,
) -> torch.Tensor:
    """So many blocks (b, number, t) of tokens in these places (b, t, 2), see `draw_masks`."""
    b, t = exists.shape

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator, device=exists.device)

    apart = uniform(b, number, t)
    if is_contiguous:
        centre = apart.masked_fill(~exists[:, None], -1.0).argmax(dim=2)
        at = places.gather(1, centre[..., None].expand(-1, -1, 2))
        apart = (places[:, None] - at[:, :, None]).square().sum(dim=3)
    rank = apart.masked_fill(~exists[:, None], torch.inf).argsort(dim=2).argsort(dim=2)
    low, high = scale
    share = low + (high - low) * uniform(b, number)
    size = (share * exists.sum(dim=1, keepdim=True)).round().clamp_min(1)
    return (rank < size[..., None]) & exists[:, None]
