"""A parametrised detector: stable particles to energy-flow objects, a whole batch at a time.

The numbers are those of the public Delphes card for CMS; propagation in the solenoid's field is
left out, so a charged particle hits the tower that it points at. Responses are log-normal, with
the card's relative width and the true value as mean. Energies in GeV.

Random numbers are drawn per particle in the order of the record, and a tower uses those of its
first particle, so the response of an event does not depend on where in phi it lies.
"""

from dataclasses import dataclass

import numpy as np

from collisions.particles import Particles, Rows
from physics import OBJECT_MASSES

CHARGED_HADRON, NEUTRAL_HADRON, PHOTON, ELECTRON, MUON = range(5)

TRACK_ETA_MAX = 2.5
ELECTROMAGNETIC, HADRONIC = 0, 1
TOWER_ENERGY_MIN = (0.5, 1.0)
TOWER_SIGNIFICANCE_MIN = (2.0, 2.0)
LONG_LIVED_SHARE = 0.3  # of the energy of K0S and Lambda that stays in the ECAL

ECAL_CELL = 0.0174  # in eta, up to |eta| = 3
HCAL_EDGES = np.concatenate(
    [
        0.087 * np.arange(20),
        [1.74, 1.83, 1.93, 2.043, 2.172, 2.322, 2.5, 2.65, 2.868, 3.0],
        [3.139, 3.314, 3.489, 3.664, 3.839, 4.013, 4.191, 4.363, 4.538, 4.716, 4.889, 5.191],
    ]
)
ECAL_RINGS = round(3.0 / ECAL_CELL)
ECAL_EDGES = np.concatenate([np.linspace(0.0, 3.0, ECAL_RINGS + 1), HCAL_EDGES[HCAL_EDGES > 3.01]])
# Electromagnetic and hadronic: edges, fine rings, and their size in phi, degrees; others have 10.
LAYERS = ((ECAL_EDGES, ECAL_RINGS, 1), (HCAL_EDGES, 19, 5))

IDENTIFICATION_PT_MIN = 10.0
ISOLATION_RADIUS = 0.5
ISOLATION_OBJECT_PT_MIN = 0.5
ISOLATION_MAX = np.array([0.0, 0.0, 0.12, 0.12, 0.25])  # by type


@dataclass(frozen=True)
class Objects(Rows):
    """Energy-flow objects of a batch, one row each, sorted by event.

    Attributes:
        event: (n,) event numbers.
        pt, eta, phi: (n,); masses follow from the type, neutral objects are massless.
        charge: (n,) int8.
        type: (n,) uint8, 0 charged hadron, 1 neutral hadron, 2 photon, 3 electron, 4 muon.
        identified: (n,) whether it passed the lepton identification.
        n_events: events in the batch.
    """

    event: np.ndarray
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    charge: np.ndarray
    type: np.ndarray
    identified: np.ndarray
    n_events: int

    @property
    def mass(self) -> np.ndarray:
        """(n,) GeV, by type."""
        return np.array(OBJECT_MASSES)[self.type]

    @property
    def pdg_id(self) -> np.ndarray:
        """(n,) of electrons and muons; 0 of others."""
        return -self.charge * np.array([0, 0, 0, 11, 13])[self.type]


def respond(
    particles: Particles,
    generator: np.random.Generator,
    significance_min: tuple[float, float] = TOWER_SIGNIFICANCE_MIN,
) -> Objects:
    """What the detector makes of stable, visible particles.

    Args:
        significance_min: energy of a tower over its resolution, electromagnetic and hadronic.
    """
    n = len(particles.event)
    tracked_draw, identified_draw = generator.random((2, n))
    track_draw = generator.standard_normal(n)
    tower_draws = generator.standard_normal((2, n))
    position_draws = generator.random((2, 2, n))

    resolution = track_resolution(particles.pdg_id, particles.pt, particles.eta)
    tracked = tracked_draw < track_efficiency(particles)
    track_pt = particles.pt * log_normal(track_draw, resolution)
    track_energy = particles.energy * (track_pt / particles.pt)

    kind = np.full(n, CHARGED_HADRON, np.uint8)
    kind[np.abs(particles.pdg_id) == 11] = ELECTRON
    kind[np.abs(particles.pdg_id) == 13] = MUON
    share = electromagnetic_share(particles.pdg_id)
    identified = identified_draw < identification_efficiency(particles, kind, track_pt)
    charge = particles.charge.astype(np.int8)
    tracks = (particles.event, track_pt, particles.eta, particles.phi, charge, kind, identified)
    columns = [[column[tracked] for column in tracks]]
    for layer, fraction in ((ELECTROMAGNETIC, share), (HADRONIC, 1 - share)):
        deposits = (fraction > 0) & (kind != MUON) & (np.abs(particles.eta) < HCAL_EDGES[-1])
        rows = np.flatnonzero(deposits)
        columns.append(
            _neutral_towers(
                layer,
                significance_min[layer],
                particles.take(rows),
                fraction[rows],
                np.where(tracked, track_energy, 0.0)[rows],
                resolution[rows],
                tower_draws[layer][rows],
                position_draws[layer][:, rows],
            )
        )
    merged = [np.concatenate(parts) for parts in zip(*columns, strict=True)]
    order = np.argsort(merged[0], kind="stable")
    return Objects(*(column[order] for column in merged), n_events=particles.n_events)


def log_normal(draw: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Factors of mean 1 and standard deviation `width` from standard normal numbers."""
    log_width = np.sqrt(np.log1p(width**2))
    return np.exp(log_width * draw - log_width**2 / 2)


def electromagnetic_share(pdg_id: np.ndarray) -> np.ndarray:
    """The share of a particle's energy that it leaves in the ECAL."""
    size = np.abs(pdg_id)
    share = np.zeros(len(size))
    share[np.isin(size, (11, 22, 111))] = 1.0
    share[np.isin(size, (310, 3122))] = LONG_LIVED_SHARE
    return share


def track_efficiency(particles: Particles) -> np.ndarray:
    """Probability (n,) that a charged particle leaves a track; 0 beyond |eta| = 2.5."""
    size, pt, eta = np.abs(particles.pdg_id), particles.pt, np.abs(particles.eta)
    central = eta < 1.5
    soft = pt < 1.0
    hadron = np.where(soft, np.where(central, 0.70, 0.60), np.where(central, 0.95, 0.85))
    hard_electron = np.where(pt < 100, np.where(central, 0.95, 0.83), np.where(central, 0.99, 0.90))
    electron = np.where(soft, np.where(central, 0.73, 0.50), hard_electron)
    muon = np.where(soft, np.where(central, 0.75, 0.70), np.where(central, 0.99, 0.98))
    efficiency = np.select([size == 11, size == 13], [electron, muon], hadron)
    return efficiency * ((particles.charge != 0) & (pt > 0.1) & (eta < TRACK_ETA_MAX))


def track_resolution(pdg_id: np.ndarray, pt: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Relative resolution of a track's pT, in the shape of the arguments."""
    size, eta = np.abs(pdg_id), np.abs(eta)
    ring = np.digitize(eta, (0.5, 1.5))
    constants = {
        11: ((0.03, 1.3e-3), (0.05, 1.7e-3), (0.15, 3.1e-3)),
        13: ((0.01, 1.0e-4), (0.015, 1.5e-4), (0.025, 3.5e-4)),
        0: ((0.01, 1.5e-4), (0.015, 2.5e-4), (0.025, 5.5e-4)),
    }
    kind = np.where((size == 11) | (size == 13), size, 0)
    resolution = np.empty(eta.shape)
    for pdg_id, table in constants.items():
        chosen = kind == pdg_id
        constant, slope = np.array(table)[ring[chosen]].T
        resolution[chosen] = np.hypot(constant, slope * pt[chosen])
    return resolution


def identification_efficiency(particles: Particles, kind: np.ndarray, pt: np.ndarray) -> np.ndarray:
    """Probability (n,) that a tracked electron or muon is identified as one; 0 for hadrons."""
    eta = np.abs(particles.eta)
    electron = np.where(eta < 1.5, 0.95, 0.85)
    muon = np.where(eta < 2.4, 0.95, 0.0) * np.where(pt > 1000, np.exp(0.5 - 5e-4 * pt), 1.0)
    efficiency = np.select([kind == ELECTRON, kind == MUON], [electron, muon], 0.0)
    return np.where(pt > IDENTIFICATION_PT_MIN, efficiency, 0.0)


def photon_identification(eta: np.ndarray) -> np.ndarray:
    """Probability (n,) that a photon above 10 GeV is identified as one."""
    return np.where(np.abs(eta) < 1.5, 0.95, 0.85)


def tower_resolution(layer: int, eta: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Absolute energy resolution (n,) in GeV of a tower with a true energy."""
    eta = np.abs(eta)
    if layer == HADRONIC:
        inner = np.hypot(0.050 * energy, 1.50 * np.sqrt(energy))
        return np.where(eta < 3.0, inner, np.hypot(0.130 * energy, 2.70 * np.sqrt(energy)))
    inner = np.sqrt((0.008 * energy) ** 2 + 0.11**2 * energy + 0.40**2)
    barrel = (1 + 0.64 * eta**2) * inner
    endcap = (2.16 + 5.6 * (eta - 2) ** 2) * inner
    forward = np.hypot(0.107 * energy, 2.08 * np.sqrt(energy))
    return np.select([eta < 1.5, eta < 2.5], [barrel, endcap], forward)


def tower_of(layer: int, eta: np.ndarray, phi: np.ndarray) -> tuple[np.ndarray, ...]:
    """The tower a direction falls into: its numbers in eta and phi, and its size in degrees."""
    edges, fine, degrees = LAYERS[layer]
    ring = np.searchsorted(edges, np.abs(eta), side="right") - 1
    size = np.where(ring < fine, degrees, 10)
    column = np.floor(np.degrees(phi) / size).astype(np.int64) % (360 // size)
    return np.where(eta < 0, -ring - 1, ring), column, size


def _neutral_towers(
    layer: int,
    significance_min: float,
    particles: Particles,
    fraction: np.ndarray,
    track_energy: np.ndarray,
    resolution: np.ndarray,
    energy_draw: np.ndarray,
    position_draw: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Energy-flow neutrals of one calorimeter layer: what towers hold beyond their tracks.

    Args:
        fraction: (n,) of a particle's energy, and of its track's, that it leaves in this layer.
        track_energy, resolution: (n,) of the track, 0 without one; relative.
        energy_draw, position_draw: (n,) normal, (2, n) uniform; a tower uses its first particle's.
    """
    energy, track_energy = particles.energy * fraction, track_energy * fraction
    ring, column, size = tower_of(layer, particles.eta, particles.phi)
    key = (particles.event * 1024 + ring + 512) * 512 + column
    _, first, tower = np.unique(key, return_index=True, return_inverse=True)

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(tower, weights=values, minlength=len(first))

    edges = LAYERS[layer][0]
    ring, column, size = ring[first], column[first], size[first]
    inner = np.where(ring < 0, -ring - 1, ring)
    side = np.where(ring < 0, -1.0, 1.0)
    centre = (edges[inner] + edges[inner + 1]) / 2

    deposited = summed(energy)
    width = tower_resolution(layer, centre, deposited)
    measured = deposited * log_normal(energy_draw[first], width / deposited)
    width = tower_resolution(layer, centre, measured)
    seen = measured > np.maximum(TOWER_ENERGY_MIN[layer], significance_min * width)
    measured = np.where(seen, measured, 0.0)

    neutral = measured - summed(track_energy)
    uncertainty = np.sqrt(summed((resolution * track_energy) ** 2) + width**2)
    significant = neutral > np.maximum(TOWER_ENERGY_MIN[layer], significance_min * uncertainty)
    # Positions are drawn inside the tower: its lattice is no information about the particle.
    eta = side * (edges[inner] + (edges[inner + 1] - edges[inner]) * position_draw[0][first])
    phi = np.radians((column + position_draw[1][first]) * size)
    phi = np.where(phi >= np.pi, phi - 2 * np.pi, phi)
    pt = neutral / np.cosh(eta)
    kind = PHOTON if layer == ELECTROMAGNETIC else NEUTRAL_HADRON
    n = np.count_nonzero(significant)
    found = (column[significant] for column in (particles.event[first], pt, eta, phi))
    return *found, np.zeros(n, np.int8), np.full(n, kind, np.uint8), np.zeros(n, bool)
