"""What raises SIC beyond the published settings? One step at a time, for MaxViT on AK14.

Trains the study's MaxViT once as it stands, then again with each step of `STEPS`, all seeds of the
study each, on the same jets; the trees over the three jets follow. A step is judged on validation
jets; the numbers of held-out events beside it decide nothing.

Reads   the sample of the study.
Writes  Data/<study>_<step>/, a study of its own each; doc/results/<study>_beyond.csv.

    python -m studies.beyond --study studies/ordering.toml
"""

import argparse
import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from figures.results import Results, read_results
from products import atomic_write, read_csv, read_manifest, run, write_csv
from sensitivity.sic import SICPoint, sic_at
from study import Study, load_study, to_toml
from training.plan import Training

NETWORK, DEFINITION = "MaxViT", "AK14"
AS_IT_STANDS = "as it stands"
STEPS: dict[str, dict] = {
    AS_IT_STANDS: {},
    "reflection": {"reflect": True},
    "rotation": {"reflect": True, "rotate": True},
    "sqrt": {"pixel_scale": "sqrt"},
    "log": {"pixel_scale": "log"},
    "cosine": {"cosine_schedule": True},
    "weight decay": {"weight_decay": 0.05},
    "batch 256": {"batch_size": 256, "learning_rate": 1e-3},  # the square root of 4 as much
}
SCRIPTS = ("setup.py", "train.py --all", "predict_base_model_mass.py", "fit_xgb.py")


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
    changes = {"networks": (NETWORK,), "jet_definitions": (DEFINITION,), **STEPS[step]}
    name = f"{study.name}_{step.replace(' ', '_')}"
    return dataclasses.replace(study, name=name, sample=study.sample_dir.name, **changes)


def measure(study: Study, device: str | None) -> Outcome:
    """Run the steps of a study that are not done, and read what they found."""
    stated = study.data_dir / "study.toml"
    with atomic_write(stated) as temporary:
        temporary.write_text(to_toml(study))
    for script in SCRIPTS:
        chosen = ["--device", device] if device and "--all" in script else []
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
    jets, events = results.repeats_of_jets(DEFINITION), results.of_events
    fits = [f"{DEFINITION}_{NETWORK}"]
    fits += [f"{fits[0]}_{seed}" for seed in study.seeds[1:]]
    chosen = {
        "jets": (jets, [f"{NETWORK}/{seed}" for seed in study.seeds], study.background_jets_min),
        "events": (events, fits, study.background_events_min),
    }
    return {
        what: [
            sic_at(
                *classifiers.pair(name),
                study.working_point,
                background_min=floor,
                bootstraps=study.bootstraps,
            )
            for name in names
        ]
        for what, (classifiers, names, floor) in chosen.items()
    }


def gain(points: list[SICPoint], reference: list[SICPoint]) -> tuple[float, float]:
    """Mean over seeds of SIC minus the reference's, and its error.

    The error holds the test events (by the bootstrap, which both share) and the seeds.
    """
    means = [np.mean([p.resampled for p in some], axis=0) for some in (points, reference)]
    difference = means[0] - means[1]
    of_events = np.std(difference[np.isfinite(difference)], ddof=1)
    values = [np.array([p.value for p in some]) for some in (points, reference)]
    of_seeds = [v.var(ddof=1) / len(v) if len(v) > 1 else 0.0 for v in values]
    return float(values[0].mean() - values[1].mean()), float(
        np.hypot(of_events, sum(of_seeds) ** 0.5)
    )


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
            value, error = gain(points, reference.points[what])
            sign = ">" if any(point.is_lower_limit for point in points) else ""
            mean = np.mean([point.value for point in points])
            row[f"SIC at eps_S = {study.working_point:g}, {what}"] = f"{sign}{mean:.2f}"
            row[f"gain, {what}"] = f"{value:+.2f} ± {error:.2f}"
        row["training, relative"] = f"{outcome.seconds / reference.seconds:.2f}"
        rows.append(row)
        print(row, flush=True)
    write_csv(Path(f"doc/results/{study.name}_beyond.csv"), rows)


if __name__ == "__main__":
    run(main)
