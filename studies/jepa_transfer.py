"""Does pre-training without labels help where labels are few? HEP-JEPA on three pairs of jets.

Reads   the jets of three studies, `jepa_trainings.SOURCES`; a task without jets is left out.
Writes  Data/<study>/encoders/ and models/: checkpoints, history, encoders and scores; the tables of
        doc/jepa_transfer.md, also as doc/results/<study>_*.csv, and doc/figures/jepa_transfer*.

    python -m studies.jepa_transfer --study studies/jepa_transfer.toml
    python -m studies.jepa_transfer --study studies/jepa_transfer.toml --quick
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from command import InputError, run
from evaluation.pages import Rows, environment, with_numbers
from evaluation.results import Classifiers
from evaluation.table import cell, ends, pivot
from figures import pretraining as figures
from figures import style
from jets.classifier import Classifier
from models import create_model
from products import read_csv
from sensitivity.bootstrap import Estimate, mean_of_seeds
from studies.jepa_trainings import (
    FINE_TUNED,
    FROZEN,
    KINDS,
    PUBLISHED,
    QUARKS,
    SCRATCH,
    SHARES,
    SOURCES,
    STARTS,
    TREES,
    UNTRAINED,
    Jets,
    Trained,
    Way,
    encoder_directory,
    is_there,
    jets_of,
    labelled,
    pretraining_of,
    read_trainings,
    run_training,
    scratch_of,
    trainings,
)
from studies.ordering import settings
from studies.pages import options_of, publish
from studies.quark_gluon_results import accuracy
from studies.trainings import quick, run_all
from study import Study, load_study
from training.learner import choose_device
from training.pretraining import MASK_SEED, NETWORK, shares_of_context

PAGE = Path("doc/jepa_transfer.md")
RANGE = "AUC, least to largest"
QUICK_EVENTS = 300
AT_ONCE = 200  # jets whose masks are drawn together


def measured(study: Study, jets: Jets, found: Sequence[Trained]) -> Rows:
    """Accuracy and AUC of the trainings of one task, means over seeds, least and largest AUC, and
    differences of AUC, paired in test jets and seeds: to those from scratch, of frozen encoders
    also to untrained ones, and of other kinds of encoders to the first."""
    groups: dict[Way, list[int]] = {}
    for i, one in enumerate(found):
        groups.setdefault(one.way, []).append(i)
    tested, rows = jets.tested, []
    label, weight = (
        column.cpu().numpy()[tested.rows] for column in (tested.label, tested.weight.double())
    )
    score = {
        Classifier((str(one.way.share),), (one.way.kind, one.way.start), seed=one.seed): one.score
        for one in found
    }
    event = tested.inputs.table["event"][tested.rows]
    least = study.figures.background_jets_min
    aucs = Classifiers(study, least, score, event, label == 1, {}, weight).aucs
    for way, some in groups.items():
        of_seeds = [accuracy(found[i].score, label == 1, weight) for i in some]
        numbers = {"accuracy": mean_of_seeds(of_seeds)}
        numbers["AUC"] = mean_of_seeds([aucs[i] for i in some])
        each = aucs.value[some]
        numbers[RANGE] = each.mean(), each.min(), each.max()
        same_encoder = way._replace(kind=scratch_of(KINDS[way.kind]))
        others = {"AUC difference": same_encoder._replace(start=SCRATCH)}
        if way.start == FROZEN:
            others["to untrained"] = same_encoder._replace(start=UNTRAINED)
        others[f"to {PUBLISHED.name}"] = way._replace(kind=PUBLISHED.name)
        for quantity, other in others.items():
            if other != way and other in groups:
                numbers[quantity] = aucs.difference_of_means(some, groups[other], paired=True)
        for quantity, number in numbers.items():
            keys = {"task": way.task, "kind": way.kind, "start": way.start, "share": way.share}
            keys |= {"labels": round(way.share * len(jets.training.rows)), "trainings": len(some)}
            rows.append(keys | {"is_shuffled": way.is_shuffled, "quantity": quantity})
            rows[-1] |= ends(number)
    return rows


def histories(study: Study, tasks: Sequence[str]) -> dict[tuple[str, str, int], Rows]:
    """Of each encoder, by task, kind and seed."""
    found = {}
    for kind in KINDS.values():
        for task in kind.tasks:
            for seed in study.classifiers.seeds:
                path = encoder_directory(study, kind, task, seed) / "history.csv"
                if task in tasks and path.is_file():
                    found[task, kind.name, seed] = [with_numbers(row) for row in read_csv(path)]
    return found


def contexts(study: Study, jets: Mapping[str, Jets]) -> Rows:
    """What each kind of masks leaves of a jet, of the watched jets of each class: the shares of pT
    in the context and in no token, and of jets without any context."""
    rows, masked = [], {}
    for kind in KINDS.values():
        masked.setdefault((kind.options.get("patches"), pretraining_of(kind)), kind)
    for kind in masked.values():
        for task in (task for task in kind.tasks if task in jets):
            watched = jets[task].watched
            inputs, number = watched.inputs, np.sort(watched.rows)
            sizes = [len(some) for some in np.array_split(number, -(-len(number) // AT_ONCE))]
            network = create_model(NETWORK, inputs.size, study.training.width, **kind.options)
            encoder = network.encoder.to(inputs.device)
            generator = torch.Generator(inputs.device).manual_seed(MASK_SEED)
            shares = [
                torch.stack(shares_of_context(encoder, pretraining_of(kind), given, generator))
                for _, given in inputs.batches(number, np.array(sizes))
            ]
            of_context, of_none = torch.cat(shares, dim=1).cpu().double().numpy()
            label = watched.label.cpu().numpy()[number]
            for name, one in zip(task.split(" or "), (1, 0), strict=True):
                numbers = {
                    "pT in the context": of_context[label == one],
                    "pT in no token": of_none[label == one],
                    "without context": of_context[label == one] == 0,
                }
                for quantity, x in numbers.items():
                    estimate = Estimate(float(x.mean()), float(x.std() / len(x) ** 0.5))
                    known = {"task": task, "kind": kind.name, "jets": name, "quantity": quantity}
                    rows.append(known | ends(estimate))
    return rows


def collapses(encoders: Mapping[tuple[str, str, int], Rows]) -> Rows:
    """The last row of the history of each encoder."""
    names = "loss", "variance", "predicted_variance", "rank"
    return [
        {"task": task, "kind": kind, "seed": seed} | {name: history[-1][name] for name in names}
        for (task, kind, seed), history in encoders.items()
    ]


def costs(
    encoders: Mapping[tuple[str, str, int], Rows],
    jets: Mapping[str, Jets],
    found: Sequence[Trained],
) -> Rows:
    """Of each pre-training, and of the trainings of `PUBLISHED` with all labels and the fewest:
    jets learnt from, each as often as it was, and seconds spent on that."""
    rows = []

    def add(task: str, kind: str, what: str, jets: int, history: Rows) -> None:
        rates = [row["jets_per_second"] for row in history]
        known = {"task": task, "kind": kind, "what": what, "jets": jets * len(history)}
        rows.append(known | {"seconds": sum(jets / rate for rate in rates)})

    for (task, kind, _), history in encoders.items():
        add(task, kind, "pre-training", len(jets[task].training.rows), history)
    for way, seed, _, history in found:
        if way.kind == PUBLISHED.name and way.start in STARTS and not way.is_shuffled:
            seen = labelled(jets[way.task].training, way.share, seed).rows
            words = f"{way.start}, {100 * way.share:g} % of the labels"
            if way.share in (SHARES[0], SHARES[-1]):
                add(way.task, way.kind, words, len(seen), history)
    return rows


# --- The page -------------------------------------------------------------------------------------


def printed(rows: Rows) -> Rows:
    """One line a task, number of labels and start; one column a quantity."""

    def line(row: dict) -> dict[str, str]:
        start = row["start"] + ", permuted labels" * (row["is_shuffled"] == "True")
        labels = f"{int(row['labels']):,}"
        return {"task": row["task"], "encoder": row["kind"] if row["start"] != TREES else "",
                "start": start, "labels": labels, "trainings": row["trainings"]}  # fmt: skip

    def words(row: dict) -> str:
        if row["quantity"] == RANGE:
            return f"{float(row['low']):.3f} to {float(row['high']):.3f}"
        return cell(row)

    return pivot(rows, line, lambda row: {row["quantity"]: words(row)})


def printed_contexts(rows: Rows) -> Rows:
    """One line a kind of encoder and class of jets, one column a share."""

    def line(row: dict) -> dict[str, str]:
        return {"task": row["task"], "encoder": row["kind"], "jets": row["jets"]}

    return pivot(rows, line, lambda row: {row["quantity"]: cell(row)})


def printed_collapses(rows: Rows) -> Rows:
    """One line a kind of encoder, the mean over seeds, of the rank also the least."""
    groups: dict[tuple[str, str], list[Mapping]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["kind"]), []).append(row)
    digits = {"loss": 4, "variance": 3, "predicted_variance": 3, "rank": 1}
    words = {"predicted_variance": "variance of predictions", "rank": "effective rank"}
    return [
        {"task": task, "encoder": kind, "seeds": len(some)}
        | {
            words.get(name, name): f"{np.mean([float(row[name]) for row in some]):.{n}f}"
            for name, n in digits.items()
        }
        | {"least rank": f"{min(float(row['rank']) for row in some):.1f}"}
        for (task, kind), some in groups.items()
    ]


def printed_costs(rows: Rows) -> Rows:
    """One line a kind of training, the fastest of the seeds."""

    def of(task: str, kind: str, what: str) -> dict[str, str]:
        some = [
            row for row in rows if (row["task"], row["kind"], row["what"]) == (task, kind, what)
        ]
        jets, seconds = float(some[0]["jets"]), min(float(row["seconds"]) for row in some)
        return {"task": task, "encoder": kind, "training": what, "trainings": str(len(some)),
                "jets seen": f"{jets:,.0f}", "seconds": f"{seconds:,.0f}",
                "jets/s": f"{jets / seconds:,.0f}"}  # fmt: skip

    return [of(*key) for key in dict.fromkeys((r["task"], r["kind"], r["what"]) for r in rows)]


PRINTED = {
    "labels": printed,
    "ablations": printed,
    "context": printed_contexts,
    "null": printed,
    "cost": printed_costs,
    "collapse": printed_collapses,
    "settings": list,
    "environment": list,
}


def write_page(study: Study, jets: Mapping[str, Jets], found: Sequence[Trained]) -> None:
    """Test all trainings; tables and figure go on the study's page."""
    rows = [
        row
        for (task, is_shuffled), of_task in jets.items()
        for row in measured(
            study, of_task,
            [one for one in found if (one.way.task, one.way.is_shuffled) == (task, is_shuffled)],
        )
    ]  # fmt: skip
    plain = [row for row in rows if not row["is_shuffled"]]
    nominal = {task: of_task for (task, is_shuffled), of_task in jets.items() if not is_shuffled}
    encoders = histories(study, list(nominal))
    tables = {
        "labels": [row for row in plain if row["kind"] == PUBLISHED.name],
        "ablations": [row for row in plain if row["kind"] != PUBLISHED.name],
        "context": contexts(study, nominal),
        "null": [row for row in rows if row["is_shuffled"]],
        "cost": costs(encoders, nominal, found),
        "collapse": collapses(encoders),
        "settings": settings(study),
        "environment": environment(),
    }  # fmt: skip
    for name, words in PRINTED.items():
        page = publish(study, name, tables[name], words, model=PAGE)
    style.apply()
    of_quarks = [
        row for row in plain if row["task"] == QUARKS and row["start"] in (FROZEN, FINE_TUNED)
    ]
    drawings = {
        "": figures.label_efficiency(tables["labels"]), "_encoders": figures.encoders(of_quarks)
    }  # fmt: skip
    for name, drawing in drawings.items():
        style.save(drawing, page.parent / f"figures/{PAGE.stem}{name}.png")
    print(f"{page}: its tables and figures")


def main() -> None:
    """Train what is not trained, then write the page."""
    parser = options_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="few jets, one seed, one epoch")
    options = parser.parse_args()
    study, device = load_study(options.study), choose_device(options.device)
    sources = {task: load_study(path) for task, path in SOURCES.items()}
    if options.quick:
        sources = {QUARKS: quick(sources[QUARKS], QUICK_EVENTS, epochs=1)}
        name, seeds = f"{study.name}_quick", study.classifiers.seeds[:1]
        study = study.changed(name, training={"epochs": 1}, classifiers={"seeds": seeds})
    sources = {task: source for task, source in sources.items() if is_there(task, source)}
    if not sources:
        raise InputError(f"no jets of any task: make those of {', '.join(SOURCES.values())}")
    torch.set_num_threads(1)  # the networks are small

    @functools.cache
    def jets(task: str, is_shuffled: bool) -> Jets:
        return jets_of(task, sources[task], device, is_shuffled)

    def train(way: Way, seed: int) -> None:
        run_training(study, way, seed, jets, device)

    if run_all(trainings(study.classifiers.seeds, list(sources)), train):
        asked = {(task, is_shuffled): jets(task, is_shuffled)
                 for task in sources for is_shuffled in (False, True)}  # fmt: skip
        write_page(study, asked, read_trainings(study, list(sources)))


if __name__ == "__main__":
    run(main)
