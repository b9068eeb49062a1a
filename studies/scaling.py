"""A network against the number of its training jets, and a power law (see arXiv:1712.00409).

Its loss is that of the validation jets of the study with the most jets, which are like the training
jets; AUC and background rejection also of jets of held-out events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import curve_fit

from evaluation.pages import Rows
from evaluation.results import Classifiers
from evaluation.table import cell, ends, pivot
from jets.packed import OBSERVABLES, PackedJets, read_event_table
from jets.scores import log_odds
from jets.split import HELD_OUT, IDENTITY, TRAIN, VALIDATION, relative_weights
from sensitivity.bootstrap import (
    Estimate,
    Scores,
    effective_count,
    mean_of_seeds,
    poisson_counts,
)
from sensitivity.reweighting import spectrum_weights
from study import Study
from training.jet_images import JetImages, read_split
from training.scoring import signal_probability, trained_seeds

PUBLISHED_JETS = 6e6  # the paper trains on 3,480 jets of each of 861 mass points and as many others
SIZES_MIN = 5  # of a law, which has three parameters
NAMES, BOUNDS = ("floor", "amplitude", "power"), ((0.0, 0.0, 0.1), (1.0, 10.0, 3.0))
LOSS = "loss, validation"
Key = tuple[int, int]  # the number of training jets, and the seed of a training


def read_scores(
    sizes: Sequence[Study], jet_definition: str, network: str, ht_min: float, device: torch.device
) -> tuple[dict[int, Classifiers], dict[int, float]]:
    """A network of all sizes and seeds that are trained, at the signal's spectrum of jet pT.

    Args:
        sizes: studies that differ in the number of training jets; the last one has the most.
        ht_min: GeV, of the held-out events.

    Returns:
        Split, validation or held out -> the scores of its jets by `Key`; the number of training
        jets -> how many the background counts as at the signal's spectrum.
    """
    *_, largest = sizes
    table = read_event_table(largest.data_dir / "events.h5")
    ht = table.observables[:, OBSERVABLES.index("HT")]
    weight = relative_weights(table.events)
    tested: dict[int, PackedJets] = {}
    for split in (VALIDATION, HELD_OUT):
        jets = read_split(largest, jet_definition, split)
        is_hard = ht[jets.jets["event"]] >= ht_min
        tested[split] = jets.take(
            np.flatnonzero(jets.jets["classified"] & (is_hard | (split == VALIDATION)))
        )
    identities = table.events[list(IDENTITY)]
    scores: dict[int, dict[Key, np.ndarray]] = {split: {} for split in tested}
    effective = {}
    for study in sizes:
        trained = trained_seeds(study, jet_definition, network)
        if not trained:
            continue
        own = read_split(study, jet_definition, TRAIN)
        events = read_event_table(study.data_dir / "events.h5").events
        assert np.array_equal(events[list(IDENTITY)], identities), "the same events"
        effective[len(own)] = effective_background(own.jets, relative_weights(events))
        for split, jets in tested.items():
            assert not np.isin(jets.jets["event"], own.jets["event"]).any(), "other events"
            seen = replace(jets, mass_mean=own.mass_mean, mass_std=own.mass_std)
            asked = study.training
            images = JetImages(seen, asked.pixel_scale, asked.standardised_mass, device)
            for one in trained:
                score = signal_probability(one, study, images)
                scores[split][len(own), one.training.seed] = score
    return {
        split: on_jets(largest, jets.jets, scores[split], weight) for split, jets in tested.items()
    }, effective


def on_jets(
    study: Study, jets: np.ndarray, scores: Mapping[Key, np.ndarray], weight: np.ndarray
) -> Classifiers:
    """Scores (n,) of jets, structured (n,), at the signal's spectrum of pT; weights of events."""
    of_jet, least = weight[jets["event"]], study.figures.background_jets_min
    spectra, is_signal = {"pt": jets["pt"]}, jets["label"] == 1
    found = Classifiers(study, least, scores, jets["event"], is_signal, spectra, of_jet)
    return found.reweighted("pt")


def effective_background(jets: np.ndarray, weight: np.ndarray) -> float:
    """Of the background among jets to train on, at the signal's spectrum of pT."""
    is_signal, of_jet = jets["label"] == 1, weight[jets["event"]]
    signal, background = (
        Scores(jets["pt"][rows], weight=of_jet[rows]) for rows in (is_signal, ~is_signal)
    )
    of_background = background.weight * spectrum_weights(signal, background)
    return float(effective_count(of_background.sum(), (of_background**2).sum()))


def measure(found: Mapping[int, Classifiers], effective: Mapping[int, float]) -> Rows:
    """Figures of merit of each training, and the paired differences of AUC to the most jets."""
    rows = []
    for split, where in ((VALIDATION, ", validation"), (HELD_OUT, "")):
        classifiers = found[split]
        keys, aucs = list(classifiers.score), classifiers.aucs
        for i, (n, seed) in enumerate(keys):
            numbers = {f"AUC{where}": aucs[i]}
            if split == VALIDATION:
                numbers |= {LOSS: loss(classifiers, (n, seed))[0]}
            else:
                point = classifiers.sic_at((n, seed))
                sic = np.array([point.value, point.low, point.high])
                numbers |= {"1 / eps_B": (sic / point.signal_efficiency) ** 2}
            rows += [_row(n, seed, effective, name, x) for name, x in numbers.items()]
        of_size = {n: [i for i, key in enumerate(keys) if key[0] == n] for n, _ in keys}
        most = max(of_size)
        all_jets = of_size[most]
        rows += [
            _row(
                n, "", effective, f"AUC difference{where}", aucs.difference_of_means(some, all_jets)
            )
            for n, some in of_size.items()
            if n != most
        ]
    return rows


def _row(
    n: int, seed: int | str, effective: Mapping[int, float], quantity: str, number: object
) -> dict[str, object]:
    known = {"training_jets": n, "effective_background": round(effective[n]), "seed": seed}
    return known | {"quantity": quantity, **ends(number)}


def loss(classifiers: Classifiers, one: object) -> tuple[Estimate, np.ndarray]:
    """Cross entropy of classes of equal weight with the error of the test events, and its values
    (bootstraps,) in resamplings that are the same for all trainings."""
    odds = log_odds(classifiers.score[one])
    of_jet = np.logaddexp(0, np.where(classifiers.is_signal, -odds, odds))
    counts = poisson_counts(classifiers.event, classifiers.study.figures.bootstraps)

    def mean(n: np.ndarray | int) -> float:
        weight = n * classifiers.weight
        of_classes = (classifiers.is_signal, ~classifiers.is_signal)
        return float(
            np.mean([np.average(of_jet[rows], weights=weight[rows]) for rows in of_classes])
        )

    resampled = np.array([mean(n) for n in counts])
    return Estimate(mean(1), float(np.std(resampled, ddof=1))), resampled


def power_law(thousands: np.ndarray, floor: float, amplitude: float, power: float) -> np.ndarray:
    """A loss after so many thousand training jets."""
    return floor + amplitude * thousands**-power


def law_of(jets: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Floor, amplitude and power (3,) of the power law nearest to losses (sizes,), within `BOUNDS`;
    a power at its end says that these sizes do not tell it."""
    start = losses.min() - 0.01, np.ptp(losses), 0.5
    return curve_fit(power_law, jets / 1e3, losses, start, bounds=BOUNDS)[0]


def laws(classifiers: Classifiers) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The power law through the mean losses of the seeds, and those of resampled jets and seeds.

    Returns:
        Numbers of training jets (sizes,), the law (3,), and laws (bootstraps, 3); None of fewer
        than `SIZES_MIN` sizes.
    """
    groups: dict[int, list[np.ndarray]] = {}
    for one in sorted(classifiers.score):
        estimate, resampled = loss(classifiers, one)
        groups.setdefault(one[0], []).append(np.append(estimate.value, resampled))
    if len(groups) < SIZES_MIN:
        return None
    jets, random = np.array(list(groups)), np.random.default_rng(0)
    sizes = [np.array(some) for some in groups.values()]  # (seeds, 1 + bootstraps) of each
    resampled = [
        law_of(jets, np.array([random.choice(some[:, i], len(some)).mean() for some in sizes]))
        for i in range(1, sizes[0].shape[1])
    ]
    means = np.array([some[:, 0].mean() for some in sizes])
    return jets, law_of(jets, means), np.array(resampled)


def curve(
    jets: np.ndarray, law: np.ndarray, resampled: np.ndarray, most: float = PUBLISHED_JETS
) -> tuple[np.ndarray, ...]:
    """Numbers of jets (n,) up to `most`, and the loss of the law with its 68 % interval."""
    fine = np.geomspace(jets.min(), most, 100)
    each = np.array([power_law(fine / 1e3, *one) for one in resampled])
    return fine, power_law(fine / 1e3, *law), *np.quantile(each, (0.16, 0.84), axis=0)


def fitted(
    jets: np.ndarray, law: np.ndarray, resampled: np.ndarray, most: float = PUBLISHED_JETS,
    whose: str = "the paper",
) -> Rows:  # fmt: skip
    """The parameters, and the change of the loss from the most jets here to the most of others,
    with their 68 % intervals, to six decimals: a power at the end of its range has none."""
    here, there = jets.max() / 1e3, most / 1e3
    numbers = np.array(
        [[*one, power_law(there, *one) - power_law(here, *one)] for one in (law, *resampled)]
    )
    low, high = np.quantile(numbers[1:], (0.16, 0.84), axis=0)
    names = (*NAMES, f"change of the loss to the jets of {whose}")
    columns = zip(names, *(one.round(6) for one in (numbers[0], low, high)), strict=True)
    return [{"quantity": name, **ends((x, min(x, a), max(x, b)))} for name, x, a, b in columns]


def printed_scaling(rows: Rows) -> Rows:
    """One line a number of training jets, each a mean over seeds."""
    groups: dict[tuple[str, ...], list[Estimate]] = {}
    seeds: dict[str, set[str]] = {}
    for row in rows:
        value, low, high = (float(row[name]) for name in ("value", "low", "high"))
        key = (row["training_jets"], row["effective_background"], row["quantity"])
        groups.setdefault(key, []).append(Estimate(value, (high - low) / 2))
        seeds.setdefault(row["training_jets"], set()).update({row["seed"]} - {""})
    means = [
        {"jets": n, "effective": effective, "quantity": quantity, **ends(mean_of_seeds(some))}
        for (n, effective, quantity), some in groups.items()
    ]

    def line(row: dict) -> dict[str, object]:
        jets, effective = (f"{int(row[name]):,}" for name in ("jets", "effective"))
        headings = "training jets", "of background, effective", "seeds"
        return dict(zip(headings, (jets, effective, len(seeds[row["jets"]])), strict=True))

    by_size = sorted(means, key=lambda row: int(row["jets"]))
    return pivot(by_size, line, lambda row: {row["quantity"]: cell(row)})


def printed_law(rows: Rows) -> Rows:
    """One line a parameter."""
    return pivot(rows, lambda row: {"": row["quantity"]}, lambda row: {"value": cell(row)})
