"""Step 2: train one base classifier, or all of a study.

Reads   Data/<study>/{AK08,AK10,AK14}.h5, which setup.py packed: training and validation jets.
Writes  Data/<study>/models/<jet definition>_<network>_<seed>/: history.csv with one row per epoch,
        epoch_NN.pt with everything to go on from there, log.txt, and manifest.json, which names
        the epoch of lowest validation loss; predict_base_model_mass.py uses that one.

An interrupted training, even a killed one, goes on from its newest checkpoint; a finished one says
so and ends; more --epochs go on from fewer, but for a cosine schedule. On a CPU the same command
gives the same weights, bit for bit, however often it was interrupted. Several GPUs share every
batch under torchrun.

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
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from command import InputError, run
from jets.packed import read_training_sha256
from jets.split import TRAIN, VALIDATION
from products import alone, is_finished, naming, read_manifest, unchanged, write_manifest
from sensitivity.bootstrap import Estimate
from study import Study, add_study_option, load_study
from training import checkpoint
from training.batches import read_split
from training.distributed import Processes, joined
from training.interruption import TimeIsUp, Watch
from training.learner import Learner, choose_device
from training.loop import best_epoch, make_sample, sees_images, train
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
    add_study_option(parser)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    parser.add_argument("--epochs", type=int, help="(default: the study's, as the next two)")
    parser.add_argument("--batch-size", type=int, help="jets in a step")
    parser.add_argument("--learning-rate", type=float, help="of Adam in the first epoch")
    parser.add_argument(
        "--scale-learning-rate",
        action="store_true",
        help="by the square root of batch size / the study's, the rule for Adam (arXiv:2205.10287)",
    )
    parser.add_argument(
        "--shuffle-labels",
        action="store_true",
        help="null check: train and validate on permuted labels, expecting an AUC of 0.5",
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

    named = ("epochs", "batch_size", "learning_rate")
    given = {name: getattr(options, name) for name in named if getattr(options, name) is not None}
    stated_study = load_study(options.study)
    study = dataclasses.replace(stated_study, **given)
    for name in named:
        if getattr(study, name) <= 0:
            raise InputError(f"{name} is {getattr(study, name)}, expected more than 0")
    if options.seed < 0:
        raise InputError(f"seed is {options.seed}, expected 0 or more")
    for name in ("every_minutes", "max_minutes"):
        if not getattr(options, name) > 0:
            raise InputError(
                f"--{name.replace('_', '-')} is {getattr(options, name)}, expected more than 0"
            )
    if options.scale_learning_rate:
        scaled = study.training.learning_rate * math.sqrt(
            study.training.batch_size / stated_study.training.batch_size
        )
        study = study.changed(training={"learning_rate": scaled})
    device = choose_device(options.device)
    if options.all:
        wanted = trainings(study)
    else:
        wanted = [
            Training(options.jet_definition, options.network, options.seed, options.shuffle_labels)
        ]
    with torch.device("meta"):  # no weights: a network that cannot be made is told before the first
        different = {(one.network, study.image_pixels(one.jet_definition)): one for one in wanted}
        for (_, pixels), training in different.items():
            training.create(study, pixels)
    with joined(device) as processes:
        # One clock decides when to save, or each process would ask for a checkpoint of its own.
        every_minutes = options.every_minutes if processes.rank == 0 else math.inf
        watch = Watch(every_minutes, options.max_minutes)
        try:
            for training in wanted:
                train_one(training, study, stated_study, device, options.plain, processes, watch)
        except TimeIsUp:
            if processes.rank == 0:
                print(
                    f"{training}: stopped after {options.max_minutes:g} minutes and saved; "
                    "run the same command to go on"
                )


def train_one(
    training: Training,
    study: Study,
    stated_study: Study,
    device: torch.device,
    plain: bool,
    processes: Processes,
    watch: Watch,
) -> None:
    """Run one training to its end, unless it is there already.

    Args:
        study: with the settings of the command line.
        stated_study: without.
    """
    directory = training.directory(study)
    manifest = directory / "manifest.json"
    jets = study.data_dir / f"{training.jet_definition}.h5"
    made = read_manifest(study.data_dir / "setup.json", "setup.py", study.settings("setup"))
    decisive = training.settings(study)
    decisive["jets_sha256"] = read_training_sha256(jets)
    settings = decisive | {"epochs": study.training.epochs}
    finished = is_finished(manifest, settings, [])
    if not processes.agree(finished):
        raise InputError(
            f"{directory}: finished for some processes and not for others; put it where all of "
            "them see the same files"
        )
    if finished:
        print(f"{training}: already finished, see {directory}")
        return
    with unchanged(made["outputs"]):
        samples = [
            make_sample(
                read_split(study, training.jet_definition, split), training.label, study, device
            )
            for split in (TRAIN, VALIDATION)
        ]
    torch.manual_seed(training.seed)
    network = training.create(study, samples[0].images.side).to(device)
    learner = Learner(
        network,
        study.training.learning_rate,
        study.training.batch_size,
        plain,
        processes,
        study.training.weight_decay,
    )
    with (
        alone(directory) if processes.rank == 0 else contextlib.nullcontext(),
        logged(directory / "log.txt", is_silent=processes.rank > 0) as say,
    ):
        background = int((samples[1].label == 0).sum())
        say(f"{training}, study {study.name}, {time.strftime('%Y-%m-%d %H:%M')}, {learner.way}")
        say(
            f"{len(samples[0].event)} jets to train on, {len(samples[1].event)} to validate; "
            f"max SIC of cuts with eps_S >= {study.figures.signal_efficiency_min} that leave at least "
            f"{study.figures.background_jets_min} of {background} background jets "
            f"(eps_B >= {study.figures.background_jets_min / background:.2g})"
        )
        history = train(
            learner,
            *samples,
            study,
            training.seed,
            decisive,
            directory,
            watch,
            lambda row: say(f"epoch {row['epoch'] + 1}/{study.training.epochs}: {measured(row)}"),
        )
        if processes.rank > 0:
            return
        checkpoint.tidy(directory, kept=0)
        best = best_epoch(history)
        if not (chosen := checkpoint.checkpoint_path(directory, best)).is_file():
            raise InputError(
                f"{chosen}: the best epoch's checkpoint is gone; delete {directory} to train anew"
            )
        checkpoint.load(chosen, learner.network, decisive)
        is_seeing = sees_images(learner.network, samples[1].images)
        outputs = [directory / "history.csv"]
        epochs = [checkpoint.checkpoint_path(directory, row["epoch"]) for row in history]
        outputs += [path for path in epochs if path.is_file()]  # one may have been removed
        write_manifest(
            manifest,
            settings,
            {},  # the jets are named by their hash: held-out ones decide nothing
            outputs,
            study=training.stated(stated_study),
            best_epoch=best,
            best=history[best],
            way=learner.way,
            sees_images=is_seeing,
        )
        say(f"best epoch {best + 1}: {measured(history[best])}; {directory}")
        if not is_seeing:
            say("it sees the jet mass alone: a layer is dead, all images give the same features")
        if training.shuffled_labels:
            above = Estimate(history[best]["auc"] - 0.5, history[best]["auc_error"])
            say(f"null check: the AUC is {above.deviations:+.1f} standard errors from 0.5")


def measured(row: dict[str, float]) -> str:
    """A row of the history in words."""

    def estimate(name: str, digits: int) -> str:
        return f"{row[name]:.{digits}f} ± {row[f'{name}_error']:.{digits}f}"

    max_sic = "none, no such cut" if np.isnan(row["max_sic"]) else estimate("max_sic", 2)
    return (
        f"training loss {row['training_loss']:.4f}, validation loss {estimate('loss', 4)}, "
        f"accuracy {estimate('accuracy', 3)}, AUC {estimate('auc', 4)}, max SIC {max_sic}, "
        f"{row['jets_per_second']:.0f} jets/s"
    )


@contextlib.contextmanager
def logged(path: Path, is_silent: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that prints a line and logs it; the log also tells of an early end."""
    if is_silent:
        yield lambda line: None
        return
    path.parent.mkdir(parents=True, exist_ok=True)

    def log(line: str) -> None:
        with naming(path), path.open("a", encoding="utf-8") as file:
            print(line, file=file)

    def say(line: str) -> None:
        log(line)
        print(line, flush=True)

    try:
        yield say
    except BaseException as error:
        with contextlib.suppress(OSError):  # what has stopped the training is to be told
            log(f"stopped: {error!r}")
        raise


if __name__ == "__main__":
    run(main)
