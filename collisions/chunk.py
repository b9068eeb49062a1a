"""One chunk: from a process and a seed to the columns of its selected events."""

import time
from dataclasses import dataclass

import numpy as np

import physics
from collisions.clustering import Jets, anti_kt, membership, ranks
from collisions.detector import Objects, respond
from collisions.generate import generate
from collisions.observables import fox_wolfram, missing_momentum
from collisions.particle_jets import select_jets
from collisions.particles import Particles, Record, heavy_hadrons, truth, visible
from collisions.selection import Selected, has_lepton, select, unselected
from collisions.z_gamma import has_two_leptons, select_z_gamma
from jets.events import LARGE_R_DTYPE, OBJECT_DTYPE, TABLES
from jets.ragged import delta_r, offsets_from, offsets_of, table
from processes import PARTICLE_JETS, STOP_SEARCH, Z_GAMMA, Process

# The events that may pass a selection behind the detector; the others need none.
CANDIDATES = {STOP_SEARCH: has_lepton, Z_GAMMA: has_two_leptons}


@dataclass(frozen=True)
class Chunk:
    """The events of a chunk that pass the selection, and what it took to make them.

    Attributes:
        columns: name -> array, as `jets.events` writes them; flat ones come with offsets.
        cut_flow: cut -> events left after it, from all that were begun.
        weighted_cut_flow: cut -> sum of the generator's weights of these events.
        squares: (sum of weights)^2 of all that were begun over their effective number.
        cross_section: pb, LO, all decays open, and its statistical error.
        seconds: stage -> seconds.
    """

    columns: dict[str, np.ndarray]
    cut_flow: dict[str, int]
    weighted_cut_flow: dict[str, float]
    squares: float
    cross_section: tuple[float, float]
    seconds: dict[str, float]


def make_chunk(
    process: Process,
    parameters: tuple[int, ...],
    tries: int,
    seed: int,
    veto: bool = True,
    loose_share: float = 1.0,
    turn: int = 0,
) -> Chunk:
    """Collide, detect, select, cluster.

    Args:
        parameters: of the process.
        tries: events to begin, all decays open.
        seed: of Pythia, 1 to 900,000,000; the detector's numbers follow from it.
        veto: whether the process's early veto is on.
        loose_share: the share of events with 5 or 6 jets that is kept, chosen at random.
        turn: which of the forced decays is made, see `Process.forced`.
    """
    times = {"begin": time.perf_counter()}
    batch = generate(process, parameters, tries, seed, veto, turn)
    times["Pythia"] = time.perf_counter()

    generator = np.random.default_rng((seed, 0))
    record = Record.of(batch.particles)
    particles, hadrons = visible(record), heavy_hadrons(record)
    of_process = truth(record, process.truth)
    if process.selection in CANDIDATES:
        candidate = CANDIDATES[process.selection](particles) | process.for_training
        particles = particles.take(candidate[particles.event])
        hadrons = hadrons.take(candidate[hadrons.event])
    times["record"] = time.perf_counter()
    objects = respond(particles, generator) if process.selection in CANDIDATES else None
    times["detector"] = time.perf_counter()
    if process.selection == PARTICLE_JETS:
        kept, columns, left = select_jets(particles, process.jets, of_process, len(process.matches))
    elif process.selection == Z_GAMMA:
        kept, columns, left = select_z_gamma(objects, generator)
    else:
        kept, columns, left = _with_jets(process, objects, hadrons, generator, loose_share)
    times["selection"] = time.perf_counter()

    columns["truth"] = of_process[kept]
    columns["pt_hat"] = np.sqrt(np.asarray(batch.particles.info.pT2Hat))[kept].astype("f4")
    columns["weight"] = batch.weight[kept]
    columns["veto_score"] = batch.veto_score[kept].astype("f4")
    for name in physics.JET_DEFINITIONS.keys() & columns.keys():
        large = columns[name]
        large["delta_r"] = _nearest(large, _to_match(columns["truth"], process))
    times["matching"] = time.perf_counter()
    cut_flow = batch.cut_flow | {cut: int(passed.sum()) for cut, passed in left.items()}
    weighted = batch.weighted_cut_flow | {
        cut: float(batch.weight[passed].sum()) for cut, passed in left.items()
    }
    seconds = dict(zip(list(times)[1:], np.diff(list(times.values())).tolist(), strict=True))
    return Chunk(columns, cut_flow, weighted, batch.squares, batch.cross_section, seconds)


def _with_jets(
    process: Process,
    objects: Objects,
    hadrons: Particles,
    generator: np.random.Generator,
    loose_share: float,
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The events of the stop search that are kept, their columns, and those left by every cut."""
    selected = (unselected if process.for_training else select)(objects, hadrons, generator)
    tight = np.diff(selected.jets.offsets) >= physics.JETS_MIN
    kept = np.flatnonzero(
        selected.passed
        & (tight | process.for_training | (generator.random(objects.n_events) < loose_share))
    )
    return kept, _columns(kept, objects, selected), selected.left


def _to_match(truth: np.ndarray, process: Process) -> np.ndarray:
    """The truth (n, m) that the jets of a process are matched to."""
    slots = offsets_from([1 + daughters for _, daughters in process.truth])[:-1]
    ids = [pdg_id for pdg_id, _ in process.truth]
    return truth[:, slots[np.isin(ids, process.matches)]]


def _nearest(jets: np.ndarray, particles: np.ndarray) -> np.ndarray:
    """Distances (n, 3, 2) of jets (n, 3) to two particles of (n, m), the nearest ones."""
    found = np.full((*jets.shape, max(2, particles.shape[1])), physics.MISSING_DELTA_R)
    if particles.shape[1]:
        one, two = jets[:, :, None], particles[:, None, :]
        distance = delta_r(one["eta"], one["phi"], two["eta"], two["phi"])
        exists = (one["pt"] > 0) & (two["pdg_id"] != 0)
        found[..., : particles.shape[1]] = np.where(exists, distance, physics.MISSING_DELTA_R)
    return np.sort(found, axis=-1)[..., :2] if particles.shape[1] > 2 else found


def _columns(kept: np.ndarray, objects: Objects, selected: Selected) -> dict[str, np.ndarray]:
    """The columns of the kept events, truth aside."""
    number = np.full(objects.n_events, -1)
    number[kept] = np.arange(len(kept))
    n = len(kept)

    row = selected.lepton[kept]
    own = ("pt", "eta", "phi", "mass", "charge", "pdg_id")
    columns = {name: np.where(row < 0, 0, getattr(objects, name)[row]) for name in own}
    lepton = table(TABLES["lepton"], n, columns)

    inside = np.flatnonzero(number[selected.jets.event] >= 0)
    jets, tagged = selected.jets.take(inside), selected.tagged[inside]
    jet_event = number[jets.event]
    jet_offsets = offsets_of(jet_event, n)
    columns = {name: getattr(jets, name) for name in ("pt", "eta", "phi", "mass")}
    columns |= {"b_tag": tagged, "flavour": selected.flavour[inside]}
    jet_table = table(TABLES["jets"], len(inside), columns)

    rest = selected.rest.take(number[selected.rest.event] >= 0)
    member = np.empty((len(rest.event), len(physics.JET_DEFINITIONS)), np.uint8)
    large_r = {}
    for i, definition in enumerate(physics.JET_DEFINITIONS.values()):
        large = anti_kt(rest, definition.radius, physics.LARGE_R_PT_MIN)
        large = large.take(np.flatnonzero(np.abs(large.eta) < physics.LARGE_R_ETA_MAX))
        if definition.name == physics.MJ_JET_DEFINITION:
            mj = np.bincount(large.event, weights=large.mass, minlength=objects.n_events)[kept]
        large = large.take(np.flatnonzero(ranks(large) < physics.JETS_PER_EVENT))
        member[:, i] = membership(large, len(rest.event), physics.JETS_PER_EVENT)
        large_r[definition.name] = _three(large, number, n)

    missing = missing_momentum(objects.event, objects.pt, objects.phi, objects.n_events)
    moments = fox_wolfram(jets.pt, jets.eta, jets.phi, jet_offsets, physics.FOX_WOLFRAM_ORDERS)
    columns = {f"h{order}": moments[:, i] for i, order in enumerate(physics.FOX_WOLFRAM_ORDERS)} | {
        "met_x": missing[0][kept],
        "met_y": missing[1][kept],
        "ht": np.bincount(jet_event, weights=jets.pt, minlength=n),
        "mj": mj,
        "n_jets": np.diff(jet_offsets),
        "n_b_tags": np.bincount(jet_event[tagged], minlength=n),
    }
    used = np.flatnonzero((member < physics.JETS_PER_EVENT).any(axis=1))
    # Hardest first inside an event: readable, and it compresses better.
    used = used[np.lexsort((-rest.pt[used], rest.event[used]))]
    of_object = {name: getattr(rest, name)[used] for name in ("pt", "eta", "phi", "charge", "type")}
    return large_r | {
        "observables": table(TABLES["observables"], n, columns),
        "lepton": lepton,
        "jets": jet_table,
        "jet_offsets": jet_offsets,
        "objects": table(OBJECT_DTYPE, len(used), of_object | {"jet": member[used]}),
        "object_offsets": offsets_of(number[rest.event[used]], n),
    }


def _three(jets: Jets, number: np.ndarray, n: int) -> np.ndarray:
    """The three hardest jets as a table (n, 3); pT 0 where an event has fewer."""
    three = np.zeros((n, physics.JETS_PER_EVENT), LARGE_R_DTYPE)
    for name in ("pt", "eta", "phi", "mass"):
        three[name][number[jets.event], ranks(jets)] = getattr(jets, name)
    return three
