"""Checkpoints: one file with everything that is needed to go on from there.

Plain tensors, numbers and strings, read with `weights_only=True`; whole or not there at all. A
PyTorch file is a zip archive; ours carries as the archive's comment the SHA-256 of the rest, which
is verified before anything is unpacked.
"""

import hashlib
import io
import itertools
import re
import struct
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from command import InputError
from products import atomic_write, versions
from training.learner import Learner

KEPT = 2  # of the checkpoints made within epochs: the newest and the one before
_NAME = re.compile(r"epoch_(\d+)(?:_step_(\d+))?\.pt")
_HEX_DIGITS = 64


@dataclass
class Progress:
    """How far a training is."""

    epoch: int = 0  # the one in the making
    step: int = 0  # optimiser steps of it that are done
    loss_sum: float = 0.0  # of its jets seen so far
    seconds: float = 0.0  # spent on it so far
    history: list[dict[str, float]] = field(default_factory=list)  # a row for each finished epoch


def checkpoint_path(directory: Path, epoch: int, step: int = 0) -> Path:
    """`epoch_00.pt` is what the first epoch left, `epoch_01_step_000200.pt` 200 steps later."""
    within = f"_step_{step:06d}" if step else ""
    return directory / f"epoch_{epoch:02d}{within}.pt"


def save(directory: Path, learner: Learner, progress: Progress, settings: dict) -> None:
    """Write a checkpoint: of the epoch just finished, or in the middle of one.

    `settings` decide the weights, the hash of the jets and the seed of their order included; a
    training goes on from a checkpoint with the very same settings only.
    """
    content = {
        "settings": settings,
        "progress": asdict(progress),
        "network": learner.network.state_dict(),
        "optimiser": learner.optimiser.state_dict(),
        "random_states": {
            "cpu": torch.get_rng_state(),
            "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],
        },
        "versions": versions(),
    }
    archive = io.BytesIO()
    torch.save(content, archive)
    payload = archive.getbuffer()[:-2]  # without the length of its comment, which is 0
    comment = hashlib.sha256(payload).hexdigest().encode()
    epoch = progress.epoch if progress.step else progress.epoch - 1
    path = checkpoint_path(directory, epoch, progress.step)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.writelines((payload, struct.pack("<H", len(comment)), comment))
    tidy(directory)


def tidy(directory: Path, kept: int = KEPT) -> None:
    """Delete what nobody needs: checkpoints made within epochs, but for those among the newest
    `kept` of all, and half-written ones of a process that was killed."""
    for path in directory.glob(".epoch_*.tmp"):
        path.unlink(missing_ok=True)
    for path in _newest_first(directory)[kept:]:
        if "step" in path.name:
            path.unlink()


def load(path: Path, network: nn.Module, settings: dict) -> dict:
    """Set a network to what a checkpoint holds; the checkpoint, on the CPU.

    Raises:
        InputError: damaged, made with other settings, or of another network; the sentence names
            the first setting that differs.
    """
    content = _verified(path)
    if content is None:
        reason = "damaged: its checksum does not hold"
    elif change := _change(content["settings"], settings):
        reason = "its {} is {}, expected {}".format(*change)
    else:
        try:
            network.load_state_dict(content["network"])
            return content
        except RuntimeError as error:
            reason = f"not a checkpoint of this network ({' '.join(str(error).split())[:100]})"
    raise InputError(f"{path}: {reason}; move {path.parent} away or delete it, and train again")


def set_aside(directory: Path, aside: Path, settings: dict) -> None:
    """Move a training of other settings out of the way, into a folder of `aside`, and say so."""
    contents = map(_verified, _newest_first(directory))
    found = next((content["settings"] for content in contents if content), settings)
    if change := _change(found, settings):
        aside.mkdir(exist_ok=True)
        places = (aside / f"{directory.name}_{number}" for number in itertools.count(1))
        moved = directory.rename(next(place for place in places if not place.exists()))
        print(f"{directory}: made with {change[0]} {change[1]}, now {change[2]}; moved to {moved}")


def resume(directory: Path, learner: Learner, settings: dict) -> Progress:
    """Set everything to where the newest sound checkpoint left it; the start if there is none.

    Checkpoints of later epochs than the study has, from a longer training, are left alone.

    Raises:
        InputError: a checkpoint of another training, or not one of those that are there, or were
            when a history was written, is sound.
    """
    last = (learner.study.training.epochs, 0)
    paths = [path for path in _newest_first(directory) if _position(path) <= last]
    for path in paths:
        if _verified(path) is None:
            print(f"{path}: damaged, trying the checkpoint before it", file=sys.stderr)
            continue
        content = load(path, learner.network, settings)
        learner.optimiser.load_state_dict(content["optimiser"])
        torch.set_rng_state(content["random_states"]["cpu"])
        if torch.cuda.is_initialized() and content["random_states"]["cuda"]:
            torch.cuda.set_rng_state(content["random_states"]["cuda"][0])
        return Progress(**content["progress"])
    if paths or (directory / "history.csv").is_file():
        raise InputError(
            f"{directory}: none of its {len(paths)} checkpoints is sound; delete the folder to "
            "train from the start"
        )
    return Progress()


def _change(found: dict, settings: dict) -> tuple[str, str, str] | None:
    """The first setting that differs, as it was and as it is."""
    for name in settings | found:
        if found.get(name) != settings.get(name):
            said = (repr(one[name]) if name in one else "not stated" for one in (found, settings))
            return name, *said
    return None


def _position(path: Path) -> tuple[int, int]:
    """Epochs finished when a checkpoint was made, and steps since then."""
    epoch, step = _NAME.fullmatch(path.name).groups()
    return (int(epoch), int(step)) if step else (int(epoch) + 1, 0)


def _newest_first(directory: Path) -> list[Path]:
    paths = [path for path in directory.glob("epoch_*.pt") if _NAME.fullmatch(path.name)]
    return sorted(paths, key=_position, reverse=True)


def _verified(path: Path) -> dict | None:
    """What a checkpoint holds; None if it is not what was written."""
    data = path.read_bytes()  # an error of the system says nothing of the content
    rest, stated = memoryview(data)[: -_HEX_DIGITS - 2], data[-_HEX_DIGITS:]
    if hashlib.sha256(rest).hexdigest().encode() != stated:
        return None
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
