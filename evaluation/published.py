"""The numbers of arXiv:2406.03096, read off its figures; they are in published.csv.

Maximum SIC of single jets is read by eye, and so are the gains in excluded stop mass (GeV) over DS2
alone; trees on three jets are digitised to 0.5 %. No more than that may be read into them.
"""

import json
from pathlib import Path

from jets.classifier import Classifier, Key
from products import read_csv

_NUMBERS = {
    (Key.of(row), *(row[name] for name in ("quantity", "signal_efficiency", "neutralino_mass"))): (
        json.loads(row["value"])
    )
    for row in read_csv(Path(__file__).with_name("published.csv"))
}


def published(
    classifier: Classifier,
    quantity: str,
    signal_efficiency: float | str = "",
    neutralino_mass: int | str = "",
) -> float | None:
    """A published number, None where there is none; the paper has one training of each network.

    The quantity is named as in the summary. Its signal efficiency is that of the cut, if it is of a
    given cut; numbers of all masses together have no mass (GeV).

    Example:
        >>> from jets.classifier import HELD_OUT_EVENTS
        >>> published(Classifier(("AK14",), ("MaxViT",), (), HELD_OUT_EVENTS), "AUC")
        0.9795
    """
    key = classifier.key, quantity, str(signal_efficiency), str(neutralino_mass)
    return _NUMBERS.get(key)
