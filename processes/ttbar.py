"""Top pairs at LO, the background, with at least one leptonic W (dilepton events included).

`ttbar` is the inclusive process. `ttbar_soft` and `ttbar_hard` are the same events in two slices of
the activity early in the shower, so that a study can make more of those where the signal is.
"""

import math
from dataclasses import replace
from typing import Any

from processes import BACKGROUND, Process

CROSS_SECTION = 832.0  # pb at 13 TeV, NNLO + NNLL
VETO_SCORE_MIN = 6.8  # about 14 % of the events with a leptonic W have more
# GeV. Of 120,000 events with a leptonic W 4.9 % have more, and all 43 selected with HT > 1 TeV.
ACTIVITY = 700.0
# GeV, where the two slices of jets for training begin. Above 700 GeV of pT lie 35 % of the AK14
# jets of stop pairs, 0.7 % of 12,229 jets of events beyond the first and 9.5 % of 3,896 beyond the
# second.
ACTIVITIES_OF_JETS = 600.0, 1_200.0
DECAYS = 7  # first entry of the event record behind beams, incoming and outgoing particles
TOPS_AND_W = ((6, 0), (-6, 0), (24, 2), (-24, 2))  # truth that is kept


def leptonic_ws(hard_process: Any) -> int:
    """How many W of Pythia's hard process decay to e, mu or tau."""
    leptons = 0
    for i in range(DECAYS, hard_process.size()):
        particle = hard_process[i]
        if particle.idAbs() in (11, 13, 15) and hard_process[particle.mother1()].idAbs() == 24:
            leptons += 1
    return leptons


def settings() -> tuple[str, ...]:
    """Gluon fusion and quark annihilation."""
    return "Top:gg2ttbar = on", "Top:qqbar2ttbar = on"


TTBAR = Process(
    name="ttbar",
    role=BACKGROUND,
    settings=settings,
    truth=TOPS_AND_W,
    wanted=leptonic_ws,
    cut="a leptonic W",
    veto_below=VETO_SCORE_MIN,
    cross_section=lambda: CROSS_SECTION,
    tries=10_000,
    title=r"$t\bar{t}$",
)
TTBAR_SOFT = replace(
    TTBAR,
    name="ttbar_soft",
    forced=("24:onNegIfAny = 1 2 3 4 5", "24:onPosIfAny = 1 2 3 4 5"),  # W+, W- to leptons
    resonances=(24, -24),
    activity=(0.0, ACTIVITY),
    veto_below=7.0,  # keeps 47 of 48 selected events of 30,000 tries
    title=r"$t\bar{t}$, soft",
)
TTBAR_HARD = replace(
    TTBAR_SOFT,
    name="ttbar_hard",
    activity=(ACTIVITY, math.inf),
    veto_below=7.6,  # keeps 192 of 196 selected events of 120,000 tries
    tries=40_000,
    title=r"$t\bar{t}$, hard",
)
TTBAR_JETS = replace(
    TTBAR_HARD,
    name="ttbar_jets",
    for_training=True,
    activity=ACTIVITIES_OF_JETS,
    veto_below=-math.inf,
    tries=10_000,
    title=r"$t\bar{t}$, jets",
)
TTBAR_JETS_HARD = replace(
    TTBAR_JETS,
    name="ttbar_jets_hard",
    activity=(ACTIVITIES_OF_JETS[1], math.inf),
    tries=40_000,
    title=r"$t\bar{t}$, hard jets",
)
