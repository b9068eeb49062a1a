"""Trained networks as single files: weights in bfloat16, batch-norm statistics in float32."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

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
