"""Top pairs at LO, the background, with at least one leptonic W (dilepton events included)."""

from typing import Any

from processes import BACKGROUND, Process

CROSS_SECTION = 832.0  # pb at 13 TeV, NNLO + NNLL
VETO_SCORE_MIN = 6.8  # about 14 % of the events with a leptonic W have more
TOPS_AND_W = ((6, 0), (-6, 0), (24, 2), (-24, 2))  # truth that is kept


def leptonic_w(hard_process: Any) -> bool:
    """Whether a W of Pythia's hard process decays to e, mu or tau."""
    for i in range(hard_process.size()):
        particle = hard_process[i]
        if particle.idAbs() in (11, 13, 15) and hard_process[particle.mother1()].idAbs() == 24:
            return True
    return False


def settings() -> tuple[str, ...]:
    """Gluon fusion and quark annihilation."""
    return "Top:gg2ttbar = on", "Top:qqbar2ttbar = on"


TTBAR = Process(
    name="ttbar",
    role=BACKGROUND,
    settings=settings,
    truth=TOPS_AND_W,
    wanted=leptonic_w,
    cut="a leptonic W",
    veto_below=VETO_SCORE_MIN,
    cross_section=lambda: CROSS_SECTION,
    tries=10_000,
    title=r"$t\bar{t}$",
)
