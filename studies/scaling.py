"""A network against the number of its training jets, and power laws (see arXiv:1712.00409).

Loss and AUC of the laws are those of the validation jets of the study with the most jets, which are
like the training jets; AUC and background rejection also on jets of held-out events.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from scipy.optimize import curve_fit

from evaluation.pages import Rows
from evaluation.results import Classifiers
from evaluation.table import cell, ends, pivot
from jets.classifier import Classifier
from jets.packed import OBSERVABLES, PackedJets, read_event_table
from jets.split import HELD_OUT, TRAIN, VALIDATION, relative_weights
from sensitivity.bootstrap import Estimate, mean_of_seeds, poisson_counts
from study import Study
from training.jet_images import JetImages, read_split
from training.plan import Training
from training.scoring import read_trained, signal_probability

PUBLISHED_JETS = 6e6  # the paper trains on 3,480 jets of each of 861 mass points and as many others
SIZES_MIN = 5  # of a law, which has three parameters
NAMES = "floor", "amplitude", "power"
LOSS, ERROR = FITTED = ("loss, validation", "1 - AUC, validation")  # quantities that have laws


def measure(
    sizes: Sequence[Study],
    jet_definition: str,
    network: str,
    ht_min: float,
    device: torch.device,
) -> Rows:
    """A network of all sizes and seeds that are trained, at the signal's spectrum of jet pT.

    Args:
        sizes: studies that differ in the number of training jets; the last one has the most.
        ht_min: GeV, of the held-out events.
    """
    *_, largest = sizes
    table, rows = read_event_table(largest.data_dir / "events.h5"), []
    ht = table.observables[:, OBSERVABLES.index("HT")]
    weight = relative_weights(table.events)
    tested = {}
    for split in (VALIDATION, HELD_OUT):
        jets = read_split(largest, jet_definition, split)
        asked = jets.jets["classified"]
        if split == HELD_OUT:
            asked = asked & (ht[jets.jets["event"]] >= ht_min)
        tested[split] = jets.take(np.flatnonzero(asked))
    for study in sizes:
        seeds = [Training(jet_definition, network, seed) for seed in study.classifiers.seeds]
        manifests = [one.directory(study) / "manifest.json" for one in seeds]
        for training, manifest in zip(seeds, manifests, strict=True):
            if not manifest.is_file():
                continue
            own = read_split(study, jet_definition, TRAIN)
            known = {"network": network, "training_jets": len(own), "seed": training.seed}
            for split, jets in tested.items():
                assert not np.isin(jets.jets["event"], own.jets["event"]).any(), "other events"
                seen = replace(jets, mass_mean=own.mass_mean, mass_std=own.mass_std)
                scale, standardised = study.training.pixel_scale, study.training.standardised_mass
                images = JetImages(seen, scale, standardised, device)
                score = signal_probability(read_trained(manifest, study), study, images)
                found = numbers_of(largest, jets, score, weight, split)
                rows += [known | {"quantity": name, **ends(x)} for name, x in found.items()]
    return rows


def numbers_of(
    study: Study, jets: PackedJets, score: np.ndarray, weight: np.ndarray, split: int
) -> dict[str, Estimate | np.ndarray]:
    """Figures of merit of scores (n,) of the jets of one split; weights are those of all events."""
    one, found = Classifier((jets.jet_definition,)), jets.jets
    spectra = {"pt": found["pt"]}
    weighted = Classifiers(
        study,
        study.figures.background_jets_min,
        {one: score},
        found["event"],
        found["label"] == 1,
        spectra,
        weight[found["event"]],
    ).reweighted("pt")
    area = weighted.aucs[0]
    if split == VALIDATION:
        return {LOSS: loss(weighted, one), ERROR: Estimate(1 - area.value, area.error)}
    point = weighted.sic_at(one)
    sic = np.array([point.value, point.low, point.high])
    return {"AUC": area, "1 / eps_B": (sic / point.signal_efficiency) ** 2}


def loss(classifiers: Classifiers, one: Classifier) -> Estimate:
    """Cross entropy of classes of equal weight, with the error of the test events."""
    probability = np.clip(classifiers.score[one].astype(float), 1e-7, 1 - 1e-7)
    of_jet = -np.log(np.where(classifiers.is_signal, probability, 1 - probability))
    counts = poisson_counts(classifiers.event, classifiers.study.figures.bootstraps)

    def mean(n: np.ndarray | int) -> float:
        weight = n * classifiers.weight
        of_classes = (classifiers.is_signal, ~classifiers.is_signal)
        return float(
            np.mean([np.average(of_jet[rows], weights=weight[rows]) for rows in of_classes])
        )

    return Estimate(mean(1), float(np.std([mean(n) for n in counts], ddof=1)))


def power_law(thousands: np.ndarray, floor: float, amplitude: float, power: float) -> np.ndarray:
    """A loss, or what is missing of an AUC, after so many thousand training jets."""
    return floor + amplitude * thousands**-power


def laws(rows: Rows, quantity: str) -> dict[int, Callable[[np.ndarray], np.ndarray]]:
    """Seed -> the power law through its numbers, of thousands of jets; of seeds with enough sizes.

    Args:
        rows: with `seed`, `training_jets`, `quantity` and `value`.
    """
    found = {}
    for seed in sorted({row["seed"] for row in rows}):
        some = [row for row in rows if (row["seed"], row["quantity"]) == (seed, quantity)]
        n, value = (
            np.array([float(row[name]) for row in some]) for name in ("training_jets", "value")
        )
        if len(n) >= SIZES_MIN:
            start = value.min() - 0.01, np.ptp(value), 0.5
            law, _ = curve_fit(power_law, n / 1e3, value, start, bounds=(0, (1, 10, 3)))
            found[seed] = partial(power_law, **dict(zip(NAMES, law, strict=True)))
    return found


def fitted(rows: Rows) -> Rows:
    """The mean parameters of `laws`, and what they give for the paper's jets.

    The errors are those of the mean over seeds: all have the same test jets.
    """
    found = []
    for quantity in FITTED:
        some = laws(rows, quantity).values()
        if len(some) < 2:
            continue
        each = np.array([[*law.keywords.values(), law(PUBLISHED_JETS / 1e3)] for law in some]).T
        for name, values in zip((*NAMES, "with the jets of the paper"), each, strict=True):
            number = Estimate(values.mean(), values.std(ddof=1) / len(values) ** 0.5)
            found.append({"quantity": quantity, "parameter": name, **ends(number)})
    return found


def printed_scaling(rows: Rows) -> Rows:
    """One line a number of training jets, each a mean over seeds."""
    groups: dict[tuple[str, str], list[Estimate]] = {}
    for row in rows:
        value, low, high = (float(row[name]) for name in ("value", "low", "high"))
        some = groups.setdefault((row["training_jets"], row["quantity"]), [])
        some.append(Estimate(value, (high - low) / 2))
    means = [
        {"training_jets": n, "quantity": quantity, "trainings": len(some)}
        | ends(mean_of_seeds(some))
        for (n, quantity), some in groups.items()
    ]
    return pivot(
        means,
        lambda row: {"training jets": f"{int(row['training_jets']):,}", "seeds": row["trainings"]},
        lambda row: {row["quantity"]: cell(row)},
    )


def printed_law(rows: Rows) -> Rows:
    """One line a parameter, one column a quantity."""
    return pivot(rows, lambda row: {"": row["parameter"]}, lambda row: {row["quantity"]: cell(row)})
