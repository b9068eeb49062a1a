"""Two leptons and a photon: the selection of H -> Z gamma, on a batch of events.

The cuts are those of CMS HIG-19-014 (arXiv:2204.12945), as the transformer's author applies them to
simplified events (arXiv:2401.00428): pT of the leptons > 25 and 15 GeV, of the photon > 15 GeV;
m(ll) > 50 GeV; pT of the photon over m(ll gamma) > 15 / 110; m(ll) + m(ll gamma) > 185 GeV, which
leaves out photons that a lepton of an on-shell Z has radiated.
"""

import numpy as np

from collisions.detector import (
    ELECTROMAGNETIC,
    PHOTON,
    Objects,
    photon_identification,
    tower_resolution,
    track_resolution,
)
from collisions.particles import Particles
from collisions.selection import isolated
from jets.events import ZGammaEvents
from jets.four_momenta import four_momenta, invariant_mass
from jets.ragged import delta_r, offsets_of, pairs, table

LEPTON_PT_MIN = (25.0, 15.0)  # GeV, of the harder and the softer one
PHOTON_PT_MIN = 15.0  # GeV
ETA_MAX = 2.5  # muons are identified up to 2.4
DELTA_R_MIN = 0.4  # of the photon and any lepton; the isolation reaches to 0.5
Z_MASS = 91.1876  # GeV; of several pairs, the one nearest to it is the Z
DILEPTON_MASS_MIN = 50.0  # GeV
PHOTON_PT_OVER_MASS_MIN = 15 / 110
SUM_OF_MASSES_MIN = 185.0  # GeV, m(ll) + m(ll gamma)
MASS = (100.0, 180.0)  # GeV, of ll gamma
TRUE_LEPTON_PT_MIN = 8.0  # a softer one passes 15 GeV in fewer than one of 1,000 cases


def has_two_leptons(particles: Particles) -> np.ndarray:
    """Events (n_events,) with two stable leptons that might pass; the others need no detector."""
    size = np.abs(particles.pdg_id)
    hard = (particles.pt > TRUE_LEPTON_PT_MIN) & (np.abs(particles.eta) < ETA_MAX)
    found = particles.event[hard & ((size == 11) | (size == 13))]
    return np.bincount(found, minlength=particles.n_events) >= 2


def select_z_gamma(
    objects: Objects, generator: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Apply the selection; `generator` draws which photons are identified, in their order.

    Returns:
        The numbers (k,) of the events that pass; the columns `lepton` (k, 2) and `photon` (k,) of
        `jets.events.ZGammaEvents`; cut -> (n_events,) the events that pass it and all before.
    """
    n, inside = objects.n_events, np.abs(objects.eta) < ETA_MAX
    leptons = isolated(
        objects, np.flatnonzero(inside & objects.identified & (objects.pt > LEPTON_PT_MIN[1]))
    )
    rows = np.flatnonzero(inside & (objects.type == PHOTON) & (objects.pt > PHOTON_PT_MIN))
    rows = rows[generator.random(len(rows)) < photon_identification(objects.eta[rows])]
    photon = _hardest(objects, _apart(objects, isolated(objects, rows), leptons))
    pair, dilepton_mass = _z_candidates(objects, leptons)

    momenta = four_momenta(objects.pt, objects.eta, objects.phi, objects.mass)
    mass = invariant_mass(momenta[pair].sum(axis=1) + momenta[photon])
    lepton_pt, photon_pt = objects.pt[pair], objects.pt[photon]
    harder, low, high = LEPTON_PT_MIN[0], *MASS
    left, passed = {}, np.ones(n, bool)
    for cut, passes in {
        "two leptons of one flavour and opposite charge": pair[:, 0] >= 0,
        f"one with pT > {harder:.0f} GeV": lepton_pt.max(axis=1) > harder,
        "an isolated photon": photon >= 0,
        f"m(ll) > {DILEPTON_MASS_MIN:.0f} GeV": dilepton_mass > DILEPTON_MASS_MIN,
        "photon pT / m(ll gamma) > 15/110": photon_pt > PHOTON_PT_OVER_MASS_MIN * mass,
        f"m(ll) + m(ll gamma) > {SUM_OF_MASSES_MIN:.0f} GeV": (
            dilepton_mass + mass > SUM_OF_MASSES_MIN
        ),
        f"{low:.0f} < m(ll gamma) < {high:.0f} GeV": (mass > low) & (mass < high),
    }.items():
        left[cut] = passed = passed & passes
    kept = np.flatnonzero(passed)
    pair = np.take_along_axis(pair, np.argsort(-lepton_pt, axis=1, kind="stable"), axis=1)[kept]
    photon = photon[kept]

    columns = {name: getattr(objects, name) for name in ("pt", "eta", "phi", "mass")}
    lepton = {name: column[pair] for name, column in columns.items()}
    lepton |= {"charge": objects.charge[pair], "pdg_id": objects.pdg_id[pair]}
    lepton["resolution"] = track_resolution(lepton["pdg_id"], lepton["pt"], lepton["eta"])
    single = {name: column[photon] for name, column in columns.items()}
    energy = single["pt"] * np.cosh(single["eta"])
    single["resolution"] = tower_resolution(ELECTROMAGNETIC, single["eta"], energy) / energy
    types = ZGammaEvents.DATASETS
    return (
        kept,
        {
            "lepton": table(types["lepton"], pair.shape, lepton),
            "photon": table(types["photon"], len(kept), single),
        },
        left,
    )


def _apart(objects: Objects, photons: np.ndarray, leptons: np.ndarray) -> np.ndarray:
    """The row numbers of photons that are far enough from every lepton."""
    offsets = (offsets_of(objects.event[rows], objects.n_events) for rows in (photons, leptons))
    photon, lepton = pairs(*offsets)
    one, two = photons[photon], leptons[lepton]
    distance = delta_r(objects.eta[one], objects.phi[one], objects.eta[two], objects.phi[two])
    return photons[np.bincount(photon[distance < DELTA_R_MIN], minlength=len(photons)) == 0]


def _hardest(objects: Objects, rows: np.ndarray) -> np.ndarray:
    """The row (n_events,) of largest pT in each event, -1 where there is none."""
    found = np.full(objects.n_events, -1)
    rows = rows[np.argsort(objects.pt[rows], kind="stable")]  # the hardest is written last
    found[objects.event[rows]] = rows
    return found


def _z_candidates(objects: Objects, leptons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pair of leptons (n_events, 2) nearest to the Z, -1 where there is none, and its mass."""
    offsets = offsets_of(objects.event[leptons], objects.n_events)
    first, second = (leptons[rows] for rows in pairs(offsets, offsets))
    opposite = (first < second) & (objects.pdg_id[first] == -objects.pdg_id[second])
    first, second = first[opposite], second[opposite]
    momenta = four_momenta(objects.pt, objects.eta, objects.phi, objects.mass)
    masses = invariant_mass(momenta[first] + momenta[second])
    order = np.argsort(-np.abs(masses - Z_MASS), kind="stable")  # the nearest is written last
    event = objects.event[first[order]]
    pair, mass = np.full((objects.n_events, 2), -1), np.zeros(objects.n_events)
    pair[event, 0], pair[event, 1], mass[event] = first[order], second[order], masses[order]
    return pair, mass
