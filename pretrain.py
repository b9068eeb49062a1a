"""Pre-train the encoder of JetViT on jets without labels, as HEP-JEPA does (arXiv:2502.03933).

Reads   the training jets of a study: of a jet definition, which setup.py packed, or `particles`,
        its jets of stable particles (simulate.py); or public files of jets (EnergyFlow .npz, top
        tagging .h5, JetClass .root), of which each tenth jet is watched, not learnt from.
Writes  Data/<study>/pretrained/<jets>_<seed>/, for files with some digits that tell what is in
        them: encoder.safetensors, which `train.py --init` takes; history.csv, collapse.png with
        its points in collapse.csv: does the encoder still tell jets apart?; checkpoints, from
        which an interrupted one goes on; log.txt, manifest.json.

Epochs, batches, learning rate and width are those of the study's `training`, the kind of encoder
(patches, registers, pairwise) is `training.network_options.JetViT`.

    python pretrain.py AK14 --study demo
    python pretrain.py particles --study studies/quark_gluon.toml --set training.epochs=20
    python pretrain.py JetClass_0.root JetClass_1.root --masks random
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves it out
import environment  # noqa: F401 - says in a sentence what this Python lacks

# isort: split
import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from command import InputError, parser_of, run
from figures import style
from figures.pretraining import collapse
from jets import particle_jets
from jets.constituents import concatenate
from jets.public import read_public
from jets.sources import listed
from jets.split import HELD_OUT, TRAIN, VALIDATION
from physics import IMAGED_JETS
from products import alone, fingerprints, is_finished, naming, read_manifest, write_manifest
from study import Study, add_study_options, stated, study_of
from training import checkpoint
from training.constituents import JetConstituents
from training.inputs import Inputs
from training.interruption import TimeIsUp, Watch
from training.learner import choose_device
from training.pretraining import MASKS, Pretraining, options_of, pretrain, unlabelled, write_encoder

PARTICLES = "particles"
FLAT = 0.01  # variance of tokens, or rank above 1, of an encoder that has collapsed
WATCHED_SHARE = 10  # of the jets of public files one in so many


def main() -> None:
    """Parse the options, pre-train, write."""
    parser = parser_of(__doc__)
    parser.add_argument(
        "jets", nargs="+", help=f"{', '.join(IMAGED_JETS)}, {PARTICLES}, or public files"
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument("--masks", choices=MASKS, default=MASKS[0], help=f"(default: {MASKS[0]})")
    add_study_options(parser)
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    parser.add_argument(
        "--every-minutes", type=float, default=10.0, help="save within an epoch (default: 10)"
    )
    parser.add_argument(
        "--max-minutes", type=float, default=math.inf, help="save and stop; call again to go on"
    )
    options = parser.parse_args()
    for name, number, is_good, expected in (
        ("--seed", options.seed, options.seed >= 0, "0 or more"),
        ("--every-minutes", options.every_minutes, options.every_minutes > 0, "more than 0"),
        ("--max-minutes", options.max_minutes, options.max_minutes > 0, "more than 0"),
    ):
        if not is_good:
            raise InputError(f"{name} is {number}, expected {expected}")
    study, device = study_of(options), choose_device(options.device)
    asked = Pretraining(masks=options.masks)
    inputs, sha256 = read(options.jets, study, device)
    name = options.jets[0]
    if name not in (*IMAGED_JETS, PARTICLES):  # files of one name are not always the same
        name = f"{Path(name).stem}-{sha256[:8]}"
    directory = study.data_dir / "pretrained" / f"{name}_{options.seed}"
    settings = {
        "jets_sha256": sha256,
        "seed": options.seed,
        "training": stated(study.training) | {"network_options": options_of(study)},
        "pretraining": dataclasses.asdict(asked),
    }
    settings = json.loads(json.dumps(settings))
    manifest = directory / "manifest.json"
    if is_finished(manifest, settings, []):
        print(f"already finished, see {directory}")
        return

    def say(line: str) -> None:
        log = directory / "log.txt"
        with naming(log), log.open("a", encoding="utf-8") as file:
            print(line, file=file)
        print(line, flush=True)

    with alone(directory):
        checkpoint.set_aside(directory, study.data_dir / "set_aside", settings)
        directory.mkdir(parents=True, exist_ok=True)
        say(f"study {study.name}, {time.strftime('%Y-%m-%d %H:%M')}, {device}")
        say(f"{len(inputs[0])} jets to learn from, {len(inputs[1])} to watch")
        watch = Watch(options.every_minutes, options.max_minutes)
        try:
            network, history = pretrain(
                directory, inputs, study, asked, options.seed, settings, watch,
                lambda row: say(f"epoch {row['epoch'] + 1}/{study.training.epochs}: {said(row)}"),
            )  # fmt: skip
        except TimeIsUp:
            print("time is up, and all is saved; run the same command to go on")
            return
        encoder = directory / "encoder.safetensors"
        write_encoder(encoder, network, study, jets=" ".join(options.jets), seed=options.seed)
        style.apply()
        style.save(collapse(history), directory / "collapse.png")
        write_manifest(manifest, settings, {}, [encoder, directory / "history.csv"])
        last = history[-1]
        if last["variance"] < FLAT or last["rank"] < 1 + FLAT:
            say("the encoder has collapsed: to it all jets, or all tokens, are the same")
        say(f"written: {encoder}; `train.py --init` takes it")


def said(row: dict[str, float]) -> str:
    """A row of the history in words."""
    return (
        f"training loss {row['training_loss']:.4f}, loss {row['loss']:.4f} ± "
        f"{row['loss_error']:.4f}, variance of targets {row['variance']:.3f}, effective rank "
        f"{row['rank']:.1f}, {row['jets_per_second']:.0f} jets/s"
    )


def read(jets: Sequence[str], study: Study, device: torch.device) -> tuple[list[Inputs], str]:
    """The jets to learn from and those to watch, and what tells them from other jets.

    Raises:
        InputError: as what is read says; several jet definitions.
    """
    if len(jets) == 1 and jets[0] in IMAGED_JETS:
        read_manifest(study.data_dir / "setup.json", "setup.py", study.settings("setup"))
        splits = [JetConstituents.read(study, jets[0], s, device) for s in (TRAIN, VALIDATION)]
        return splits, JetConstituents.sha256(study, jets[0], False)
    if list(jets) == [PARTICLES]:
        table = particle_jets.read(study)
        known = table.take((table.sample == particle_jets.NOMINAL) & (table.split != HELD_OUT))
        parts = [known.take(known.split == split) for split in (TRAIN, VALIDATION)]
        return [unlabelled(part.constituents, device) for part in parts], known.sha256
    paths = [Path(one) for one in jets]
    if alone_only := {*IMAGED_JETS, PARTICLES} & {*jets}:
        raise InputError(f"{min(alone_only)} stands beside others; name it alone, or files alone")
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"{listed(paths)}: a file is named twice; name each once")
    found = concatenate([read_public(path).constituents for path in paths])
    if len(found) < WATCHED_SHARE:
        raise InputError(f"{listed(paths)}: {len(found)} jets, expected {WATCHED_SHARE} or more")
    watched = np.arange(len(found)) % WATCHED_SHARE == 0
    known = json.dumps([one["sha256"] for one in fingerprints(paths).values()])
    inputs = [unlabelled(found.take(rows), device) for rows in (~watched, watched)]
    return inputs, hashlib.sha256(known.encode()).hexdigest()


if __name__ == "__main__":
    run(main)
