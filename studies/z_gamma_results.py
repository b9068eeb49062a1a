"""The trainings of `studies.higgs_to_z_gamma` on the test events, and their paired differences."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit

from evaluation.pages import Rows
from event_level.higgs_to_z_gamma import ZGammaTable
from jets.split import HELD_OUT, TRAIN
from sensitivity.auc import auc
from sensitivity.binned import Bins, equal_signal_bins, significance_of, significances
from sensitivity.bootstrap import Estimate, Scores
from sensitivity.resonance import best_order, discovery_significance, excess, fit, polynomials
from studies.z_gamma_trainings import NETWORKS, SIGNIFICANCE, TREES, Trained, Way, expected
from study import Study
from training.losses import distance_correlation

BOOTSTRAPS = 100  # of test events
EDGES = np.linspace(100, 180, 161)  # GeV, of the fit [arXiv:2401.00428]
NONE = "none"  # no classifier: one bin
ORDER = NONE, TREES, *NETWORKS
KEYS = (*Way._fields, "chosen_by")  # what tells trainings apart, but for the seed
SIGMAS = 2.0  # of an ordering


class Measured(NamedTuple):
    """A training on the test events.

    Attributes:
        row: its figures of merit.
        z: (1 + BOOTSTRAPS,) the expected significance, and of the resamplings.
        bins: one row for each bin of the score, see `fits_of`.
    """

    row: dict[str, object]
    z: np.ndarray
    bins: Rows


def measured(table: ZGammaTable, study: Study, trained: Trained) -> Measured:
    """Expected significance, correlation of background with the mass, AUC and fits."""
    events, score = expected(table, study), trained.score.astype(float)
    known, signal, background = (
        (table.label == label) & (table.split == split)
        for label, split in ((1, TRAIN), (1, HELD_OUT), (0, HELD_OUT))
    )
    bins = equal_signal_bins(score[known], events[known], table.mass[known])
    classes = [Scores(score[r], np.flatnonzero(r), events[r]) for r in (signal, background)]
    masses = table.mass[signal], table.mass[background]
    z = significances(*classes, bins, masses, bootstraps=BOOTSTRAPS)
    area = auc(*classes, bootstraps=BOOTSTRAPS)
    of_bins = fits_of(table, events, score, bins)
    pulls = np.array([row["pull"] for row in of_bins])
    shuffled = np.random.default_rng(0).permutation(masses[1])
    probability, weight = (torch.from_numpy(x[background]) for x in (expit(score), events))
    correlation, zero = (
        distance_correlation(torch.from_numpy(mass), probability, weight).item()
        for mass in (masses[1], shuffled)
    )
    row = trained.way._asdict() | {
        "seed": trained.seed, "chosen_by": trained.chosen_by, "epoch": trained.epoch,
        "parameters": trained.parameters, "seconds": trained.seconds,
        "z": z[0], "z_error": z[1:].std(ddof=1),
        "z_fit": sum(row["z_fit"] ** 2 for row in of_bins) ** 0.5,
        "auc": area.value, "auc_error": area.error,
        "correlation": correlation, "correlation_zero": zero,
        "pull": np.nanmean(pulls**2) ** 0.5,
    }  # fmt: skip
    return Measured(row, z, of_bins)


def fits_of(table: ZGammaTable, events: np.ndarray, score: np.ndarray, bins: Bins) -> Rows:
    """In each bin of a score: the fit of the mass of background, and what a signal would give.

    The signal's shape is that of the training events. The order of the polynomial has the least
    Akaike criterion for the background that is not tested on. The fitted test background and the
    expected signal are the expected counts, whose fit gives `z_fit`; one simulated event, spread
    evenly, is added to the background. `pull` is the signal that a
    fit finds in the simulated background alone, in its standard errors: 1 in the root mean square,
    if the polynomials describe the background. `z` is counted in the mass window of the bin.
    """
    place = np.searchsorted(bins.edges, score, "right")
    is_tested, rows = table.split == HELD_OUT, []
    for i, window in enumerate(bins.windows):
        known, others, signal, background = (
            (place == i) & (table.label == label) & of_split
            for label, of_split in (
                (1, table.split == TRAIN), (0, ~is_tested), (1, is_tested), (0, is_tested)
            )
        )  # fmt: skip
        row = {"bin": i + 1, "signal": events[signal].sum(), "background": events[background].sum()}
        inside = (window[0] <= table.mass) & (table.mass <= window[1])
        s, b = (events[of_class & inside].sum() for of_class in (signal, background))
        row |= {"low": window[0], "high": window[1]}
        if not (s > 0 and b > 0 and known.any()):
            blank = {"z": 0.0, "z_fit": 0.0, "order": 0, "chi2": 0.0, "freedom": 0, "pull": np.nan}
            rows.append(row | blank | {"spectra": np.zeros((4, len(EDGES) - 1))})
            continue
        template = mass_counts(table, events, known)[0]
        template /= template.sum()
        counts, error = mass_counts(table, events, background)
        unit = (events[background] ** 2).sum() / row["background"]  # of an unweighted event
        order = best_order(mass_counts(table, events, others)[0] / unit, EDGES)
        shapes = polynomials(EDGES, order)
        smooth = fit(counts / unit, shapes)
        # Where the fit has less than one simulated event, spread evenly, it knows nothing.
        smoothed = unit * (smooth.background + 1 / len(template))
        size = row["signal"] * template
        rows.append(
            row | {
                "z": float(significance_of(s, b)),
                "z_fit": discovery_significance(size, smoothed, shapes),
                "order": order, "chi2": smooth.chi2, "freedom": len(template) - order - 1,
                "pull": excess(counts / unit, smooth.background, shapes, template).deviations,
                "spectra": np.stack([counts, error, smoothed, size]),
            }
        )  # fmt: skip
    return rows


def mass_counts(
    table: ZGammaTable, events: np.ndarray, rows: np.ndarray, edges: np.ndarray = EDGES
) -> tuple[np.ndarray, np.ndarray]:
    """Expected events (bins,) of some rows (n,) in bins of the mass, and their errors."""
    counts, squares = (
        np.histogram(table.mass[rows], edges, weights=weight[rows])[0]
        for weight in (events, events**2)
    )
    return counts, squares**0.5


# --- Comparisons --------------------------------------------------------------------------------

Groups = Mapping[tuple, Sequence[Measured]]  # values of KEYS -> of all seeds


def grouped(found: Sequence[Measured]) -> Groups:
    """Seeds together."""
    groups: dict[tuple, list[Measured]] = {}
    for one in found:
        groups.setdefault(tuple(one.row[key] for key in KEYS), []).append(one)
    return groups


def difference(second: np.ndarray, first: np.ndarray) -> Estimate:
    """The mean paired difference of seeds.

    Args:
        second, first: (seeds, 1 + resamplings) each; one seed stands for all where there is one.
            The error holds the seeds' spread and the events, as far as there are resamplings.

    >>> difference(np.array([[3.0], [5.0]]), np.array([[1.0], [2.0]]))
    Estimate(value=2.5, error=0.5)
    """
    d = second - first
    of_seeds = d[:, 0].std(ddof=1) / len(d) ** 0.5 if len(d) > 1 else 0.0
    of_events = d[:, 1:].mean(axis=0).std(ddof=1) if d.shape[1] > 2 else 0.0
    return Estimate(float(d[:, 0].mean()), float(np.hypot(of_seeds, of_events)))


def comparisons(groups: Groups) -> Rows:
    """All pairs that differ in one setting; but for the choice of the epoch, by significance."""
    rows = []
    order = sorted(groups, key=lambda key: (ORDER.index(key[0]), *key[1:]))
    for first, second in itertools.combinations(order, 2):
        changed = [i for i in range(len(KEYS)) if first[i] != second[i]]
        if len(changed) > 1 or NONE in first:
            continue
        name = KEYS[changed[0]]
        if name != "chosen_by" and first[-1] != SIGNIFICANCE:
            continue
        row = {"changed": name, **dict(zip(KEYS, first, strict=True)), name: ""}
        row |= {"first": first[changed[0]], "second": second[changed[0]]}
        pair = groups[second], groups[first]
        numbers = {"z": difference(*(np.array([one.z for one in some]) for some in pair))}
        for column in ("z_fit", "correlation"):
            values = (np.array([[one.row[column]] for one in some]) for some in pair)
            numbers[column] = difference(*values)
        for quantity, number in numbers.items():
            rows.append(
                row | {
                    "quantity": quantity, "value": number.value, "error": number.error,
                    "deviations": number.deviations,
                    "is_ordered": number.error > 0 and abs(number.deviations) >= SIGMAS,
                }
            )  # fmt: skip
    return rows
