"""Top pairs of other showers, to see how far the assumed uncertainty of the background reaches.

The renormalisation scale of both showers halved and doubled, and initial-state radiation up to the
kinematic limit: a power shower, which Pythia damps by default above the hard scale. Each is made
inclusively and in slices, of which a study takes what it takes of the background itself.
"""

from dataclasses import replace

from processes import VARIATION, Process
from processes.ttbar import TTBAR, TTBAR_HARD, TTBAR_SOFT


def _varied(variation: str, *lines: str) -> list[Process]:
    """The inclusive process, `variation`, and the slices `variation`_soft and `variation`_hard."""
    return [
        replace(
            process,
            name=process.name.replace(TTBAR.name, variation),
            role=VARIATION,
            varies=process.name,
            variation=variation,
            settings=lambda: (*TTBAR.settings(), *lines),
        )
        for process in (TTBAR, TTBAR_SOFT, TTBAR_HARD)
    ]


HALF_SCALE, HALF_SCALE_SOFT, HALF_SCALE_HARD = _varied(
    "half_scale", "TimeShower:renormMultFac = 0.25", "SpaceShower:renormMultFac = 0.25"
)
DOUBLE_SCALE, DOUBLE_SCALE_SOFT, DOUBLE_SCALE_HARD = _varied(
    "double_scale", "TimeShower:renormMultFac = 4", "SpaceShower:renormMultFac = 4"
)
POWER_SHOWER, POWER_SHOWER_SOFT, POWER_SHOWER_HARD = _varied(
    "power_shower", "SpaceShower:pTdampMatch = 0"
)
