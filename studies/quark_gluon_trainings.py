"""The trainings of `studies.quark_gluon`: what is trained, on which jets, and the scores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit
from torch import nn

from evaluation.pages import Rows
from event_level.trees import grow
from jets.angularities import OF_JETS
from jets.constituents import UNKNOWN_KIND
from jets.particle_jets import NOMINAL, JetTable
from jets.split import HELD_OUT, TRAIN, VALIDATION, lowest, uniform
from models import create_model
from studies.particle_transformer import ParticleTransformer, is_installed
from studies.trainings import Made, read_training, train_once
from study import Study, stated
from training import checkpoint
from training.constituents import JetConstituents, features_of
from training.inputs import make_sample
from training.interruption import Watch
from training.learner import Learner
from training.loop import best_epoch, logits_of, train

FEW, SEEDS = 8_000, 3  # training jets of the sketch, and trainings of each way
FEWER = FEW // 8, FEW // 4, FEW // 2, FEW  # of a power law, with these and all training jets
JETVIT, PARTICLE_TRANSFORMER = "JetViT", "ParticleTransformer"


class Way(NamedTuple):
    """What is trained, and how.

    Attributes:
        line: its name in tables.
        options: of the network; None: trees on the jet's features.
        identities: whether it sees the kind and the mass of a particle.
        angularities: whether it sees those of the jet, beside its mass and pT.
        learning_rate: times that of the study.
        longer: times the epochs of the study, to whole epochs.
        is_shuffled: trained and tested on permuted labels.
        jets: to train on.
        network: `JETVIT`, or the one of `studies.particle_transformer`.
        smaller: the batches of the study are so many times as large.
    """

    line: str
    options: tuple[tuple[str, object], ...] | None = ()
    identities: bool = False
    angularities: bool = True
    learning_rate: float = 1.0
    longer: float = 1
    is_shuffled: bool = False
    jets: int = FEW
    network: str = JETVIT
    smaller: int = 1


LATER = "network", "smaller"  # trainings that came before these do not name their defaults
BOTH = Way("both")
FULL = Way("both, pairs and identities", (("pairwise", True),), identities=True)
PAIRS = Way("both, pairs", FULL.options)
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
    PAIRS,
    Way("both, identities", identities=True),
    FULL,
)
PEER = Way("ParticleTransformer, identities", identities=True, network=PARTICLE_TRANSFORMER)
AS_LONG = FULL._replace(line=f"{FULL.line}, 1.3 times as long", longer=1.3)  # the peer's time
MORE = (OF_TREES, BOTH, FULL, PEER)  # with all jets
COMPARED = (BOTH, PAIRS, FULL, AS_LONG, PEER)
SCALED = (OF_TREES, FULL, PEER)  # with fewer jets, in as many steps as all of them take
EQUAL_STEPS = ", equal steps"  # how such lines end


class Trained(NamedTuple):
    """A finished training: its score (n,), NaN of jets that it is not tested on, its history, and
    the combiner's `weight` and `bias`."""

    way: Way
    seed: int
    score: np.ndarray
    history: Rows
    combiner: Mapping[str, list]


def ways(n: int) -> list[Way]:
    """All that the study asks for, if there are n jets to train on."""
    few = [way._replace(jets=min(FEW, n)) for way in (*WAYS, *COMPARED)]
    more = [way._replace(jets=n) for way in MORE]
    return list(dict.fromkeys([*few, *more, *(way for one in SCALED for way in sizes(one, n))]))


def sizes(way: Way, n: int) -> list[Way]:
    """A way with fewer jets and with all n, each in as many steps as n jets take: with fewer than
    `FEW` the batches are smaller, and with fewer than n the epochs are more. Trees have no steps.
    """
    fewer = [way._replace(jets=size) for size in FEWER if size < n]
    if way.options is not None:
        for i, one in enumerate(fewer):
            smaller = min(FEW, n) // one.jets
            longer = n / (one.jets * smaller)
            line = way.line + EQUAL_STEPS
            fewer[i] = one._replace(line=line, smaller=smaller, longer=longer)
    return [*fewer, way._replace(jets=n)]


def trainings(study: Study, table: JetTable) -> list[tuple[Way, int]]:
    """All ways that can be trained, each with `SEEDS` of the study's seeds, trees with one; `BOTH`
    with all seeds, for the combiner."""
    n, seeds = trained_jets(table), study.classifiers.seeds
    every = [way for way in ways(n) if way.network != PARTICLE_TRANSFORMER or is_installed()]
    found = [
        (way, seed) for way in every for seed in seeds[: SEEDS if way.options is not None else 1]
    ]
    return list(dict.fromkeys([*found, *((BOTH._replace(jets=min(FEW, n)), s) for s in seeds)]))


def trained_jets(table: JetTable) -> int:
    """How many there are to train on."""
    return int(np.count_nonzero((table.split == TRAIN) & (table.sample == NOMINAL)))


# --- Training -------------------------------------------------------------------------------------


def inputs_of(
    table: JetTable, way: Way, known: np.ndarray, device: torch.device
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


def shuffled(table: JetTable) -> np.ndarray:
    """The labels (n,), permuted within each split, which stays what it was."""
    label = table.label.copy()
    for split in np.unique(table.split):
        rows = np.flatnonzero(table.split == split)
        label[rows] = np.random.default_rng(int(split)).permutation(label[rows])
    return label


def rows_of(table: JetTable, way: Way) -> list[np.ndarray]:
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


def settings_of(study: Study, way: Way, seed: int, sha256: str) -> dict:
    """What decides a training."""
    asked = way._asdict()
    for name in LATER:
        if asked[name] == Way._field_defaults[name]:
            del asked[name]
    section = stated(study.trees if way.options is None else study.training)
    return {"way": asked, "seed": seed, "settings": section, "jets_sha256": sha256}


def run_training(
    study: Study, way: Way, seed: int, table: JetTable, sha256: str, device: torch.device
) -> None:
    """Train and score the jets to test on, unless that is done; other ones are scored, no more.

    Args:
        sha256: of what trainings see.

    Raises:
        BeingMade: another process is at it.
    """
    directory = directory_of(study, way, seed)

    def make(settings: dict) -> Made:
        rows = rows_of(table, way)
        if way.options is None:
            return _grown(study, table, rows)
        return _trained(study, way, seed, table, rows, directory, settings, device)

    aside, settings = study.data_dir / "set_aside", settings_of(study, way, seed, sha256)
    train_once(directory, aside, settings, make, {"scored_sha256": table.sha256})


def _grown(study: Study, table: JetTable, rows: Sequence[np.ndarray]) -> Made:
    """Trees on the features of the jets to train with."""
    features = features_of({name: table.jets[name] for name in OF_JETS})
    is_quark = table.label[rows[0]] == 1
    trees = grow(features[rows[0]], is_quark, np.ones(len(is_quark)), study, "cpu")
    return Made([{"epoch": 0}], {"score": trees.inplace_predict(features)}, {"combiner": {}})


def _trained(
    study: Study, way: Way, seed: int, table: JetTable, rows: Sequence[np.ndarray],
    directory: Path, settings: dict, device: torch.device,
) -> Made:  # fmt: skip
    """A network; of its facts, the combiner's weights."""
    asked = study.changed(
        training={
            "learning_rate": study.training.learning_rate * way.learning_rate,
            "epochs": epochs_of(study, way),
            "batch_size": study.training.batch_size // way.smaller,
        }
    )
    every = inputs_of(table, way, rows[0], device)
    training, validation = (every.take(some) for some in rows)
    label = "shuffled_label" if way.is_shuffled else "label"
    samples = [
        make_sample(seen, label) for seen in (training, validation.take(validation.by_length()))
    ]
    torch.manual_seed(seed)
    network = network_of(asked, way, every.size).to(device)
    history = train(
        Learner(network, asked), samples, seed, directory, settings, Watch(), lambda row: None
    )
    best = best_epoch(history, asked.training.choose_by)
    checkpoint.load(checkpoint.checkpoint_path(directory, best), network, settings)
    tested = every.by_length()
    tested = tested[table.split[tested] == HELD_OUT]
    logits = logits_of(network, every.take(tested), way.line).astype(float)
    score = np.full(len(table), np.nan, np.float32)
    score[tested] = expit(logits[:, 1] - logits[:, 0])
    named = getattr(network, "combiner", nn.Identity()).named_parameters()
    combiner = {name: value.tolist() for name, value in named}
    return Made(history, {"score": score}, {"combiner": combiner})


def epochs_of(study: Study, way: Way) -> int:
    """How many a training has."""
    return max(round(study.training.epochs * way.longer), 1)


def network_of(study: Study, way: Way, size: Mapping[str, int]) -> nn.Module:
    """The network of a way, as it starts."""
    if way.network == PARTICLE_TRANSFORMER:
        return ParticleTransformer(size, study.training.width)
    return create_model(way.network, size, study.training.width, **dict(way.options))


def trains(table: JetTable) -> np.ndarray:
    """The jets (n,) that trainings see: held-out ones and variations are not among them."""
    return (table.split != HELD_OUT) & (table.sample == NOMINAL)


def read_trainings(study: Study, table: JetTable) -> list[Trained]:
    """All of them."""
    found = []
    for way, seed in trainings(study, table):
        history, scores, facts = read_training(directory_of(study, way, seed))
        found.append(Trained(way, seed, scores["score"], history, facts["combiner"]))
    return found
