"""Step 2: train one base classifier, or all of a study.

Reads   Data/<study>/{AK08,AK10,AK14}.h5, which setup.py packed: training and validation jets.
Writes  Data/<study>/models/<jet definition>_<network>_<seed>/: history.csv with one row per epoch,
        epoch_NN.pt with everything to go on from there, log.txt, and manifest.json, which names
        the epoch of lowest validation loss; predict_base_model_mass.py uses that one.

An interrupted training, even a killed one, goes on from its newest checkpoint; a finished one says
so and ends. More epochs go on from fewer, except with a cosine schedule. A training made with other
settings is moved to Data/<study>/set_aside/. On a CPU the same command gives the same weights, bit
for bit, however often it was interrupted. Several GPUs share every batch under torchrun.

    python train.py AK14 MaxViT 0
    python train.py AK14 CNN --study demo --shuffle-labels
    torchrun --nproc-per-node=2 train.py AK14 MaxViT 0
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out
import environment  # noqa: F401 - says in a sentence what this Python lacks

# isort: split
import argparse
import contextlib
import dataclasses
import math
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch.distributed import is_torchelastic_launched

from command import InputError, run
from products import (
    BeingMade,
    alone,
    cores,
    is_finished,
    naming,
    read_manifest,
    unchanged,
    write_manifest,
)
from sensitivity.bootstrap import Estimate
from study import Study, add_study_options, study_of
from training import checkpoint
from training.distributed import Processes, joined
from training.inputs import INPUTS, read_samples
from training.interruption import TimeIsUp, Watch
from training.learner import Learner, choose_device
from training.loop import best_epoch, train, unseen_inputs
from training.plan import Training, trainings


def main() -> None:
    """Parse the options and run what they name."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("jet_definition", nargs="?", help="AK08, AK10 or AK14")
    parser.add_argument("network", nargs="?", help="a name in models.MODELS, in any case")
    parser.add_argument("seed", nargs="?", type=int, default=0, help="(default: 0)")
    parser.add_argument(
        "--all", action="store_true", help="every network of the study on every jet definition"
    )
    add_study_options(parser)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    parser.add_argument(
        "--shuffle-labels",
        action="store_true",
        help="null check: train and validate on permuted labels, expecting an AUC of 0.5",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        help="trainings at a time, with --all (default: one for each core of a CPU, 1 on a GPU)",
    )
    parser.add_argument(
        "--every-minutes", type=float, default=10.0, help="save within an epoch (default: 10)"
    )
    parser.add_argument(
        "--max-minutes", type=float, default=math.inf, help="save and stop; call again to go on"
    )
    parser.add_argument(
        "--plain", action="store_true", help="eager float32 on a GPU too (see doc/performance.md)"
    )
    options = parser.parse_args()
    if options.all == bool(options.jet_definition) or bool(options.network) == options.all:
        parser.error("name a jet definition and a network, or say --all")
    if options.all and options.shuffle_labels:
        parser.error("--all has its own null check")

    study = study_of(options)
    if options.jobs is not None and options.jobs < 1:
        raise InputError(f"--jobs is {options.jobs}, expected 1 or more")
    if options.seed < 0:
        raise InputError(f"seed is {options.seed}, expected 0 or more")
    for name in ("every_minutes", "max_minutes"):
        if not getattr(options, name) > 0:
            raise InputError(
                f"--{name.replace('_', '-')} is {getattr(options, name)}, expected more than 0"
            )
    device = choose_device(options.device)
    if options.all:
        wanted = trainings(study)
    else:
        wanted = [
            Training(options.jet_definition, options.network, options.seed, options.shuffle_labels)
        ]
    with torch.device("meta"):  # no weights: a network that cannot be made is told before the first
        sizes = {one: INPUTS[one.input].size_in(study, one.jet_definition) for one in wanted}
        different = {(one.network, size): one for one, size in sizes.items()}
        for (_, size), training in different.items():
            training.create(study, size)
    made = read_manifest(study.data_dir / "setup.json", "setup.py", study.settings("setup"))
    unfinished = [one for one in wanted if not is_trained(one, study)]
    jobs = options.jobs or (cores() if device.type == "cpu" else 1)
    is_shared = options.all and unfinished and not is_torchelastic_launched()
    jobs = min(jobs, len(unfinished)) if is_shared else 1
    with joined(device) as processes, side_by_side(jobs) as check:
        # One clock decides when to save, or each process would ask for a checkpoint of its own.
        every_minutes = options.every_minutes if processes.rank == 0 else math.inf
        watch = Watch(every_minutes, options.max_minutes)
        try:
            for training in wanted:
                check()
                try:
                    train_one(training, study, made, device, options.plain, processes, watch)
                except BeingMade:
                    if processes.number > 1 or not options.all:
                        raise
                    print(f"{training}: another run is making it")
        except TimeIsUp:
            if processes.rank == 0:
                print(
                    f"{training}: stopped after {options.max_minutes:g} minutes and saved; "
                    "run the same command to go on"
                )


@contextlib.contextmanager
def side_by_side(jobs: int) -> Iterator[Callable[[], None]]:
    """Run this very command in `jobs` processes, each of which takes what no other is training.

    They share the cores, and end when this one does, by an error or an interrupt; in the end this
    one waits for them.

    Yields:
        What ends this process, with the same status, once another has failed.
    """
    threads = max(cores() // jobs, 1)
    others = [
        subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], "--jobs", "1"],
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "TQDM_POSITION": str(i)},
            process_group=0,  # signals of the terminal come from here
        )
        for i in range(1, jobs)
    ]

    def check() -> None:
        if failed := [status for status in (other.poll() for other in others) if status]:
            sys.exit(failed[0])

    if others:
        torch.set_num_threads(threads)
    try:
        yield check
    except BaseException:
        for other in others:
            other.terminate()
        raise
    finally:
        for other in others:
            other.wait()
    check()


def train_one(
    training: Training,
    study: Study,
    made: Mapping,
    device: torch.device,
    plain: bool,
    processes: Processes,
    watch: Watch,
) -> None:
    """Run one training to its end, unless it is there already.

    One of other settings that lies in its place is moved aside.

    Args:
        made: the manifest of setup.py.
    """
    directory = training.directory(study)
    finished = is_trained(training, study)
    if not processes.agree(finished):
        raise InputError(
            f"{directory}: finished for some processes and not for others; put it where all of "
            "them see the same files"
        )
    if finished:
        print(f"{training}: already finished, see {directory}")
        return
    with contextlib.ExitStack() as stack:
        if processes.rank == 0:
            stack.enter_context(alone(directory))
        with unchanged(made["outputs"]):
            samples, remarks = read_samples(training, study, device)
        torch.manual_seed(training.seed)
        network = training.create(study, samples[0].inputs.size).to(device)
        learner = Learner(network, study, plain, processes)
        settings = settings_of(training, study)
        decisive = training.settings(study) | {"jets_sha256": settings["jets_sha256"]}
        if processes.rank == 0:  # what could be refused is past
            checkpoint.set_aside(directory, study.data_dir / "set_aside", decisive)
        processes.agree(0)  # no process looks for checkpoints before
        say = stack.enter_context(logged(directory, training, is_silent=processes.rank > 0))
        validation, unit = samples[1], samples[1].inputs.unit
        background = int((validation.label[validation.rows] == 0).sum())
        say(f"study {study.name}, {time.strftime('%Y-%m-%d %H:%M')}, {learner.way}")
        say(
            f"{len(samples[0])} {unit} to train on, {len(validation)} to validate; "
            f"max SIC of cuts with eps_S >= {study.figures.signal_efficiency_min} that leave at "
            f"least {study.figures.background_jets_min} of {background} background {unit} "
            f"(eps_B >= {study.figures.background_jets_min / background:.2g})"
        )
        for remark in remarks:
            say(remark)
        history = train(
            learner,
            samples,
            training.seed,
            directory,
            decisive,
            watch,
            lambda row: say(
                f"epoch {row['epoch'] + 1}/{study.training.epochs}: {measured(row, unit)}"
            ),
        )
        if processes.rank > 0:
            return
        checkpoint.tidy(directory, kept=0)
        best = best_epoch(history)
        if not (chosen := checkpoint.checkpoint_path(directory, best)).is_file():
            raise InputError(
                f"{chosen}: the best epoch's checkpoint is gone; delete {directory} to train again"
            )
        checkpoint.load(chosen, learner.network, decisive)
        unseen = unseen_inputs(learner.network, validation.inputs)
        outputs = [directory / "history.csv"]
        epochs = [checkpoint.checkpoint_path(directory, row["epoch"]) for row in history]
        outputs += [path for path in epochs if path.is_file()]  # one may have been removed
        write_manifest(
            directory / "manifest.json",
            settings,
            {},  # the jets are named by their hash: held-out ones decide nothing
            outputs,
            best_epoch=best,
            best=history[best],
            way=learner.way,
            sees_images="images" not in unseen,
        )
        say(f"best epoch {best + 1}: {measured(history[best], unit)}; {directory}")
        if unseen:
            say(f"its logits do not depend on {' and '.join(unseen)}: a layer is dead")
        if training.shuffled_labels:
            above = Estimate(history[best]["auc"] - 0.5, history[best]["auc_error"])
            say(f"null check: the AUC is {above.deviations:+.1f} standard errors from 0.5")


def settings_of(training: Training, study: Study) -> dict:
    """What the manifest of a training holds: which it is, its settings, the hash of its jets."""
    return dataclasses.asdict(training) | {
        "training": training.stated(study),
        "jets_sha256": INPUTS[training.input].sha256(study, training.jet_definition),
    }


def is_trained(training: Training, study: Study) -> bool:
    """Whether a training is finished, with these settings and jets."""
    manifest = training.directory(study) / "manifest.json"
    return is_finished(manifest, settings_of(training, study), [])


def measured(row: dict[str, float], unit: str) -> str:
    """A row of the history in words; `unit` is what is trained on, `jets` or `events`."""

    def estimate(name: str, digits: int) -> str:
        return f"{row[name]:.{digits}f} ± {row[f'{name}_error']:.{digits}f}"

    max_sic = "none, no such cut" if np.isnan(row["max_sic"]) else estimate("max_sic", 2)
    return (
        f"training loss {row['training_loss']:.4f}, validation loss {estimate('loss', 4)}, "
        f"accuracy {estimate('accuracy', 3)}, AUC {estimate('auc', 4)}, max SIC {max_sic}, "
        f"{row['jets_per_second']:.0f} {unit}/s"
    )


@contextlib.contextmanager
def logged(directory: Path, training: Training, is_silent: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that prints a line and logs it; the log also tells of an early end."""
    if is_silent:
        yield lambda line: None
        return
    path = directory / "log.txt"
    directory.mkdir(parents=True, exist_ok=True)

    def log(line: str) -> None:
        with naming(path), path.open("a", encoding="utf-8") as file:
            print(line, file=file)

    def say(line: str) -> None:
        log(line)
        print(f"{training}: {line}", flush=True)  # other trainings may print meanwhile

    try:
        yield say
    except BaseException as error:
        with contextlib.suppress(OSError):  # what has stopped the training is to be told
            log(f"stopped: {error!r}")
        raise


if __name__ == "__main__":
    run(main)
