"""What collides: each process is one small description, and Pythia 8 makes its events.

A process names its Pythia settings, the particles whose truth is kept, and which of its events are
worth finishing: most of Pythia's time goes into multiparton interactions and hadronisation, so an
event that cannot pass the selection is stopped before (the early veto).
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import awkward as ak
import numpy as np
import pythia8mc

from physics import BEAM_ENERGY

os.environ.pop("PYTHIA8DATA", None)  # of another installation, whose files this Pythia cannot read
BEAMS = f"Beams:eCM = {BEAM_ENERGY}"
VETO_SCALE = 20.0  # GeV; the shower is looked at when its evolution has come down to this pT
VETO_SCORE_MIN = 6.8  # about 14 % of the events with a leptonic W have more


@dataclass(frozen=True)
class Process:
    """One process: what Pythia is told, and what is asked of its events.

    Attributes:
        name: as in file names.
        settings: lines for `Pythia.readString`.
        spectrum: an SLHA file's text, empty if Pythia needs none.
        truth: the PDG ids whose last copies are kept, and how many daughters of each.
        wanted: of the hard process with its resonance decays, whether to go on.
        veto_below: the least `veto_score` of an event worth finishing; -inf: no early veto.
    """

    name: str
    settings: tuple[str, ...]
    truth: tuple[tuple[int, int], ...]
    wanted: Callable[["pythia8mc.Event"], bool]
    spectrum: str = ""
    veto_below: float = -math.inf


def leptonic_w(process: "pythia8mc.Event") -> bool:
    """Whether a W of the hard process decays to e, mu or tau."""
    for i in range(process.size()):
        particle = process[i]
        if particle.idAbs() in (11, 13, 15) and process[particle.mother1()].idAbs() == 24:
            return True
    return False


TOPS_AND_W = ((6, 0), (-6, 0), (24, 2), (-24, 2))


def ttbar() -> Process:
    """Top pairs at LO, with at least one leptonic W (e, mu, tau; dilepton events included)."""
    return Process(
        name="ttbar",
        settings=(BEAMS, "Top:gg2ttbar = on", "Top:qqbar2ttbar = on"),
        truth=TOPS_AND_W,
        wanted=leptonic_w,
        veto_below=VETO_SCORE_MIN,
    )


def stop_pair(stop_mass: int, neutralino_mass: int) -> Process:
    """Stop pairs at LO, stop -> t chi, chi -> u d s and its conjugate (the UDD operator).

    At least one W of the tops is leptonic. The neutralino is a Majorana particle, so each decays
    to quarks or to antiquarks with equal probability; its decay is flat in phase space.

    Args:
        stop_mass, neutralino_mass: GeV.
    """
    return Process(
        name="stop",
        settings=(
            BEAMS,
            "SUSY:gg2squarkantisquark = on",
            "SUSY:qqbar2squarkantisquark = on",
            "SUSY:idA = 1000006",
            "SUSY:idB = 1000006",
        ),
        truth=(*TOPS_AND_W, (1000022, 3), (1000022, 3)),
        wanted=leptonic_w,
        spectrum=_spectrum(stop_mass, neutralino_mass),
    )


def _spectrum(stop_mass: int, neutralino_mass: int) -> str:
    """An SLHA spectrum with every other sparticle at 100 TeV.

    Flavour is diagonal and R parity formally conserved (MODSEL 1 0, no RPV blocks), or Pythia
    refuses the spectrum; the decay table alone breaks it.
    """
    heavy = (25, 35, 36, 37, 1000021, 1000023, 1000024, 1000025, 1000035, 1000037)
    sfermions = [base + i for base in (1000000, 2000000) for i in (1, 2, 3, 4, 5, 6, 11, 13, 15)]
    masses = dict.fromkeys((*heavy, *sfermions, 1000012, 1000014, 1000016), 100000.0)
    masses |= {24: 80.4, 25: 125.0, 1000006: float(stop_mass), 1000022: float(neutralino_mass)}
    lines = ["BLOCK MODSEL", "1 0", "BLOCK SMINPUTS"]
    lines += ["1 127.9", "2 1.16637e-5", "3 0.118", "4 91.1876", "5 4.2", "6 172.5", "7 1.777"]
    lines += ["BLOCK MINPAR", "3 10.0", "BLOCK MASS"]
    lines += [f"{pdg_id} {mass:.6e}" for pdg_id, mass in masses.items()]
    identity = {"STOPMIX": 2, "SBOTMIX": 2, "STAUMIX": 2, "NMIX": 4, "UMIX": 2, "VMIX": 2}
    for block, size in identity.items():
        lines.append(f"BLOCK {block}")
        lines += [
            f"{i} {j} {float(i == j)}" for i in range(1, size + 1) for j in range(1, size + 1)
        ]
    lines += ["BLOCK ALPHA", "-0.1", "BLOCK HMIX Q= 1000.0", "1 500.0", "2 10.0"]
    lines += ["BLOCK GAUGE Q= 1000.0", "1 0.36", "2 0.64", "3 1.06"]
    lines += ["DECAY 1000006 0.1", "1.0 2 1000022 6"]
    lines += ["DECAY 1000022 0.1", "0.5 3 2 1 3", "0.5 3 -2 -1 -3"]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Batch:
    """What Pythia made of one chunk.

    Attributes:
        particles: the event records, as `Pythia.nextBatch` gives them.
        tried: events begun, all decays of the hard process open.
        wanted: of those, the ones that `Process.wanted` let pass.
        finished: of those, the ones in `particles`.
        veto_score: (finished,) the early veto's score, NaN for a process without one.
        cross_section: pb, LO, of the process with all decays open, and its statistical error.
    """

    particles: ak.Array
    tried: int
    wanted: int
    finished: int
    veto_score: np.ndarray
    cross_section: tuple[float, float]


def generate(process: Process, tries: int, seed: int, veto: bool = True) -> Batch:
    """Make one batch with a fresh Pythia, so that it depends on nothing but its arguments.

    Args:
        tries: events to begin.
        seed: 1 to 900,000,000, Pythia's own range.
        veto: stop events with a low jet score early, where the process has a veto.

    Raises:
        RuntimeError: Pythia refuses a setting, or does not initialise.
    """
    if not 1 <= seed <= 900_000_000:
        raise ValueError(f"seed {seed} is outside 1 ... 900,000,000 and Pythia would ignore it")
    pythia = pythia8mc.Pythia("", False)
    hook = _Hook(process, veto)
    lines = [
        "Print:quiet = on",
        "Check:abortIfVeto = on",  # a vetoed event counts as one of the tries
        "Random:setSeed = on",
        f"Random:seed = {seed}",
        *process.settings,
    ]
    # In memory, for Pythia reads the name of a file to its first space only.
    with os.fdopen(os.memfd_create("spectrum"), "wb", buffering=0) as spectrum:
        if process.spectrum:
            spectrum.write(process.spectrum.encode())
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
        cross_section=(1e9 * info.sigmaGen() * undo, 1e9 * info.sigmaErr() * undo),
    )


class _Hook(pythia8mc.UserHooks):
    """Stops events of one Pythia run: the unwanted at once, the hopeless at `VETO_SCALE`."""

    def __init__(self, process: Process, veto: bool) -> None:
        super().__init__()
        self.process = process
        self.score_min = process.veto_below if veto else -math.inf
        self.tried = self.wanted = 0
        self.scores: dict[float, float] = {}

    def canVetoProcessLevel(self) -> bool:
        return True

    def doVetoProcessLevel(self, process) -> bool:
        self.tried += 1
        if not self.process.wanted(process):
            return True
        self.wanted += 1
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
