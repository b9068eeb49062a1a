"""Quark or gluon? JetViT on jets of stable particles: the checks and questions of its sketch.

Reads   the jets of the study (`simulate.py`), or EnergyFlow's QG_jets*.npz in the same folder.
Writes  Data/<study>/models/: checkpoints, history and scores of each training; the tables of
        doc/quark_gluon.md, also as doc/results/<study>_*.csv, and doc/figures/quark_gluon_*.

    python simulate.py --study studies/quark_gluon.toml
    python -m studies.quark_gluon --study studies/quark_gluon.toml
    python -m studies.quark_gluon --study studies/quark_gluon.toml --quick
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit, softmax
from tqdm import tqdm

from command import run
from evaluation.pages import Rows, environment, with_numbers
from evaluation.results import Classifiers
from evaluation.table import cell, ends, pivot
from event_level.trees import grow
from figures import quark_gluon as figures
from figures import style
from jets.angularities import OF_JETS
from jets.classifier import Classifier
from jets.constituents import UNKNOWN_KIND
from jets.quark_gluon import NOMINAL, QuarkGluonTable, read
from jets.split import HELD_OUT, TRAIN, VALIDATION, lowest, uniform
from models import create_model
from products import (
    BeingMade,
    alone,
    atomic_write,
    is_finished,
    read_csv,
    read_manifest,
    write_csv,
    write_manifest,
    write_text,
)
from sensitivity.bootstrap import Estimate, mean_of_seeds
from studies.ordering import settings
from studies.pages import call_with, options_of, publish
from study import Study, load_study, stated, to_toml
from training import checkpoint
from training.constituents import JetConstituents, features_of
from training.inputs import make_sample
from training.interruption import Watch
from training.learner import Learner, choose_device
from training.loop import best_epoch, logits_of, train

PAGE = Path("doc/quark_gluon.md")
FEW, SEEDS = 8_000, 3  # training jets of the sketch, and trainings of each way
NETWORK = "JetViT"
EFFICIENCIES = (0.5, 0.3)  # of quarks, at which the rejection of gluons is measured
NAMES = "gluon", "quark"  # by label
PUBLISHED = {  # of 100,000 jets, the first file of EnergyFlow: gluons, quarks
    "multiplicity, mean": (53.22, 33.40), "multiplicity, width": (15.76, 13.34),
    "mean pT of a particle [GeV]": (9.85, 15.68),
}  # fmt: skip
QUICK_EVENTS = 300


class Way(NamedTuple):
    """What is trained, and how.

    Attributes:
        line: its name in tables.
        options: of the network; None: trees on the jet's features.
        identities: whether it sees the kind and the mass of a particle.
        angularities: whether it sees those of the jet, beside its mass and pT.
        learning_rate: times that of the study.
        longer: times the epochs of the study.
        is_shuffled: trained and tested on permuted labels.
        jets: to train on.
    """

    line: str
    options: tuple[tuple[str, object], ...] | None = ()
    identities: bool = False
    angularities: bool = True
    learning_rate: float = 1.0
    longer: int = 1
    is_shuffled: bool = False
    jets: int = FEW


BOTH = Way("both")
FULL = Way("both, pairs and identities", (("pairwise", True),), identities=True)
OF_TREES = Way("trees on mass, pT, angularities", None)
WAYS = (
    OF_TREES,
    Way("jet features alone", (("sees", "jet"),)),
    Way("jet features alone, no angularities", (("sees", "jet"),), angularities=False),
    Way("constituents alone", (("sees", "constituents"),)),
    Way("both, no angularities", angularities=False),
    BOTH,
    Way("both, learning rate × 10", learning_rate=10.0),
    Way("both, learning rate × 0.75", learning_rate=0.75),
    Way("both, four times as long", longer=4),
    Way("both, permuted labels", is_shuffled=True),
    Way("both, positions", (("positions", True),)),
    Way("both, jet bias", (("jet_bias", True),)),
    Way("both, pairs", FULL.options),
    Way("both, identities", identities=True),
    FULL,
)
MORE = (OF_TREES, BOTH, FULL)  # with more jets
CURVES = (
    BOTH.line,
    "both, learning rate × 10",
    "both, four times as long",
    "both, permuted labels",
)


class Trained(NamedTuple):
    """A finished training: its score (n,) of all jets, its history, and the combiner's `weight` and
    `bias`."""

    way: Way
    seed: int
    score: np.ndarray
    history: Rows
    combiner: Mapping[str, list]


def trainings(study: Study, table: QuarkGluonTable) -> list[tuple[Way, int]]:
    """All ways, and the best ones with more jets, each with `SEEDS` of the study's seeds, trees
    with one; `BOTH` with all seeds, for the combiner."""
    n = int(np.count_nonzero((table.split == TRAIN) & (table.sample == NOMINAL)))
    sizes = [size for size in (2 * FEW, 4 * FEW, 8 * FEW) if size < n] + [n]
    every = [way._replace(jets=min(way.jets, n)) for way in WAYS]
    more = [way._replace(jets=size) for way in MORE for size in sizes]
    seeds = study.classifiers.seeds
    found = [
        (way, seed)
        for way in [*every, *more]
        for seed in (seeds[:SEEDS] if way.options is not None else seeds[:1])
    ]
    return list(dict.fromkeys([*found, *((BOTH._replace(jets=min(FEW, n)), s) for s in seeds)]))


# --- Training -------------------------------------------------------------------------------------


def inputs_of(
    table: QuarkGluonTable, way: Way, known: np.ndarray, device: torch.device
) -> JetConstituents:
    """All jets as a network sees them; features are standardised to the known ones (n,)."""
    found = table.constituents
    if not way.identities:
        kind, mass = np.full_like(found.kind, UNKNOWN_KIND), np.zeros_like(found.mass)
        found = replace(found, kind=kind, mass=mass)
    features = features_of({name: table.jets[name] for name in OF_JETS})
    features = (features - features[known].mean(axis=0)) / features[known].std(axis=0)
    if not way.angularities:
        features[:, 2:] = 0
    columns = [("event", "i8"), ("label", "i8"), ("shuffled_label", "i8")]
    packed = np.zeros(len(table), columns)
    packed["event"], packed["label"] = np.arange(len(table)), table.label
    packed["shuffled_label"] = shuffled(table)
    return JetConstituents(found, features, packed, device)


def shuffled(table: QuarkGluonTable) -> np.ndarray:
    """The labels (n,), permuted within each split, which stays what it was."""
    label = table.label.copy()
    for split in np.unique(table.split):
        rows = np.flatnonzero(table.split == split)
        label[rows] = np.random.default_rng(int(split)).permutation(label[rows])
    return label


def rows_of(table: QuarkGluonTable, way: Way) -> list[np.ndarray]:
    """Numbers of the jets to train and to validate with: those of least hash, whatever else there
    is, so that more jets hold the fewer."""
    hashes = uniform(table.events, "training jet 0")
    chosen = []
    for split in (TRAIN, VALIDATION):
        rows = np.flatnonzero((table.split == split) & (table.sample == NOMINAL))
        if split == TRAIN:
            rows = rows[lowest(hashes[rows], np.zeros(len(rows), np.int64), way.jets)]
        chosen.append(rows)
    return chosen


def directory_of(study: Study, way: Way, seed: int) -> Path:
    """Where a training lies."""
    words = way.line.replace(" × ", "x").replace(",", "").replace(" ", "-")
    return study.data_dir / "models" / f"{words}_{way.jets}_{seed}"


def run_training(
    study: Study, way: Way, seed: int, table: QuarkGluonTable, sha256: str, device: torch.device
) -> None:
    """Train and score all jets, unless that is done; other jets to test on are scored, no more.

    Args:
        sha256: of what trainings see.

    Raises:
        BeingMade: another process is at it.
    """
    directory = directory_of(study, way, seed)
    section = stated(study.trees if way.options is None else study.training)
    settings = {"way": way._asdict(), "seed": seed, "settings": section, "jets_sha256": sha256}
    settings = json.loads(json.dumps(settings))
    manifest, scored = directory / "manifest.json", settings | {"scored_sha256": sha256_of(table)}
    if is_finished(manifest, scored, []):
        return
    asked = study.changed(
        training={
            "learning_rate": study.training.learning_rate * way.learning_rate,
            "epochs": study.training.epochs * way.longer,
        }
    )
    rows = rows_of(table, way)
    with alone(directory):
        checkpoint.set_aside(directory, study.data_dir / "set_aside", settings)
        directory.mkdir(parents=True, exist_ok=True)
        if way.options is None:
            features = features_of({name: table.jets[name] for name in OF_JETS})
            is_quark = table.label[rows[0]] == 1
            trees = grow(features[rows[0]], is_quark, np.ones(len(is_quark)), study, "cpu")
            score, facts = trees.inplace_predict(features), {"combiner": {}}
            write_csv(directory / "history.csv", [{"epoch": 0}])
        else:
            score, facts = _trained(asked, way, seed, table, rows, settings, device)
        with atomic_write(directory / "score.npy") as temporary, temporary.open("wb") as file:
            np.save(file, score.astype(np.float32))
        products = [directory / name for name in ("history.csv", "score.npy")]
        write_manifest(manifest, scored, {}, products, **facts)


def _trained(
    study: Study, way: Way, seed: int, table: QuarkGluonTable, rows: Sequence[np.ndarray],
    settings: dict, device: torch.device,
) -> tuple[np.ndarray, dict]:  # fmt: skip
    """Probabilities of a quark (n,) of all jets, and the combiner's weights."""
    every = inputs_of(table, way, rows[0], device)
    label = "shuffled_label" if way.is_shuffled else "label"
    samples = [
        make_sample(every, label, np.isin(np.arange(len(table)), some).astype(float))
        for some in rows
    ]
    torch.manual_seed(seed)
    network = create_model(NETWORK, every.size, study.training.width, **dict(way.options))
    network = network.to(device)
    directory = directory_of(study, way, seed)
    history = train(
        Learner(network, study), samples, seed, directory, settings, Watch(), lambda row: None
    )
    best = best_epoch(history, study.training.choose_by)
    checkpoint.load(checkpoint.checkpoint_path(directory, best), network, settings)
    logits = logits_of(network, every, way.line).astype(float)
    combiner = {name: value.tolist() for name, value in network.combiner.named_parameters()}
    return expit(logits[:, 1] - logits[:, 0]), {"combiner": combiner}


def trains(table: QuarkGluonTable) -> np.ndarray:
    """The jets (n,) that trainings see: held-out ones and variations are not among them."""
    return (table.split != HELD_OUT) & (table.sample == NOMINAL)


def sha256_of(table: QuarkGluonTable) -> str:
    """Of all that is known of jets."""
    digest = hashlib.sha256("\n".join(table.sample).encode())
    columns = [table.events, table.jets, table.label, table.split]
    for column in (*columns, table.constituents.offsets, *table.constituents.columns().values()):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def read_trainings(study: Study, table: QuarkGluonTable) -> list[Trained]:
    """All of them."""
    found = []
    for way, seed in trainings(study, table):
        directory = directory_of(study, way, seed)
        facts = read_manifest(directory / "manifest.json", "this study")
        history = [with_numbers(row) for row in read_csv(directory / "history.csv")]
        score = np.load(directory / "score.npy")
        found.append(Trained(way, seed, score, history, facts["combiner"]))
    return found


# --- Results --------------------------------------------------------------------------------------


def measured(study: Study, table: QuarkGluonTable, found: Sequence[Trained]) -> Rows:
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
        numbers = {"accuracy": mean_of_seeds([_accuracy(score[names[i]], is_quark) for i in some])}
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


def _accuracy(score: np.ndarray, is_quark: np.ndarray) -> Estimate:
    """The share on the right side of a half; binomial error."""
    share = float(np.mean((score > 0.5) == is_quark))
    return Estimate(share, float(np.sqrt(share * (1 - share) / len(score))))


def published_means(table: QuarkGluonTable) -> Rows:
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


# --- The page -------------------------------------------------------------------------------------


def printed(rows: Rows) -> Rows:
    """One line a way, one column a quantity."""

    def line(row: dict) -> dict[str, str]:
        jets = f"{int(row['jets']):,}"
        return {"": row["line"], "training jets": jets, "trainings": row["trainings"]}

    return pivot(rows, line, lambda row: {row["quantity"]: cell(row)})


def printed_means(rows: Rows) -> Rows:
    """One line a number, ours beside theirs."""
    names = {"jets": "jets", "quantity": "", "published": "EnergyFlow"}
    return [
        {names[name]: row[name] for name in names} | {"here": cell({**row, "published": ""})}
        for row in rows
    ]


def printed_combiners(rows: Rows) -> Rows:
    """One line a number; of one training there is no deviation."""
    words = {"mean": "mean", "deviation": "standard deviation", "least": "least"}
    words |= {"largest": "largest"}
    return [
        {"number": row["number"]}
        | {word: f"{float(row[name]):.3f}" if row[name] else "" for name, word in words.items()}
        | {"trainings": row["trainings"]}
        for row in rows
    ]


def printed_showers(rows: Rows) -> Rows:
    """One line a way, one column a sample."""

    def line(row: dict) -> dict[str, str]:
        jets = f"{int(row['jets']):,}"
        return {"": row["line"], "training jets": jets, "trainings": row["trainings"]}

    def cells(row: dict) -> dict[str, str]:
        return {f"{row['quantity']}, {row['sample'] or 'as trained'}": cell(row)}

    return pivot(rows, line, cells)


PRINTED = {
    "means": printed_means,
    "checks": printed,
    "more_jets": printed,
    "showers": printed_showers,
    "combiner": printed_combiners,
    "settings": list,
    "environment": list,
}


def write_page(study: Study, table: QuarkGluonTable, found: Sequence[Trained]) -> None:
    """Test all trainings; tables and figures go on the study's page."""
    rows = measured(study, table, found)
    fewest = min(one.way.jets for one in found)
    names = {way.line for way in MORE}
    nominal = [row for row in rows if row["sample"] == NOMINAL]
    tables = {
        "means": published_means(table),
        "checks": [row for row in nominal if row["jets"] == fewest],
        "more_jets": [row for row in nominal if row["line"] in names],
        "showers": [
            row for row in rows
            if row["line"] in names and row["quantity"] in ("AUC", "accuracy")
            and row["jets"] == max(one.way.jets for one in found)
        ],
        "combiner": combiners(found),
        "settings": settings(study),
        "environment": environment(),
    }  # fmt: skip
    for name, words in PRINTED.items():
        page = publish(study, name, tables[name], words, model=PAGE)
    style.apply()
    drawings = {"epochs": figures.epochs(curves(found)), "jets": figures.jets(tables["more_jets"])}
    for name, drawing in drawings.items():
        style.save(drawing, page.parent / f"figures/{PAGE.stem}_{name}.png")
    print(f"{page}: its tables and figures")


def quick(study: Study) -> Study:
    """The study with a small sample and trainings of its own: does everything run?"""
    name = f"{study.name}_quick"
    return study.changed(
        name,
        simulation={"signal_events": QUICK_EVENTS, "background_events": QUICK_EVENTS},
        sample={"folder": name},
        training={"epochs": 1},
        classifiers={"seeds": study.classifiers.seeds[:1]},
    )


def main() -> None:
    """Train what is not trained, then write the page."""
    parser = options_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="few jets, one seed, one epoch")
    options = parser.parse_args()
    study, device = load_study(options.study), choose_device(options.device)
    if options.quick:
        study = quick(study)
        stated_at = study.data_dir / "study.toml"
        write_text(stated_at, to_toml(study))
        call_with(stated_at, ["simulate.py"], None)
    torch.set_num_threads(1)  # the networks are small
    table, others = read(study), 0
    sha256 = sha256_of(table.take(trains(table)))
    for way, seed in tqdm(trainings(study, table), "trainings", disable=None):
        try:
            run_training(study, way, seed, table, sha256, device)
        except BeingMade as error:
            print(error, flush=True)
            others += 1
    if others:
        print(f"{others} trainings are another run's; run the same command again for the page")
        return
    write_page(study, table, read_trainings(study, table))


if __name__ == "__main__":
    run(main)
