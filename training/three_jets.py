"""The input of networks of an event: images and masses of its three hardest jets.

Trained on all three jets of as many events of each mass point as the study trains on jets, and of
background events in its `training_background_ratio`: setup.py packs other jets, so these are drawn
from the sample again.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from jets.images import SparseImages, concatenate
from jets.packed import JET_DTYPE, PackedJets
from jets.preparation import at_side, hardest_jets, look_again, may_train
from jets.split import (
    HELD_OUT,
    TRAIN,
    is_background,
    is_signal,
    lowest,
    mass_point,
    uniform,
)
from physics import JETS_PER_EVENT
from processes import VARIATION, of_role
from products import read_manifest
from study import Study
from training.jet_images import GEV_PER_TEV, JetImages

NO_IMAGE = SparseImages(np.zeros(2, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.float32))


class ThreeJetImages:
    """Events as a network of three jets sees them (an `Inputs`).

    The inputs are `images` (b, 3, 3, p, p), the hardest jet first, and `mass` (b, 3). A jet that
    does not exist is an image without pixels with the mean mass. The table has the hardest jet.
    """

    unit = "events"
    size_in = staticmethod(JetImages.size_in)

    def __init__(self, jets: JetImages, jet_of_event: np.ndarray, table: np.ndarray) -> None:
        """From all jets, their rows (n, 3) by event, and the table (n,) `JET_DTYPE` of events."""
        self.jets, self.jet_of_event, self.table = jets, jet_of_event, table
        self.size, self.device, self.at_once = jets.size, jets.device, jets.at_once

    @staticmethod
    def sha256(study: Study, jet_definition: str, is_shuffled: bool) -> str:
        """Of all that setup.py read, variations aside, and was told."""
        made = read_manifest(study.data_dir / "setup.json", "setup.py", study.settings("setup"))
        variations = {study.folder_of(process) for process in of_role(VARIATION).values()}
        files = {
            path: facts["sha256"]
            for path, facts in made["inputs"].items()
            if Path(path).parent not in variations
        }
        stated = json.dumps([made["settings"], files], sort_keys=True)
        return hashlib.sha256(stated.encode()).hexdigest()

    @classmethod
    def read(
        cls, study: Study, jet_definition: str, split: int, device: torch.device
    ) -> "ThreeJetImages":
        """The three jets of the events of one split, see `three_jets`."""
        packed, jet_of_event, table = three_jets(study, jet_definition, split)
        scale, standardised = study.training.pixel_scale, study.training.standardised_mass
        return cls(JetImages(packed, scale, standardised, device), jet_of_event, table)

    def __len__(self) -> int:
        return len(self.table)

    def moves(self, study: Study, seed: int, epoch: int) -> torch.Tensor | None:
        """Reflections and rotations of all jets, each by itself."""
        return self.jets.moves(study, seed, epoch)

    def batches(
        self, rows: np.ndarray, sizes: np.ndarray, moves: torch.Tensor | None = None
    ) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        """See `Inputs`."""
        jets = self.jets.batches(self.jet_of_event[rows].ravel(), JETS_PER_EVENT * sizes, moves)
        parts = torch.from_numpy(rows).to(self.device).split(sizes.tolist())
        for part, (_, inputs) in zip(parts, jets, strict=True):
            by_event = (-1, JETS_PER_EVENT)
            yield part, {name: column.unflatten(0, by_event) for name, column in inputs.items()}


def three_jets(
    study: Study, jet_definition: str, split: int
) -> tuple[PackedJets, np.ndarray, np.ndarray]:
    """Draw the three jets of the events of one split: of those to train on, or all held out.

    Returns:
        All jets, with mass and pT; the last stands for those that do not exist: no pixels, pT 0 and
        the mean mass. The rows (n, 3) of an event's jets, the hardest first. And the events as
        their hardest jets (n,), structured `JET_DTYPE`.
    """
    source, overview = look_again(study)
    events, kinematics = overview.table.events, overview.jets[jet_definition]
    side = study.image_pixels(jet_definition)
    exists = kinematics["pt"] > 0
    trains = choose_events(events, may_train(overview.table, study), study)
    mass = kinematics["mass"][(trains & (events["split"] == TRAIN))[:, None] & exists]
    mass = mass / GEV_PER_TEV
    mean, std = float(mass.mean()), float(mass.std())

    chosen = trains | (events["split"] == HELD_OUT)
    table = hardest_jets(overview, jet_definition, chosen)
    table = table[table["split"] == split]
    rows = table["event"]
    wanted = np.zeros(exists.shape, bool)
    wanted[rows] = exists[rows]
    images = []
    for sample, i, j in zip(source.samples, overview.first, overview.first[1:], strict=False):
        drawn = source.images(sample, {jet_definition: wanted[i:j]})[jet_definition]
        images.append(at_side(drawn, jet_definition, side))
    jets = np.zeros(np.count_nonzero(wanted) + 1, JET_DTYPE)
    for name in ("mass", "pt"):
        jets[name][:-1] = kinematics[name][wanted]
    jets["mass"][-1] = mean * GEV_PER_TEV
    jet_of_event = np.full(exists.shape, len(jets) - 1)
    jet_of_event[wanted] = np.arange(len(jets) - 1)
    packed = PackedJets(jets, concatenate([*images, NO_IMAGE]), side, mean, std, jet_definition)
    return packed, jet_of_event[rows], table


def choose_events(events: np.ndarray, trains: np.ndarray, study: Study) -> np.ndarray:
    """Which of the events (n,) that may train do: as many as the study takes of jets.

    Args:
        events: structured (n,) with the fields of `IDENTITY`.
        trains: (n,)
    """
    hashes = uniform(events, "three jets")
    points = np.where(is_signal(events), mass_point(events), np.uint64(0))
    chosen, n = np.zeros(len(events), bool), study.images.training_jets_per_mass_point
    for is_class in (is_signal(events), is_background(events)):
        candidates = is_class & trains
        chosen[candidates] = lowest(hashes[candidates], points[candidates], n)
        n = int(study.images.training_background_ratio * np.count_nonzero(chosen))
    return chosen
