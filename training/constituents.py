"""The input of networks of a jet's constituents: these, and features of the whole jet.

setup.py does not pack constituents: the collisions have them and are read again.
"""

import copy
from collections.abc import Iterator, Mapping

import numpy as np
import torch

from jets.angularities import ANGULARITIES, OF_JETS, angularities
from jets.constituents import Constituents, concatenate
from jets.packed import PackedJets
from jets.preparation import look_again
from jets.split import TRAIN
from physics import JETS_PER_EVENT
from study import Study
from training.augmentation import draw_moves
from training.jet_images import GEV_PER_TEV, JetImages, read_split

KINDS = ("charged hadron", "neutral hadron", "photon", "electron", "muon")
# Of a constituent: what is subtracted and divided by, round numbers near mean and deviation.
SCALES = {
    "ln pT": (0.5, 1.2),
    "ln pT / pT of all": (-5.5, 1.2),
    "rapidity": (0.0, 0.4),
    "phi": (0.0, 0.4),
    "distance": (0.4, 0.4),
}


class JetConstituents:
    """Jets as a network of their constituents sees them (an `Inputs`).

    The inputs are `constituents` (b, t, 10): `SCALES` and which of `KINDS` it is, 0 where there is
    none; `exists` (b, t); `momenta` (b, t, 4): pT, rapidity, phi and mass, in TeV, from the jet
    axis; and `jet` (b, 7): `OF_JETS` less their mean over the training jets, in units of their
    standard deviation. t is that of the jet with most constituents in the batch.

    Attributes:
        features: (n, 7) those of `jet`.
    """

    unit, at_once = "jets", 256
    sha256 = staticmethod(JetImages.sha256)

    def __init__(
        self, found: Constituents, jets: np.ndarray, table: np.ndarray, device: torch.device
    ) -> None:
        """From the constituents of n jets, features (n, 7) of these, and their table (n,)."""
        self.table, self.device, self.size = table, device, self.size_in()
        lengths = np.diff(found.offsets)
        self._lengths, self._starts = lengths, found.offsets[:-1]
        of_all = np.add.reduceat(np.append(found.pt, 0.0), found.offsets[:-1]) * (lengths > 0)
        share = np.repeat(of_all, lengths)
        columns = [found.pt / GEV_PER_TEV, found.rapidity, found.phi, found.mass / GEV_PER_TEV]
        columns += [np.log(found.pt), np.log(found.pt / share)]
        columns += [found.kind == i for i in range(len(KINDS))]
        flat = np.stack(columns, axis=1).astype(np.float32)
        # The last row stands for constituents that do not exist.
        self._flat = torch.from_numpy(np.pad(flat, ((0, 1), (0, 0)))).to(device)
        self.features = torch.from_numpy(jets.astype(np.float32)).to(device)

    @staticmethod
    def size_in(study: Study | None = None, jet_definition: str = "") -> dict[str, int]:
        """How many features a constituent and a jet has."""
        return {"constituents": len(SCALES) + len(KINDS), "jet": len(OF_JETS)}

    @classmethod
    def read(
        cls, study: Study, jet_definition: str, split: int, device: torch.device
    ) -> "JetConstituents":
        """The packed jets of one split, with their constituents.

        Raises:
            InputError: published files, which hold no constituents.
        """
        packed = read_split(study, jet_definition, split)
        known = packed if split == TRAIN else read_split(study, jet_definition, TRAIN)
        of_known = _of_packed(known)
        features = of_known if split == TRAIN else _of_packed(packed)
        jets = (features - of_known.mean(axis=0)) / of_known.std(axis=0)
        source, overview = look_again(study)
        wanted = np.zeros((len(overview.table.events), JETS_PER_EVENT), bool)
        wanted[packed.jets["event"], packed.jets["k"]] = True
        parts = [
            source.constituents(sample, jet_definition, wanted[i:j])
            for sample, i, j in zip(
                source.samples, overview.first, overview.first[1:], strict=False
            )
        ]
        return cls(concatenate(parts), jets, packed.jets, device)

    def __len__(self) -> int:
        return len(self.table)

    def take(self, rows: np.ndarray) -> "JetConstituents":
        """The jets of these numbers, in their order."""
        some = copy.copy(self)
        some.table, some._lengths, some._starts = (
            column[rows] for column in (self.table, self._lengths, self._starts)
        )
        some.features = self.features[torch.from_numpy(rows).to(self.device)]
        return some

    def by_length(self) -> np.ndarray:
        """Numbers (n,) of the jets, those with the fewest constituents first: in this order batches
        hold the least that does not exist."""
        return np.argsort(self._lengths, kind="stable")

    def moves(self, study: Study, seed: int, epoch: int) -> torch.Tensor | None:
        """Reflections and rotations of all jets, see `draw_moves`."""
        return draw_moves(len(self), study, seed, epoch, self.device)

    def batches(
        self, rows: np.ndarray, sizes: np.ndarray, moves: torch.Tensor | None = None
    ) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        """See `Inputs`."""
        if not len(rows):
            return  # of an epoch that was interrupted after its last step
        ends = np.cumsum(sizes)
        for part in np.split(rows, ends[:-1]):
            lengths = self._lengths[part]
            place = np.arange(max(lengths.max(), 1))
            exists = place < lengths[:, None]
            at = np.where(exists, self._starts[part][:, None] + place, len(self._flat) - 1)
            given = self._flat[torch.from_numpy(at).to(self.device)]
            exists = torch.from_numpy(exists).to(self.device)
            events = torch.from_numpy(part).to(self.device)
            pt, rapidity, phi, mass, ln_pt, ln_share, *kinds = given.unbind(2)
            if moves is not None:
                mirror, cosine, sine = moves[:, events, None]
                across = rapidity * mirror
                rapidity, phi = cosine * across - sine * phi, sine * across + cosine * phi
            numbers = ln_pt, ln_share, rapidity, phi, torch.hypot(rapidity, phi)
            scaled = [(x - a) / b for x, (a, b) in zip(numbers, SCALES.values(), strict=True)]
            seen = torch.stack([*scaled, *kinds], dim=2) * exists[..., None]
            yield (
                events,
                {
                    "constituents": seen,
                    "exists": exists,
                    "momenta": torch.stack([pt, rapidity, phi, mass], dim=2),
                    "jet": self.features[events],
                },
            )


def _of_packed(packed: PackedJets) -> np.ndarray:
    shapes = angularities(packed.images, packed.side, packed.jet_definition)
    tables = {name: shapes if name in ANGULARITIES else packed.jets for name in OF_JETS}
    return features_of({name: table[name] for name, table in tables.items()})


def features_of(jets: np.ndarray | Mapping[str, np.ndarray]) -> np.ndarray:
    """Features (n, 7) of jets by name, `OF_JETS`: of mass and pT the logarithm of GeV."""
    logarithms = [np.log(np.maximum(jets[name], 1.0)) for name in OF_JETS[:2]]
    columns = [*logarithms, *(jets[name] for name in ANGULARITIES)]
    return np.stack(columns, axis=1).astype(np.float64)
