"""Trained networks as single files: weights in bfloat16, batch-norm statistics in float32.

Pre-trained encoders as single files: weights in float32.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from models import create_model
from models.head import JetMassClassifier


def save_weights(path: Path, network: JetMassClassifier, facts: Mapping[str, str]) -> None:
    """Write a network, without its optimiser, with the facts that `load_weights` needs (`network`,
    `pixels`, `width`, `network_options` as JSON) and whatever a user of it should know."""
    weights = dict(network.state_dict())
    for name, _ in network.named_parameters():
        weights[name] = weights[name].to(torch.bfloat16)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path, dict(facts))


def load_weights(path: Path) -> tuple[JetMassClassifier, dict[str, str]]:
    """A network in float32, ready to score, and what is known of it; a ValueError if the file has
    no weights of a network that is known here."""
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        options = json.loads(facts["network_options"])
        size, width = int(facts["pixels"]), float(facts["width"])
        network = create_model(facts["network"], size, width, **options)
        network.load_state_dict(weights)
    except (SafetensorError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None
    return network.eval(), facts


def save_encoder(path: Path, encoder: nn.Module, facts: Mapping[str, str]) -> None:
    """Write an encoder with what a user of it should know."""
    weights = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    save_file(weights, path, dict(facts))


def read_facts(path: Path) -> dict[str, str]:
    """What is known of the weights in a file; a ValueError if it has none."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: no file of weights ({error})") from None


def load_encoder(
    path: Path, encoder: nn.Module, width: float, options: Mapping[str, object]
) -> None:
    """Set an encoder of this width, with these options and no others, to what `save_encoder` wrote
    of one of the same kind; else a ValueError."""
    facts = read_facts(path)
    of_file = json.loads(facts.get("network_options", "{}"))
    is_same = {name: one for name, one in of_file.items() if one} == options
    try:
        encoder.load_state_dict(load_file(path), assign=True)
    except RuntimeError:
        is_same = False
    if not is_same:
        raise ValueError(
            f"{path}: holds an encoder of width {facts.get('width', 'unknown')} and options "
            f"{json.dumps(of_file)}, expected one of width {width:g} and options "
            f"{json.dumps(dict(options))}"
        )
