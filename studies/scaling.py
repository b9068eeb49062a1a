"""Loss against the number of training jets, and the power law through it (see arXiv:1712.00409)."""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.optimize import curve_fit

from evaluation.pages import Rows
from evaluation.results import Classifiers
from evaluation.table import cell, ends, pivot
from jets.classifier import Classifier
from sensitivity.bootstrap import Estimate, mean_of_seeds, poisson_counts

PUBLISHED_JETS = 6e6  # the paper trains on 3,480 jets of each of 861 mass points and as many others
SIZES_MIN = 5  # of a law, which has three parameters
NAMES = "floor", "amplitude", "power"


def loss(classifiers: Classifiers, one: Classifier) -> Estimate:
    """Cross entropy of classes of equal weight, with the error of the test events."""
    probability = np.clip(classifiers.score[one].astype(float), 1e-7, 1 - 1e-7)
    of_jet = -np.log(np.where(classifiers.is_signal, probability, 1 - probability))
    counts = poisson_counts(classifiers.event, classifiers.study.figures.bootstraps)

    def mean(n: np.ndarray | int) -> float:
        weight = n * classifiers.weight
        of_classes = (classifiers.is_signal, ~classifiers.is_signal)
        return float(
            np.mean([np.average(of_jet[rows], weights=weight[rows]) for rows in of_classes])
        )

    return Estimate(mean(1), float(np.std([mean(n) for n in counts], ddof=1)))


def power_law(thousands: np.ndarray, floor: float, amplitude: float, power: float) -> np.ndarray:
    """A loss after so many thousand training jets."""
    return floor + amplitude * thousands**-power


def laws(rows: Rows) -> dict[int, Callable[[np.ndarray], np.ndarray]]:
    """Seed -> the power law through its losses, of thousands of jets; of seeds with enough sizes.

    Args:
        rows: with `seed`, `training_jets`, `quantity` and `value`.
    """
    found = {}
    for seed in sorted({row["seed"] for row in rows}):
        some = [row for row in rows if (row["seed"], row["quantity"]) == (seed, "loss")]
        n, value = (
            np.array([float(row[name]) for row in some]) for name in ("training_jets", "value")
        )
        if len(n) >= SIZES_MIN:
            start = value.min() - 0.01, np.ptp(value), 0.5
            law, _ = curve_fit(power_law, n / 1e3, value, start, bounds=(0, (1, 10, 3)))
            found[seed] = partial(power_law, **dict(zip(NAMES, law, strict=True)))
    return found


def fitted(rows: Rows) -> Rows:
    """The mean parameters of `laws`, and what they give for the paper's jets.

    The errors are those of the mean over seeds: all have the same test jets.
    """
    each = [[*law.keywords.values(), law(PUBLISHED_JETS / 1e3)] for law in laws(rows).values()]
    if len(each) < 2:
        return []
    return [
        {"quantity": name, **ends(Estimate(some.mean(), some.std(ddof=1) / len(some) ** 0.5))}
        for name, some in zip(
            (*NAMES, "loss with the jets of the paper"), np.transpose(each), strict=True
        )
    ]


def printed_scaling(rows: Rows) -> Rows:
    """One line a number of training jets, each a mean over seeds."""
    groups: dict[tuple[str, str], list[Estimate]] = {}
    for row in rows:
        value, low, high = (float(row[name]) for name in ("value", "low", "high"))
        some = groups.setdefault((row["training_jets"], row["quantity"]), [])
        some.append(Estimate(value, (high - low) / 2))
    means = [
        {"training_jets": n, "quantity": quantity, "trainings": len(some)}
        | ends(mean_of_seeds(some))
        for (n, quantity), some in groups.items()
    ]
    return pivot(
        means,
        lambda row: {"training jets": f"{int(row['training_jets']):,}", "seeds": row["trainings"]},
        lambda row: {row["quantity"]: cell(row)},
    )


def printed_law(rows: Rows) -> Rows:
    """One line a parameter."""
    return pivot(rows, lambda row: {"": row["quantity"]}, lambda row: {"value": cell(row)})
