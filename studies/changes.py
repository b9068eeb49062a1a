"""What does one changed setting do? One step at a time, for CNN and MaxViT on AK14.

Trains both networks as the study stands, then again with each step of `STEPS`, all seeds of the
study each; the trees over the three jets follow. The first steps ask why the ordering of the
networks may differ from the published one, the others what raises SIC. A step is judged on
validation jets; the numbers of held-out events beside it decide nothing.

The error of a gain holds the validation jets, which step and reference share where the step does
not change them, and the trainings: the spread between seeds, its median over all steps, for each
has few, or the step's own if that is larger. Errors of ratios hold the test events and the step's
own spread between seeds. Of four tables of a dozen steps one shows a gain of two errors by chance.

Reads   the sample of the study.
Writes  Data/<study>_<step>/, a study of its own each; two tables of the study's page, also as
        results/<study>_{ordering,gains}.csv beside it, with every step that is done.

    python -m studies.changes --study studies/ordering.toml
    python -m studies.changes --study studies/changes_cpu.toml --steps as_it_stands reflection
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.linalg import block_diag
from scipy.stats import chi2

from command import InputError, run
from evaluation.pages import Rows
from evaluation.results import read_results
from evaluation.table import cell, column, ends, pivot
from jets.classifier import HELD_OUT_EVENTS
from jets.split import TRAIN, VALIDATION
from products import read_csv, write_text
from sensitivity.auc import CorrelatedAUCs, correlated_aucs
from sensitivity.bootstrap import Estimate, Scores, mean_of_seeds
from sensitivity.sic import MaximumSIC, SICPoint, ratio_of_means, sic_of_seeds
from studies.pages import call_with, options_of, publish
from study import Study, load_study, to_toml
from training.jet_images import JetImages, read_split
from training.learner import choose_device
from training.plan import Training, trainings
from training.scoring import read_trained, signal_probability

NETWORKS, DEFINITION = ("CNN", "MaxViT"), "AK14"
JUDGED = NETWORKS[-1]


def _training(study: Study, **settings: object) -> Study:
    return study.changed(training=settings)


def _longer(study: Study) -> Study:
    """Three times the epochs, the learning rate falling as much over all of them."""
    decay = study.training.learning_rate_decay ** (1 / 3)
    return _training(study, epochs=3 * study.training.epochs, learning_rate_decay=decay)


def _published(option: str, study: Study) -> Study:
    """The judged network without an option that the study sets."""
    of_networks = dict(study.training.network_options)
    options = {name: v for name, v in of_networks.pop(JUDGED, {}).items() if name != option}
    return _training(study, network_options=of_networks | ({JUDGED: options} if options else {}))


def _jets(factor: float, study: Study) -> Study:
    """So many times the training jets."""
    jets = int(factor * study.images.training_jets_per_mass_point)
    return study.changed(images={"training_jets_per_mass_point": jets})


def _rotated(study: Study) -> Study:
    return study.changed(images={"oriented": False}, training={"reflect": True, "rotate": True})


def _larger_batch(study: Study) -> Study:
    """The learning rate rises with the square root of the batch, the rule for Adam."""
    rate = 2 * study.training.learning_rate
    return _training(study, batch_size=4 * study.training.batch_size, learning_rate=rate)


class Step(NamedTuple):
    """One changed setting."""

    title: str
    change: Callable[[Study], Study]


AS_IT_STANDS = "as_it_stands"
STEPS = {
    AS_IT_STANDS: Step("as it stands", lambda study: study),
    # Why the ordering may differ.
    "half_the_jets": Step("half the jets", partial(_jets, 0.5)),
    "more_jets": Step(  # the published split, because most of the signal is held out otherwise
        "more jets", lambda study: _jets(3, study).changed(images={"split": (0.5, 0.2, 0.3)})
    ),
    "epochs_times_3": Step("three times the epochs", _longer),
    "published_preprocessing": Step(
        "published preprocessing",
        partial(_training, pixel_scale="linear", standardised_mass=False),
    ),
    "published_networks": Step("published networks", partial(_training, network_options={})),
    "published_momentum": Step("published momentum", partial(_published, "batch_norm_momentum")),
    "published_eps": Step("published eps", partial(_published, "batch_norm_eps")),
    "published_attention_scale": Step(
        "published attention scale", partial(_published, "attention_scale")
    ),
    # What may raise SIC.
    "reflection": Step("reflection", partial(_training, reflect=True)),
    "rotation": Step("rotation", _rotated),
    "rotation_epochs_times_3": Step(
        "rotation and three times the epochs", lambda study: _longer(_rotated(study))
    ),
    "linear_pixels": Step("linear pixels", partial(_training, pixel_scale="linear")),
    "square_roots": Step("square roots", partial(_training, pixel_scale="sqrt")),
    "logarithms": Step("logarithms", partial(_training, pixel_scale="log")),
    "cosine_schedule": Step("cosine schedule", partial(_training, cosine_schedule=True)),
    "weight_decay": Step("weight decay", partial(_training, weight_decay=0.05)),
    "batch_times_4": Step("batch times 4", _larger_batch),
}


@dataclass(frozen=True)
class Trained:
    """What one training found."""

    validation: np.ndarray  # (n,) scores of the validation jets by the best epoch
    best_epoch: int  # from 1
    sees_images: bool  # False: no more than the mass, because a layer is dead
    seconds: float  # of the whole training
    auc: Estimate  # of single held-out jets
    maximum: MaximumSIC  # of single held-out jets
    points: dict[str, SICPoint]  # at the working point of what was tested, `jets` and `events`


@dataclass(frozen=True)
class Outcome:
    """What one step gave."""

    jets: int  # trained on
    validation: np.ndarray  # structured (n,), the validation jets
    trained: dict[str, list[Trained]]  # network -> of each seed
    ahead: Estimate  # AUC of held-out jets, last network minus first, means of those seeing


def variant(study: Study, step: str) -> Study:
    """The study with one step changed, its two networks on AK14 alone."""
    return (
        STEPS[step]
        .change(study)
        .changed(
            f"{study.name}_{step}",
            sample={"folder": study.sample_dir.name},
            classifiers={"networks": NETWORKS, "jet_definitions": (DEFINITION,)},
        )
    )


def run_scripts(study: Study, device: str | None) -> None:
    """All steps of the analysis, each of which skips what is done."""
    stated = study.data_dir / "study.toml"
    write_text(stated, to_toml(study))
    each = [f"train.py {training}" for training in trainings(study)]
    for command in ("setup.py", *each, "predict_base_model_mass.py", "fit_xgb.py"):
        call_with(stated, command.split(), device)


def is_done(study: Study) -> bool:
    """Whether all scripts have run, with the study as it is now."""
    stated, trees = study.data_dir / "study.toml", study.data_dir / "trees.json"
    return trees.is_file() and stated.read_text(encoding="utf-8") == to_toml(study)


def measure(study: Study, device: str | None) -> Outcome:
    """Read what a step found."""
    results = read_results(study, {})
    jets, events = results.repeats_of_jets(DEFINITION), results.repeats_of_events(DEFINITION)
    names, aucs = list(jets.score), jets.aucs
    images = JetImages.read(study, DEFINITION, VALIDATION, choose_device(device))

    def found(training: Training) -> Trained:
        folder, one = training.directory(study), training.classifier
        trained = read_trained(folder / "manifest.json", study)
        return Trained(
            validation=signal_probability(trained, study, images),
            best_epoch=trained.best_epoch + 1,
            sees_images=trained.sees_images,
            seconds=sum(float(row["seconds"]) for row in read_csv(folder / "history.csv")),
            auc=aucs[names.index(one)],
            maximum=jets.max_sic(one),
            points={
                "jets": jets.sic_at(one),
                "events": events.sic_at(one._replace(trees=HELD_OUT_EVENTS)),
            },
        )

    seeds = study.classifiers.seeds
    trained = {n: [found(Training(DEFINITION, n, seed)) for seed in seeds] for n in NETWORKS}
    worse, better = (
        [names.index(Training(DEFINITION, n, seeds[i]).classifier) for i in seeing(trained[n])]
        for n in NETWORKS
    )
    return Outcome(
        jets=len(read_split(study, DEFINITION, TRAIN)),
        validation=images.table[["event", "k", "label"]],
        trained=trained,
        ahead=aucs.difference_of_means(better, worse),
    )


def seeing(trained: Sequence[Trained]) -> list[int]:
    """The trainings that see images; all of them where none does."""
    return [i for i, one in enumerate(trained) if one.sees_images] or list(range(len(trained)))


def validation_aucs(outcomes: Sequence[Outcome], bootstraps: int) -> CorrelatedAUCs:
    """Of all seeds of the network that is judged, outcome by outcome, on the same jets."""
    scores = np.stack([one.validation for some in outcomes for one in some.trained[JUDGED]])
    jets = outcomes[0].validation
    classes = (
        Scores(scores[:, jets["label"] == label], jets["event"][jets["label"] == label])
        for label in (1, 0)
    )
    return correlated_aucs(*classes, bootstraps=bootstraps)


def usual_variance(outcomes: Iterable[Outcome]) -> float:
    """Of the validation AUC between trainings of one step, from all steps; 0 with one seed.

    With n seeds the variance of a step is spread as chi squared with n - 1 degrees of freedom over
    n - 1; its median over the steps is not moved by a step whose trainings are wild.
    """
    aucs = [validation_aucs([one], bootstraps=2).value for one in outcomes]
    freedom = len(aucs[0]) - 1
    if not freedom:
        return 0.0
    of_steps = [some.var(ddof=1) for some in aucs]
    return float(np.median(of_steps) * freedom / chi2.median(freedom))


def gain(outcome: Outcome, reference: Outcome, usual: float, bootstraps: int) -> Estimate:
    """Of the mean AUC of validation jets.

    Args:
        usual: variance between trainings, see `usual_variance`; a step's own counts if larger.
    """
    pair = (reference, outcome)
    is_paired = np.array_equal(reference.validation, outcome.validation)
    groups = [pair] if is_paired else [(one,) for one in pair]
    aucs = [validation_aucs(group, bootstraps) for group in groups]
    n = len(outcome.trained[JUDGED])
    sign = np.repeat([-1.0, 1.0], n) / n
    of_jets = sign @ block_diag(*(some.covariance for some in aucs)) @ sign
    values = np.concatenate([some.value for some in aucs]).reshape(2, n)
    own = values.var(axis=1, ddof=1) if n > 1 else np.zeros(2)
    of_trainings = np.maximum(own, usual).sum() / n
    return Estimate(float(sign @ values.ravel()), float(np.sqrt(of_jets + of_trainings)))


def ordering(outcomes: Mapping[str, Outcome]) -> Rows:
    """Does a step mend the ordering? Both networks on single held-out jets.

    A network that sees no images has no best epoch, NaN, and no part in the means.
    """
    rows, (worse, better) = [], NETWORKS
    both = {"network": better, "reference_network": worse}
    for step, outcome in outcomes.items():
        chosen = {n: [some[i] for i in seeing(some)] for n, some in outcome.trained.items()}
        maxima = ([one.maximum for one in chosen[network]] for network in (better, worse))
        rows.append(_row(step, "training jets", outcome.jets))
        for network, some in outcome.trained.items():
            for i, one in enumerate(some):
                best = one.best_epoch if one.sees_images else math.nan
                rows.append(_row(step, "best epoch", best, network=network, training=i))
        for network, some in chosen.items():
            mean = mean_of_seeds([one.auc for one in some])
            rows.append(_row(step, "AUC", mean, network=network))
        rows.append(_row(step, "AUC difference", outcome.ahead, **both))
        rows.append(_row(step, "ratio of max SIC", ratio_of_means(*maxima), **both))
    return rows


def _row(step: str, quantity: str, number: Estimate | float, **keys: object) -> dict[str, object]:
    """A number with its keys; those that do not apply are empty."""
    names = ("step", "network", "reference_network", "training", "level", "quantity")
    empty = dict.fromkeys((*names, "signal_efficiency", *ends(number), "effective_background"), "")
    return empty | {"step": step, "quantity": quantity} | keys | ends(number)


def printed_ordering(rows: Rows) -> Rows:
    """One line a step."""
    epochs: dict[tuple[str, str], list[str]] = {}

    def cells(row: dict) -> dict[str, str]:
        network, other = row["network"], row["reference_network"]
        match row["quantity"]:
            case "training jets":
                return {"jets trained on": f"{float(row['value']):,.0f}"}
            case "best epoch":
                best = float(row["value"])
                several = epochs.setdefault((row["step"], network), [])
                several.append("sees the mass alone" if math.isnan(best) else f"{best:.0f}")
                return {f"best epochs, {network}": ", ".join(several)}
            case "AUC":
                return {f"AUC, {network}": cell(row)}
            case "AUC difference":
                return {f"AUC, {network} - {other}": cell(row)}
            case _:
                return {f"max SIC, {network} / {other}": cell(row)}

    return pivot(rows, titled, cells)


def titled(row: Mapping) -> dict[str, str]:
    """The first cell of a step."""
    return {"step": STEPS[row["step"]].title}


def gains(outcomes: Mapping[str, Outcome], study: Study) -> Rows:
    """What does a step give? MaxViT, against itself as the study stands."""
    rows, reference, point = [], outcomes[AS_IT_STANDS], study.figures.working_point
    usual, bootstraps = usual_variance(outcomes.values()), study.figures.bootstraps
    for step, outcome in outcomes.items():
        found = [("validation AUC", float(validation_aucs([outcome], bootstraps).value.mean()), {})]
        both = [some.trained[JUDGED] for some in (outcome, reference)]
        if outcome is not reference:
            found.append(("gain", gain(outcome, reference, usual, bootstraps), {}))
        for what in ("jets", "events"):
            sic, count, ratio = sic_of_seeds(*([one.points[what] for one in some] for some in both))
            keys = {"level": what, "signal_efficiency": point}
            found.append(("SIC", sic, keys | {"effective_background": count}))
            if outcome is not reference:
                found.append(("ratio of SIC", ratio, keys))
        seconds, usually = (np.mean([one.seconds for one in some]) for some in both)
        found.append(("training time ratio", float(seconds / usually), {}))
        rows += [_row(step, name, number, network=JUDGED, **keys) for name, number, keys in found]
    return rows


def printed_gains(rows: Rows) -> Rows:
    """One line a step."""

    def cells(row: dict) -> dict[str, str]:
        level = row["level"]
        match row["quantity"]:
            case "validation AUC":
                return {"AUC of validation jets": f"{float(row['value']):.4f}", "gain": ""}
            case "gain":
                return {"gain": cell(row)}
            case "SIC":
                return {f"{column(row)}, {level}": cell(row), f"relative, {level}": ""}
            case "ratio of SIC":
                return {f"relative, {level}": cell(row)}
            case _:
                return {"training time, relative": f"{float(row['value']):.1f}"}

    return pivot(rows, titled, cells)


def main() -> None:
    """Run the steps, show all that are done."""
    parser = options_of(__doc__)
    parser.add_argument("--steps", nargs="*", choices=STEPS, default=list(STEPS), metavar="STEP")
    options = parser.parse_args()
    study = load_study(options.study)
    for step in options.steps:
        if step != AS_IT_STANDS and STEPS[step].change(study) == study:
            print(f"{step}: the study has it already")
        else:
            print(f"{step}:", flush=True)
            run_scripts(variant(study, step), options.device)

    variants = {step: variant(study, step) for step in STEPS}
    done = {step: one for step, one in variants.items() if is_done(one)}
    if AS_IT_STANDS not in done:
        missing = f"{variants[AS_IT_STANDS].data_dir}: nothing to compare with"
        raise InputError(f"{missing}; run this with --steps {AS_IT_STANDS}")
    outcomes = {step: measure(one, options.device) for step, one in done.items()}
    publish(study, "ordering", ordering(outcomes), printed_ordering, "changes_ordering")
    page = publish(study, "gains", gains(outcomes, study), printed_gains, "changes_gains")
    print(f"{page}: {len(outcomes)} of {len(STEPS)} steps")


if __name__ == "__main__":
    run(main)
