"""Events as sets of objects: the lepton, the missing momentum, R = 0.4 jets and large-R jets.

setup.py does not pack them: the collisions have them once for every event, and are read again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from command import InputError
from jets.angularities import ANGULARITIES
from jets.classifier import Classifier
from jets.events import read_tables
from jets.packed import OBSERVABLES, read_event_table
from jets.ragged import delta_phi, events_of, offsets_from, table, take
from jets.scores import BaseScores, log_odds
from products import read_manifest
from study import Study

JETS_MAX = 12  # R = 0.4 jets of an event, the hardest ones
MOMENTUM = ("ln pT", "eta", "cos phi", "sin phi", "ln(1 + mass)")
COLUMNS = {  # of each kind of object; large-R jets have more
    "lepton": ("ln pT", "eta"),
    "missing": ("ln pT", "cos phi", "sin phi"),
    "jets": (*MOMENTUM, "b tag"),
    "large_jets": MOMENTUM,
}


@dataclass(frozen=True)
class EventSet:
    """The objects of m events, in a frame in which the lepton has phi = 0 and eta >= 0 and the
    missing momentum 0 <= phi <= pi: no turn about the beam and no reflection changes it.

    Attributes:
        event: (m,) rows of the event table.
        objects: kind, a key of `COLUMNS` -> (m, n, c) float32, falling in pT; NaN where there is no
            such object; pT and mass in GeV.
        columns: kind -> the c names.
        momenta: (m, tokens, 4) float32: pT, rapidity, phi and mass in GeV of the objects of all
            kinds, one kind after the other; 0 where there is none. The rapidity of the missing
            momentum, which nobody knows, is 0.
    """

    event: np.ndarray
    objects: dict[str, np.ndarray]
    columns: dict[str, tuple[str, ...]]
    momenta: np.ndarray

    def __len__(self) -> int:
        return len(self.event)

    def take(self, rows: np.ndarray) -> "EventSet":
        """The events of a mask (m,) or of numbers."""
        objects = {kind: found[rows] for kind, found in self.objects.items()}
        return EventSet(self.event[rows], objects, self.columns, self.momenta[rows])

    @property
    def features(self) -> np.ndarray:
        """The same facts as one row (m, f) an event, for trees; NaN where there is no object."""
        flat = [found.reshape(len(self), -1) for found in self.objects.values()]
        return np.concatenate(flat, axis=1)

    @property
    def names(self) -> list[str]:
        """Of the f features: `jets 0 ln pT` is of the hardest jet."""
        return [
            f"{kind} {i} {column}"
            for kind, found in self.objects.items()
            for i in range(found.shape[1])
            for column in self.columns[kind]
        ]


def read_event_set(
    study: Study, scores: BaseScores, networks: Sequence[Classifier], jet_definition: str
) -> EventSet:
    """Held-out events as sets, in the order of their scores.

    Args:
        networks: those of `scores` whose scores the large-R jets have, beside their angularities.
        jet_definition: of the large-R jets.

    Raises:
        InputError: as `read_objects`.
    """
    found = read_objects(study, scores.event, jet_definition)
    known, jets = scores.networks | scores.repeats, scores.jets[jet_definition]
    exists = jets["pt"] > 0  # a jet without pixels was not scored
    assert np.array_equal(found["large_jets"]["pt"][exists], jets["pt"][exists])
    found["large_jets"]["pt"][~exists] = 0
    more = {name: jets[name] for name in ANGULARITIES}
    for network in networks:
        more[f"logit of {network.label}"] = log_odds(known[network])
    return event_set(scores.event, more=more, **found)


def read_objects(study: Study, event: np.ndarray, jet_definition: str) -> dict[str, np.ndarray]:
    """What `event_set` takes of these events (m,), which are rising rows of the event table.

    Raises:
        InputError: published files; collisions that are missing or not those setup.py has read.
    """
    made = read_manifest(study.data_dir / "setup.json", "setup.py", study.settings("setup"))
    known = read_event_table(study.data_dir / "events.h5")
    if known.observables is None:
        raise InputError(
            f"study {study.name!r}: the sample holds no lepton, pTmiss and R = 0.4 jets; "
            "take a study of our own collisions"
        )
    ht, parts, first = known.observables[:, OBSERVABLES.index("HT")], [], 0
    for path in map(Path, made["inputs"]):  # in the order of the event table
        names = ("observables", "lepton", "jets", "jet_offsets", jet_definition)
        found = read_tables(path, names)
        last = first + len(found["lepton"])
        assert np.array_equal(known.events["row"][first:last], np.arange(last - first)), path
        assert np.array_equal(ht[first:last], found["observables"]["ht"]), path
        begin, end = np.searchsorted(event, [first, last])
        chosen = event[begin:end] - first
        rows, offsets = take(found["jet_offsets"], chosen)
        part = {name: found[name][chosen] for name in ("observables", "lepton")}
        part |= {"large_jets": found[jet_definition][chosen]}
        parts.append(part | {"jets": found["jets"][rows], "jet_offsets": np.diff(offsets)})
        first = last
    assert first == len(known.events), "these files hold all events"
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return joined | {"jet_offsets": offsets_from(joined["jet_offsets"])}


def event_set(
    event: np.ndarray,
    observables: np.ndarray,
    lepton: np.ndarray,
    jets: np.ndarray,
    jet_offsets: np.ndarray,
    large_jets: np.ndarray,
    more: Mapping[str, np.ndarray],
    jets_max: int = JETS_MAX,
) -> EventSet:
    """Events as sets, from tables as `jets.events.Events` has them.

    Args:
        event: (m,)
        observables, lepton: structured (m,).
        jets: structured, flat, those of an event falling in pT.
        jet_offsets: (m + 1,)
        large_jets: structured (m, 3), pT 0 where there is none.
        more: further columns (m, 3) of these.
        jets_max: places for jets; an event's softer ones are left out.
    """
    row = events_of(jet_offsets)
    k = np.arange(len(jets)) - jet_offsets[row]
    padded = np.zeros((len(event), jets_max), jets.dtype)
    padded[row[k < jets_max], k[k < jets_max]] = jets[k < jets_max]
    x, y = (observables[name].astype(float) for name in ("met_x", "met_y"))
    polar = {"pt": np.hypot(x, y), "phi": np.arctan2(y, x)}
    missing = table([(name, float) for name in ("pt", "eta", "phi", "mass")], len(event), polar)
    turn = lepton["phi"].astype(float)[:, None]
    side = np.where(delta_phi(missing["phi"][:, None], turn) < 0, -1, 1)
    end = np.where(lepton["eta"][:, None] < 0, -1, 1)

    of_kind = {"lepton": lepton[:, None], "missing": missing[:, None]}
    of_kind |= {"jets": padded, "large_jets": large_jets}
    columns = COLUMNS | {"large_jets": (*MOMENTUM, *more)}
    objects, momenta = {}, []
    for kind, found in of_kind.items():
        pt, eta, phi, mass = (found[name].astype(float) for name in ("pt", "eta", "phi", "mass"))
        pt[pt <= 0] = np.nan
        eta, phi = end * eta, side * delta_phi(phi, turn)
        seen = dict(
            zip(MOMENTUM, (np.log(pt), eta, np.cos(phi), np.sin(phi), np.log1p(mass)), strict=True)
        )
        seen |= more if kind == "large_jets" else {}
        seen |= {"b tag": found["b_tag"]} if kind == "jets" else {}
        stacked = np.stack([seen[name] for name in columns[kind]], axis=-1).astype(np.float32)
        objects[kind] = np.where(np.isnan(pt)[..., None], np.float32(np.nan), stacked)
        rapidity = np.arcsinh(pt * np.sinh(eta) / np.hypot(pt, mass))
        momenta.append(np.nan_to_num(np.stack([pt, rapidity, phi, mass], axis=-1)))
    return EventSet(event, objects, columns, np.concatenate(momenta, axis=1).astype(np.float32))
