"""Times what could be slow, on the device that is there.

Reads   train_data/demo/, whose jets it draws with the published pixels.
Writes  plots/bench/bench_<device>_torch_<version>.csv, or the same in another --folder: a quantity
        a row. Parts that are not asked for keep their rows, so parts can be run one by one.

    python -m checks.bench                            # all but `trainings`
    python -m checks.bench training --networks CNN
    python -m checks.bench trainings --device cuda    # the nine trainings, an epoch of each network

Parts:
    data        batches alone: dense images a second from sparse jets, normalised; reading 820,000
    training    data alone, network alone and both together; memory, compile seconds
    agreement   logits and AUC of the fast path beside those of the plain one, on a GPU
    constituents  JetViT of full width on AK14 jets: training and pre-training
    trainings   nine trainings of 818,000 jets and 5 epochs, computed from an epoch each
    packing     jets a second of setup.py
    sic         a SIC curve and the maximum, with 100 resamplings of 250,000 events
    simulation  events a second of simulate.py in one process, and what Pythia leaves to the rest
"""

import contextlib
import dataclasses
import gc
import itertools
import platform
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.benchmark import timer  # in seconds, once the device has done all it was given
from torch.utils.flop_counter import FlopCounterMode

from command import InputError, parser_of, run
from event_level.fits import PUBLISHED_NETWORKS
from jets.constituents import concatenate as joined
from jets.constituents import of_events
from jets.events import read_events
from jets.images import concatenate
from jets.packed import PackedJets, jet_writer, read_jets
from jets.preparation import choose, jets_of, look_through, pack
from jets.sources import Collisions
from jets.split import TRAIN
from models import create_model
from models.__main__ import OF_ONE_JET, forward_cost
from models.jepa import JEPA
from physics import JET_DEFINITIONS
from processes import PROCESSES
from products import cores, read_csv, versions, write_csv
from sensitivity.auc import auc
from sensitivity.sic import max_sic, sic_curve
from study import PRESETS
from training.checkpoint import Progress
from training.inputs import Inputs, Sample, make_sample
from training.interruption import Watch
from training.jet_images import JetImages
from training.learner import Learner, choose_device
from training.loop import logits_of, train_epoch
from training.metrics import evaluate
from training.pretraining import Pretrainer, Pretraining, unlabelled

README, DEMO = PRESETS["readme"], PRESETS["demo"]
JETS = 818_000  # of the published code's trainings: 861 mass points x 475, and as much background
TRAINING_SHARE = 0.7
BATCHES = {"cuda": (64, 256, 1024), "cpu": (64,)}
PIXELS = {64: "AK10", 128: "AK14"}
OF_JETVIT = {
    "constituents": {},
    "constituents, pairs": {"pairwise": True},
    "16 patches, pairs": {"patches": 16, "pairwise": True},
}
GIB = 2**30


class Row(NamedTuple):
    """One measured quantity; `spread` is half the range of the repeats."""

    part: str
    network: str = ""
    pixels: int | str = ""
    batch_size: int | str = ""
    way: str = ""
    quantity: str = ""
    value: float | str = ""
    spread: float | str = ""
    unit: str = ""


def timed(call: Callable[[], object], repeats: int = 4) -> tuple[float, float]:
    """Seconds of a call that has run for a second before: median of repeats, half their range."""
    begin = timer()
    while timer() - begin < 1.0:
        call()
    times = [timer()]
    for _ in range(repeats):
        call()
        times.append(timer())
    seconds = np.diff(times)
    return float(np.median(seconds)), float(np.ptp(seconds)) / 2


def rate(n: float, seconds: tuple[float, float]) -> dict[str, float | str]:
    """n jets in this time: columns of a row."""
    median, spread = seconds
    return {"value": n / median, "spread": n * spread / median**2, "unit": "jets/s"}


def demo_jets(jet_definition: str) -> PackedJets:
    """All jets of the demo's collisions, with the published pixels."""
    side = JET_DEFINITIONS[jet_definition].pixels
    paths = sorted(DEMO.sample_dir.glob("[!.]*.h5"))
    parts = [jets_of(read_events(path), jet_definition, side) for path in paths]
    if not parts:
        raise InputError(f"{DEMO.sample_dir}: no collisions; clone them, or run simulate.py")
    jets = np.concatenate([part.jets for part in parts])
    jets["event"] = np.arange(len(jets))
    images = concatenate([part.images for part in parts])
    mass = jets["mass"] / 1000
    return PackedJets(jets, images, side, mass.mean(), mass.std(), jet_definition)


def repeated(jets: PackedJets, n: int) -> PackedJets:
    """n of these jets, each as often as need be, in a random order."""
    generator = np.random.default_rng(0)
    rows = np.resize(generator.permutation(len(jets)), n)
    return jets.take(generator.permutation(rows))


def sample_of(jets: PackedJets, device: torch.device) -> Sample:
    """Jets on a device, as the study `readme` has them."""
    return make_sample(
        JetImages(jets, README.training.pixel_scale, README.training.standardised_mass, device)
    )


def learner_of(name: str, sample: Sample, batch_size: int, way: str = "fast") -> Learner:
    """A new network for these jets, on their device, with the settings of the study `readme`."""
    torch.manual_seed(0)
    network = create_model(name, sample.inputs.size).to(sample.inputs.device)
    study = README.changed(training={"batch_size": batch_size})
    return Learner(network, study, way == "plain")


def train(learner: Learner, sample: Sample) -> None:
    """One epoch."""
    train_epoch(learner, sample, 0, Progress(), Watch())


def data(device: torch.device, networks: list[str]) -> Iterator[Row]:
    for side, definition in PIXELS.items():
        row = partial(Row, "data", pixels=side)
        jets = repeated(demo_jets(definition), JETS)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "jets.h5"
            with jet_writer(path, definition, side) as add:
                add(jets.jets, jets.images)
            begin = timer()
            jets = read_jets(path, TRAIN)
            yield row(quantity="read", value=timer() - begin, unit="s")
        images = sample_of(jets, device).inputs
        yield row(quantity="pixels a jet", value=len(images.values) / len(images))
        tensors = (images.values, images.pixels, images.offsets, images.mass)
        held = sum(tensor.nbytes for tensor in tensors) / GIB
        yield row(quantity="held on the device", value=held, unit="GiB")
        order = np.random.default_rng(1).permutation(len(images))
        for batch_size in BATCHES[device.type]:
            some = order[: 512 * batch_size]
            seconds = timed(partial(run_through, images, some, batch_size))
            quantity = "batches alone"
            yield row(batch_size=batch_size, quantity=quantity, **rate(len(some), seconds))


def run_through(images: Inputs, rows: np.ndarray, batch_size: int) -> None:
    """Make all batches, use none."""
    for _ in images.batches(rows, np.full(len(rows) // batch_size, batch_size)):
        pass


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large square matrix product."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / timed(lambda: a @ b)[0]


def cost_of_first_layer(network: nn.Module, side: int) -> int:
    """Floating-point operations of the convolution that sees the image; a product-sum is two.

    0 where none does, as in ViT: before its first product comes a norm, which needs the gradient.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                layer(torch.zeros(1, layer.in_channels, side, side))
            return counter.get_total_flops()
    return 0


def training(device: torch.device, networks: list[str]) -> Iterator[Row]:
    dtypes = {"plain": torch.float32, "fast": torch.bfloat16}
    ways = list(dtypes) if device.type == "cuda" else ["plain"]
    rates = {way: matrix_rate(device, dtypes[way]) for way in ways}
    for way, found in rates.items():
        value = found / 1e12
        yield Row("training", way=way, quantity="matrix rate", value=value, unit="TFLOP/s")
    for side, definition in PIXELS.items():
        sample = sample_of(repeated(demo_jets(definition), 40 * BATCHES[device.type][-1]), device)
        for name in networks:
            network = create_model(name, side)
            # Backward is twice the forward, but for the images, whose gradient nobody needs.
            cost = 3 * forward_cost(network, side) - cost_of_first_layer(network, side)
            for batch_size, way in itertools.product(BATCHES[device.type], ways):
                try:
                    yield from one_training(name, sample, batch_size, way, cost / rates[way])
                except torch.OutOfMemoryError:
                    yield Row("training", name, side, batch_size, way, "out of memory")
                gc.collect()
                torch.cuda.empty_cache()


def one_training(
    name: str, sample: Sample, batch_size: int, way: str, at_best: float
) -> Iterator[Row]:
    """One network, image size, batch size and way of running it.

    Args:
        at_best: seconds a jet if the device did nothing but matrix products.
    """
    row = partial(Row, "training", name, sample.inputs.size, batch_size, way)
    is_gpu = sample.inputs.device.type == "cuda"
    torch.compiler.reset()  # the CUDA graphs of the last one hold memory
    learner = learner_of(name, sample, batch_size, way)
    learner.network.train()
    steps = 40 if is_gpu else 2
    jets = steps * batch_size
    rows = np.resize(np.arange(len(sample)), jets)
    sample = dataclasses.replace(sample, rows=rows)
    batch = next(sample.batches(rows, np.full(steps, batch_size)))
    if is_gpu:
        torch.cuda.reset_peak_memory_stats()
    begin = timer()
    for _ in range(3):  # compile, record a CUDA graph, replay it
        learner.step(batch)
    first = timer() - begin

    def network_alone() -> None:
        for _ in range(steps):
            learner.step(batch)

    alone = timed(partial(run_through, sample.inputs, rows, batch_size))
    network = timed(network_alone)
    together = timed(partial(train, learner, sample))
    if way == "fast":
        yield row("first three steps, compilation included", first, unit="s")
    for quantity, seconds in (
        ("batches alone", alone), ("network alone", network), ("training", together)
    ):  # fmt: skip
        yield row(quantity, **rate(jets, seconds))
    # On a GPU the host makes the next batch while the device is busy with this one.
    median = together[0]
    waiting = min(alone[0], max(median - network[0], 0.0))
    yield row("waiting for data", 100 * waiting / median, unit="%")
    yield row("utilisation", 100 * at_best * jets / median, unit="%")
    if is_gpu:
        yield row("peak memory", torch.cuda.max_memory_reserved() / GIB, unit="GiB")


def agreement(device: torch.device, networks: list[str]) -> Iterator[Row]:
    if device.type != "cuda":
        return  # there is one path only
    sample = sample_of(demo_jets("AK10"), device)
    label = sample.label.cpu().numpy()
    for name in networks:
        learner = learner_of(name, sample, batch_size=256)
        train(learner, sample)
        logits = logits_of(learner.network, sample.inputs, name)
        _, inputs = next(sample.inputs.batches(np.arange(1024), np.array([1024])))
        with torch.autocast(device.type, torch.bfloat16):
            with torch.inference_mode():
                compiled = torch.compile(learner.network)(**inputs).float().cpu().numpy()
            fast = logits_of(learner.network, sample.inputs, name)
        row = partial(Row, "agreement", name, 64, 1024)
        largest = float(np.abs(compiled - logits[:1024]).max())
        yield row("bfloat16, compiled", "largest difference of logits", largest)
        scores = (np.diff(one)[:, 0] for one in (logits, fast))
        areas = [auc(s[label == 1], s[label == 0], bootstraps=2).value for s in scores]
        yield row("bfloat16", "difference of AUC", abs(areas[1] - areas[0]))


def constituents(device: torch.device, networks: list[str]) -> Iterator[Row]:
    parts = []
    for path in sorted(DEMO.sample_dir.glob("[!.]*.h5")):
        events = read_events(path)
        parts.append(of_events(events, "AK14", events.large_r["AK14"]["pt"] > 0))
    inputs = unlabelled(joined(parts), device)
    batch_size = BATCHES[device.type][-1]
    sample = dataclasses.replace(make_sample(inputs), rows=np.arange(4 * batch_size))
    study = README.changed(training={"batch_size": batch_size})
    for way, options in OF_JETVIT.items():
        row = partial(Row, "constituents", "JetViT", "", batch_size, way)
        torch.manual_seed(0)
        network = create_model("JetViT", inputs.size, **options).to(device)
        pretrainer = Pretrainer(JEPA(network.encoder), study, Pretraining(), len(sample))
        for quantity, learner in (
            ("training", Learner(network, study, plain=True)), ("pre-training", pretrainer)
        ):  # fmt: skip
            yield row(quantity, **rate(len(sample), timed(partial(train, learner, sample))))


def trainings(device: torch.device, networks: list[str]) -> Iterator[Row]:
    total = {64: 0.0, 1024: 0.0}
    for side, definition in PIXELS.items():
        jets = repeated(demo_jets(definition), JETS)
        n = round(TRAINING_SHARE * JETS)
        learning, validating = (sample_of(repeated(jets, size), device) for size in (n, JETS - n))
        truth = validating.label.cpu().numpy(), np.ones(len(validating))
        definitions = sum(d.pixels == side for d in JET_DEFINITIONS.values())
        published = [name for name in networks if name in PUBLISHED_NETWORKS]
        for name, batch_size in itertools.product(published, total):
            learner = learner_of(name, learning, batch_size)
            begin = timer()
            train(learner, dataclasses.replace(learning, rows=learning.rows[: 3 * batch_size]))
            compiled = timer()
            train(learner, learning)
            logits = logits_of(learner.network, validating.inputs, name)
            evaluate(logits, *truth, validating.inputs.table["event"], README)
            seconds = timer() - compiled
            total[batch_size] += definitions * README.training.epochs * seconds
            row = partial(Row, "trainings", name, side, batch_size, learner.way)
            yield row("an epoch, with validation and its metrics", seconds, unit="s")
            yield row("first three steps, compilation included", compiled - begin, unit="s")
    if len(published) == len(PUBLISHED_NETWORKS):
        for batch_size, seconds in total.items():
            quantity = "computed: 5 epochs each, without compilation"
            row = partial(Row, "trainings", "nine trainings", "", batch_size, "", quantity)
            yield row(seconds / 60, unit="min")


def packing(device: torch.device, networks: list[str]) -> Iterator[Row]:
    collisions = Collisions(DEMO.sample_dir.resolve(), DEMO)
    study = DEMO.changed("bench", images={"pixels_max": 128, "training_jets_per_mass_point": 10**9})
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        begin = timer()
        overview = look_through(collisions, study)
        chosen = {name: choose(overview, study, name) for name in JET_DEFINITIONS}
        looked = timer()
        pack(collisions, overview, chosen, study)
        packed = timer()
    read = len(overview.table.events) / (looked - begin)
    drawn = sum(len(rows) for _, rows in chosen.values()) / (packed - looked)
    yield Row("packing", quantity="events read and validated", value=read, unit="events/s")
    yield Row("packing", quantity="jets drawn and packed", value=drawn, unit="jets/s")


def sic(device: torch.device, networks: list[str]) -> Iterator[Row]:
    generator = np.random.default_rng(0)
    signal, background = generator.normal(1.5, 1.0, 125_000), generator.normal(0.0, 1.0, 125_000)
    for name, call in (("SIC curve and band", sic_curve), ("max SIC and error", max_sic)):
        seconds, spread = timed(partial(call, signal, background, bootstraps=100))
        yield Row("sic", quantity=name, value=seconds, spread=spread, unit="s")


def simulation(device: torch.device, networks: list[str]) -> Iterator[Row]:
    # Not at the top: Pythia and FastJet are not everywhere.
    from collisions.chunk import make_chunk

    for name, masses, tries in (("ttbar", (), 5_000), ("stop", (900, 300), 500)):
        seconds = make_chunk(PROCESSES[name], masses, tries, seed=1).seconds
        total = sum(seconds.values())
        row, rest = partial(Row, "simulation", way=name), total / seconds["Pythia"] - 1
        yield row(quantity="events begun", value=tries / total, unit="events/s")
        yield row(quantity="all but Pythia / Pythia", value=100 * rest, unit="%")


USUAL = (data, training, agreement, constituents, packing, sic, simulation)
PARTS = {part.__name__: part for part in (*USUAL, trainings)}


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows into the CSV file, in place of earlier ones of the same part and network."""
    kept, new = [], {(row.part, row.network) for row in rows}
    if path.is_file():
        found = [Row(**row) for row in read_csv(path)]
        kept = [row for row in found if (row.part, row.network) not in new]
    write_csv(path, [row._asdict() for row in [*kept, *rows]])


def main() -> None:
    """Parse options, time, write."""
    parser = parser_of(__doc__)
    usual = [part.__name__ for part in USUAL]
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"(default: {' '.join(usual)})")
    parser.add_argument("--networks", nargs="+", choices=OF_ONE_JET, default=OF_ONE_JET)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    parser.add_argument("--folder", type=Path, default=Path("plots/bench"), help="of the table")
    options = parser.parse_args()
    if unknown := [name for name in options.parts if name not in PARTS]:
        raise InputError(f"unknown part {unknown[0]!r}; known are {', '.join(PARTS)}")
    device = choose_device(options.device)
    hardware = f"{platform.machine()} {torch.get_num_threads()} cores"
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    release = torch.__version__.partition("+")[0]
    path = options.folder / f"bench_{hardware.replace(' ', '-')}_torch-{release}.csv"
    described = versions() | {"hardware": hardware, "cores": str(cores())}
    write_rows(path, [Row("environment", quantity=n, value=v) for n, v in described.items()])
    for name in options.parts or usual:
        rows = []
        for row in PARTS[name](device, options.networks):
            rows.append(Row(*(f"{v:.4g}" if isinstance(v, float) else v for v in row)))
            print(*rows[-1], flush=True)
        write_rows(path, rows)
    print(path)


if __name__ == "__main__":
    run(main)
