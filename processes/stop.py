"""Stop pairs at LO, stop -> t chi, chi -> u d s and its conjugate (the UDD operator).

At least one W of the tops is leptonic. The neutralino is a Majorana particle, so each decays to
quarks or to antiquarks with equal probability; its decay is flat in phase space.
"""

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from command import InputError
from processes import SIGNAL, Process
from processes.ttbar import TOPS_AND_W, leptonic_ws

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

NEUTRALINO = 1000022  # PDG id
TOP_MASS = 175.0  # GeV, a little more than in the spectrum, which is to stay on shell
CROSS_SECTIONS = {  # GeV -> pb at 13 TeV, NNLO(approx) + NNLL, LHC SUSY cross-section working group
    700: 0.0783, 725: 0.0624, 750: 0.0500, 775: 0.0403,
    800: 0.0326, 825: 0.0265, 850: 0.0216, 875: 0.0177,
    900: 0.0145, 925: 0.0120, 950: 0.00991, 975: 0.00822,
    1000: 0.00683, 1025: 0.00570, 1050: 0.00476, 1075: 0.00399,
    1100: 0.00335, 1125: 0.00282, 1150: 0.00238, 1175: 0.00201, 1200: 0.00170,
}  # fmt: skip
STOP_MASSES = (min(CROSS_SECTIONS), max(CROSS_SECTIONS))  # of the table, GeV


def cross_section(m_stop: "ArrayLike", m_neutralino: "ArrayLike" = 0) -> "np.ndarray":
    """Stop-pair cross section in pb; its logarithm is interpolated linearly in the table.

    Args:
        m_stop: GeV, any shape; the neutralino's mass does not matter.

    Raises:
        ValueError: a mass outside the table, 700 to 1200 GeV.

    >>> cross_section([700, 1012.5]).round(5)  # sqrt(0.00683 * 0.00570)
    array([0.0783 , 0.00624])
    """
    import numpy as np  # not at the top: planning needs Python alone

    m_stop = np.asarray(m_stop, float)
    outside = ~((m_stop >= STOP_MASSES[0]) & (m_stop <= STOP_MASSES[1]))
    if outside.any():
        raise ValueError(
            f"stop mass {m_stop[outside].flat[0]:g} GeV outside the cross-section table, "
            f"{STOP_MASSES[0]:g} to {STOP_MASSES[1]:g} GeV"
        )
    return np.exp(np.interp(m_stop, list(CROSS_SECTIONS), np.log(list(CROSS_SECTIONS.values()))))


def settings(m_stop: int, m_neutralino: int) -> tuple[str, ...]:
    """Gluon fusion and quark annihilation; InputError if the stop is too light for its decay."""
    if m_stop < m_neutralino + TOP_MASS:
        raise InputError(
            f"a stop of {m_stop} GeV cannot decay to a top and a neutralino of {m_neutralino} GeV, "
            f"expected at least {m_neutralino + TOP_MASS:g} GeV; change the study's mass grid"
        )
    return (
        "SUSY:gg2squarkantisquark = on",
        "SUSY:qqbar2squarkantisquark = on",
        "SUSY:idA = 1000006",
        "SUSY:idB = 1000006",
    )


def spectrum(m_stop: int, m_neutralino: int) -> str:
    """An SLHA spectrum with every other sparticle at 100 TeV.

    Flavour is diagonal and R parity formally conserved (MODSEL 1 0, no RPV blocks), or Pythia
    refuses the spectrum; the decay table alone breaks it.
    """
    heavy = (25, 35, 36, 37, 1000021, 1000023, 1000024, 1000025, 1000035, 1000037)
    sfermions = [base + i for base in (1000000, 2000000) for i in (1, 2, 3, 4, 5, 6, 11, 13, 15)]
    masses = dict.fromkeys((*heavy, *sfermions, 1000012, 1000014, 1000016), 100000.0)
    masses |= {24: 80.4, 25: 125.0, 1000006: float(m_stop), NEUTRALINO: float(m_neutralino)}
    lines = ["BLOCK MODSEL", "1 0", "BLOCK SMINPUTS"]
    lines += ["1 127.9", "2 1.16637e-5", "3 0.118", "4 91.1876", "5 4.2", "6 172.5", "7 1.777"]
    lines += ["BLOCK MINPAR", "3 10.0", "BLOCK MASS"]
    lines += [f"{pdg_id} {mass:.6e}" for pdg_id, mass in masses.items()]
    identity = {"STOPMIX": 2, "SBOTMIX": 2, "STAUMIX": 2, "NMIX": 4, "UMIX": 2, "VMIX": 2}
    for block, size in identity.items():
        indices = itertools.product(range(1, size + 1), repeat=2)
        lines += [f"BLOCK {block}", *(f"{i} {j} {float(i == j)}" for i, j in indices)]
    lines += ["BLOCK ALPHA", "-0.1", "BLOCK HMIX Q= 1000.0", "1 500.0", "2 10.0"]
    lines += ["BLOCK GAUGE Q= 1000.0", "1 0.36", "2 0.64", "3 1.06"]
    lines += ["DECAY 1000006 0.1", "1.0 2 1000022 6"]
    lines += ["DECAY 1000022 0.1", "0.5 3 2 1 3", "0.5 3 -2 -1 -3"]
    return "\n".join(lines) + "\n"


STOP = Process(
    name="stop",
    role=SIGNAL,
    settings=settings,
    truth=(*TOPS_AND_W, (NEUTRALINO, 3), (NEUTRALINO, 3)),
    parameters=("m_stop", "m_neutralino"),
    spectrum=spectrum,
    wanted=leptonic_ws,
    cut="a leptonic W",
    matches=(NEUTRALINO,),
    cross_section=cross_section,
    title=r"$\tilde{t}\,\tilde{t}^{\,*}$",
)
STOP_JETS = replace(STOP, name="stop_jets", for_training=True)
