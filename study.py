"""What a study is: the settings in which studies differ.

Settings are the fields of `Study`; its presets are `demo`, `readme`, `paper` and `best`, and a TOML
file can state a study of your own:

    base = "readme"          # any preset, or another such file beside it
    epochs = 10              # and what differs from it

The type of a setting names the step that it decides: when it changes, that step is to be done again
and all later ones with it; each refuses what an earlier one made with other settings.

A study shares the sample of its base unless it states another one, or differs from its base in a
setting that decides a simulation.
"""

import argparse
import dataclasses
import itertools
import json
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from command import InputError
from physics import BEAM_ENERGY, JET_DEFINITIONS
from processes import (
    BACKGROUND,
    PROCESSES,
    SIGNAL,
    STATED,
    VARIATION,
    Process,
    of_role,
    unregistered,
)

# --- Names --------------------------------------------------------------------------------------

SHUFFLED = "_shuffled"  # ends the name of a training on permuted labels
PIXEL_SCALES = ("linear", "sqrt", "log")  # of pixel values, after division by the maximum
INTEGER_MAX = 2**31  # larger ones are no settings
WIDTH_MAX = 10.0  # a hundred times the published weights


# --- Studies ------------------------------------------------------------------------------------


STEPS = ("simulate", "setup", "train", "predict", "fit", "plots")

# The step that a setting decides, and all later ones with it.
Value = TypeVar("Value")
Simulate = Annotated[Value, "simulate"]
Setup = Annotated[Value, "setup"]
Train = Annotated[Value, "train"]
Predict = Annotated[Value, "predict"]
Fit = Annotated[Value, "fit"]
Plots = Annotated[Value, "plots"]


@dataclass(frozen=True)
class Study:
    """The settings of one study; the defaults are those of the published code (`readme`)."""

    name: str
    sample: Setup[str] = ""  # the folder of collisions in train_data/; empty: the study's own name
    published_files: Setup[bool] = True  # without such a folder, read those in train_data/
    processes: Setup[tuple[str, ...]] = ("ttbar", "stop")  # in processes/, variations aside

    # The sample that simulate.py makes.
    stop_masses: Simulate[Setup[tuple[int, ...]]] = tuple(range(700, 1201, 25))
    neutralino_masses: Simulate[Setup[tuple[int, ...]]] = tuple(range(100, 501, 10))
    signal_events: Simulate[int] = 5_000  # fully selected, per mass point
    background_events: Simulate[int] = 60_000  # fully selected, all files of a process together
    background_files: Simulate[Setup[int]] = 10  # per process
    signal_loose_share: Simulate[float] = 1.0  # of the events with 5 or 6 jets, how many are kept
    background_loose_share: Simulate[float] = 1.0
    variation_events: Simulate[int] = 5_000  # fully selected, of each variation

    # The one event-level split: train, validation, held out.
    split: Setup[tuple[float, float, float]] = (0.5, 0.2, 0.3)  # of fully selected events
    split_loose: Setup[tuple[float, float, float]] = (0.7, 0.3, 0.0)  # of events with 5 or 6 jets
    training_jets_per_mass_point: Setup[int] = 475  # signal, train and validation together

    # Images and the appended mass.
    pixels_max: Setup[int] = 128  # along one side: pixels of larger images are summed n x n
    oriented: Setup[bool] = True  # [paper] images of our collisions; published ones are
    pixel_scale: Train[str] = "linear"  # [paper]; or sqrt, log
    standardised_mass: Train[bool] = False  # False: the mass in TeV, as published

    # Base classifiers.
    networks: Predict[tuple[str, ...]] = ("CNN", "CoAtNet", "MaxViT", "ViT")  # [paper], and ViT
    jet_definitions: Predict[tuple[str, ...]] = tuple(JET_DEFINITIONS)  # that they are trained on
    seeds: Predict[tuple[int, ...]] = (0,)  # of each training; the first enters trees and figures
    width: Train[float] = 1.0  # of every network, relative to the published one
    # network -> option -> value, where it is not the published network (doc/networks.md)
    network_options: Train[dict[str, dict[str, bool | float | str]]] = dataclasses.field(
        default_factory=dict
    )
    epochs: Train[int] = 5
    batch_size: Train[int] = 64
    learning_rate: Train[float] = 5e-4
    learning_rate_decay: Train[float] = 0.7  # per epoch
    cosine_schedule: Train[bool] = False  # instead: a warm-up, then a cosine down to 0
    weight_decay: Train[float] = 0.0  # decoupled from the gradient (AdamW)
    reflect: Train[bool] = False  # every second jet at random, anew in each epoch
    rotate: Train[bool] = False  # every jet about its axis by a random angle, anew in each epoch

    # Figures of merit. A training's history holds some too, with the settings of its time: they do
    # not decide its best epoch, so other settings make no training again.
    signal_efficiency_min: Plots[float] = 0.1  # of thresholds considered for max SIC ...
    background_jets_min: Plots[int] = 25  # ... which leave so many background jets or events
    background_events_min: Plots[int] = 10  # behind any point of an event-level SIC curve
    working_point: Plots[float] = 0.3  # signal efficiency
    bootstraps: Plots[int] = 100

    # Trees.
    folds: Fit[int] = 5
    trees: Fit[int] = 120
    tree_learning_rate: Fit[float] = 0.1
    tree_events_per_mass_point: Fit[int] = 2_000  # signal events offered to the trees

    def settings(self, step: str) -> dict[str, Any]:
        """The settings of one of `STEPS`.

        >>> PRESETS["readme"].settings("fit")["folds"]
        5
        """
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if step in getattr(field.type, "__metadata__", ())
        }

    def settings_until(self, step: str) -> dict[str, Any]:
        """The settings of a step and of all before it, from `setup` on, which takes any sample."""
        found = {}
        for earlier in STEPS[1 : STEPS.index(step) + 1]:
            found |= self.settings(earlier)
        return found

    @property
    def sample_dir(self) -> Path:
        """Our own collisions: `train_data/<sample>/`."""
        return Path("train_data") / (self.sample or self.name)

    def axes_of(self, process: Process) -> tuple[Sequence[int], ...]:
        """The values of each parameter of a process, or the indices of its files if it has none."""
        stated = dict(zip(STATED, (self.stop_masses, self.neutralino_masses), strict=True))
        if not process.parameters:
            return (range(self.background_files if process.role == BACKGROUND else 1),)
        return tuple(
            stated[name] if name in stated else process.values[i]
            for i, name in enumerate(process.parameters)
        )

    def files_of(self, process: Process) -> list[tuple[int, ...]]:
        """The numbers in the names of the files of a process that the study asks for."""
        return list(itertools.product(*self.axes_of(process)))

    def folder_of(self, process: Process) -> Path:
        """Where its files lie; those of a variation in `train_data/<sample>/<sample>_<name>/`.

        The name of that folder is of this sample and this variation, for the seeds follow from it.
        """
        if process.role == VARIATION:
            return self.sample_dir / f"{self.sample_dir.name}_{process.name}"
        return self.sample_dir

    @property
    def sample_files(self) -> list[Path]:
        """The files that simulate.py makes."""
        return [
            self.folder_of(process) / f"{process.sample_name(*numbers)}.h5"
            for process in map(PROCESSES.__getitem__, self.processes)
            for numbers in self.files_of(process)
        ]

    def variation_files(self, process: Process) -> list[Path]:
        """The files of a variation that are there."""
        return sorted(self.folder_of(process).glob("[!.]*.h5"))

    @property
    def data_dir(self) -> Path:
        """What the steps write: `Data/<study>/`."""
        return Path("Data") / self.name

    @property
    def plots_dir(self) -> Path:
        """Figures and tables: `plots/<study>/`."""
        return Path("plots") / self.name

    def image_pixels(self, jet_definition: str) -> int:
        """Pixels along one side of the image that the networks see."""
        return min(JET_DEFINITIONS[jet_definition].pixels, self.pixels_max)


# What we think better than the published networks, option by option in doc/networks.md.
IMPROVED = {
    "CoAtNet": {"normalised_features": True},
    "MaxViT": {"batch_norm_momentum": 0.1, "batch_norm_eps": 1e-5, "attention_scale": "head"},
}

PRESETS = {
    "readme": Study("readme"),
    "paper": Study("paper", epochs=15, training_jets_per_mass_point=3_480),
    # What raised the AUC of validation jets in doc/ordering.md, one setting at a time.
    "best": Study(
        "best",
        sample="readme",
        pixel_scale="sqrt",
        standardised_mass=True,
        network_options=IMPROVED,
        oriented=False,
        reflect=True,
        rotate=True,
    ),
    # Each difference from `readme` and its reason is a line of doc/differences.md.
    "demo": Study(
        "demo",
        published_files=False,
        stop_masses=(700, 900, 1100),
        neutralino_masses=(100, 300, 500),
        signal_events=500,
        background_events=2_500,
        background_files=2,
        signal_loose_share=0.5,
        background_loose_share=0.1,
        split=(0.2, 0.1, 0.7),
        training_jets_per_mass_point=200,
        pixels_max=32,
        pixel_scale="sqrt",
        standardised_mass=True,
        width=0.25,
        network_options=IMPROVED,
        epochs=5,
        learning_rate=1e-3,
        background_jets_min=10,
        working_point=0.5,
    ),
}


def load_study(name: str) -> Study:
    """A preset by its name, or the study that a TOML file states.

    Raises:
        InputError: unknown preset, unreadable file, unknown key, or a value of the wrong type.
    """
    chain: dict[str, tuple[Path, dict[str, Any]]] = {}
    while name not in PRESETS:
        path = Path(name)
        if path.suffix != ".toml":
            raise InputError(
                f"unknown study {name!r}: expected {', '.join(PRESETS)} or a .toml file that "
                "states one"
            )
        stated = _read_toml(path)
        if (file := os.path.realpath(path)) in chain:
            between = " -> ".join(str(other) for other, _ in chain.values())
            raise InputError(
                f"{path}: is based on itself ({between} -> {path}); base one of them on "
                f"{', '.join(PRESETS)}"
            )
        base = stated.pop("base", "readme")
        if not (isinstance(base, str) and (base in PRESETS or base.endswith(".toml"))):
            raise InputError(
                f"{path}: base is {base!r}, expected one of {', '.join(PRESETS)} or another TOML "
                "file"
            )
        chain[file] = path, stated
        name = base if base in PRESETS else str(path.parent / base)
    study, is_sample_stated = PRESETS[name], bool(PRESETS[name].sample)
    for path, stated in reversed(chain.values()):
        based_on, study = study, _changed(study, path, stated)
        is_sample_stated = bool(stated.get("sample", is_sample_stated))
        if not is_sample_stated:
            is_same = study.settings("simulate") == based_on.settings("simulate")
            sample = based_on.sample_dir.name if is_same else ""
            study = dataclasses.replace(study, sample=sample)
        _check(path, study)
    return study


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such study file; name a preset or write one") from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8 or no TOML
        raise InputError(f"{path}: not a readable TOML file ({error})") from None


def _changed(base: Study, path: Path, stated: dict[str, Any]) -> Study:
    """A study with the settings that the file at `path` states."""
    fields = {field.name: getattr(base, field.name) for field in dataclasses.fields(Study)}
    for key, value in ({"name": path.stem} | stated).items():
        if key not in fields:
            raise InputError(
                f"{path}: unknown setting {key!r}; the fields of study.Study are known"
            )
        fields[key] = _same_type(path, key, value, fields[key])
    if fields["name"] in PRESETS:
        raise InputError(f"{path}: the name {fields['name']!r} belongs to a preset; choose another")
    return Study(**fields)


def to_toml(study: Study) -> str:
    """A study as the TOML file that states it, every setting spelled out.

    >>> print(to_toml(PRESETS["demo"]).splitlines()[1])
    name = "demo"
    """
    settings = dataclasses.asdict(study)
    of_networks = settings.pop("network_options")
    lines = ['base = "readme"']  # TOML writes values as JSON does, but for tables
    lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    for network, options in of_networks.items():
        lines.append(f"[network_options.{json.dumps(network)}]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    return "\n".join(lines) + "\n"


def _check(path: Path, study: Study) -> None:
    """Refuse settings that no step could use; fractions of the split are the split's own."""

    def require(name: str, good: bool, expected: str) -> None:
        if not good:
            raise InputError(f"{path}: {name} is {getattr(study, name)!r}, expected {expected}")

    for name in ("name", "sample"):
        plain = re.fullmatch(r"(?!tags$)[A-Za-z0-9][\w.-]*", getattr(study, name))
        good = bool(plain) or (name == "sample" and not study.sample)
        require(name, good, "a folder's name (not tags, which tag.py has)")
    for name in ("stop_masses", "neutralino_masses"):
        masses = getattr(study, name)
        rising = all(low < high for low, high in itertools.pairwise(masses))
        possible = masses[0] > 0 and masses[-1] < BEAM_ENERGY / 2
        require(name, rising and possible, f"rising masses in GeV, below {BEAM_ENERGY / 2:g}")
    for name in study.processes:
        if name not in PROCESSES:
            raise InputError(f"{path}: {unregistered(name)}")
    for role in (SIGNAL, BACKGROUND):
        good = set(study.processes) <= set(of_role(SIGNAL, BACKGROUND))
        good &= not of_role(role).keys().isdisjoint(study.processes)
        require("processes", good, "at least one signal and one background, no variation")
    require("pixels_max", study.pixels_max in (32, 64, 128), "32, 64 or 128")
    require("pixel_scale", study.pixel_scale in PIXEL_SCALES, f"one of {', '.join(PIXEL_SCALES)}")
    for name, known in (
        ("jet_definitions", set(JET_DEFINITIONS)),
        ("processes", set(PROCESSES)),
        ("seeds", range(INTEGER_MAX)),
    ):
        values = getattr(study, name)
        good = len(set(values)) == len(values) and all(value in known for value in values)
        require(name, good, "each once, 0 or more" if name == "seeds" else ", ".join(known))
    for field in dataclasses.fields(Study):
        value = getattr(study, field.name)
        if field.name in ("folds", "bootstraps"):
            require(field.name, 2 <= value < INTEGER_MAX, f"2 or more, below {INTEGER_MAX}")
        elif field.name in ("signal_loose_share", "background_loose_share", "weight_decay"):
            require(field.name, 0 <= value <= 1, "0 to 1")
        elif field.name in ("working_point", "signal_efficiency_min"):
            require(field.name, 0 < value < 1, "a number between 0 and 1")
        elif field.name == "width":
            require(field.name, 0 < value <= WIDTH_MAX, f"more than 0, at most {WIDTH_MAX:g}")
        elif type(value) in (int, float):
            require(field.name, 0 < value < INTEGER_MAX, f"more than 0, below {INTEGER_MAX}")


def _same_type(path: Path, key: str, value, default):
    """`value` in the type of `default`, or an InputError; integers pass for floats."""
    if isinstance(default, dict):  # whole, not merged with the base's
        if isinstance(value, dict) and all(isinstance(options, dict) for options in value.values()):
            return value
    elif isinstance(default, tuple):
        if isinstance(value, list) and value:
            return tuple(_same_type(path, key, item, default[0]) for item in value)
    elif isinstance(default, float) and type(value) is int and abs(value) < INTEGER_MAX:
        return float(value)
    elif type(value) is type(default):
        return value
    raise InputError(f"{path}: {key} is {value!r}, expected a value like {default!r}")


def add_study_option(parser: argparse.ArgumentParser) -> None:
    """The one option that every script has."""
    parser.add_argument(
        "--study",
        default="readme",
        metavar="NAME",
        help=f"{', '.join(PRESETS)} or a TOML file (default: readme)",
    )
