"""EventTransformer, the event classifier transformer (arXiv:2401.00428), and FeedForward beside it.

Both see the features of an event and end in one number z. Their logits are (0, z), whose softmax is
the published sigmoid of z: two logits, as of every network, and no parameter more.
"""

import torch
from torch import nn
from torch.nn import functional

from models.head import scaled

HEADS, DROPOUT = 4, 0.1


class EventClassifier(nn.Module):
    """A body that makes one number of the features of an event."""

    def __init__(self, *body: nn.Module) -> None:
        """The layers map features (n, f) to (n, 1)."""
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (n, f) to logits (n, 2) of background and signal."""
        return functional.pad(self.body(features), (1, 0))


class TokenLinear(nn.Module):
    """Each of t tokens through a linear layer of its own, initialised as PyTorch's `Linear`."""

    def __init__(self, tokens: int, inputs: int, outputs: int) -> None:
        """(n, t, inputs) to (n, t, outputs)."""
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(tokens, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(tokens, outputs).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nti,tio->nto", x, self.weight) + self.bias


class EncoderBlock(nn.Module):
    """Attention and a two-layer perceptron on (n, tokens, channels), each behind a layer norm and
    added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, HEADS, DROPOUT, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)
        first, second = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(channels), first, nn.GELU(), second, nn.Dropout(DROPOUT)
        )

    def forward(
        self,
        x: torch.Tensor,
        padding: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attention gets two more terms: `padding` (n, tokens), -inf where there is no token and
        else 0; `bias` (n · heads, tokens, tokens), of pairs of tokens."""
        y = self.norm(x)
        masks = {"key_padding_mask": padding, "attn_mask": bias, "need_weights": False}
        x = x + self.dropout(self.attention(y, y, y, **masks)[0])
        return x + self.perceptron(x)


class ClassAttention(nn.Module):
    """A class token, zero at first, attends to itself and the tokens (n, t, channels): (n,
    channels). As published, keys and values are behind a layer norm and the query is not."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(channels))
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, HEADS, DROPOUT, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        """`padding` as in `EncoderBlock`."""
        token = self.token.expand(len(x), 1, -1)
        y = self.norm(torch.cat([token, x], dim=1))
        masks = {
            "key_padding_mask": None if padding is None else functional.pad(padding, (1, 0)),
            "need_weights": False,
        }
        return (token + self.dropout(self.attention(token, y, y, **masks)[0]))[:, 0]


def event_transformer(features: int, width: float = 1.0) -> EventClassifier:
    """One token a feature, embedded by 1 → 4 → 16 of its own; an encoder block with 4 heads of 4
    (scaled, as many) and inner width 64; a class token. 4,465 parameters and 88 a feature: 5,785
    with the 15 published ones."""
    hidden = scaled(4, width)
    channels = HEADS * hidden
    return EventClassifier(
        nn.Unflatten(1, (features, 1)),
        TokenLinear(features, 1, hidden),
        nn.GELU(),
        TokenLinear(features, hidden, channels),
        nn.GELU(),
        EncoderBlock(channels),
        ClassAttention(channels),
        nn.LayerNorm(channels),
        nn.Linear(channels, 1),
    )


def feed_forward(features: int, width: float = 1.0) -> EventClassifier:
    """Three hidden layers of 48 with GELU between, without dropout. 4,801 parameters and 48 a
    feature: 5,521 with 15. The layers are ours; the published ones could not be read."""
    channels = scaled(48, width)
    return EventClassifier(
        nn.Linear(features, channels),
        nn.GELU(),
        nn.Linear(channels, channels),
        nn.GELU(),
        nn.Linear(channels, channels),
        nn.GELU(),
        nn.Linear(channels, 1),
    )
