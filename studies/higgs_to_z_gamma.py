"""Which classifier makes H -> Z gamma significant? The case of arXiv:2401.00428.

Boosted trees, a feed-forward network and the event classifier transformer see fifteen features of
gg -> H -> Z gamma -> ll gamma and of the Z gamma continuum. The networks are trained with cross
entropy and with the extreme loss, with and without decorrelation from m(ll gamma) (DisCo) and data
scope; the epoch is the one of the largest expected significance of the validation events or, for
comparison, of their least loss. Test events decide nothing.

Reads   the sample of the study.
Writes  Data/<study>/models/: checkpoints, history and the scores of all events, of each training;
        the tables of doc/higgs_to_z_gamma.md, also as doc/results/<study>_*.csv, and
        doc/figures/higgs_to_z_gamma_*; of a study that this page does not name, in plots/<study>/.

A second run of the same command beside the first shares the trainings. What is finished is skipped.

    python simulate.py --study studies/higgs_to_z_gamma.toml
    python -m studies.higgs_to_z_gamma --study studies/higgs_to_z_gamma.toml
    python -m studies.higgs_to_z_gamma --study studies/higgs_to_z_gamma.toml --quick
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from command import run
from evaluation.pages import Rows, environment, formatted
from event_level.higgs_to_z_gamma import ZGammaTable, read
from figures import style
from figures import z_gamma as figures
from jets.split import HELD_OUT, SPLITS, TRAIN
from sensitivity.binned import equal_signal_bins
from studies.pages import options_of, publish
from studies.trainings import quick, run_all
from studies.z_gamma_results import (
    EDGES,
    KEYS,
    NONE,
    ORDER,
    Measured,
    comparisons,
    grouped,
    mass_counts,
    measured,
)
from studies.z_gamma_trainings import (
    CROSS_ENTROPY,
    EXTREME,
    LOSS,
    NETWORKS,
    SIGNIFICANCE,
    TRANSFORMER,
    TREES,
    WINDOW,
    Trained,
    Way,
    expected,
    read_trainings,
    run_training,
    sha256_of,
    trainings,
)
from study import Study, load_study
from training.learner import choose_device

PAGE = Path("doc/higgs_to_z_gamma.md")
QUICK_EVENTS = 500  # of each process
WIDE, FINE = 20, 4  # bins of the fit in one of the figures of shapes and of fits


# --- Tables -------------------------------------------------------------------------------------

HEADINGS = {  # of settings
    "network": "classifier", "loss": "loss", "decorrelation": "λ", "window": "scope [GeV]",
    "features": "features", "chosen_by": "epoch by",
}  # fmt: skip
QUANTITIES = {  # words, digits, factor
    "z": ("Z", 3, 1), "z_error": ("error, test events", 3, 1), "z_fit": ("Z of the fit", 3, 1),
    "auc": ("AUC", 4, 1), "correlation": ("10³ dCor²", 2, 1e3),
    "correlation_zero": ("if independent", 2, 1e3), "pull": ("pull", 2, 1),
    "epoch": ("epoch", 1, 1), "parameters": ("parameters", 0, 1),
    "seconds": ("training [s]", 1, 1),
}  # fmt: skip
MERITS = "z", "z_error", "z_fit", "auc", "correlation", "correlation_zero", "pull", "epoch"
COSTS = "parameters", "seconds", "z", "z_error", "z_fit"


def words_of(setting: str, value: object) -> str:
    """A value as it is printed; "" stays."""
    if setting == "window" and value != "":
        return f"±{float(value):g}" if float(value) else "all"
    is_number = setting in ("decorrelation", "features") and value != ""
    return f"{float(value):g}" if is_number else value


def printed(quantities: Sequence[str], rows: Rows) -> Rows:
    """One line for each way and choice of the epoch: mean ± standard deviation of the seeds."""
    lines = []
    for key, of_seeds in itertools.groupby(rows, lambda row: [row[name] for name in KEYS]):
        some = list(of_seeds)
        line = {HEADINGS[name]: words_of(name, x) for name, x in zip(KEYS, key, strict=True)}
        for quantity in quantities:
            words, digits, factor = QUANTITIES[quantity]
            values = [factor * float(row[quantity]) for row in some]
            spread = f" ± {np.std(values, ddof=1):.{digits}f}" if np.ptp(values) else ""
            line[words] = f"{np.mean(values):.{digits}f}{spread}"
        lines.append(line | {"seeds": len(some)})
    return lines


def printed_comparisons(rows: Rows) -> Rows:
    """One line for each pair, with whether its ordering is a statement."""
    lines = []
    names = *KEYS, "changed", "first", "second"
    for key, of_pair in itertools.groupby(rows, lambda row: [row[name] for name in names]):
        pair = dict(zip(names, key, strict=True))
        changed = pair["changed"]
        same = [name for name in KEYS if name not in (changed, "chosen_by")]
        line = {HEADINGS[name]: words_of(name, pair[name]) for name in same}
        line |= {
            side: words_of(changed, pair[of]) for side, of in (("from", "first"), ("to", "second"))
        }
        for row in of_pair:
            words, digits, factor = QUANTITIES[row["quantity"]]
            value, error = (factor * float(row[column]) for column in ("value", "error"))
            sigmas = f"{abs(float(row['deviations'])):.1f} σ"
            remark = "" if row["is_ordered"] == "True" else ", no ordering"
            shown = f" ± {error:.{digits}f} ({sigmas}{remark})" if error else " (error unknown)"
            line[f"Δ {words}"] = f"{value:+.{digits}f}{shown}"
        lines.append(line)
    return lines


def printed_bins(rows: Rows) -> Rows:
    """One line for each bin."""
    headings = "bin | S | B | window [GeV] | Z | Z of the fit | order | χ²/ndf | pull"
    line = (
        "{bin:.0f} | {signal:.1f} | {background:.0f} | {low:.1f}-{high:.1f} | {z:.3f} | {z_fit:.3f}"
        " | {order:.0f} | {chi2:.0f}/{freedom:.0f} | {pull:+.1f}"
    )
    return formatted(rows, headings, line)


def sample_rows(table: ZGammaTable) -> Rows:
    """How many events there are, and how many are expected."""
    return [
        {"process": name}
        | dict(zip(SPLITS, np.bincount(table.split[rows], minlength=3).tolist(), strict=True))
        | {"expected": f"{table.weight[rows].sum():.1f}"}
        for name, rows in (("H → Zγ", table.label == 1), ("Zγ", table.label == 0))
    ]


# --- Figures ------------------------------------------------------------------------------------


def epochs(found: Sequence[Trained], settings: Mapping[str, tuple]) -> Rows:
    """Validation loss and significance of each epoch: mean and standard deviation of the seeds.

    Args:
        settings: panel -> loss, decorrelation and window.
    """
    rows = []
    for panel, of_panel in settings.items():
        for network in NETWORKS:
            some = [
                one.history for one in found
                if one.way == Way(network, *of_panel) and one.chosen_by == LOSS
            ]  # fmt: skip
            for quantity in (LOSS, SIGNIFICANCE):
                values = np.array([[row[quantity] for row in history] for history in some])
                columns = {"panel": panel, "quantity": quantity, "network": network}
                rows += over_seeds(values, epoch=np.arange(1, values.shape[1] + 1), **columns)
    return rows


def over_seeds(values: np.ndarray, **columns: object) -> Rows:
    """Rows of the mean of values (seeds, n), and one standard deviation below and above."""
    mean = values.mean(axis=0)
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else 0 * mean
    return style.rows(columns | {"value": mean, "low": mean - spread, "high": mean + spread})


def scaling(rows: Rows) -> Rows:
    """Significance, parameters and time against the number of features."""
    found = []
    plain = [
        row for row in rows if (row["loss"], row["decorrelation"], row["window"]) == Way("")[1:4]
    ]
    for network in (TREES, *NETWORKS):
        some = [
            row for row in plain if (row["network"], row["chosen_by"]) == (network, SIGNIFICANCE)
        ]
        n = sorted({row["features"] for row in some})
        for quantity in ("z", "parameters", "seconds"):
            of_n = [[row[quantity] for row in some if row["features"] == count] for count in n]
            if np.any(of_n):  # trees have no parameters that are like those of networks
                keys = {"quantity": quantity, "network": network, "features": np.array(n)}
                found += over_seeds(np.array(of_n, float).T, **keys)
    return found


def ratios(table: ZGammaTable, study: Study, panels: Mapping[str, Trained]) -> Rows:
    """The shape of test background in each bin of a score over that of all, in wide bins."""
    events, edges, rows = expected(table, study), EDGES[::WIDE], []
    background = (table.label == 0) & (table.split == HELD_OUT)
    known = (table.label == 1) & (table.split == TRAIN)
    inclusive = mass_counts(table, events, background, edges)[0]
    for panel, one in panels.items():
        bins = equal_signal_bins(one.score[known], events[known])
        place = np.searchsorted(bins.edges, one.score, "right")
        for i in range(len(bins.edges) + 1):
            counts, error = mass_counts(table, events, background & (place == i), edges)
            scale = inclusive.sum() / max(counts.sum(), 1e-9) / np.maximum(inclusive, 1e-9)
            columns = {"ratio": scale * counts, "error": scale * error}
            mass = EDGES[WIDE // 2 :: WIDE]
            rows += style.rows({"panel": panel, "bin": i + 1, "mass": mass} | columns)
    return rows


def draw(
    table: ZGammaTable, study: Study, found: Sequence[Trained], results: Sequence[Measured],
    page: Path,
) -> None:  # fmt: skip
    """Write the four figures."""
    style.apply()
    strength, first = study.training.decorrelation, study.classifiers.seeds[0]
    full = EXTREME, strength, WINDOW
    settings = {"cross entropy": (CROSS_ENTROPY, 0.0, 0.0), "extreme, DisCo, scope": full}
    chosen = {
        "trees, cross entropy": Way(TREES),
        "transformer, cross entropy": Way(TRANSFORMER),
        "transformer, extreme, DisCo, scope": Way(TRANSFORMER, *full),
    }
    by = {one[:3]: one for one in found}
    panels = {title: by[way, first, SIGNIFICANCE] for title, way in chosen.items()}
    keys = {**Way(TRANSFORMER, *full)._asdict(), "seed": first, "chosen_by": SIGNIFICANCE}
    shown = next(one for one in results if keys.items() <= one.row.items())
    middle = EDGES[FINE // 2 :: FINE]
    spectra = []
    for row in shown.bins:
        counts, error, smooth, signal = row["spectra"].reshape(4, -1, FINE)
        columns = counts.sum(1), (error**2).sum(1) ** 0.5, smooth.sum(1), signal.sum(1)
        names = "events", "error", "background", "signal"
        spectra += style.rows(
            {"bin": row["bin"], "mass": middle} | dict(zip(names, columns, strict=True))
        )
    words = {"z": "expected significance", "parameters": "parameters", "seconds": "training [s]"}
    drawings = {
        "epochs": figures.curves(
            epochs(found, settings), "epoch",
            [({"panel": panel, "quantity": quantity},
              {"title": panel, "xlabel": "epoch", "ylabel": f"validation {quantity}"})
             for quantity in (LOSS, SIGNIFICANCE) for panel in settings], 2,
        ),
        "features": figures.curves(
            scaling([one.row for one in results]), "features",
            [({"quantity": quantity}, {"xlabel": "features", "ylabel": label})
             for quantity, label in words.items()], 3, ".",
        ),
        "shapes": figures.shapes(ratios(table, study, panels), {title: title for title in panels}),
        "fits": figures.fits(spectra, shown.bins, FINE * np.diff(EDGES)[0]),
    }  # fmt: skip
    for name, drawing in drawings.items():
        style.heading(drawing.figure)
        style.save(drawing, page.parent / f"figures/{PAGE.stem}_{name}.png")


# --- Page ---------------------------------------------------------------------------------------


def write_page(table: ZGammaTable, study: Study, found: Sequence[Trained]) -> Path:
    """Test all trainings; tables and figures go on the study's page."""
    first = study.classifiers.seeds[0]
    flat = np.zeros(len(table.mass))
    nothing = Trained(Way(NONE, ""), first, SIGNIFICANCE, 0, flat, 0, 0.0, [])
    found = sorted(found, key=lambda one: (ORDER.index(one.way[0]), *one.way[1:], *one[2:0:-1]))
    results = [
        measured(table, study, one)
        for one in tqdm([nothing, *found], "test events", unit=" trainings", disable=None)
    ]
    rows = [one.row for one in results]
    bins = [
        {name: one.row[name] for name in (*KEYS, "seed")}
        | {name: number for name, number in row.items() if name != "spectra"}
        for one in results for row in one.bins
    ]  # fmt: skip
    merits = partial(printed, MERITS)
    compared = comparisons(grouped(results))

    def put(name: str, rows: Rows, words: Callable[[Rows], Rows] = list, mark: str = "") -> Path:
        return publish(study, name, rows, words, mark, PAGE)

    put("trainings", rows, merits, "results")
    put("trainings", rows, merits, "windows")
    put("trainings", rows, partial(printed, COSTS), "costs")
    for mark in (*KEYS, "network_by_features"):
        put("comparisons", compared, printed_comparisons, mark)
    put("bins", bins, printed_bins)
    put("sample", sample_rows(table))
    put("settings", settings_rows(study, rows))
    page = put("environment", environment())
    draw(table, study, found, results, page)
    return page


def settings_rows(study: Study, rows: Rows) -> Rows:
    """How everything was trained, and how long that took."""
    asked, once = study.training, [row for row in rows if row["chosen_by"] == LOSS]
    seconds = sum(row["seconds"] for row in once)
    found = {
        "seeds of networks": len(study.classifiers.seeds), "trainings": len(once),
        "epochs": asked.epochs, "batch size": asked.batch_size,
        "learning rate": f"{asked.learning_rate:g}", "cosine schedule": asked.cosine_schedule,
        "trees": study.trees.number, "learning rate of trees": study.trees.learning_rate,
        "time of all trainings [h]": f"{seconds / 3600:.2f}",
    }  # fmt: skip
    return [{"setting": name, "value": value} for name, value in found.items()]


def main() -> None:
    """Train what is not trained, then write the page."""
    parser = options_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="few events, one seed, two epochs")
    options = parser.parse_args()
    study, device = load_study(options.study), choose_device(options.device)
    if options.quick:
        study = quick(study, QUICK_EVENTS, epochs=2)
    torch.set_num_threads(1)  # the networks are small
    table = read(study)
    sha256 = sha256_of(table)

    def train(way: Way, seed: int) -> None:
        run_training(study, way, seed, table, sha256, device)

    if run_all(trainings(study), train):
        print(f"{write_page(table, study, read_trainings(study))}: its tables and figures")


if __name__ == "__main__":
    run(main)
