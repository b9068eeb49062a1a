"""JetViT: symmetries, exact padding, a reference by loops, what each part sees."""

import math

import pytest
import torch
from torch import nn

from models.jetvit import BLOCKS, HEAD_WIDTH, PLACES, Block, jetvit
from models.pairs import PairBias, pairs
from models.patches import MEMBERS, farthest

FEATURES = {"constituents": 6, "jet": 4}
EVERYTHING = {"pairwise": True, "jet_bias": True, "registers": 2}
OF_PATCHES = {"patches": 4, "pairwise": True, "registers": 2, "pooled": True}
N, T = 5, 9
HEADS = 4  # at half the width


def network(seed: int = 0, width: float = 0.5, **options) -> nn.Module:
    torch.manual_seed(seed)
    made = jetvit(FEATURES, width, **options).eval()
    for value in made.parameters():  # positions start at zero, and would hide what they do
        nn.init.normal_(value, std=0.3)
    return made


def jets(t: int = T, seed: int = 1) -> dict[str, torch.Tensor]:
    """Jets of 1 to t constituents."""
    torch.manual_seed(seed)
    exists = torch.arange(t) < torch.tensor([t, 1, 3, t - 1, 2])[:, None]
    momenta = torch.rand(N, t, 4) * torch.tensor([0.5, 1.0, 1.0, 1e-3]) * exists[..., None]
    constituents = torch.randn(N, t, 6) * exists[..., None]
    return {
        "constituents": constituents,
        "exists": exists,
        "momenta": momenta,
        "jet": torch.randn(N, 4),
    }


def padded(given: dict[str, torch.Tensor], more: int) -> dict[str, torch.Tensor]:
    pad = nn.functional.pad
    return given | {
        "constituents": pad(given["constituents"], (0, 0, 0, more), value=7.0),
        "exists": pad(given["exists"], (0, more)),
        "momenta": pad(given["momenta"], (0, 0, 0, more)),
    }


@pytest.mark.parametrize(
    "options", [{}, EVERYTHING, OF_PATCHES, {"pooled": True}, {"positions": True}]
)
def test_padding_changes_nothing(options):
    made, given = network(**options), jets()
    with torch.inference_mode():
        torch.testing.assert_close(made(**padded(given, 20)), made(**given), rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{}, EVERYTHING, OF_PATCHES])
def test_the_order_of_constituents_matters_with_positions_alone(options):
    given, order = jets(), torch.randperm(T, generator=torch.Generator().manual_seed(2))
    turned = given | {name: given[name][:, order] for name in ("constituents", "exists", "momenta")}
    with torch.inference_mode():
        made = network(**options)
        torch.testing.assert_close(made(**turned), made(**given), rtol=0, atol=2e-6)
        if "patches" not in options:
            made = network(positions=True, **options)
            assert (made(**turned) - made(**given)).abs().max() > 1e-3


def test_pairs_depend_on_the_angle_between_constituents_alone():
    """A turn about the beam, also over 2 pi, and a boost along it change no logit."""
    made, given = network(**EVERYTHING), jets()
    moved = given | {"momenta": given["momenta"] + torch.tensor([0.0, 0.3, 2 * math.pi - 1, 0.0])}
    squeezed = given | {"momenta": given["momenta"] * torch.tensor([1.0, 0.5, 0.5, 1.0])}
    with torch.inference_mode():
        torch.testing.assert_close(made(**moved), made(**given), rtol=0, atol=1e-4)
        assert (made(**squeezed) - made(**given)).abs().max() > 1e-3


def test_the_bias_of_pairs_is_that_of_each_pair_in_its_place():
    torch.manual_seed(4)
    made, momenta, exists = PairBias(HEADS), jets()["momenta"], jets()["exists"]
    every = made.body(pairs(momenta[:, :, None], momenta[:, None])).permute(0, 3, 1, 2)
    both = (exists[:, :, None] & exists[:, None])[:, None].expand(every.shape)
    torch.testing.assert_close(made(momenta, exists)[both], every[both])
    torch.testing.assert_close(made(momenta, torch.ones_like(exists)), every)


def test_a_block_against_a_loop_over_jets_heads_and_queries():
    torch.manual_seed(3)
    block = Block(HEADS).double()
    x = torch.randn(2, 4, HEADS * HEAD_WIDTH).double()
    bias = torch.randn(2, HEADS, 4, 4).double()
    bias[0, :, :, 3] = -torch.inf
    q, k, v = block.projection(block.norm(x)).unflatten(2, (3, HEADS, HEAD_WIDTH)).unbind(2)
    seen = torch.zeros_like(q)
    for jet in range(2):
        for head in range(HEADS):
            for query in range(4):
                terms = k[jet, :, head] @ q[jet, query, head] / math.sqrt(HEAD_WIDTH)
                share = (terms + bias[jet, head, query]).softmax(0)
                seen[jet, query, head] = share @ v[jet, :, head]
    expected = x + block.output(seen.flatten(2))
    expected = expected + block.perceptron(expected)
    torch.testing.assert_close(block(x, bias), expected)


def test_parameters():
    """Layer by layer, at full width."""
    c, heads, f, g = 128, 8, 6, 4
    block = (
        2 * c + (3 * c * c + 3 * c) + (c * c + c) + 2 * c + (4 * c * c + 4 * c) + (4 * c * c + c)
    )
    encoder = (f * c + c) + c + BLOCKS * block
    heads_of_class = 2 * c + (c * c + c) + (2 * c + 2)
    jet, combiner = (g * c + c) + (2 * c + 2), 4 * 2 + 2

    def count(**options) -> int:
        return sum(value.numel() for value in jetvit(FEATURES, **options).parameters())

    assert count() == encoder + heads_of_class + jet + combiner
    assert count(sees="jet") == jet + combiner
    assert count(sees="constituents") == encoder + heads_of_class + combiner
    assert count(pairwise=True) - count() == (4 * 16 + 16) + (16 * heads + heads)
    assert count(jet_bias=True) - count() == ((f + g) * 16 + 16) + (16 * heads + heads)
    assert count(positions=True) - count() == PLACES * c
    assert count(registers=3) - count() == 3 * c
    of_patches = ((f + 2) * c + c) + (c * c + c) + ((c + 2) * c + c)
    assert count(patches=16) - count() == of_patches - (f * c + c)


@pytest.mark.parametrize(
    "options", [EVERYTHING, OF_PATCHES, {"positions": True}, {"sees": "constituents"}]
)
def test_gradients_reach_every_parameter(options):
    made, given = network(**options), jets(PLACES)
    made(**given).square().sum().backward()
    for name, value in made.named_parameters():
        assert value.grad is not None and value.grad.abs().sum() > 0, name


def test_each_part_sees_what_it_is_told():
    given = jets()
    other = given | {"jet": given["jet"] + 1}
    less = given | {"constituents": given["constituents"] * 0.5}
    with torch.inference_mode():
        for sees, depends in (("both", (1, 1)), ("constituents", (0, 1)), ("jet", (1, 0))):
            made = network(sees=sees)
            changes = [(made(**one) - made(**given)).abs().max() > 1e-4 for one in (other, less)]
            assert tuple(map(bool, changes)) == tuple(map(bool, depends)), sees
            for name, column in given.items():  # as it says itself
                rolled = made(**given | {name: column.roll(1, 0)})
                assert torch.equal(rolled, made(**given)) == (name in made.ignores), (sees, name)
        made = network(sees="constituents", jet_bias=True)
        assert (made(**other) - made(**given)).abs().max() > 1e-4  # the jet bias sees the jet


def test_the_jet_bias_turns_the_attention_to_some_constituents():
    """With a bias far above all others the class token sees one constituent alone."""
    made, given = network(jet_bias=True), jets()

    def bias_of(made: nn.Module) -> torch.Tensor:
        return made.encoder.bias(made.encoder.tokens(**given))

    bias = bias_of(made)
    assert bias.shape == (N, HEADS, 1, 1 + T) and (bias[..., 0] == 0).all()
    gone = ~given["exists"][:, None, None].expand(N, HEADS, 1, T)
    assert (bias[..., 1:][gone] == -torch.inf).all() and bias[..., 1:][~gone].isfinite().all()
    assert bias_of(network()).shape == (N, 1, 1, 1 + T)
    assert bias_of(network(pairwise=True)).shape == (N, HEADS, 1 + T, 1 + T)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sees": "nothing"}, "expected one of both, constituents, jet"),
        ({"sees": "jet", "pairwise": True}, "nothing can be said of constituents"),
        ({"patches": 4, "positions": True}, "are of constituents"),
        ({"registers": -1}, "expected 0 or more"),
        ({"width": 0.01}, r"width 0\.01 leaves a layer of 8 channels none"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        jetvit(FEATURES, **options)


# --- Patches --------------------------------------------------------------------------------------


def test_centres_are_far_from_each_other_and_patches_near_to_theirs():
    """Against loops over jets, patches and constituents."""
    given, number = jets(), 4
    places = given["momenta"][..., 1:3]
    chosen, is_new = farthest(given["momenta"][..., 0], places, given["exists"], number)
    for jet, count in enumerate(given["exists"].sum(dim=1).tolist()):
        of_jet = places[jet, :count]
        left, found = list(range(count)), [int(given["momenta"][jet, :count, 0].argmax())]
        while len(found) < min(number, count):
            left = [i for i in left if i not in found]
            nearest = [min((of_jet[i] - of_jet[j]).norm() for j in found) for i in left]
            found.append(left[max(range(len(left)), key=nearest.__getitem__)])
        assert chosen[jet, : len(found)].tolist() == found
        assert is_new[jet].tolist() == [True] * len(found) + [False] * (number - len(found))


def test_a_patch_has_the_momentum_of_the_sum_of_its_members():
    """A patch that holds all of a small jet: its mass squared is that of all pairs, less the
    constituents' own, which are in more than one pair."""
    made, given = network(patches=1), jets(MEMBERS)
    with torch.no_grad():
        pt, _, _, mass = made.encoder.tokens(**given).momenta.double().unbind(2)
    exists, momenta = given["exists"], given["momenta"].double()
    is_pair = torch.triu(exists[:, :, None] & exists[:, None], 1)
    of_pairs = (pairs(momenta[:, :, None], momenta[:, None])[..., 3].exp() * is_pair).sum(
        dim=(1, 2)
    )
    of_constituents = momenta[..., 3].square().sum(dim=1)
    expected = of_pairs - (exists.sum(dim=1) - 2) * of_constituents
    torch.testing.assert_close(mass[:, 0].square(), expected, rtol=1e-3, atol=1e-5)
    assert (pt[:, 0] <= momenta[..., 0].sum(dim=1) + 1e-6).all()


@pytest.mark.parametrize("options", [EVERYTHING, OF_PATCHES])
def test_a_jet_without_constituents_has_the_logits_of_its_features(options):
    made, given = network(**options), jets()
    nobody = given | {"exists": torch.zeros_like(given["exists"])}
    other = nobody | {"constituents": given["constituents"] + 1}
    with torch.inference_mode():
        logits = made(**nobody)
        assert logits.isfinite().all() and torch.equal(made(**other), logits)
