"""Networks: one contract for all, published sizes and costs, and what defines each of them."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models import MODELS, create_model, model_name, reference
from models.__main__ import forward_cost, measure, parameters, table
from models.coatnet import RelativeAttention
from models.reference import REFERENCES

# Million parameters and forward GFLOP of one image, by image side, of the networks of
# arXiv:2406.03096, counted on its code; nothing is known of its ViT but the settings.
PUBLISHED = {
    ("CNN", 64): ("1.35", "0.31"),
    ("CNN", 128): ("1.42", "1.41"),
    ("CoAtNet", 64): ("17.4", "0.65"),
    ("CoAtNet", 128): ("17.4", "2.63"),
    ("MaxViT", 64): ("6.0", "0.54"),
    ("MaxViT", 128): ("6.0", "2.16"),
}


def jets(n: int, pixels: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Sparse images (n, 3, p, p) in [0, 1] and masses (n,) in TeV."""
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 3, pixels, pixels, generator=random)
    return images * (images > 0.9), torch.rand(n, generator=random)


def narrow(name: str, pixels: int = 64, seed: int = 0, **options) -> nn.Module:
    torch.manual_seed(seed)
    return create_model(name, pixels, width=0.25, **options)


# --- The contract -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("pixels", [32, 64, 96, 128])
def test_two_finite_logits_a_jet(name, pixels):
    logits = narrow(name, pixels)(*jets(2, pixels))
    assert logits.shape == (2, 2)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter(name):
    model = narrow(name)
    images, mass = jets(16, 64)
    nn.functional.cross_entropy(model(images, mass), torch.arange(16) % 2).backward()
    silent = [key for key, value in model.named_parameters() if not value.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_fixes_weights_and_logits(name):
    """Twice in training mode: so there is no dropout and no stochastic depth either."""
    first, second, other = narrow(name), narrow(name), narrow(name, seed=1)
    batch = jets(4, 64)
    assert torch.equal(first(*batch), second(*batch))
    assert not torch.equal(second(*batch), other(*batch))


@pytest.mark.parametrize("name", MODELS)
def test_logits_depend_on_the_own_mass_alone(name):
    model = narrow(name).eval()
    images, mass = jets(3, 64)
    derivative = torch.autograd.functional.jacobian(lambda m: model(images, m), mass)  # (3, 2, 3)
    own = torch.eye(3, dtype=torch.bool)[:, None, :].expand_as(derivative)
    assert (derivative[own] != 0).all()
    assert (derivative[~own] == 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_jet_does_not_see_the_others_of_its_batch(name):
    model = narrow(name)
    model(*jets(32, 64, seed=1))  # running statistics other than 0 and 1
    model.eval()
    images, mass = jets(5, 64)
    with torch.no_grad():
        together = model(images, mass)
        alone = torch.cat([model(images[i : i + 1], mass[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


# --- The registry -------------------------------------------------------------------------------


def test_the_published_spelling_is_accepted():
    assert model_name("MaxVit") == "MaxViT"
    assert [model_name(name.lower()) for name in MODELS] == list(MODELS)
    assert create_model("maxvit", 32, 0.25) is not None


def test_unknown_networks_and_sizes_are_refused():
    with pytest.raises(ValueError, match=r"'ResNet'.*CNN, CoAtNet, MaxViT, ViT"):
        create_model("ResNet", 64)
    for pixels in (0, 48, -32):
        with pytest.raises(ValueError, match="multiple of 32"):
            create_model("CNN", pixels)


# --- Against the published networks -------------------------------------------------------------


@pytest.fixture(scope="module")
def measured():
    return measure()


@pytest.mark.parametrize(("name", "pixels"), PUBLISHED)
def test_the_references_are_the_published_networks_in_size_and_cost(measured, name, pixels):
    """To the last digit; ours within 1.2 % of the parameters (MaxViT), 5 % of the cost (CNN)."""
    ours, plain = measured[name, 1.0, pixels]
    for count, published in zip(plain, PUBLISHED[name, pixels], strict=True):
        assert f"{count:.{len(published.partition('.')[2])}f}" == published
    assert ours[0] == pytest.approx(plain[0], rel=0.012)
    assert ours[1] == pytest.approx(plain[1], rel=0.05)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_is_a_jet_classifier_and_no_choice(name):
    torch.manual_seed(0)
    model = REFERENCES[name](64)
    logits = model(*jets(2, 64))
    assert logits.shape == (2, 2)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits, model(*jets(2, 64)))  # no dropout, no stochastic depth
    assert REFERENCES[name].__module__ not in str(MODELS)


def test_the_table_in_the_documentation_is_the_printed_one(measured):
    assert table(measured) in (Path(__file__).parents[1] / "doc" / "networks.md").read_text()


@pytest.mark.parametrize(("pixels", "sides"), [(64, (63, 30, 14, 8)), (128, (127, 62, 30, 14, 8))])
def test_cnn_counted_by_hand(pixels, sides):
    """Weights and multiply-adds from the formulae; the cost is two operations for each of them."""
    channels = (3, 128) + (64,) * (len(sides) - 1)
    kernels = [16 * i * o for i, o in pairwise(channels)]
    head = (8 * 8 * 64 + 1) * 256 + 256 * 128 + 128 * 2
    multiply_adds = head + sum(k * side**2 for k, side in zip(kernels, sides, strict=True))
    biases = sum(channels[1:]) + 256 + 128 + 2
    with torch.device("meta"):
        model = create_model("CNN", pixels)
        assert parameters(model) == sum(kernels) + head + biases
        assert forward_cost(model, pixels) == 2 * multiply_adds


# --- What defines each network ------------------------------------------------------------------


def test_cnn_equals_its_definition_written_out():
    """Convolution as sums over the 16 kernel positions, average pooling as a mean, in numpy."""
    model = narrow("CNN").double()
    images, mass = (x.double() for x in jets(2, 64))
    layers = [layer for layer in model.backbone if isinstance(layer, nn.Conv2d)]

    x = images.numpy()
    for layer in layers:
        pad = 2 if layer is layers[-1] else 1
        x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        side = x.shape[-1] - 3
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        x = bias[:, None, None] + sum(
            np.einsum("nirc,oi->norc", x[:, :, r : r + side, c : c + side], weight[:, :, r, c])
            for r in range(4)
            for c in range(4)
        )
        x = np.maximum(x, 0)
        if layer is not layers[-1]:
            half = side // 2
            pooled = x[:, :, : 2 * half, : 2 * half]
            x = pooled.reshape(*x.shape[:2], half, 2, half, 2).mean((3, 5))
    assert x.shape[1:] == (16, 8, 8)
    x = np.concatenate([x.reshape(2, -1), mass.numpy()[:, None]], axis=1)
    for layer in model.head[::2]:
        x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        x = np.maximum(x, 0) if layer is not model.head[-1] else x

    np.testing.assert_allclose(model(images, mass).detach().numpy(), x, rtol=0, atol=1e-12)


def test_relative_attention_equals_its_definition():
    """Softmax over j of q_i·k_j/√d + b(i − j), arXiv:2106.04803 eq. 3, pixel by pixel."""
    torch.manual_seed(0)
    side, width = 3, 4
    attention = RelativeAttention(inputs=6, outputs=10, head_width=width, side=side).double()
    table = attention.position_bias.relative_position_bias_table  # ((2·side − 1)², heads)
    nn.init.normal_(table)
    x = torch.randn(2, 6, side, side, dtype=torch.float64)

    pixels = x.flatten(2).transpose(1, 2)  # (2, side², 6)
    query, key, value = (
        (pixels @ weight.T).unflatten(-1, (8, width)) for weight in attention.qkv.weight.chunk(3)
    )
    row, column = torch.arange(side**2) // side, torch.arange(side**2) % side
    displacement = (
        (row[:, None] - row + side - 1) * (2 * side - 1) + column[:, None] - column + side - 1
    )
    score = torch.einsum("nihd,njhd->nhij", query, key) / width**0.5 + table[displacement].permute(
        2, 0, 1
    )
    attended = torch.einsum("nhij,njhd->nihd", score.softmax(-1), value).flatten(2)
    expected = attended @ attention.projection.weight.T + attention.projection.bias

    torch.testing.assert_close(attention(x), expected.transpose(1, 2).unflatten(2, (side, side)))


def test_relative_attention_is_the_references():
    ours = RelativeAttention(inputs=6, outputs=10, head_width=32, side=4)
    plain = reference.RelativeAttention(inputs=6, outputs=10, side=4)
    nn.init.normal_(ours.position_bias.relative_position_bias_table)
    qkv, *others = ours.state_dict().values()
    weights = (others[0], qkv, *others[1:])  # a module lists its own weights before its layers'
    plain.load_state_dict(dict(zip(plain.state_dict(), weights, strict=True)))
    x = torch.randn(2, 6, 4, 4)
    expected = plain(x.flatten(2).transpose(1, 2)).transpose(1, 2).view(2, 10, 4, 4)
    torch.testing.assert_close(ours(x), expected)


def test_vit_sees_patches_in_any_order_but_for_their_position():
    """Without the position embedding, 16×16 patches may be permuted; with it they may not."""
    model = narrow("ViT").eval()
    images, mass = jets(2, 64)
    patches = images.unflatten(3, (4, 16)).unflatten(2, (4, 16))  # (n, 3, 4, 16, 4, 16)
    swapped = patches[:, :, [2, 0, 3, 1]].flatten(4, 5).flatten(2, 3)
    with torch.no_grad():
        assert (model(swapped, mass) - model(images, mass)).abs().max() > 1e-5
        model.backbone.pos_embed.zero_()
        torch.testing.assert_close(model(swapped, mass), model(images, mass))


@pytest.mark.parametrize(("published", "share_of_new_batch"), [(False, 0.1), (True, 0.99)])
def test_maxvit_batch_norm_momentum(published, share_of_new_batch):
    model = narrow("MaxViT", published_batch_norm_momentum=published)
    images, mass = jets(8, 64)
    stem = model.backbone.stem
    model(images, mass)
    mean = stem.conv1(images).mean((0, 2, 3))
    torch.testing.assert_close(stem.norm1.running_mean, share_of_new_batch * mean)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {share_of_new_batch}
