"""Quark and gluon jets beside a Z that decays to neutrinos, as the EnergyFlow sample has them.

Zenodo 3164691 (arXiv:1810.05165): Pythia at 14 TeV, q g -> Z q with a light quark, and q qbar ->
Z g; collisions/particle_jets.py clusters the jets. The quark is the signal. Variations: the Vincia
shower, the renormalisation scale of Pythia's own halved and doubled, and other generators, whose
events collisions/hepmc.py reads (Sherpa's: profiles/sherpa/).
"""

from dataclasses import replace
from typing import Any

from processes import BACKGROUND, PARTICLE_JETS, SIGNAL, VARIATION, JetSelection, Process

ENERGY = 14_000.0  # GeV, of both beams
JETS = JetSelection(
    0.4, (500.0, 550.0), "rapidity", 1.7, public=("QG_jets.npz", "QG_jets_[0-9]*.npz")
)
# GeV, wider than the jets' 500 to 550 GeV: of 276 jets 1 % came from below 448 GeV, 1 % from above
# 649 GeV.
PT_HAT = (430.0, 700.0)
FIRST_OUTGOING = 5  # entry of the record of the hard process
SHOWERS = {
    "vincia": ("PartonShowers:model = 2",),
    "half_scale_jets": ("TimeShower:renormMultFac = 0.25", "SpaceShower:renormMultFac = 0.25"),
    "double_scale_jets": ("TimeShower:renormMultFac = 4", "SpaceShower:renormMultFac = 4"),
}
GENERATORS = ("sherpa",)


def is_light(hard_process: Any) -> bool:
    """Whether the parton beside the Z is a gluon or a u, d or s quark."""
    outgoing = range(FIRST_OUTGOING, hard_process.size())
    return any(hard_process[i].idAbs() in (1, 2, 3, 21) for i in outgoing)


def _settings(process: str, *lines: str):
    """Lines for Pythia: the pure Z, to neutrinos, and a parton."""
    return lambda: (
        f"WeakBosonAndParton:{process} = on",
        "WeakZ0:gmZmode = 2",
        "23:onMode = off",
        "23:onIfAny = 12 14 16",
        f"PhaseSpace:pTHatMin = {PT_HAT[0]}",
        f"PhaseSpace:pTHatMax = {PT_HAT[1]}",
        *lines,
    )


QUARK = Process(
    name="quark_jets",
    role=SIGNAL,
    settings=_settings("qg2gmZq"),
    wanted=is_light,
    cut="a light quark",
    selection=PARTICLE_JETS,
    jets=JETS,
    energy=ENERGY,
    tries=1_000,
    title="quark jets",
)
GLUON = replace(
    QUARK,
    name="gluon_jets",
    role=BACKGROUND,
    settings=_settings("qqbar2gmZg"),
    cut="a gluon",
    title="gluon jets",
)


def _varied(nominal: Process, process: str) -> list[Process]:
    """The process with each of the other showers, and of each of the other generators."""
    settings = {variation: _settings(process, *lines) for variation, lines in SHOWERS.items()}
    return [
        replace(
            nominal,
            name=f"{nominal.name}_{variation}",
            role=VARIATION,
            varies=nominal.name,
            variation=variation,
            settings=lines,
        )
        for variation, lines in (settings | dict.fromkeys(GENERATORS)).items()
    ]


QUARK_VINCIA, QUARK_HALF_SCALE, QUARK_DOUBLE_SCALE, QUARK_SHERPA = _varied(QUARK, "qg2gmZq")
GLUON_VINCIA, GLUON_HALF_SCALE, GLUON_DOUBLE_SCALE, GLUON_SHERPA = _varied(GLUON, "qqbar2gmZg")
