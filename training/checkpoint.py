"""Checkpoints: one file an epoch with everything that is needed to go on from there.

Plain tensors, numbers and strings, read with `weights_only=True`; whole or not there at all.
"""

import pickle
from pathlib import Path

import torch
from torch import nn

from products import InputError, atomic_write, versions


def checkpoint_path(directory: Path, epoch: int) -> Path:
    """`epoch_00.pt` is what the first epoch left."""
    return directory / f"epoch_{epoch:02d}.pt"


def save(
    directory: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    history: list[dict[str, float]],
    settings: dict,
) -> None:
    """Write the checkpoint of the last epoch in `history`.

    Args:
        settings: what decides the weights, the hash of the jets included; a training goes on from
            a checkpoint with the very same settings only.
    """
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    content = {
        "settings": settings,
        "history": history,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random_states": {"cpu": torch.get_rng_state(), "cuda": cuda},
        "versions": versions(),
    }
    with atomic_write(checkpoint_path(directory, len(history) - 1)) as temporary:
        torch.save(content, temporary)


def load(path: Path, network: nn.Module, settings: dict) -> dict:
    """Set a network to what a checkpoint holds; the checkpoint, on the CPU.

    Raises:
        InputError: unreadable, made with other settings, or of another network; the sentence names
            the first setting that differs.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = content["settings"]
        reason = next(
            (
                f"its {name} is {found.get(name)!r}, expected {expected!r}"
                for name, expected in settings.items()
                if found.get(name) != expected
            ),
            None,
        )
        if reason is None:
            network.load_state_dict(content["network"])
            return content
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        reason = f"not a checkpoint of this network ({' '.join(str(error).split())[:100]})"
    raise InputError(
        f"{path}: {reason}; move {path.parent} away or delete it, and run train.py again"
    )


def resume(
    directory: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    settings: dict,
    epochs: int,
) -> list[dict[str, float]]:
    """Set everything to where the last finished epoch left it; its history, empty if there is none.

    Args:
        epochs: in all; checkpoints of later epochs, from a longer training, are left alone.
    """
    finished = [e for e in range(epochs) if checkpoint_path(directory, e).exists()]
    if not finished:
        return []
    content = load(checkpoint_path(directory, finished[-1]), network, settings)
    optimiser.load_state_dict(content["optimiser"])
    torch.set_rng_state(content["random_states"]["cpu"])
    if torch.cuda.is_initialized() and content["random_states"]["cuda"]:
        torch.cuda.set_rng_state_all(content["random_states"]["cuda"])
    return content["history"]
