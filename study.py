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
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from command import InputError
from physics import BEAM_ENERGY, JET_DEFINITIONS

# --- Names --------------------------------------------------------------------------------------

SHUFFLED = "_shuffled"  # ends the name of a training on permuted labels
PIXEL_SCALES = ("linear", "sqrt", "log")  # of pixel values, after division by the maximum
EQUALISE = ("none", "signal", "flat")  # spectra of the classes in training
EQUALISE_IN = ("pt", "mass")
NEGATIVE_WEIGHTS = ("refuse", "leave out", "absolute")  # in training
INTEGER_MAX = 2**31  # larger ones are no settings
WIDTH_MAX = 10.0  # a hundred times the published weights


def sample_name(process: str, m_stop: int, m_neutralino: int, index: int) -> str:
    """The name of one file of collisions, without its suffix.

    >>> sample_name("ttbar", -1, -1, 0), sample_name("stop", 900, 300, -1)
    ('ttbar_0', 'stop_900_300')
    """
    return f"ttbar_{index}" if process == "ttbar" else f"stop_{m_stop}_{m_neutralino}"


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

    # The sample that simulate.py makes.
    stop_masses: Simulate[Setup[tuple[int, ...]]] = tuple(range(700, 1201, 25))
    neutralino_masses: Simulate[Setup[tuple[int, ...]]] = tuple(range(100, 501, 10))
    signal_events: Simulate[int] = 5_000  # fully selected, per mass point
    background_events: Simulate[int] = 60_000  # fully selected, all files together
    background_files: Simulate[Setup[int]] = 10
    signal_loose_share: Simulate[float] = 1.0  # of the events with 5 or 6 jets, how many are kept
    background_loose_share: Simulate[float] = 1.0
    variation_events: Simulate[int] = 5_000  # fully selected top pairs of each of SHOWER_VARIATIONS

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
    loss: Train[str] = "cross entropy"  # a key of training.losses.LOSSES
    # The spectra that training and validation jets are weighted to (training/weights.py): "signal",
    # the background has the signal's (weaver: ref); "flat", both are flat (weaver: flat).
    equalise: Train[str] = "none"
    equalise_in: Train[tuple[str, ...]] = ("pt",)  # or pt and mass
    negative_weights: Train[str] = "refuse"  # of events; or leave out, or absolute: |w|
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

    @property
    def sample_files(self) -> list[Path]:
        """The files that simulate.py makes, the background first: it takes longest."""
        names = [sample_name("ttbar", -1, -1, index) for index in range(self.background_files)]
        names += [
            sample_name("stop", *masses, -1)
            for masses in itertools.product(self.stop_masses, self.neutralino_masses)
        ]
        return [self.sample_dir / f"{name}.h5" for name in names]

    def variation_dir(self, name: str) -> Path:
        """Top pairs of another shower, a key of `SHOWER_VARIATIONS`: `train_data/<sample>/<name>/`.

        The name is of this sample and this variation, for the seeds follow from it.
        """
        return self.sample_dir / f"{self.sample_dir.name}_{name}"

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
    require("pixels_max", study.pixels_max in (32, 64, 128), "32, 64 or 128")
    require("pixel_scale", study.pixel_scale in PIXEL_SCALES, f"one of {', '.join(PIXEL_SCALES)}")
    for name, known in (("equalise", EQUALISE), ("negative_weights", NEGATIVE_WEIGHTS)):
        require(name, getattr(study, name) in known, f"one of {', '.join(known)}")
    for name, known in (
        ("jet_definitions", JET_DEFINITIONS),
        ("seeds", range(INTEGER_MAX)),
        ("equalise_in", EQUALISE_IN),
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
