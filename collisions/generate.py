"""Pythia 8 makes the events of a process.

Most of its time goes into multiparton interactions and hadronisation, so an event that is not of
the slice asked for, or that cannot pass the selection (the early veto), is stopped before.
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
ACTIVITY_SCALE = 100.0  # GeV; of a slice, at this one, and again after ...
MPI_STEP = 2  # ... the second interaction of the two protons


@dataclass(frozen=True)
class Batch:
    """What Pythia made of one chunk.

    Attributes:
        particles: the event records, as `Pythia.nextBatch` gives them.
        cut_flow: cut -> events left after it: those begun, all decays of the hard process open,
            the wanted ones, those of the slice if there is one, those in `particles`.
        weighted_cut_flow: the same for sums of weights.
        squares: (sum of weights)^2 of the events begun over their effective number.
        veto_score: (n,) the early veto's score of the events in `particles`, NaN without one.
        weight: (n,) Pythia's, 1 unless the process asks for weighted events, times that of forced
            decays.
        cross_section: pb, LO, of the process with all decays open, and its statistical error.
    """

    particles: ak.Array
    cut_flow: dict[str, int]
    weighted_cut_flow: dict[str, float]
    squares: float
    veto_score: np.ndarray
    weight: np.ndarray
    cross_section: tuple[float, float]


def generate(
    process: Process,
    parameters: tuple[int, ...],
    tries: int,
    seed: int,
    veto: bool = True,
    turn: int = 0,
) -> Batch:
    """Make one batch with a fresh Pythia, so that it depends on nothing but its arguments.

    Args:
        parameters: of the process.
        tries: events to begin.
        seed: 1 to 900,000,000, Pythia's own range.
        veto: stop events with a low jet score early, where the process has a veto.
        turn: which of the forced decays is made, modulo their number.

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
    if process.forced:
        lines.append(process.forced[turn % len(process.forced)])
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
    is_open = 1.0  # the share of decays that is
    if process.forced:
        is_open = pythia.particleData.resOpenFrac(*process.resonances)
        hook.forced_weight = is_open * len(process.forced)
    particles = pythia.nextBatch(tries, errorMode="skip")
    share, score = hook.of_finished(particles)
    weight = share * ak.to_numpy(particles.info.weights[:, 0]) if len(particles) else share
    info = pythia.infoPython()
    # sigmaGen counts what was accepted; undo the vetoes, which are ours.
    begun, wanted, *_ = hook.weights.values()
    undo = info.nSelected() / max(info.nAccepted(), 1) / is_open
    return Batch(
        particles=particles,
        cut_flow=hook.left | {"early veto": len(particles)},
        weighted_cut_flow=hook.weights | {"early veto": float(weight.sum())},
        squares=hook.squares * begun / wanted if process.forced else hook.squares,
        veto_score=score,
        weight=weight,
        cross_section=(1e9 * info.sigmaGen() * undo, 1e9 * info.sigmaErr() * undo),
    )


class _Hook(pythia8mc.UserHooks):
    """Stops events of one Pythia run: the unwanted at once, the hopeless early."""

    def __init__(self, process: Process, veto: bool, pythia: pythia8mc.Pythia) -> None:
        super().__init__()
        self.process, self.pythia = process, pythia
        self.score_min = process.veto_below if veto else -math.inf
        self.forced_weight = 1.0
        cuts, low, high = ["begun", process.cut], *(process.activity or (0.0, math.inf))
        self.slice = f"activity {low:g} to {high:g} GeV"
        cuts += [self.slice] if process.activity else []
        self.left, self.weights = dict.fromkeys(cuts, 0), dict.fromkeys(cuts, 0.0)
        self.squares = 0.0
        # pz of the first outgoing particle, which tells the events apart -> share and score
        self.events: dict[float, tuple[float, float]] = {}

    def _count(self, cut: str, weight: float) -> None:
        self.left[cut] += 1
        self.weights[cut] += weight

    def canVetoProcessLevel(self) -> bool:
        return True

    def doVetoProcessLevel(self, process) -> bool:
        weight = self.pythia.infoPython().weight()
        self._count("begun", weight)
        ways = self.process.wanted(process)
        self.share = self.forced_weight / ways if self.process.forced else 1.0
        self.weight = weight * self.share
        self.squares += self.weight**2
        if not ways:
            return True
        self._count(self.process.cut, self.weight)
        self.looked_at = False
        self.key = process[FIRST_OUTGOING].pz()
        self.events[self.key] = self.share, math.nan
        return False

    def canVetoPT(self) -> bool:
        return bool(self.process.activity) or self.process.veto_below > -math.inf

    def scaleVetoPT(self) -> float:
        return ACTIVITY_SCALE if self.process.activity else VETO_SCALE

    def doVetoPT(self, _: int, event) -> bool:
        # Called again for the shower of each resonance; the first call is the evolution's own.
        if self.looked_at:
            return False
        self.looked_at = True
        if not self.process.activity:
            return self._is_hopeless(event)
        low, high = self.process.activity
        if not low <= activity(event) < high:
            return True
        self._count(self.slice, self.weight)
        return False

    def canVetoMPIStep(self) -> bool:
        return bool(self.process.activity) and self.process.veto_below > -math.inf

    def numberVetoMPIStep(self) -> int:
        return MPI_STEP

    def doVetoMPIStep(self, step: int, event) -> bool:
        return step == MPI_STEP and self._is_hopeless(event)

    def _is_hopeless(self, event) -> bool:
        score = (self.process.veto_score or veto_score)(event, self.pythia.process)
        self.events[self.key] = self.share, score
        return score < self.score_min

    def of_finished(self, particles: ak.Array) -> np.ndarray:
        """Weights of forced decays and scores (2, n) of finished events."""
        if len(particles) == 0 or not (self.canVetoPT() or self.process.forced):
            return np.tile([[1.0], [np.nan]], len(particles))
        keys = ak.to_numpy(particles.prt.p.pz[:, FIRST_OUTGOING])
        return np.array([self.events[key] for key in keys.tolist()]).T


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


def activity(event: "pythia8mc.Event") -> float:
    """Sum of the pT of the tops and of all partons that the shower has emitted so far, GeV."""
    total = 0.0
    for i in range(FIRST_OUTGOING, event.size()):  # a plain loop, because every event is asked
        particle = event[i]
        if particle.status() > 0 and (particle.isParton() or particle.idAbs() == 6):
            total += particle.pT()
    return total


def veto_score(event: "pythia8mc.Event", hard_process: "pythia8mc.Event") -> float:
    """How likely an event at `VETO_SCALE` is to give seven jets and a lepton; a sum of sigmoids.

    Each parton of the shower and each quark of the top decays counts sigma((pT - 30 GeV) / 8 GeV)
    inside |eta| < 2.7; the hardest lepton (a tau with 0.6 of its pT) 2 sigma((pT - 25 GeV) / 4 GeV)
    inside 2.6. The decay products follow the recoil that their top has taken since. Found on
    49,009 events without veto; what it loses is measured on others (doc/validation.md).
    """
    decays = top_decays(hard_process)
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
