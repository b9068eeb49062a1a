"""Jets of stable particles, without a detector: those of the EnergyFlow quark and gluon sample.

Anti-kT, R = 0.4, of all particles but neutrinos; an event's hardest jet, if it has a pT of 500 to
550 GeV and |y| < 1.7 (Zenodo 3164691).
"""

import numpy as np

from collisions.clustering import anti_kt, ranks
from collisions.particles import Particles
from jets.events import QuarkGluonJets
from jets.quark_gluon import RADIUS
from jets.ragged import delta_phi, table

PT = (500.0, 550.0)  # GeV
RAPIDITY_MAX = 1.7
CLUSTERED_PT_MIN = 100.0  # GeV, of jets among which the hardest is looked for


def select_jets(
    particles: Particles,
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Cluster and select.

    Returns:
        The numbers (k,) of the events that pass; the columns `jet` (k,), `particles` and their
        offsets of `jets.events.QuarkGluonJets`, falling in pT; cut -> (n_events,) the events that
        pass it and all before.
    """
    jets = anti_kt(particles, RADIUS, CLUSTERED_PT_MIN)
    jets = jets.take(np.flatnonzero(ranks(jets) == 0))
    rapidity = np.arcsinh(jets.pt * np.sinh(jets.eta) / np.hypot(jets.pt, jets.mass))
    passed, left = np.ones(len(jets.event), bool), {}
    for cut, passes in {
        f"a jet with {PT[0]:.0f} < pT < {PT[1]:.0f} GeV": (jets.pt > PT[0]) & (jets.pt < PT[1]),
        f"|y| < {RAPIDITY_MAX}": np.abs(rapidity) < RAPIDITY_MAX,
    }.items():
        passed = passed & passes
        left[cut] = np.bincount(jets.event[passed], minlength=particles.n_events) > 0
    jets, rapidity = jets.take(np.flatnonzero(passed)), rapidity[passed]
    axis = {"pt": jets.pt, "rapidity": rapidity, "phi": jets.phi, "mass": jets.mass}

    rows = jets.constituents
    counts = np.diff(jets.constituent_offsets)
    jet = np.repeat(np.arange(len(counts)), counts)
    rows = rows[np.lexsort((-particles.pt[rows], jet))]
    pt, energy = particles.pt[rows], particles.energy[rows]
    pz = pt * np.sinh(particles.eta[rows])
    found = {
        "pt": pt,
        "rapidity": 0.5 * np.log((energy + pz) / (energy - pz)),
        "phi": delta_phi(particles.phi[rows], jets.phi[jet]) + jets.phi[jet],
        "pdg_id": particles.pdg_id[rows],
    }
    types = QuarkGluonJets.DATASETS
    return (
        jets.event,
        {
            "jet": table(types["jet"], len(counts), axis),
            "particles": table(types["particles"], len(rows), found),
            "particle_offsets": jets.constituent_offsets,
        },
        left,
    )
