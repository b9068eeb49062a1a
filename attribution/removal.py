"""Are attributions faithful? Remove what has the highest; exchange the weights of the network.

If they say what the score rests on, then without the pixels, particles or features of highest
attribution it falls faster than without as many at random (arXiv:1509.06321). If they say what the
network learnt, then those of a network with other weights are others (arXiv:1810.03292).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import nn

from attribution.averages import Explained
from attribution.baselines import Baseline
from attribution.deposits import OF_PARTICLES, of_each_particle
from attribution.integrated_gradients import Named, output_of

FRACTIONS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
REPEATS = 4  # random orders, and draws of what takes the place of what is removed


def units(found: Explained) -> tuple[str, np.ndarray, np.ndarray]:
    """What is removed one by one: the input, the attribution (n, m) of each pixel, particle or
    feature of it, and which of these (n, m) a row has."""
    name = next(iter(found.values))
    value, given = found.values[name], found.inputs[name]
    if name in OF_PARTICLES:
        return name, of_each_particle(found), found.inputs["exists"].astype(bool)
    flat = value.reshape(len(value), -1)
    exists = given.reshape(flat.shape) != 0 if value.ndim > 2 else np.ones(flat.shape, bool)
    return name, flat, exists


def removed(name: str, inputs: Named, which: torch.Tensor, other: Named) -> dict[str, torch.Tensor]:
    """Inputs (b, ...) with some units (b, m) of other inputs; a particle in whose place there is
    none is gone."""
    x = inputs[name]
    if name not in OF_PARTICLES:
        return {**inputs, name: torch.where(which.reshape(x.shape), other[name], x)}
    of_each = [one for one in OF_PARTICLES if one in inputs]
    changed = {one: torch.where(which[..., None], other[one], inputs[one]) for one in of_each}
    return {**inputs, **changed, "exists": inputs["exists"] & (other["exists"] | ~which)}


def curve(
    network: nn.Module,
    found: Explained,
    sign: np.ndarray,
    importance: np.ndarray | None,
    fill: Baseline,
    device: torch.device,
    at_once: int,
    fractions: Sequence[float] = FRACTIONS,
) -> np.ndarray:
    """The logit (n, fractions), times the sign (n,) of the class, without these fractions of the
    units, the most important for the class first.

    Args:
        importance: (n, m); None: random orders, whose curves are averaged.
        fill: baselines, whose units take the place of those removed; averaged over `REPEATS`.
    """
    name, _, exists = units(found)
    repeats = 1 if importance is not None and fill.draws == 1 else REPEATS
    random, made = np.random.default_rng(0), np.zeros((len(found), len(fractions)))
    for repeat in range(repeats):
        values = random.random(exists.shape) if importance is None else sign[:, None] * importance
        order = np.argsort(np.argsort(np.where(exists, -values, np.inf), axis=1), axis=1)
        for first in range(0, len(found), at_once):
            numbers = np.arange(first, min(first + at_once, len(found)))
            x = {n: torch.from_numpy(one[numbers]).to(device) for n, one in found.inputs.items()}
            other = fill.at(x, numbers, repeat % fill.draws)
            for i, fraction in enumerate(fractions):
                count = np.ceil(fraction * exists[numbers].sum(axis=1))
                which = torch.from_numpy(order[numbers] < count[:, None]).to(device)
                with torch.inference_mode():
                    logit = output_of(network, removed(name, x, which, other), "logit")
                made[numbers, i] += sign[numbers] * logit.cpu().numpy() / repeats
    return made


def area(
    curve: np.ndarray, random: np.ndarray, fractions: Sequence[float] = FRACTIONS
) -> np.ndarray:
    """By how much (n,) the score is lower than after random removal, averaged over the fraction."""
    return np.trapezoid(random - curve, fractions, axis=1)


def randomised(network: nn.Module, create: Callable[[], nn.Module]) -> dict[str, nn.Module]:
    """The network with its last layer made anew, and with all of them."""
    every, last = create(), create()
    last.load_state_dict(network.state_dict())
    layers = [one for one in last.modules() if isinstance(one, nn.Linear)]
    layers[-1].reset_parameters()
    return {"last layer": last, "all layers": every}


def rank_correlation(first: np.ndarray, second: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Spearman's, (n,), of the sizes of two attributions (n, m) over the units that there are.

    >>> one, other = np.array([[1.0, -2, 3, 9]]), np.array([[0.1, 0.2, 0.3, 0]])
    >>> rank_correlation(one, other, np.array([[True, True, True, False]]))
    array([1.])
    """
    ranks = [
        rankdata(np.where(exists, np.abs(x), np.nan), axis=1, nan_policy="omit")
        for x in (first, second)
    ]
    a, b = (x - np.nanmean(x, axis=1, keepdims=True) for x in ranks)
    return np.nansum(a * b, axis=1) / np.sqrt(np.nansum(a**2, axis=1) * np.nansum(b**2, axis=1))
