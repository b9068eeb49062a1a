#!/usr/bin/env python
"""Step 4: gradient-boosted trees over the scores of an event's jets and over event features.

Reads Data/<study>/events.h5, scores.h5 and the training jets of AK08.h5, AK10.h5 and AK14.h5,
writes Data/<study>/trees.h5 and trees.json. All fits but one are grown on held-out events only,
which no base classifier was trained on, and share their folds: an event is scored once, by trees
that were grown on the other folds. A jet that does not exist has the score -1 and is passed to the
trees as it is.

The fits are the 23 of the paper and three for each network beyond its three (and one with DS2);
the three jets' scores once more for every further seed of a network; and what all of them are to be
compared with: trees on mass, pT and angularities of the three jets and of one jet alone, the latter
also grown on the very jets that train the networks, and trees grown and tested on permuted labels.
Fits whose inputs do not exist are left out, each with its reason.

    python fit_xgb.py --study demo            # 38 s on two cores
    python fit_xgb.py --device cuda           # study readme
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out
import environment  # noqa: F401 - says in a sentence what this Python lacks

# isort: split
import argparse
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import xgboost
from tqdm import tqdm

import products
from command import InputError, run
from jets.angularities import ANGULARITIES, angularities
from jets.packed import OBSERVABLES, EventTable, PackedJets, read_event_table, read_jets
from jets.scores import BaseScores, TreeScores, read_scores, write_trees
from jets.split import HELD_OUT, STOP, TRAIN, TTBAR, lowest, mass_point, uniform
from physics import JET_DEFINITIONS, JETS_PER_EVENT, MISSING_SCORE
from study import Study, add_study_option, load_study

PUBLISHED_NETWORKS = ("CNN", "CoAtNet", "MaxViT")
TRANSFORMERS = ("CoAtNet", "MaxViT")
FEATURES = {"DS1": OBSERVABLES[:4], "DS2": OBSERVABLES}
CLASSICAL = {  # what trees see of a jet in place of a network's score
    "mass": ("mass",),
    "pt": ("pt",),
    "mass_pt": ("mass", "pt"),
    "angularities": ("mass", "pt", *ANGULARITIES),
}
SAME_JETS = "same_jets"  # angularities too, but by trees grown on the jets that train the networks
OF_ONE_JET = ("mass_pt", "angularities", SAME_JETS)  # the others need no trees


def fits(networks: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Every fit over events and what it sees, as `AK14/MaxViT` (three scores), `DS1` or `DS2`.

    A network beyond the three published ones has its own fits, and no part in the combinations.

    Example:
        >>> len(fits(["CNN", "CoAtNet", "MaxViT"])), len(fits(["ViT"]))
        (23, 27)
        >>> fits([])["AK14_MaxViT_DS1"]
        ('AK14/MaxViT', 'DS1')
    """
    every = dict.fromkeys((*PUBLISHED_NETWORKS, *networks))
    scores = {f"{d}_{n}": (f"{d}/{n}",) for n in every for d in JET_DEFINITIONS}
    of_network = {n: tuple(f"{d}/{n}" for d in JET_DEFINITIONS) for n in PUBLISHED_NETWORKS}
    return (
        scores
        | {f"all_definitions_{n}": inputs for n, inputs in of_network.items()}
        | {
            f"{d}_all_networks": tuple(f"{d}/{n}" for n in PUBLISHED_NETWORKS)
            for d in JET_DEFINITIONS
        }
        | {"transformers": sum((of_network[n] for n in TRANSFORMERS), ())}
        | {"all": sum(of_network.values(), ())}
        | {"AK14_MaxViT_DS1": ("AK14/MaxViT", "DS1")}
        | {f"AK14_{n}_DS2": (f"AK14/{n}", "DS2") for n in every}
        | {"DS1": ("DS1",), "DS2": ("DS2",)}
    )


def comparisons() -> dict[str, tuple[str, ...]]:
    """Fits over events that see no network, as `AK14_angularities`: (`AK14/angularities`,)."""
    return {f"{d}_{name}": (f"{d}/{name}",) for d in JET_DEFINITIONS for name in CLASSICAL}


def repeats(scores: BaseScores) -> dict[str, tuple[str, ...]]:
    """Fits on the three jets' scores of further seeds, as `AK14_MaxViT_1`: (`AK14/MaxViT/1`,)."""
    return {
        name.replace("/", "_"): (name,)
        for name, score in scores.repeats.items()
        if score is not scores.networks[name.rpartition("/")[0]]
    }


def possible(
    wanted: Mapping[str, tuple[str, ...]], scores: BaseScores, table: EventTable
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The fits whose inputs exist, and the reason why each other one is left out."""
    left_out = {}
    for name, inputs in wanted.items():
        there = {*FEATURES, *scores.networks, *scores.repeats}
        there |= {f"{d}/{name}" for d in scores.jets for name in CLASSICAL}
        absent = [i for i in inputs if i not in there]
        if absent:
            left_out[name] = f"scores.h5 holds no scores of {', '.join(absent)}"
        elif table.observables is None and any(i in FEATURES for i in inputs):
            left_out[name] = "the published files hold no event observables"
    return {name: wanted[name] for name in wanted if name not in left_out}, left_out


def columns(
    inputs: tuple[str, ...], scores: BaseScores, table: EventTable
) -> dict[str, np.ndarray]:
    """What the trees of one fit see, by name, each (m,)."""
    seen = {}
    for source in inputs:
        if source in FEATURES:
            observables = dict(zip(OBSERVABLES, table.observables[scores.event].T, strict=True))
            seen |= {name: observables[name] for name in FEATURES[source]}
            continue
        definition, what = source.split("/", 1)
        three = {source: (scores.networks | scores.repeats).get(source)}
        if what in CLASSICAL:
            three = {name: scores.jets[definition][name] for name in CLASSICAL[what]}
        for name, value in three.items():
            seen |= {f"{name} jet {k}": value[:, k] for k in range(JETS_PER_EVENT)}
    return seen


def folds_and_offered(
    events: np.ndarray, is_signal: np.ndarray, study: Study
) -> tuple[np.ndarray, np.ndarray]:
    """The fold of every event, and whether the trees may be grown on it.

    Args:
        events: structured (m,) rows of the event table.
        is_signal: (m,)

    Returns:
        (m,) folds; (m,) False for signal events beyond `tree_events_per_mass_point` and for top
        pairs of other showers. Both follow from an event's key alone, with independent hashes.

    Raises:
        InputError: a fold without signal or without background.
    """
    fold = (uniform(events, salt="fold") * study.folds).astype(np.uint8)
    for process, what in ((STOP, "signal"), (TTBAR, "background")):
        of_class = events["process"] == process
        if len(np.unique(fold[of_class])) < study.folds:
            raise InputError(
                f"{study.data_dir}/events.h5: {np.sum(of_class)} held-out {what} events "
                f"do not fill {study.folds} folds; add {what} files or lower the study's folds"
            )
    chosen = lowest(
        uniform(events, salt="trees"), mass_point(events), study.tree_events_per_mass_point
    )
    return fold, (events["process"] == TTBAR) | (is_signal & chosen)


def grow(features: np.ndarray, is_signal: np.ndarray, study: Study, device: str) -> xgboost.Booster:
    """Trees on features (n, f), in one thread."""
    # Both classes weigh the same, as in the paper, where they are equally many.
    weight = np.where(is_signal, 0.5 / is_signal.mean(), 0.5 / (1.0 - is_signal.mean()))
    return xgboost.train(
        {
            "objective": "binary:logistic",
            "eta": study.tree_learning_rate,
            "tree_method": "hist",
            "device": device,
            "nthread": 1,
            "seed": 0,
        },
        xgboost.DMatrix(features, is_signal, weight=weight, nthread=1),
        num_boost_round=study.trees,
    )


def cross_fit(
    features: np.ndarray,
    is_signal: np.ndarray,
    fold: np.ndarray,
    offered: np.ndarray,
    study: Study,
    device: str,
) -> np.ndarray:
    """Out-of-fold probability of signal: the score of each row by trees grown on the other folds.

    One thread grows the trees of one fold, and all folds grow at once: no result depends on the
    number of cores.

    Args:
        features: (n, f)
        is_signal, fold: (n,)
        offered: (n,) rows that trees may be grown on; all are scored.
        study: folds, number of trees, learning rate.
        device: `cpu`, or a GPU as PyTorch names it.

    Returns:
        (n,) float32.
    """

    def grow_and_score(tested: np.ndarray) -> np.ndarray:
        rows = offered & ~tested
        trees = grow(features[rows], is_signal[rows], study, device)
        return trees.predict(xgboost.DMatrix(features[tested], nthread=1))

    tests = [fold == number for number in range(study.folds)]
    assert (np.sum(tests, axis=0) == 1).all(), "every event is a test event exactly once"
    score = np.full(len(fold), np.nan, np.float32)
    with ThreadPoolExecutor(products.cores() if device == "cpu" else 1) as pool:
        for tested, tested_score in zip(tests, pool.map(grow_and_score, tests), strict=True):
            score[tested] = tested_score
    return score


def scores_of_one_jet(
    jets: np.ndarray, names: tuple[str, ...], fit: Callable[..., np.ndarray]
) -> np.ndarray:
    """Trees on these columns of one jet, grown on classified jets; (m, 3), -1 without a jet."""
    score = np.full(jets.shape, MISSING_SCORE, np.float32)
    exists = jets["pt"] > 0
    event = np.broadcast_to(np.arange(len(jets))[:, None], jets.shape)[exists]
    features = np.stack([jets[name][exists] for name in names], axis=1)
    score[exists] = fit(features, event, jets["classified"][exists])
    return score


def scores_by_same_jets(
    jets: np.ndarray, packed: PackedJets, names: tuple[str, ...], study: Study, device: str
) -> np.ndarray:
    """Trees on these columns of one jet, grown on the `packed` jets, which train the networks.

    Returns:
        (m, 3), -1 without a jet.
    """
    shapes = angularities(packed.images, packed.side, packed.jet_definition)
    columns = [(shapes if name in ANGULARITIES else packed.jets)[name] for name in names]
    trees = grow(np.stack(columns, axis=1), packed.jets["label"] == 1, study, device)
    score = np.full(jets.shape, MISSING_SCORE, np.float32)
    exists = jets["pt"] > 0
    features = np.stack([jets[name][exists] for name in names], axis=1)
    score[exists] = trees.predict(xgboost.DMatrix(features, nthread=1))
    return score


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_study_option(parser)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")
    options = parser.parse_args()
    if options.device != "cpu":  # XGBoost itself would go on without one
        from training.learner import choose_device

        choose_device(options.device)
    study = load_study(options.study)
    manifest = study.data_dir / "trees.json"
    output = study.data_dir / "trees.h5"
    prepared = products.read_manifest(
        study.data_dir / "setup.json", "setup.py", study.settings("setup")
    )
    scored = products.read_manifest(
        study.data_dir / "scores.json",
        "predict_base_model_mass.py",
        study.settings_until("predict"),
        prepared["outputs"],
    )
    inputs = prepared["outputs"] | scored["outputs"]
    settings = study.settings_until("fit") | {
        "fits": fits(study.networks) | comparisons(),
        "of_one_jet": OF_ONE_JET,
    }
    if products.is_finished(manifest, settings, inputs):
        print(f"{output} is finished already")
        return

    with products.alone(manifest):
        with products.unchanged(inputs):
            trees, left_out = grow_all(study, settings["fits"], options.device)
            write_trees(output, trees)
        facts = {"left_out": left_out, "device": options.device}
        products.write_manifest(manifest, settings, inputs, [output], **facts)
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")
    print(f"wrote {output}: {len(trees.fits)} fits")


def grow_all(
    study: Study, wanted: Mapping[str, tuple[str, ...]], device: str
) -> tuple[TreeScores, dict[str, str]]:
    """Every fit whose inputs exist, and the reasons why others of `wanted` are left out."""
    table = read_event_table(study.data_dir / "events.h5")
    scores = read_scores(study.data_dir / "scores.h5", study.seeds)
    events = table.events[scores.event]
    assert (events["split"] == HELD_OUT).all(), "an event that was trained on is no test"
    is_signal = events["process"] == STOP
    fold, offered = folds_and_offered(events, is_signal, study)
    shuffled = np.random.default_rng(0).permutation(is_signal)
    every_fit = wanted | repeats(scores)
    chosen, left_out = possible(every_fit, scores, table)
    print(
        f"{len(events)} held-out events, {study.folds} folds, "
        f"{len(chosen)} of {len(every_fit)} fits"
    )

    def fit(
        features: np.ndarray,
        event: np.ndarray,
        usable: np.ndarray | bool = True,
        label: np.ndarray = is_signal,
    ) -> np.ndarray:
        return cross_fit(
            features,
            label[event],
            fold[event],
            offered[event] & usable,
            study,
            device,
        )

    found, inputs = {}, {}
    every = np.arange(len(events))
    of_one_jet = [(d, name) for d in scores.jets for name in OF_ONE_JET]
    progress = tqdm(total=len(chosen) + len(of_one_jet) + 1, unit="fit", disable=None)
    for name, sources in chosen.items():
        seen = columns(sources, scores, table)
        features = np.stack(list(seen.values()), axis=1)
        found[name], inputs[name] = fit(features, every), list(seen)
        progress.update()
    for definition, what in of_one_jet:
        name, jets = f"{definition}/{what}", scores.jets[definition]
        seen = CLASSICAL["angularities" if what == SAME_JETS else what]
        if what == SAME_JETS:
            packed = read_jets(study.data_dir / f"{definition}.h5", TRAIN)
            found[name] = scores_by_same_jets(jets, packed, seen, study, device)
        else:
            found[name] = scores_of_one_jet(jets, seen, fit)
        inputs[name] = list(seen)
        progress.update()
    every_column = columns(tuple(scores.networks), scores, table)
    features = np.stack(list(every_column.values()), axis=1)
    null_check = fit(features, every, label=shuffled)
    progress.update()
    progress.close()

    return TreeScores(scores.event, fold, found, inputs, shuffled, null_check), left_out


if __name__ == "__main__":
    run(main)
