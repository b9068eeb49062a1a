"""Which classifiers there are besides the networks, and what the trees of each see."""

import itertools
from collections.abc import Iterable

import numpy as np

from command import InputError
from jets import packed
from jets.angularities import ANGULARITIES, OF_JETS
from jets.classifier import (
    HELD_OUT_EVENTS,
    HELD_OUT_JETS,
    TRAINING_JETS,
    Classifier,
    EventNetwork,
)
from jets.packed import OBSERVABLES, EventTable
from jets.scores import BaseScores
from models import MODELS
from physics import JET_DEFINITIONS, JETS_PER_EVENT
from study import Study
from training.plan import require_known

PUBLISHED_NETWORKS = ("CNN", "CoAtNet", "MaxViT")
TRANSFORMERS = ("CoAtNet", "MaxViT")
# What trees see of an event and of its three jets; "classical" is all of both that DS2 leaves out.
EVENT_FEATURES = {
    "DS1": packed.DS2[:4],
    "DS2": packed.DS2,
    "classical": OBSERVABLES[len(packed.DS2) :],
}
JET_FEATURES = {
    "mass": ("mass",),
    "pt": ("pt",),
    "angularities": tuple(ANGULARITIES),
    "classical": OF_JETS,
}
# What trees see of a jet in place of a network's score; the last is all that is known of it.
CLASSICAL = (("mass",), ("pt",), ("mass", "pt"), ("mass", "pt", "angularities"))
DS1, DS2 = (Classifier(features=(name,), trees=HELD_OUT_EVENTS) for name in ("DS1", "DS2"))
KNOWN = ("DS2", "classical")  # all features of the event and its AK14 jets that take no network
OBJECTS = "objects"  # the whole event: what jets.event_set has of it, in place of features


def jet_mass(jet_definition: str) -> Classifier:
    """The mass itself as a score."""
    return Classifier((jet_definition,), features=("mass",))


def trees_on_one_jet(jet_definition: str) -> list[Classifier]:
    """Trees on more than one number; the last two are grown on the jets that train the networks."""
    kinds = [(seen, on) for on in (HELD_OUT_JETS, TRAINING_JETS) for seen in CLASSICAL[2:]]
    return [Classifier((jet_definition,), (), *kind) for kind in kinds]


def on_three_jets(jet_definition: str, networks: Iterable[str]) -> list[Classifier]:
    """Trees on the scores of one network."""
    return [Classifier((jet_definition,), (n,), (), HELD_OUT_EVENTS) for n in networks]


def without_network(jet_definition: str) -> list[Classifier]:
    """Trees on three jets that see no network."""
    return [Classifier((jet_definition,), (), seen, HELD_OUT_EVENTS) for seen in CLASSICAL]


def all_definitions() -> list[Classifier]:
    """Trees on the scores of all jet definitions, of more and more networks."""
    chosen = [*((network,) for network in PUBLISHED_NETWORKS), TRANSFORMERS, PUBLISHED_NETWORKS]
    return [Classifier(tuple(JET_DEFINITIONS), some, (), HELD_OUT_EVENTS) for some in chosen]


def all_networks() -> list[Classifier]:
    """Trees on the scores of all published networks, of one jet definition and of all."""
    chosen = [*((definition,) for definition in JET_DEFINITIONS), tuple(JET_DEFINITIONS)]
    return [Classifier(some, PUBLISHED_NETWORKS, (), HELD_OUT_EVENTS) for some in chosen]


def on_scores_and_features(network: str, *features: str) -> Classifier:
    """Trees on the AK14 scores of a network and features of the event."""
    return Classifier(("AK14",), (network,), features, HELD_OUT_EVENTS)


def with_observables(networks: Iterable[str]) -> list[Classifier]:
    """Trees on AK14 scores and DS2, and on DS2 alone."""
    return [*(on_scores_and_features(network, "DS2") for network in networks), DS2]


def with_all_known(networks: Iterable[str]) -> list[Classifier]:
    """Trees on AK14 scores and all that takes no network, and on the latter alone."""
    known = Classifier(("AK14",), (), KNOWN, HELD_OUT_EVENTS)
    return [*(known._replace(networks=(network,)) for network in networks), known]


def of_objects(networks: Iterable[str]) -> list[Classifier]:
    """Trees on the whole event, whose AK14 jets have the scores of a network, or none."""
    alone = Classifier(("AK14",), (), (OBJECTS,), HELD_OUT_EVENTS)
    return [*(alone._replace(networks=(network,)) for network in networks), alone]


def beside_event_networks(study: Study) -> dict[Classifier, list[Classifier]]:
    """Trees -> the networks of events of a study on the same inputs: features, or objects.

    Raises:
        InputError: a network that does not exist, sees neither, or is named twice; inputs that no
            trees have, or of which one of the networks sees none.
    """
    asked, networks = study.event_networks, study.classifiers.networks
    of_input = {
        "event features": [*with_all_known(networks), DS2],
        "event objects": of_objects(networks),
    }
    known = [name for name in MODELS if MODELS[name].input in of_input]
    require_known(study, "event_networks.networks", asked.networks, known)
    named = [trees.words for of_kind in of_input.values() for trees in of_kind]
    require_known(study, "event_networks.inputs", asked.inputs, named)
    of_input = {
        kind: [one for one in of_kind if not asked.inputs or one.words in asked.inputs]
        for kind, of_kind in of_input.items()
    }
    for name in asked.networks:
        if not of_input[MODELS[name].input]:
            raise InputError(
                f"study {study.name!r}: event_networks.inputs name none that {name} sees; add one, "
                "or leave the network out"
            )
    found: dict[Classifier, list[Classifier]] = {}
    for made in itertools.product(asked.networks, asked.losses, asked.decorrelations, asked.seeds):
        for trees in of_input[MODELS[made[0]].input]:
            one = trees._replace(event_network=EventNetwork(*made))
            found.setdefault(trees, []).append(one)
    return found


def fits(
    networks: Iterable[str], jet_definitions: Iterable[str] = tuple(JET_DEFINITIONS)
) -> list[Classifier]:
    """All trees; a network beyond the three published has no part in the combinations.

    Args:
        jet_definitions: those of the study.

    Example:
        >>> found = [fits(PUBLISHED_NETWORKS), fits(["ViT"])]
        >>> [sum("classical" not in one.features and one.level == "events" for one in some)
        ...  for some in found]
        [35, 39]
    """
    every = tuple(dict.fromkeys((*PUBLISHED_NETWORKS, *networks)))
    definitions = list(jet_definitions)
    found = [fit for d in definitions for fit in on_three_jets(d, every)]
    found += [*all_definitions(), *all_networks(), on_scores_and_features("MaxViT", "DS1")]
    found += [*with_observables(every), DS1, *with_all_known(every)]
    found += [fit for d in definitions for fit in (*without_network(d), *trees_on_one_jet(d))]
    return list(dict.fromkeys(found))


def repeats(scores: BaseScores) -> list[Classifier]:
    """Trees on the three jets' scores of further seeds, alone and with all that is known."""
    further = [
        training
        for training, score in scores.repeats.items()
        if score is not scores.networks[training._replace(seed=None)]
    ]
    found = [training._replace(trees=HELD_OUT_EVENTS) for training in further]
    of_known = [one for one in found if one.jet_definitions == ("AK14",)]
    return [*found, *(one._replace(features=KNOWN) for one in of_known)]


def null_check(scores: BaseScores) -> Classifier:
    """Trees on all scores, grown and to be tested on permuted labels."""
    definitions, networks = (dict.fromkeys(key[i][0] for key in scores.networks) for i in (0, 1))
    return Classifier(tuple(definitions), tuple(networks), trees=HELD_OUT_EVENTS, permuted=True)


def sources(fit: Classifier) -> list[Classifier]:
    """The scores of one network on one jet definition that trees see."""
    return [
        Classifier((definition,), (network,), seed=fit.seed)
        for network in fit.networks
        for definition in fit.jet_definitions
    ]


def reason_against(fit: Classifier, scores: BaseScores, table: EventTable) -> str:
    """Why trees cannot be grown: inputs that do not exist; empty where all do."""
    known = scores.networks.keys() | scores.repeats.keys()
    if absent := [source.label for source in sources(fit) if source not in known]:
        return f"scores.h5 holds no scores of {', '.join(absent)}"
    if absent := [name for name in fit.jet_definitions if name not in scores.jets]:
        return f"scores.h5 holds no jets of {', '.join(absent)}"
    of_event = {*EVENT_FEATURES, OBJECTS}
    if table.observables is None and not of_event.isdisjoint(fit.features):
        return "the sample holds no event observables"
    return ""


def jet_columns(fit: Classifier) -> list[str]:
    """The columns of jets that trees see."""
    return [name for feature in fit.features for name in JET_FEATURES.get(feature, ())]


def columns(fit: Classifier, scores: BaseScores, table: EventTable) -> np.ndarray:
    """What trees over events see, (m, f): three jets' scores, their columns, the event's."""
    known = scores.networks | scores.repeats
    seen = [known[source] for source in sources(fit)]
    seen += [scores.jets[fit.jet_definitions[0]][name] for name in jet_columns(fit)]
    for name in fit.features:
        wanted = [OBSERVABLES.index(column) for column in EVENT_FEATURES.get(name, ())]
        seen += [table.observables[scores.event][:, wanted]] if wanted else []
    return np.concatenate(seen, axis=1)


def column_names(fit: Classifier) -> list[str]:
    """The names of `columns` of trees that see no network; jets count from 1."""
    of_jets = [f"{name} {k + 1}" for name in jet_columns(fit) for k in range(JETS_PER_EVENT)]
    return of_jets + [column for name in fit.features for column in EVENT_FEATURES.get(name, ())]


def spectator(name: str, scores: BaseScores, table: EventTable) -> np.ndarray:
    """What networks of events are decorrelated from, (m,) GeV: MJ, or the mean mass of the AK14
    jets that exist.

    Args:
        name: one of `study.SPECTATORS`.
    """
    if name == "MJ":
        return table.observables[scores.event, OBSERVABLES.index(name)]
    jets = scores.jets["AK14"]
    mass, exists = jets["mass"], jets["pt"] > 0
    return np.sum(mass, axis=1, where=exists) / np.maximum(exists.sum(axis=1), 1)
