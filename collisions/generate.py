"""Pythia 8 makes the events of a process.

Most of its time goes into multiparton interactions and hadronisation, so an event that cannot pass
the selection is stopped before (the early veto).
"""

import math
import os
from dataclasses import dataclass

import awkward as ak
import numpy as np
import pythia8mc

from processes import Process

os.environ.pop("PYTHIA8DATA", None)  # of another installation, whose files this Pythia cannot read
VETO_SCALE = 20.0  # GeV; the shower is looked at when its evolution has come down to this pT


@dataclass(frozen=True)
class Batch:
    """What Pythia made of one chunk.

    Attributes:
        particles: the event records, as `Pythia.nextBatch` gives them.
        tried: events begun, all decays of the hard process open.
        wanted: of those, the ones that `Process.wanted` let pass.
        finished: of those, the ones in `particles`.
        veto_score: (finished,) the early veto's score, NaN for a process without one.
        weight: (finished,) Pythia's, 1 unless the process asks for weighted events.
        weights_of_tried, squares_of_tried, weights_of_wanted: sums over the events begun of their
            weights and squared weights, and of the weights of the wanted ones.
        cross_section: pb, LO, of the process with all decays open, and its statistical error.
    """

    particles: ak.Array
    tried: int
    wanted: int
    finished: int
    veto_score: np.ndarray
    weight: np.ndarray
    weights_of_tried: float
    squares_of_tried: float
    weights_of_wanted: float
    cross_section: tuple[float, float]


def generate(
    process: Process, parameters: tuple[int, ...], tries: int, seed: int, veto: bool = True
) -> Batch:
    """Make one batch with a fresh Pythia, so that it depends on nothing but its arguments.

    Args:
        parameters: of the process.
        tries: events to begin.
        seed: 1 to 900,000,000, Pythia's own range.
        veto: stop events with a low jet score early, where the process has a veto.

    Raises:
        RuntimeError: Pythia refuses a setting, or does not initialise.
    """
    if not 1 <= seed <= 900_000_000:
        raise ValueError(f"seed {seed} is outside 1 ... 900,000,000 and Pythia would ignore it")
    pythia = pythia8mc.Pythia("", False)
    hook = _Hook(process, veto, pythia)
    lines = [
        "Print:quiet = on",
        "Check:abortIfVeto = on",  # a vetoed event counts as one of the tries
        "Random:setSeed = on",
        f"Random:seed = {seed}",
        *process.pythia_settings(*parameters),
    ]
    # In memory, for Pythia reads the name of a file to its first space only.
    with os.fdopen(os.memfd_create("spectrum"), "wb", buffering=0) as spectrum:
        if process.spectrum:
            spectrum.write(process.spectrum(*parameters).encode())
            lines += [f"SLHA:file = /proc/self/fd/{spectrum.fileno()}", "SLHA:verbose = 0"]
        for line in lines:
            if not pythia.readString(line):
                raise RuntimeError(f"Pythia refuses the setting {line!r}")
        pythia.setUserHooksPtr(hook)
        if not pythia.init():
            raise RuntimeError(f"Pythia does not initialise for the process {process.name!r}")
    particles = pythia.nextBatch(tries, errorMode="skip")
    info = pythia.infoPython()
    # sigmaGen counts what was accepted; undo the vetoes, which are ours.
    undo = info.nSelected() / max(info.nAccepted(), 1)
    return Batch(
        particles=particles,
        tried=hook.tried,
        wanted=hook.wanted,
        finished=len(particles),
        veto_score=hook.scores_of(particles),
        weight=ak.to_numpy(particles.info.weights[:, 0]) if len(particles) else np.zeros(0),
        weights_of_tried=hook.weights_of_tried,
        squares_of_tried=hook.squares_of_tried,
        weights_of_wanted=hook.weights_of_wanted,
        cross_section=(1e9 * info.sigmaGen() * undo, 1e9 * info.sigmaErr() * undo),
    )


class _Hook(pythia8mc.UserHooks):
    """Stops events of one Pythia run: the unwanted at once, the hopeless at `VETO_SCALE`."""

    def __init__(self, process: Process, veto: bool, pythia: pythia8mc.Pythia) -> None:
        super().__init__()
        self.process, self.pythia = process, pythia
        self.score_min = process.veto_below if veto else -math.inf
        self.tried = self.wanted = 0
        self.weights_of_tried = self.squares_of_tried = self.weights_of_wanted = 0.0
        self.scores: dict[float, float] = {}

    def canVetoProcessLevel(self) -> bool:
        return True

    def doVetoProcessLevel(self, process) -> bool:
        weight = self.pythia.infoPython().weight()
        self.tried += 1
        self.weights_of_tried += weight
        self.squares_of_tried += weight**2
        if not self.process.wanted(process):
            return True
        self.wanted += 1
        self.weights_of_wanted += weight
        self.decays = top_decays(process)
        self.looked_at = False
        return False

    def canVetoPT(self) -> bool:
        return self.process.veto_below > -math.inf

    def scaleVetoPT(self) -> float:
        return VETO_SCALE

    def doVetoPT(self, _: int, event) -> bool:
        # Called again for the shower of each resonance; the first call is the evolution's own.
        if self.looked_at:
            return False
        self.looked_at = True
        score = veto_score(event, self.decays)
        self.scores[event[FIRST_OUTGOING].px()] = score
        return score < self.score_min

    def scores_of(self, particles: ak.Array) -> np.ndarray:
        """The scores (n,) of finished events, recognised by the hard process's momentum."""
        if not self.canVetoPT() or len(particles) == 0:
            return np.full(len(particles), np.nan)
        keys = ak.to_numpy(particles.prt.p.px[:, FIRST_OUTGOING])
        return np.array([self.scores[key] for key in keys.tolist()])


FIRST_OUTGOING = 5  # entry of the event record


def top_decays(process: "pythia8mc.Event") -> dict[int, tuple]:
    """For each top of the hard process: its four-momentum, and its decays' (PDG id, momentum)."""
    decays: dict[int, tuple] = {}
    for i in range(process.size()):
        particle = process[i]
        if particle.idAbs() == 6:
            decays[particle.id()] = (particle.p(), [])
        elif particle.status() == 23:
            mother = process[particle.mother1()]
            if mother.idAbs() == 24:
                mother = process[mother.mother1()]
            if mother.idAbs() == 6:
                decays[mother.id()][1].append((particle.idAbs(), particle.p()))
    return decays


def veto_score(event: "pythia8mc.Event", decays: dict[int, tuple]) -> float:
    """How likely an event at `VETO_SCALE` is to give seven jets and a lepton; a sum of sigmoids.

    Each parton of the shower and each quark of the top decays counts sigma((pT - 30 GeV) / 8 GeV)
    inside |eta| < 2.7; the hardest lepton (a tau with 0.6 of its pT) 2 sigma((pT - 25 GeV) / 4 GeV)
    inside 2.6. The decay products follow the recoil that their top has taken since. Found on
    49,009 events without veto; what it loses is measured on others (doc/validation.md).
    """
    score = lepton_pt = 0.0
    for i in range(event.size()):
        particle = event[i]
        if particle.status() <= 0:
            continue
        if particle.idAbs() == 6:
            before, products = decays[particle.id()]
            now = particle.p()
            for pdg_id, momentum in products:
                momentum.bstback(before)
                momentum.bst(now)
                if pdg_id <= 5:
                    score += _jet_term(momentum)
                elif pdg_id in (11, 13, 15) and abs(momentum.eta()) < 2.6:
                    lepton_pt = max(lepton_pt, momentum.pT() * (0.6 if pdg_id == 15 else 1.0))
        elif particle.isParton():
            score += _jet_term(particle.p())
    return score + 2 * _sigmoid((lepton_pt - 25) / 4)


def _jet_term(momentum: "pythia8mc.Vec4") -> float:
    return _sigmoid((momentum.pT() - 30) / 8) if abs(momentum.eta()) < 2.7 else 0.0


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -50 else 0.0
