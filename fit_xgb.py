#!/usr/bin/env python
"""Step 4: gradient-boosted trees over the scores of an event's jets and over event features.

Reads Data/<study>/events.h5, scores.h5 and the training jets of AK08.h5, AK10.h5 and AK14.h5,
writes Data/<study>/trees.h5 and trees.json. All fits but one are grown on held-out events only,
which no base classifier was trained on, and share their folds: an event is scored once, by trees
that were grown on the other folds. A jet that does not exist has the score -1 and is passed to the
trees as it is.

The fits are the 23 of the paper and three for each network beyond its three (and one with DS2);
those of AK14 networks with DS2 and all else that takes no network, and of that alone; the three
jets' scores once more for every further seed of a network; and what all of them are to be compared
with: trees on mass, pT and angularities of the three jets and of one jet alone, the latter also
grown on the very jets that train the networks, and trees grown and tested on permuted labels.
Fits whose inputs do not exist are left out, each with its reason.

If the study's section `event_networks` names networks, they are trained on the inputs of some of
the trees, with the same folds and weights, and their scores stand beside those of the trees
(doc/networks.md); EventSet brings trees on all objects of the event, which it sees. An interrupted
training goes on in Data/<study>/event_networks/.

    python fit_xgb.py --study demo            # 35 s on two cores
    python fit_xgb.py --device cuda           # study readme
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out
import environment  # noqa: F401 - says in a sentence what this Python lacks

# isort: split
import argparse
import itertools

import products
from command import run
from event_level.fits import beside_event_networks, fits
from event_level.trees import grow_all
from jets.scores import write_trees
from study import add_study_options, study_of
from training.plan import require_scored


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_study_options(parser)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")
    options = parser.parse_args()
    if options.device != "cpu":  # XGBoost itself would go on without one
        from training.learner import choose_device

        choose_device(options.device)
    study = study_of(options)
    manifest = study.data_dir / "trees.json"
    output = study.data_dir / "trees.h5"
    prepared = products.read_manifest(
        study.data_dir / "setup.json", "setup.py", study.settings("setup")
    )
    scored = products.read_manifest(
        study.data_dir / "scores.json",
        "predict_base_model_mass.py",
        study.settings("predict"),
        prepared["outputs"],
    )
    require_scored(study, scored)
    inputs = prepared["outputs"] | scored["outputs"]
    networks = beside_event_networks(study)
    of_jets = fits(study.classifiers.networks, study.jet_definitions)
    wanted = list(dict.fromkeys([*of_jets, *networks, *itertools.chain(*networks.values())]))
    settings = study.settings("fit") | {"fits": [one.stated for one in wanted]}
    if products.is_finished(manifest, settings, inputs):
        print(f"{output} is finished already")
        return

    with products.alone(manifest):
        with products.unchanged(inputs):
            trees, left_out = grow_all(study, wanted, options.device)
            write_trees(output, trees)
        facts = {"left_out": left_out, "device": options.device}
        products.write_manifest(manifest, settings, inputs, [output], **facts)
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")
    print(f"wrote {output}: {len(trees.fits)} fits")


if __name__ == "__main__":
    run(main)
