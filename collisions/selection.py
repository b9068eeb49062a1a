"""The preselection of CMS SUS-19-004 (arXiv:2102.06976), cut by cut, on a batch of events."""

from dataclasses import dataclass, replace

import numpy as np

import physics
from collisions.clustering import Jets, anti_kt
from collisions.detector import (
    ISOLATION_MAX,
    ISOLATION_OBJECT_PT_MIN,
    ISOLATION_RADIUS,
    Objects,
)
from collisions.particles import Particles, Rows
from jets.ragged import delta_r, offsets_of, pairs

# A response of the detector lifts no softer lepton over the threshold in one of 1,000 cases.
TRUE_LEPTON_PT_MIN = 18.0
TRUE_LEPTON_ETA_MAX = 2.5
FLAVOUR_RADIUS = 0.4  # a jet has the heaviest flavour of the hadrons this close to it


def has_lepton(particles: Particles) -> np.ndarray:
    """Events (n_events,) with a stable electron or muon that might pass the selection.

    Those without need no detector.
    """
    size = np.abs(particles.pdg_id)
    hard = (particles.pt > TRUE_LEPTON_PT_MIN) & (np.abs(particles.eta) < TRUE_LEPTON_ETA_MAX)
    found = particles.event[hard & ((size == 11) | (size == 13))]
    return np.bincount(found, minlength=particles.n_events) > 0


def isolated_leptons(objects: Objects) -> np.ndarray:
    """Row numbers of identified, isolated electrons and muons inside the acceptance."""
    chosen = objects.identified & (objects.pt > physics.LEPTON_PT_MIN)
    return isolated(
        objects, np.flatnonzero(chosen & (np.abs(objects.eta) < physics.LEPTON_ETA_MAX))
    )


def isolated(objects: Objects, rows: np.ndarray) -> np.ndarray:
    """Those row numbers of leptons or photons around which there is little else.

    The isolation is the scalar sum of the pT of all other objects above 0.5 GeV within
    Delta R < 0.5, over the object's own pT.
    """
    lepton, other = pairs(offsets_of(objects.event[rows], objects.n_events), objects.offsets)
    near = _distance(objects, rows[lepton], objects, other) < ISOLATION_RADIUS
    counted = near & (other != rows[lepton]) & (objects.pt[other] > ISOLATION_OBJECT_PT_MIN)
    around = np.bincount(lepton[counted], weights=objects.pt[other[counted]], minlength=len(rows))
    return rows[around < ISOLATION_MAX[objects.type[rows]] * objects.pt[rows]]


def _distance(first: Rows, i: np.ndarray, second: Rows, j: np.ndarray) -> np.ndarray:
    """Delta R of some rows of one table and some of another."""
    return delta_r(first.eta[i], first.phi[i], second.eta[j], second.phi[j])


def energy_scale(pt: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """The Delphes CMS card's correction (n,) of R = 0.4 jets, 10 % at 30 GeV."""
    return np.sqrt((2.5 - 0.15 * np.abs(eta)) ** 2 / pt + 1)


def small_jets(objects: Objects) -> Jets:
    """Calibrated R = 0.4 jets inside the acceptance, falling in pT in each event."""
    jets = anti_kt(objects, physics.JET_RADIUS, physics.JET_PT_MIN / 2)
    scale = energy_scale(jets.pt, jets.eta)
    jets = replace(jets, pt=jets.pt * scale, mass=jets.mass * scale)
    rows = np.flatnonzero((jets.pt > physics.JET_PT_MIN) & (np.abs(jets.eta) < physics.JET_ETA_MAX))
    return jets.take(rows[np.lexsort((-jets.pt[rows], jets.event[rows]))])


def flavour(jets: Jets, hadrons: Particles) -> np.ndarray:
    """Truth flavour (n_jets,) int8: 5 or 4 where a bottom or charm hadron is near, else 0."""
    jet, hadron = pairs(jets.offsets, hadrons.offsets)
    near = _distance(jets, jet, hadrons, hadron) < FLAVOUR_RADIUS
    heaviest = np.zeros(len(jets.pt), np.int8)
    np.maximum.at(heaviest, jet[near], hadrons.charge[hadron[near]].astype(np.int8))
    return heaviest


def b_tag_efficiency(pt: np.ndarray, flavour: np.ndarray) -> np.ndarray:
    """Probability (n,) that a jet is b-tagged: the Delphes CMS card's medium working point."""
    bottom = 0.85 * np.tanh(0.0025 * pt) * 25 / (1 + 0.063 * pt)
    charm = 0.25 * np.tanh(0.018 * pt) / (1 + 0.0013 * pt)
    return np.select([flavour == 5, flavour == 4], [bottom, charm], 0.01 + 3.8e-5 * pt)


def lepton_b_mass(
    objects: Objects, lepton: np.ndarray, jets: Jets, tagged: np.ndarray
) -> np.ndarray:
    """m(l, b) (n_events,) of the b jet whose mass with the lepton is nearest to 105 GeV.

    Args:
        lepton: (n_events,) row of the event's lepton, -1 where there is none.
        tagged: (n_jets,) whether a jet is b-tagged.

    Returns:
        GeV; infinite without lepton or b jet.
    """
    rows = np.flatnonzero(tagged & (lepton[jets.event] >= 0))
    own = lepton[jets.event[rows]]
    lepton_energy = np.hypot(objects.pt[own] * np.cosh(objects.eta[own]), objects.mass[own])
    jet_energy = np.hypot(jets.pt[rows] * np.cosh(jets.eta[rows]), jets.mass[rows])
    cosines = np.cos(objects.phi[own] - jets.phi[rows]) + (
        np.sinh(objects.eta[own]) * np.sinh(jets.eta[rows])
    )
    product = lepton_energy * jet_energy - objects.pt[own] * jets.pt[rows] * cosines
    mass = np.sqrt(np.maximum(objects.mass[own] ** 2 + jets.mass[rows] ** 2 + 2 * product, 0.0))
    nearest = np.full(objects.n_events, np.inf)
    distance = np.abs(mass - physics.LEPTON_B_MASS_TARGET)
    order = np.argsort(-distance, kind="stable")  # the nearest is written last
    nearest[jets.event[rows[order]]] = mass[order]
    return nearest


@dataclass(frozen=True)
class Selected:
    """The events of a batch that pass the loose preselection.

    Attributes:
        passed: (n_events,) at least five jets and the rest of the preselection.
        lepton: (n_events,) row of the lepton among the objects, -1 where there is not exactly one.
        rest: what jets are made of, the objects without leptons.
        jets: the R = 0.4 jets of all events with one lepton.
        flavour, tagged: (n_jets,).
        left: cut -> (n_events,) the events that pass it and all before.
    """

    passed: np.ndarray
    lepton: np.ndarray
    rest: Objects
    jets: Jets
    flavour: np.ndarray
    tagged: np.ndarray
    left: dict[str, np.ndarray]


def select(objects: Objects, hadrons: Particles, generator: np.random.Generator) -> Selected:
    """Apply the preselection; `generator` draws the b tags, jet by jet in falling pT."""
    candidates = isolated_leptons(objects)
    count = np.bincount(objects.event[candidates], minlength=objects.n_events)
    lepton = np.full(objects.n_events, -1)
    lepton[objects.event[candidates]] = candidates
    lepton[count != 1] = -1

    is_rest = lepton[objects.event] >= 0
    is_rest[lepton[lepton >= 0]] = False
    rest = objects.take(is_rest)
    jets, true_flavour, tagged = _tagged(rest, hadrons, generator)
    n_jets = np.diff(jets.offsets)
    n_tags = np.bincount(jets.event[tagged], minlength=jets.n_events)
    ht = np.bincount(jets.event, weights=jets.pt, minlength=jets.n_events)
    mass = lepton_b_mass(objects, lepton, jets, tagged)

    left, passed = {}, np.ones(objects.n_events, bool)
    low, high = physics.LEPTON_B_MASS
    for cut, passes in {
        "an isolated lepton": count >= 1,
        "no second lepton": count == 1,
        f"at least {physics.JETS_MIN_LOOSE} jets": n_jets >= physics.JETS_MIN_LOOSE,
        "a b tag": n_tags >= physics.B_TAGS_MIN,
        f"HT > {physics.HT_MIN:.0f} GeV": ht > physics.HT_MIN,
        f"{low:.0f} < m(l, b) < {high:.0f} GeV": (mass > low) & (mass < high),
    }.items():
        left[cut] = passed = passed & passes
    left[f"at least {physics.JETS_MIN} jets"] = passed & (n_jets >= physics.JETS_MIN)
    return Selected(passed, lepton, rest, jets, true_flavour, tagged, left)


def unselected(objects: Objects, hadrons: Particles, generator: np.random.Generator) -> Selected:
    """Every event, with no lepton of its own; isolated leptons are in no jet."""
    is_rest = np.ones(len(objects.event), bool)
    is_rest[isolated_leptons(objects)] = False
    rest = objects.take(is_rest)
    every, none = np.ones(objects.n_events, bool), np.full(objects.n_events, -1)
    return Selected(every, none, rest, *_tagged(rest, hadrons, generator), {"no cut": every})


def _tagged(
    rest: Objects, hadrons: Particles, generator: np.random.Generator
) -> tuple[Jets, np.ndarray, np.ndarray]:
    """The R = 0.4 jets, their true flavours, and which are b-tagged."""
    jets = small_jets(rest)
    true_flavour = flavour(jets, hadrons)
    tagged = generator.random(len(jets.pt)) < b_tag_efficiency(jets.pt, true_flavour)
    return jets, true_flavour, tagged
