"""Top pairs of other showers, to see how far the assumed uncertainty of the background reaches.

The renormalisation scale of both showers halved and doubled, and initial-state radiation up to the
kinematic limit: a power shower, which Pythia damps by default above the hard scale.
"""

from dataclasses import replace

from processes import VARIATION, Process
from processes.ttbar import TTBAR


def _varied(name: str, *lines: str) -> Process:
    return replace(
        TTBAR,
        name=name,
        role=VARIATION,
        varies=TTBAR.name,
        settings=lambda: (*TTBAR.settings(), *lines),
    )


HALF_SCALE = _varied(
    "half_scale", "TimeShower:renormMultFac = 0.25", "SpaceShower:renormMultFac = 0.25"
)
DOUBLE_SCALE = _varied(
    "double_scale", "TimeShower:renormMultFac = 4", "SpaceShower:renormMultFac = 4"
)
POWER_SHOWER = _varied("power_shower", "SpaceShower:pTdampMatch = 0")
