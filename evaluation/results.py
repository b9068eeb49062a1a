"""What the steps of a study wrote, read once, and its classifiers side by side."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from command import InputError
from event_level.fits import fits, trees_on_one_jet
from jets.classifier import HELD_OUT_EVENTS, Classifier
from jets.packed import EventTable, read_event_table
from jets.scores import BaseScores, TreeScores, read_scores, read_trees
from jets.split import is_signal, is_variation, relative_weights
from processes import BACKGROUND, PROCESSES, numbered, of_role, variations_of
from sensitivity.auc import CorrelatedAUCs, correlated_aucs
from sensitivity.bootstrap import Estimate, Scores, effective_count, poisson_counts
from sensitivity.reweighting import spectrum_weights
from sensitivity.sic import Cut, MaximumSIC, SICCurve, SICPoint, cut_at, max_sic, sic_at, sic_curve
from study import Study

OF_EVENTS = "AK14"  # whose hardest jet stands for an event where events are reweighted
SPECTRA = ("pt", "mass")  # in which they may be, as jets


@dataclass(frozen=True)
class Classifiers:
    """Scores of several classifiers on the same jets, or on the same events.

    Figures of merit are those of the study: its working point, its least numbers of background
    scores behind a number, its bootstrap. The mask `signal` (n,) keeps part of the signal.

    Attributes:
        background_min: background scores that must pass for a number other than max SIC.
        score: classifier -> (n,)
        event: (n,) rows of the event table; the bootstrap resamples them whole.
        is_signal: (n,)
        spectra: `pt` and `mass` (n,) of the jet, or of the event's hardest jet, GeV.
        weight: (n,)
        counted: (n,) weights without the factors of a spectrum, see `Scores`; None: `weight`.
    """

    study: Study
    background_min: int
    score: Mapping[Classifier, np.ndarray]
    event: np.ndarray
    is_signal: np.ndarray
    spectra: Mapping[str, np.ndarray]
    weight: np.ndarray
    counted: np.ndarray | None = None

    @property
    def effective_background(self) -> float:
        """Effective number of all background scores."""
        weight = self.weight[~self.is_signal]
        return float(effective_count(weight.sum(), (weight**2).sum()))

    def _classes(self, score: np.ndarray, signal: np.ndarray | bool = True) -> list[Scores]:
        """Scores (..., n) of signal and of background."""
        found = []
        for rows in (self.is_signal & signal, ~self.is_signal):
            counted = None if self.counted is None else self.counted[rows]
            found.append(Scores(score[..., rows], self.event[rows], self.weight[rows], counted))
        return found

    @cached_property
    def aucs(self) -> CorrelatedAUCs:
        """AUCs of all, in the order of `score`."""
        stacked = np.stack(list(self.score.values()))
        return correlated_aucs(*self._classes(stacked), bootstraps=self.study.figures.bootstraps)

    def max_sic(self, one: Classifier) -> MaximumSIC:
        """Over events too at least as many events as the study asks of jets must pass."""
        return max_sic(
            *self._classes(self.score[one]),
            signal_efficiency_min=self.study.figures.signal_efficiency_min,
            background_min=self.study.figures.background_jets_min,
            bootstraps=self.study.figures.bootstraps,
        )

    def sic_at(self, one: Classifier, signal: np.ndarray | bool = True) -> SICPoint:
        """SIC at the working point."""
        return sic_at(
            *self._classes(self.score[one], signal),
            self.study.figures.working_point,
            **self._counted,
        )

    def cut_at(self, one: Classifier, signal: np.ndarray | bool = True) -> Cut:
        """The cut of the working point."""
        return cut_at(
            *self._classes(self.score[one], signal),
            self.study.figures.working_point,
            **self._counted,
        )

    def sic_curve(self, one: Classifier) -> SICCurve:
        """SIC against signal efficiency."""
        return sic_curve(*self._classes(self.score[one]), **self._counted)

    def background_efficiency(
        self, one: Classifier, threshold: float, rows: np.ndarray
    ) -> Estimate:
        """Share of the background in the (n,) mask `rows` that a fixed cut keeps."""
        rows = rows & ~self.is_signal
        weight = self.weight[rows]
        passing = weight * (self.score[one][rows] >= threshold)
        counts = poisson_counts(self.event[rows], self.study.figures.bootstraps)
        share, *resampled = ((n * passing).sum() / (n * weight).sum() for n in (1, *counts))
        return Estimate(float(share), float(np.std(resampled, ddof=1)))

    @property
    def _counted(self) -> dict[str, int]:
        return {"background_min": self.background_min, "bootstraps": self.study.figures.bootstraps}

    def reweighted(self, *names: str) -> "Classifiers":
        """The same, the background weighted to the signal's joint spectrum of some of `spectra`."""
        weight, values = self.weight.copy(), np.stack([self.spectra[name] for name in names])
        weight[~self.is_signal] *= spectrum_weights(*self._classes(values))
        return replace(self, weight=weight, counted=self.weight)

    def where(self, rows: np.ndarray) -> "Classifiers":
        """The same scores of some of the jets or events, a mask (n,)."""
        return replace(
            self,
            score={one: score[rows] for one, score in self.score.items()},
            event=self.event[rows],
            is_signal=self.is_signal[rows],
            spectra={name: values[rows] for name, values in self.spectra.items()},
            weight=self.weight[rows],
            counted=None if self.counted is None else self.counted[rows],
        )

    def only(self, wanted: Iterable[Classifier]) -> "Classifiers":
        """Those of `wanted` that exist, in that order."""
        return replace(self, score={one: self.score[one] for one in wanted if one in self.score})


@dataclass(frozen=True)
class Results:
    """The held-out events of a study with all their scores.

    Attributes:
        table: every event that was read.
        scores, trees: of the held-out events.
        varied: variation of backgrounds -> scores of its events, of all its slices, by the trees
            over events.
        left_out: fit -> reason, as step 4 recorded it.
    """

    study: Study
    table: EventTable
    scores: BaseScores
    trees: TreeScores
    varied: Mapping[str, TreeScores]
    left_out: Mapping[str, str]

    @property
    def events(self) -> np.ndarray:
        """Structured (m,): the held-out events' rows of the event table."""
        return self.table.events[self.scores.event]

    @cached_property
    def weight(self) -> np.ndarray:
        """(m,) relative weights of the held-out events: results depend on nothing else of them."""
        return relative_weights(self.events)

    @property
    def processes(self) -> str:
        """What the events are of, in words."""
        known = [numbered(number) for number in np.unique(self.events["process"])]
        points = " (all mass points)" if len(self.masses[0]) else ""
        return ", ".join(process.title or process.name for process in known) + points

    def networks(self, jet_definition: str) -> list[str]:
        """The networks trained on this jet definition, in the study's order."""
        known, every = self.scores.networks, self.study.classifiers.networks
        return [name for name in every if Classifier((jet_definition,), (name,)) in known]

    def of_jets(self, jet_definition: str) -> Classifiers:
        """The networks, and the jet's mass and pT, on the classified held-out jets.

        Raises:
            InputError: no jet of one of the classes.
        """
        jets, of_jet = self.scores.jets[jet_definition], Classifier((jet_definition,))
        networks = [of_jet._replace(networks=(name,)) for name in self.networks(jet_definition)]
        score = {one: self.scores.networks[one] for one in networks}
        score |= {of_jet._replace(features=(name,)): jets[name] for name in ("mass", "pt")}
        score |= {one: self.trees.fits[one] for one in trees_on_one_jet(jet_definition)}
        found = self._on_jets(jet_definition, score)
        for what, of_class in (("signal", found.is_signal), ("background", ~found.is_signal)):
            if not found.weight[of_class].sum() > 0:
                problem = "weights add up to 0 or less" if of_class.any() else "there are none"
                raise InputError(
                    f"{self.study.data_dir}/scores.h5: {jet_definition}: of the held-out {what} "
                    f"jets (of signal those that match its truth) {problem}; add {what} files"
                )
        return found

    def repeats_of_jets(self, jet_definition: str) -> Classifiers:
        """All seeds of the networks, on the same jets."""
        return self._on_jets(jet_definition, self.scores.repeats)

    def of_shuffled_jets(self, jet_definition: str) -> Classifiers:
        """The null check: trained on permuted labels, tested on those same permuted labels.

        Without any score where so few jets are left that all have the same label.
        """
        is_signal = self.scores.jets[jet_definition]["shuffled_label"] == 1
        found = self._on_jets(jet_definition, self.scores.shuffled, is_signal)
        sums = [found.weight[of_class].sum() for of_class in (found.is_signal, ~found.is_signal)]
        return found if min(sums) > 0 else found.only([])

    def _on_jets(
        self,
        jet_definition: str,
        scores: Mapping[Classifier, np.ndarray],
        label: np.ndarray | None = None,
    ) -> Classifiers:
        """Those of `scores` (m, 3) that are of this jet definition, on the classified jets."""
        jets = self.scores.jets[jet_definition]
        classified = jets["classified"]
        event, of_signal, weight = (
            np.broadcast_to(of_event[:, None], jets.shape)[classified]
            for of_event in (self.scores.event, is_signal(self.events), self.weight)
        )
        of_these = {
            one: score[classified]
            for one, score in scores.items()
            if one.jet_definitions == (jet_definition,)
        }
        floor = self.study.figures.background_jets_min
        spectra = {name: jets[name][classified] for name in SPECTRA}
        label = of_signal if label is None else label[classified]
        return Classifiers(self.study, floor, of_these, event, label, spectra, weight)

    def repeats_of_events(self, jet_definition: str, features: tuple[str, ...] = ()) -> Classifiers:
        """Trees on the three jets' scores of all seeds of the networks, and features beside."""
        grown, found = self.trees.fits, {}
        for training in self.scores.repeats:
            further = training._replace(features=features, trees=HELD_OUT_EVENTS)
            fit = further if further in grown else further._replace(seed=None)
            if training.jet_definitions == (jet_definition,) and fit in grown:
                found[further] = grown[fit]
        return self._on_events(found, is_signal(self.events))

    @property
    def of_events(self) -> Classifiers:
        """All trees over the held-out events but those of further seeds."""
        every = fits(self.study.classifiers.networks, self.study.jet_definitions)
        return self.of_fits(one for one in every if one.level == "events")

    def of_fits(self, wanted: Iterable[Classifier]) -> Classifiers:
        """Those of these fits over the held-out events that exist."""
        found = {one: self.trees.fits[one] for one in wanted if one in self.trees.fits}
        return self._on_events(found, is_signal(self.events))

    @property
    def of_shuffled_events(self) -> Classifiers:
        """The null check over events: grown and tested on permuted labels."""
        found = {one: score for one, score in self.trees.fits.items() if one.permuted}
        return self._on_events(found, self.trees.shuffled_label)

    def _on_events(self, score: Mapping[Classifier, np.ndarray], label: np.ndarray) -> Classifiers:
        some = self.scores.jets.get(OF_EVENTS, next(iter(self.scores.jets.values())))
        hardest = some[np.arange(len(some)), some["pt"].argmax(axis=1)]
        spectra = {name: hardest[name] for name in SPECTRA}
        floor = self.study.figures.background_events_min
        return Classifiers(self.study, floor, score, self.scores.event, label, spectra, self.weight)

    @property
    def is_stop(self) -> np.ndarray:
        """Held-out events (n,) of stop pairs, of which figures against masses and limits are."""
        return self.events["process"] == PROCESSES["stop"].number

    @property
    def masses(self) -> tuple[np.ndarray, np.ndarray]:
        """Stop and neutralino masses of the held-out stop pairs, ascending, GeV; may be empty."""
        stops = self.events[self.is_stop]
        return np.unique(stops["m_stop"]), np.unique(stops["m_neutralino"])


def read_results(study: Study, left_out: Mapping[str, str]) -> Results:
    """Read what steps 1, 3 and 4 wrote.

    Raises:
        InputError: a file is missing or damaged, or trees.h5 belongs to other scores.
    """
    folder = study.data_dir
    scores = read_scores(folder / "scores.h5", study.classifiers.seeds)
    trees = read_trees(folder / "trees.h5")
    if not np.array_equal(scores.event, trees.event):
        raise InputError(
            f"{folder}/trees.h5: its events are not those of scores.h5; run fit_xgb.py again"
        )
    table = read_event_table(folder / "events.h5")
    return results_of(study, table, scores, trees, left_out)


def results_of(
    study: Study,
    table: EventTable,
    scores: BaseScores,
    trees: TreeScores,
    left_out: Mapping[str, str],
) -> Results:
    """Scores of the same held-out events, of which the variations are put aside."""
    process = table.events["process"][scores.event]
    varied = {
        name: trees.take(rows)
        for name, parts in variations_of(of_role(BACKGROUND)).items()
        if (rows := np.isin(process, [part.number for part in parts])).any()
    }
    nominal = ~is_variation(table.events[scores.event])
    return Results(study, table, scores.take(nominal), trees.take(nominal), varied, left_out)
