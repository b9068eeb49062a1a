"""ReMOVE: a closed form, what a region's place and size change, what it refuses. Random weights."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models.vision_transformer_sam import VisionTransformerSAM

from attribution.remove import (
    MARGIN,
    encoder_features,
    jet_features,
    read_encoder,
    read_image,
    remove,
    score,
    square,
)
from command import InputError
from models import create_model

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ROOT = Path(__file__).parent.parent


class Colours(torch.nn.Module):
    """An encoder whose features are the mean colours of 16 x 16 patches."""

    def __init__(self):
        super().__init__()
        self.patch_embed = torch.nn.Identity()
        self.patch_embed.img_size = (128, 128)
        self.pretrained_cfg = {"mean": (0.0, 0, 0), "std": (1.0, 1, 1), "input_size": (3, 128, 128)}

    def forward_features(self, images):
        return torch.nn.functional.avg_pool2d(images, 16)


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return VisionTransformerSAM(
        img_size=128, embed_dim=24, depth=2, num_heads=2, neck_chans=16, use_rel_pos=True,
        window_size=4, global_attn_indexes=(1,),
    ).eval()  # fmt: skip


def image_of(side=(128, 128), colour=(200, 30, 0), seed=0):
    noise = np.random.default_rng(seed).normal(0, 5, (*side, 3))
    return np.clip(np.array(colour) + noise, 0, 255)


def mask_of(rows, columns, side=(128, 128)):
    mask = np.zeros(side, np.uint8)
    mask[rows, columns] = 255
    return mask


def test_colours_inside_and_outside_by_hand():
    """Red inside, red and green outside. A patch at the edge of the mask, which resampling makes
    softer, is outside, as published: there the red of the mask counts too."""
    image, mask = np.zeros((128, 128, 3)), mask_of(slice(32, 96), slice(32, 96))
    image[...] = 200, 200, 0
    image[mask == 255] = 200, 0, 0
    inside = np.count_nonzero(np.array(Image.fromarray(mask).resize((8, 8))) == 255)
    assert inside == 4  # of the 16 patches that the mask covers
    green = (64 - 16) / (64 - inside)
    assert score(image, mask, Colours()) == pytest.approx(1 / np.hypot(1, green), abs=1e-5)


def test_an_independent_score_of_the_same_features(sam):
    """Loops over patches, in float64."""
    image, mask = image_of(), mask_of(slice(0, 48), slice(64, 128))
    mean, std = (
        torch.tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    pixels = (torch.tensor(np.rint(image).astype(np.uint8)).permute(2, 0, 1) / 255 - mean) / std
    with torch.no_grad():
        features = sam.forward_features(pixels[None])[0].double().numpy()
    small = np.array(Image.fromarray(mask).resize((8, 8)))
    sums, counts = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for i, j in np.ndindex(8, 8):
        sums[small[i, j] == 255] += features[:, i, j]
        counts[small[i, j] == 255] += 1
    a, b = (sums[side] / counts[side] for side in (True, False))
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert score(image, mask, sam) == pytest.approx(expected, abs=1e-4)


def test_a_uniform_image_scores_1_and_an_object_less():
    mask = mask_of(slice(40, 90), slice(40, 90))
    whole = image_of()
    left = whole.copy()
    left[mask == 255] = image_of(colour=(0, 60, 200))[mask == 255]
    assert score(whole, mask, Colours()) > 0.999 > 0.9 > score(left, mask, Colours())


def test_a_mask_stays_in_place_on_an_image_that_is_no_square():
    """128 x 64: the lower half of the square is padding, and on neither side. Inside the mask and
    two patches around it the image is green; that is what is inside, whatever lies below."""
    image, mask = image_of((64, 128)), mask_of(slice(0, 64), slice(0, 64), (64, 128))
    image[:, :96] = 10, 200, 10
    small = np.array(Image.fromarray(mask).resize((8, 4))) == 255
    green, red = np.array([10.0, 200, 10]), np.array([200.0, 30, 0])
    outside = (green * (24 - small.sum()) + red * 8) / (32 - small.sum())
    expected = green @ outside / np.linalg.norm(green) / np.linalg.norm(outside)
    assert score(image, mask, Colours()) == pytest.approx(expected, abs=0.01)
    turned = image.transpose(1, 0, 2), mask.T
    assert score(*turned, Colours()) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        ((50, 60), (40, 70), (slice(24, 86), slice(24, 86))),  # 30 wide and 16 more on every side
        ((50, 60), (4, 34), (slice(36, 74), slice(0, 38))),  # four on the left, so four on all
        ((0, 5), (0, 30), (slice(0, 30), slice(0, 30))),
        ((10, 20), (0, 128), (slice(0, 128), slice(0, 128))),
    ],
)
def test_the_smallest_square_around_a_mask(rows, columns, expected):
    mask = mask_of(slice(*rows), slice(*columns)) == 255
    found = square(mask)
    assert found == expected and MARGIN == 16
    assert mask[found].sum() == mask.sum()


def test_a_crop_balances_a_small_mask():
    """Far away the picture is another: without the crop it decides."""
    image, mask = image_of(), mask_of(slice(20, 70), slice(20, 70))
    image[90:], image[:, 90:] = (0, 0, 255), (0, 0, 255)
    assert score(image, mask, Colours(), crop=True) > 0.99
    assert score(image, mask, Colours()) < 0.95


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "samvit_base_patch16_224"])
def test_features_of_encoders_of_timm_stand_where_their_patches_are(name):
    """Without blocks, a change of one patch changes the features of that patch alone."""
    torch.manual_seed(0)
    encoder = timm.create_model(name, num_classes=0, depth=0, embed_dim=16, num_heads=2).eval()
    image = torch.zeros(1, 3, 224, 224)
    other = image.clone()
    other[..., 48:64, 160:176] = 1
    with torch.no_grad():
        change = encoder_features(encoder, other) - encoder_features(encoder, image)
    assert change.shape[-2:] == (14, 14)
    assert torch.argwhere(change.abs().sum(1)[0] > 1e-6).tolist() == [[3, 10]]


def test_no_region_no_score():
    features, none = torch.randn(2, 4, 3, 3), torch.zeros(2, 3, 3, dtype=torch.bool)
    assert torch.isnan(remove(features, none, ~none)).all()
    assert torch.isnan(remove(features, ~none, none)).all()


@pytest.mark.parametrize(
    ("image", "mask", "sentence"),
    [
        (image_of(), np.zeros((128, 128)), "no pixel of its mask is 255, so there is nothing"),
        (image_of(), np.ones((128, 128)), "no pixel of its mask is 255"),
        (image_of(), np.full((128, 128), 255), "every pixel of its mask is 255"),
        (image_of(), mask_of(0, 0, (64, 64)), "expected one colour image and a mask of its size"),
        (image_of()[..., 0], mask_of(0, 0), "expected one colour image"),
        (image_of() * np.nan, mask_of(0, 0), "a pixel is no number from 0 to 255"),
        (image_of() + 300, mask_of(0, 0), "a pixel is no number from 0 to 255"),
        (image_of(), mask_of(slice(3), slice(3)), "no patch, of 8 along .* lies wholly .* --crop"),
    ],
)
def test_what_has_no_score_is_one_sentence(image, mask, sentence):
    with pytest.raises(InputError, match=f"^image: .*{sentence}"):
        score(image, mask, Colours())


@pytest.mark.parametrize(
    ("name", "pixels"),
    [("CNN", 32), ("CNN", 64), ("CNN", 128), ("CoAtNet", 32), ("MaxViT", 32), ("MaxViT", 64)],
)
def test_cells_of_jet_networks_look_where_they_say(name, pixels):
    """A change of an image is seen most by the cells in whose middle it is: their mean place, over
    many random networks' channels, is that of the change."""
    torch.manual_seed(0)
    network, image = create_model(name, pixels, 0.25).eval(), torch.rand(1, 3, pixels, pixels)
    found = jet_features(network, image)
    assert found.features.shape[-1] >= 12
    cells, away = torch.arange(found.features.shape[-1]) * found.step + found.begin, []
    for row, column in np.random.default_rng(1).integers(pixels // 4, 3 * pixels // 4, (40, 2)):
        other = image.clone()
        other[..., row, column] += 1
        change = (jet_features(network, other).features - found.features).abs().sum(1)[0] ** 2
        share = change / change.sum()
        away.append([share.sum(1) @ cells - row, share.sum(0) @ cells - column])
    mean = torch.tensor(away).mean(0) / found.step
    assert mean.abs().max() < 0.2, mean


def test_the_map_of_the_cnn_by_hand():
    """Cell 0 of the second convolution sees rows -1 to 9 of the image, cell 1 rows 1 to 11."""
    found = jet_features(create_model("CNN", 32, 0.25).eval(), torch.rand(2, 3, 32, 32))
    assert found.features.shape[-2:] == (13, 13) and (found.begin, found.step) == (4.0, 2.0)
    mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    mask[0, 8:12, 20:22] = True
    assert torch.argwhere(found.inside(mask)[0]).tolist() == [[2, 8], [3, 8]]
    with pytest.raises(InputError, match="no convolution with 12 cells"):
        jet_features(create_model("JetViT", {"constituents": 10, "jet": 7}, 0.25), mask)


def test_an_encoder_without_a_map_of_patches_is_refused(tmp_path):
    """A network without patches, and one whose features have their channels last."""
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"^--encoder resnet18: makes no features .* samvit"):
        read_encoder("resnet18", tmp_path / "weights.pth")
    swin = timm.create_model("swin_tiny_patch4_window7_224", embed_dim=12, num_heads=(1, 1, 2, 2))
    with pytest.raises(InputError, match=r"^SwinTransformer: makes no features"):
        score(image_of(), mask_of(slice(0, 48), slice(64, 128)), swin)


def test_a_mask_lies_on_the_patches_that_it_covers():
    """100 x 128: the seventh row of patches reaches into the padding, on neither side. The mask
    covers the fourth to sixth; where resampling makes its edge softer, a row is outside."""
    image, mask = image_of((100, 128)), mask_of(slice(48, 96), slice(0, 128), (100, 128))
    image[48:96] = 10, 200, 10
    box = Image.fromarray(mask).resize((8, 6), box=(0, 0, 128, 96))
    inside = (np.array(box) == 255).sum() // 8  # rows
    green, red = np.array([10.0, 200, 10]), np.array([200.0, 30, 0])
    outside = (green * (3 - inside) + red * 3) / (6 - inside)
    expected = green @ outside / np.linalg.norm(green) / np.linalg.norm(outside)
    assert inside in (1, 2)
    assert score(image, mask, Colours()) == pytest.approx(expected, abs=0.01)


def test_the_command_line(tmp_path):
    """As users of the metric call it; a small encoder of timm, whose weights are a file."""
    torch.manual_seed(0)
    name = "vit_tiny_patch16_224"
    torch.save(timm.create_model(name, num_classes=0).state_dict(), tmp_path / "weights.pth")
    image, mask = image_of((224, 224)).astype(np.uint8), mask_of(slice(64), slice(64), (224, 224))
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    command = [sys.executable, "-m", "attribution.remove", tmp_path / "image.png"]
    asked = [tmp_path / "mask.png", "--encoder", name, "--weights", tmp_path / "weights.pth"]
    found = subprocess.run(
        [*command, *asked], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    encoder = read_encoder(name, tmp_path / "weights.pth")
    assert float(found.stdout) == pytest.approx(score(image, mask, encoder), abs=1e-4)


def test_files_that_are_none(tmp_path):
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(InputError, match=r"no.png: not an image"):
        read_image(tmp_path / "no.png", "RGB")
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tiff")
    with pytest.raises(InputError, match=r"nan.tiff: a pixel is no finite number"):
        read_image(tmp_path / "nan.tiff", "RGB")
    with pytest.raises(InputError, match="no model of timm"):
        read_encoder("samvit_tiny", None)
    with pytest.raises(InputError, match=r"need its trained weights; fetch them"):
        read_encoder("vit_tiny_patch16_224", None)
    with pytest.raises(InputError, match=r"no.png: no weights of vit_tiny"):
        read_encoder("vit_tiny_patch16_224", tmp_path / "no.png")
