"""What the trainings of `studies.quark_gluon` give on held-out jets."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import softmax

from evaluation.pages import Rows
from evaluation.results import Classifiers
from evaluation.table import ends
from figures import style
from jets.classifier import Classifier
from jets.particle_jets import NOMINAL, JetTable
from jets.split import HELD_OUT
from sensitivity.bootstrap import Estimate, effective_count, mean_of_seeds
from studies.quark_gluon_trainings import BOTH, SEEDS, Trained, Way, shuffled
from study import Study

EFFICIENCIES = (0.5, 0.3)  # of quarks, at which the rejection of gluons is measured
NAMES = "gluon", "quark"  # by label
PUBLISHED = {  # of 100,000 jets, the first file of EnergyFlow: gluons, quarks
    "multiplicity, mean": (53.22, 33.40), "multiplicity, width": (15.76, 13.34),
    "mean pT of a particle [GeV]": (9.85, 15.68),
}  # fmt: skip
CURVES = (
    BOTH.line,
    "both, learning rate × 10",
    "both, four times as long",
    "both, permuted labels",
)


def measured(study: Study, table: JetTable, found: Sequence[Trained]) -> Rows:
    """Accuracy, AUC and rejection of each way on held-out jets of each sample: means over seeds,
    and paired differences of AUC to *both* with as many jets."""
    rows = []
    for sample in dict.fromkeys(table.sample.tolist()):
        tested = (table.split == HELD_OUT) & (table.sample == sample)
        for is_shuffled in (False, True):
            some = [one for one in found if one.way.is_shuffled == is_shuffled]
            label = (shuffled(table) if is_shuffled else table.label)[tested] == 1
            rows += _on(study, some, tested, label, sample)
    return rows


def _on(
    study: Study, found: Sequence[Trained], tested: np.ndarray, is_quark: np.ndarray, sample: str
) -> Rows:
    """The same on some jets with these labels."""
    groups: dict[Way, list[int]] = {}
    for i, one in enumerate(found):
        groups.setdefault(one.way, []).append(i)
    n = np.count_nonzero(tested)
    score = {
        Classifier((str(one.way.jets),), (one.way.line,), seed=one.seed): one.score[tested]
        for one in found
    }
    jets = Classifiers(
        study, study.figures.background_jets_min, score, np.arange(n), is_quark, {}, np.ones(n)
    )
    aucs, names, rows = jets.aucs, list(score), []
    points = {
        at: [
            replace(jets, study=study.changed(figures={"working_point": at})).sic_at(one)
            for one in names
        ]
        for at in EFFICIENCIES
    }
    for way, some in groups.items():
        numbers = {"accuracy": mean_of_seeds([accuracy(score[names[i]], is_quark) for i in some])}
        numbers["AUC"] = mean_of_seeds([aucs[i] for i in some])
        for at, of_point in points.items():
            # The SIC is eps_S / sqrt(eps_B); a lower limit has no error.
            ends_of = [[(x / at) ** 2 for x in (p.value, p.low, p.high)] for p in of_point]
            rejections = [Estimate(ends_of[i][0], np.ptp(ends_of[i][1:]) / 2) for i in some]
            numbers[f"1 / eps_B at eps_S = {at}"] = mean_of_seeds(rejections)
        both = groups.get(BOTH._replace(jets=way.jets))
        if both and way.line != BOTH.line:
            numbers["AUC difference"] = aucs.difference_of_means(some, both)
        for quantity, number in numbers.items():
            keys = {"line": way.line, "jets": way.jets, "sample": sample, "trainings": len(some)}
            rows.append(keys | {"quantity": quantity} | ends(number))
    return rows


def accuracy(
    score: np.ndarray, is_signal: np.ndarray, weight: np.ndarray | None = None
) -> Estimate:
    """The share on the right side of a half, by weights (n,), if any; binomial error."""
    share = float(np.average((score > 0.5) == is_signal, weights=weight))
    n = len(score) if weight is None else effective_count(weight.sum(), (weight**2).sum())
    return Estimate(share, float(np.sqrt(share * (1 - share) / n)))


def published_means(table: JetTable) -> Rows:
    """Multiplicity and pT of particles of the sample, beside those of EnergyFlow's first file."""
    rows = []
    nominal = table.take(table.sample == NOMINAL)
    for label, (name, *published) in enumerate(zip(NAMES, *PUBLISHED.values(), strict=True)):
        jets = nominal.take(nominal.label == label)
        n = jets.jets["multiplicity"].astype(float)
        found = {
            "multiplicity, mean": Estimate(n.mean(), n.std() / len(n) ** 0.5),
            "multiplicity, width": Estimate(n.std(), n.std() / (2 * len(n)) ** 0.5),
            "mean pT of a particle [GeV]": Estimate(
                float(jets.constituents.pt.mean()),
                float(jets.constituents.pt.std() / len(jets.constituents.pt) ** 0.5),
            ),
        }
        for (quantity, number), theirs in zip(found.items(), published, strict=True):
            keys = {"jets": name, "quantity": quantity, "published": theirs}
            rows.append(keys | ends(number))
    return rows


def combiners(found: Sequence[Trained]) -> Rows:
    """The combiner of all trainings of *both* with the fewest jets: mean and standard deviation of
    its weights, and of the shares that its author read off it: softmax(W (1, 0, 0, 1) + b)."""
    fewest = min(one.way.jets for one in found)
    some = [one.combiner for one in found if one.way == BOTH._replace(jets=fewest)]
    weight = np.array([one["weight"] for one in some])  # (trainings, 2, 4)
    bias = np.array([one["bias"] for one in some])
    shares = softmax(weight @ [1, 0, 0, 1] + bias, axis=1)
    columns = {
        f"W, {row}, {token}": weight[:, i, k]
        for i, row in enumerate(NAMES)
        for k, token in enumerate(("constituents 1", "constituents 2", "jet 1", "jet 2"))
    }
    columns |= {f"b, {row}": bias[:, i] for i, row in enumerate(NAMES)}
    columns |= {"share of constituents": shares[:, 0], "share of the jet": shares[:, 1]}
    return [
        {"number": name, "mean": x.mean(), "deviation": x.std(ddof=1) if len(x) > 1 else "",
         "least": x.min(), "largest": x.max(), "trainings": len(x)}
        for name, x in columns.items()
    ]  # fmt: skip


def curves(found: Sequence[Trained]) -> Rows:
    """Losses and accuracy against the epoch: mean and one standard deviation of the seeds."""
    rows = []
    fewest = min(one.way.jets for one in found)
    for line in CURVES:
        some = [one for one in found if one.way.line == line and one.way.jets == fewest]
        for quantity in ("training_loss", "loss", "accuracy"):
            values = [[row[quantity] for row in one.history] for one in some[:SEEDS]]
            mean, spread = np.mean(values, axis=0), np.std(values, axis=0)
            columns = {"line": line, "quantity": quantity, "epoch": np.arange(1, len(mean) + 1)}
            ends_of = {"value": mean, "low": mean - spread, "high": mean + spread}
            rows += style.rows(columns | ends_of)
    return rows
