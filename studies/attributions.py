"""What did the networks see, from which baseline? And does ReMOVE know an honest erasure?

On the sample and trainings of doc/whole_events.md, and those of doc/higgs_to_z_gamma.md: rankings
of the features of event classifiers by each baseline, against what removal says; attributions of
image networks and of JetViT against the truth's prongs; convergence and other checks; erasures.

Reads   the samples of both studies. The trainings that are there are taken, others made.
Writes  Data/<study>/attributions/ (the attributions of jets, as explain.py does); the tables of
        doc/attributions.md, also as doc/results/attributions_*.csv, and doc/figures/attributions_*.

    python simulate.py --study studies/tail.toml
    python simulate.py --study studies/higgs_to_z_gamma.toml
    python -m studies.attributions --study studies/whole_events.toml
    python -m studies.attributions --study studies/whole_events.toml --quick
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from attribution.averages import at_steps
from attribution.baselines import BASELINES, DRAWN, Baseline
from attribution.deposits import mean_of
from attribution.erasure import HIGHEST, NAMES, erase, means
from attribution.integrated_gradients import Named
from attribution.removal import REPEATS, randomised, rank_correlation, units
from attribution.stored import stored
from attribution.subject import Subject, subject_of
from attribution.summary import FILLS, class_images, profiles, removal, summary
from command import run
from evaluation.pages import Rows, environment
from evaluation.table import cell, ends, pivot
from figures import attributions as figures
from figures import style
from physics import JET_DEFINITIONS, PIXEL_WIDTH
from products import write_text
from sensitivity.bootstrap import Estimate
from studies import trainings
from studies.erasures import encoders, jets_with_a_prong, scenes, toys
from studies.pages import call_with, options_of, page_of, publish
from studies.rankings import STOP_PAIRS, rankings, stop_pairs, z_gamma
from study import Study, load_study, to_toml
from training.learner import choose_device
from training.plan import Training
from training.scoring import read_trained

PAGE = Path("doc/attributions.md")
Z_GAMMA = "studies/higgs_to_z_gamma.toml"
DEFINITION, NETWORKS = "AK14", ("CNN", "MaxViT", "JetViT")
SHOWN = "weighted"  # where there is room for one baseline
STEPS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
BINS = 32  # along a side of mean images
MANY, SHARE_MIN = 20, 0.05  # features of a case; the share of those printed where there are more


class Sizes(NamedTuple):
    """How much is measured; of each class, where there are two."""

    jets: int = 150
    events: int = 200
    draws: int = 16
    steps: int = 64
    checked: int = 8  # jets of the convergence
    drawn: int = 64  # draws of the convergence
    randomised: int = 30
    scenes: int = 20
    with_prong: int = 1_000


QUICK = Sizes(4, 10, 2, 16, 2, 4, 3, 2, 20)
QUICK_EVENTS = 200


# --- Trainings ------------------------------------------------------------------------------------


def prepare(study: Study, device: str | None) -> None:
    """Setup, the trainings and the scores of a study, and JetViT; what is done is skipped."""
    stated = study.data_dir / "study.toml"
    write_text(stated, to_toml(study))
    first = str(study.classifiers.seeds[0])
    trained = [["train.py", DEFINITION, name, first] for name in NETWORKS]
    for command in (["setup.py"], *trained):
        call_with(stated, command, device)
    if not (study.data_dir / "scores.json").is_file():
        call_with(stated, ["train.py", "--all"], device)
        call_with(stated, ["predict_base_model_mass.py"], device)


def subjects(study: Study, n: int, device: torch.device) -> dict[str, Subject]:
    """The jet networks, with n held-out jets of each class."""
    found = {}
    for name in NETWORKS:
        training = Training(DEFINITION, name, study.classifiers.seeds[0])
        trained = read_trained(training.directory(study) / "manifest.json", study)
        found[name] = subject_of(study, trained, n, device)
    return found


# --- Checks ---------------------------------------------------------------------------------------


def convergence(subject: Subject, sizes: Sizes) -> Rows:
    """The completeness error, and the distance of attributions from the last ones, against the
    number of nodes, of one draw; and against the number of draws the distance from all."""
    name, n = subject.training.network, 2 * sizes.checked
    numbers = np.linspace(0, len(subject.rows) - 1, min(n, len(subject.rows))).astype(int)
    network, rows = subject.network, []

    def found(baseline: Baseline, steps: int) -> tuple[np.ndarray, float]:
        made = at_steps(network, subject.inputs, subject.rows, numbers, baseline, steps, "logit")
        flat = [x.reshape(len(x), -1) for x in made.values.values()]
        return np.concatenate(flat, axis=1), made.completeness_error

    def distance(values: np.ndarray, last: np.ndarray) -> Estimate:
        return mean_of(np.linalg.norm(values - last, axis=1) / np.linalg.norm(last, axis=1))

    def add(of: str, baseline: str, x: int, quantity: str, number: Estimate) -> None:
        keys = {"network": name, "against": of, "baseline": baseline, "x": x}
        rows.append(keys | {"quantity": quantity} | ends(number))

    for baseline in ("zero", "uniform"):
        of_steps = {x: found(subject.baseline(baseline, 1), x) for x in STEPS}
        last = of_steps[STEPS[-1]][0]
        for x, (values, error) in of_steps.items():
            add("steps", baseline, x, "completeness error", Estimate(error, 0.0))
            if x != STEPS[-1]:
                add("steps", baseline, x, "distance from the last", distance(values, last))
    for baseline in DRAWN:
        every = subject.baseline(baseline, sizes.drawn)
        draws = [
            found(Baseline(1, partial(_draw, every, i)), sizes.steps)[0] for i in range(sizes.drawn)
        ]
        sums, last = np.cumsum(draws, axis=0), np.mean(draws, axis=0)
        for x in 2 ** np.arange(int(np.log2(sizes.drawn))):
            number = distance(sums[x - 1] / x, last)
            add("draws", baseline, int(x), "distance from all", number)
    return rows


def _draw(every: Baseline, i: int, x: Named, numbers: np.ndarray, draw: int) -> Named:
    """The i-th draw of a baseline, as one of a single draw."""
    return every.at(x, numbers, i)


def randomisation(subject: Subject, sizes: Sizes) -> Rows:
    """Rank correlations of |attribution| with that of the same network with weights made anew."""
    study, trained, rows = subject.study, subject.training, []
    n = min(sizes.randomised, len(subject.rows) // 2)
    few = subject_of(study, subject.trained, n, subject.inputs.device)
    torch.manual_seed(1)
    size = subject.inputs.size
    networks = {"": few.network} | {
        words: one.to(subject.inputs.device).eval().requires_grad_(False)
        for words, one in randomised(few.network, lambda: trained.create(study, size)).items()
    }
    for baseline in ("zero", SHOWN):
        made, numbers = few.baseline(baseline, REPEATS), np.arange(len(few.rows))
        found = {
            words: at_steps(one, few.inputs, few.rows, numbers, made, sizes.steps, "logit")
            for words, one in networks.items()
        }
        _, trained_one, exists = units(found[""])
        others = {words: units(one)[1] for words, one in found.items() if words}
        for words, other in others.items():
            number = mean_of(rank_correlation(trained_one, other, exists))
            keys = {"network": trained.network, "baseline": baseline, "made anew": words}
            rows.append(keys | ends(number) | {"n": len(numbers)})
    return rows


# --- Tables ---------------------------------------------------------------------------------------


def of_jets(found: Mapping[str, Subject], sizes: Sizes) -> dict[str, Rows]:
    """Attributions of all jet networks: numbers, and the points of profiles and curves."""
    made: dict[str, Rows] = {"jets": [], "profiles": [], "removal": [], "erased": []}
    for name, subject in found.items():
        explained = {
            one: stored(subject, one, sizes.draws, sizes.steps, "logit") for one in BASELINES
        }
        keys = {"network": name}
        rows = [
            {"baseline": one, **row}
            for one, values in explained.items()
            for row in summary(subject, values)
        ]
        for words, fill in FILLS.items():
            points, areas = removal(subject, explained, subject.baseline(fill, REPEATS))
            made["removal"] += [keys | {"fill": words} | one for one in points]
            rows += [one | {"quantity": f"area, {words}"} for one in areas]
        made["jets"] += [keys | one for one in rows]
        made["profiles"] += [keys | one for one in profiles(subject, explained)]
        if subject.training.input == "jet image":
            for which in (*NAMES, HIGHEST):
                of_jets = erase(subject, explained[SHOWN], which)
                made["erased"] += [keys | {"which": which} | one for one in means(of_jets)]
    probability = found[NETWORKS[0]]
    for one in ("zero", SHOWN):
        values = stored(probability, one, sizes.draws, sizes.steps, "probability")
        made["jets"] += [
            {"network": f"{NETWORKS[0]}, probability", "baseline": one, **row}
            for row in summary(probability, values)
        ]
    return made


def by(columns: Sequence[str], heading: str, rows: Rows) -> Rows:
    """One line for each of some columns, one column for each value of another."""

    def line(row: Mapping[str, object]) -> dict[str, str]:
        return {name: str(row[name]) for name in columns}

    return pivot(rows, line, lambda row: {str(row[heading]): number(row)})


def number(row: Mapping[str, object]) -> str:
    """A cell; of a completeness error only the size."""
    is_size = row.get("quantity") == "completeness error"
    return f"{float(row['value']):.1e}" if is_size else cell(row)


def printed_features(rows: Rows) -> Rows:
    """Of many features, those that matter most by one of the columns."""
    most: dict[tuple, float] = {}
    for row in rows:
        key = row["case"], row["feature"]
        most[key] = max(most.get(key, 0), float(row["value"]))
    of_case = Counter(case for case, _ in most)
    shown = [
        row for row in rows
        if of_case[row["case"]] <= MANY or most[row["case"], row["feature"]] >= SHARE_MIN
    ]  # fmt: skip
    return by(("case", "feature"), "by", shown)


def printed_prongs(rows: Rows) -> Rows:
    """One line a network and range of pT; what depends on no baseline has one column."""

    def cells(row: Mapping[str, object]) -> dict[str, str]:
        heading = row["baseline" if row["quantity"] == "attribution" else "quantity"]
        return {} if " - " in heading else {heading: cell(row)}

    return pivot(rows, lambda row: {name: row[name] for name in ("network", "pT [GeV]")}, cells)


def printed_erased(rows: Rows) -> Rows:
    """Of the hardest subjet and that of highest attribution; one column a quantity and fill."""

    def line(row: Mapping[str, object]) -> dict[str, str]:
        return {name: row[name] for name in ("network", "which", "class", "region")}

    def cells(row: Mapping[str, object]) -> dict[str, str]:
        has_changed = row["fill"] != "as it is" or row["quantity"] == "ReMOVE"
        return {f"{row['quantity']}, {row['fill']}": cell(row)} if has_changed else {}

    return pivot([row for row in rows if row["which"] in (NAMES[0], HIGHEST)], line, cells)


PRINTED = {
    "features": printed_features,
    "agreement": partial(by, ("case", "quantity"), "by"),
    "prongs": printed_prongs,
    "shares": partial(by, ("network", "class", "quantity"), "baseline"),
    "areas": partial(by, ("network", "class", "quantity"), "baseline"),
    "steps": partial(by, ("network", "baseline", "quantity"), "x"),
    "draws": partial(by, ("network", "baseline"), "x"),
    "randomisation": partial(by, ("network", "baseline"), "made anew"),
    "erased": printed_erased,
    "prong_added": partial(by, ("network", "jets"), "quantity"),
    "toys": partial(by, ("encoder", "way"), "quantity"),
    "settings": list,
    "environment": list,
}


def split(rows: Rows) -> dict[str, Rows]:
    """The numbers of jet networks, by the table that they stand in."""
    chosen: dict[str, Rows] = {"prongs": [], "shares": [], "areas": []}
    for row in rows:
        quantity = str(row["quantity"])
        if "prong" in quantity:
            words = quantity.partition(": ")[2]
            chosen["prongs"].append(row | {"quantity": words})
        else:
            chosen["areas" if quantity.startswith("area") else "shares"].append(row)
    return chosen


def draw(found: Mapping[str, Subject], rows: Mapping[str, Rows], sizes: Sizes, page: Path) -> None:
    """The figures of the page."""
    style.apply()
    definition = JET_DEFINITIONS[DEFINITION]
    half = PIXEL_WIDTH * definition.pixels / 2
    panels = {
        f"{name}, {panel}": {"network": name, "panel": panel}
        for name in found
        for panel in ("signal, jet axis", "signal, nearest prong")
    }
    labels = {"xlabel": r"$\Delta R$", "ylabel": "share"}
    drawings = {
        "features": figures.features(
            [
                row | {"panel": row["case"], "baseline": row["by"]}
                for row in rows["features"]
                if row["case"] == "H → Zγ" and row["by"] != "weighted"
            ]
        ),
        "profiles": figures.lines(rows["profiles"], "delta_r", panels, labels),
        "removal": figures.lines(
            rows["removal"], "fraction",
            {f"{name}, {fill}": {"network": name, "fill": fill, "class": "signal"}
             for name in found for fill in FILLS},
            {"xlabel": "fraction removed", "ylabel": "logit of signal"},
        ),
        "steps": figures.lines(
            [row for row in rows["steps"] if row["quantity"] == "completeness error"], "x",
            {name: {"network": name} for name in found},
            {"xlabel": "nodes", "ylabel": "completeness error", "xscale": "log", "yscale": "log"},
        ),
        "draws": figures.lines(
            rows["draws"], "x", {name: {"network": name} for name in found},
            {"xlabel": "draws", "ylabel": "distance from all", "xscale": "log", "yscale": "log"},
        ),
        "toys": figures.scenes(*scenes(0)),
    }  # fmt: skip
    for name, subject in found.items():
        explained = stored(subject, SHOWN, sizes.draws, sizes.steps, "logit")
        images = class_images(subject, explained, half, BINS)
        words = f"{name}: attributions of the logit, baseline {SHOWN}."
        drawings[f"images_{name}"] = figures.images(images, half, definition.radius, words)
    for name, drawing in drawings.items():
        style.save(drawing, page.parent / f"figures/{PAGE.stem}_{name}.png")


def settings(sizes: Sizes) -> Rows:
    """How much was measured."""
    return [{"setting": name, "value": value} for name, value in sizes._asdict().items()]


def quick(study: Study) -> Study:
    """The study on the demo's collisions, with trainings of its own: does everything run?"""
    demo = load_study("demo")
    asked = {
        "published_files": False, "folder": "demo", "processes": ("ttbar", "stop"),
        "stop_masses": (900, 1100), "neutralino_masses": (300,), "background_files": 2,
    }  # fmt: skip
    return study.changed(
        f"{PAGE.stem}_quick",
        sample=asked,
        images={
            "split": demo.images.split, "split_loose": demo.images.split_loose,
            "training_jets_per_mass_point": 100,
        },
        training={"epochs": 1, "width": 0.125, "choose_by": "loss"},
        classifiers={"networks": NETWORKS[:2], "seeds": study.classifiers.seeds[:1]},
        event_networks={"seeds": study.event_networks.seeds[:1], "epochs": 1},
    )  # fmt: skip


def main() -> None:
    """Train what is not trained, explain what is not explained, then write the page."""
    parser = options_of(__doc__)
    parser.add_argument("--z-gamma", default=Z_GAMMA, help=f"the other study (default: {Z_GAMMA})")
    parser.add_argument("--sam", type=Path, help="weights of SAM's ViT-B, for the toys")
    parser.add_argument("--quick", action="store_true", help="few of everything, one epoch")
    options = parser.parse_args()
    study, other, sizes = load_study(options.study), load_study(options.z_gamma), Sizes()
    device = choose_device(options.device)
    if options.quick:
        study, sizes = quick(study), QUICK
        other = trainings.quick(other.changed(f"{PAGE.stem}_z_gamma"), QUICK_EVENTS, epochs=1)
    prepare(study, options.device)
    torch.set_num_threads(1)  # the networks are small
    cases = [partial(stop_pairs, study, device, name) for name in STOP_PAIRS]
    cases.append(partial(z_gamma, other, device))
    of_cases = [rankings(case, sizes.events, sizes.draws, sizes.steps) for case in cases]
    features, agreement = (
        [row for rows in some for row in rows] for some in zip(*of_cases, strict=True)
    )
    found = subjects(study, sizes.jets, device)
    made = of_jets(found, sizes)
    images = [one for one in found.values() if one.training.input == "jet image"]
    checks = {"convergence": [], "randomisation": [], "prong_added": []}
    for subject in tqdm(found.values(), "checks", disable=None):
        checks["convergence"] += convergence(subject, sizes)
        checks["randomisation"] += randomisation(subject, sizes)
        if subject in images:
            checks["prong_added"] += jets_with_a_prong(subject, sizes.with_prong)
    of_checks = {
        of: [row for row in checks["convergence"] if row["against"] == of]
        for of in ("steps", "draws")
    }
    rows = made | split(made["jets"]) | of_checks | checks
    rows |= {"features": features, "agreement": agreement}
    rows |= {"toys": toys(sizes.scenes, encoders(options.sam))}
    rows |= {"settings": settings(sizes), "environment": environment()}
    shown = study if options.quick else study.changed(PAGE.stem)
    for name, printed in PRINTED.items():
        publish(shown, name, rows[name], printed, model=PAGE)
    page = page_of(shown, model=PAGE)
    draw(found, rows, sizes, page)
    print(f"{page}: its tables and figures")


if __name__ == "__main__":
    run(main)
