"""The input of networks of an event's features: pTmiss, HT, MJ, Nj and Fox-Wolfram moments (DS2).

Trained on all events that may train, those with 5 and 6 jets among them. setup.py does not pack the
hardest jet of each, in which spectra may be equal, so the sample is looked through again.
"""

from collections.abc import Iterator

import numpy as np
import torch

from command import InputError
from jets.packed import DS2 as FEATURES
from jets.preparation import hardest_jets, look_again, may_train
from jets.split import HELD_OUT, TRAIN
from study import Study
from training.three_jets import ThreeJetImages


class EventFeatures:
    """Events as a network of their features sees them (an `Inputs`).

    The input is `features` (b, 9): `FEATURES` less their mean over the events to train on, in units
    of their standard deviation. The table has the hardest jet of each event.
    """

    unit, at_once = "events", 4096
    sha256 = staticmethod(ThreeJetImages.sha256)

    def __init__(self, features: np.ndarray, table: np.ndarray, device: torch.device) -> None:
        """From features (n, f), standardised, and the table (n,) `JET_DTYPE` of events."""
        self.table, self.size, self.device = table, features.shape[1], device
        self._features = torch.from_numpy(features.astype(np.float32)).to(device)

    @staticmethod
    def size_in(study: Study, jet_definition: str) -> int:
        """How many features."""
        return len(FEATURES)

    @classmethod
    def read(
        cls, study: Study, jet_definition: str, split: int, device: torch.device
    ) -> "EventFeatures":
        """All events of one split: those that may train, or are held out, variations included.

        Raises:
            InputError: published files, which hold no observables, or a constant feature.
        """
        _, overview = look_again(study)
        events, observables = overview.table.events, overview.table.observables
        if observables is None:
            raise InputError(
                f"study {study.name!r}: the sample holds no event features to train on; "
                "take a study of our own collisions"
            )
        trains = may_train(overview.table, study)
        table = hardest_jets(overview, jet_definition, trains | (events["split"] == HELD_OUT))
        table = table[table["split"] == split]
        features = observables[:, : len(FEATURES)].astype(float)
        known = features[trains & (events["split"] == TRAIN)]
        if constant := np.flatnonzero(np.ptp(known, axis=0) == 0).tolist():
            names = ", ".join(f"{FEATURES[i]} is {known[0, i]:g}" for i in constant)
            raise InputError(
                f"{study.data_dir / 'events.h5'}: in all {len(known)} events to train on {names}, "
                "expected features that differ between events; simulate or fetch other events"
            )
        features = (features[table["event"]] - known.mean(axis=0)) / known.std(axis=0)
        return cls(features, table, device)

    def __len__(self) -> int:
        return len(self.table)

    def moves(self, study: Study, seed: int, epoch: int) -> None:
        """There is no augmentation."""

    def batches(
        self, rows: np.ndarray, sizes: np.ndarray, moves: None = None
    ) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        """See `Inputs`."""
        for part in torch.from_numpy(rows).to(self.device).split(sizes.tolist()):
            yield part, {"features": self._features[part]}
