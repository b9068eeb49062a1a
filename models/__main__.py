"""Print, as Markdown, what every network of one jet costs: `python -m models`."""

import environment  # noqa: F401 - says in a sentence what this Python lacks

# isort: split
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models import MODELS, create_model
from models.head import JetMassClassifier

OF_ONE_JET = [name for name, network in MODELS.items() if network.input == "jet image"]


def parameters(model: JetMassClassifier) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def forward_cost(model: JetMassClassifier, pixels: int) -> int:
    """Floating-point operations of the matrix products and convolutions for one image.

    A multiplication and its addition count as two; activations, norms and pooling as none.
    """
    # The fused attention kernel is opaque to the counter, the plain one is not.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, 3, pixels, pixels), torch.zeros(1))
    return counter.get_total_flops()


def measure() -> dict[tuple[str, float, int], tuple[float, float]]:
    """Million parameters and forward GFLOP by name, width and image side."""
    measured = {}
    for name in OF_ONE_JET:
        for width, pixels in ((1.0, 64), (1.0, 128), (0.25, 32), (0.25, 64)):  # 0.25, 32: demo
            model = create_model(name, pixels, width)
            numbers = parameters(model) / 1e6, forward_cost(model, pixels) / 1e9
            measured[name, width, pixels] = numbers
    return measured


def table(measured: dict[tuple[str, float, int], tuple[float, float]]) -> str:
    """What `measure` returns as a Markdown table."""
    head = "| network | width | image | parameters / M | forward / GFLOP |\n|---|---|---|---|---|\n"
    return head + "\n".join(
        f"| {name} | {width:g} | {pixels}×{pixels} | {size:.3f} | {cost:.3f} |"
        for (name, width, pixels), (size, cost) in measured.items()
    )


if __name__ == "__main__":
    print(table(measure()))
