"""What raises SIC beyond the published settings? One step at a time, for MaxViT on AK14.

Trains the study's MaxViT once as it stands, then again with each step of `STEPS`, all seeds of the
study each, on the same jets; the trees over the three jets follow. A step is judged on validation
jets; the numbers of held-out events beside it decide nothing. Errors hold the test events, and with
several seeds their spread.

Reads   the sample of the study.
Writes  Data/<study>_<step>/, a study of its own each; doc/results/<study>_beyond.csv.

    python -m studies.beyond --study studies/ordering.toml
"""

import argparse
import dataclasses
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from figures.results import Results, read_results
from products import atomic_write, read_csv, read_manifest, run, write_csv
from sensitivity.sic import SICPoint, ratio_of_means, sic_at
from study import Study, load_study, to_toml
from training.plan import Training

NETWORK, DEFINITION = "MaxViT", "AK14"
AS_IT_STANDS = "as it stands"
STEPS: dict[str, Callable[[Study], dict]] = {
    AS_IT_STANDS: lambda study: {},
    "reflection": lambda study: {"reflect": True},
    "rotation": lambda study: {"oriented": False, "reflect": True, "rotate": True},
    "linear": lambda study: {"pixel_scale": "linear"},
    "sqrt": lambda study: {"pixel_scale": "sqrt"},
    "log": lambda study: {"pixel_scale": "log"},
    "cosine": lambda study: {"cosine_schedule": True},
    "weight decay": lambda study: {"weight_decay": 0.05},
    # The rule for Adam: the square root of the batch.
    "batch times 4": lambda study: {
        "batch_size": 4 * study.batch_size,
        "learning_rate": 2 * study.learning_rate,
    },
}
USE_A_DEVICE = ("train.py --all", "predict_base_model_mass.py")
SCRIPTS = ("setup.py", *USE_A_DEVICE, "fit_xgb.py")


@dataclass(frozen=True)
class Outcome:
    """What one step gave, seed by seed.

    Attributes:
        validation: (seeds,) AUC of the validation jets, in the best epoch.
        points: what was tested (`jets` or `events`) -> SIC at the working point of each seed.
        seconds: of training, mean over seeds.
    """

    validation: np.ndarray
    points: dict[str, list[SICPoint]]
    seconds: float


def variant(study: Study, step: str) -> Study:
    """The study with one step changed, MaxViT on AK14 alone."""
    changes = {"networks": (NETWORK,), "jet_definitions": (DEFINITION,), **STEPS[step](study)}
    name = f"{study.name}_{step.replace(' ', '_')}"
    return dataclasses.replace(study, name=name, sample=study.sample_dir.name, **changes)


def measure(study: Study, device: str | None) -> Outcome:
    """Run the steps of a study that are not done, and read what they found."""
    stated = study.data_dir / "study.toml"
    with atomic_write(stated) as temporary:
        temporary.write_text(to_toml(study))
    for script in SCRIPTS:
        chosen = ["--device", device] if device and script in USE_A_DEVICE else []
        command = [sys.executable, *script.split(), "--study", str(stated), *chosen]
        if status := subprocess.run(command, check=False).returncode:
            sys.exit(status)
    results = read_results(study, {})
    validation, seconds = [], []
    for seed in study.seeds:
        folder = Training(DEFINITION, NETWORK, seed).directory(study)
        best = read_manifest(folder / "manifest.json", made_by="train.py")["best"]
        validation.append(best["auc"])
        seconds.append(sum(float(row["seconds"]) for row in read_csv(folder / "history.csv")))
    return Outcome(np.array(validation), _points(results), float(np.mean(seconds)))


def _points(results: Results) -> dict[str, list[SICPoint]]:
    study = results.study
    chosen = {
        "jets": (results.repeats_of_jets(DEFINITION), study.background_jets_min),
        "events": (results.repeats_of_events(DEFINITION), study.background_events_min),
    }
    return {
        what: [
            sic_at(
                *classifiers.pair(name),
                study.working_point,
                background_min=floor,
                bootstraps=study.bootstraps,
            )
            for name in classifiers.score
        ]
        for what, (classifiers, floor) in chosen.items()
    }


def main() -> None:
    """Measure every step, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", default="studies/ordering.toml", help="(default: %(default)s)")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP")
    parser.add_argument("--device", help="of training (default: a GPU if there is one)")
    options = parser.parse_args()
    study = load_study(options.study)
    rows, reference = [], None
    for step in dict.fromkeys([AS_IT_STANDS, *options.steps]):
        changes = STEPS[step](study)
        if changes and all(getattr(study, name) == value for name, value in changes.items()):
            print(f"{step}: the study has it already")
            continue
        outcome = measure(variant(study, step), options.device)
        reference = reference or outcome
        change = outcome.validation - reference.validation
        row = {
            "step": step,
            "seeds": len(change),
            "validation AUC": f"{outcome.validation.mean():.4f}",
            "its gain": f"{change.mean():+.4f} ± {change.std(ddof=1) / len(change) ** 0.5:.4f}"
            if len(change) > 1 else f"{change.mean():+.4f}",
        }  # fmt: skip
        for what, points in outcome.points.items():
            limited = any(one.is_lower_limit for one in (*points, *reference.points[what]))
            mean = np.mean([point.value for point in points])
            row[f"SIC at eps_S = {study.working_point:g}, {what}"] = f"{mean:.2f}"
            gain = ratio_of_means(points, reference.points[what])
            row[f"relative to {AS_IT_STANDS}, {what}"] = (
                "lower limits" if limited else f"{gain.value:.3f} ± {gain.error:.3f}"
            )
        row["training, relative"] = f"{outcome.seconds / reference.seconds:.2f}"
        rows.append(row)
        print(row, flush=True)
    write_csv(Path(f"doc/results/{study.name}_beyond.csv"), rows)


if __name__ == "__main__":
    run(main)
