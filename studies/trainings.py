"""Small trainings of a study: each is made once, in a folder of its own, by the run that is first.

The folder holds history.csv, scores as NumPy files, the manifest and, of a network, checkpoints.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from evaluation.pages import Rows, with_numbers
from products import (
    BeingMade,
    alone,
    atomic_write,
    is_finished,
    read_csv,
    read_manifest,
    write_csv,
    write_manifest,
    write_text,
)
from studies.pages import call_with
from study import Study, to_toml
from training import checkpoint


class Made(NamedTuple):
    """What a training gives.

    Attributes:
        history: one row per epoch.
        scores: arrays, by the names of their files.
        facts: what else stands in the manifest.
    """

    history: Rows
    scores: Mapping[str, np.ndarray]
    facts: Mapping[str, object]


def train_once(
    directory: Path,
    aside: Path,
    settings: Mapping,
    make: Callable[[dict], Made],
    scored: Mapping | None = None,
) -> None:
    """Make a training, unless that is done.

    Args:
        directory: its own.
        aside: where its checkpoints go if they have other settings.
        settings: all that decides it, to be written as JSON.
        make: trains and scores; it is given the settings as JSON has them, for the checkpoints.
        scored: what else decides the scores: if that alone changes, the checkpoints stay.

    Raises:
        BeingMade: another process is at it.
    """
    settings = json.loads(json.dumps(settings))
    manifest, decisive = directory / "manifest.json", settings | dict(scored or {})
    if is_finished(manifest, decisive, []):
        return
    with alone(directory):
        checkpoint.set_aside(directory, aside, settings)
        directory.mkdir(parents=True, exist_ok=True)
        history, scores, facts = make(settings)
        products = [directory / "history.csv", *(directory / f"{name}.npy" for name in scores)]
        write_csv(products[0], history)
        for path, score in zip(products[1:], scores.values(), strict=True):
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                np.save(file, score)
        write_manifest(manifest, decisive, {}, products, **facts)


def read_training(directory: Path) -> Made:
    """A finished training, its facts with all else that its manifest holds."""
    facts = read_manifest(directory / "manifest.json", "this study")
    history = [with_numbers(row) for row in read_csv(directory / "history.csv")]
    paths = [Path(path) for path in facts["outputs"] if path.endswith(".npy")]
    return Made(history, {path.stem: np.load(path) for path in paths}, facts)


def run_all(asked: Iterable[tuple], run: Callable[..., None]) -> bool:
    """Call `run` with each, which may raise BeingMade; whether none did."""
    others = 0
    for one in tqdm(asked, "trainings", disable=None):
        try:
            run(*one)
        except BeingMade as error:
            print(error, flush=True)
            others += 1
    if others:
        print(f"{others} trainings are another run's; run the same command again for the page")
    return not others


def quick(study: Study, events: int, epochs: int) -> Study:
    """The study with one seed, few epochs and a small sample, which is made, of its own: does
    everything run?"""
    name = f"{study.name}_quick"
    study = study.changed(
        name,
        simulation={"signal_events": events, "background_events": events},
        sample={"folder": name},
        training={"epochs": epochs},
        classifiers={"seeds": study.classifiers.seeds[:1]},
    )
    path = study.data_dir / "study.toml"
    write_text(path, to_toml(study))
    call_with(path, ["simulate.py"], None)
    return study
