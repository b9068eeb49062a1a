"""Networks: jet image and jet mass in, two logits out (background, signal).

Without options they compute what the published code computes, to the last digit.

Adding a network is one file, whose factory takes `pixels`, `width` and options of its own and
returns a `JetMassClassifier`, and one line in `MODELS`. `python -m models` prints what each costs.
"""

import inspect
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.head import JetMassClassifier

# Factories are imported when a network is made: the Snakefile names networks without PyTorch.
MODELS = {
    "CNN": "models.cnn:cnn",
    "CoAtNet": "models.coatnet:coatnet",
    "MaxViT": "models.maxvit:maxvit",
    "ViT": "models.vit:vit",
}


def model_name(name: str) -> str:
    """The registered spelling of a network's name, whatever its case.

    >>> model_name("MaxVit")  # as the published scripts spell it
    'MaxViT'

    Raises:
        ValueError: no such network; the message lists those that exist.
    """
    for known in MODELS:
        if known.lower() == name.lower():
            return known
    raise ValueError(f"unknown network {name!r}; known are {', '.join(MODELS)}")


def create_model(name: str, pixels: int, width: float = 1.0, **options) -> "JetMassClassifier":
    """A freshly initialised network; `torch.manual_seed` before the call fixes its weights.

    Args:
        name: a key of `MODELS`, in any case.
        pixels: side p of the images, a multiple of 32.
        width: of every layer, relative to the published network.
        options: of this network alone, the keyword arguments of its factory (doc/networks.md);
            without any, it is the published one.

    Returns:
        A module with `forward(images (n, 3, p, p), mass (n,)) -> logits (n, 2)`.

    Raises:
        ValueError: unknown name or option, a value of the wrong type, `pixels` that are no
            multiple of 32, or a width that leaves a layer without channels.
    """
    name = model_name(name)
    factory = resolve_name(MODELS[name])
    if pixels < 32 or pixels % 32:
        raise ValueError(f"images of {pixels} pixels a side; expected a multiple of 32")
    known = dict(list(inspect.signature(factory).parameters.items())[2:])
    for option, value in options.items():
        if option not in known:
            raise ValueError(
                f"{name} has no option {option!r}; it has {', '.join(known) or 'none'}"
            )
        usual = known[option].default
        if type(value) not in ((int, float) if isinstance(usual, float) else (type(usual),)):
            raise ValueError(f"{option} of {name} is {value!r}, expected a value like {usual!r}")
    import torch

    # Convolutions of sparse images run 15 to 40 % faster on a CPU in this layout.
    return factory(pixels, width, **options).to(memory_format=torch.channels_last)
