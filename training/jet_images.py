"""The input of networks of one jet: its image and its mass.

From sparse jets on a device to dense images: one scatter into a reused buffer, no workers.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch

from command import InputError
from jets.packed import PackedJets, read_event_table, read_jets, read_training_sha256
from jets.split import SPLITS
from physics import CHANNELS
from products import read_manifest
from study import Study
from training.augmentation import draw_moves, moved

GEV_PER_TEV = 1000.0
INTENSITY_FLOOR = 1e-6  # added to the maximum that an image is divided by, as published
LOG_STEEPNESS = 1e3  # of the logarithmic scale: about the largest over the softest pixel of a jet
SCALES = {
    "linear": lambda values: values,
    "sqrt": torch.sqrt,
    "log": lambda values: torch.log1p(LOG_STEEPNESS * values) / math.log1p(LOG_STEEPNESS),
}
# Pixels scored at once: 1,024 images of 64 x 64 fill a GPU with up to 4 GiB; elsewhere 64 of them
# stay in a processor's cache.
PIXELS_SCORED_AT_ONCE = {"cuda": 1024 * 64**2, "cpu": 64 * 64**2}


def read_split(study: Study, jet_definition: str, split: int) -> PackedJets:
    """The packed jets of one split, whose events are all of that split.

    Raises:
        InputError: setup.py has not finished, or its products contradict each other.
    """
    read_manifest(study.data_dir / "setup.json", "setup.py", study.settings("setup"))
    path = study.packed_file(jet_definition)
    jets = read_jets(path, split)
    events = read_event_table(study.data_dir / "events.h5").events
    if strays := np.count_nonzero(events["split"][jets.jets["event"]] != split):
        raise InputError(
            f"{path}: {strays} of {len(jets)} jets marked {SPLITS[split]} belong to events of "
            "another split; delete the file and run setup.py again"
        )
    return jets


class JetImages:
    """Jets as a network sees them, kept sparse on a device: 6 bytes a pixel (an `Inputs`).

    The inputs are `images` (b, 3, p, p), channels last in memory, and `mass` (b,), in TeV or
    standardised to the training jets. All three channels of a jet together are divided by their
    common maximum, then put on a scale of `SCALES`, on which an empty pixel stays empty: linear as
    published, the others give more weight to soft pixels.
    """

    unit = "jets"

    def __init__(
        self, jets: PackedJets, pixel_scale: str, standardised_mass: bool, device: torch.device
    ) -> None:
        self.table, self.size, self.device = jets.jets, jets.side, device
        self.at_once = max(PIXELS_SCORED_AT_ONCE[device.type] // jets.side**2, 1)
        self._scaled = SCALES[pixel_scale]
        offsets, values = map(torch.from_numpy, (jets.images.offsets, jets.images.values))
        lengths = offsets.diff()
        # Batches are summed up on the host, so that no step waits for the device to tell a length.
        self._lengths = lengths.numpy()
        maximum = torch.segment_reduce(values, "max", offsets=offsets, initial=0.0)
        scale = torch.repeat_interleave(maximum + INTENSITY_FLOOR, lengths)
        self._values = (values / scale).to(device)
        # Row, column, channel: the order in which convolutions run fastest. 16 bits, which torch
        # reads as signed integers only: `batches` undoes the sign.
        channel, place = np.divmod(jets.images.pixels, np.uint16(self.size**2))
        pixels = place * np.uint16(len(CHANNELS)) + channel
        self._pixels = torch.from_numpy(pixels.view(np.int16)).to(device)
        self._offsets = offsets.to(device)
        mass = jets.jets["mass"] / GEV_PER_TEV
        if standardised_mass:
            mass = (mass - jets.mass_mean) / jets.mass_std
        self._mass = torch.from_numpy(mass.astype(np.float32)).to(device)

    @staticmethod
    def size_in(study: Study, jet_definition: str) -> int:
        """Pixels along a side."""
        return study.image_pixels(jet_definition)

    @staticmethod
    def sha256(study: Study, jet_definition: str, is_shuffled: bool) -> str:
        """Of the jets of training and validation."""
        return read_training_sha256(study.packed_file(jet_definition), is_shuffled)

    @classmethod
    def read(
        cls, study: Study, jet_definition: str, split: int, device: torch.device
    ) -> "JetImages":
        """The packed jets of one split, see `read_split`."""
        jets = read_split(study, jet_definition, split)
        return cls(jets, study.training.pixel_scale, study.training.standardised_mass, device)

    def __len__(self) -> int:
        return len(self.table)

    def moves(self, study: Study, seed: int, epoch: int) -> torch.Tensor | None:
        """Reflections and rotations of all jets, see `draw_moves`."""
        return draw_moves(len(self), study, seed, epoch, self.device)

    def batches(
        self, rows: np.ndarray, sizes: np.ndarray, moves: torch.Tensor | None = None
    ) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        """See `Inputs`; pixels that meet in one when moved are added before they are scaled."""
        if not len(rows):
            return
        volume = len(CHANNELS) * self.size**2
        largest = int(sizes.max())
        buffer = torch.zeros(largest * volume, device=self.device)
        image = torch.arange(largest, device=self.device) * volume
        filled = torch.empty(0, dtype=torch.int64, device=self.device)
        totals = np.add.reduceat(self._lengths[rows], np.cumsum(sizes) - sizes)
        parts = torch.from_numpy(rows).to(self.device).split(sizes.tolist())
        # A batch has so few pixels that threads cost more than they bring: three times as long on
        # two idle cores, a hundred times on two busy ones.
        threads = torch.get_num_threads()
        for part, total in zip(parts, totals.tolist(), strict=True):
            torch.set_num_threads(1)
            start = self._offsets[part]
            length = self._offsets[part + 1] - start
            behind = length.cumsum(0) - length  # pixels of this batch before each jet's own
            pixel = torch.arange(total, device=self.device)
            pixel += torch.repeat_interleave(start - behind, length, output_size=total)
            buffer.index_fill_(0, filled, 0.0)  # some 100 of the 49,152 pixels of an image
            place = self._pixels.index_select(0, pixel).to(torch.int64) & 0xFFFF
            values = self._values.index_select(0, pixel)
            filled = torch.repeat_interleave(image[: len(part)], length, output_size=total)
            if moves is None:
                filled += place
            else:
                jet = torch.repeat_interleave(part, length, output_size=total)
                pixel, channel = place // len(CHANNELS), place % len(CHANNELS)
                row, column = pixel // self.size, pixel % self.size
                row, column, is_inside = moved(moves[:, jet], row, column, self.size)
                filled += (row * self.size + column) * len(CHANNELS) + channel
                buffer.scatter_add_(0, filled, values * is_inside)
                values = buffer.index_select(0, filled)
            buffer.scatter_(0, filled, self._scaled(values))
            images = buffer[: len(part) * volume].view(-1, self.size, self.size, len(CHANNELS))
            inputs = {"images": images.permute(0, 3, 1, 2), "mass": self._mass[part]}
            torch.set_num_threads(threads)
            yield part, inputs
