"""What did a network see? Attributions of its output to pixels, particles or features.

Reads   a finished training of train.py, and held-out jets (or events) that setup.py packed.
Writes  Data/<study>/attributions/<training>/<output>_<baseline>.h5: integrated gradients of
        --jets jets of each class, averaged over --draws draws of the baseline; and
        plots/<study>/attributions/<training>_<output>*: what lies where, and near the prongs of the
        truth; the score without what is most important; a CSV beside each figure, and all numbers.
Takes   for the demo's CNN (doc/attributions.md has the times of others) some 2 min on one core.

Baselines: zero, uniform and weighted (background events drawn alike, or as often as they are
expected; attributions are averaged), and the mean background event. The attributions of each have
to add up to the change of the output within 1 %. An interrupted run goes on where it was.

    python explain.py AK14 CNN 0 --study demo
    python explain.py AK14 FeedForward 0 --baselines zero weighted --output probability
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out
import environment  # noqa: F401 - says in a sentence what this Python lacks

# isort: split
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping

from attribution.averages import Explained, explain, read_explained, write_explained
from attribution.baselines import BASELINES, DRAWN
from attribution.integrated_gradients import OUTPUTS
from attribution.removal import REPEATS
from attribution.subject import Subject, subject_of
from attribution.summary import (
    CLASSES,
    FILLS,
    class_images,
    printed,
    profiles,
    removal,
    summary,
)
from command import InputError, parser_of, run
from evaluation.pages import markdown
from figures import attributions as figures
from figures import style
from physics import JET_DEFINITIONS, PIXEL_WIDTH
from products import alone, is_finished, read_manifest, unchanged, write_csv, write_manifest
from study import Study, add_study_options, study_of
from training.learner import choose_device
from training.plan import Training
from training.scoring import Trained, read_trained


def main() -> None:
    """Parse the options, explain, draw."""
    parser = parser_of(__doc__)
    parser.add_argument("jet_definition", help="AK08, AK10 or AK14")
    parser.add_argument("network", help="a name in models.MODELS, in any case")
    parser.add_argument("seed", nargs="?", type=int, default=0, help="(default: 0)")
    add_study_options(parser)
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    parser.add_argument(
        "--baselines", nargs="+", choices=list(BASELINES), default=list(BASELINES),
        help="(default: all)",
    )  # fmt: skip
    parser.add_argument("--output", choices=list(OUTPUTS), default="logit", help="(default: logit)")
    parser.add_argument("--jets", type=int, default=100, help="of each class (default: 100)")
    parser.add_argument("--draws", type=int, default=16, help="of a baseline (default: 16)")
    parser.add_argument(
        "--steps", type=int, default=64, help="of the integral, at first (default: 64)"
    )
    options = parser.parse_args()
    for name in ("jets", "draws", "steps"):
        if not (number := getattr(options, name)) >= 1:
            raise InputError(f"--{name} is {number}, expected 1 or more")
    study, device = study_of(options), choose_device(options.device)
    training = Training(options.jet_definition, options.network, options.seed)
    trained = read_trained(training.directory(study) / "manifest.json", study)
    subject = subject_of(study, trained, options.jets, device)
    explained = {}
    for name in options.baselines:
        draws = options.draws if name in DRAWN else 1
        explained[name] = stored(
            study, trained, subject, name, draws, options.steps, options.output
        )
        print(
            f"{training}, {options.output}, {name}: {len(subject.rows)} {subject.inputs.unit}, "
            f"completeness error {explained[name].completeness_error:.2%}"
        )
    draw(subject, explained, options.output)


def stored(
    study: Study, trained: Trained, subject: Subject, baseline: str, draws: int, steps: int,
    output: str,
) -> Explained:  # fmt: skip
    """The attributions from one baseline, read if they are there.

    Raises:
        InputError: they miss the change of the output.
    """
    folder = study.data_dir / "attributions" / trained.training.classifier.dataset.replace("/", "_")
    path = folder / f"{output}_{baseline}.h5"
    made = read_manifest(study.data_dir / "setup.json", "setup.py", study.settings("setup"))
    inputs = made["outputs"] | {str(trained.best): trained.fingerprint}
    settings = {
        "training": dataclasses.asdict(trained.training), "baseline": baseline, "output": output,
        "rows": len(subject.rows), "draws": draws, "steps": steps,
    }  # fmt: skip
    manifest, title = path.with_suffix(".json"), f"{trained.training} {output} {baseline}"
    if not is_finished(manifest, settings, inputs):
        decisive = json.dumps([settings, inputs], sort_keys=True)
        parts = folder / f".parts_{hashlib.sha256(decisive.encode()).hexdigest()[:12]}"
        with alone(path):
            with unchanged(inputs):
                found = explain(
                    subject.network, subject.inputs, subject.rows,
                    subject.baseline(baseline, draws), steps, output, title, parts,
                )  # fmt: skip
            found.require_complete(title)
            write_explained(path, found, **{k: v for k, v in settings.items() if k != "training"})
            write_manifest(manifest, settings, inputs, [path])
            shutil.rmtree(parts, ignore_errors=True)
    return read_explained(path)


def draw(subject: Subject, explained: Mapping[str, Explained], output: str) -> None:
    """All figures and numbers of a network."""
    style.apply()
    training, study, title = subject.training, subject.study, f"{subject.training}: {output}."
    stem = study.plots_dir / "attributions" / f"{training} {output}".replace(" ", "_")
    rows = [
        {"baseline": name, **one}
        for name, found in explained.items()
        for one in summary(subject, found)
    ]
    drawings = {}
    for fill, name in FILLS.items():
        points, areas = removal(subject, explained, subject.baseline(name, REPEATS))
        rows += [one | {"quantity": f"{one['quantity']}, {fill}"} for one in areas]
        panels = {f"{of}, replaced by {fill}": {"class": of} for of in CLASSES}
        labels = {"xlabel": "fraction removed", "ylabel": "logit of its class"}
        drawings[f"removal_{fill}"] = figures.lines(points, "fraction", panels, labels, title)
    if subject.deposits(next(iter(explained.values()))) is None:
        drawings["features"] = figures.features(
            [
                one | {"feature": one["quantity"].removeprefix("share of "), "panel": one["class"]}
                for one in rows
                if one["quantity"].startswith("share of ")
            ],
            title,
        )
    else:
        shown = next(name for name in ("weighted", *explained) if name in explained)
        definition = JET_DEFINITIONS[training.jet_definition]
        half = PIXEL_WIDTH * definition.pixels / 2
        means = class_images(subject, explained[shown], half, study.image_pixels(definition.name))
        words = f"{training}: attributions of the {output}, baseline {shown}."
        drawings["images"] = figures.images(means, half, definition.radius, words)
        points = profiles(subject, explained)
        panels = {one["panel"]: {"panel": one["panel"]} for one in points}
        labels = {"xlabel": r"$\Delta R$", "ylabel": "share"}
        words = f"{training}: shares of |attribution| of the {output}, and of $p_T$."
        drawings["profiles"] = figures.lines(points, "delta_r", panels, labels, words)
    for name, drawing in drawings.items():
        picture, *_ = style.save(drawing, stem.with_name(f"{stem.name}_{name}.png"))
        print(f"written: {picture}")
    write_csv(stem.with_suffix(".csv"), rows)
    print(markdown(printed(rows)))
    print(f"written: {stem.with_suffix('.csv')}")


if __name__ == "__main__":
    run(main)
