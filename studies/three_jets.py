"""Three jets at once: one network sees an event's three AK14 jets, not trees their three scores.

The backbone of MaxViT looks at each jet; its features of the three and their masses go through one
head to the class of the event (models/three_jets.py). Trained on all three jets of as many events
of each mass point as the study trains on jets, and of as many top pairs (training/three_jets.py);
tested on the held-out events, beside the trees on the three scores of the network of one jet.

Reads   the sample of the study, and what studies/changes.py found of it as it stands.
Writes  Data/<study>_as_it_stands/models/AK14_MaxViT3_<seed>/ (train.py does); a table of the
        study's page, also as results/<study>_three_jets.csv beside it.

    python -m studies.three_jets --study studies/changes_cpu.toml
"""

import dataclasses

import numpy as np
import torch

from command import InputError, run
from evaluation.pages import Rows
from evaluation.results import Results, read_results
from evaluation.table import cell, column, ends, pivot
from jets.classifier import HELD_OUT_EVENTS
from jets.split import HELD_OUT
from products import write_text
from sensitivity.bootstrap import mean_of_seeds
from sensitivity.sic import sic_of_seeds
from studies.changes import AS_IT_STANDS, variant
from studies.pages import call_with, options_of, publish
from study import Study, load_study, to_toml
from training.learner import choose_device
from training.plan import Training
from training.scoring import read_trained, signal_probability
from training.three_jets import ThreeJetImages

OF_ONE, OF_THREE, DEFINITION = "MaxViT", "MaxViT3", "AK14"


def with_options(study: Study) -> Study:
    """The study in which the network of three jets has the options of that of one jet."""
    options = study.training.network_options
    return study.changed(
        training={"network_options": {**options, OF_THREE: options.get(OF_ONE, {})}}
    )


def train(study: Study, device: str | None) -> None:
    """Train all seeds; train.py skips what is finished."""
    stated = study.data_dir / "three_jets.toml"
    write_text(stated, to_toml(study))
    for seed in study.classifiers.seeds:
        call_with(stated, ["train.py", DEFINITION, OF_THREE, str(seed), "--plain"], device)


def score(study: Study, device: torch.device) -> tuple[list[np.ndarray], np.ndarray]:
    """Scores of the held-out events, seed by seed, and these events' rows of the event table."""
    events = ThreeJetImages.read(study, DEFINITION, HELD_OUT, device)
    nominal = events.table["classified"]  # variations are not
    found = []
    for seed in study.classifiers.seeds:
        manifest = Training(DEFINITION, OF_THREE, seed).directory(study) / "manifest.json"
        found.append(signal_probability(read_trained(manifest, study), study, events)[nominal])
    return found, events.table["event"][nominal]


def compare(results: Results, found: list[np.ndarray], event: np.ndarray) -> Rows:
    """The network of three jets beside the trees, seed by seed."""
    study, trees = results.study, results.repeats_of_events(DEFINITION)
    trainings = [Training(DEFINITION, OF_ONE, seed) for seed in study.classifiers.seeds]
    wanted = [one.classifier._replace(trees=HELD_OUT_EVENTS) for one in trainings]
    if not (np.array_equal(event, trees.event) and set(wanted) <= set(trees.score)):
        found = f"{study.data_dir}/trees.h5: not of the held-out events and all seeds"
        raise InputError(f"{found}; run studies.changes again")
    usual = trees.only(wanted)
    at_once = dataclasses.replace(trees, score=dict(zip(wanted, found, strict=True)))
    before, rows = [usual.sic_at(one) for one in wanted], []
    for network, classifiers in ((OF_ONE, usual), (OF_THREE, at_once)):
        points = [classifiers.sic_at(one) for one in wanted]
        sic, count, ratio = sic_of_seeds(points, before)
        numbers = {"AUC": mean_of_seeds(list(classifiers.aucs)), "SIC": sic}
        numbers |= {"ratio of SIC": ratio} if network == OF_THREE else {}
        for quantity, number in numbers.items():
            row = {"network": network, "trainings": len(wanted), "quantity": quantity}
            row["signal_efficiency"] = "" if quantity == "AUC" else study.figures.working_point
            behind = {"effective_background": count if quantity == "SIC" else ""}
            rows.append(row | ends(number) | behind)
    return rows


def printed(rows: Rows) -> Rows:
    """One line for the trees on the scores of `OF_ONE`, one for `OF_THREE`."""
    kinds = {OF_ONE: "trees on three scores", OF_THREE: "three jets at once"}

    def line(row: dict) -> dict[str, str]:
        return {"": f"{OF_ONE}, {kinds[row['network']]}", "seeds": row["trainings"]}

    def cells(row: dict) -> dict[str, str]:
        heading = "relative" if row["quantity"] == "ratio of SIC" else str(column(row))
        return {heading: cell(row)}

    return pivot(rows, line, cells)


def main() -> None:
    """Train, test, compare, write."""
    options = options_of(__doc__).parse_args()
    given = load_study(options.study)
    stands = variant(given, AS_IT_STANDS)
    results, study = read_results(stands, {}), with_options(stands)
    train(study, options.device)
    rows = compare(results, *score(study, choose_device(options.device)))
    print(f"{publish(given, 'three_jets', rows, printed)}: its table")


if __name__ == "__main__":
    run(main)
