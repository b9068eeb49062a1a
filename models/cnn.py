"""The plain convolutional network: the published reference the transformers are held against."""

from itertools import pairwise

from torch import nn

from models.head import JetMassClassifier


def cnn(pixels: int, width: float = 1.0) -> JetMassClassifier:
    """4×4 convolutions 3 → 128 → 64 → 64 …, halving the image down to 8×8 (arXiv:2406.03096).

    Four convolutions at 64 pixels, five at 128, each followed by ReLU and all but the last by 2×2
    average pooling; the 8×8×64 map (12×12×64 at 96 pixels, no power of two) goes to the head
    flattened. Parameters are exactly the published ones.

    A 4×4 kernel has no middle, so no symmetric padding keeps the size. Padding 1 loses a pixel,
    which the pooling would drop anyway, and padding 2 in the last layer gains it back: nothing
    is padded on one side only, and the forward cost is within 4 % of the published one.
    """
    convolutions = pixels.bit_length() - 3
    channels = [3, round(128 * width)] + [round(64 * width)] * (convolutions - 1)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels[:-1]):
        layers += [nn.Conv2d(inputs, outputs, 4, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
    layers += [nn.Conv2d(*channels[-2:], 4, padding=2), nn.ReLU(), nn.Flatten()]
    side = pixels >> (convolutions - 1)
    return JetMassClassifier(nn.Sequential(*layers), channels[-1] * side**2, width)
