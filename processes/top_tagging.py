"""Jets of hadronic tops and of QCD, as the public top-tagging sample has them, without a detector.

Zenodo 2603256: Pythia at 14 TeV without multiparton interactions, top pairs that decay to quarks,
and dijets; a top jet has a top and its three quarks within its radius. There Delphes is the
detector; here jets are of stable particles but neutrinos. The top is the signal.
"""

from dataclasses import replace

from processes import BACKGROUND, PARTICLE_JETS, SIGNAL, JetSelection, Process

ENERGY = 14_000.0  # GeV, of both beams
JETS = JetSelection(
    0.8, (550.0, 650.0), "eta", 2.0, public=("train.h5", "val.h5", "test.h5", "*.root")
)
# GeV. Of QCD jets 0.5 % come from above, 0.3 +- 0.2 % from 250 to 300 GeV; none of 20,000 events of
# 200 to 250 GeV passed. Of top jets 0.2 % come from above, but 21 +- 4 % from below: pairs that
# recoil against a hard gluon of the initial state, of which fewer than one in 300 passes.
PT_HAT_OF_TOPS, PT_HAT_OF_QCD = (350.0, 700.0), (300.0, 700.0)


def _settings(pt_hat: tuple[float, float], *processes: str):
    """Lines for Pythia: hard processes, and no further interaction of the two protons."""
    return lambda: (
        *(f"{process} = on" for process in processes),
        "PartonLevel:MPI = off",
        f"PhaseSpace:pTHatMin = {pt_hat[0]}",
        f"PhaseSpace:pTHatMax = {pt_hat[1]}",
    )


TOP = Process(
    name="top_jets",
    role=SIGNAL,
    settings=_settings(PT_HAT_OF_TOPS, "Top:gg2ttbar", "Top:qqbar2ttbar"),
    truth=((6, 2), (24, 2), (-6, 2), (-24, 2)),
    forced=("24:offIfAny = 11 13 15",),
    resonances=(24, -24),
    selection=PARTICLE_JETS,
    jets=JETS,
    matches=(6, -6),
    energy=ENERGY,
    tries=2_000,
    title="top jets",
)
QCD = replace(
    TOP,
    name="qcd_jets",
    role=BACKGROUND,
    settings=_settings(PT_HAT_OF_QCD, "HardQCD:all"),
    truth=(),
    forced=(),
    resonances=(),
    matches=(),
    title="QCD jets",
)
