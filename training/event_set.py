"""The input of networks of whole events: their objects as a set (jets/event_set.py)."""

from collections.abc import Iterator

import numpy as np
import torch

from command import InputError
from jets.event_set import EventSet
from training.jet_images import GEV_PER_TEV

MANY = ("jets", "large_jets")  # kinds of which there are several


class EventSets:
    """Events as a network of their objects sees them (an `Inputs`, but not of a split).

    The inputs are `lepton` and `missing` (b, c), `jets` (b, 12, c) and `large_jets` (b, 3, c) less
    the mean of all objects of their kind in the events to train on, in units of their standard
    deviation, and 0 where there is none; `jets_mask` and `large_jets_mask` (b, n), where there is
    one; and `momenta` (b, tokens, 4): pT, rapidity, phi and mass, in TeV.
    """

    unit, at_once = "events", 1024

    def __init__(
        self, found: EventSet, known: np.ndarray, table: np.ndarray, device: torch.device
    ) -> None:
        """From m events, which of them are known before the test (m,), and their table (m,)
        `JET_DTYPE`.

        Raises:
            InputError: a column is constant in the known events.
        """
        self.table, self.device = table, device
        self.size = {kind: len(columns) for kind, columns in found.columns.items()}
        self._inputs = {"momenta": found.momenta / np.float32([GEV_PER_TEV, 1, 1, GEV_PER_TEV])}
        for kind, objects in found.objects.items():
            exists = ~np.isnan(objects[..., 0])
            seen = objects[known][exists[known]].astype(float)
            if not len(seen):
                raise InputError(
                    f"no {kind} in {np.count_nonzero(known)} events to train on, expected at least "
                    "two; take other events"
                )
            if (constant := np.ptp(seen, axis=0) == 0).any():
                names = ", ".join(np.array(found.columns[kind])[constant])
                raise InputError(
                    f"all {len(seen)} {kind} of the events to train on have the same {names}, "
                    "expected values that differ; take other events"
                )
            scaled = (objects - seen.mean(axis=0)) / seen.std(axis=0)
            scaled = np.where(exists[..., None], scaled, 0).astype(np.float32)
            self._inputs[kind] = scaled if kind in MANY else scaled[:, 0]
            if kind in MANY:
                self._inputs[f"{kind}_mask"] = exists
        self._inputs = {
            name: torch.from_numpy(column).to(device) for name, column in self._inputs.items()
        }

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
