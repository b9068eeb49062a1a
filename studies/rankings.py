"""Which features of an event does a network rest on, by which baseline? For doc/attributions.md.

The case of arXiv:2412.13864: a feed-forward network of features, and background of several weights.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from attribution.averages import Explained, explain
from attribution.baselines import BASELINES, Baseline, baseline_of, fetched
from attribution.deposits import mean_of
from attribution.removal import area, curve, units
from attribution.summary import CLASSES, FILLS
from evaluation.pages import Rows
from evaluation.table import ends
from event_level.fits import DS2, column_names, columns
from event_level.higgs_to_z_gamma import FEATURES
from event_level.higgs_to_z_gamma import read as read_z_gamma
from event_level.networks import fitting, folds
from event_level.trees import held_out_events
from jets.classifier import EventNetwork
from jets.packed import read_event_table
from jets.scores import read_scores
from jets.split import HELD_OUT
from models import create_model
from sensitivity.auc import CorrelatedAUCs, correlated_aucs
from sensitivity.bootstrap import Estimate, Scores, mean_of_seeds, poisson_counts
from studies.at_once import ALL_KNOWN
from studies.trainings import read_training
from studies.z_gamma_trainings import (
    FEED_FORWARD,
    SIGNIFICANCE,
    Way,
    directory_of,
    epoch_of,
    run_training,
    sample_of,
    sha256_of,
    variant,
)
from study import Study
from training import checkpoint
from training.event_features import EventFeatures
from training.inputs import Inputs
from training.loop import logits_of

RAW_ZERO = "raw zero"  # every feature 0 in its own unit; `zero` is 0 as the network sees it
REFERENCES = "permuted", "alone"
STOP_PAIRS = {"stop pairs": DS2, "stop pairs, all": ALL_KNOWN}  # features without a network
RESAMPLINGS = 100


@dataclass(frozen=True)
class Case:
    """A network of features, and test events.

    Attributes:
        name: of what, in tables.
        features: their names (f,).
        inputs: of n events that neither trained the network nor chose its epoch.
        label: (n,) 1 for signal.
        weight: (n,) as they are expected, within their class; not negative.
        raw_zero: (f,) the features 0 as the network sees them.
    """

    name: str
    features: tuple[str, ...]
    network: nn.Module
    inputs: Inputs
    label: np.ndarray
    weight: np.ndarray
    raw_zero: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """The features (n, f) as the network sees them."""
        return fetched(self.inputs, np.arange(len(self.label)))["features"].cpu().numpy()

    def with_features(self, seen: np.ndarray) -> Inputs:
        """The events with other features (n, f)."""
        return EventFeatures(seen, self.inputs.table, self.inputs.device)

    def aucs(self, scores: np.ndarray) -> CorrelatedAUCs:
        """The AUCs of scores (k, n), with weights."""
        classes = [
            Scores(scores[:, of], np.flatnonzero(of), self.weight[of])
            for of in (self.label == 1, self.label == 0)
        ]
        return correlated_aucs(*classes, bootstraps=RESAMPLINGS)

    def score(self, inputs: Inputs) -> np.ndarray:
        """Logits of signal (n,)."""
        logits = logits_of(self.network, inputs, self.name).astype(float)
        return logits[:, 1] - logits[:, 0]


def stop_pairs(study: Study, device: torch.device, name: str) -> Iterator[Case]:
    """The network of the first fold, of each seed, on `STOP_PAIRS` of this name: top pairs are
    background of two slices, whose events have other weights."""
    known = STOP_PAIRS[name]
    table = read_event_table(study.data_dir / "events.h5")
    scores = read_scores(study.data_dir / "scores.h5", study.classifiers.seeds)
    labels, weight, fold = held_out_events(study, table, scores)
    given = fitting(study, table, scores, str(device)), columns(known, scores, table)
    for seed in study.event_networks.seeds:
        made = EventNetwork(FEED_FORWARD, "cross entropy", 0.0, seed)
        fit = known._replace(event_network=made)
        first = next(folds(fit, given[1], labels, weight, fold, **given[0]))
        names = tuple(column_names(known))
        raw_zero = first.scale(np.zeros((1, len(names))))[0]
        is_nominal = np.flatnonzero(weight[first.tested] > 0)
        of_fold = (x[first.tested][is_nominal] for x in (labels.astype(int), weight))
        inputs = EventFeatures(
            fetched(first.inputs, is_nominal)["features"].cpu().numpy(),
            first.inputs.table[is_nominal],
            device,
        )
        yield Case(name, names, first.network, inputs, *of_fold, raw_zero)


def z_gamma(study: Study, device: torch.device) -> Iterator[Case]:
    """The fifteen features of H -> Z gamma, and the network of each seed; one background."""
    table, way = read_z_gamma(study), Way(FEED_FORWARD)
    sha256, asked = sha256_of(table), variant(study, way)
    rows = table.split == HELD_OUT
    low, high = np.transpose([*FEATURES.values()])
    for seed in study.classifiers.seeds:
        run_training(study, way, seed, table, sha256, device)
        directory = directory_of(study, way, seed)
        made = read_training(directory)
        path = checkpoint.checkpoint_path(directory, epoch_of(made.history, SIGNIFICANCE))
        network = create_model(way.network, way.features, study.training.width).to(device)
        checkpoint.load(path, network, made.facts["settings"])
        inputs = sample_of(table, asked, way.features, device, HELD_OUT).inputs
        columns = table.label[rows], np.maximum(table.weight[rows], 0)
        raw_zero = -(high + low) / (high - low)
        yield Case("H → Zγ", tuple(FEATURES), network, inputs, *columns, raw_zero)


def baselines(case: Case, n: int, background: np.ndarray, draws: int) -> dict[str, Baseline]:
    """All of them, and `RAW_ZERO`, for n rows."""
    raw_zero = torch.from_numpy(case.raw_zero.astype(np.float32)).to(case.inputs.device)
    weight = case.weight[background]
    made = {
        name: baseline_of(name, case.inputs, background, weight, n, draws) for name in BASELINES
    }
    at = Baseline(1, lambda x, numbers, draw: {"features": raw_zero.expand_as(x["features"])})
    return {"zero": made.pop("zero"), RAW_ZERO: at} | made


def references(case: Case) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What else says how much the features matter: by how much the AUC falls when one is exchanged
    between all events, by its weight; and how far the AUC of one alone is from a half.

    Returns:
        Shares (f,) of their sum, with their covariance (f, f).
    """
    seen, random = case.seen, np.random.default_rng(0)
    scores = [case.score(case.inputs)]
    share = case.weight / np.bincount(case.label, case.weight)[case.label] / 2
    for i in range(seen.shape[1]):
        changed = seen.copy()
        changed[:, i] = random.choice(seen[:, i], len(seen), p=share)
        scores.append(case.score(case.with_features(changed)))
    exchanged, alone = case.aucs(np.array(scores)), case.aucs(seen.T)
    one = np.eye(seen.shape[1])
    falls = np.hstack([np.ones((len(one), 1)), -one])
    distances = one * np.where(alone.value < 0.5, -1, 1)
    shares = _shares(falls, exchanged), _shares(distances, alone)
    return dict(zip(REFERENCES, shares, strict=True))


def _shares(sums: np.ndarray, aucs: CorrelatedAUCs) -> tuple[np.ndarray, np.ndarray]:
    """Sums (f, k) of the distances of AUCs (k,) from a half, over all, and their covariance."""
    values = sums @ (aucs.value - 0.5)
    shares = values / values.sum()
    slopes = (np.eye(len(shares)) - shares[:, None]) @ sums / values.sum()
    return shares, slopes @ aucs.covariance @ slopes.T


def rank(case: Case, n: int, draws: int, steps: int) -> tuple[Rows, Rows]:
    """One network, n events of each class explained.

    Returns:
        Rows of `case`, `feature`, `by` (a baseline or a reference), `value`, `error`: shares of
        |attribution|, references over their sum; and of `case`, `by`, `quantity`, `value`, `error`.
    """
    random = np.random.default_rng(0)
    chosen = [random.permutation(np.flatnonzero(case.label == i))[:n] for i in (0, 1)]
    rows = np.concatenate(chosen)
    background = np.setdiff1d(np.flatnonzero(case.label == 0), rows)
    made = baselines(case, len(rows), background, draws)
    explained = {
        name: explain(case.network, case.inputs, rows, one, steps, "logit", f"{case.name}, {name}")
        for name, one in made.items()
    }
    known = references(case)
    features, agreement = [], []
    for by, (values, covariance) in known.items():
        features += _of_features(case, by, values, np.sqrt(np.maximum(np.diag(covariance), 0)))
    drawn = {  # as other test events would have given them
        by: [values, *random.multivariate_normal(values, covariance, RESAMPLINGS)]
        for by, (values, covariance) in known.items()
    }
    for name, found in explained.items():
        shares = shares_of(found, case.label[rows], case.weight[rows], rows)
        features += _of_features(case, name, shares[0], shares[1:].std(axis=0, ddof=1))
        numbers = {"completeness error": Estimate(found.completeness_error, 0.0)}
        for reference, values in drawn.items():
            rho = [spearmanr(*both).statistic for both in zip(shares, values, strict=True)]
            numbers[f"rank correlation, {reference}"] = Estimate(rho[0], np.std(rho[1:], ddof=1))
        agreement += [_number(case, name, quantity, x) for quantity, x in numbers.items()]
    agreement += removal_areas(case, explained, rows, made)
    return features, agreement


def shares_of(
    found: Explained, label: np.ndarray, weight: np.ndarray, event: np.ndarray
) -> np.ndarray:
    """The shares (1 + resamplings, f) of |attribution|, of all events first, then of resampled
    ones; both classes count alike."""
    size = np.abs(found.values["features"]).astype(float)
    counts = [np.ones(len(size)), *poisson_counts(event, RESAMPLINGS)]
    shares = []
    for count in counts:
        of_classes = [np.average(size[label == i], axis=0, weights=(weight * count)[label == i])
                      for i in (0, 1)]  # fmt: skip
        mean = np.mean([one / one.sum() for one in of_classes], axis=0)
        shares.append(mean)
    return np.array(shares)


def removal_areas(
    case: Case, explained: dict[str, Explained], rows: np.ndarray, made: dict[str, Baseline]
) -> Rows:
    """Areas between the curves of removal by attribution and at random, of each class and fill."""
    sign = np.where(case.label[rows] == 1, 1.0, -1.0)
    some, found = next(iter(explained.values())), []
    fractions = np.arange(len(case.features) + 1) / len(case.features)
    device, at_once = case.inputs.device, case.inputs.at_once
    for words, fill in FILLS.items():
        random = curve(case.network, some, sign, None, made[fill], device, at_once, fractions)
        for name, one in explained.items():
            values = curve(
                case.network, some, sign, units(one)[1], made[fill], device, at_once, fractions
            )
            gain = area(values, random, fractions)
            for of, x in zip(CLASSES, (-1, 1), strict=True):
                number = mean_of(gain[sign == x])
                found.append(_number(case, name, f"area, {words}, {of}", number))
    return found


def of_seeds(rows: Rows) -> Rows:
    """Rows of several networks as one each: mean, with the spread of the seeds in the error."""
    groups: dict[tuple, list[Estimate]] = {}
    for row in rows:
        keys = tuple((name, x) for name, x in row.items() if name not in ("value", "error"))
        groups.setdefault(keys, []).append(Estimate(row["value"], row["error"]))
    return [
        dict(keys) | ends(mean_of_seeds(found)) | {"trainings": len(found)}
        for keys, found in groups.items()
    ]


def rankings(
    cases: Callable[[], Iterator[Case]], n: int, draws: int, steps: int
) -> tuple[Rows, Rows]:
    """All networks of a case: see `rank`."""
    found = [rank(case, n, draws, steps) for case in cases()]
    return tuple(
        of_seeds([row for part in some for row in part]) for some in zip(*found, strict=True)
    )


def _of_features(case: Case, by: str, values: np.ndarray, errors: np.ndarray) -> Rows:
    columns = zip(case.features, values, errors, strict=True)
    keys = {"case": case.name, "by": by}
    return [keys | {"feature": name, "value": x, "error": error} for name, x, error in columns]


def _number(case: Case, by: str, quantity: str, number: Estimate) -> dict[str, object]:
    keys = {"case": case.name, "by": by, "quantity": quantity}
    return keys | {"value": number.value, "error": number.error}
