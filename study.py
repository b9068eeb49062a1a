"""What a study is: the settings in which studies differ.

A study is eight frozen sections, each of which decides one step of the pipeline (`SECTIONS`). When
a setting changes, its step is to be done again and all later ones with it; each refuses what an
earlier one made with other settings. The presets are `demo`, `readme`, `paper` and `best`; a TOML
file can state a study of your own, with a table for each section:

    base = "readme"          # any preset, or another such file beside it
    [training]
    epochs = 10              # and what differs from it

Every script takes `--set training.epochs=10` for the same purpose. A study shares the sample of its
base unless it names another one, or differs from its base in what simulate.py makes.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from command import InputError
from physics import BEAM_ENERGY, IMAGED_JETS, JET_DEFINITIONS, JetDefinition
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
EQUALISE = ("none", "signal", "flat")  # spectra of the classes in training
EQUALISE_IN = ("pt", "mass")  # columns of whatever is trained on
NEGATIVE_WEIGHTS = ("refuse", "leave out", "absolute")  # in training
# The epoch of a training: the largest value of a column of its history, times a sign.
CHOOSE_BY = {"loss": ("loss", -1), "AUC": ("auc", 1), "significance": ("significance", 1)}
SPECTATORS = ("MJ", "AK14 mass")  # of events
INTEGER_MAX = 2**31  # larger ones are no settings
WIDTH_MAX = 10.0  # a hundred times the published weights


# --- Sections -----------------------------------------------------------------------------------


def later(default: Any) -> Any:
    """A setting that came later than products that stay valid: no manifest names its default."""
    return field(default=default, metadata={"is_later": True})


def stated(section: Any) -> dict[str, Any]:
    """The settings of a section as manifests hold them, see `later`.

    >>> "scope" in stated(TrainingSettings()), stated(TrainingSettings(scope=(1.0, 2.0)))["scope"]
    (False, (1.0, 2.0))
    """
    unnamed = {one.name: one.default for one in dataclasses.fields(section) if one.metadata}
    settings = dataclasses.asdict(section)
    return {name: x for name, x in settings.items() if name not in unnamed or x != unnamed[name]}


@dataclass(frozen=True)
class SimulationSettings:
    """How many events simulate.py makes; fully selected ones, but for the shares."""

    signal_events: int = 5_000  # per mass point
    background_events: int = 60_000  # all files of a process together
    signal_loose_share: float = 1.0  # of the events with 5 or 6 jets, how many are kept
    background_loose_share: float = 1.0
    variation_events: int = 5_000  # of each variation, or of each of its slices
    # process -> events, where it is another number; such as of a slice with a tail of interest
    events_of: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SampleSettings:
    """The files of collisions that setup.py reads; simulate.py makes them."""

    folder: str = ""  # in train_data/; empty: the study's own name
    published_files: bool = True  # without such a folder, read those in train_data/
    processes: tuple[str, ...] = ("ttbar", "stop")  # names in processes/, variations aside
    stop_masses: tuple[int, ...] = tuple(range(700, 1201, 25))  # GeV
    neutralino_masses: tuple[int, ...] = tuple(range(100, 501, 10))  # GeV
    background_files: int = 10  # of each process without parameters


@dataclass(frozen=True)
class ImageSettings:
    """The jets that setup.py packs, their images and the one event-level split.

    Fractions of events are those of training, validation and test (held-out events).
    """

    split: tuple[float, float, float] = (0.5, 0.2, 0.3)  # of fully selected events
    split_loose: tuple[float, float, float] = (0.7, 0.3, 0.0)  # of events with 5 or 6 jets
    training_jets_per_mass_point: int = 475  # signal, training and validation together
    training_background_ratio: float = 1.0  # background over signal jets, if there are so many
    training_ht_min: float = 0.0  # GeV, of the events whose jets train and validate
    pixels_max: int = 128  # along one side: pixels of larger images are summed n x n
    oriented: bool = True  # [paper] images of our collisions; published ones are


@dataclass(frozen=True)
class TrainingSettings:
    """How train.py trains a network."""

    pixel_scale: str = "linear"  # [paper]; or sqrt, log
    standardised_mass: bool = False  # False: the mass in TeV, as published
    width: float = 1.0  # of every network, relative to the published one
    # network -> option -> value, where it is not the published network (doc/networks.md)
    network_options: dict[str, dict[str, bool | float | str]] = field(default_factory=dict)
    loss: str = "cross entropy"  # a key of training.losses.LOSSES
    spectator: str = ""  # the column of jets that the loss sees beside the logits: pt or mass
    decorrelation: float = later(0.0)  # times the distance correlation with the spectator
    scope: tuple[float, ...] = later(())  # the spectator's [low, high] where events are classified
    by_cross_section: bool = later(False)  # events weigh as they are expected (jets/weights.py)
    choose_by: str = later("loss")  # of the epochs: the least; the largest AUC or significance
    # The spectra that training and validation jets are weighted to (jets/weights.py): "signal",
    # the background has the signal's (weaver: ref); "flat", both are flat (weaver: flat).
    equalise: str = "none"
    equalise_in: tuple[str, ...] = ("pt",)  # or pt and mass
    negative_weights: str = "refuse"  # of events; or leave out, or absolute: |w|
    drawn: bool = False  # jets as often as they weigh, of both classes as many: losses do not weigh
    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 5e-4
    learning_rate_decay: float = 0.7  # per epoch
    cosine_schedule: bool = False  # instead: a warm-up, then a cosine down to 0
    weight_decay: float = 0.0  # decoupled from the gradient (AdamW)
    reflect: bool = False  # every second jet at random, other ones in each epoch
    rotate: bool = False  # every jet about its axis, by another random angle in each epoch


@dataclass(frozen=True)
class ClassifierSettings:
    """The trainings of a study, which predict_base_model_mass.py scores."""

    networks: tuple[str, ...] = ("CNN", "CoAtNet", "MaxViT", "ViT")  # [paper], and ViT
    jet_definitions: tuple[str, ...] = tuple(JET_DEFINITIONS)  # that they are trained on
    seeds: tuple[int, ...] = (0,)  # of each training; the first enters trees and figures


@dataclass(frozen=True)
class TreeSettings:
    """How fit_xgb.py grows trees."""

    folds: int = 5
    number: int = 120
    learning_rate: float = 0.1
    events_per_mass_point: int = 2_000  # signal events offered to the trees
    negative_weights: str = "refuse"  # of events; or leave out, or absolute: |w|


@dataclass(frozen=True)
class EventNetworkSettings:
    """The networks that fit_xgb.py trains on what trees see: each with each loss, strength, seed.

    By default there are none. The learning rate follows the cosine schedule.
    """

    networks: tuple[str, ...] = later(())  # of event features: EventTransformer, FeedForward
    losses: tuple[str, ...] = later(("cross entropy",))  # keys of training.losses.LOSSES
    decorrelations: tuple[float, ...] = later((0.0,))  # strengths, away from the spectator
    spectator: str = later("")  # of an event: MJ, or the mean mass of its AK14 jets
    seeds: tuple[int, ...] = later((0,))
    inputs: tuple[str, ...] = later(())  # those of trees of these names, e.g. DS2; (): of all
    choose_by: str = later("loss")  # of the epochs, as of jet networks
    epochs: int = later(30)
    batch_size: int = later(256)
    learning_rate: float = later(1e-3)


@dataclass(frozen=True)
class FigureSettings:
    """Figures of merit.

    The history of a training holds some too, with the settings of its time: they do not decide its
    best epoch, so other settings make no training again.
    """

    signal_efficiency_min: float = 0.1  # of thresholds considered for max SIC ...
    background_jets_min: int = 25  # ... which leave so many background jets or events
    background_events_min: int = 10  # behind any point of an event-level SIC curve
    working_point: float = 0.3  # signal efficiency
    bootstraps: int = 100


# --- Studies ------------------------------------------------------------------------------------

SECTIONS = {  # step -> the sections that decide it, besides those of the steps before it
    "simulate": ("simulation",),
    "setup": ("sample", "images"),
    "train": ("training",),
    "predict": ("classifiers",),
    "fit": ("trees", "event_networks"),
    "plots": ("figures",),
}


@dataclass(frozen=True)
class Study:
    """The settings of one study; the defaults are those of the published code (`readme`)."""

    name: str
    simulation: SimulationSettings = SimulationSettings()
    sample: SampleSettings = SampleSettings()
    images: ImageSettings = ImageSettings()
    training: TrainingSettings = TrainingSettings()
    classifiers: ClassifierSettings = ClassifierSettings()
    trees: TreeSettings = TreeSettings()
    event_networks: EventNetworkSettings = EventNetworkSettings()
    figures: FigureSettings = FigureSettings()

    def changed(self, name: str | None = None, **sections: Mapping[str, Any]) -> "Study":
        """The study with some settings changed.

        >>> PRESETS["demo"].changed(training={"epochs": 7}).training.epochs
        7
        """
        return dataclasses.replace(
            self,
            name=name or self.name,
            **{
                section: dataclasses.replace(getattr(self, section), **settings)
                for section, settings in sections.items()
            },
        )

    def settings(self, step: str) -> dict[str, dict[str, Any]]:
        """What a step's manifest holds: its own sections whole, those before it by their hash.

        The sample may be any: how it was simulated is no part of it. A section all of which came
        later has no hash where it has its defaults (see `later`).

        >>> found = PRESETS["readme"].settings("fit")
        >>> found["trees"]["folds"], list(found["earlier"])
        (5, ['sample', 'images', 'training', 'classifiers'])
        """
        steps = list(SECTIONS)
        before = [name for one in steps[1 : steps.index(step)] for name in SECTIONS[one]]
        before = [name for name in before if stated(getattr(self, name))]
        earlier = {"earlier": {name: self._hash(name) for name in before}} if before else {}
        return earlier | {name: stated(getattr(self, name)) for name in SECTIONS[step]}

    def _hash(self, section: str) -> str:
        text = json.dumps(stated(getattr(self, section)), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def sample_dir(self) -> Path:
        """Our own collisions: `train_data/<sample>/`."""
        return Path("train_data") / (self.sample.folder or self.name)

    def axes_of(self, process: Process) -> tuple[Sequence[int], ...]:
        """The values of each parameter of a process, or the indices of its files if it has none."""
        masses = self.sample.stop_masses, self.sample.neutralino_masses
        stated = dict(zip(STATED, masses, strict=True))
        if not process.parameters:
            n_files = self.sample.background_files if process.role == BACKGROUND else 1
            return (range(n_files),)
        return tuple(
            stated[name] if name in stated else process.values[i]
            for i, name in enumerate(process.parameters)
        )

    def files_of(self, process: Process) -> list[tuple[int, ...]]:
        """The numbers in the names of the files of a process that the study asks for."""
        return list(itertools.product(*self.axes_of(process)))

    def folder_of(self, process: Process) -> Path:
        """Where its files lie; of a variation, `train_data/<sample>/<sample>_<variation>/`.

        The seeds follow from the name of that folder, so it names the sample and the variation.
        """
        if process.role == VARIATION:
            return self.sample_dir / f"{self.sample_dir.name}_{process.variation}"
        return self.sample_dir

    @property
    def sample_files(self) -> list[Path]:
        """The files that simulate.py makes."""
        return [
            self.folder_of(process) / f"{process.sample_name(*numbers)}.h5"
            for process in map(PROCESSES.__getitem__, self.sample.processes)
            for numbers in self.files_of(process)
        ]

    def variation_files(self, process: Process) -> list[Path]:
        """The files of a process of a variation that are there."""
        return sorted(self.folder_of(process).glob(f"{process.varies}_[0-9]*.h5"))

    @property
    def data_dir(self) -> Path:
        """What the steps write: `Data/<study>/`."""
        return Path("Data") / self.name

    @property
    def plots_dir(self) -> Path:
        """Figures and tables: `plots/<study>/`."""
        return Path("plots") / self.name

    @property
    def beam_energy(self) -> float:
        """GeV, of both protons together."""
        return PROCESSES[self.sample.processes[0]].energy

    @property
    def jet_definitions(self) -> dict[str, JetDefinition]:
        """Of the jets that setup.py packs: those of an event, or of its jets of particles."""
        selected = (PROCESSES[name].jets for name in self.sample.processes)
        radii = {jets.radius for jets in selected if jets}
        if not radii:
            return JET_DEFINITIONS
        return {name: one for name, one in IMAGED_JETS.items() if one.radius in radii}

    def packed_file(self, jet_definition: str) -> Path:
        """Where setup.py packs the jets of a definition.

        Raises:
            InputError: the study has no such jets.
        """
        if jet_definition not in self.jet_definitions:
            known = ", ".join(self.jet_definitions)
            raise InputError(f"study {self.name} has no {jet_definition} jets; it has {known}")
        return self.data_dir / f"{jet_definition}.h5"

    def image_pixels(self, jet_definition: str) -> int:
        """Pixels along one side of the image that the networks see."""
        return min(IMAGED_JETS[jet_definition].pixels, self.images.pixels_max)


# What we think better than the published networks, option by option in doc/networks.md.
IMPROVED = {
    "CoAtNet": {"normalised_features": True},
    "MaxViT": {"batch_norm_momentum": 0.1, "batch_norm_eps": 1e-5, "attention_scale": "head"},
}
README = Study("readme")
OF_OURS = {"networks": (*README.classifiers.networks, "JetViT")}  # it needs collisions of our own
PRESETS = {
    "readme": README,
    "paper": README.changed(
        "paper", images={"training_jets_per_mass_point": 3_480}, training={"epochs": 15}
    ),
    # What paid in doc/ordering.md and doc/tail.md: top pairs in slices of the activity, networks
    # trained on jets without selection that have the spectrum of the signal.
    "best": README.changed(
        "best",
        simulation={
            "signal_events": 1_000,
            "signal_loose_share": 0.0,
            "background_loose_share": 0.0,
            "events_of": {
                "ttbar_soft": 20_000,
                "ttbar_hard": 60_000,
                "ttbar_jets": 200_000,
                "ttbar_jets_hard": 200_000,
                "stop_jets": 1_200,
            },
        },
        sample={
            "published_files": False,
            "processes": (
                "ttbar_soft",
                "ttbar_hard",
                "ttbar_jets",
                "ttbar_jets_hard",
                "stop",
                "stop_jets",
            ),
            "background_files": 20,
        },
        images={
            "split": (0.0, 0.0, 1.0),  # the jets for training are others
            "split_loose": (0.9, 0.1, 0.0),
            "training_background_ratio": 3.0,  # what has the signal's pT is rare
            "oriented": False,
        },
        training={
            "pixel_scale": "sqrt",
            "standardised_mass": True,
            "network_options": IMPROVED,
            "choose_by": "AUC",
            "equalise": "signal",
            "drawn": True,
            "cosine_schedule": True,
            "reflect": True,
            "rotate": True,
        },
        classifiers=OF_OURS,
    ),
    # Each difference from `readme` and its reason is a line of doc/differences.md.
    "demo": README.changed(
        "demo",
        simulation={
            "signal_events": 500,
            "background_events": 2_500,
            "signal_loose_share": 0.5,
            "background_loose_share": 0.1,
        },
        sample={
            "published_files": False,
            "stop_masses": (700, 900, 1100),
            "neutralino_masses": (100, 300, 500),
            "background_files": 2,
        },
        images={
            "split": (0.2, 0.1, 0.7),
            "training_jets_per_mass_point": 200,
            "pixels_max": 32,
        },
        training={
            "pixel_scale": "sqrt",
            "standardised_mass": True,
            "width": 0.25,
            "network_options": IMPROVED,
            "learning_rate": 1e-3,
        },
        classifiers=OF_OURS,
        figures={"background_jets_min": 10, "working_point": 0.5},
    ),
}


# --- Rules of settings, by their names ------------------------------------------------------------

CHOICES = {
    "pixels_max": (32, 64, 128),
    "pixel_scale": PIXEL_SCALES,
    "equalise": EQUALISE,
    "negative_weights": NEGATIVE_WEIGHTS,
    "spectator": ("", *EQUALISE_IN),
    "choose_by": tuple(CHOOSE_BY),
    "event_networks.spectator": ("", *SPECTATORS),
}
KNOWN = {  # of which there are several, each once
    "processes": PROCESSES,
    "jet_definitions": IMAGED_JETS,
    "seeds": range(INTEGER_MAX),
    "equalise_in": EQUALISE_IN,
}
MAY_BE_EMPTY = {  # place -> such a value
    "training.scope": 0.0,
    "event_networks.networks": "",
    "event_networks.inputs": "",
}


def _is_scope(ends: Sequence[float]) -> bool:
    return not ends or (len(ends) == 2 and -math.inf < ends[0] < ends[1] < math.inf)


def _are_strengths(values: Sequence[float]) -> bool:
    return len(set(values)) == len(values) and all(0 <= value < INTEGER_MAX for value in values)


_SHARE = (lambda value: 0 <= value <= 1), "0 to 1"
_INSIDE = (lambda value: 0 < value < 1), "a number between 0 and 1"
_SEVERAL = (lambda value: 2 <= value < INTEGER_MAX), f"2 or more, below {INTEGER_MAX}"
INTERVALS = {
    **dict.fromkeys(("signal_loose_share", "background_loose_share", "weight_decay"), _SHARE),
    **dict.fromkeys(("working_point", "signal_efficiency_min"), _INSIDE),
    **dict.fromkeys(("folds", "bootstraps"), _SEVERAL),
    "training_ht_min": ((lambda value: 0 <= value < BEAM_ENERGY), f"0 to {BEAM_ENERGY:g} GeV"),
    "width": ((lambda value: 0 < value <= WIDTH_MAX), f"more than 0, at most {WIDTH_MAX:g}"),
    "decorrelation": ((lambda value: 0 <= value < INTEGER_MAX), f"0 or more, below {INTEGER_MAX}"),
    "scope": (_is_scope, "[] or two rising numbers"),
    "decorrelations": (_are_strengths, f"each once, 0 or more, below {INTEGER_MAX}"),
}


# --- TOML files and the command line ------------------------------------------------------------

PLACES = [  # of all settings
    f"{section.name}.{setting.name}"
    for section in dataclasses.fields(Study)[1:]
    for setting in dataclasses.fields(section.type)
]
# Settings outside any table, as studies were written before there were sections: name -> place; of
# two of one name the earlier section's.
FLAT = {place.partition(".")[2]: place for place in reversed(PLACES)} | {
    "sample": "sample.folder",
    "trees": "trees.number",
    "tree_learning_rate": "trees.learning_rate",
    "tree_events_per_mass_point": "trees.events_per_mass_point",
}


def load_study(name: str, changes: Sequence[str] = ()) -> Study:
    """A preset by its name, or the study that a TOML file states.

    Args:
        changes: further settings, as `training.epochs=10`; the value is written as in TOML, and
            text needs no quotes.

    Raises:
        InputError: unknown preset, unreadable file, unknown setting, or a value of the wrong type.
    """
    chain: dict[str, tuple[Path, dict[str, Any]]] = {}
    while name not in PRESETS:
        path = Path(name)
        if path.suffix != ".toml":
            raise InputError(
                f"unknown study {name!r}: expected {', '.join(PRESETS)} or a .toml file that "
                "states one"
            )
        stated = {"name": path.stem} | _read_toml(path)
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
    steps: list[tuple[Path | str, dict]] = [*reversed(chain.values())]
    steps += [(f"--set {change}", _read_change(change)) for change in changes]
    study, is_sample_stated = PRESETS[name], bool(PRESETS[name].sample.folder)
    for source, stated in steps:
        settings = _placed(source, stated)
        based_on, study = study, _changed(study, source, settings)
        is_sample_stated = bool(settings.get("sample.folder", is_sample_stated))
        _check(source, study)
        if not is_sample_stated:
            is_same = study.simulation == based_on.simulation and (
                {path.name for path in study.sample_files}
                == {path.name for path in based_on.sample_files}
            )
            shared = based_on.sample_dir.name if is_same else study.name
            study = study.changed(sample={"folder": "" if shared == study.name else shared})
    return study


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such study file; name a preset or write one") from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8 or no TOML
        raise InputError(f"{path}: not a readable TOML file ({error})") from None


def _read_change(change: str) -> dict[str, Any]:
    """`training.epochs=10` as a TOML file states it."""
    place, equals, value = change.partition("=")
    if not equals:
        raise InputError(f"--set {change}: expected SECTION.SETTING=VALUE, as training.epochs=10")
    with contextlib.suppress(ValueError, RecursionError):  # text without quotes
        stated = tomllib.loads(f"value = {value}")
        value = stated["value"] if len(stated) == 1 else value
    section, _, setting = place.partition(".")
    return {section: {setting: value}} if setting else {section: value}


def _placed(source: Path | str, stated: Mapping[str, Any]) -> dict[str, Any]:
    """`name`, or section and setting as `training.epochs` -> value of what a file states."""
    sections = {section.name for section in dataclasses.fields(Study)[1:]}
    settings: dict[str, Any] = {}
    for key, value in stated.items():
        if key in sections and key not in FLAT and not isinstance(value, dict):
            raise InputError(f"{source}: {key} is {value!r}, expected settings of that section")
        if key in sections and isinstance(value, dict):
            settings |= {f"{key}.{setting}": value[setting] for setting in value}
        else:
            settings[FLAT.get(key, key)] = value
    if unknown := settings.keys() - {"name", *PLACES}:
        raise InputError(
            f"{source}: unknown setting {min(unknown)!r}; the settings are those of the sections "
            "in study.py"
        )
    return settings


def _changed(base: Study, source: Path | str, settings: Mapping[str, Any]) -> Study:
    """A study with the settings that `source` states."""
    name = _same_type(source, "name", settings.get("name", base.name), base.name)
    if "name" in settings and name in PRESETS:
        raise InputError(f"{source}: the name {name!r} belongs to a preset; choose another")
    sections: dict[str, dict[str, Any]] = {}
    for place in settings.keys() - {"name"}:
        section, _, setting = place.partition(".")
        default = getattr(getattr(base, section), setting)
        value = _same_type(source, place, settings[place], default)
        sections.setdefault(section, {})[setting] = value
    return dataclasses.replace(base.changed(**sections), name=name)


def to_toml(study: Study) -> str:
    """A study as the TOML file that states it, every setting spelled out.

    >>> print(to_toml(PRESETS["demo"]).splitlines()[1])
    name = "demo"
    """
    stated = {"base": "readme"} | dataclasses.asdict(study)
    return "\n".join(toml_lines(stated)) + "\n"


def toml_lines(table: Mapping[str, Any], *place: str) -> list[str]:
    """The lines of a table: TOML writes values as JSON does, but for tables, which come last."""
    tables = {key: value for key, value in table.items() if isinstance(value, dict)}
    values = {key: value for key, value in table.items() if key not in tables}
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    for key, inner in tables.items():
        lines += ["", f"[{'.'.join([*place, key])}]", *toml_lines(inner, *place, key)]
    return lines


def _check(source: Path | str, study: Study) -> None:
    """Refuse settings that no step could use; fractions of the split are the split's own."""

    def require(place: str, value: Any, good: bool, expected: str) -> None:
        if not good:
            raise InputError(f"{source}: {place} is {_written(value)}, expected {expected}")

    for place, value in (("name", study.name), ("sample.folder", study.sample.folder)):
        good = bool(re.fullmatch(r"(?!tags$)[A-Za-z0-9][\w.-]*", value))
        good = good or (place == "sample.folder" and not value)
        require(place, value, good, "a folder's name (not tags, which tag.py has)")
    asked = study.sample.processes
    for name in asked:
        if name not in PROCESSES:
            raise InputError(f"{source}: {unregistered(name)}")
    good = set(asked) <= set(of_role(SIGNAL, BACKGROUND))
    good &= not any(of_role(role).keys().isdisjoint(asked) for role in (SIGNAL, BACKGROUND))
    expected = "at least one signal and one background, no variation"
    require("sample.processes", asked, good, expected)
    for name, number in study.simulation.events_of.items():
        require("simulation.events_of", name, name in PROCESSES, f"one of {', '.join(PROCESSES)}")
        good = 0 < number < INTEGER_MAX
        require(f"simulation.events_of.{name}", number, good, f"1 or more, below {INTEGER_MAX}")
    for section in dataclasses.fields(Study)[1:]:
        for key, value in vars(getattr(study, section.name)).items():
            place = f"{section.name}.{key}"
            if key in ("stop_masses", "neutralino_masses"):
                rising = all(low < high for low, high in itertools.pairwise(value))
                good = rising and value[0] > 0 and value[-1] < BEAM_ENERGY / 2
                require(place, value, good, f"rising masses in GeV, below {BEAM_ENERGY / 2:g}")
            elif choices := CHOICES.get(place, CHOICES.get(key)):
                expected = f"one of {', '.join(map(str, choices))}"
                require(place, value, value in choices, expected)
            elif key in KNOWN:
                good = len(set(value)) == len(value) and all(one in KNOWN[key] for one in value)
                expected = "each once, 0 or more" if key == "seeds" else ", ".join(KNOWN[key])
                require(place, value, good, expected)
            elif key in INTERVALS:
                good, expected = INTERVALS[key]
                require(place, value, good(value), expected)
            elif type(value) in (int, float):
                good = 0 < value < INTEGER_MAX
                require(place, value, good, f"more than 0, below {INTEGER_MAX}")


def _written(value: Any) -> str:
    """A value as TOML states it, which has no tuples."""
    return repr(list(value) if isinstance(value, tuple) else value)


def _same_type(source: Path | str, place: str, value: Any, default: Any) -> Any:
    """`value` in the type of `default`, or an InputError; integers pass for floats."""
    if isinstance(default, dict):  # whole, not merged with the base's
        kind = int if place == "simulation.events_of" else dict
        if isinstance(value, dict) and all(type(inner) is kind for inner in value.values()):
            return value
    elif isinstance(default, tuple):
        if isinstance(value, list) and (value or place in MAY_BE_EMPTY):
            kind = MAY_BE_EMPTY[place] if place in MAY_BE_EMPTY else default[0]
            return tuple(_same_type(source, place, item, kind) for item in value)
    elif isinstance(default, float) and type(value) is int and abs(value) < INTEGER_MAX:
        return float(value)
    elif type(value) is type(default):
        return value
    raise InputError(
        f"{source}: {place} is {_written(value)}, expected a value like {_written(default)}"
    )


def add_study_options(parser: argparse.ArgumentParser, default: str = "readme") -> None:
    """The two options that every script has; `study_of` reads them."""
    parser.add_argument(
        "--study",
        default=default,
        metavar="NAME",
        help=f"{', '.join(PRESETS)} or a TOML file (default: {default})",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.SETTING=VALUE",
        help="a setting of the study for this call, e.g. training.epochs=10; give it to later "
        "steps too",
    )


def study_of(options: argparse.Namespace) -> Study:
    """The study that the options of `add_study_options` name."""
    return load_study(options.study, options.set)
