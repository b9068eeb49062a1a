"""The plain convolutional network that the transformers are held against."""

from itertools import pairwise

from torch import nn

from models.head import JetMassClassifier, scaled

WITHOUT_POOLING = 3  # the third convolution keeps the size of its map


def cnn(pixels: int, width: float = 1.0) -> JetMassClassifier:
    """4×4 convolutions 3 → 128 → 64 → 64 …, halving the image down to 8×8 (arXiv:2406.03096).

    Four convolutions at 64 pixels, five at 128, without padding, each followed by ReLU and by
    zeros that restore the size: one row above and two below, one column left and two right. All
    but the third end in 2×2 average pooling; the 8×8×64 map (12×12×64 at 96 pixels, no power of
    two) goes to the head flattened. Weights start as PyTorch's default.
    """
    convolutions = pixels.bit_length() - 3
    channels = [3, scaled(128, width)] + [scaled(64, width)] * (convolutions - 1)
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(pairwise(channels), start=1):
        layers += [nn.Conv2d(inputs, outputs, 4), nn.ReLU(), nn.ZeroPad2d((1, 2, 1, 2))]
        if number != WITHOUT_POOLING:
            layers.append(nn.AvgPool2d(2))
    side = pixels >> (convolutions - 1)
    features = channels[-1] * side**2
    return JetMassClassifier(nn.Sequential(*layers, nn.Flatten()), features, width)
