"""What the trainings of `studies.quark_gluon` give on held-out jets."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.special import softmax

from evaluation.pages import Rows
from evaluation.results import Classifiers
from evaluation.table import ends
from figures import style
from jets.classifier import Classifier
from jets.particle_jets import NOMINAL, JetTable
from jets.split import HELD_OUT
from sensitivity.bootstrap import Estimate, effective_count, mean_of_seeds
from studies import scaling
from studies.quark_gluon_trainings import (
    BOTH,
    COMPARED,
    FEW,
    SCALED,
    SEEDS,
    Trained,
    Way,
    epochs_of,
    inputs_of,
    network_of,
    rows_of,
    shuffled,
    sizes,
    trained_jets,
    ways,
)
from study import Study
from training import checkpoint
from training.inputs import make_sample
from training.interruption import Watch
from training.learner import Learner
from training.loop import train_epoch

EFFICIENCIES = (0.5, 0.3)  # of quarks, at which the rejection of gluons is measured
NAMES = "gluon", "quark"  # by label
PUBLISHED = {  # of 100,000 jets, the first file of EnergyFlow: gluons, quarks
    "multiplicity, mean": (53.22, 33.40), "multiplicity, width": (15.76, 13.34),
    "mean pT of a particle [GeV]": (9.85, 15.68),
    "share with more than 38 particles": (0.827, 0.289),
}  # fmt: skip
CURVES = (
    BOTH.line,
    "both, learning rate × 10",
    "both, four times as long",
)
NETWORKS = [way for way in SCALED if way.options is not None]  # that have a power law
NOT_RUN = {"value": "", "low": "", "high": ""}
ENERGYFLOW_JETS = 1.6e6  # on which others train (arXiv:2202.03772)
ROUNDS, BATCHES = 3, 10  # in which the speed of training is measured


def measured(study: Study, table: JetTable, found: Sequence[Trained]) -> Rows:
    """Accuracy, AUC, loss and rejection of each way on held-out jets of each sample: means over
    seeds, and paired differences of AUC to *both* with as many jets; what was not run has no
    values."""
    rows = []
    for sample in dict.fromkeys(table.sample.tolist()):
        tested = (table.split == HELD_OUT) & (table.sample == sample)
        for is_shuffled in (False, True):
            some = [one for one in found if one.way.is_shuffled == is_shuffled]
            label = (shuffled(table) if is_shuffled else table.label)[tested] == 1
            rows += _on(study, some, tested, label, sample)
    missing = [way for way in ways(trained_jets(table)) if way not in {one.way for one in found}]
    keys = {"sample": NOMINAL, "trainings": 0, "quantity": "accuracy"} | NOT_RUN
    return rows + [{"line": way.line, "jets": way.jets, **keys} for way in missing]


def _on(
    study: Study, found: Sequence[Trained], tested: np.ndarray, is_quark: np.ndarray, sample: str
) -> Rows:
    """The same on some jets with these labels."""
    groups: dict[Way, list[int]] = {}
    for i, one in enumerate(found):
        groups.setdefault(one.way, []).append(i)
    score = {
        Classifier((str(one.way.jets),), (one.way.line,), seed=one.seed): one.score[tested]
        for one in found
    }
    jets = _classifiers(study, score, is_quark)
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
        numbers["loss"] = mean_of_seeds([scaling.loss(jets, names[i])[0] for i in some])
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


def _classifiers(study: Study, score: Mapping, is_quark: np.ndarray) -> Classifiers:
    n = len(is_quark)
    least = study.figures.background_jets_min
    return Classifiers(study, least, score, np.arange(n), is_quark, {}, np.ones(n))


def accuracy(
    score: np.ndarray, is_signal: np.ndarray, weight: np.ndarray | None = None
) -> Estimate:
    """The share on the right side of a half, by weights (n,), if any; binomial error."""
    share = float(np.average((score > 0.5) == is_signal, weights=weight))
    n = len(score) if weight is None else effective_count(weight.sum(), (weight**2).sum())
    return Estimate(share, float(np.sqrt(share * (1 - share) / n)))


def of_sizes(rows: Rows, n: int) -> Rows:
    """Of the rows of `measured` those of `SCALED` with each number of jets up to all n, under the
    names of the ways."""
    found = []
    for way in SCALED:
        for one in sizes(way, n):
            some = (row for row in rows if (row["line"], row["jets"]) == (one.line, one.jets))
            found += [
                {**row, "line": way.line} for row in some if row["quantity"] != "AUC difference"
            ]
    return found


def laws(
    study: Study, table: JetTable, found: Sequence[Trained]
) -> dict[str, tuple[np.ndarray, ...]]:
    """The power law of the loss of held-out jets of each network of `SCALED` that has enough
    sizes, see `scaling.laws`."""
    tested = (table.split == HELD_OUT) & (table.sample == NOMINAL)
    laws = {}
    for way in NETWORKS:
        of_way = sizes(way, trained_jets(table))
        some = [one for one in found if one.way in of_way]
        score = {(one.way.jets, one.seed): one.score[tested] for one in some}
        if law := scaling.laws(_classifiers(study, score, table.label[tested] == 1)):
            laws[way.line] = law
    return laws


def law_rows(laws: Mapping[str, tuple[np.ndarray, ...]]) -> Rows:
    """Their parameters, and what as many jets as others have would give."""
    rows = []
    for line in (way.line for way in NETWORKS):
        of_law = [{"quantity": scaling.NAMES[0], **NOT_RUN}]
        if line in laws:
            of_law = scaling.fitted(*laws[line], ENERGYFLOW_JETS, "EnergyFlow")
        rows += [{"line": line, **row} for row in of_law]
    return rows


def costs(study: Study, table: JetTable, found: Sequence[Trained], device: torch.device) -> Rows:
    """Of what is `COMPARED` with the fewest jets: parameters, training jets per second of a core,
    the best of `ROUNDS` rounds in which each has its turn, and what all epochs take at that."""
    few = min(FEW, trained_jets(table))
    trainings = Counter(one.way for one in found)
    asked = [way for way in (one._replace(jets=few) for one in COMPARED) if trainings[way]]
    rows = rows_of(table, BOTH)[0][: BATCHES * study.training.batch_size]
    learners, samples, speed = {}, {}, dict.fromkeys(asked, 0.0)
    for way in asked:
        inputs = inputs_of(table, way, rows, device).take(rows)
        learners[way] = Learner(network_of(study, way, inputs.size).to(device), study)
        samples[way] = make_sample(inputs)
    for way in ROUNDS * asked:
        begin = time.process_time()
        train_epoch(learners[way], samples[way], 0, checkpoint.Progress(), Watch())
        speed[way] = max(speed[way], len(rows) / (time.process_time() - begin))
    costs = []
    for way in asked:
        numbers = {
            "parameters": sum(x.numel() for x in learners[way].network.parameters()),
            "jets / s": speed[way],
            "training [s]": few * epochs_of(study, way) / speed[way],
        }
        keys = {"line": way.line, "jets": few, "sample": NOMINAL, "trainings": trainings[way]}
        costs += [keys | {"quantity": name, **ends(round(x))} for name, x in numbers.items()]
    return costs


def published_means(table: JetTable) -> Rows:
    """Multiplicity and pT of particles of the sample, beside those of EnergyFlow's first file."""
    rows = []
    nominal = table.take(table.sample == NOMINAL)
    for label, (name, *published) in enumerate(zip(NAMES, *PUBLISHED.values(), strict=True)):
        jets = nominal.take(nominal.label == label)
        n = jets.jets["multiplicity"].astype(float)
        offsets = jets.constituents.offsets
        pt, counts = np.add.reduceat(jets.constituents.pt, offsets[:-1]), np.diff(offsets)
        per_particle = pt.sum() / counts.sum()
        of_jets = (pt - per_particle * counts) / counts.mean()  # what each jet adds to its error
        found = {
            "multiplicity, mean": Estimate(n.mean(), n.std() / len(n) ** 0.5),
            "multiplicity, width": Estimate(n.std(), n.std() / (2 * len(n)) ** 0.5),
            "mean pT of a particle [GeV]": Estimate(per_particle, of_jets.std() / len(n) ** 0.5),
            "share with more than 38 particles": Estimate(
                np.mean(n > 38), np.std(n > 38) / len(n) ** 0.5
            ),
        }
        for (quantity, number), theirs in zip(found.items(), published, strict=True):
            keys = {"jets": name, "quantity": quantity, "published": theirs}
            rows.append(keys | ends(number))
    return rows


def combiners(found: Sequence[Trained]) -> Rows:
    """The combiner of all trainings of *both* with the fewest jets: mean and standard deviation of
    its weights, and of the shares that its author read off it: softmax(W (1, 0, 0, 1) + b)."""
    fewest = min(one.way.jets for one in found if one.way.line == BOTH.line)
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
    fewest = min(one.way.jets for one in found if one.way.line == BOTH.line)
    for line in CURVES:
        some = [one for one in found if one.way.line == line and one.way.jets == fewest]
        for quantity in ("training_loss", "loss", "accuracy"):
            values = [[row[quantity] for row in one.history] for one in some[:SEEDS]]
            mean, spread = np.mean(values, axis=0), np.std(values, axis=0)
            columns = {"line": line, "quantity": quantity, "epoch": np.arange(1, len(mean) + 1)}
            ends_of = {"value": mean, "low": mean - spread, "high": mean + spread}
            rows += style.rows(columns | ends_of)
    return rows
