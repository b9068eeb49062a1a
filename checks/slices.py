"""Are the slices of the top pairs together the inclusive process, and do they cost less?

Reads   train_data/<sample>/ of a study with slices (default: studies/tail.toml), inclusive top
        pairs of other folders (default: the demo's), and train_data/slices_control/, slices
        without early veto (how to make them: studies/slices_control.toml).
Writes  doc/results/slices_<table>.csv, and the tables in doc/validation.md between its marks.
Takes   about 5 minutes on one core.

    python -m checks.slices --inclusive train_data/demo train_data/ordering
"""

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xgboost
from scipy import stats

from checks.validation import read_files
from collisions.chunk import make_chunk
from command import InputError, parser_of, run
from evaluation.pages import Rows, formatted, markdown, show
from event_level.fits import EVENT_FEATURES
from event_level.trees import grow
from jets.content import refuse_copies
from jets.packed import OBSERVABLES
from jets.sources import Collisions, Survey
from jets.split import uniform
from physics import LUMINOSITY
from processes import Process
from processes.stop import STOP
from processes.ttbar import CROSS_SECTION, TTBAR, TTBAR_HARD, TTBAR_SOFT
from products import write_csv
from sensitivity.bootstrap import effective_count
from sensitivity.closure import compared
from sensitivity.sic import clopper_pearson
from study import Study, add_study_options, study_of

SLICES = (TTBAR_SOFT, TTBAR_HARD)
BOTH = "both"  # slices
CONTROL = Path("train_data/slices_control")
EVENTS_MIN = 2_500  # effective ones of each sample: chi2 needs some 25 in a bin of 1 %
TAIL = 1_000.0  # GeV; events with more HT are what the slices are made for
DS2 = [OBSERVABLES.index(name) for name in EVENT_FEATURES["DS2"]]
HT_ABOVE = (0.0, 700.0, TAIL)
SEED = 2024


class TopPairs(NamedTuple):
    """Fully selected top pairs.

    Attributes:
        weight: (n,) so many are expected in 137/fb.
        observables: (n, 11), columns `jets.packed.OBSERVABLES`.
        jets: structured (n, 3) `jets.packed.KINEMATICS`, the AK14 jets, pT 0 where there is none.
        random: (n,) in [0, 1).
    """

    weight: np.ndarray
    observables: np.ndarray
    jets: np.ndarray
    random: np.ndarray

    def above(self, ht: float) -> np.ndarray:
        """The weights of events with more HT, GeV."""
        return self.weight[self.observables[:, OBSERVABLES.index("HT")] > ht]


def surveys_of(process: Process, folders: Sequence[Path], study: Study) -> list[Survey]:
    """All files of a process in some folders."""
    survey, name = Collisions(study.sample_dir, study).survey, f"{process.name}_[0-9]*.h5"
    found = [survey(path) for folder in folders for path in sorted(folder.glob(name))]
    if not found:
        raise InputError(
            f"{folders[0]}: no {process.name} files, expected at least one; run simulate.py"
        )
    return found


def top_pairs(surveys: Sequence[Survey]) -> TopPairs:
    """The fully selected events of files that are parts of one sample."""
    unit = 1e3 * CROSS_SECTION * LUMINOSITY / sum(part.sum_of_weights for part in surveys)
    columns = (
        [
            column[part.fully_selected]
            for column in (
                part.events["weight"] / (part.unit_weight or 1.0) * unit,
                part.observables,
                part.jets["AK14"],
                uniform(part.events, "closure"),
            )
        ]
        for part in surveys
    )
    return joined(columns)


def joined(samples: Sequence[Sequence[np.ndarray]]) -> TopPairs:
    """The events of several samples, columns as in `TopPairs`."""
    return TopPairs(*map(np.concatenate, zip(*samples, strict=True)))


def quantities(pairs: TopPairs, trees: xgboost.Booster) -> dict[str, np.ndarray]:
    """Quantity -> values (n,) of events or (n, 3) of jets, NaN where there is no jet."""
    found = {name: pairs.observables[:, OBSERVABLES.index(name)] for name in ("HT", "MJ", "Nj")}
    found["DS2"] = trees.predict(xgboost.DMatrix(pairs.observables[:, DS2], nthread=1))
    exists = pairs.jets["pt"] > 0
    return found | {name: np.where(exists, pairs.jets[name], np.nan) for name in ("mass", "pt")}


def closure(
    sliced: TopPairs, inclusive: TopPairs, stop: Sequence[Survey], study: Study
) -> tuple[Rows, Rows]:
    """Chi2 of every quantity, and the contents of the bins.

    The trees of the DS2 score are grown on a random half of the sliced events and tested on the
    other half, whose weights are doubled.
    """
    grown_on = sliced.random < 0.5
    signal = np.concatenate([part.observables[part.fully_selected] for part in stop])
    features = np.concatenate([signal, sliced.observables[grown_on]])[:, DS2]
    weight = np.concatenate([np.ones(len(signal)), sliced.weight[grown_on]])
    trees = grow(features, np.arange(len(features)) < len(signal), weight, study, "cpu")
    tested = np.where(grown_on, 0.0, 2 * sliced.weight)
    others, found, bins = quantities(inclusive, trees), [], []
    for name, values in quantities(sliced, trees).items():
        weight = tested if name == "DS2" else sliced.weight
        row, columns = compared(values, weight, others[name], inclusive.weight)
        found.append({"quantity": name} | row)
        contents = zip(*columns.values(), strict=True)
        bins += [{"quantity": name} | dict(zip(columns, some, strict=True)) for some in contents]
    return found, bins


def yields(samples: Mapping[Process, TopPairs]) -> Rows:
    """Fully selected top pairs expected in 137/fb, and which share of the sliced ones is soft."""
    rows = []
    for ht in HT_ABOVE:
        weights = {process: pairs.above(ht) for process, pairs in samples.items()}
        sliced, inclusive = np.concatenate([weights[one] for one in SLICES]), weights[TTBAR]
        (value, other), (error, other_error) = zip(*map(total, (sliced, inclusive)), strict=True)
        ratio, relative = value / other, math.hypot(error / value, other_error / other)
        row = {"ht_above": ht, "sliced": value, "sliced_error": error}
        row |= {"inclusive": other, "inclusive_error": other_error}
        row |= {"ratio": ratio, "ratio_error": ratio * relative}
        rows.append(row | {"soft_share": total(weights[TTBAR_SOFT])[0] / value})
    return rows


def total(weight: np.ndarray) -> tuple[float, float]:
    """The sum of weights and its statistical error."""
    return float(weight.sum()), float(np.sqrt(np.sum(weight**2)))


def loss(weight: np.ndarray, is_lost: np.ndarray) -> dict[str, float]:
    """The share of weight (n,) that is lost, with the 68 % interval for the effective number."""
    share = weight[is_lost].sum() / weight.sum()
    effective = effective_count(weight.sum(), weight @ weight)
    low, high = clopper_pearson(share * effective, effective)
    return {"loss": float(share), "low": float(low), "high": float(high)}


def without_veto(process: Process, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each fully selected event (n,) of a slice made without its early veto.

    Returns:
        Its weight over those of all begun, its HT, and whether the veto would have taken it.
    """
    parts = read_files(folder, process.name)
    if any(part.attributes["early_veto"] for part in parts):
        raise InputError(f"{folder}: made with the early veto; see studies/slices_control.toml")
    begun = sum(part.sum_of_weights for part in parts)
    selected = [part.take(part.fully_selected) for part in parts]
    return (
        np.concatenate([part.generator_weight for part in selected]) / begun,
        np.concatenate([part.observables["ht"] for part in selected]),
        np.concatenate([part.veto_score < process.veto_below for part in selected]),
    )


def veto_loss(folder: Path) -> Rows:
    """What the early vetoes would have taken from slices made without them."""
    control = {process.name: without_veto(process, folder) for process in SLICES}
    control[BOTH] = tuple(map(np.concatenate, zip(*control.values(), strict=True)))
    rows = []
    for (name, (weight, ht, is_lost)), floor in itertools.product(control.items(), HT_ABOVE):
        inside = ht > floor
        if inside.any():
            row = {"slice": name, "ht_above": floor, "selected": int(inside.sum())}
            row["lost"] = int(is_lost[inside].sum())
            rows.append(row | loss(weight[inside], is_lost[inside]))
    return rows


def core_seconds(rounds: int = 4) -> dict[Process, tuple[float, float]]:
    """Core time of a try and its error; of whole chunks in turn, the start of Pythia included."""
    seconds: dict[Process, list[float]] = {process: [] for process in (TTBAR, *SLICES)}
    for number, process in itertools.product(range(rounds), seconds):
        start = time.process_time()
        make_chunk(process, (), process.tries, SEED + number, loose_share=0.0, turn=number)
        seconds[process].append((time.process_time() - start) / process.tries)
    return {one: (float(np.mean(some)), float(stats.sem(some))) for one, some in seconds.items()}


def speed(
    samples: Mapping[Process, TopPairs],
    tries: Mapping[Process, float],
    seconds: Mapping[Process, tuple[float, float]],
) -> Rows:
    """Core-seconds of an effective event in the tail, and how many times faster than `ttbar`.

    Args:
        tries: behind each sample; both slices together have the study's ratio of tries.
        seconds: of a try, as `core_seconds` finds them; the events are those of the samples,
            because the timed chunks have too few.
    """
    rows: list[dict] = []
    for name, processes in {"ttbar": (TTBAR,), "ttbar_hard": (TTBAR_HARD,), BOTH: SLICES}.items():
        weight = np.concatenate([samples[process].above(TAIL) for process in processes])
        effective = float(effective_count(weight.sum(), weight @ weight))
        # Of (sum w)^2 / sum w^2, where each event is there a Poisson number of times.
        relative = np.linalg.norm(2 * weight / weight.sum() - weight**2 / (weight @ weight))
        begun = sum(tries[one] for one in processes)
        spent = sum(tries[one] * seconds[one][0] for one in processes)
        spent_error = math.hypot(*(tries[one] * seconds[one][1] for one in processes))
        relative = math.hypot(relative, spent_error / spent)
        row = {"process": name, "tries": begun, "selected": len(weight), "effective": effective}
        row |= {"ms_per_try": 1e3 * spent / begun, "ms_error": 1e3 * spent_error / begun}
        row |= {"seconds": spent / effective, "seconds_error": spent / effective * relative}
        first = rows[0] if rows else row
        gain = first["seconds"] / row["seconds"]
        error = gain * math.hypot(relative, first["seconds_error"] / first["seconds"])
        rows.append(row | {"gain": gain, "gain_error": error if rows else 0.0})
    return rows


# Table -> headings, and the cells of a line.
LINES = {
    "closure": (
        "quantity | χ² | bins | χ² / bins | p-value | last bin above",
        "{quantity} | {chi2:.1f} | {bins:.0f} | {chi2_per_bin:.2f} | {p_value:.2g} | "
        "{last_above:.5g}",
    ),
    "yields": (
        "HT above [GeV] | sliced | inclusive | ratio | of the soft slice",
        "{ht_above:g} | {sliced:,.0f} ± {sliced_error:,.0f} | {inclusive:,.0f} ± "
        "{inclusive_error:,.0f} | {ratio:.3f} ± {ratio_error:.3f} | {soft_share:.1%}",
    ),
    "veto_loss": (
        "slice | HT above [GeV] | selected | lost | loss of weight | 68 % interval",
        "{slice} | {ht_above:g} | {selected:.0f} | {lost:.0f} | {loss:.2%} | "
        "{low:.2%} – {high:.2%}",
    ),
    "speed": (
        "process | tries | core time of a try [ms] | selected with HT > 1 TeV | effective | "
        "core-seconds per effective event | gain",
        "{process} | {tries:,.0f} | {ms_per_try:.3f} ± {ms_error:.3f} | {selected:,.0f} | "
        "{effective:,.0f} | {seconds:.2f} ± {seconds_error:.2f} | {gain:.2f} ± {gain_error:.2f}",
    ),
}


def main() -> None:
    """Make all tables: as CSV, in doc/validation.md between their marks, and on the screen."""
    parser = parser_of(__doc__)
    add_study_options(parser, default="studies/tail.toml")
    parser.add_argument(
        "--inclusive",
        nargs="+",
        type=Path,
        default=[Path("train_data/demo")],
        metavar="FOLDER",
        help="with ttbar_<index>.h5 (default: train_data/demo)",
    )
    options = parser.parse_args()
    study = study_of(options)
    folders = {one: [study.sample_dir] for one in (*SLICES, STOP)} | {TTBAR: options.inclusive}
    surveys = {process: surveys_of(process, some, study) for process, some in folders.items()}
    refuse_copies(
        (path, survey.events["row"], hashes)
        for survey in itertools.chain(*surveys.values())
        for path, hashes in survey.content.items()
    )
    stop = surveys.pop(STOP)
    samples = {process: top_pairs(some) for process, some in surveys.items()}
    tries = {process: sum(one.sum_of_weights for one in some) for process, some in surveys.items()}
    sliced, inclusive = joined([samples[process] for process in SLICES]), samples[TTBAR]
    for process, pairs in ((TTBAR, inclusive), (TTBAR_SOFT, sliced)):
        n = effective_count(pairs.weight.sum(), pairs.weight @ pairs.weight)
        if n < EVENTS_MIN:
            raise InputError(
                f"{folders[process][0]}: {n:.0f} effective fully selected top pairs, expected "
                f"{EVENTS_MIN} or more; simulate more, or name more folders with --inclusive"
            )
    closed, bins = closure(sliced, inclusive, stop, study)
    write_csv(Path("doc/results/slices_bins.csv"), bins)
    tables = {
        "closure": lambda: closed,
        "yields": lambda: yields(samples),
        "veto_loss": lambda: veto_loss(CONTROL),
        "speed": lambda: speed(samples, tries, core_seconds()),
    }
    for name, table in tables.items():
        rows = table()
        write_csv(Path(f"doc/results/slices_{name}.csv"), rows)
        shown = formatted(rows, *LINES[name])
        show(Path("doc/validation.md"), f"slices_{name}", shown)
        print(f"\n{name}\n{markdown(shown)}", flush=True)


if __name__ == "__main__":
    run(main)
