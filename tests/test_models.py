"""Networks: one contract for all, the published functions, and what defines each of them."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models import MODELS, create_model, model_name
from models.__main__ import OF_ONE_JET, forward_cost, measure, parameters, table
from models.coatnet import RelativeAttention
from models.head import scaled
from models.maxvit import RelativePositionalMultiHeadAttention

# What the code of arXiv:2406.03096 gives, by network and image side, in float64: logits of four
# jets, tensors in their order with the rules that fill them, parameters, forward GFLOP.
PUBLISHED = json.loads((Path(__file__).parent / "published_networks.json").read_text())
UNUSED = ("classifier.", "mlp_head.")  # layers of the published networks that nothing goes through
RULES = {
    "z / sqrt(fan in)": lambda z: z / np.sqrt(np.prod(z.shape[1:])),
    "0.05 z": lambda z: 0.05 * z,
    "0.2 z": lambda z: 0.2 * z,
    "1 + 0.1 z": lambda z: 1 + 0.1 * z,
    "1 + 0.3 tanh z": lambda z: 1 + 0.3 * np.tanh(z),
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


@pytest.mark.parametrize("name", OF_ONE_JET)
@pytest.mark.parametrize("pixels", [32, 64, 96, 128])
def test_two_finite_logits_a_jet(name, pixels):
    logits = narrow(name, pixels)(*jets(2, pixels))
    assert logits.shape == (2, 2)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", OF_ONE_JET)
def test_gradients_reach_every_parameter(name):
    model = narrow(name)
    images, mass = jets(16, 64)
    nn.functional.cross_entropy(model(images, mass), torch.arange(16) % 2).backward()
    silent = [key for key, value in model.named_parameters() if not value.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize("name", OF_ONE_JET)
def test_a_seed_fixes_weights_and_logits(name):
    """Twice in training mode: so there is no dropout and no stochastic depth either."""
    first, second, other = narrow(name), narrow(name), narrow(name, seed=1)
    batch = jets(4, 64)
    assert torch.equal(first(*batch), second(*batch))
    assert not torch.equal(second(*batch), other(*batch))


@pytest.mark.parametrize("name", OF_ONE_JET)
def test_logits_depend_on_the_own_mass_alone(name):
    model = narrow(name).eval()
    images, mass = jets(3, 64)
    derivative = torch.autograd.functional.jacobian(lambda m: model(images, m), mass)  # (3, 2, 3)
    own = torch.eye(3, dtype=torch.bool)[:, None, :].expand_as(derivative)
    assert (derivative[own] != 0).all()
    assert (derivative[~own] == 0).all()


@pytest.mark.parametrize("name", OF_ONE_JET)
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


def published_tensors(tensors: list) -> list[torch.Tensor]:
    """Those that have a rule and are used, filled from their number in the whole list."""
    return [
        torch.from_numpy(RULES[rule](np.random.RandomState(1000 + t).standard_normal(shape)))
        .float()
        .double()
        for t, (name, shape, rule) in enumerate(tensors)
        if rule in RULES and not name.startswith(UNUSED)
    ]


def published_jets(pixels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Four sparse images and masses in TeV: float32 numbers, as float64."""
    random = np.random.RandomState(7)
    images = np.zeros((4, 3, pixels, pixels))
    for image in images:
        place = [random.randint(0, end, 90) for end in (3, pixels, pixels)]
        value = random.random_sample(90)
        for at, filled in zip(zip(*place, strict=True), value / value.max(), strict=True):
            image[at] = filled  # a later one wins
    return torch.from_numpy(images).float().double(), torch.tensor([0.05, 0.17, 0.3, 0.5]).double()


@pytest.mark.parametrize("key", PUBLISHED)
def test_networks_are_the_published_functions(key):
    """Filled by the same rules they give the same logits."""
    name, _, pixels = key.partition("_")
    published, pixels = PUBLISHED[key], int(pixels)
    model = create_model(name, pixels).double()
    ours = [
        tensor
        for key, tensor in model.state_dict().items()
        if not key.endswith(("num_batches_tracked", "index"))
    ]
    for tensor, filled in zip(ours, published_tensors(published["tensors"]), strict=True):
        tensor.copy_(filled.view_as(tensor))
    images, mass = published_jets(pixels)

    def distance(logits: torch.Tensor, mode: str) -> float:
        expected = torch.tensor(published[f"logits_{mode}"], dtype=torch.float64)
        return (logits - expected).abs().max().item()

    with torch.no_grad():
        assert distance(model.eval()(images, mass), "eval") < 1e-9
        assert distance(model.float()(images.float(), mass.float()), "eval") < 1e-4
        assert distance(model.double().train()(images, mass), "train") < 1e-9


@pytest.mark.parametrize("key", PUBLISHED)
def test_sizes_and_costs_are_the_published_ones(measured, key):
    """But for the parameters of layers that the published networks have and do not use."""
    name, _, pixels = key.partition("_")
    size, cost = measured[name, 1.0, int(pixels)]
    unused = sum(
        np.prod(shape, dtype=int)
        for tensor, shape, _ in PUBLISHED[key]["tensors"]
        if tensor.startswith(UNUSED)
    )
    assert round(1e6 * size) == PUBLISHED[key]["parameters"] - unused
    assert cost == pytest.approx(PUBLISHED[key]["gflop_forward"], abs=1e-4)


@pytest.mark.parametrize("name", ["CNN", "CoAtNet", "ViT"])
def test_weights_start_as_pytorch_initialises_them(name):
    """Uniform within 1 / sqrt(fan in): a standard deviation of sqrt(1/3) of that."""
    torch.manual_seed(0)
    model = create_model(name, 32)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.weight.numel() > 10_000:
            relative = layer.weight.detach() * layer.weight[0].numel() ** 0.5
            assert relative.abs().max() <= 1
            assert relative.std().item() == pytest.approx(3**-0.5, rel=0.02)
    if name == "ViT":
        for tensor in (model.backbone.position, model.backbone.class_token):
            assert tensor.std().item() == pytest.approx(1, rel=0.15)
    if name == "CoAtNet":
        tables = [p for n, p in model.named_parameters() if n.endswith("bias_table")]
        assert len(tables) == 7
        assert not any(p.any() for p in tables)


def test_weights_of_maxvit_start_as_torchvision_initialises_them():
    """Normal with a standard deviation of 0.02 whatever the fan; the head's as PyTorch does."""
    torch.manual_seed(0)
    model = create_model("MaxViT", 64)
    layers = [m for m in model.backbone.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    large = [layer.weight for layer in layers if layer.weight.numel() > 10_000]
    assert all(w.std().item() == pytest.approx(0.02, rel=0.03) for w in large)
    assert all(w.abs().max() > 0.06 for w in large)
    assert model.head[0].weight.abs().max() <= 257**-0.5


def test_the_table_in_the_documentation_is_the_printed_one(measured):
    """Of the published networks; a user may have added others."""
    published = {key.partition("_")[0] for key in PUBLISHED}
    measured = {key: counts for key, counts in measured.items() if key[0] in published}
    assert table(measured) in (Path(__file__).parents[1] / "doc" / "networks.md").read_text()


@pytest.mark.parametrize(
    ("pixels", "sides"), [(64, (61, 29, 13, 13)), (128, (125, 61, 29, 29, 13))]
)
def test_cnn_counted_by_hand(pixels, sides):
    """Weights and multiply-adds from the formulae; the cost is two operations for each of them."""
    channels = (3, 128) + (64,) * (len(sides) - 1)
    kernels = [16 * i * o for i, o in pairwise(channels)]
    head = (8 * 8 * 64 + 1) * 256 + 256 * 128 + 128 * 2
    multiply_adds = head + sum(k * side**2 for k, side in zip(kernels, sides, strict=True))
    biases = sum(channels[1:]) + 256 + 128 + 2
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
        side = x.shape[-1] - 3
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        x = bias[:, None, None] + sum(
            np.einsum("nirc,oi->norc", x[:, :, r : r + side, c : c + side], weight[:, :, r, c])
            for r in range(4)
            for c in range(4)
        )
        x = np.pad(np.maximum(x, 0), ((0, 0), (0, 0), (1, 2), (1, 2)))
        if layer is not layers[2]:
            half = x.shape[-1] // 2
            x = x.reshape(*x.shape[:2], half, 2, half, 2).mean((3, 5))
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
    pixels = torch.randn(2, side**2, 6, dtype=torch.float64)
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

    torch.testing.assert_close(attention(pixels), expected)


def test_vit_sees_patches_in_any_order_but_for_their_position():
    """Without the position embedding, 16×16 patches may be permuted; with it they may not."""
    model = narrow("ViT").eval()
    images, mass = jets(2, 64)
    patches = images.unflatten(3, (4, 16)).unflatten(2, (4, 16))  # (n, 3, 4, 16, 4, 16)
    swapped = patches[:, :, [2, 0, 3, 1]].flatten(4, 5).flatten(2, 3)
    with torch.no_grad():
        assert (model(swapped, mass) - model(images, mass)).abs().max() > 1e-5
        model.backbone.position.zero_()
        torch.testing.assert_close(model(swapped, mass), model(images, mass))


# --- Options ------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.99, 0.1])
def test_maxvit_batch_norm_momentum_is_the_share_of_the_new_batch(momentum):
    options = {} if momentum == 0.99 else {"batch_norm_momentum": momentum}
    model = narrow("MaxViT", **options)
    images, mass = jets(8, 64)
    convolution, norm, _ = model.backbone.stem[0]
    model(images, mass)
    torch.testing.assert_close(norm.running_mean, momentum * convolution(images).mean((0, 2, 3)))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {momentum}


def test_maxvit_batch_norm_eps_is_added_to_the_variance():
    images, _ = jets(8, 64)
    for eps in (1e-3, 1e-5):
        model = narrow("MaxViT", **({} if eps == 1e-3 else {"batch_norm_eps": eps}))
        convolution, norm, _ = model.backbone.stem[0]
        variance = convolution(images).var((0, 2, 3), correction=0)
        found = norm(convolution(images)).var((0, 2, 3), correction=0)
        torch.testing.assert_close(found, variance / (variance + eps))


def test_maxvit_attention_scale_is_a_factor_of_the_keys():
    """Dividing by the root of a head's channels: keys times the root of the number of heads."""
    published, ours = narrow("MaxViT"), narrow("MaxViT", attention_scale="head")
    with torch.no_grad():
        for layer in published.modules():
            if isinstance(layer, RelativePositionalMultiHeadAttention):
                for tensor in (layer.to_qkv.weight, layer.to_qkv.bias):
                    tensor.chunk(3)[1].mul_(layer.n_heads**0.5)
        torch.testing.assert_close(published(*jets(4, 64)), ours(*jets(4, 64)))


def test_options_and_widths_that_no_network_has_are_refused():
    for name, options, words in (
        ("CNN", {"batch_norm_eps": 1e-5}, "CNN has no option 'batch_norm_eps'; it has none"),
        ("MaxViT", {"momentum": 0.1}, "MaxViT has no option 'momentum'; it has batch_norm_mom"),
        ("MaxViT", {"attention_scale": 8}, "attention_scale of MaxViT is 8, expected a value like"),
        ("MaxViT", {"attention_scale": "heads"}, "expected 'channels' or 'head'"),
        ("MaxViT", {"batch_norm_momentum": True}, "is True, expected a value like 0.99"),
        ("MaxViT", {"batch_norm_momentum": 1.5}, "batch_norm_momentum is 1.5"),
    ):
        with pytest.raises(ValueError, match=words):
            create_model(name, 32, 0.25, **options)


@pytest.mark.parametrize("name", OF_ONE_JET)
@pytest.mark.parametrize("width", [1e-9, 0.003, 0.01, 0.02, 0.05])
def test_a_narrow_network_is_trained_or_refused_in_a_sentence(name, width):
    try:
        model = create_model(name, 32, width)
    except ValueError as error:
        assert str(error).startswith(f"width {width:g} leaves a layer of")
    else:
        assert model(*jets(2, 32)).isfinite().all()
    assert scaled(100, 0.01) == 1
