"""Which fits there are over events and jets, and what the trees of each see."""

from collections.abc import Iterable, Mapping

import numpy as np

from jets.angularities import ANGULARITIES
from jets.packed import OBSERVABLES, EventTable
from jets.scores import BaseScores
from physics import JET_DEFINITIONS, JETS_PER_EVENT

PUBLISHED_NETWORKS = ("CNN", "CoAtNet", "MaxViT")
TRANSFORMERS = ("CoAtNet", "MaxViT")
FEATURES = {"DS1": OBSERVABLES[:4], "DS2": OBSERVABLES}
CLASSICAL = {  # what trees see of a jet in place of a network's score
    "mass": ("mass",),
    "pt": ("pt",),
    "mass_pt": ("mass", "pt"),
    "angularities": ("mass", "pt", *ANGULARITIES),
}
SAME_JETS = "same_jets"  # angularities too, but by trees grown on the jets that train the networks
OF_ONE_JET = ("mass_pt", "angularities", SAME_JETS)  # the others need no trees


def fits(networks: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Every fit over events and what it sees, as `AK14/MaxViT` (three scores), `DS1` or `DS2`.

    A network beyond the three published ones has its own fits, and no part in the combinations.

    Example:
        >>> len(fits(["CNN", "CoAtNet", "MaxViT"])), len(fits(["ViT"]))
        (23, 27)
        >>> fits([])["AK14_MaxViT_DS1"]
        ('AK14/MaxViT', 'DS1')
    """
    every = dict.fromkeys((*PUBLISHED_NETWORKS, *networks))
    scores = {f"{d}_{n}": (f"{d}/{n}",) for n in every for d in JET_DEFINITIONS}
    of_network = {n: tuple(f"{d}/{n}" for d in JET_DEFINITIONS) for n in PUBLISHED_NETWORKS}
    return (
        scores
        | {f"all_definitions_{n}": inputs for n, inputs in of_network.items()}
        | {
            f"{d}_all_networks": tuple(f"{d}/{n}" for n in PUBLISHED_NETWORKS)
            for d in JET_DEFINITIONS
        }
        | {"transformers": sum((of_network[n] for n in TRANSFORMERS), ())}
        | {"all": sum(of_network.values(), ())}
        | {"AK14_MaxViT_DS1": ("AK14/MaxViT", "DS1")}
        | {f"AK14_{n}_DS2": (f"AK14/{n}", "DS2") for n in every}
        | {"DS1": ("DS1",), "DS2": ("DS2",)}
    )


def comparisons() -> dict[str, tuple[str, ...]]:
    """Fits over events that see no network, as `AK14_angularities`: (`AK14/angularities`,)."""
    return {f"{d}_{name}": (f"{d}/{name}",) for d in JET_DEFINITIONS for name in CLASSICAL}


def repeats(scores: BaseScores) -> dict[str, tuple[str, ...]]:
    """Fits on the three jets' scores of further seeds, as `AK14_MaxViT_1`: (`AK14/MaxViT/1`,)."""
    return {
        name.replace("/", "_"): (name,)
        for name, score in scores.repeats.items()
        if score is not scores.networks[name.rpartition("/")[0]]
    }


def possible(
    wanted: Mapping[str, tuple[str, ...]], scores: BaseScores, table: EventTable
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The fits whose inputs exist, and the reason why each other one is left out."""
    left_out = {}
    for name, inputs in wanted.items():
        there = {*FEATURES, *scores.networks, *scores.repeats}
        there |= {f"{d}/{name}" for d in scores.jets for name in CLASSICAL}
        absent = [i for i in inputs if i not in there]
        if absent:
            left_out[name] = f"scores.h5 holds no scores of {', '.join(absent)}"
        elif table.observables is None and any(i in FEATURES for i in inputs):
            left_out[name] = "the published files hold no event observables"
    return {name: wanted[name] for name in wanted if name not in left_out}, left_out


def columns(
    inputs: tuple[str, ...], scores: BaseScores, table: EventTable
) -> dict[str, np.ndarray]:
    """What the trees of one fit see, by name, each (m,)."""
    seen = {}
    for source in inputs:
        if source in FEATURES:
            observables = dict(zip(OBSERVABLES, table.observables[scores.event].T, strict=True))
            seen |= {name: observables[name] for name in FEATURES[source]}
            continue
        definition, what = source.split("/", 1)
        three = {source: (scores.networks | scores.repeats).get(source)}
        if what in CLASSICAL:
            three = {name: scores.jets[definition][name] for name in CLASSICAL[what]}
        for name, value in three.items():
            seen |= {f"{name} jet {k}": value[:, k] for k in range(JETS_PER_EVENT)}
    return seen
