"""What did a network see? Attributions of its output to pixels, particles or features.

Reads   a finished training of train.py, and held-out jets (or events) that setup.py packed.
Writes  Data/<study>/attributions/<training>/<output>_<baseline>.h5: integrated gradients of
        --jets jets of each class, averaged over --draws draws of the baseline; and
        plots/<study>/attributions/<training>_<output>*: what lies where, and near the prongs of the
        truth; the score without what is most important; a CSV beside each figure, and all numbers.
Takes   146 s of one core for 60 jets of each class and a CNN of 32 pixels and a quarter of the
        published width, as the demo's.

Baselines: zero, uniform and weighted (background events drawn alike, or as often as they are
expected; attributions are averaged), and the mean background event. The attributions of each have
to add up to the change of the output within 1 %. An interrupted run goes on where it was.

--erase takes a prong out of jet images (attribution/erasure.py): the first, second or third
exclusive kT subjet, or that of highest attribution; the change of the logit stands beside ReMOVE.

    python explain.py AK14 CNN 0 --study demo
    python explain.py AK14 CNN 0 --study demo --erase highest
    python explain.py AK14 FeedForward 0 --baselines zero weighted --output probability
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out
import environment  # noqa: F401 - says in a sentence what this Python lacks

# isort: split
from collections.abc import Mapping

from attribution.averages import Explained
from attribution.baselines import BASELINES, fetched
from attribution.erasure import HIGHEST, NAMES, erase, means, require_images
from attribution.erasure import printed as printed_erasures
from attribution.integrated_gradients import OUTPUTS
from attribution.removal import REPEATS
from attribution.remove import jet_features
from attribution.stored import stored
from attribution.subject import Subject, subject_of
from attribution.summary import CLASSES, FILLS, class_images, printed, profiles, removal, summary
from command import InputError, parser_of, run
from evaluation.pages import markdown
from figures import attributions as figures
from figures import style
from physics import JET_DEFINITIONS, PIXEL_WIDTH
from products import write_csv
from study import add_study_options, study_of
from training.learner import choose_device
from training.plan import Training
from training.scoring import read_trained

IMAGE_BINS = 32  # along a side of mean images


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
        "--erase",
        choices=[*NAMES, HIGHEST],
        help="take that exclusive kT subjet, or the one of highest attribution, out of the images",
    )
    parser.add_argument(
        "--steps", type=int, default=64, help="of the integral, at first (default: 64)"
    )
    options = parser.parse_args()
    for name in ("jets", "draws", "steps"):
        if not (number := getattr(options, name)) >= 1:
            raise InputError(f"--{name} is {number}, expected 1 or more")
    study, device = study_of(options), choose_device(options.device)
    training = Training(options.jet_definition, options.network, options.seed)
    if options.erase:
        require_images(training)
    trained = read_trained(training.directory(study) / "manifest.json", study)
    subject = subject_of(study, trained, options.jets, device)
    if options.erase:
        jet_features(subject.network, fetched(subject.inputs, subject.rows[:1])["images"])
    explained = {}
    for name in options.baselines:
        explained[name] = stored(subject, name, options.draws, options.steps, options.output)
        print(
            f"{training}, {options.output}, {name}: {len(subject.rows)} {subject.inputs.unit}, "
            f"completeness error {explained[name].completeness_error:.2%}"
        )
    style.apply()
    stem = study.plots_dir / "attributions" / f"{training} {options.output}".replace(" ", "_")
    draw(subject, explained, options.output, stem)
    if options.erase:
        shown = explained[main_baseline(explained)]
        draw_erasures(subject, shown, options.erase, stem)


def main_baseline(explained: Mapping[str, Explained]) -> str:
    """The one that is shown where there is room for one."""
    return next(name for name in ("weighted", *explained) if name in explained)


def draw(subject: Subject, explained: Mapping[str, Explained], output: str, stem: Path) -> None:
    """All figures and numbers of a network, in files whose names begin with `stem`."""
    training, title = subject.training, f"{subject.training}: {output}."
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
        definition, shown = JET_DEFINITIONS[training.jet_definition], main_baseline(explained)
        half = PIXEL_WIDTH * definition.pixels / 2
        images = class_images(subject, explained[shown], half, IMAGE_BINS)
        words = f"{training}: attributions of the {output}, baseline {shown}."
        drawings["images"] = figures.images(images, half, definition.radius, words)
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


def draw_erasures(subject: Subject, found: Explained, which: str, stem: Path) -> None:
    """What erasing a subjet of each jet does to the logit, beside how well it was done."""
    rows = erase(subject, found, which)
    drawing = figures.erasures(rows, f"{subject.training}: the {which} subjet is erased.")
    picture, *_ = style.save(drawing, stem.with_name(f"{stem.name}_erased_{which}.png"))
    print(markdown(printed_erasures(means(rows))))
    print(f"written: {picture}")


if __name__ == "__main__":
    run(main)
