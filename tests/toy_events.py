"""Small events of our own layout for tests, in the shape of physics but from no physics."""

import numpy as np

from jets.events import OBJECT_DTYPE, TABLES, Events
from physics import JET_DEFINITIONS, JETS_MIN, JETS_PER_EVENT, MISSING_DELTA_R

CONSTITUENTS = 12  # of every jet


def toy_events(
    n: int,
    *,
    m_stop: int = -1,
    m_neutralino: int = -1,
    index: int = -1,
    n_loose: int = 0,
    seed: int = 0,
) -> Events:
    """n fully selected events, then `n_loose` with 5 jets; background if no masses are given.

    Three jets an event in different directions, of 12 constituents within 0.7 of their axis, the
    same in all definitions; the third jet of every seventh event is missing. Of signal events the
    first two jets are matched to a neutralino.
    """
    rng = np.random.default_rng([seed, m_stop + 1, m_neutralino + 1, index + 1])
    n_all = n + n_loose
    shape = (n_all, JETS_PER_EVENT)
    exists = np.ones(shape, bool)
    exists[::7, 2] = False
    axis_eta = rng.uniform(-1.5, 1.5, shape)
    axis_phi = rng.uniform(-np.pi, np.pi, (n_all, 1)) + np.array([0, 2.1, 4.2])
    distance, angle = rng.uniform(0, 0.7, (2, *shape, CONSTITUENTS))
    angle *= 2 * np.pi / 0.7
    members = np.broadcast_to(exists[..., None], angle.shape)
    k = np.broadcast_to(np.arange(JETS_PER_EVENT)[:, None], angle.shape)
    objects = np.zeros(members.sum(), OBJECT_DTYPE)
    objects["pt"] = (0.5 + rng.exponential(20, angle.shape))[members]
    objects["eta"] = (axis_eta[..., None] + distance * np.cos(angle))[members]
    phi = (axis_phi[..., None] + distance * np.sin(angle))[members]
    objects["phi"] = (phi + np.pi) % (2 * np.pi) - np.pi
    objects["type"] = rng.integers(0, 5, len(objects))
    objects["charge"] = np.where(np.isin(objects["type"], (1, 2)), 0, 1)
    objects["jet"] = k[members][:, None]
    jets = np.zeros(shape, TABLES["AK14"])
    jets["eta"], jets["phi"] = axis_eta, (axis_phi + np.pi) % (2 * np.pi) - np.pi
    jets["pt"], jets["mass"] = rng.uniform(100, 800, shape), rng.uniform(20, 400, shape)
    jets["delta_r"] = MISSING_DELTA_R
    if m_stop > 0:
        jets["delta_r"] = rng.uniform(1, 3, (*shape, 2))
        jets["delta_r"][:, :2, 0] = rng.uniform(0, 0.45, (n_all, 2))
    jets[~exists] = 0
    jets["delta_r"][~exists] = MISSING_DELTA_R
    observables = np.zeros(n_all, TABLES["observables"])
    observables["met_x"], observables["met_y"] = 30, -40
    observables["ht"] = rng.uniform(300, 2000, n_all)
    observables["n_jets"] = np.where(np.arange(n_all) < n, JETS_MIN, 5)
    attributes = {
        "process": "ttbar" if index >= 0 else "stop",
        "m_stop": m_stop,
        "m_neutralino": m_neutralino,
        "index": index,
        "cross_section_pb": 0.05,
        "cross_section_error_pb": 0.001,
        "generated": 10 * n,
        "selected": n,
        "selection_efficiency": 0.1,
        "selection_efficiency_error": 0.01,
    }
    return Events(
        attributes=attributes,
        cut_flow=np.array([(b"generated", 10 * n), (b"selected", n)], TABLES["cut_flow"]),
        observables=observables,
        lepton=np.zeros(n_all, TABLES["lepton"]),
        truth=np.zeros((n_all, 8 if index >= 0 else 16), TABLES["truth"]),
        pt_hat=np.full(n_all, 100, np.float32),
        veto_score=np.full(n_all, 5, np.float32),
        jets=np.zeros(7 * n_all, TABLES["jets"]),
        jet_offsets=7 * np.arange(n_all + 1),
        large_r={name: jets.copy() for name in JET_DEFINITIONS},
        objects=objects,
        object_offsets=np.concatenate([[0], np.cumsum(exists.sum(axis=1) * CONSTITUENTS)]),
    )
