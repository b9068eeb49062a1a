"""Where the truth says that the prongs of a jet are: the daughters of the particle it matches."""

import numpy as np

from jets.events import Events, read_events
from jets.images import UP, hardest_direction, members, turned
from jets.packed import read_event_table
from jets.ragged import delta_phi, offsets_from
from jets.split import IDENTITY
from physics import JETS_PER_EVENT
from processes import PROCESSES, numbered
from study import Study

PRONGS = 3  # of a jet, at most: the quarks of a neutralino


def read_prongs(study: Study, jet_definition: str, jets: np.ndarray, oriented: bool) -> np.ndarray:
    """The prongs of jets in the frame of their images, from the collisions of a study.

    Args:
        jets: structured (n,) with `event`, rows of the event table, and `k`.
        oriented: whether the frame is turned until the hardest deposit is up.

    Returns:
        (n, 3, 2) across and upwards from the axis, see `prongs`; NaN where no truth is known, as of
        background.
    """
    table = read_event_table(study.data_dir / "events.h5")
    found = np.full((len(jets), PRONGS, 2), np.nan)
    if table.source != "collisions":
        return found
    events = table.events[jets["event"]]
    for sample in np.unique(events[list(IDENTITY[:-1])]):
        process = numbered(sample["process"])
        if process.matches:
            chosen = np.flatnonzero(events[list(sample.dtype.names)] == sample)
            numbers = [sample[name] for name in ("m_stop", "m_neutralino", "index")]
            numbers = numbers[: len(process.parameters)] or numbers[-1:]
            path = study.folder_of(process) / f"{process.sample_name(*numbers)}.h5"
            of_file = read_events(path).take(events["row"][chosen])
            found[chosen] = prongs(of_file, jet_definition, jets["k"][chosen], oriented)
    return found


def prongs(events: Events, jet_definition: str, k: np.ndarray, oriented: bool) -> np.ndarray:
    """The daughters (n, 3, 2) of the true particle nearest to the k-th (n,) large-R jet of each
    event, of those that jets of the process are matched to: eta and phi from the jet's axis, or
    across and upwards in the frame of `jets.images` that is turned.

    NaN stands for daughters that a particle does not have, and where there is no such particle.
    """
    rows, truth = np.arange(len(events)), events.truth
    process, axis = PROCESSES[events.process], events.large_r[jet_definition][rows, k]
    eta, phi = (axis[name].astype(float)[:, None] for name in ("eta", "phi"))
    x, y = truth["eta"] - eta, delta_phi(truth["phi"], phi)
    first = offsets_from([1 + daughters for _, daughters in process.truth])
    slots = [i for i, (pdg_id, _) in enumerate(process.truth) if pdg_id in process.matches]
    if not slots:
        return np.full((len(events), PRONGS, 2), np.nan)
    begin, end = first[slots], first[1:][slots]
    nearest = np.argmin(np.hypot(x[:, begin], y[:, begin]), axis=1)[:, None]
    slot = begin[nearest] + 1 + np.arange(PRONGS)
    exists = slot < end[nearest]
    slot = np.minimum(slot, truth.shape[1] - 1)
    x, y = (np.where(exists, one[rows[:, None], slot], np.nan) for one in (x, y))
    up = np.tile(UP, (len(events), 1))
    if oriented:
        objects, offsets = members(events, jet_definition, np.arange(JETS_PER_EVENT) == k[:, None])
        jet = np.repeat(rows, np.diff(offsets))
        around = delta_phi(objects["phi"].astype(float), phi[jet, 0])
        up, _ = hardest_direction(objects["eta"] - eta[jet, 0], around, objects["pt"], offsets)
    return np.stack(turned(x, y, up[:, None]), axis=-1)
