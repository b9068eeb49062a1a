"""The numbers of arXiv:2406.03096, read off its figures; they are in published.csv.

Maximum SIC of single jets is read by eye, and so are the gains in excluded stop mass (GeV) over DS2
alone; trees on three jets are digitised to 0.5 %. No more than that may be read into them.
"""

import json
from pathlib import Path

from products import read_csv

_KEYS = ("level", "jet_definition", "network", "neutralino_mass", "quantity")
_NUMBERS = {
    tuple(row[key] for key in _KEYS): json.loads(row["value"])
    for row in read_csv(Path(__file__).with_name("published.csv"))
}


def published(
    level: str, jet_definition: str, network: str, quantity: str, neutralino_mass: int | str = ""
) -> float | None:
    """A published number, None where there is none.

    Args:
        level: `jets` or `events`.
        quantity: as in the summary, `SIC at eps_S = 0.3` for example.
        neutralino_mass: GeV; empty for numbers of all masses together.

    Example:
        >>> published("events", "AK14", "MaxViT", "AUC")
        0.9795
    """
    return _NUMBERS.get((level, jet_definition, network, str(neutralino_mass), quantity))
