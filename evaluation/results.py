"""What the steps of a study wrote, read once, and its classifiers side by side."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from command import InputError
from jets.packed import EventTable, read_event_table
from jets.scores import BaseScores, TreeScores, read_scores, read_trees
from jets.split import is_signal, is_variation
from processes import BACKGROUND, SIGNAL, STATED, VARIATION, of_role
from sensitivity.auc import CorrelatedAUCs, correlated_aucs
from sensitivity.bootstrap import Scores
from sensitivity.reweighting import spectrum_weights
from sensitivity.sic import (
    Cut,
    MaximumSIC,
    SICCurve,
    SICPoint,
    cut_at,
    max_sic,
    sic_at,
    sic_curve,
)
from study import Study

MASS, PT = "jet mass", "jet pT"
TREES_OF_ONE_JET = {
    "mass_pt": "trees on (mass, pT)",
    "angularities": "trees on (mass, pT, angularities)",
    "same_jets": "trees on the networks' jets",
}
TREES_OF_THREE_JETS = {  # without a network
    "mass": "trees on mass",
    "pt": "trees on pT",
    **{fit: TREES_OF_ONE_JET[fit] for fit in ("mass_pt", "angularities")},
}
PT_OF_EVENTS = "AK14"  # whose hardest jet's pT stands for an event's where events are reweighted


@dataclass(frozen=True)
class Classifiers:
    """Scores of several classifiers on the same jets, or on the same events.

    Figures of merit are those of the study: its working point, its least numbers of background
    scores behind a number, its bootstrap.

    Attributes:
        study: whose they are.
        background_min: background scores that must pass for a number other than max SIC.
        score: name -> (n,)
        event: (n,) rows of the event table; the bootstrap resamples them whole.
        is_signal: (n,)
        pt: (n,) GeV, of the jet, or of the event's hardest jet.
        weight: (n,)
        counted: (n,) weights without the factors of a spectrum, see `Scores`; None: `weight`.
    """

    study: Study
    background_min: int
    score: Mapping[str, np.ndarray]
    event: np.ndarray
    is_signal: np.ndarray
    pt: np.ndarray
    weight: np.ndarray
    counted: np.ndarray | None = None

    def pair(self, name: str, signal: np.ndarray | bool = True) -> tuple[Scores, Scores]:
        """Signal (all of it, or what the (n,) mask keeps) and background scores of a classifier."""
        of_class = (self.is_signal & signal, ~self.is_signal)
        return tuple(self._scores(self.score[name], rows) for rows in of_class)

    def aucs(self) -> CorrelatedAUCs:
        """AUCs of all, in the order of their names."""
        stacked = np.stack(list(self.score.values()))
        of_class = (self.is_signal, ~self.is_signal)
        pair = (self._scores(stacked, rows) for rows in of_class)
        return correlated_aucs(*pair, bootstraps=self.study.figures.bootstraps)

    def max_sic(self, name: str) -> MaximumSIC:
        """Of a classifier; the study's least signal efficiency and number of background jets hold.

        Over events too at least as many events as the study asks of jets must pass.
        """
        return max_sic(
            *self.pair(name),
            signal_efficiency_min=self.study.figures.signal_efficiency_min,
            background_min=self.study.figures.background_jets_min,
            bootstraps=self.study.figures.bootstraps,
        )

    def sic_at(self, name: str, signal: np.ndarray | bool = True) -> SICPoint:
        """Of a classifier at the working point, of all signal or what the (n,) mask keeps."""
        return sic_at(*self.pair(name, signal), self.study.figures.working_point, **self._counted)

    def cut_at(self, name: str, signal: np.ndarray | bool = True) -> Cut:
        """The cut of the working point, of all signal or what the (n,) mask keeps."""
        return cut_at(*self.pair(name, signal), self.study.figures.working_point, **self._counted)

    def sic_curve(self, name: str) -> SICCurve:
        """Of a classifier."""
        return sic_curve(*self.pair(name), **self._counted)

    @property
    def _counted(self) -> dict[str, int]:
        return {"background_min": self.background_min, "bootstraps": self.study.figures.bootstraps}

    def _scores(self, score: np.ndarray, rows: np.ndarray) -> Scores:
        counted = None if self.counted is None else self.counted[rows]
        return Scores(score[..., rows], self.event[rows], self.weight[rows], counted)

    def reweighted(self) -> "Classifiers":
        """The same, the background weighted to the signal's spectrum of pT."""
        of_class = (self._scores(self.pt, rows) for rows in (self.is_signal, ~self.is_signal))
        weight = self.weight.copy()
        weight[~self.is_signal] *= spectrum_weights(*of_class)
        return replace(self, weight=weight, counted=self.weight)

    def named(self, names: Mapping[str, str]) -> "Classifiers":
        """Those of `names` (score -> name in the figure) that exist."""
        return replace(
            self, score={new: self.score[old] for old, new in names.items() if old in self.score}
        )


@dataclass(frozen=True)
class Results:
    """The held-out events of a study with all their scores.

    Attributes:
        table: every event that was read.
        scores, trees: of the held-out events.
        varied: variation of a background -> scores of its events by the trees over events.
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

    def networks(self, jet_definition: str) -> list[str]:
        """The networks trained on this jet definition, in the study's order."""
        return [
            n
            for n in self.study.classifiers.networks
            if f"{jet_definition}/{n}" in self.scores.networks
        ]

    def of_jets(self, jet_definition: str) -> Classifiers:
        """The networks, and the jet's mass and pT, on the classified held-out jets.

        Raises:
            InputError: no jet of one of the classes.
        """
        jets, scores = self.scores.jets[jet_definition], self.scores.networks
        by_name = {n: scores[f"{jet_definition}/{n}"] for n in self.networks(jet_definition)}
        by_name |= {MASS: jets["mass"], PT: jets["pt"]}
        for fit, name in TREES_OF_ONE_JET.items():
            by_name[name] = self.trees.fits[f"{jet_definition}/{fit}"]
        found = self._on_jets(jets, by_name, self._is_signal(jets))
        for what, of_class in (("signal", found.is_signal), ("background", ~found.is_signal)):
            if not of_class.any():
                raise InputError(
                    f"{self.study.data_dir}/scores.h5: {jet_definition}: none of the held-out jets "
                    f"is a {what} jet (of signal those count that match a neutralino), expected at "
                    "least one"
                )
        return found

    def repeats_of_jets(self, jet_definition: str) -> Classifiers:
        """All seeds of the networks, as `MaxViT/0`, on the same jets."""
        by_name = {
            name.partition("/")[2]: score
            for name, score in self.scores.repeats.items()
            if name.startswith(f"{jet_definition}/")
        }
        jets = self.scores.jets[jet_definition]
        return self._on_jets(jets, by_name, self._is_signal(jets))

    def _is_signal(self, jets: np.ndarray) -> np.ndarray:
        return np.broadcast_to(is_signal(self.events)[:, None], jets.shape)

    def of_shuffled_jets(self, jet_definition: str) -> Classifiers:
        """The null check: trained on permuted labels, tested on those same permuted labels.

        Without any score where so few jets are left that all have the same label.
        """
        jets = self.scores.jets[jet_definition]
        by_name = {
            name.split("/")[1]: score
            for name, score in self.scores.shuffled.items()
            if name.startswith(f"{jet_definition}/")
        }
        found = self._on_jets(jets, by_name, jets["shuffled_label"] == 1)
        return found if 0 < found.is_signal.sum() < len(found.is_signal) else found.named({})

    def _on_jets(
        self, jets: np.ndarray, by_name: Mapping[str, np.ndarray], is_signal: np.ndarray
    ) -> Classifiers:
        classified = jets["classified"]
        event = np.broadcast_to(self.scores.event[:, None], jets.shape)
        return Classifiers(
            self.study,
            self.study.figures.background_jets_min,
            {name: score[classified] for name, score in by_name.items()},
            event[classified],
            is_signal[classified],
            jets["pt"][classified],
            np.ones(np.count_nonzero(classified)),
        )

    def repeats_of_events(self, jet_definition: str) -> Classifiers:
        """The fits on the three jets' scores of all seeds, as `MaxViT/0`."""
        names = {}
        for name in self.scores.repeats:
            definition, network, seed = name.split("/")
            if definition == jet_definition:
                further = f"{definition}_{network}_{seed}"
                fit = further if further in self.trees.fits else f"{definition}_{network}"
                names[fit] = f"{network}/{seed}"
        return self._on_signal(self.trees.fits).named(names)

    @property
    def of_events(self) -> Classifiers:
        """Every fit over the held-out events but those of further seeds."""
        further = {name.replace("/", "_") for name in self.scores.repeats}
        return self._on_signal({n: s for n, s in self.trees.fits.items() if n not in further})

    def _on_signal(self, fits: Mapping[str, np.ndarray]) -> Classifiers:
        of_events = {name: score for name, score in fits.items() if score.ndim == 1}
        return self._on_events(of_events, is_signal(self.events))

    @property
    def of_shuffled_events(self) -> Classifiers:
        """The null check over events: grown and tested on permuted labels."""
        return self._on_events({"all scores": self.trees.null_check}, self.trees.shuffled_label)

    def _on_events(self, fits: Mapping[str, np.ndarray], is_signal: np.ndarray) -> Classifiers:
        some = self.scores.jets.get(PT_OF_EVENTS, next(iter(self.scores.jets.values())))
        pt = some["pt"].max(axis=1)
        floor = self.study.figures.background_events_min
        return Classifiers(
            self.study, floor, fits, self.scores.event, is_signal, pt, np.ones(len(pt))
        )

    @property
    def masses(self) -> tuple[np.ndarray, np.ndarray]:
        """Stop and neutralino masses of the held-out signal events that have them, ascending, GeV.

        Empty where no signal has both.
        """
        with_masses = [p.number for p in of_role(SIGNAL).values() if p.parameters == STATED]
        signal = self.events[np.isin(self.events["process"], with_masses)]
        return np.unique(signal["m_stop"]), np.unique(signal["m_neutralino"])


def read_results(study: Study, left_out: Mapping[str, str]) -> Results:
    """Read what steps 1, 3 and 4 wrote.

    Raises:
        InputError: a file is missing or damaged, or trees.h5 belongs to other scores.
    """
    folder = study.data_dir
    scores, trees = (
        read_scores(folder / "scores.h5", study.classifiers.seeds),
        read_trees(folder / "trees.h5"),
    )
    if not np.array_equal(scores.event, trees.event):
        raise InputError(
            f"{folder}/trees.h5: its events are not those of scores.h5; run fit_xgb.py again"
        )
    table = read_event_table(folder / "events.h5")
    process = table.events["process"][scores.event]
    varied = {
        name: trees.take(rows)
        for name, variation in of_role(VARIATION).items()
        if variation.varies in of_role(BACKGROUND) and (rows := process == variation.number).any()
    }
    nominal = ~is_variation(table.events[scores.event])
    return Results(study, table, scores.take(nominal), trees.take(nominal), varied, left_out)


def three_jets(jet_definition: str, networks: Iterable[str]) -> dict[str, str]:
    """Fits on the three jets' scores of one network, and their names in figures."""
    return {f"{jet_definition}_{network}": network for network in networks}


def with_observables(networks: Iterable[str]) -> dict[str, str]:
    """Fits on AK14 scores and DS2, and on DS2 alone, and their names in figures."""
    return {f"AK14_{network}_DS2": f"{network} + DS2" for network in networks} | {"DS2": "DS2"}
