"""Excluded stop masses of every classifier.

At every mass point the cut is the one of the working point, or the tightest that keeps enough
background to measure eps_B. Then s = cross section x luminosity x selection efficiency x eps_S and
b = 273,085 x eps_B. Errors come from a bootstrap over events that all classifiers share, so that
what they have in common cancels in their differences. To these the interpolation between the mass
points adds, in quadrature, what straight lines in its place would change. The uncertainties of the
cross section and of the selection efficiency are not in the errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from command import InputError
from evaluation.results import Classifiers, Results
from evaluation.table import MEASURED
from event_level.fits import with_observables
from jets.classifier import Classifier
from physics import EXPECTED_BACKGROUND
from processes import PROCESSES
from sensitivity.bootstrap import CONFIDENCE, is_fewer
from sensitivity.exclusion import (
    ABOVE_GRID,
    BELOW_GRID,
    ExcludedMass,
    excluded_mass,
    expected_signal,
    first_allowed,
    significance,
    significance_plane,
)

BAND_STEP = 20.0  # GeV of the neutralino mass, along the contour's error band


@dataclass(frozen=True)
class Exclusion:
    """One classifier over the grid of masses.

    Attributes:
        neutralino_mass, stop_mass: (q,) and (p,) GeV, ascending.
        cuts: (q, p) objects, the cut of each mass point; None where there is no such point.
        selection_efficiency: (q, p) of the preselection, with respect to all stop pairs.
    """

    classifier: Classifier
    neutralino_mass: np.ndarray
    stop_mass: np.ndarray
    cuts: np.ndarray
    selection_efficiency: np.ndarray

    def _of_cuts(self, name: str) -> np.ndarray:
        found = [
            cut and [getattr(cut, name), *getattr(cut, f"resampled_{name}")]
            for cut in self.cuts.flat
        ]
        unknown = [np.nan] * len(next(filter(None, found)))
        return np.transpose([one or unknown for one in found]).reshape(-1, *self.cuts.shape)

    @cached_property
    def signal_efficiency(self) -> np.ndarray:
        """(1 + bootstraps, q, p) of preselection and cut: as measured, then resampled."""
        return self._of_cuts("signal_efficiency") * self.selection_efficiency

    @cached_property
    def background_efficiency(self) -> np.ndarray:
        """(1 + bootstraps, q, p) of the cut."""
        return self._of_cuts("background_efficiency")

    @cached_property
    def excluded(self) -> ExcludedMass:
        """Excluded stop masses (1 + bootstraps, q)."""
        return excluded_mass(self.stop_mass, self.signal_efficiency, self.background_efficiency)

    @cached_property
    def interpolation(self) -> np.ndarray:
        """(q,) GeV that straight lines between the mass points add to the excluded stop masses."""
        measured = self.signal_efficiency[0], self.background_efficiency[0]
        lines = excluded_mass(self.stop_mass, *measured, straight=True)
        return lines.mass - self.excluded.mass[0]

    @cached_property
    def interval(self) -> np.ndarray:
        """(3, q) GeV: the excluded stop mass, its lower and its upper end, 68 %."""
        return _interval(self.excluded.mass, self.interpolation, self.ends)

    @property
    def limit(self) -> np.ndarray:
        """(q,) 1 where all masses of the grid are excluded, -1 where none is, 0 between."""
        status = self.excluded.status[0]
        return (status == ABOVE_GRID) * 1 - (status == BELOW_GRID) * 1

    @property
    def loosened(self) -> np.ndarray:
        """(q,) how many cuts were loosened to keep enough background, of all stop masses."""
        return np.array([sum(bool(cut) and cut.is_loosened for cut in row) for row in self.cuts])

    @property
    def ends(self) -> tuple[float, float]:
        """GeV, of the grid of stop masses."""
        return self.stop_mass[0], self.stop_mass[-1]

    def _plane(self, rows: int | slice, **options) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        efficiencies = self.signal_efficiency[rows], self.background_efficiency[rows]
        return significance_plane(self.neutralino_mass, self.stop_mass, *efficiencies, **options)

    @cached_property
    def plane(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Neutralino masses (Q,), stop masses (P,) and significance (Q, P), every GeV."""
        return self._plane(0)

    @cached_property
    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """Neutralino masses (n,) and the interval (3, n) of the excluded stop mass at each, GeV."""
        neutralino, *plane = self._plane(slice(None), neutralino_step=BAND_STEP)
        _, *of_lines = self._plane(0, neutralino_step=BAND_STEP, straight=True)
        mass = first_allowed(*plane).mass
        return neutralino, _interval(mass, first_allowed(*of_lines).mass - mass[0], self.ends)

    def points(self) -> list[dict[str, object]]:
        """One row a mass point: the cut, the yields and the significance."""
        rows = []
        for (q, p), cut in np.ndenumerate(self.cuts):
            if cut is None:
                continue
            signal = expected_signal(self.stop_mass[p], self.signal_efficiency[0, q, p])
            background = EXPECTED_BACKGROUND * cut.background_efficiency
            rows.append(
                {
                    **self.classifier.row(), "neutralino_mass": self.neutralino_mass[q],
                    "stop_mass": self.stop_mass[p],
                    "selection_efficiency": self.selection_efficiency[q, p],
                    "signal_efficiency": cut.signal_efficiency,
                    "background_efficiency": cut.background_efficiency,
                    "background_events": cut.effective_background, "is_loosened": cut.is_loosened,
                    "expected_signal": signal, "expected_background": background,
                    "significance": significance(signal, background),
                }
            )  # fmt: skip
        return rows


def exclusions(results: Results, classifiers: Classifiers | None = None) -> list[Exclusion]:
    """The exclusion of each of these classifiers of the held-out events.

    Without any: of every network with DS2, and of DS2 alone, last.

    Raises:
        InputError: too few held-out background events for any cut.
    """
    study, events, samples = results.study, results.events, results.table.samples
    if classifiers is None:
        classifiers = results.of_events.only(with_observables(study.classifiers.networks))
    n_background, least = classifiers.effective_background, classifiers.background_min
    if is_fewer(n_background, least):
        raise InputError(
            f"{study.data_dir}/events.h5: {n_background:g} (effective) held-out background events, "
            f"expected at least {least}; add background files"
        )
    stop_masses, neutralino_masses = results.masses
    efficiency = {
        (row["m_neutralino"], row["m_stop"]): row["selection_efficiency"]
        for row in samples[samples["process"] == PROCESSES["stop"].number]
    }
    grid = [(m, stop) for m in neutralino_masses for stop in stop_masses]
    shape = len(neutralino_masses), len(stop_masses)
    selected = np.reshape([efficiency.get(point, np.nan) for point in grid], shape)
    of_point = [
        results.is_stop & (events["m_neutralino"] == m) & (events["m_stop"] == stop)
        for m, stop in grid
    ]

    def of(one: Classifier) -> Exclusion:
        cuts = [classifiers.cut_at(one, rows) if rows.any() else None for rows in of_point]
        cuts = np.array(cuts, object).reshape(shape)
        return Exclusion(one, neutralino_masses, stop_masses, cuts, selected)

    return [of(one) for one in classifiers.score]


def gain_over(one: Exclusion, reference: Exclusion) -> tuple[np.ndarray, np.ndarray]:
    """Gain in excluded stop mass with its paired error.

    Returns:
        (3, q) gain, lower and upper end, GeV, NaN where both are beyond the grid; (q,) 1 where the
        gain is a lower limit, -1 an upper limit, 0 measured.
    """
    span = one.ends[1] - one.ends[0]
    mass = one.excluded.mass - reference.excluded.mass
    gained = _interval(mass, one.interpolation - reference.interpolation, (-span, span))
    unknown = (one.limit != 0) & (one.limit == reference.limit)
    sign = np.where(unknown, 0, np.sign(one.limit - reference.limit))
    return np.where(unknown, np.nan, gained), sign


def masses_of_seeds(
    numbers: Sequence[tuple[np.ndarray, np.ndarray]],
) -> list[tuple[np.ndarray, str]]:
    """The mean over seeds of masses at each neutralino mass, and its status: measured, a limit.

    The error holds the spread of the seeds beside the mean of their own.

    Args:
        numbers: of each seed (3, q) value, lower and upper end; (q,) 1 for a lower limit, -1 for an
            upper limit.
    """
    (value, low, high), limit = (np.stack(part, axis=-1) for part in zip(*numbers, strict=True))
    n = value.shape[-1]
    of_seeds = value.std(axis=-1, ddof=1) / n**0.5 if n > 1 else 0.0
    mean = value.mean(axis=-1)
    below, above = (np.hypot(np.mean(d, axis=-1), of_seeds) for d in (value - low, high - value))
    status = []
    for number, signs in zip(mean, limit, strict=True):
        is_mixed = np.isnan(number) or {-1, 1} <= set(signs)
        largest = max(signs, key=abs)
        words = {0: MEASURED, 1: "lower limit", -1: "upper limit"}
        status.append("undefined" if is_mixed else words[int(largest)])
    return list(zip(np.stack([mean, mean - below, mean + above], axis=1), status, strict=True))


def _interval(mass: np.ndarray, systematic: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """(3, q): the value, and the interval of its resamplings and its systematic error about it.

    The interval encloses the value, which resamplings that pile up at the edge of the grid may not.
    A resampling without an event to know the mass by speaks for neither side: it counts as the
    lower of the `ends` for the lower end of the interval, and as the upper for the upper.

    Args:
        mass: (1 + bootstraps, q) GeV, as measured, then resampled; NaN where unknown.
        systematic: (q,) GeV, added in quadrature.
        ends: GeV, of what the mass can be; there the interval ends too.
    """
    tail = (1 - CONFIDENCE) / 2
    value, resampled = mass[0], mass[1:]
    low, high = (
        np.quantile(np.where(np.isnan(resampled), end, resampled), share, axis=0)
        for end, share in zip(ends, (tail, 1 - tail), strict=True)
    )
    below = np.hypot(np.maximum(value - low, 0), systematic)
    above = np.hypot(np.maximum(high - value, 0), systematic)
    return np.stack([value, np.maximum(value - below, ends[0]), np.minimum(value + above, ends[1])])
