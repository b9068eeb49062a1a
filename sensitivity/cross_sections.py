"""Cross sections in proton-proton collisions at 13 TeV, in pb.

Stop pairs: NNLO(approx) + NNLL of the LHC SUSY cross-section working group. Top pairs: NNLO + NNLL.
"""

import numpy as np
from numpy.typing import ArrayLike

TTBAR = 832.0

_STOP_PAIR = {
    700: 0.0783,
    725: 0.0624,
    750: 0.0500,
    775: 0.0403,
    800: 0.0326,
    825: 0.0265,
    850: 0.0216,
    875: 0.0177,
    900: 0.0145,
    925: 0.0120,
    950: 0.00991,
    975: 0.00822,
    1000: 0.00683,
    1025: 0.00570,
    1050: 0.00476,
    1075: 0.00399,
    1100: 0.00335,
    1125: 0.00282,
    1150: 0.00238,
    1175: 0.00201,
    1200: 0.00170,
}
_MASSES = np.array(list(_STOP_PAIR), float)
STOP_MASSES = (_MASSES[0], _MASSES[-1])  # of the table, GeV
_LOG_STOP_PAIR = np.log(list(_STOP_PAIR.values()))


def stop_pair_cross_section(stop_mass: ArrayLike) -> np.ndarray:
    """Stop-pair cross section in pb; its logarithm is interpolated linearly in the table.

    Args:
        stop_mass: GeV, any shape.

    Raises:
        ValueError: a mass outside the table, 700 to 1200 GeV.

    Example:
        >>> stop_pair_cross_section([700, 1012.5]).round(5)  # sqrt(0.00683 * 0.00570)
        array([0.0783 , 0.00624])
    """
    stop_mass = np.asarray(stop_mass, float)
    outside = ~((stop_mass >= _MASSES[0]) & (stop_mass <= _MASSES[-1]))
    if outside.any():
        raise ValueError(
            f"stop mass {stop_mass[outside].flat[0]:g} GeV outside the cross-section table, "
            f"{_MASSES[0]:g} to {_MASSES[-1]:g} GeV"
        )
    return np.exp(np.interp(stop_mass, _MASSES, _LOG_STOP_PAIR))
