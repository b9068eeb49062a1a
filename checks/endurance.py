"""Does a long run survive? Kills at random moments, and one process for a very long time.

Reads   train_data/demo/, some of whose files become a small study in a temporary folder.
Writes  doc/results/endurance.csv, one row per check.

    python -m checks.endurance            # 100 kills of each script and all soaks
    python -m checks.endurance train.py   # 3 min on one core

Kills: a script is killed with SIGKILL after a random time, uniform over what a whole run takes, and
started again, so many times, and then left to finish; what it leaves must be what an undisturbed
run leaves, bit for bit. Starts come from a process that has imported everything, so that a kill
falls into work and not into imports.

Soaks: 200 epochs, 50 chunks of collisions and 200 predictions, each in one process. Memory and open
files after the first quarter are compared with those at the end.
"""

import contextlib
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import InputError, parser_of, run
from products import machine, read_csv, versions, write_csv
from study import PRESETS

STUDY = """
base = "demo"
sample = {stop_masses = [700, 1100], neutralino_masses = [100, 500], background_files = 1}
images = {training_jets_per_mass_point = 50, split = [0.6, 0.3, 0.1]}
training = {width = 0.125, epochs = 2}
classifiers = {networks = ["MaxViT"], jet_definitions = ["AK14"]}
trees = {folds = 2}
figures = {bootstraps = 20}
"""
# Another makes its own collisions: a fraction of a second a chunk.
COLLISIONS = """
base = "demo"
simulation = {background_events = 1, signal_events = 6}
sample = {stop_masses = [900], neutralino_masses = [300], background_files = 1}
"""
FILES = ("ttbar_0", "stop_700_100", "stop_1100_500")
PRELOADED = ["setup", "simulate", "train", "predict_base_model_mass", "fit_xgb", "models.maxvit"]
SMALL = ("--study", "small.toml")
# Script -> its options, and the products that must be the same.
EVERY_STEP = ("--every-minutes", "0.002", "--device", "cpu")
SCRIPTS: dict[str, tuple[tuple[str, ...], str]] = {
    "train.py": ((*SMALL, "AK14", "MaxViT", *EVERY_STEP), "Data/small/models/AK14_MaxViT_0"),
    "simulate.py": (
        ("--study", "collisions.toml", "--workers", "1", "--tries", "400"),
        "train_data/collisions",
    ),
    "predict_base_model_mass.py": ((*SMALL, "--device", "cpu"), "Data/small/scores.h5"),
    "fit_xgb.py": (SMALL, "Data/small/trees.h5"),
}


def start(folder: Path, name: str, task: Callable[..., None], *arguments: object) -> BaseProcess:
    """A task begun in a folder, in a fork of a process that has imported all; NAME.log is of it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    child = context.Process(target=_in_folder, args=(folder, name, task, *arguments))
    child.start()
    return child


def _in_folder(folder: Path, name: str, task: Callable[..., None], *arguments: object) -> None:
    os.chdir(folder)
    log = os.open(f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    task(*arguments)


def call(script: str, *options: str) -> None:
    """A script, in this process."""
    sys.argv = [script, *options]
    run(import_module(script.removesuffix(".py")).main)


def require(is_good: bool, folder: Path, name: str, words: str = "") -> None:
    """Fail with the end of what a task printed."""
    if not is_good:
        said = (folder / f"{name}.log").read_text(encoding="utf-8")
        raise AssertionError(f"{name}: {words} {said[-2000:]}")


def finish(script: str, options: tuple[str, ...], folder: Path) -> float:
    """Run a script to its end; the seconds it took."""
    begin = time.monotonic()
    child = start(folder, script, call, script, *options)
    child.join()
    require(child.exitcode == 0, folder, script)
    return time.monotonic() - begin


def prepare(folder: Path) -> None:
    """The small study as setup.py leaves it, and the one that simulates."""
    sample = folder / "train_data" / "small"
    sample.mkdir(parents=True)
    for name in FILES:
        shutil.copy(PRESETS["demo"].sample_dir / f"{name}.h5", sample)
    (folder / "small.toml").write_text(STUDY, encoding="utf-8")
    (folder / "collisions.toml").write_text(COLLISIONS, encoding="utf-8")
    finish("setup.py", SMALL, folder)


def contents(product: Path) -> dict[str, str]:
    """What a script left: the SHA-256 of each file, of checkpoints what they hold but times."""
    read = {".pt": checkpoint, ".h5": Path.read_bytes}
    return {
        path.name: hashlib.sha256(read[path.suffix](path)).hexdigest()
        for path in (product, *product.rglob("*"))
        if path.suffix in read
    }


def checkpoint(path: Path) -> bytes:
    """What a checkpoint holds but times."""
    import torch

    def timeless(value: object) -> object:
        if isinstance(value, dict):
            return [(k, timeless(v)) for k, v in value.items() if "second" not in str(k)]
        if isinstance(value, list):
            return [timeless(item) for item in value]
        return value.numpy().tobytes() if isinstance(value, torch.Tensor) else value

    return repr(timeless(torch.load(path, weights_only=True))).encode()


def survives(script: str, kills: int, folder: Path) -> float:
    """Kill a script at random moments so many times, then let it finish.

    Args:
        folder: as `prepare` left it, with what earlier scripts make; the script's own product is
            made twice here.

    Returns:
        Seconds within which the kills came: of an undisturbed run.

    Raises:
        AssertionError: what is left differs from what an undisturbed run leaves, or it failed.
    """
    options, product = SCRIPTS[script][0], folder / SCRIPTS[script][1]
    seconds = finish(script, options, folder)
    expected = contents(product)

    def compare() -> None:
        found = contents(product)
        require(found == expected, folder, script, f"expected {expected}, found {found};")

    remove(product)
    generator = random.Random(0)
    for _ in tqdm(range(kills), desc=script, unit=" kills", disable=None):
        while True:
            child = start(folder, script, call, script, *options)
            child.join(generator.uniform(0.0, seconds))
            child.kill()
            child.join()
            if child.exitcode == -signal.SIGKILL:
                break
            compare()  # done before the kill: start again
            remove(product)
    finish(script, options, folder)
    compare()
    return seconds


def remove(product: Path) -> None:
    """A folder, or a file with its manifest."""
    if product.is_dir():
        shutil.rmtree(product)
    else:
        product.unlink()
        product.with_suffix(".json").unlink()


def many_epochs() -> None:
    """200 of one training."""
    call("train.py", *SMALL, "AK14", "MaxViT", "1", "--set", "training.epochs=200")


def many_chunks() -> None:
    """50 of collisions."""
    from collisions.production import samples_of, simulate_chunk
    from study import load_study

    [background] = samples_of(load_study("collisions.toml"), ["ttbar"], tries=500)
    for chunk in range(50):
        simulate_chunk(background, chunk)


def many_predictions() -> None:
    """200 of all held-out events with all networks."""
    options, product = SCRIPTS["predict_base_model_mass.py"]
    for _ in range(200):
        call("predict_base_model_mass.py", *options)
        remove(Path(product))


SOAKS = {task.__name__: task for task in (many_epochs, many_chunks, many_predictions)}


def soak(name: str, folder: Path) -> str:
    """Watch the memory and the open files of one process from outside.

    Returns:
        Growth of the resident memory from the second quarter of the time to the last, and open
        files in the second quarter and in the last; of medians.
    """
    child = start(folder, name, SOAKS[name])
    process, seen = Path(f"/proc/{child.pid}"), []
    while child.exitcode is None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pages = int((process / "statm").read_text().split()[1])
            seen.append((pages, len(list((process / "fd").iterdir()))))
        child.join(0.05)
    require(child.exitcode == 0, folder, name)
    quarter = len(seen) // 4
    early, files = np.median(seen[quarter : 2 * quarter], axis=0)
    late, files_late = np.median(seen[-quarter:], axis=0)
    return f"memory {100 * (late / early - 1):+.2f} %, open files {files:.0f} -> {files_late:.0f}"


def main() -> None:
    """Parse options, kill and soak, write."""
    parser = parser_of(__doc__)
    checks = [*SCRIPTS, *SOAKS]
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"(default: {' '.join(checks)})")
    parser.add_argument("--kills", type=int, default=100, help="of each script (default: 100)")
    options = parser.parse_args()
    if unknown := [name for name in options.checks if name not in checks]:
        raise InputError(f"unknown check {unknown[0]!r}; known are {', '.join(checks)}")
    wanted = options.checks or checks
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for script in SCRIPTS:
            if script in wanted:
                seconds = survives(script, options.kills, folder)
                kills = f"{options.kills} kills at random moments within {seconds:.1f} s"
                write_row(script, f"identical after {kills}")
            else:
                finish(script, SCRIPTS[script][0], folder)
            if script == "train.py":
                finish(script, (*SMALL, "--all"), folder)
        for name in SOAKS:
            if name in wanted:
                write_row(name, soak(name, folder))


def write_row(check: str, result: str) -> None:
    """Print a result, and put it into doc/results/endurance.csv in place of an earlier one."""
    path = Path("doc/results/endurance.csv")
    rows = {row["check"]: row for row in read_csv(path)} if path.is_file() else {}
    found = versions()
    rows[check] = {
        "check": check,
        "result": result,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": " ".join(f"{name} {found[name]}" for name in ("python", "torch", "h5py")),
    }
    write_csv(path, list(rows.values()))
    print(f"{check:28s}{result}", flush=True)


if __name__ == "__main__":
    run(main)
