"""Classifiers of your own events: a table goes in, scores, significances and figures come out.

Trees and networks of events are trained on the features of a table, cross-fitted: an event is
scored by classifiers that were trained, and whose epoch was chosen, on other events. The expected
significance is counted in bins of equal signal; their edges, and their windows of the spectator, if
one is named, are those of events of other folds.

Reads   a table in CSV, Parquet, HDF5 or ROOT (event_level/user_table.py), one row an event: its
        process, its features, and, if there is one, its weight: the events it is expected to be.
Writes  Data/<table>/scores.csv: label, weight, fold and scores of all rows of the table, in its
        order; plots/<table>/: merits.csv and merits.txt (AUC, significance, dCor^2
        with the spectator, differences to trees), bins.csv and figures.

Processes that are neither signal nor background are scored alone. An interrupted training goes on
from its newest checkpoint in Data/<table>/event_networks/, finished work is not done again.

    python -m studies.events my_table.csv --signal higgs --background 'z*' ttbar --spectator mass
    python -m studies.events plots/demo/events.csv --signal 'stop*' --background ttbar \\
        --set event_networks.losses='["extreme"]'
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas

from command import InputError, parser_of, run
from evaluation.pages import Rows, markdown
from evaluation.table import cell, ends, pivot
from event_level import networks, trees
from event_level.user_table import NEITHER, PROCESS, WEIGHT, UserTable, read_user_table
from figures import style, user_events
from figures.z_gamma import shapes
from jets.classifier import HELD_OUT_EVENTS, Classifier, EventNetwork
from models import MODELS
from products import alone, atomic_write, fingerprints, is_finished, write_manifest, write_text
from sensitivity.auc import correlated_aucs
from sensitivity.binned import (
    BINS,
    equal_signal_bins,
    significance_of,
    significances_of,
    simulated_event,
)
from sensitivity.bootstrap import Estimate, Scores, effective_count, mean_of_seeds
from study import Study, add_study_options, study_of
from training.learner import choose_device
from training.metrics import distance_correlation_of
from training.plan import require_known

TREES = Classifier(features=("features",), trees=HELD_OUT_EVENTS)
SPECTATOR_BINS = 20  # of the figure, between these quantiles of the background
SPECTATOR_RANGE = (0.01, 0.99)


def name_of(one: Classifier) -> str:
    """What tables and figures call a classifier.

    >>> name_of(TREES), name_of(TREES._replace(event_network=EventNetwork("CNN", "extreme", 1, 0)))
    ('XGBoost', 'CNN, extreme, decorrelated 1')
    """
    return str(one.event_network or "XGBoost")


# --- Training -----------------------------------------------------------------------------------


def folds(table: UserTable, study: Study) -> np.ndarray:
    """The fold (n,) of each event: in random order, each class is shared out evenly."""
    fold = np.zeros(len(table.label), np.int64)
    random = np.random.default_rng(0)
    for label in np.unique(table.label):
        rows = random.permutation(np.flatnonzero(table.label == label))
        fold[rows] = np.arange(len(rows)) % study.trees.folds
    return fold


def cross_fitted(
    table: UserTable, fold: np.ndarray, study: Study, source: Path, device: str | None
) -> dict[Classifier, np.ndarray]:
    """Out-of-fold scores (n,) of trees, and of all networks that the study names."""
    is_signal = table.label == 1
    weight = np.zeros(len(fold))
    known = table.label != NEITHER
    weight[known] = trees.weights_to_grow_with(table.weight[known], study, source)
    given = table.features, is_signal, weight, fold
    found = {TREES: trees.cross_fit(*given, study, "cpu")}
    expected = np.array([table.weight[table.label == value].sum() for value in (0, 1)])
    train = partial(
        networks.cross_fit, study=study, device=choose_device(device), expected=expected,
        spectator=table.spectator,
    )  # fmt: skip
    asked = study.event_networks
    of_study = asked.networks, asked.losses, asked.decorrelations, asked.seeds
    for made in itertools.starmap(EventNetwork, itertools.product(*of_study)):
        one = TREES._replace(event_network=made)
        print(f"{name_of(one)}, seed {made.seed}", flush=True)
        found[one] = train(one, *given)
    return found


# --- Figures of merit ---------------------------------------------------------------------------


def places(table: UserTable, score: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The bin (n,) of every event, -1 outside its window; bins follow from other folds' signal."""
    place = np.full(len(score), -1)
    for number in np.unique(fold):
        known, tested = (table.label == 1) & (fold != number), fold == number
        mass = [None if table.spectator is None else table.spectator[r] for r in (known, tested)]
        bins = equal_signal_bins(score[known], table.weight[known], mass[0])
        place[tested] = bins.place(score[tested], mass[1])
    return place


def merits(
    table: UserTable, scores: Mapping[Classifier, np.ndarray], fold: np.ndarray, study: Study
) -> Rows:
    """AUC, expected significance and squared distance correlation, means over seeds with their
    errors, and paired differences to trees."""
    classes = [np.flatnonzero(table.label == value) for value in (1, 0)]
    bootstraps, every = study.figures.bootstraps, list(scores)
    stacked = np.stack([scores[one].astype(float) for one in every])
    aucs = correlated_aucs(
        *(Scores(stacked[:, rows], rows, table.weight[rows]) for rows in classes),
        bootstraps=bootstraps,
    )
    z = []
    for score in stacked:
        place = places(table, score, fold)
        of_classes = [Scores(score[rows], rows, table.weight[rows]) for rows in classes]
        placed = [place[rows] for rows in classes]
        z.append(significances_of(*of_classes, placed, bootstraps=bootstraps))

    found = []
    for name, rows in groups(every).items():
        numbers = {
            "AUC": mean_of_seeds([aucs[i] for i in rows]),
            "significance": mean_of_seeds([_estimate(z[i]) for i in rows]),
        }
        if table.spectator is not None:
            seen = [column[classes[1]] for column in (table.spectator, table.weight)]
            numbers["squared distance correlation"] = mean_of_seeds(
                [distance_correlation_of(stacked[i, classes[1]], *seen, classes[1]) for i in rows]
            )
        if every[rows[0]] != TREES:
            numbers["AUC difference"] = aucs.difference_of_means(rows, [0])
            numbers["significance difference"] = mean_of_seeds(
                [_estimate(z[i] - z[0]) for i in rows]
            )
        found += [
            {"classifier": name, "trainings": len(rows), "quantity": quantity} | ends(number)
            for quantity, number in numbers.items()
        ]
    return found


def groups(every: Sequence[Classifier]) -> dict[str, list[int]]:
    """Name of a classifier -> the numbers of its trainings, of all seeds."""
    found: dict[str, list[int]] = {}
    for i, one in enumerate(every):
        found.setdefault(name_of(one), []).append(i)
    return found


def _estimate(resampled: np.ndarray) -> Estimate:
    """A value, and the spread of the resamplings behind it."""
    return Estimate(float(resampled[0]), float(np.std(resampled[1:], ddof=1)))


def of_bins(
    table: UserTable, scores: Mapping[Classifier, np.ndarray], fold: np.ndarray
) -> tuple[Rows, Rows]:
    """Expected events and significance in each bin, of the first seed; and, with a spectator, its
    spectrum of the background there, relative to that of all background."""
    rows, spectra = [], []
    background = table.label == 0
    for name, (first, *_) in groups(list(scores)).items():
        score = scores[list(scores)[first]].astype(float)
        place = places(table, score, fold)
        free = places(replace(table, spectator=None), score, fold)  # whatever the spectator
        known = Scores(score[background], np.flatnonzero(background), table.weight[background])
        least = simulated_event(place[background], known, BINS)
        for i in range(BINS):
            signal, others = (
                table.weight[(place == i) & (table.label == value)] for value in (1, 0)
            )
            s, b = signal.sum(), others.sum()
            rows.append({
                "classifier": name, "bin": i + 1, "signal": s, "background": b,
                "effective_background": float(effective_count(b, (others**2).sum())),
                "significance": float(significance_of(s, max(b, least[i]))),
            })  # fmt: skip
            if table.spectator is not None:
                inside = background & (free == i)
                spectra += [{"panel": name, "bin": i + 1} | row for row in _ratios(table, inside)]
    return rows, spectra


def _ratios(table: UserTable, inside: np.ndarray) -> Rows:
    """The spectrum of the spectator of some background over that of all, both normalised."""
    background = table.label == 0
    low, high = np.quantile(table.spectator[background], SPECTATOR_RANGE)
    edges = np.linspace(low, high, SPECTATOR_BINS + 1)
    (part, squares), (whole, _) = (
        [
            np.histogram(table.spectator[rows], edges, weights=table.weight[rows] ** power)[0]
            for power in (1, 2)
        ]
        for rows in (inside, background)
    )
    scale = whole * part.sum() / whole.sum()
    is_known = (scale > 0) & (part > squares**0.5)  # two events or more
    columns = {"mass": (edges[1:] + edges[:-1]) / 2, "ratio": part, "error": squares**0.5}
    columns |= {name: columns[name] / np.where(is_known, scale, 1) for name in ("ratio", "error")}
    return style.rows({name: column[is_known] for name, column in columns.items()})


# --- What is written ----------------------------------------------------------------------------


def write_scores(
    path: Path, table: UserTable, scores: Mapping[Classifier, np.ndarray], fold: np.ndarray
) -> None:
    """One row an event, in the order of the table."""
    columns = {"process": table.process, "label": table.label, "weight": table.weight, "fold": fold}
    for one, score in scores.items():
        seed = f", seed {one.event_network.seed}" if one.event_network else ""
        columns[f"{name_of(one)}{seed}"] = score
    with atomic_write(path) as temporary:
        pandas.DataFrame(columns).to_csv(temporary, index=False, float_format="%.7g")


def printed(rows: Rows) -> str:
    """A line for each classifier."""
    line = ("classifier", "trainings")
    return markdown(
        pivot(
            rows, lambda row: {name: str(row[name]) for name in line},
            lambda row: {row["quantity"]: cell(row)},
        )
    )  # fmt: skip


def draw_all(table: UserTable, found: Rows, spectra: Rows, label: str, folder: Path) -> list[Path]:
    """Figures of the bins, and of the spectator in them."""
    style.apply()
    written = style.save(user_events.bins(found), folder / "bins.png")
    if spectra:
        titles = {row["panel"]: row["panel"].replace(", ", "\n", 1) for row in spectra}
        written += style.save(shapes(spectra, titles, label), folder / "spectator.png")
    return written


def main() -> None:
    """Read the table, train what is not trained, and write everything."""
    parser = parser_of(__doc__)
    parser.add_argument("table", type=Path, help="*.csv, *.parquet, *.h5, *.hdf5 or *.root")
    for option, what in (("--signal", "signal"), ("--background", "background")):
        parser.add_argument(
            option, nargs="+", required=True, metavar="PROCESS", help=f"names of the {what}; * fits"
        )
    parser.add_argument("--spectator", metavar="COLUMN", help="not seen; events are counted in it")
    parser.add_argument(
        "--features", nargs="+", default=[], metavar="COLUMN", help="(default: all)"
    )
    for option, column in (("--process", PROCESS), ("--weight", WEIGHT)):
        parser.add_argument(option, default=column, metavar="COLUMN", help=f"(default: {column})")
    parser.add_argument("--part", help="dataset, group or tree, where the file has several")
    parser.add_argument("--device", help="of networks (default: a GPU if there is one)")
    add_study_options(parser, default="studies/events.toml")
    options = parser.parse_args()

    path, spectator = options.table, options.spectator or ""
    study = study_of(options).changed(path.stem, event_networks={"spectator": spectator})
    of_features = [name for name, one in MODELS.items() if one.input == "event features"]
    require_known(study, "event_networks.networks", study.event_networks.networks, of_features)
    networks.require_settings(study, "name one with --spectator")
    if (study.data_dir / "setup.json").exists():
        raise InputError(
            f"{study.data_dir}: belongs to a study of that name; rename the table {path.name}"
        )
    columns = {
        name: getattr(options, name)
        for name in ("signal", "background", "process", "weight", "spectator", "features", "part")
    }
    table = read_user_table(path, **columns)
    inputs, manifest = fingerprints([path]), study.plots_dir / "events.json"
    settings = {"columns": columns} | study.settings("plots") | study.settings("fit")
    if is_finished(manifest, settings, inputs):
        print(f"{study.plots_dir} is finished already")
        return
    with alone(manifest):
        fold = folds(table, study)
        scores = cross_fitted(table, fold, study, path, options.device)
        place, folder = study.data_dir / "scores.csv", study.plots_dir
        write_scores(place, table, scores, fold)
        found = merits(table, scores, fold, study)
        counts, spectra = of_bins(table, scores, fold)
        style.write_table(folder / "merits.csv", found)
        write_text(folder / "merits.txt", f"{printed(found)}\n")
        written = [place, folder / "merits.csv", folder / "merits.txt"]
        written += draw_all(table, counts, spectra, spectator, folder)
        write_manifest(manifest, settings, inputs, written)
    print(f"{printed(found)}\nscores: {place}; tables and figures: {folder}")


if __name__ == "__main__":
    run(main)
