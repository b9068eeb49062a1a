"""From sparse jets on a device to dense images: one scatter into a reused buffer, no workers."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from jets.packed import PackedJets, read_event_table, read_jets
from jets.split import SPLITS
from products import InputError, read_manifest
from study import CHANNELS, Study

GEV_PER_TEV = 1000.0
INTENSITY_FLOOR = 1e-6  # added to the maximum that an image is divided by, as published


def read_split(study: Study, jet_definition: str, split: int) -> PackedJets:
    """The packed jets of one split, whose events are all of that split.

    Raises:
        InputError: setup.py has not finished, or its products contradict each other.
    """
    read_manifest(study.data_dir / "setup.json", made_by="setup.py")
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


class Batch(NamedTuple):
    """What a network sees of b jets.

    Attributes:
        rows: (b,) which jets they are.
        images: (b, 3, p, p), valid until the next batch is made.
        mass: (b,).
    """

    rows: torch.Tensor
    images: torch.Tensor
    mass: torch.Tensor


class JetImages:
    """Jets as a network sees them, kept sparse on a device: 6 bytes a pixel.

    All three channels of a jet together are divided by their common maximum and raised to
    `pixel_power`; the mass is in TeV, or standardised to the training jets. Both happen once here,
    for an empty pixel stays empty, so a batch costs only its scatter.
    """

    def __init__(
        self,
        jets: PackedJets,
        pixel_power: float,
        standardised_mass: bool,
        device: torch.device,
    ) -> None:
        self.side = jets.side
        self.device = device
        offsets, values = (
            torch.from_numpy(jets.images.offsets),
            torch.from_numpy(jets.images.values),
        )
        lengths = offsets.diff()
        # Batches are summed up on the host, so that no step waits for the device to tell a length.
        self.lengths = lengths.numpy()
        maximum = torch.segment_reduce(values, "max", offsets=offsets, initial=0.0)
        scale = torch.repeat_interleave(maximum + INTENSITY_FLOOR, lengths)
        self.values = (values / scale).pow_(pixel_power).to(device)
        # 16 bits, which torch indexes as signed integers only: `_pixels` undoes the sign.
        self.pixels = torch.from_numpy(jets.images.pixels.view(np.int16)).to(device)
        self.offsets = offsets.to(device)
        mass = jets.jets["mass"] / GEV_PER_TEV
        if standardised_mass:
            mass = (mass - jets.mass_mean) / jets.mass_std
        self.mass = torch.from_numpy(mass.astype(np.float32)).to(device)

    def __len__(self) -> int:
        return len(self.lengths)

    def batches(self, order: np.ndarray, batch_size: int) -> Iterator[Batch]:
        """The jets `order` (n,) in batches of `batch_size`; the last one may be smaller."""
        if not len(order):
            return
        volume = len(CHANNELS) * self.side**2
        buffer = torch.zeros(batch_size * volume, device=self.device)
        image = torch.arange(batch_size, device=self.device) * volume
        filled = torch.empty(0, dtype=torch.int64, device=self.device)
        totals = np.add.reduceat(self.lengths[order], np.arange(0, len(order), batch_size))
        rows_of_batches = torch.from_numpy(order).to(self.device).split(batch_size)
        for rows, total in zip(rows_of_batches, totals.tolist(), strict=True):
            start = self.offsets[rows]
            length = self.offsets[rows + 1] - start
            behind = length.cumsum(0) - length  # pixels of this batch before each jet's own
            pixel = torch.arange(total, device=self.device)
            pixel += torch.repeat_interleave(start - behind, length, output_size=total)
            buffer.index_fill_(0, filled, 0.0)  # some 100 of the 49,152 pixels of an image
            filled = torch.repeat_interleave(image[: len(rows)], length, output_size=total)
            filled += self.pixels.index_select(0, pixel).to(torch.int64) & 0xFFFF
            buffer.scatter_(0, filled, self.values.index_select(0, pixel))
            images = buffer[: len(rows) * volume].view(-1, len(CHANNELS), self.side, self.side)
            yield Batch(rows, images, self.mass[rows])
