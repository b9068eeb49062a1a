"""H -> Z gamma from gluon fusion, the signal, and the Z gamma continuum, its background.

Z decays to e or mu. Both are of LO. The signal is normalised to sigma(gg -> H) = 48.58 pb (N3LO
QCD, NLO electroweak) and B(H -> Z gamma) = 1.533e-3 at 125 GeV (LHC Higgs cross-section working
group, arXiv:1610.07922), and to B(Z -> ee) + B(Z -> mu mu) = 0.0673 (Particle Data Group); the
continuum to Pythia's cross section.
"""

from typing import Any

from processes import BACKGROUND, SIGNAL, Z_GAMMA, Process

GLUON_FUSION = 48.58  # pb at 13 TeV
BRANCHING_FRACTION = 1.533e-3 * 0.0673
HIGGS_MASS = 125.0  # GeV
# What Pythia begins, GeV, wider than the selection: of 241 selected events 1 % had a pT-hat below
# 8.7 GeV, 1 in 1,000 of 920 an m(Z gamma) above 258 GeV.
PHOTON_PT_HAT_MIN = 7.0
MASSES = (90.0, 260.0)  # of Z gamma
DILEPTON_MASS_MIN = 40.0
LEPTONS_OF_Z = ("23:onMode = off", "23:onIfAny = 11 13")
FIRST_OUTGOING = 5  # entry of both event records
# Keeps 589 of 591 selected signal events (80 % of the tries), 238 of 241 of the continuum (47 %).
VETO_SCORE_MIN = 0.7


def acceptance(event: Any, hard_process: Any) -> float:
    """How far an event is inside the acceptance, 1 at its edge, when it is looked at early.

    The smallest of pT / threshold (25 and 15 GeV of leptons, 15 GeV of the photon) and 2.5 / |eta|.
    The leptons and the photon follow the recoil that all three together have taken since.
    """
    before, now, products = [], [], []
    for i in range(FIRST_OUTGOING, hard_process.size()):
        particle = hard_process[i]
        if particle.mother1() < FIRST_OUTGOING:  # H, or Z and photon
            before.append(particle.p())
            now.append(event[event[i].iBotCopyId()].p())
        if particle.idAbs() in (11, 13, 22):
            products.append((particle.idAbs(), particle.p()))
    (before, *rest_before), (now, *rest_now) = before, now
    for one, other in zip(rest_before, rest_now, strict=True):
        before, now = before + one, now + other
    scores, lepton_pt = [], []
    for pdg_id, momentum in products:
        momentum.bstback(before)
        momentum.bst(now)
        scores.append(2.5 / max(abs(momentum.eta()), 1e-9))
        if pdg_id == 22:
            scores.append(momentum.pT() / 15)
        else:
            lepton_pt.append(momentum.pT())
    return min(*scores, min(lepton_pt) / 15, max(lepton_pt) / 25)


def signal() -> tuple[str, ...]:
    """Gluon fusion."""
    return (
        "HiggsSM:gg2H = on",
        f"25:m0 = {HIGGS_MASS}",
        "25:onMode = off",
        "25:onIfMatch = 23 22",
        *LEPTONS_OF_Z,
    )


def continuum() -> tuple[str, ...]:
    """Quark annihilation to a photon and a Z or virtual photon, with their interference.

    Initial-state radiation goes up to the kinematic limit, as Pythia has it for H and for pairs of
    massive bosons; by default a photon in the final state limits it to the factorisation scale,
    and hardly any Z gamma system had a pT above half its mass.
    """
    return (
        "WeakBosonAndParton:ffbar2gmZgm = on",
        "SpaceShower:pTmaxMatch = 2",
        f"PhaseSpace:pTHatMin = {PHOTON_PT_HAT_MIN}",
        f"PhaseSpace:mHatMin = {MASSES[0]}",
        f"PhaseSpace:mHatMax = {MASSES[1]}",
        f"23:mMin = {DILEPTON_MASS_MIN}",
        *LEPTONS_OF_Z,
    )


HIGGS_TO_Z_GAMMA = Process(
    name="higgs_to_z_gamma",
    role=SIGNAL,
    settings=signal,
    truth=((25, 2), (23, 2)),
    veto_score=acceptance,
    veto_below=VETO_SCORE_MIN,
    selection=Z_GAMMA,
    cross_section=lambda: GLUON_FUSION * BRANCHING_FRACTION,
    tries=1_000,
    title=r"$H \to Z\gamma$",
)
CONTINUUM = Process(
    name="z_gamma",
    role=BACKGROUND,
    settings=continuum,
    truth=((23, 2),),
    veto_score=acceptance,
    veto_below=VETO_SCORE_MIN,
    selection=Z_GAMMA,
    tries=2_000,
    title=r"$Z\gamma$",
)
