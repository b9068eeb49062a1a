"""Takes a prong out of a jet image, fills the hole, and says what that changes.

Exclusive kT makes three subjets of the pixels (arXiv:hep-ph/9305266; FastJet, arXiv:1111.6097).
What lies within `RADIUS` of the axis of one is erased in all channels, and stays empty or gets what
a background jet has there. The mass that the network sees stays, or becomes that of what is left.
The *control* erases as large a region right beside it, in a random direction. A drop of the score
that the control has too, or that comes with a low ReMOVE score, may be an artefact of the hole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from attribution.averages import Explained
from attribution.deposits import mean_of
from attribution.remove import jet_features, remove
from attribution.subject import Subject
from command import InputError
from evaluation.table import cell, ends, pivot
from jets.images import SparseImages, centres, sum_deposits
from jets.packed import PackedJets
from jets.ragged import events_of
from jets.split import HELD_OUT
from training.jet_images import JetImages, read_split
from training.loop import logits_of
from training.plan import Training

SUBJETS = 3
RADIUS = 0.4
NAMES = "first", "second", "third"  # subjets, by falling pT
HIGHEST = "highest"  # the one of highest attribution


@dataclass(frozen=True)
class Subjets:
    """Exclusive kT subjets of n images, falling in pT.

    Attributes:
        x, y: (n, 3) of their axes, from the jet axis; NaN of an image with fewer pixels.
        of_pixel: (m,) which one each pixel of the images is in; -1 in none.
    """

    x: np.ndarray
    y: np.ndarray
    of_pixel: np.ndarray


def subjets(images: SparseImages, side: int, jet_definition: str) -> Subjets:
    """Of images in GeV, each pixel of each channel a massless particle in the middle of it."""
    from collisions.clustering import exclusive_kt  # FastJet, which nothing else here needs

    x, y = _places(images, side, jet_definition)
    of_pixel = exclusive_kt(images.values, x, y, images.offsets, SUBJETS)
    known, shape = of_pixel >= 0, (len(images), SUBJETS)
    place = (SUBJETS * events_of(images.offsets) + of_pixel)[known]
    total, *sums = (
        np.bincount(place, (images.values * one)[known], np.prod(shape)).reshape(shape)
        for one in (1.0, x, y)
    )
    axes = [np.divide(one, total, out=np.full(shape, np.nan), where=total > 0) for one in sums]
    return Subjets(*axes, of_pixel)


def regions(x: np.ndarray, y: np.ndarray, side: int, jet_definition: str) -> np.ndarray:
    """The pixels (n, side, side) within `RADIUS` of points (n,)."""
    across, upwards = centres(side, jet_definition)
    return np.hypot(across - x[:, None, None], upwards - y[:, None, None]) < RADIUS


def beside(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Points (2, n) whose regions touch those of others (n,), in random directions."""
    direction = random.uniform(0, 2 * np.pi, len(x))
    return np.array([x, y]) + 2 * RADIUS * np.array([np.cos(direction), np.sin(direction)])


def erased(
    images: SparseImages, region: np.ndarray, fill: SparseImages | None = None
) -> SparseImages:
    """Images without what lies in regions (n, p, p), and with what other images have there."""
    side = region.shape[1]

    def inside(some: SparseImages) -> np.ndarray:
        return region.reshape(len(region), -1)[events_of(some.offsets), some.pixels % side**2]

    parts = [(images, ~inside(images)), *([] if fill is None else [(fill, inside(fill))])]
    columns = (
        np.concatenate([column(some)[chosen] for some, chosen in parts])
        for column in (lambda x: events_of(x.offsets), lambda x: x.pixels, lambda x: x.values)
    )
    return sum_deposits(*columns, len(images))


def pixel_masses(images: SparseImages, side: int, jet_definition: str) -> np.ndarray:
    """The mass (n,) in GeV of all pixels, as massless particles."""
    x, y = _places(images, side, jet_definition)
    parts = np.stack([np.cosh(x), np.cos(y), np.sin(y), np.sinh(x)]) * images.values
    energy, *momentum = (
        np.bincount(events_of(images.offsets), part, len(images)) for part in parts
    )
    return np.sqrt(np.maximum(energy**2 - sum(p**2 for p in momentum), 0))


def sums(images: SparseImages) -> np.ndarray:
    """The sum (n,) of all pixels."""
    return np.bincount(events_of(images.offsets), images.values, len(images))


def _places(images: SparseImages, side: int, jet_definition: str) -> tuple[np.ndarray, np.ndarray]:
    return tuple(one.ravel()[images.pixels % side**2] for one in centres(side, jet_definition))


def measured(
    subject: Subject, jets: PackedJets, images: SparseImages, region: np.ndarray
) -> dict[str, np.ndarray]:
    """What the network makes of other images of n jets: `logit`, with the mass of the jets; `logit,
    new mass`, with theirs; and `ReMOVE` of regions (n, p, p), (n,) each."""
    asked, device, mask = subject.study.training, subject.inputs.device, torch.from_numpy(region)
    before, after = (pixel_masses(x, jets.side, jets.jet_definition) for x in (jets.images, images))
    lighter = jets.jets.copy()
    lighter["mass"] *= np.divide(after, before, out=np.ones(len(after)), where=before > 0)
    found, scores = {}, []
    for name, table in {"logit": jets.jets, "logit, new mass": lighter}.items():
        changed = replace(jets, jets=table, images=images)
        inputs = JetImages(changed, asked.pixel_scale, asked.standardised_mass, device)
        logits = logits_of(subject.network, inputs, name).astype(float)
        found[name] = logits[:, 1] - logits[:, 0]
    sizes = np.minimum(inputs.at_once, len(jets) - np.arange(0, len(jets), inputs.at_once))
    for rows, x in inputs.batches(np.arange(len(jets)), sizes):
        cells = jet_features(subject.network, x["images"])
        inside = cells.inside(mask[rows.cpu()])
        scores.append(remove(cells.features.cpu(), inside, ~inside))
    return found | {"ReMOVE": torch.cat(scores).numpy().astype(float)}


def chosen_subjet(
    found: Subjets, which: str, attribution: np.ndarray, images: SparseImages
) -> np.ndarray:
    """The number (n,) of a subjet of each jet: the one named, of `NAMES` by falling pT, or that of
    `HIGHEST` attribution.

    Args:
        attribution: (n, 3, p, p) of the jets.
    """
    n, jet = len(images), events_of(images.offsets)
    if which != HIGHEST:
        return np.full(n, NAMES.index(which))
    known = found.of_pixel >= 0
    of_pixel = attribution.reshape(n, -1)[jet, images.pixels]
    sums = np.bincount((SUBJETS * jet + found.of_pixel)[known], of_pixel[known], SUBJETS * n)
    return np.argmax(sums.reshape(n, SUBJETS), axis=1)


def require_images(training: Training) -> None:
    """Refuse a network without the input that is erased."""
    if training.input != "jet image":
        raise InputError(
            f"--erase: {training.network} sees no image of one jet but {training.input}, expected "
            "a network that does, such as CNN; leave the option out"
        )


def erase(subject: Subject, found: Explained, which: str) -> list[dict[str, object]]:
    """Erase a subjet of every jet that is explained, and its control.

    Returns:
        One row a jet, region and fill: change of the logit with the old and the new mass, ReMOVE,
        and the scalar sum of pT over that of the jet as it is.
        Jets with fewer than three pixels are left out.
    """
    jets = read_split(subject.study, subject.training.jet_definition, HELD_OUT)
    weight = np.maximum(subject.weight[subject.background], 0)
    random = np.random.default_rng(0)
    draw = random.choice(subject.background, len(found), p=weight / weight.sum())
    fill, jets = jets.images.take(draw), jets.take(found.rows)
    parts = subjets(jets.images, jets.side, jets.jet_definition)
    number = chosen_subjet(parts, which, found.values["images"], jets.images)
    x, y = (one[np.arange(len(jets)), number] for one in (parts.x, parts.y))
    known = np.flatnonzero(np.isfinite(x))
    jets, fill, x, y = jets.take(known), fill.take(known), x[known], y[known]
    places = {"subjet": (x, y), "control": beside(x, y, random)}
    rows, before = [], sums(jets.images)
    for name, place in places.items():
        region = regions(*place, jets.side, jets.jet_definition)
        images = {"as it is": jets.images, "zeros": erased(jets.images, region)}
        images["background"] = erased(jets.images, region, fill)
        compared = {of: measured(subject, jets, x, region) for of, x in images.items()}
        for of, columns in compared.items():
            unchanged = compared["as it is"]["logit"]
            made = {
                "class": np.where(jets.jets["label"] == 1, "signal", "background"),
                "row": found.rows[known],
                "change": columns["logit"] - unchanged,
                "change, new mass": columns["logit, new mass"] - unchanged,
                "ReMOVE": columns["ReMOVE"],
                "pT left": sums(images[of]) / before,
            }
            keys = {"region": name, "fill": of}
            rows += [
                keys | dict(zip(made, of_jet, strict=True))
                for of_jet in zip(*made.values(), strict=True)
            ]
    return rows


def means(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Mean and standard error over jets of what `erase` found, one row a number."""
    groups: dict[tuple, list[Mapping[str, object]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in ("class", "region", "fill")), []).append(row)
    found = []
    for key, of_group in groups.items():
        for quantity in ("change", "change, new mass", "ReMOVE", "pT left"):
            number = mean_of(np.array([row[quantity] for row in of_group]))
            named = dict(zip(("class", "region", "fill"), key, strict=True))
            found.append(named | {"quantity": quantity, **ends(number), "n": len(of_group)})
    return found


def printed(rows: Sequence[Mapping[str, object]]) -> list[dict[str, str]]:
    """One line a class, region and fill, one column a quantity."""

    def line(row: Mapping[str, object]) -> dict[str, str]:
        return {name: str(row[name]) for name in ("class", "region", "fill")}

    return pivot(rows, line, lambda row: {row["quantity"]: cell(row)})
