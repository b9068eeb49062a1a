"""The input of networks of whole events: their objects as a set (jets/event_set.py)."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from command import InputError
from jets.event_set import EventSet
from training.jet_images import GEV_PER_TEV

MANY = ("jets", "large_jets")  # kinds of which there are several


def moments(found: EventSet) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kind -> mean and standard deviation (c,) of its columns over all objects of the events to
    train on; the deviation 1 of a column that is constant, which becomes 0 by that.

    Raises:
        InputError: no object of a kind.
    """
    of_kind = {}
    for kind, objects in found.objects.items():
        seen = objects[~np.isnan(objects[..., 0])].astype(float)
        if not len(seen):
            raise InputError(
                f"no {kind} in {len(found)} events to train on, expected at least one; take other "
                "events"
            )
        std = np.where(np.ptp(seen, axis=0) > 0, seen.std(axis=0), 1.0)
        of_kind[kind] = seen.mean(axis=0), std
    return of_kind


class EventSets:
    """Events as a network of their objects sees them (an `Inputs`, but for what reads a split).

    The inputs are `lepton` and `missing` (b, c), `jets` (b, 12, c) and `large_jets` (b, 3, c), less
    the mean of their kind, in units of its standard deviation, and 0 where there is none;
    `jets_mask` and `large_jets_mask` (b, n), where there is one; and `momenta` (b, tokens, 4): pT,
    rapidity, phi and mass, in TeV.
    """

    unit, at_once = "events", 1024

    def __init__(
        self,
        found: EventSet,
        moments: Mapping[str, tuple[np.ndarray, np.ndarray]],
        table: np.ndarray,
        device: torch.device,
    ) -> None:
        """From m events, the `moments` of those to train on, and the table (m,) of these m."""
        self.table, self.device = table, device
        self.size = {kind: len(columns) for kind, columns in found.columns.items()}
        made = {"momenta": found.momenta / np.float32([GEV_PER_TEV, 1, 1, GEV_PER_TEV])}
        for kind, objects in found.objects.items():
            mean, std = moments[kind]
            scaled = np.nan_to_num((objects - mean) / std).astype(np.float32)
            made[kind] = scaled if kind in MANY else scaled[:, 0]
            if kind in MANY:
                made[f"{kind}_mask"] = ~np.isnan(objects[..., 0])
        self._inputs = {name: torch.from_numpy(one).to(device) for name, one in made.items()}

    def __len__(self) -> int:
        return len(self.table)

    def moves(self, study: object, seed: int, epoch: int) -> None:
        """There is no augmentation: the frame of an event is its own."""

    def batches(
        self, rows: np.ndarray, sizes: np.ndarray, moves: None = None
    ) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        """See `Inputs`."""
        for part in torch.from_numpy(rows).to(self.device).split(sizes.tolist()):
            yield part, {name: column[part] for name, column in self._inputs.items()}
