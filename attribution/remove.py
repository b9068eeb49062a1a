"""ReMOVE: does what fills an erased region look like its surroundings? No other image is needed.

The score is the cosine of the mean feature of the patches inside the mask and of those outside
(Chandrasekar et al., arXiv:2409.00707), 1 at best, of the features of an encoder: for photographs
SAM's, behind its neck, as published; for jets those of a network trained on jets. It measures how
consistent a region is with the rest, not whether anything was removed: an object like its
surroundings scores high, erased or not (doc/attributions.md).

As published, the image is the erased one, its longest side is brought to the encoder's, and a patch
is inside where the mask, brought to as many pixels, is 255. Where there is no patch on one of the
sides there is no score: NaN. Unlike there, a mask stays in place on an image that is no square: the
padding, and a patch that reaches into it, is on neither side.

Reads   an image, and a mask of its size, 255 where something was erased. SAM's weights are not
        ours to give: https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth
Writes  nothing; prints the score.

    python -m attribution.remove IMAGE MASK --weights sam_vit_h_4b8939.pth --crop
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import timm
import torch
from PIL import Image, UnidentifiedImageError
from timm.data import resolve_model_data_config
from timm.models import load_checkpoint
from timm.models.vision_transformer_sam import checkpoint_filter_fn
from torch import nn
from torch.nn import functional

from command import InputError, parser_of, run

ENCODER = "samvit_huge_patch16"
MARGIN = 16  # pixels around the mask in a crop
ERASED = 255
CELLS_MIN = 12  # along a side of a map of features


def remove(features: torch.Tensor, inside: torch.Tensor, outside: torch.Tensor) -> torch.Tensor:
    """The score (n,) of features (n, c, h, w); NaN where no patch is inside, or none outside.

    Args:
        inside, outside: (n, h, w) bool; a patch may be neither.

    >>> features = torch.tensor([[[[1.0, 1, 3]], [[0.0, 0, 3]]]])  # two channels of three patches
    >>> inside = torch.tensor([[[False, False, True]]])
    >>> remove(features, inside, ~inside)
    tensor([0.7071])
    """
    means = []
    for region in (inside, outside):
        share = region[:, None] / region.sum(dim=(1, 2))[:, None, None, None]
        means.append((features * share).sum(dim=(2, 3)))
    return functional.cosine_similarity(*means)


# --- Photographs ----------------------------------------------------------------------------------


def score(
    image: np.ndarray, mask: np.ndarray, encoder: nn.Module, crop: bool = False, name: str = "image"
) -> float:
    """The score of one erased image.

    Args:
        image: (h, w, 3), 0 to 255.
        mask: (h, w), 255 where something was erased.
        encoder: of timm, that makes a feature of each patch of a square.
        crop: to `square` first, which balances both regions where the mask is small; [paper]
            recommended.
        name: of the image, for errors.

    Raises:
        InputError: image and mask do not fit each other, pixels that are no numbers from 0 to 255,
            a mask that is empty, full, or smaller than a patch.
    """
    if image.shape != (*mask.shape, 3):
        raise InputError(
            f"{name}: {' x '.join(map(str, image.shape))} pixels and channels, its mask "
            f"{' x '.join(map(str, mask.shape))}, expected one colour image and a mask of its size"
        )
    if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= ERASED):
        raise InputError(f"{name}: a pixel is no number from 0 to {ERASED}; save the image again")
    erased = mask == ERASED
    if not erased.any() or erased.all():
        raise InputError(
            f"{name}: {'every' if erased.any() else 'no'} pixel of its mask is {ERASED}, so there "
            f"is nothing to compare; give a mask with {ERASED} inside the erased region and 0 "
            "outside"
        )
    if crop:
        rows, columns = square(erased)
        image, mask = image[rows, columns], mask[rows, columns]
    facts, side = resolve_model_data_config(encoder), encoder.patch_embed.img_size[0]
    height, width = (max(round(n * side / max(mask.shape)), 1) for n in mask.shape)
    resized = Image.fromarray(np.rint(image).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    mean, std = (torch.tensor(facts[key])[:, None, None] for key in ("mean", "std"))
    pixels = (torch.from_numpy(np.array(resized)).permute(2, 0, 1) / ERASED - mean) / std
    padded = functional.pad(pixels, (0, side - width, 0, side - height))
    with torch.inference_mode():
        features = encoder_features(encoder.eval(), padded[None])
    cells = features.shape[-1]
    longest, across, down = max(mask.shape), *(max(n * cells // side, 1) for n in (width, height))
    ends = (min(n * longest / cells, m) for n, m in zip((across, down), mask.T.shape, strict=True))
    of_cells = Image.fromarray(mask.astype(np.uint8)).resize((across, down), box=(0, 0, *ends))
    inside = torch.from_numpy(np.array(of_cells)) == ERASED
    [found] = remove(features[..., :down, :across], inside[None], ~inside[None])
    if not torch.isfinite(found):
        raise InputError(
            f"{name}: no patch, of {cells} along its longest side, lies wholly inside the mask, or "
            f"none outside{'' if crop else '; crop the image to the mask, with --crop'}"
        )
    return float(found)


def square(erased: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the smallest square around a mask (h, w), inside the image, with `MARGIN`
    pixels more on every side, or as many as there are on the side where there are fewest."""
    box = []
    for axis in (1, 0):
        there = np.flatnonzero(erased.any(axis=axis))
        box.append((there[0], there[-1] + 1))
    side = max(last - first for first, last in box)
    begins = [
        int(np.clip((first + last - side) // 2, 0, max(n - side, 0)))
        for (first, last), n in zip(box, erased.shape, strict=True)
    ]
    room = [min(a, n - a - side) for a, n in zip(begins, erased.shape, strict=True)]
    margin = max(min(MARGIN, *room), 0)
    rows, columns = (slice(max(a - margin, 0), a + side + margin) for a in begins)
    return rows, columns


def encoder_features(encoder: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The features (n, c, h, h) of patches, behind the neck or norm, of an encoder of timm.

    Raises:
        InputError: they are no such map.
    """
    found = encoder.forward_features(images)
    if found.ndim == 4:
        if found.shape[2] != found.shape[3]:
            raise no_patches(type(encoder).__name__)
        return found
    patches = found[:, encoder.num_prefix_tokens :].transpose(1, 2)
    return patches.unflatten(2, encoder.patch_embed.grid_size)


def no_patches(encoder: str) -> InputError:
    """The refusal of an encoder that is not ViT-like."""
    return InputError(
        f"{encoder}: makes no features (channels, h, h) of the patches of a square; expected an "
        f"encoder that does, such as {ENCODER}"
    )


# --- Jets -----------------------------------------------------------------------------------------


class Map(NamedTuple):
    """Features (n, c, h, h) of images, and where their cells look.

    Attributes:
        begin, step: in pixels of the image: the middle of the first cell along either axis, counted
            from that of the first pixel, and the distance of cells.
    """

    features: torch.Tensor
    begin: float
    step: float

    def inside(self, mask: torch.Tensor) -> torch.Tensor:
        """The cells (n, h, h) whose middle is in a mask (n, p, p)."""
        cells = torch.arange(self.features.shape[-1])
        pixels = torch.floor(self.begin + self.step * cells + 0.5).long()
        return mask[:, pixels][:, :, pixels]


def jet_features(network: nn.Module, images: torch.Tensor) -> Map:
    """What the last convolution with at least `CELLS_MIN` cells along a side makes of jet images
    (n, 3, p, p).

    Behind even kernels, and the zeros that keep the size of a map, cells do not look at the pixels
    that have their place in the image, so that where they look is followed through the layers.

    Raises:
        InputError: there is no such convolution.
    """
    maps: list[Map] = []
    begin = 0.0

    def follow(module: nn.Module, given: tuple[torch.Tensor], made: torch.Tensor) -> None:
        nonlocal begin
        if isinstance(module, nn.ZeroPad2d):
            begin -= images.shape[2] / made.shape[2] * module.padding[0]
            return
        kernel, stride, padding = (
            one if isinstance(one, int) else one[0]
            for one in (module.kernel_size, module.stride, module.padding)
        )
        step = images.shape[2] / given[0].shape[2]
        begin += step * ((kernel - 1) / 2 - padding)
        step *= stride
        if isinstance(module, nn.Conv2d) and made.shape[2] >= CELLS_MIN and step > 1:
            maps.append(Map(made, begin, step))

    backbone = getattr(network, "backbone", nn.Identity())
    moving = nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d, nn.ZeroPad2d
    handles = [
        module.register_forward_hook(follow)
        for module in backbone.modules()
        if isinstance(module, moving)
    ]
    try:
        with torch.inference_mode():
            backbone(images)
    finally:
        for handle in handles:
            handle.remove()
    if not maps:
        raise InputError(
            f"{type(backbone).__name__}: no convolution with {CELLS_MIN} cells along a side; take "
            "a network of images with convolutions, such as CNN, or more pixels"
        )
    return maps[-1]


# --- Command line ---------------------------------------------------------------------------------


def read_image(path: Path, mode: str) -> np.ndarray:
    """An image file, (h, w, 3) of mode RGB or (h, w) of mode L; InputError if it is none."""
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise InputError(f"{path}: a pixel is no finite number; save the image again")
            return np.array(image.convert(mode))
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image that Pillow can read; save it as PNG") from None


def read_encoder(name: str, weights: Path | None) -> nn.Module:
    """An encoder of timm with the weights of a file.

    Raises:
        InputError: unknown, or the file is not of it.
    """
    if name not in timm.list_models():
        raise InputError(f"--encoder {name}: no model of timm; expected one such as {ENCODER}")
    if weights is None:
        raise InputError(
            f"--weights: the features of {name} need its trained weights; fetch them, such as "
            "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth, and name the "
            "file"
        )
    weights.open("rb").close()  # what keeps it from being read, the system says best
    encoder = timm.create_model(name, num_classes=0)
    if not hasattr(getattr(encoder, "patch_embed", None), "img_size"):
        raise no_patches(f"--encoder {name}")
    try:
        load_checkpoint(encoder, str(weights), filter_fn=checkpoint_filter_fn)
    except Exception as error:  # whatever a foreign file makes PyTorch or timm say
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{weights}: no weights of {name} ({reason}); fetch them again") from None
    return encoder.eval()


def main() -> None:
    """Parse the options, score, print."""
    parser = parser_of(__doc__)
    parser.add_argument("image", type=Path, help="the image from which something was erased")
    parser.add_argument("mask", type=Path, help="of its size, 255 where that was")
    parser.add_argument("--encoder", default=ENCODER, help=f"of timm (default: {ENCODER})")
    parser.add_argument("--weights", type=Path, help="a file with the encoder's weights")
    parser.add_argument("--crop", action="store_true", help="to a square around the mask first")
    options = parser.parse_args()
    image, mask = read_image(options.image, "RGB"), read_image(options.mask, "L")
    encoder = read_encoder(options.encoder, options.weights)
    print(f"{score(image, mask, encoder, options.crop, str(options.image)):.4f}")


if __name__ == "__main__":
    run(main)
