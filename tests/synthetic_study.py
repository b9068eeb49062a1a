"""A study whose scores follow a known model, so that every figure of merit has a closed form.

A score is the logistic function of a Gaussian of width 1 about 0 (background) or d (signal). Then
eps_B = Phi(Phi^-1(eps_S) - d). No physics is meant: only the steps after the networks see it.
"""

from pathlib import Path

import h5py
import numpy as np
from numpy.lib.recfunctions import merge_arrays, repack_fields
from scipy import stats
from scipy.special import expit

from event_level.fits import EVENT_FEATURES, fits, null_check, repeats
from jets import split
from jets.angularities import ANGULARITIES
from jets.classifier import Classifier
from jets.events import OBJECT_DTYPE, TABLES, Events, write_events
from jets.images import SparseImages
from jets.packed import (
    EVENT_DTYPE,
    JET_DTYPE,
    OBSERVABLES,
    SAMPLE_DTYPE,
    EventTable,
    jet_writer,
    write_event_table,
)
from jets.scores import JET_COLUMNS, TreeScores, read_scores, write_scores, write_trees
from jets.split import HELD_OUT, TRAIN
from physics import JET_DEFINITIONS, JETS_PER_EVENT
from processes import numbered
from processes.stop import STOP
from products import write_csv, write_manifest
from study import load_study

STUDY = """
base = "demo"
name = "synthetic"
[sample]
folder = "synthetic"
[classifiers]
networks = ["CNN", "CoAtNet", "MaxViT", "ViT"]
seeds = [0, 1]
[trees]
folds = 3
number = 10
[figures]
bootstraps = 20
"""
STOP_MASSES, NEUTRALINO_MASSES = (700, 900, 1100), (100, 300, 500)
SELECTION_EFFICIENCY = 0.08
SIDE = 16
# Distance of signal from background, in widths: of jets and of trees over events.
OF_JETS = {"CNN": 1.0, "CoAtNet": 1.4, "MaxViT": 1.6, "ViT": 1.2}
OF_EVENTS = {"CNN": 1.8, "CoAtNet": 2.2, "MaxViT": 2.4, "ViT": 2.0}
WITH_DS2 = {name: distance + 0.6 for name, distance in OF_EVENTS.items()}
DS2 = 1.8
# Of every training; the second epoch is the best.
HISTORY = [
    {"epoch": i, "training_loss": 0.6 - 0.1 * i, "loss": loss, "loss_error": 0.02}
    for i, loss in enumerate((0.65, 0.55, 0.57))
]


def background_efficiency(signal_efficiency: np.ndarray, distance: float) -> np.ndarray:
    """The closed form."""
    return stats.norm.sf(stats.norm.isf(signal_efficiency) + distance)


def write_study(
    folder: Path,
    *,
    signal: int = 60,
    background: int = 900,
    published: bool = False,
    stated: str = STUDY,
) -> Path:
    """Write what steps 0 to 3 would have written; `signal` held-out events a mass point.

    Returns:
        The TOML file that states the study.
    """
    random = np.random.default_rng(1)
    toml = folder / "synthetic.toml"
    toml.write_text(stated)
    data = folder / "Data" / "synthetic"
    data.mkdir(parents=True)
    events = _events(signal, background)
    held_out = np.flatnonzero(events["split"] == HELD_OUT)
    is_signal = split.is_signal(events)
    observables = random.normal(is_signal[:, None] * DS2 / 3, 1.0, (len(events), len(OBSERVABLES)))
    observables = (100 * np.exp(0.3 * observables)).astype("f4")
    observables[:, 3] = random.poisson(7 + is_signal)
    table = EventTable(
        events,
        None if published else observables,
        _samples(published),
        "published files" if published else "collisions",
    )
    write_event_table(data / "events.h5", table)
    scores = {"events": held_out}
    for definition in JET_DEFINITIONS:
        jets = _jets(random, events)
        _pack(random, data, definition, jets)
        by_event = jets[held_out]
        kinematics = repack_fields(by_event[list(JET_COLUMNS)])
        shapes = np.zeros(by_event.shape, [(name, "f4") for name in ANGULARITIES])
        for name in ANGULARITIES:
            shapes[name] = random.uniform(size=by_event.shape)
        scores[f"{definition}/jets"] = merge_arrays(
            (kinematics.ravel(), shapes.ravel()), flatten=True
        ).reshape(by_event.shape)
        exists = by_event["pt"] > 0
        for network, seed in (*((network, 0) for network in OF_JETS), ("MaxViT", 1)):
            training = Classifier((definition,), (network,), seed=seed)
            mean = OF_JETS[network] * is_signal[held_out, None]
            score = expit(random.normal(mean, 1.0, exists.shape))
            scores[training] = np.where(exists, score, -1.0).astype("f4")
            model = data / "models" / f"{definition}_{network}_{seed}"
            write_csv(model / "history.csv", HISTORY)
        noise = np.where(exists, random.uniform(size=exists.shape), -1.0)
        scores[Classifier((definition,), ("CNN",), seed=0, permuted=True)] = noise.astype("f4")
    write_scores(data / "scores.h5", scores)
    packed = [data / f"{name}.h5" for name in ("events", *JET_DEFINITIONS)]
    study = load_study(str(toml))
    write_manifest(data / "setup.json", study.settings("setup"), {}, packed)
    settings = study.settings("predict")
    write_manifest(data / "scores.json", settings, {}, [data / "scores.h5"])
    if not published:
        _write_sample(folder / "train_data" / "synthetic", random, events)
    return toml


def write_known_trees(folder: Path, *, published: bool = False) -> None:
    """A trees.h5 whose scores follow the model, in place of what fit_xgb.py would make of it."""
    random = np.random.default_rng(2)
    data = folder / "Data" / "synthetic"
    with h5py.File(data / "events.h5") as file:
        events = file["events"][()]
    held_out = np.flatnonzero(events["split"] == HELD_OUT)
    is_signal = split.is_signal(events[held_out])
    scores = read_scores(data / "scores.h5", (0, 1))
    found, left_out = {}, {}
    for one in (*fits(OF_EVENTS), *repeats(scores)):
        if published and not EVENT_FEATURES.keys().isdisjoint(one.features):
            left_out[one.label] = "the sample holds no event observables"
        elif one.level == "events":
            found[one] = expit(random.normal(_distance(one) * is_signal, 1.0)).astype("f4")
        else:
            shape = (len(held_out), JETS_PER_EVENT)
            found[one] = expit(random.normal(is_signal[:, None], 1.0, shape))
    found[null_check(scores)] = random.uniform(size=len(held_out))
    fold = np.zeros(len(held_out), "u1")
    shuffled = random.permutation(is_signal)
    write_trees(data / "trees.h5", TreeScores(held_out, fold, shuffled, found))
    settings = load_study(str(folder / "synthetic.toml")).settings("fit")
    write_manifest(data / "trees.json", settings, {}, [data / "trees.h5"], left_out=left_out)


def _distance(fit: Classifier) -> float:
    """Of trees over events from the background, in widths."""
    if not fit.networks:
        return {("DS1",): 1.5, ("DS2",): DS2}.get(fit.features, 1.0)
    if len(fit.networks) > 1 or len(fit.jet_definitions) > 1:
        return 2.2 + 0.1 * (len(fit.networks) + len(fit.jet_definitions))
    return (WITH_DS2 if fit.features else OF_EVENTS)[fit.networks[0]]


def _events(signal: int, background: int) -> np.ndarray:
    """Held-out events as asked, and a fifth as many that train; rows number each sample."""
    samples = [
        (STOP.number, stop, m, -1, signal) for stop in STOP_MASSES for m in NEUTRALINO_MASSES
    ]
    samples.append((0, -1, -1, 0, background))
    parts = []
    for process, stop, neutralino, index, n in samples:
        part = np.zeros(n + n // 5, EVENT_DTYPE)
        part["process"], part["m_stop"], part["m_neutralino"] = process, stop, neutralino
        part["index"], part["row"], part["n_jets"] = index, np.arange(len(part)), 7
        part["weight"] = 1
        part["split"] = np.where(part["row"] < n, HELD_OUT, TRAIN)
        parts.append(part)
    return np.concatenate(parts)


def _samples(published: bool) -> np.ndarray:
    points = [(STOP.number, stop, m, -1) for stop in STOP_MASSES for m in NEUTRALINO_MASSES]
    samples = np.zeros(len(points) + 1, SAMPLE_DTYPE)
    for name, column in zip(
        ("process", "m_stop", "m_neutralino", "index"),
        zip(*points, (0, -1, -1, 0), strict=True),
        strict=True,
    ):
        samples[name] = column
    for name in ("selection_efficiency", "selection_efficiency_error", "cross_section_pb"):
        samples[name] = np.nan if published else SELECTION_EFFICIENCY
    return samples


def _jets(random: np.random.Generator, events: np.ndarray) -> np.ndarray:
    """(n, 3) jets; one third jet in ten is missing."""
    shape = (len(events), JETS_PER_EVENT)
    is_signal = np.broadcast_to(split.is_signal(events)[:, None], shape)
    jets = np.zeros(shape, JET_DTYPE)
    jets["event"], jets["k"] = np.arange(len(events))[:, None], np.arange(JETS_PER_EVENT)
    jets["split"], jets["label"] = events["split"][:, None], is_signal
    jets["pt"] = 200 + 100 * random.exponential(1 + is_signal) - 50 * jets["k"]
    jets["mass"] = jets["pt"] * random.uniform(0.1, 0.4 + 0.2 * is_signal)
    jets["eta"] = random.uniform(-2, 2, shape)
    jets["phi"] = random.uniform(-np.pi, np.pi, shape)
    jets["delta_r"] = random.exponential(0.4, shape)
    jets["classified"] = ~is_signal | (jets["delta_r"] < 0.5)
    missing = (random.uniform(size=shape) < 0.1) & (jets["k"] == 2)
    for name in ("pt", "mass"):
        jets[name][missing] = 0.0
    jets["classified"][missing] = False
    shuffled = random.permutation(jets["label"][jets["classified"]])
    jets["shuffled_label"][jets["classified"]] = shuffled
    return jets


def _pack(random: np.random.Generator, data: Path, definition: str, jets: np.ndarray) -> None:
    """Images of 30 pixels: a cloud about the centre, wider for signal, and one deposit above it."""
    packed = jets[jets["pt"] > 0]
    n, pixels = len(packed), 30
    width = np.where(packed["label"] == 1, 3.0, 1.5)[:, None, None]
    place = np.clip(random.normal(SIDE / 2, width, (n, pixels, 2)), 0, SIDE - 1).astype(int)
    place[:, 0] = SIDE // 2 - 2, SIDE // 2
    flat = place[..., 0] * SIDE + place[..., 1]
    flat += random.integers(0, 3, (n, pixels)) * SIDE**2
    values = random.exponential(packed["pt"][:, None] / pixels, (n, pixels))
    images = SparseImages(
        np.arange(n + 1) * pixels, flat.ravel().astype("u2"), values.ravel().astype("f4")
    )
    with jet_writer(data / f"{definition}.h5", definition, SIDE) as add:
        add(packed, images)


def _write_sample(folder: Path, random: np.random.Generator, events: np.ndarray) -> None:
    """The samples' files, with events enough for any row: 40 objects each, in three jets."""
    for sample in np.unique(events[["process", "m_stop", "m_neutralino", "index"]]):
        process, stop, neutralino, index = sample.tolist()
        n = int(np.sum(events[list(sample.dtype.names)] == sample))
        kind = numbered(process)
        numbers = (stop, neutralino) if kind is STOP else (index,)
        name = kind.sample_name(*numbers)
        per_event_tables = ("observables", "lepton", "pt_hat", "veto_score")
        columns = {key: np.zeros(n, TABLES[key]) for key in per_event_tables}
        columns["observables"]["n_jets"] = 7
        columns["lepton"]["pt"], columns["lepton"]["eta"] = 50.0, 1.0
        large_r = np.zeros((n, JETS_PER_EVENT), TABLES["AK14"])
        large_r["pt"], large_r["mass"] = [600.0, 400.0, 200.0], [300.0, 200.0, 80.0]
        large_r["eta"], large_r["phi"] = [-1.0, 1.2, 0.3], [2.8, -0.5, 1.0]
        per_event = 40
        objects = np.zeros((n, per_event), OBJECT_DTYPE)
        objects["jet"] = (np.arange(per_event) % JETS_PER_EVENT)[:, None]
        for axis in ("eta", "phi"):
            centre = large_r[axis][:, np.arange(per_event) % JETS_PER_EVENT]
            objects[axis] = centre + random.normal(0, 0.4, centre.shape)
        objects["pt"] = random.exponential(20, objects.shape)
        objects["type"] = random.integers(0, 5, objects.shape)
        truth = np.zeros((n, 16), TABLES["truth"])
        if kind is STOP:
            truth["pdg_id"][:, [8, 12]] = 1000022
            truth["eta"][:, 8:12], truth["phi"][:, 8:12] = -1.0, 2.8
            truth["eta"][:, 12:], truth["phi"][:, 12:] = 1.2, -0.5
        write_events(
            folder / f"{name}.h5",
            Events(
                attributes={
                    "process": kind.name,
                    "m_stop": stop,
                    "m_neutralino": neutralino,
                    "index": index,
                    "cross_section_pb": 1.0,
                    "cross_section_error_pb": 0.1,
                    "generated": n,
                    "selected": n,
                    "selection_efficiency": SELECTION_EFFICIENCY,
                    "selection_efficiency_error": 0.001,
                },
                cut_flow=np.zeros(1, TABLES["cut_flow"]),
                large_r=dict.fromkeys(JET_DEFINITIONS, large_r),
                truth=truth,
                jets=np.zeros(0, TABLES["jets"]),
                jet_offsets=np.zeros(n + 1, "i8"),
                objects=objects.ravel(),
                object_offsets=np.arange(n + 1) * per_event,
                **columns,
            ),
        )
