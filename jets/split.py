"""Who an event is, which split it belongs to, and which of its jets train the networks.

Everything here follows from a hash of an event's identity (process, parameters or file index, row),
never of a path or a jet definition: an event is in the same split in all three definitions, and no
event moves when files are added.
"""

import hashlib
from collections.abc import Iterable

import numpy as np

from command import InputError
from physics import MATCHING_RADIUS
from processes import BACKGROUND, PROCESSES, SIGNAL, VARIATION, numbered, of_role
from study import Study

IDENTITY = ("process", "m_stop", "m_neutralino", "index", "row")
TRAIN, VALIDATION, HELD_OUT = 0, 1, 2
SPLITS = ("train", "validation", "held out")


def is_signal(events: np.ndarray) -> np.ndarray:
    """Which events (n,) are of a signal, by the field `process`."""
    return _is_of(SIGNAL, events)


def is_background(events: np.ndarray) -> np.ndarray:
    """Which events (n,) are of a background, variations aside."""
    return _is_of(BACKGROUND, events)


def is_variation(events: np.ndarray) -> np.ndarray:
    """Which events (n,) are of a variation: held out, and no part of any figure of merit."""
    return _is_of(VARIATION, events)


def _is_of(role: str, events: np.ndarray) -> np.ndarray:
    return np.isin(events["process"], [process.number for process in of_role(role).values()])


def uniform(events: np.ndarray, salt: str) -> np.ndarray:
    """A number in [0, 1) for every event (n,), the same for ever.

    The `IDENTITY` is mixed by the finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014). The
    salt says what the numbers are for; those of different salts are independent.

    >>> uniform(np.zeros(1, [(name, "i8") for name in IDENTITY]), "split").round(4)
    array([0.1628])
    """
    return (_mixed(events, IDENTITY, _seed(salt)) >> np.uint64(11)) * 2.0**-53


def mix(state: np.ndarray) -> np.ndarray:
    """Another 64 bits for each 64 bits, one to one."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _mixed(events: np.ndarray, names: Iterable[str], seed: int) -> np.ndarray:
    """64 bits (n,) of these integer columns, mixed into a seed one after the other."""
    state = np.full(len(events), seed, np.uint64)
    for name in names:
        state = mix(state ^ events[name].astype(np.int64).view(np.uint64))
    return state


def _seed(salt: str) -> int:
    """64 bits of a text."""
    return int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=8).digest(), "little")


def assign_split(events: np.ndarray, fully_selected: np.ndarray, study: Study) -> np.ndarray:
    """The split (n,) uint8 of every event: train, validation or held out; variations held out.

    Args:
        events: structured (n,) with the fields of `IDENTITY`.
        fully_selected: (n,) bool; the others have 5 or 6 jets and are never held out.

    Raises:
        InputError: the study's fractions are not three that add up to 1, or would hold out events
            with 5 or 6 jets.
    """
    number, splits = uniform(events, "split"), []
    for name in ("split", "split_loose"):
        fractions = getattr(study.images, name)
        stated = f"study {study.name!r}: images.{name}"
        is_good = len(fractions) == len(SPLITS) and min(fractions) >= 0
        if not (is_good and abs(sum(fractions) - 1) <= 1e-9):  # so that NaN is refused too
            raise InputError(
                f"{stated} is {list(fractions)}, expected three fractions (train, validation, "
                "held out) that add up to 1"
            )
        if name == "split_loose" and fractions[HELD_OUT] != 0:
            raise InputError(
                f"{stated} holds out {fractions[HELD_OUT]:g} of the events with 5 or 6 jets, "
                "expected 0: only fully selected events are tested on"
            )
        edges = np.round(np.cumsum(fractions)[:-1], 12)
        splits.append(np.searchsorted(edges, number, side="right"))
    split = np.where(fully_selected, *splits)
    return np.where(is_variation(events), HELD_OUT, split).astype(np.uint8)


def matched(jets: np.ndarray) -> np.ndarray:
    """Which jets exist (`pt` > 0) and lie close to a particle that a signal's jets are to match."""
    return (jets["pt"] > 0) & (jets["delta_r"] < MATCHING_RADIUS)


def choose_training_jets(
    events: np.ndarray,
    jets: np.ndarray,
    per_mass_point: int,
    trains: np.ndarray,
    background_ratio: float = 1.0,
) -> np.ndarray:
    """Which of the jets (n, 3) of the events (n,) that may train the networks are trained on.

    Of every mass point the matched jets with the lowest hash, up to `per_mass_point`; of the whole
    background `background_ratio` times as many with the lowest hash, or all if there are fewer.
    """
    signal, trains = is_signal(events)[:, None], trains[:, None]
    hashes = np.stack([uniform(events, f"training jet {k}") for k in range(jets.shape[1])], axis=1)
    points = np.broadcast_to(mass_point(events)[:, None], jets.shape)
    chosen = np.zeros(jets.shape, bool)
    candidates = signal & trains & matched(jets)
    chosen[candidates] = lowest(hashes[candidates], points[candidates], per_mass_point)
    n_background = int(background_ratio * np.count_nonzero(chosen))
    candidates = ~signal & trains & (jets["pt"] > 0)
    hashes = hashes[candidates]
    chosen[candidates] = lowest(hashes, np.zeros(len(hashes)), n_background)
    return chosen


def mass_point(events: np.ndarray) -> np.ndarray:
    """One number (n,) for each process and its parameters."""
    return _mixed(events, IDENTITY[:3], seed=0)


def population(events: np.ndarray) -> np.ndarray:
    """Numbers (n,) from 0 of mass points, of all backgrounds together, and of variations."""
    group = mass_point(events)
    mixtures = [process.mixture for process in PROCESSES.values()]
    for process in of_role(BACKGROUND, VARIATION).values():
        group[events["process"] == process.number] = mixtures.index(process.mixture)
    return np.unique(group, return_inverse=True)[1]


def relative_weights(events: np.ndarray) -> np.ndarray:
    """Weights (n,) over their mean, in each mass point, in all backgrounds, and in each variation.

    The mass points of a signal are alternatives; the backgrounds together are a mixture, and so are
    the slices of a variation. Exactly 1 where all are equal.

    Raises:
        InputError: weights that do not add up to more than 0.
    """
    number = population(events)
    largest = np.zeros(number.max() + 1)
    np.maximum.at(largest, number, np.abs(events["weight"]))
    relative = events["weight"] / np.where(largest > 0, largest, 1)[number]
    mean = np.bincount(number, relative) / np.bincount(number)
    if not (mean > 0).all():
        bad = number == np.argmin(mean > 0)
        event = events[bad][0]
        of = numbered(event["process"]).mixture
        raise InputError(
            f"the weights of {np.count_nonzero(bad)} {of} events (m_stop {event['m_stop']}, "
            f"m_neutralino {event['m_neutralino']}) add up to {events['weight'][bad].sum():g}, "
            "expected more than 0; mend the weights or leave these files out"
        )
    return relative / mean[number]


def lowest(value: np.ndarray, group: np.ndarray, n: int) -> np.ndarray:
    """Whether each entry is one of the n lowest of its group."""
    order = np.lexsort((value, group))
    first = np.searchsorted(group[order], group[order])
    lowest = np.empty(len(value), bool)
    lowest[order] = np.arange(len(value)) - first < n
    return lowest


def shuffle_labels(labels: np.ndarray, classified: np.ndarray, salt: str) -> np.ndarray:
    """Labels permuted over all classified jets, whatever their split; the others keep theirs.

    A network that is trained and tested on them learns nothing: any AUC away from 0.5 is a leak.
    """
    shuffled = labels.copy()
    shuffled[classified] = np.random.default_rng(_seed(salt)).permutation(labels[classified])
    return shuffled


def events_in_two_splits(events: np.ndarray, packed: Iterable[np.ndarray]) -> int:
    """How many events have jets in more than one split, in the packed jets of all definitions."""
    identities = np.ascontiguousarray(events[list(IDENTITY)])
    identities, number = np.unique(identities, return_inverse=True)
    seen = np.zeros((len(identities), len(SPLITS)), bool)
    seen[number, events["split"]] = True
    for jets in packed:
        seen[number[jets["event"]], jets["split"]] = True
    return int(np.count_nonzero(seen.sum(axis=1) > 1))
