"""Losses: how far logits are from the truth. A study chooses one by its name."""

from collections.abc import Callable

import torch
from torch.nn import functional

from command import InputError

# Logits (b, 2) of background and signal, label (b,), weight (b,) and spectator (b,) or None ->
# the mean (). Weights have the mean 1 over an epoch (see `jets.weights.balanced`), so the mean
# of the weighted losses of a batch is sum(w l) / (b x the mean weight of the epoch), and all
# batches together give the weighted mean.
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


def cross_entropy(
    logits: torch.Tensor,
    label: torch.Tensor,
    weight: torch.Tensor,
    spectator: torch.Tensor | None = None,
) -> torch.Tensor:
    """-log softmax of the true class.

    >>> cross_entropy(torch.zeros(1, 2), torch.tensor([1]), torch.ones(1)).item()  # ln 2
    0.6931471824645996
    """
    return (weight * functional.cross_entropy(logits, label, reduction="none")).mean()


LOSSES: dict[str, Loss] = {"cross entropy": cross_entropy}


def loss_named(name: str) -> Loss:
    """The loss that a study asks for, or an InputError."""
    if name not in LOSSES:
        raise InputError(
            f"training.loss is {name!r}, expected one of {', '.join(LOSSES)}; correct the study"
        )
    return LOSSES[name]
