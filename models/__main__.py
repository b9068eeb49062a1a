"""Print, as Markdown, what every network costs beside the published one: `python -m models`."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models import MODELS, JetMassClassifier, create_model

# Million parameters and forward GFLOP of one image, by image side, of the networks of
# arXiv:2406.03096, counted on its code; nothing is known of its ViT but the settings.
PUBLISHED = {
    ("CNN", 64): (1.35, 0.31),
    ("CNN", 128): (1.42, 1.41),
    ("CoAtNet", 64): (17.4, 0.65),
    ("CoAtNet", 128): (17.4, 2.63),
    ("MaxViT", 64): (6.0, 0.54),
    ("MaxViT", 128): (6.0, 2.16),
}


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
    """Million parameters and forward GFLOP of every network, by name, width and image side."""
    measured = {}
    for name in MODELS:
        for width, pixels in ((1.0, 64), (1.0, 128), (0.25, 32), (0.25, 64)):  # 0.25, 32: demo
            model = create_model(name, pixels, width)
            size, cost = parameters(model) / 1e6, forward_cost(model, pixels) / 1e9
            measured[name, width, pixels] = size, cost
    return measured


def table(measured: dict[tuple[str, float, int], tuple[float, float]]) -> str:
    """What `measure` returns as a Markdown table, beside the published numbers."""
    lines = [
        "| network | width | image | parameters / M | published | forward / GFLOP | published |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, width, pixels), (size, cost) in measured.items():
        known = PUBLISHED.get((name, pixels)) if width == 1 else None
        published_size, published_cost = known or ("–", "–")
        lines.append(
            f"| {name} | {width:g} | {pixels}×{pixels} "
            f"| {size:.3f} | {published_size} | {cost:.3f} | {published_cost} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(measure()))
