"""Networks: named inputs in, two logits out (background, signal).

Without options those of one jet compute what the published code computes, to the last digit.

Adding a network is one file with a factory, and one line in `MODELS` that names the input it takes.
The factory takes the size of the input (`pixels` of an image, `features` of an event or of each
kind of its objects), `width` and options of its own; what it returns is called with its inputs by
name. `python -m models` prints what each network of one jet costs.
"""

import inspect
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import nn


class Network(NamedTuple):
    """A registered network."""

    factory: str  # imported when a network is made: the Snakefile names networks without PyTorch
    input: str = "jet image"  # a key of `training.inputs.INPUTS`, or one that step 4 makes
    of_events: bool = False  # it classifies events, not jets


MODELS = {
    "CNN": Network("models.cnn:cnn"),
    "CoAtNet": Network("models.coatnet:coatnet"),
    "MaxViT": Network("models.maxvit:maxvit"),
    "ViT": Network("models.vit:vit"),
    "JetViT": Network("models.jetvit:jetvit", "jet constituents"),
    "CNN3": Network("models.three_jets:cnn3", "three jets", of_events=True),
    "MaxViT3": Network("models.three_jets:maxvit3", "three jets", of_events=True),
    "EventTransformer": Network(
        "models.event_transformer:event_transformer", "event features", of_events=True
    ),
    "FeedForward": Network(
        "models.event_transformer:feed_forward", "event features", of_events=True
    ),
    "EventSet": Network("models.event_set:event_set", "event objects", of_events=True),
}


def model_name(name: str) -> str:
    """The registered spelling of a network's name, whatever its case, or a ValueError.

    >>> model_name("MaxVit")  # as the published scripts spell it
    'MaxViT'
    """
    for known in MODELS:
        if known.lower() == name.lower():
            return known
    raise ValueError(f"unknown network {name!r}; known are {', '.join(MODELS)}")


def create_model(
    name: str, size: int | Mapping[str, int], width: float = 1.0, **options
) -> "nn.Module":
    """A freshly initialised network; `torch.manual_seed` before the call fixes its weights.

    Args:
        name: a key of `MODELS`, in any case.
        size: of its input; of images the side p in pixels, a multiple of 32; of an event's objects
            and of a jet's constituents the number of features of each kind.
        width: of every layer, relative to the published network.
        options: of this network alone, the keyword arguments of its factory (doc/networks.md);
            without any, it is the published one.

    Raises:
        ValueError: unknown name or option, a value of the wrong type, `pixels` that are no
            multiple of 32, or a width that leaves a layer without channels.
    """
    name = model_name(name)
    factory = resolve_name(MODELS[name].factory)
    parameters = list(inspect.signature(factory).parameters.values())
    if parameters[0].name == "pixels" and (size < 32 or size % 32):
        raise ValueError(f"images of {size} pixels a side; expected a multiple of 32")
    known = {parameter.name: parameter for parameter in parameters[2:]}
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
    return factory(size, width, **options).to(memory_format=torch.channels_last)
