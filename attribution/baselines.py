"""Baselines: from what an attribution is counted.

- `zero`: every number that the network sees is 0. An image without a deposit; a standardised
  feature, the jet mass among them, at its mean. So it is no physical zero, but for images.
- `uniform`: background events drawn with equal probability. Their attributions are averaged, not
  the events: phi = E[phi(x, x')], x' from the background (arXiv:2412.13864; "expected gradients",
  arXiv:1906.10670). The attributions then add up to f(x) - E[f(x')].
- `weighted`: the same, drawn as often as they are expected, by cross section.
- `mean`: the one mean background event, by weight. A contrast: no such event exists.

An image of a background jet is subtracted pixel by pixel in the frame of its own axis: what is
empty in the jet and filled in the baseline has an attribution too, that of not being there.

Lists of particles have a mask, which no straight line connects. The particles *exist* as in the jet
that is explained, all along the path, and the features of the i-th hardest go from those of the
baseline's i-th hardest: both are ordered in pT, so like is compared with like. Where the baseline
has fewer particles, its places hold zeros, which in the network's scale are the features of an
average particle. Further particles of the baseline are left out. So the attributions add up to
f(x) - f(x' with as many particles as x); what the number of particles itself does is the rest,
f(x' with as many) - f(x'), and no attribution can hold it. Objects of events are treated alike.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from attribution.integrated_gradients import Named
from training.inputs import Inputs

AVERAGED = 2_000  # events in a mean, at most


class Baseline(NamedTuple):
    """What a row is compared with.

    Attributes:
        draws: how many baselines each row has.
        at: (inputs of b rows, their numbers (b,) among those explained, the draw) -> the inputs of
            their baselines.
    """

    draws: int
    at: Callable[[Named, np.ndarray, int], Named]


def baseline_of(
    name: str,
    inputs: Inputs,
    background: np.ndarray,
    weight: np.ndarray,
    n: int,
    draws: int,
    seed: int = 0,
) -> Baseline:
    """The baseline of this name, a key of `BASELINES`, for n rows.

    Args:
        inputs: where the background stands.
        background: (m,) its rows there.
        weight: (m,) of these; those below 0 are never drawn.
        draws: of each row, where baselines are drawn.
    """
    return BASELINES[name](inputs, background, np.maximum(weight, 0), n, draws, seed)


def fetched(inputs: Inputs, rows: np.ndarray) -> dict[str, torch.Tensor]:
    """Some rows (b,) as the network sees them, in memory of their own."""
    _, named = next(iter(inputs.batches(rows, np.array([len(rows)]))))
    return {name: column.clone() for name, column in named.items()}


def aligned(baseline: Named, inputs: Named) -> dict[str, torch.Tensor]:
    """A baseline with the masks and as many places as the inputs, see above."""
    made = {}
    for name, column in inputs.items():
        if column.dtype == torch.bool:
            made[name] = column
        else:
            more = column.shape[1] - baseline[name].shape[1] if column.ndim > 1 else 0
            places = (0, 0) * (column.ndim - 2) + (0, more)
            made[name] = functional.pad(baseline[name], places) if more else baseline[name]
    return made


def _zero(*_: object) -> Baseline:
    return Baseline(1, lambda x, numbers, draw: {n: torch.zeros_like(one) for n, one in x.items()})


def _drawn(
    inputs: Inputs, background: np.ndarray, weight: np.ndarray, n: int, draws: int, seed: int
) -> Baseline:
    share = weight / weight.sum()
    rows = np.random.default_rng(seed).choice(background, (n, draws), p=share)
    return Baseline(
        draws, lambda x, numbers, draw: aligned(fetched(inputs, rows[numbers, draw]), x)
    )


def _uniform(
    inputs: Inputs, background: np.ndarray, weight: np.ndarray, n: int, draws: int, seed: int
) -> Baseline:
    return _drawn(inputs, background, np.ones(len(background)), n, draws, seed)


def _mean(
    inputs: Inputs, background: np.ndarray, weight: np.ndarray, n: int, draws: int, seed: int
) -> Baseline:
    some = np.random.default_rng(seed).permutation(len(background))[:AVERAGED]
    share = torch.from_numpy((weight[some] / weight[some].sum()).astype(np.float32))
    share = share.to(inputs.device)
    means = {
        name: torch.tensordot(share, column.float(), 1)[None]
        for name, column in fetched(inputs, background[some]).items()
    }

    def at(x: Named, numbers: np.ndarray, draw: int) -> Named:
        return {
            name: column.expand(len(numbers), *column.shape[1:])
            for name, column in aligned(means, x).items()
        }

    return Baseline(1, at)


BASELINES = {"zero": _zero, "uniform": _uniform, "weighted": _drawn, "mean": _mean}
DRAWN = "uniform", "weighted"
