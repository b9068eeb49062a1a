"""Step 2: train one base classifier, or all of a study.

Reads   Data/<study>/{AK08,AK10,AK14}.h5, which setup.py packed: training and validation jets.
Writes  Data/<study>/models/<jet definition>_<network>_<seed>/: history.csv with one row per epoch,
        epoch_NN.pt with everything to go on from there, log.txt, and manifest.json, which names
        the epoch of lowest validation loss, or, where the study chooses by that, of largest AUC or
        expected significance; predict_base_model_mass.py uses that one.

An interrupted training, even a killed one, goes on from its newest checkpoint; a finished one says
so and ends. More epochs go on from fewer, except with a cosine schedule. A training made with other
settings is moved to Data/<study>/set_aside/. On a CPU the same command gives the same weights, bit
for bit, however often it was interrupted. Several GPUs share every batch under torchrun.

    python train.py AK14 MaxViT 0
    python train.py AK14 CNN --study demo --shuffle-labels
    python train.py AK14 JetViT --init Data/readme/pretrained/AK14_0/encoder.safetensors
    torchrun --nproc-per-node=2 train.py AK14 MaxViT 0
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out
import environment  # noqa: F401 - says in a sentence what this Python lacks

# isort: split
import contextlib
import json
import math
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch.distributed import is_torchelastic_launched

from command import InputError, parser_of, run
from models.pretrained import read_facts
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
from sensitivity.bootstrap import Estimate, effective_count
from study import Study, add_study_options, study_of, toml_lines
from training import checkpoint
from training.distributed import Processes, joined
from training.inputs import input_of, read_samples, settings_of
from training.interruption import TimeIsUp, Watch
from training.learner import Learner, choose_device
from training.loop import best_epoch, train, unseen_inputs
from training.losses import loss_of
from training.plan import Training, trainings
from training.pretraining import NETWORK as ENCODED


def main() -> None:
    """Parse the options and run what they name."""
    parser = parser_of(__doc__)
    parser.add_argument("jet_definition", nargs="?", help="AK08, AK10 or AK14")
    parser.add_argument("network", nargs="?", help="a name in models.MODELS, in any case")
    parser.add_argument("seed", nargs="?", type=int, default=0, help="(default: 0)")
    parser.add_argument(
        "--all", action="store_true", help="every network of the study on every jet definition"
    )
    add_study_options(parser)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    parser.add_argument(
        "--shuffle-labels", action="store_true", help="null check on permuted labels: AUC 0.5"
    )
    parser.add_argument(
        "--init",
        metavar="ENCODER",
        help="of pretrain.py, which JetViT is to start from; for later steps state it in the study",
    )
    parser.add_argument("--freeze", action="store_true", help="with --init: it stays as it is")
    parser.add_argument(
        "--jobs", type=int, help="trainings at a time, with --all (default: one per core; GPU: 1)"
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
    is_named = bool(options.jet_definition and options.network)
    if options.all == is_named or (
        options.all and (options.jet_definition or options.shuffle_labels)
    ):
        parser.error("name a jet definition and a network, or say --all, which has its null check")
    if options.freeze and not options.init:
        parser.error("--freeze needs --init, which names what stays as it is")
    for name, number, is_good, expected in (
        ("seed", options.seed, options.seed >= 0, "0 or more"),
        ("--jobs", options.jobs, options.jobs is None or options.jobs >= 1, "1 or more"),
        ("--every-minutes", options.every_minutes, options.every_minutes > 0, "more than 0"),
        ("--max-minutes", options.max_minutes, options.max_minutes > 0, "more than 0"),
    ):
        if not is_good:
            raise InputError(f"{name} is {number}, expected {expected}")
    study = study_of(options)
    if options.init and options.network and options.network.lower() != ENCODED.lower():
        raise InputError(f"--init is of the encoder of {ENCODED}, not of {options.network}")
    if options.init:
        study = starting_from(study, options.init, options.freeze)
        stated = toml_lines({"network_options": study.training.network_options}, "training")
        tell("\n".join(["later steps need a study, with a name of its own, that says:", *stated]))
    device = choose_device(options.device)
    asked = options.jet_definition, options.network, options.seed, options.shuffle_labels
    wanted = trainings(study) if options.all else [Training(*asked)]
    with torch.device("meta"):  # no weights: a network that cannot be made is told before the first
        for training in wanted:
            size = input_of(training).size_in(study, training.jet_definition)
            training.create(study, size)
    made = read_manifest(study.data_dir / "setup.json", "setup.py", study.settings("setup"))
    jobs = options.jobs or (cores() if device.type == "cpu" else 1)
    is_shared = options.all and not is_torchelastic_launched()
    jobs = min(jobs, sum(not is_trained(one, study) for one in wanted)) if is_shared else 1
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
                    tell(f"{training}: another run is making it")
        except TimeIsUp:
            if processes.rank == 0:
                tell(f"{training}: time is up, and all is saved; run the same command to go on")


def starting_from(study: Study, encoder: str, is_frozen: bool) -> Study:
    """The study whose JetViT has the encoder of a file.

    Raises:
        InputError: there is none.
    """
    try:
        facts = read_facts(Path(encoder))
        options = json.loads(facts["network_options"])
        if facts["network"] != ENCODED or "jets" not in facts:
            raise ValueError("no pre-trained encoder")
    except (ValueError, KeyError) as error:
        raise InputError(f"--init {encoder}: {error}; name what pretrain.py wrote") from None
    own = study.training.network_options
    options = {"pooled": True} | own.get(ENCODED, {}) | options
    options |= {"init": encoder, "frozen": is_frozen}
    return study.changed(training={"network_options": own | {ENCODED: options}})


def tell(line: str) -> None:
    """Print a line in one write, however Python buffers: other trainings print meanwhile."""
    print(f"{line}\n", end="", flush=True)


@contextlib.contextmanager
def side_by_side(jobs: int) -> Iterator[Callable[[], None]]:
    """Run this very command in `jobs` processes that share the cores; each takes what no other is
    training. They end when this one fails or is interrupted; else this one waits for them.

    Yields:
        What ends this process, with the same status, once another has failed.
    """
    threads = max(cores() // max(jobs, 1), 1)
    command = [sys.executable, __file__, *sys.argv[1:], "--jobs", "1"]
    others = [
        subprocess.Popen(
            command,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "TQDM_POSITION": str(i)},
            process_group=0,  # signals of the terminal come from here
        )
        for i in range(1, jobs)
    ]
    if others:
        torch.set_num_threads(threads)

    def check() -> None:
        if failed := [status for other in others if (status := other.poll())]:
            sys.exit(failed[0])

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


def is_trained(training: Training, study: Study) -> bool:
    """Whether a training is finished, with these settings and jets."""
    manifest = training.directory(study) / "manifest.json"
    return is_finished(manifest, settings_of(training, study), [])


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

    One of other settings that lies in its place is moved aside. `made` is setup.py's manifest.
    """
    directory, is_first = training.directory(study), processes.rank == 0
    if not processes.largest(not is_trained(training, study)):
        tell(f"{training}: already finished, see {directory}")
        return

    def say(line: str) -> None:
        if is_first:
            log = directory / "log.txt"
            with naming(log), log.open("a", encoding="utf-8") as file:
                print(line, file=file)
            tell(f"{training}: {line}")

    loss_of(study.training)  # refuses before anything is read
    with alone(directory) if is_first else contextlib.nullcontext():
        with unchanged(made["outputs"]):
            samples, remarks = read_samples(training, study, device)
        torch.manual_seed(training.seed)
        network = training.create(study, samples[0].inputs.size).to(device)
        learner = Learner(network, study, plain, processes)
        settings = settings_of(training, study)
        decisive = training.decisive(study, settings["jets_sha256"])
        if is_first:  # what could be refused is past
            checkpoint.set_aside(directory, study.data_dir / "set_aside", decisive)
            directory.mkdir(parents=True, exist_ok=True)
        processes.agree(0)  # no process looks for checkpoints before
        validation, unit = samples[1], samples[1].inputs.unit
        weight = validation.weight[validation.label == 0].double()
        background = effective_count(weight.sum().item(), (weight**2).sum().item())
        least, epochs = study.figures.background_jets_min, study.training.epochs
        say(f"study {study.name}, {time.strftime('%Y-%m-%d %H:%M')}, {learner.way}")
        say(
            f"{len(samples[0])} {unit} to train on, {len(validation)} to validate; max SIC of cuts "
            f"with eps_S >= {study.figures.signal_efficiency_min} that leave at least "
            f"{least} of {background:.0f} effective background {unit}"
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
            lambda row: say(f"epoch {row['epoch'] + 1}/{epochs}: {measured(row, unit)}"),
        )
        if not is_first:
            return
        checkpoint.tidy(directory, kept=0)
        best = best_epoch(history, study.training.choose_by)
        checkpoint.load(checkpoint.checkpoint_path(directory, best), network, decisive)
        unseen = unseen_inputs(network, validation.inputs)
        kept = [checkpoint.checkpoint_path(directory, row["epoch"]) for row in history]
        write_manifest(
            directory / "manifest.json",
            settings,
            {},  # the jets are named by their hash: held-out ones decide nothing
            [directory / "history.csv", *filter(Path.is_file, kept)],  # one may have been removed
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


def measured(row: dict[str, float], unit: str) -> str:
    """A row of the history in words; `unit` is what is trained on, `jets` or `events`."""
    loss, accuracy, auc, max_sic, significance = (
        f"{row[name]:.{digits}f} ± {row[f'{name}_error']:.{digits}f}" if name in row else ""
        for name, digits in (
            ("loss", 4), ("accuracy", 3), ("auc", 4), ("max_sic", 2), ("significance", 3)
        )
    )  # fmt: skip
    return (
        f"training loss {row['training_loss']:.4f}, validation loss {loss}, accuracy {accuracy}, "
        f"AUC {auc}, max SIC {'none, no such cut' if math.isnan(row['max_sic']) else max_sic}, "
        f"{f'expected significance {significance}, ' if significance else ''}"
        f"{row['jets_per_second']:.0f} {unit}/s"
    )


if __name__ == "__main__":
    run(main)
