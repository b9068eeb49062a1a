"""Integrated gradients from a baseline to an input, by Captum.

phi_i = (x_i - x'_i) times the integral over a from 0 to 1 of df/dx_i at x' + a (x - x'), with the
nodes of Gauss and Legendre (Sundararajan, Taly, Yan, arXiv:1703.01365, eq. 1). The attributions add
up to f(x) - f(x'): how far they miss it is the *completeness error*. Where f has kinks, as with
ReLU, it falls slowly and not monotonically with the number of nodes.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from captum.attr import IntegratedGradients
from torch import nn

Named = Mapping[str, torch.Tensor]
OUTPUTS = {"logit": lambda logit: logit, "probability": torch.sigmoid}  # of signal


class Attributed(NamedTuple):
    """Attributions of b inputs.

    Attributes:
        values: name -> (b, ...), of each input that is attributed to.
        end, start: (b,) the output at the inputs and at their baselines.
    """

    values: dict[str, torch.Tensor]
    end: torch.Tensor
    start: torch.Tensor


def attributed_inputs(network: nn.Module, inputs: Named) -> list[str]:
    """The names of the inputs that are attributed to: numbers, no masks, that the network sees."""
    ignored = getattr(network, "ignores", ())
    return [n for n, x in inputs.items() if x.is_floating_point() and n not in ignored]


def output_of(network: nn.Module, inputs: Named, output: str) -> torch.Tensor:
    """The difference of both logits, or the probability of signal, (b,)."""
    logits = network(**inputs)
    return OUTPUTS[output](logits[:, 1] - logits[:, 0])


def integrated_gradients(
    network: nn.Module,
    inputs: Named,
    baselines: Named,
    steps: int,
    output: str = "logit",
    at_once: int | None = None,
) -> Attributed:
    """Attributions of the output to each number of b inputs.

    Args:
        network: in evaluation mode.
        inputs: name -> (b, ...), the arguments of its `forward`.
        baselines: likewise; masks, and what the network ignores, are those of the inputs.
        steps: nodes of the integral.
        output: a key of `OUTPUTS`.
        at_once: inputs times steps that go through the network together; None: all.
    """
    names = attributed_inputs(network, inputs)
    fixed = {name: x for name, x in inputs.items() if name not in names}

    def forward(*given: torch.Tensor) -> torch.Tensor:
        return output_of(network, dict(zip((*names, *fixed), given, strict=True)), output)

    values = IntegratedGradients(forward).attribute(
        tuple(inputs[name] for name in names),
        tuple(baselines[name] for name in names),
        additional_forward_args=tuple(fixed.values()) or None,
        n_steps=steps,
        internal_batch_size=at_once,
    )
    with torch.no_grad():
        end = output_of(network, inputs, output)
        start = forward(*(baselines[name] for name in names), *fixed.values())
    return Attributed({n: x.detach() for n, x in zip(names, values, strict=True)}, end, start)
