"""The trainings of `studies.jepa_transfer`: jets, encoders, and what starts from them.

What has few labels sees them often: an epoch has at least `JETS_MIN` jets, whatever the labels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit

from evaluation.pages import Rows
from event_level.trees import grow
from jets.packed import read_event_table
from jets.particle_jets import NOMINAL, read
from jets.split import HELD_OUT, TRAIN, VALIDATION, uniform
from models import create_model
from studies.quark_gluon_trainings import FULL, inputs_of
from studies.trainings import Made, read_training, train_once
from study import Study, stated
from training import checkpoint
from training.inputs import Sample, make_sample, read_samples
from training.interruption import Watch
from training.learner import Learner
from training.loop import best_epoch, logits_of, train
from training.plan import Training
from training.pretraining import MASKS, NETWORK, Pretraining, pretrain, write_encoder

QUARKS, TOPS, STOPS = "quark or gluon", "top or QCD", "stop or top pair"
SOURCES = {  # task -> the study whose jets it has
    QUARKS: "studies/quark_gluon.toml",
    TOPS: "studies/top_tagging.toml",
    STOPS: "studies/whole_events.toml",
}
DEFINITION = "AK14"  # of the jets of `STOPS`
SHARES = (0.005, 0.02, 0.1, 1.0)  # of the labels of the training jets
SCRATCH, FROZEN, FINE_TUNED = STARTS = "scratch", "frozen", "fine-tuned"
UNTRAINED, TREES = "frozen, untrained", "trees"  # what `FROZEN` has to beat, and both
SLOWER = 0.25  # learning rate of a pre-trained encoder and what sees it, to that from scratch
JETS_MIN = 2_400  # of an epoch
TRAINING_JETS = 24_000  # of a task, at most
WATCHED = 1_000  # labelled jets more, which choose the epoch
PRETRAINING_RATE, LONGER = 1e-3, 2  # learning rate, and times the epochs of the study


@dataclass(frozen=True)
class Kind:
    """An encoder and how it is pre-trained.

    Attributes:
        options: of JetViT.
        tasks: on whose jets.
        shares: of labels that it is tried with.
        targets: what else than the masks differs from the defaults of `Pretraining`.
    """

    name: str
    options: Mapping[str, object]
    masks: str = MASKS[0]
    tasks: Sequence[str] = field(default=(QUARKS,))
    shares: Sequence[float] = SHARES[:-1]
    targets: Mapping[str, object] = field(default_factory=dict)


OF_PATCHES = {"patches": 16, "pairwise": True, "registers": 8}
PUBLISHED = Kind("HEP-JEPA", OF_PATCHES, tasks=tuple(SOURCES), shares=SHARES)
FEWER = {"targets": 2, "target_scale": (0.1, 0.15)}  # blocks of two of 16 tokens
KINDS = {
    kind.name: kind
    for kind in (
        PUBLISHED,
        Kind("fewer targets", OF_PATCHES, targets=FEWER),
        Kind("random masks", OF_PATCHES, MASKS[1]),
        Kind("no registers", {**OF_PATCHES, "registers": 0}),
        Kind("no pair bias", {**OF_PATCHES, "pairwise": False}),
        Kind("constituents, no pair bias", {"registers": 8}, shares=SHARES),
    )
}


class Way(NamedTuple):
    """What is trained.

    Attributes:
        kind: a key of `KINDS`.
        start: one of `STARTS`; or the encoder stays at random, `UNTRAINED`; or `TREES` on the
            features of the jet.
        share: of the labels.
        is_shuffled: on permuted labels.
    """

    task: str
    kind: str
    start: str
    share: float
    is_shuffled: bool = False


class Jets(NamedTuple):
    """The jets of a task: to train on, to choose the epoch by, to test; and what tells them from
    others."""

    training: Sample
    watched: Sample
    tested: Sample
    sha256: str


class Trained(NamedTuple):
    """A finished training: the score (n,) of the tested jets."""

    way: Way
    seed: int
    score: np.ndarray
    history: Rows


def trainings(seeds: Sequence[int], tasks: Sequence[str]) -> list[tuple[Way, int]]:
    """All of these tasks; what differs in pre-training alone starts once without any."""
    trees = [Way(task, PUBLISHED.name, TREES, share) for task in SOURCES for share in SHARES]
    ways = [
        Way(task, kind.name, start, share)
        for kind in KINDS.values()
        for task in kind.tasks
        for share in kind.shares
        for start in (*STARTS, UNTRAINED)
        if start in (FROZEN, FINE_TUNED) or scratch_of(kind) == kind.name
    ]
    null = [Way(task, PUBLISHED.name, FINE_TUNED, 1.0, True) for task in SOURCES]
    every = [*trees, *null, *ways]
    return [(way, seed) for way in every if way.task in tasks for seed in seeds]


def scratch_of(kind: Kind) -> str:
    """The first kind with the same encoder, whose trainings from scratch are those of this one."""
    return next(name for name, one in KINDS.items() if one.options == kind.options)


# --- Jets -----------------------------------------------------------------------------------------


def is_there(task: str, study: Study) -> bool:
    """Whether the jets of a task have been made in a study."""
    made = [study.data_dir / "events.h5"] if task == STOPS else study.sample_files
    return all(path.is_file() for path in made)


def jets_of(task: str, source: Study, device: torch.device, is_shuffled: bool = False) -> Jets:
    """The jets of a task in the study `source`, see `SOURCES`.

    Those of `STOPS` have equal spectra of pT by their weights. They are jets of events without
    selection, of whose validation split some are tested and others choose the epoch.
    """
    label = "shuffled_label" if is_shuffled else "label"
    if task == STOPS:
        source = source.changed(training={"drawn": False})
        (training, other), _ = read_samples(
            Training(DEFINITION, NETWORK, 0, is_shuffled), source, device
        )
        events = read_event_table(source.data_dir / "events.h5").events
        is_watched = uniform(events, "watched")[other.inputs.table["event"][other.rows]] < 0.5
        watched, tested = (
            replace(other, rows=other.rows[some]) for some in (is_watched, ~is_watched)
        )
        sha256 = training.inputs.sha256(source, DEFINITION, is_shuffled)
    else:
        table = read(source)
        table = table.take(table.sample == NOMINAL)
        every = inputs_of(table, FULL, np.flatnonzero(table.split == TRAIN), device)
        training, watched, tested = (
            make_sample(every.take(np.flatnonzero(table.split == split)), label)
            for split in (TRAIN, VALIDATION, HELD_OUT)
        )
        sha256 = table.sha256
    training = replace(training, rows=some(training.rows, TRAINING_JETS, 0))
    return Jets(training, replace(watched, rows=some(watched.rows, WATCHED, 0)), tested, sha256)


def some(rows: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n of the rows (m,), at random, or all; of fewer the seed draws some of those of more."""
    return np.random.default_rng(seed).permutation(rows)[:n]


def labelled(sample: Sample, share: float, seed: int) -> Sample:
    """A share of the labels, each as often as makes an epoch of `JETS_MIN`."""
    n = max(round(share * len(sample.rows)), 2)
    return replace(sample, rows=np.tile(some(sample.rows, n, seed), -(-JETS_MIN // n)))


# --- Trainings ------------------------------------------------------------------------------------


def run_training(
    study: Study, way: Way, seed: int, jets: Callable[[str, bool], Jets], device: torch.device
) -> None:
    """Make a training, and the encoder that it starts from, unless that is done.

    Args:
        jets: of a task, with permuted labels or not.

    Raises:
        BeingMade: another process is at it.
    """
    kind, given = KINDS[way.kind], jets(way.task, way.is_shuffled)
    directory = _directory(study, way, seed)
    settings = {"way": way._asdict(), "kind": asdict(kind), "seed": seed}
    if not kind.targets:
        del settings["kind"]["targets"]  # of trainings that came before it
    settings |= {"settings": stated(study.training), "jets_sha256": given.sha256}
    options = {"sees": "constituents", "pooled": True, **kind.options}
    if way.start in (FROZEN, FINE_TUNED):
        encoder, settings["encoder"] = pretrained(study, kind, way.task, seed, jets)
        options |= {"init": str(encoder), "frozen": way.start == FROZEN}
    elif way.start == UNTRAINED:
        options["frozen"] = True

    def make(settings: dict) -> Made:
        training = labelled(given.training, way.share, seed)
        if way.start == TREES:
            return _grown(study, training, given.tested)
        slower = SLOWER if way.start == FINE_TUNED else 1.0
        rate = study.training.learning_rate * slower
        asked = study.changed(training={"learning_rate": rate})
        torch.manual_seed(seed)
        inputs = given.tested.inputs
        network = create_model(NETWORK, inputs.size, asked.training.width, **options).to(device)
        samples = training, given.watched
        history = train(
            Learner(network, asked), samples, seed, directory, settings, Watch(), lambda row: None
        )
        best = best_epoch(history, asked.training.choose_by)
        checkpoint.load(checkpoint.checkpoint_path(directory, best), network, settings)
        logits = logits_of(network, inputs, way.task).astype(float)[given.tested.rows]
        return Made(history, {"score": expit(logits[:, 1] - logits[:, 0])}, {})

    train_once(directory, study.data_dir / "set_aside", settings, make)


def _directory(study: Study, way: Way, seed: int) -> Path:
    return study.data_dir / "models" / "_".join([*map(_word, way), str(seed)])


def _word(one: object) -> str:
    return str(one).replace(" ", "-").replace(",", "")


def _grown(study: Study, training: Sample, tested: Sample) -> Made:
    """Trees on the features of the jet, with the same labels."""
    rows = np.unique(training.rows)
    label, weight = (
        column.cpu().numpy()[rows] for column in (training.label, training.weight.double())
    )
    known, other = (one.inputs.features.cpu().numpy() for one in (training, tested))
    trees = grow(known[rows], label == 1, weight, study, "cpu")
    score = trees.inplace_predict(other[tested.rows])
    return Made([{"epoch": 0}], {"score": score}, {})


def pretrained(
    study: Study, kind: Kind, task: str, seed: int, jets: Callable[[str, bool], Jets]
) -> tuple[Path, dict]:
    """The file of an encoder that learnt from all training jets of a task without their labels,
    and what decides it; it is made unless that is done."""
    given, options = jets(task, False), {NETWORK: dict(kind.options)}
    asked = study.changed(
        training={
            "epochs": LONGER * study.training.epochs,
            "learning_rate": PRETRAINING_RATE,
            "network_options": options,
        }
    )
    how = pretraining_of(kind)
    directory = encoder_directory(study, kind, task, seed)
    settings = {"training": stated(asked.training), "pretraining": asdict(how), "seed": seed}
    settings["jets_sha256"] = given.sha256
    path = directory / "encoder.safetensors"

    def make(settings: dict) -> Made:
        inputs = given.training.inputs.take(np.sort(given.training.rows)), given.watched.inputs
        network, history = pretrain(
            directory, inputs, asked, how, seed, settings, Watch(), lambda row: None
        )
        write_encoder(path, network, asked, jets=task, seed=seed)
        return Made(history, {}, {})

    train_once(directory, study.data_dir / "set_aside", settings, make)
    return path, settings


def pretraining_of(kind: Kind) -> Pretraining:
    """How an encoder of a kind is pre-trained."""
    return Pretraining(masks=kind.masks, **kind.targets)


def encoder_directory(study: Study, kind: Kind, task: str, seed: int) -> Path:
    """Where an encoder lies."""
    return study.data_dir / "encoders" / "_".join([_word(task), _word(kind.name), str(seed)])


def read_trainings(study: Study, tasks: Sequence[str]) -> list[Trained]:
    """All that are done."""
    found = []
    for way, seed in trainings(study.classifiers.seeds, tasks):
        directory = _directory(study, way, seed)
        if (directory / "manifest.json").is_file():
            history, scores, _ = read_training(directory)
            found.append(Trained(way, seed, scores["score"], history))
    return found
