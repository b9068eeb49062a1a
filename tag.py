"""Tag large-R jets with the network that is in the repository: how likely is each a neutralino's?

Reads   a file of collisions in our layout (doc/data-format.md), and models/weights/, whose README
        says what the network was trained on and where its scores mean nothing.
Writes  Data/tags/<sample>_<file>.csv: one row per jet, with the event's number of R = 0.4 jets and
        the probability of signal. A file that is not of a sample in train_data/ beside this script
        has digits of its own behind its name.
Takes   19 s for the 1,493 jets of the file below on two cores, the start of Python included.

    python tag.py train_data/demo/stop_900_300.h5
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out
import environment  # noqa: F401 - says in a sentence what this Python lacks

# isort: split
import hashlib
import math
import os

import numpy as np
import torch
from scipy.special import expit

from command import InputError, parser_of, run
from jets.events import Events, read_events
from jets.preparation import jets_of
from models.pretrained import load_weights
from physics import JET_DEFINITIONS, MATCHING_RADIUS, MISSING_SCORE
from processes import parsed
from products import write_csv
from study import PIXEL_SCALES
from training.jet_images import JetImages
from training.learner import choose_device
from training.loop import logits_of

WEIGHTS = Path(__file__).parent / "models/weights/AK14_MaxViT.safetensors"
COLUMNS = ("event", "k", "pt", "eta", "phi", "mass", "delta_r")


def tag(
    events: Events, weights: Path, title: str, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """The jets of a file, structured `JET_DTYPE` (n,), and their probability of signal (n,).

    Raises:
        InputError: the weights are not those of a network.
        OSError: the system does not let them be read.
    """
    weights.open("rb").close()  # what keeps it from being read, the system says best
    try:
        network, facts = load_weights(weights)
        definition, scale = facts["jet_definition"], facts["pixel_scale"]
        standardised, oriented = facts["standardised_mass"] == "True", facts["oriented"] == "True"
        mean, std = float(facts["mass_mean"]), float(facts["mass_std"])
        if definition not in JET_DEFINITIONS or scale not in PIXEL_SCALES:
            raise ValueError(f"of {definition} jets on a {scale} scale")
        if not (math.isfinite(mean) and 0 < std < math.inf):
            raise ValueError(f"mass mean {mean}, standard deviation {std}")
    except (ValueError, KeyError) as error:
        raise InputError(f"{weights}: no weights of a network ({error}); fetch it again") from None
    jets = jets_of(events, definition, int(facts["pixels"]), mean, std, oriented)
    images = JetImages(jets, scale, standardised, device)
    logits = logits_of(network.to(device), images, title).astype(float)
    probability = expit(logits[:, 1] - logits[:, 0])
    return jets.jets, np.where(jets.images.counts() > 0, probability, MISSING_SCORE)


def table_of(path: Path) -> Path:
    """Where the tags of a file lie: no two files share a place, whatever folders they are in."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - a link is another file
    name = f"{path.parent.name}_{path.stem}"
    is_of_sample = path.suffix == ".h5" and parsed(path.stem)
    if not (is_of_sample and path.parent.parent == Path(__file__).parent / "train_data"):
        name += f"_{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    return Path("Data/tags") / f"{name}.csv"


def main() -> None:
    """Parse options, tag, write, say what was found."""
    parser = parser_of(__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="of collisions")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="(default: ours)")
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    options = parser.parse_args()
    device = choose_device(options.device)
    for path in options.files:
        events = read_events(path)
        jets, probability = tag(events, options.weights, path.name, device)
        n_jets = events.observables["n_jets"][jets["event"]].tolist()
        columns = [*COLUMNS, "n_jets", "probability"]
        rows = [
            dict(zip(columns, [*(f"{value:.6g}" for value in row), n, f"{p:.6f}"], strict=True))
            for row, n, p in zip(jets[list(COLUMNS)].tolist(), n_jets, probability, strict=True)
        ]
        output = table_of(path)
        write_csv(output, rows, columns)
        if not rows:
            print(f"{path}: no jet in {len(events)} events")
        near = jets["delta_r"] < MATCHING_RADIUS
        for what, of_kind in (("near a true neutralino", near), ("elsewhere", ~near)):
            if of_kind.any():
                median = np.median(probability[of_kind])
                print(f"{path}: {of_kind.sum()} jets {what}: median probability {median:.3f}")
        print(f"written: {output}")


if __name__ == "__main__":
    run(main)
