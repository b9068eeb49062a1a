"""The input of networks of one jet: its image and its mass.

From sparse jets on a device to dense images: one scatter into a reused buffer, no workers.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from command import InputError
from jets.packed import PackedJets, read_event_table, read_jets, read_training_sha256
from jets.split import SPLITS
from physics import CHANNELS
from products import read_manifest
from study import Study
from training.augmentation import Moves, draw_moves

GEV_PER_TEV = 1000.0
INTENSITY_FLOOR = 1e-6  # added to the maximum that an image is divided by, as published
LOG_STEEPNESS = 1e3  # of the logarithmic scale: about the largest over the softest pixel of a jet
# Pixels scored at once: 1,024 images of 64 x 64 fill a GPU with up to 4 GiB; elsewhere 64 of them
# stay in a processor's cache.
PIXELS_SCORED_AT_ONCE = {"cuda": 1024 * 64**2, "cpu": 64 * 64**2}


def read_split(study: Study, jet_definition: str, split: int) -> PackedJets:
    """The packed jets of one split, whose events are all of that split.

    Raises:
        InputError: setup.py has not finished, or its products contradict each other.
    """
    read_manifest(study.data_dir / "setup.json", "setup.py", study.settings("setup"))
    path = study.data_dir / f"{jet_definition}.h5"
    jets = read_jets(path, split)
    events = read_event_table(study.data_dir / "events.h5").events
    strays = np.count_nonzero(events["split"][jets.jets["event"]] != split)
    if strays:
        raise InputError(
            f"{path}: {strays} of {len(jets)} jets marked {SPLITS[split]} belong to events of "
            "another split; delete the file and run setup.py again"
        )
    return jets


@contextmanager
def _one_thread() -> Iterator[None]:
    """On a CPU: a batch has so few pixels that threads cost more than they bring.

    Three times as long on two idle cores, a hundred times on two busy ones.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class JetImages:
    """Jets as a network sees them, kept sparse on a device: 6 bytes a pixel (an `Inputs`).

    The inputs are `images` (b, 3, p, p), channels last in memory, and `mass` (b,).

    All three channels of a jet together are divided by their common maximum, then put on the
    scale of the study, on which an empty pixel stays empty: linear as published, or with more
    weight for soft pixels their square root, or log(1 + 1000 x) / log(1001). The mass is in TeV,
    or standardised to the training jets.
    """

    unit = "jets"

    def __init__(
        self,
        jets: PackedJets,
        pixel_scale: str,
        standardised_mass: bool,
        device: torch.device,
    ) -> None:
        self.table, self.size, self.device = jets.jets, jets.side, device
        self.at_once = max(PIXELS_SCORED_AT_ONCE[device.type] // jets.side**2, 1)
        self.pixel_scale = pixel_scale
        offsets, values = (
            torch.from_numpy(jets.images.offsets),
            torch.from_numpy(jets.images.values),
        )
        lengths = offsets.diff()
        # Batches are summed up on the host, so that no step waits for the device to tell a length.
        self.lengths = lengths.numpy()
        maximum = torch.segment_reduce(values, "max", offsets=offsets, initial=0.0)
        scale = torch.repeat_interleave(maximum + INTENSITY_FLOOR, lengths)
        self.values = (values / scale).to(device)
        # Row, column, channel: the order in which convolutions run fastest. 16 bits, which torch
        # reads as signed integers only: `batches` undoes the sign.
        channel, place = np.divmod(jets.images.pixels, np.uint16(self.size**2))
        pixels = place * np.uint16(len(CHANNELS)) + channel
        self.pixels = torch.from_numpy(pixels.view(np.int16)).to(device)
        self.offsets = offsets.to(device)
        mass = jets.jets["mass"] / GEV_PER_TEV
        if standardised_mass:
            mass = (mass - jets.mass_mean) / jets.mass_std
        self.mass = torch.from_numpy(mass.astype(np.float32)).to(device)

    @staticmethod
    def size_in(study: Study, jet_definition: str) -> int:
        """Pixels along a side."""
        return study.image_pixels(jet_definition)

    @staticmethod
    def sha256(study: Study, jet_definition: str) -> str:
        """Of the jets of training and validation."""
        return read_training_sha256(study.data_dir / f"{jet_definition}.h5")

    @classmethod
    def read(
        cls, study: Study, jet_definition: str, split: int, device: torch.device
    ) -> "JetImages":
        """The packed jets of one split, see `read_split`."""
        jets = read_split(study, jet_definition, split)
        return cls(jets, study.training.pixel_scale, study.training.standardised_mass, device)

    def __len__(self) -> int:
        return len(self.lengths)

    def moves(self, study: Study, seed: int, epoch: int) -> Moves | None:
        """Reflections and rotations of all jets, see `draw_moves`."""
        return draw_moves(len(self), study, seed, epoch, self.device)

    def batches(
        self, rows: np.ndarray, sizes: np.ndarray, moves: Moves | None = None
    ) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        """The jets `rows` (n,) in batches of these sizes (steps,), which sum to n.

        Args:
            moves: of all jets; pixels that meet in one are added before they are scaled.

        Yields:
            Which jets (b,), and their images and masses, valid until the next batch is made.
        """
        if not len(rows):
            return
        volume = len(CHANNELS) * self.size**2
        largest = int(sizes.max())
        buffer = torch.zeros(largest * volume, device=self.device)
        image = torch.arange(largest, device=self.device) * volume
        filled = torch.empty(0, dtype=torch.int64, device=self.device)
        totals = np.add.reduceat(self.lengths[rows], np.cumsum(sizes) - sizes)
        parts = torch.from_numpy(rows).to(self.device).split(sizes.tolist())
        for part, total in zip(parts, totals.tolist(), strict=True):
            with _one_thread():
                start = self.offsets[part]
                length = self.offsets[part + 1] - start
                behind = length.cumsum(0) - length  # pixels of this batch before each jet's own
                pixel = torch.arange(total, device=self.device)
                pixel += torch.repeat_interleave(start - behind, length, output_size=total)
                buffer.index_fill_(0, filled, 0.0)  # some 100 of the 49,152 pixels of an image
                place = self.pixels.index_select(0, pixel).to(torch.int64) & 0xFFFF
                values = self.values.index_select(0, pixel)
                filled = torch.repeat_interleave(image[: len(part)], length, output_size=total)
                if moves is None:
                    filled += place
                else:
                    jet = torch.repeat_interleave(part, length, output_size=total)
                    place, is_inside = self._moved(place, jet, moves)
                    filled += place
                    buffer.scatter_add_(0, filled, values * is_inside)
                    values = buffer.index_select(0, filled)
                buffer.scatter_(0, filled, self._scaled(values))
                images = buffer[: len(part) * volume].view(-1, self.size, self.size, len(CHANNELS))
                inputs = {"images": images.permute(0, 3, 1, 2), "mass": self.mass[part]}
            yield part, inputs

    def _moved(
        self, place: torch.Tensor, jet: torch.Tensor, moves: Moves
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Where pixels (m,) of these jets go, and whether that is within the image."""
        pixel = place // len(CHANNELS)
        row, column, is_inside = moves.place(jet, pixel // self.size, pixel % self.size, self.size)
        return (row * self.size + column) * len(CHANNELS) + place % len(CHANNELS), is_inside

    def _scaled(self, values: torch.Tensor) -> torch.Tensor:
        if self.pixel_scale == "sqrt":
            return values.sqrt()
        if self.pixel_scale == "log":
            return torch.log1p(LOG_STEEPNESS * values) / math.log1p(LOG_STEEPNESS)
        return values
