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

import argparse
import contextlib
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

from tqdm import tqdm

from command import InputError, run
from products import machine, read_csv, versions, write_csv
from study import PRESETS

STUDY = """
base = "demo"
[sample]
stop_masses = [700, 1100]
neutralino_masses = [100, 500]
background_files = 1
[images]
training_jets_per_mass_point = 50
split = [0.6, 0.3, 0.1]
[training]
width = 0.125
epochs = 2
[classifiers]
networks = ["MaxViT"]
jet_definitions = ["AK14"]
[trees]
folds = 2
[figures]
bootstraps = 20
"""
# The same, but makes its own collisions: a fraction of a second a chunk.
COLLISIONS = """
base = "demo"
[simulation]
background_events = 1
signal_events = 6
[sample]
stop_masses = [900]
neutralino_masses = [300]
background_files = 1
"""
FILES = ("ttbar_0", "stop_700_100", "stop_1100_500")
TRAINING = "AK14_MaxViT_0"
PRELOADED = ["setup", "simulate", "train", "predict_base_model_mass", "fit_xgb", "models.maxvit"]
# Script -> its options, and the products that must be the same.
SCRIPTS: dict[str, tuple[tuple[str, ...], str]] = {
    "train.py": (
        ("AK14", "MaxViT", "--every-minutes", "0.002", "--device", "cpu"),
        f"Data/small/models/{TRAINING}",
    ),
    "simulate.py": (("--workers", "1", "--tries", "400"), "train_data/collisions"),
    "predict_base_model_mass.py": (("--device", "cpu"), "Data/small/scores.h5"),
    "fit_xgb.py": ((), "Data/small/trees.h5"),
}


def start(script: str, options: tuple[str, ...], folder: Path) -> BaseProcess:
    """A script begun in a fork of a process that has imported it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    child = context.Process(target=_in_folder, args=(partial(_call, script, options), folder))
    child.start()
    return child


def _in_folder(task: Callable[[Path], None], folder: Path) -> None:
    os.chdir(folder)
    name = task.args[0] if isinstance(task, partial) else task.__name__
    log = os.open(f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    task(folder)


def _call(script: str, options: tuple[str, ...], folder: Path | None = None) -> None:
    sys.argv = [script, *options]
    module = import_module(script.removesuffix(".py"))
    run(module.main)


def finish(script: str, options: tuple[str, ...], folder: Path) -> float:
    """Run a script to its end; the seconds it took."""
    begin = time.monotonic()
    child = start(script, options, folder)
    child.join()
    if child.exitcode:
        raise AssertionError(
            f"{script}: {(folder / f'{script}.log').read_text(encoding='utf-8')[-2000:]}"
        )
    return time.monotonic() - begin


def prepare(folder: Path) -> None:
    """The small study as setup.py leaves it, and the one that simulates."""
    sample = folder / "train_data" / "small"
    sample.mkdir(parents=True)
    for name in FILES:
        shutil.copy(PRESETS["demo"].sample_dir / f"{name}.h5", sample)
    (folder / "small.toml").write_text(STUDY, encoding="utf-8")
    (folder / "collisions.toml").write_text(COLLISIONS, encoding="utf-8")
    finish("setup.py", ("--study", "small.toml"), folder)


def options_of(script: str) -> tuple[str, ...]:
    """How a script is called here."""
    study = "collisions.toml" if script == "simulate.py" else "small.toml"
    return ("--study", study, *SCRIPTS[script][0])


def contents(folder: Path, script: str) -> dict[str, str]:
    """What a script left: the SHA-256 of each file, of checkpoints what they hold but times."""
    product = folder / SCRIPTS[script][1]
    files = sorted(product.rglob("*")) if product.is_dir() else [product]
    found = {}
    for path in files:
        if path.suffix == ".pt":
            found[path.name] = _digest_of_checkpoint(path)
        elif path.suffix == ".h5":
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _digest_of_checkpoint(path: Path) -> str:
    import torch

    held = torch.load(path, weights_only=True)
    digest = hashlib.sha256()

    def add(value: object) -> None:
        if isinstance(value, dict):
            for key in value:
                if "second" not in str(key):
                    digest.update(str(key).encode())
                    add(value[key])
        elif isinstance(value, list):
            for item in value:
                add(item)
        elif isinstance(value, torch.Tensor):
            digest.update(value.numpy().tobytes())
        else:
            digest.update(repr(value).encode())

    add(held)
    return digest.hexdigest()


def survives(script: str, kills: int, folder: Path, seed: int = 0) -> float:
    """Kill a script at random moments so many times, then let it finish.

    Args:
        folder: as `prepare` left it, with what earlier scripts make; the script's own product is
            made twice here.

    Returns:
        Seconds within which the kills came: of an undisturbed run.

    Raises:
        AssertionError: what is left differs from what an undisturbed run leaves, or it failed.
    """
    options, product = options_of(script), folder / SCRIPTS[script][1]
    seconds = finish(script, options, folder)
    expected = contents(folder, script)
    _remove(product)
    generator = random.Random(seed)
    for _ in tqdm(range(kills), desc=script, unit=" kills", disable=None):
        while not _killed(start(script, options, folder), generator.uniform(0.0, seconds)):
            _compare(script, folder, expected)  # done before the kill: begin anew
            _remove(product)
    finish(script, options, folder)
    _compare(script, folder, expected)
    return seconds


def _killed(child: BaseProcess, seconds: float) -> bool:
    """Whether a kill after this time still found the script at work."""
    child.join(seconds)
    child.kill()
    child.join()
    return child.exitcode == -signal.SIGKILL


def _compare(script: str, folder: Path, expected: dict[str, str]) -> None:
    found = contents(folder, script)
    if found != expected:
        log = (folder / f"{script}.log").read_text(encoding="utf-8")[-2000:]
        raise AssertionError(f"{script}: expected {expected}, found {found}; {log}")


def _remove(product: Path) -> None:
    if product.is_dir():
        shutil.rmtree(product)
    else:
        product.unlink()
        product.with_suffix(".json").unlink()


# --- Soaks --------------------------------------------------------------------------------------


def many_epochs(folder: Path) -> None:
    """200 epochs of one training."""
    _call(
        "train.py",
        (*options_of("train.py")[:2], "AK14", "MaxViT", "1", "--set", "training.epochs=200"),
    )


def many_chunks(folder: Path) -> None:
    """50 chunks of collisions."""
    from collisions.production import samples_of, simulate_chunk
    from study import load_study

    [background] = samples_of(load_study("collisions.toml"), ["ttbar"], tries=500)
    for chunk in range(50):
        simulate_chunk(background, chunk)


def many_predictions(folder: Path) -> None:
    """200 predictions of all held-out events with all networks."""
    for _ in range(200):
        _call("predict_base_model_mass.py", options_of("predict_base_model_mass.py"))
        _remove(folder / SCRIPTS["predict_base_model_mass.py"][1])


SOAKS: tuple[Callable[[Path], None], ...] = (many_epochs, many_chunks, many_predictions)


def soak(task: Callable[[Path], None], folder: Path) -> tuple[float, int, int]:
    """Watch the memory and the open files of one process from outside.

    Returns:
        Growth of the resident memory from the second quarter of the time to the last, in per
        cent; open files in the second quarter and in the last, medians.
    """
    context = multiprocessing.get_context("forkserver")
    child = context.Process(target=_in_folder, args=(task, folder))
    child.start()
    seen: list[tuple[int, int]] = []
    while child.exitcode is None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            process = Path(f"/proc/{child.pid}")
            pages = int((process / "statm").read_text().split()[1])
            seen.append((pages, len(list((process / "fd").iterdir()))))
        child.join(0.05)
    if child.exitcode:
        raise AssertionError((folder / f"{task.__name__}.log").read_text(encoding="utf-8")[-2000:])
    quarter = len(seen) // 4
    (early, files), (late, files_late) = (
        [statistics.median(column) for column in zip(*part, strict=True)]
        for part in (seen[quarter : 2 * quarter], seen[-quarter:])
    )
    return 100 * (late / early - 1), int(files), int(files_late)


# --- The script ---------------------------------------------------------------------------------


def main() -> None:
    """Parse options, kill and soak, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    checks = [*SCRIPTS, *(task.__name__ for task in SOAKS)]
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
                write_row(
                    script,
                    f"identical after {options.kills} kills at random moments "
                    f"within {seconds:.1f} s",
                )
            else:
                finish(script, options_of(script), folder)
            if script == "train.py":
                finish(script, (*options_of(script)[:2], "--all"), folder)
        for task in SOAKS:
            if task.__name__ in wanted:
                growth, early, late = soak(task, folder)
                write_row(task.__name__, f"memory {growth:+.2f} %, open files {early} -> {late}")


def write_row(check: str, result: str) -> None:
    """Print a result, and put it into doc/results/endurance.csv in place of an earlier one."""
    path = Path("doc/results/endurance.csv")
    rows = {}
    if path.is_file():
        rows = {row["check"]: row for row in read_csv(path)}
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
