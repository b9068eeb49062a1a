"""Does ReMOVE tell a good erasure from a bad one? Toys and jets whose truth is known.

*Toys*: scenes of a texture with one disc. What was there without the disc is known, so every way to
erase it is known to be good or bad. *Jets*: a background jet gets the hardest subjet of a signal
jet, and that is erased again; the jet that never had it is the truth. For doc/attributions.md.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import timm
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional

from attribution.deposits import mean_of
from attribution.erasure import erased, measured, pixel_masses, regions, subjets
from attribution.remove import read_encoder, score
from attribution.subject import Subject
from evaluation.pages import Rows
from evaluation.table import ends
from jets.images import SparseImages, concatenate, sum_deposits
from jets.ragged import events_of
from jets.split import HELD_OUT
from sensitivity.auc import auc
from sensitivity.bootstrap import Estimate
from training.jet_images import read_split

SIDE = 224  # pixels of a scene
ENCODER = "samvit_base_patch16_224"  # with random weights, unless there are others
TRUTH = "never there"
NEVER, ADDED, ZEROS, BACKGROUND = "never had it", "not erased", "zeros", "background"


class Colours(nn.Module):
    """Features that need no training: mean and deviation of each colour in patches of 16 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Identity()
        self.patch_embed.img_size = (SIDE, SIDE)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, p, p) to (n, 6, p / 16, p / 16)."""
        mean, square = (functional.avg_pool2d(x, 16) for x in (images, images**2))
        return torch.cat([mean, (square - mean**2).clamp_min(0).sqrt()], dim=1)


# --- Toys -----------------------------------------------------------------------------------------


def texture(random: np.random.Generator, colour: np.ndarray, grain: float) -> np.ndarray:
    """A scene (p, p, 3), 0 to 255: clouds of some grain, in pixels, about a colour."""
    noise = gaussian_filter(random.normal(size=(SIDE, SIDE)), grain)
    return np.clip(colour + 40 * (noise / noise.std())[..., None], 0, 255)


def scenes(seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The mask (p, p) of a disc, and the scene after each way to erase it.

    `camouflage` and `two halves` are what the score is bound to get wrong: a disc of the scene's
    own texture that nobody erased, and a scene that never had a disc, but two textures.
    """
    random = np.random.default_rng(seed)
    colour, other, third = random.uniform(60, 195, (3, 3))
    grain = random.uniform(1, 4)
    centre, radius = random.uniform(0.35, 0.65, 2) * SIDE, random.uniform(0.15, 0.25) * SIDE
    row, column = np.indices((SIDE, SIDE))
    inside = np.hypot(row - centre[0], column - centre[1]) < radius
    before = texture(random, colour, grain)
    thing, another = (texture(random, c, 3 * grain) for c in (other, third))
    again = texture(random, colour, grain)
    fills = {
        TRUTH: before, "same texture": again, "not erased": thing, "replaced": another,
        "black": np.zeros_like(before), "blurred": np.broadcast_to(colour, before.shape),
        "camouflage": again,
    }  # fmt: skip
    made = {name: np.where(inside[..., None], fill, before) for name, fill in fills.items()}
    half = column[..., None] < centre[1]
    made["two halves"] = np.where(half, before, another)
    return np.where(inside, 255, 0).astype(np.uint8), made


def encoders(weights: Path | None) -> dict[str, nn.Module]:
    """Those that score scenes: SAM's if there are weights of its ViT-B."""
    torch.manual_seed(0)
    found = {
        "colours": Colours(),
        "SAM's layers, random": timm.create_model(ENCODER, num_classes=0),
    }
    if weights:
        found["SAM"] = read_encoder("samvit_base_patch16", weights)
    return found


def toys(n: int, made: Mapping[str, nn.Module]) -> Rows:
    """Mean scores of n scenes of each way, by encoder; and how probably a scene that never had the
    disc scores higher than one of this way, both of another draw."""
    rows = []
    for name, encoder in made.items():
        found: dict[str, list[float]] = {}
        for seed in range(n):
            mask, images = scenes(seed)
            for way, image in images.items():
                found.setdefault(way, []).append(score(image, mask, encoder, crop=True))
        for way, values in found.items():
            numbers = {"score": mean_of(np.array(values))}
            if way != TRUTH:
                numbers["below the truth"] = auc(found[TRUTH], values)
            rows += [
                {"encoder": name, "way": way, "quantity": quantity, **ends(x), "n": n}
                for quantity, x in numbers.items()
            ]
    return rows


# --- Jets -----------------------------------------------------------------------------------------


def jets_with_a_prong(subject: Subject, n: int) -> Rows:
    """n background jets that get the hardest subjet of a signal jet, which is erased again: mean
    score, distance of the logit from that of the jet that never had it, and how probably that jet
    scores higher."""
    packed = read_split(subject.study, subject.training.jet_definition, HELD_OUT)
    random = np.random.default_rng(0)
    signal = np.flatnonzero(packed.jets["classified"] & (packed.jets["label"] == 1))
    background = random.permutation(subject.background)
    n = min(n, len(signal), len(background) // 2)
    given, without, fill = random.permutation(signal)[:n], background[:n], background[-n:]
    given, jets, fill = packed.take(given), packed.take(without), packed.images.take(fill)
    parts = subjets(given.images, given.side, given.jet_definition)
    kept = np.flatnonzero(np.isfinite(parts.x[:, 0]))
    prongs = hardest(given.images, parts.of_pixel)
    given, jets, fill, prongs = (x.take(kept) for x in (given, jets, fill, prongs))
    region = regions(parts.x[kept, 0], parts.y[kept, 0], jets.side, jets.jet_definition)
    added = summed(jets.images, prongs)
    images = {
        NEVER: jets.images, ADDED: added, ZEROS: erased(added, region),
        BACKGROUND: erased(added, region, fill),
    }  # fmt: skip
    found = {name: measured(subject, jets, x, region) for name, x in images.items()}
    truth, rows = found[NEVER], []
    for name, columns in found.items():
        known = np.isfinite(columns["ReMOVE"]) & np.isfinite(truth["ReMOVE"])
        away = np.abs(columns["logit, new mass"] - truth["logit"])
        numbers = {"ReMOVE": mean_of(columns["ReMOVE"]), "logit from the truth": mean_of(away)}
        mass = pixel_masses(images[name], jets.side, jets.jet_definition)
        numbers["mass of the pixels [GeV]"] = mean_of(mass)
        if name != NEVER:
            numbers["below the truth"] = auc(truth["ReMOVE"][known], columns["ReMOVE"][known])
            rho = spearmanr(columns["ReMOVE"][known], away[known]).statistic
            error = 1 / np.sqrt(max(known.sum() - 3, 1))  # Fisher's, of a small correlation
            numbers["rank correlation of ReMOVE and distance"] = Estimate(float(rho), float(error))
        rows += [
            {"network": subject.training.network, "jets": name, "quantity": quantity, **ends(x),
             "n": len(jets)}
            for quantity, x in numbers.items()
        ]  # fmt: skip
    return rows


def hardest(images: SparseImages, of_pixel: np.ndarray) -> SparseImages:
    """The pixels of the first subjet alone."""
    chosen = of_pixel == 0
    place = events_of(images.offsets)[chosen]
    return sum_deposits(place, images.pixels[chosen], images.values[chosen], len(images))


def summed(first: SparseImages, second: SparseImages) -> SparseImages:
    """Two images on top of each other, n times."""
    both = concatenate([first, second])
    place = events_of(both.offsets) % len(first)
    return sum_deposits(place, both.pixels, both.values, len(first))
