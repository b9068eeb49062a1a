"""Three jets at once: one network sees an event's three AK14 jets, not trees their three scores.

The backbone of MaxViT looks at each jet; its features of the three and their masses go through one
head to the class of the event. Trained on all three jets of as many events of each mass point as
the study trains on jets, and of as many top pairs; tested on the held-out events, beside the trees
on the three scores of the same network.

Reads   the sample of the study, and what studies/changes.py found of it as it stands.
Writes  Data/<study>_as_it_stands/three_jets/<seed>/; a table of the study's page, also as
        results/<study>_three_jets.csv beside it.

    python -m studies.three_jets --study studies/changes_cpu.toml
"""

import argparse
import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from command import InputError, run
from evaluation.results import Results, read_results
from jets.images import SparseImages
from jets.packed import JET_DTYPE, PackedJets
from jets.preparation import Overview, at_side, look_through
from jets.ragged import offsets_from
from jets.sources import Collisions, PublishedFiles, find_source
from jets.split import (
    HELD_OUT,
    TRAIN,
    VALIDATION,
    is_background,
    is_signal,
    is_variation,
    lowest,
    mass_point,
    uniform,
)
from models.head import JetMassClassifier
from physics import JETS_PER_EVENT
from products import fingerprint, write_csv
from sensitivity.bootstrap import mean_of_seeds
from studies.changes import AS_IT_STANDS, sic_of_seeds, variant
from studies.pages import Rows, page_of, show, written
from study import Study, load_study
from training import checkpoint
from training.batches import GEV_PER_TEV, Batch, JetImages
from training.interruption import Watch
from training.learner import Learner, choose_device
from training.loop import Sample, best_epoch, logits_of, train
from training.plan import Training

NETWORK, DEFINITION = "MaxViT", "AK14"
AT_ONCE, BY_TREES = "three jets at once", "trees on three scores"


class ThreeJets(nn.Module):
    """The backbone of a network of one jet, shared by three, and one head for their features."""

    def __init__(self, network: JetMassClassifier) -> None:
        super().__init__()
        self.backbone = network.backbone
        first, *others = network.head
        self.head = nn.Sequential(
            nn.Linear(JETS_PER_EVENT * first.in_features, first.out_features), *others
        )

    def forward(self, images: torch.Tensor, mass: torch.Tensor) -> torch.Tensor:
        """Images (3 n, 3, p, p) and masses (3 n,), event by event, to logits (n, 2)."""
        features = torch.cat([self.backbone(images), mass[:, None]], dim=1)
        return self.head(features.reshape(-1, JETS_PER_EVENT * features.shape[1]))


class EventImages:
    """Events as `ThreeJets` sees them, in place of `JetImages`."""

    def __init__(self, jets: JetImages, jet_of_event: np.ndarray) -> None:
        """
        Args:
            jet_of_event: (n, 3) rows of the jets.
        """
        self.jets, self.jet_of_event = jets, jet_of_event
        self.side, self.device = jets.side, jets.device

    def __len__(self) -> int:
        return len(self.jet_of_event)

    def batches(self, rows: np.ndarray, sizes: np.ndarray, moves: None = None) -> Iterator[Batch]:
        """The events `rows` (n,) in batches of these sizes; images and masses are their jets'."""
        jets = self.jets.batches(self.jet_of_event[rows].ravel(), JETS_PER_EVENT * sizes, moves)
        parts = torch.from_numpy(rows).to(self.device).split(sizes.tolist())
        for part, batch in zip(parts, jets, strict=True):
            yield Batch(part, batch.images, batch.mass)


def choose_events(overview: Overview, study: Study) -> np.ndarray:
    """Events (n,) bool to train on: up to a number of each mass point, and as many top pairs."""
    events = overview.table.events
    hashes = uniform(events, "three jets")
    chosen = np.zeros(len(events), bool)
    n = study.images.training_jets_per_mass_point
    for is_class in (is_signal(events), is_background(events)):
        candidates = is_class & (events["split"] != HELD_OUT)
        chosen[candidates] = lowest(hashes[candidates], mass_point(events[candidates]), n)
        n = np.count_nonzero(chosen)
    return chosen


def draw(
    source: Collisions | PublishedFiles, overview: Overview, chosen: np.ndarray, study: Study
) -> tuple[PackedJets, np.ndarray]:
    """The jets of the chosen events (n,) bool, and which are each event's, (events, 3).

    A jet that does not exist is an image without pixels with the mean mass: the last of the jets.
    """
    kinematics, side = overview.jets[DEFINITION], study.image_pixels(DEFINITION)
    wanted = chosen[:, None] & (kinematics["pt"] > 0)
    images = [
        at_side(source.images(sample, {DEFINITION: wanted[i:j]})[DEFINITION], DEFINITION, side)
        for sample, i, j in zip(source.samples, overview.first, overview.first[1:], strict=False)
    ]
    counts = np.concatenate([*(some.counts() for some in images), [0]])
    together = SparseImages(
        offsets_from(counts),
        np.concatenate([some.pixels for some in images]),
        np.concatenate([some.values for some in images]),
    )
    jets = np.zeros(len(counts), JET_DTYPE)
    jets["event"][:-1], jets["k"][:-1] = np.nonzero(wanted)
    is_trained_on = overview.table.events["split"][jets["event"][:-1]] == TRAIN
    jets["mass"][:-1] = kinematics["mass"][wanted]
    mass = jets["mass"][:-1][is_trained_on] / GEV_PER_TEV
    jets["mass"][-1] = mass.mean() * GEV_PER_TEV
    jet_of_event = np.full(wanted.shape, len(jets) - 1)
    jet_of_event[wanted] = np.arange(len(jets) - 1)
    packed = PackedJets(jets, together, side, float(mass.mean()), float(mass.std()), DEFINITION)
    return packed, jet_of_event[chosen]


def train_and_score(study: Study, device: torch.device) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Scores of the held-out events by seed, and these events' rows of the event table."""
    source = find_source(study)
    overview = look_through(source, study)
    events = overview.table.events
    is_nominal = ~is_variation(events)
    held_out = is_nominal & (events["split"] == HELD_OUT)
    chosen = choose_events(overview, study) | held_out
    jets, jet_of_event = draw(source, overview, chosen, study)
    all_jets = JetImages(jets, study.training.pixel_scale, study.training.standardised_mass, device)
    rows = np.flatnonzero(chosen)
    samples = {}
    for split in (TRAIN, VALIDATION, HELD_OUT):
        of_split = events["split"][rows] == split
        label = is_signal(events[rows[of_split]]).astype(np.int64)
        images = EventImages(all_jets, jet_of_event[of_split])
        samples[split] = Sample(images, torch.from_numpy(label).to(device), rows[of_split])
    files = {path.name: fingerprint(path)["sha256"] for path in source.paths}
    print(f"{len(samples[TRAIN].event)} events to train on, {len(samples[HELD_OUT].event)} to test")

    found = {}
    for seed in study.classifiers.seeds:
        training = Training(DEFINITION, NETWORK, seed)
        directory = study.data_dir / "three_jets" / str(seed)
        settings = training.settings(study) | {"three_jets": True, "files": files}
        settings |= study.settings("setup")  # who trains, on what
        torch.manual_seed(seed)
        network = ThreeJets(training.create(study, jets.side)).to(device)
        learner = Learner(network, study.training.learning_rate, study.training.batch_size, plain=True,
                          weight_decay=study.training.weight_decay)  # fmt: skip
        directory.mkdir(parents=True, exist_ok=True)
        history = train(
            learner, samples[TRAIN], samples[VALIDATION], study, seed, settings, directory,
            Watch(10.0, math.inf), lambda row: print(f"epoch {row['epoch'] + 1}: "
                                                     f"AUC {row['auc']:.4f}", flush=True),
        )  # fmt: skip
        checkpoint.load(
            checkpoint.checkpoint_path(directory, best_epoch(history)), network, settings
        )
        logits = logits_of(network, samples[HELD_OUT].images, f"{AT_ONCE}, seed {seed}")
        found[seed] = logits[:, 1] - logits[:, 0]
    return found, samples[HELD_OUT].event


def compare(results: Results, found: dict[int, np.ndarray], event: np.ndarray) -> Rows:
    """The network of three jets beside the trees, seed by seed."""
    study, trees = results.study, results.repeats_of_events(DEFINITION)
    wanted = [f"{NETWORK}/{seed}" for seed in study.classifiers.seeds]
    if not (np.array_equal(event, trees.event) and set(wanted) <= set(trees.score)):
        raise InputError(
            f"{study.data_dir}/trees.h5: not of the held-out events and all seeds; run "
            "studies.changes again"
        )
    kinds = {
        BY_TREES: [trees.score[name] for name in wanted],
        AT_ONCE: list(found.values()),
    }
    rows, usual = [], None
    for kind, scores in kinds.items():
        classifiers = dataclasses.replace(trees, score=dict(enumerate(scores)))
        points = [classifiers.sic_at(i) for i in classifiers.score]
        usual = usual or points
        sic, ratio = sic_of_seeds(points, usual)
        rows.append(
            {
                "": f"{NETWORK}, {kind}",
                "seeds": len(scores),
                "AUC": written(mean_of_seeds(list(classifiers.aucs()))),
                f"SIC at eps_S = {study.figures.working_point:g}": sic,
                "relative": "" if points is usual else ratio,
            }
        )
    return rows


def main() -> None:
    """Train, test, compare, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", required=True, metavar="FILE", help="the study's TOML file")
    parser.add_argument("--device", help="of training and scoring (default: a GPU if there is one)")
    options = parser.parse_args()
    given = load_study(options.study)
    study = variant(given, AS_IT_STANDS)
    if study.training.reflect or study.training.rotate:
        raise InputError(f"{options.study}: reflects or rotates; three jets are taken as they are")
    results = read_results(study, {})
    rows = compare(results, *train_and_score(study, choose_device(options.device)))
    page = page_of(given)
    write_csv(page.parent / f"results/{given.name}_three_jets.csv", rows)
    show(page, "three_jets", rows)
    print(f"{page}: {len(rows)} lines")


if __name__ == "__main__":
    run(main)
