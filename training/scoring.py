"""Finished trainings, and the scores that their best epochs give held-out jets."""

import dataclasses
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path

import numpy as np
import torch
from numpy.lib.recfunctions import merge_arrays, repack_fields
from scipy.special import expit

from command import InputError
from jets.angularities import angularities
from jets.classifier import Classifier
from jets.packed import read_event_table
from jets.scores import JET_COLUMNS, read_array
from jets.split import HELD_OUT
from physics import JETS_PER_EVENT, MISSING_DELTA_R, MISSING_SCORE
from products import read_manifest, require_settings
from study import Study
from training import checkpoint
from training.inputs import INPUTS, Inputs, settings_of
from training.jet_images import read_split
from training.loop import logits_of
from training.plan import Training, trainings


@dataclass(frozen=True)
class Trained:
    """A finished training: its best epoch (from 0), the checkpoint of that and its fingerprint, the
    settings that decided its weights, and whether it sees images or no more than the mass."""

    training: Training
    best_epoch: int
    best: Path
    settings: dict
    fingerprint: dict
    sees_images: bool


def score_all(
    study: Study, trained: list[Trained], device: torch.device
) -> dict[str | Classifier, np.ndarray]:
    """What `jets.scores.write_scores` writes."""
    table = read_event_table(study.data_dir / "events.h5").events
    events = np.flatnonzero(table["split"] == HELD_OUT)
    arrays = {"events": events}
    for definition, group in groupby(trained, key=lambda one: one.training.jet_definition):
        jets = read_split(study, definition, HELD_OUT)
        print(f"{definition}: {len(jets)} jets of {len(events)} held-out events, none trained on")
        kinematics = repack_fields(jets.jets[list(JET_COLUMNS)])
        shapes = angularities(jets.images, jets.side, definition)
        columns = merge_arrays((kinematics, shapes), flatten=True)
        missing = np.zeros((), columns.dtype)
        missing["delta_r"] = MISSING_DELTA_R
        arrays[f"{definition}/jets"] = by_event(jets.jets, events, columns, missing)
        seen: dict[str, Inputs] = {}
        for one in group:
            kind = one.training.input
            if kind not in seen:
                seen[kind] = INPUTS[kind].read(study, definition, HELD_OUT, device)
            known = scored_before(one, study)
            if known is None:
                scores = signal_probability(one, study, seen[kind])
                known = by_event(seen[kind].table, events, scores, np.float32(MISSING_SCORE))
                print(f"{one.training}: scored", flush=True)
            arrays[one.training.classifier] = known
    return arrays


def finished_trainings(study: Study) -> list[Trained]:
    """All finished trainings of a study's networks and jet definitions, of any seed.

    Raises:
        InputError: one that the study asks for is missing, or one is not what its folder says.
    """
    models, asked = study.data_dir / "models", study.classifiers
    manifests = [
        manifest
        for definition, network in product(asked.jet_definitions, asked.networks)
        for manifest in models.glob(f"{definition}_{network}_*/manifest.json")
    ]
    trained = {one.training: one for one in (read_trained(path, study) for path in manifests)}
    of_any_seed = {dataclasses.replace(training, seed=0) for training in trained}
    for training in trainings(study):
        if dataclasses.replace(training, seed=0) not in of_any_seed:
            raise InputError(
                f"{training.directory(study)}: this training is not finished; "
                f"run train.py {training}, or train_all.sh, with the same --study first"
            )
        if training not in trained:
            print(f"{training}: not trained; another seed stands in")
    return [trained[training] for training in sorted(trained)]


def trained_seeds(study: Study, jet_definition: str, network: str) -> list[Trained]:
    """The trainings of a network that are finished, of the study's seeds."""
    asked = [Training(jet_definition, network, seed) for seed in study.classifiers.seeds]
    manifests = [one.directory(study) / "manifest.json" for one in asked]
    return [read_trained(path, study) for path in manifests if path.is_file()]


def read_trained(manifest: Path, study: Study) -> Trained:
    """What the manifest of a training names, if it still belongs to it and to the study."""
    record = read_manifest(manifest, made_by="train.py")
    settings = record["settings"]
    training = Training(*(settings[field.name] for field in dataclasses.fields(Training)))
    require_settings(manifest, f"train.py {training}", settings, settings_of(training, study))
    if training.directory(study) != manifest.parent:
        raise InputError(
            f"{manifest.parent}: holds {training}; delete the folder and run train.py again"
        )
    best = checkpoint.checkpoint_path(manifest.parent, record["best_epoch"])
    decisive = training.decisive(study, settings["jets_sha256"])
    sees_images = record.get("sees_images", True)
    fingerprint = record["outputs"][str(best)]
    return Trained(training, record["best_epoch"], best, decisive, fingerprint, sees_images)


def scored_before(trained: Trained, study: Study) -> np.ndarray | None:
    """The scores (events, 3) of the last run, if events, jets and checkpoint are what they were."""
    names = ("events", trained.training.jet_definition)
    made_from = [*(study.data_dir / f"{name}.h5" for name in names), trained.best]
    manifest = study.data_dir / "scores.json"
    try:
        record = read_manifest(manifest, "predict_base_model_mass.py", made_from=made_from)
        if not {str(path) for path in made_from} <= record["inputs"].keys():
            return None
        return read_array(study.data_dir / "scores.h5", trained.training.classifier.dataset)
    except InputError:  # there is no last run, or something has changed
        return None


def signal_probability(trained: Trained, study: Study, inputs: Inputs) -> np.ndarray:
    """The probability (n,) float32 of signal of all jets, or events."""
    training = trained.training
    network = training.create(study, inputs.size).to(inputs.device)
    checkpoint.load(trained.best, network, trained.settings)
    logits = logits_of(network, inputs, str(training)).astype(float)
    return expit(logits[:, 1] - logits[:, 0]).astype(np.float32)


def by_event(
    jets: np.ndarray, events: np.ndarray, value: np.ndarray, missing: np.ndarray | np.generic
) -> np.ndarray:
    """Values of `jets` (n,) with `event` and `k` as a table (events, 3), `missing` where an event
    has no such jet."""
    table = np.full((len(events), JETS_PER_EVENT), missing)
    table[np.searchsorted(events, jets["event"]), jets["k"]] = value
    return table
