"""Jets of stable particles, without a detector: quark and gluon jets, top jets and QCD jets.

Anti-kT, of all particles but neutrinos; an event's hardest jet, if it is what its process asks for.
"""

import numpy as np

from collisions.clustering import Jets, anti_kt, ranks
from collisions.particles import Particles
from jets.events import ParticleJets
from jets.ragged import delta_phi, delta_r, table
from processes import JetSelection

CLUSTERED_PT_MIN = 100.0  # GeV, of jets among which the hardest is looked for
SYMBOLS = {"rapidity": "y", "eta": "eta"}


def select_jets(
    particles: Particles, asked: JetSelection, truth: np.ndarray, parts: int
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Cluster and select.

    Args:
        asked: the jets that are kept.
        truth: (n_events, slots).
        parts: of it, equal ones, such as a top and all that it decays to; one has to lie in the
            jet. 0: a jet needs no match.

    Returns:
        The numbers (k,) of the events that pass; the columns `jet` (k,), `particles` and their
        offsets of `jets.events.ParticleJets`, falling in pT; cut -> (n_events,) the events that
        pass it and all before.
    """
    jets = anti_kt(particles, asked.radius, CLUSTERED_PT_MIN)
    jets = jets.take(np.flatnonzero(ranks(jets) == 0))
    low, high = asked.pt
    axis = {"pt": jets.pt, "eta": jets.eta, "phi": jets.phi, "mass": jets.mass}
    axis["rapidity"] = np.arcsinh(jets.pt * np.sinh(jets.eta) / np.hypot(jets.pt, jets.mass))
    cuts = {
        f"a jet with {low:.0f} < pT < {high:.0f} GeV": (jets.pt > low) & (jets.pt < high),
        f"|{SYMBOLS[asked.coordinate]}| < {asked.at_most}":
            np.abs(axis[asked.coordinate]) < asked.at_most,
    }  # fmt: skip
    if parts:
        cuts["matched"] = _are_matched(jets, truth, parts, asked.radius)
    passed, left = np.ones(len(jets.event), bool), {}
    for cut, passes in cuts.items():
        passed = passed & passes
        left[cut] = np.bincount(jets.event[passed], minlength=particles.n_events) > 0
    jets = jets.take(np.flatnonzero(passed))

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
    types = ParticleJets.DATASETS
    return (
        jets.event,
        {
            "jet": table(
                types["jet"], len(counts), {name: axis[name][passed] for name in types["jet"].names}
            ),
            "particles": table(types["particles"], len(rows), found),
            "particle_offsets": jets.constituent_offsets,
        },
        left,
    )


def _are_matched(jets: Jets, truth: np.ndarray, parts: int, radius: float) -> np.ndarray:
    """Which jets (k,) have all particles of a part of their event's truth within the radius."""
    found = truth[jets.event].reshape(len(jets.event), parts, -1)
    eta, phi = (axis[:, None, None] for axis in (jets.eta, jets.phi))
    is_inside = delta_r(eta, phi, found["eta"], found["phi"]) < radius
    return (is_inside & (found["pdg_id"] != 0)).all(axis=2).any(axis=1)
