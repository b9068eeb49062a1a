"""The particle transformer of weaver-core: its inputs, and what it makes of them."""

import math

import numpy as np
import pytest
import torch

from models import create_model
from models.pairs import pairs
from studies.particle_transformer import ParticleTransformer, four_vectors, is_installed

needs_weaver = pytest.mark.skipif(not is_installed(), reason="weaver-core is not installed")
SIZE = {"constituents": 10, "jet": 7}


def jets(b: int = 6, t: int = 12, seed: int = 0) -> dict[str, torch.Tensor]:
    """Inputs of jets with 3 to t constituents, which come first."""
    random = torch.Generator().manual_seed(seed)
    exists = torch.arange(t) < torch.randint(3, t + 1, (b, 1), generator=random)
    spread = 0.3 * torch.randn(b, t, 2, generator=random)
    pt, mass = torch.rand(2, b, t, 1, generator=random)
    momenta = torch.cat([0.01 + 0.1 * pt, spread, 0.001 * mass], dim=2)
    return {
        "constituents": torch.randn(b, t, 10, generator=random) * exists[..., None],
        "exists": exists,
        "momenta": momenta * exists[..., None],
        "jet": torch.randn(b, 7, generator=random),
    }


def test_four_vectors_have_the_pt_rapidity_phi_and_mass_of_the_particles():
    inputs = jets()
    momenta = inputs["momenta"].double()
    px, py, pz, energy = four_vectors(momenta).unbind(1)
    there = inputs["exists"]
    found = [
        torch.hypot(px, py), torch.atanh(pz / energy), torch.atan2(py, px),
        (energy**2 - px**2 - py**2 - pz**2).clamp_min(0).sqrt(),
    ]  # fmt: skip
    for x, expected, unit in zip(found, momenta.unbind(2), (1e3, 1, 1, 1e3), strict=True):
        np.testing.assert_allclose(x[there], unit * expected[there], rtol=1e-6)
    assert (energy[~there] == 0).all() and (px[~there] == 0).all()


@pytest.fixture
def network() -> ParticleTransformer:
    """As trained: its norms of a batch have seen jets."""
    torch.manual_seed(0)
    network = ParticleTransformer(SIZE, width=0.25)
    for seed in range(20):
        network(**jets(seed=seed))
    return network.eval()


@needs_weaver
def test_logits_do_not_depend_on_padding_or_on_the_order_of_particles(network):
    inputs = jets()
    names = "constituents", "exists", "momenta"
    order = torch.arange(12).expand(6, -1).clone()
    for row, n in zip(order, inputs["exists"].sum(dim=1), strict=True):
        row[:n] = torch.randperm(n)
    permuted = inputs | {
        name: torch.stack([x[rows] for x, rows in zip(inputs[name], order, strict=True)])
        for name in names
    }
    padded = inputs | {
        name: torch.cat([inputs[name], torch.zeros_like(inputs[name][:, :5])], dim=1)
        for name in names
    }
    with torch.no_grad():
        logits, *others = (network(**some) for some in (inputs, permuted, padded))
    assert logits.shape == (6, 2) and logits[:, 0].std() > 1e-3
    for other in others:
        torch.testing.assert_close(other, logits, rtol=0, atol=1e-5)


@needs_weaver
def test_pairs_are_those_of_our_networks():
    """In other units, and in another order."""
    from weaver.nn.model.ParticleTransformer import pairwise_lv_fts_pp

    inputs = jets()
    momenta, there = inputs["momenta"].double(), inputs["exists"]
    both = there[:, :, None] & there[:, None] & ~torch.eye(12, dtype=torch.bool)
    ours = pairs(momenta[:, :, None], momenta[:, None])[both]
    vectors = four_vectors(momenta)
    ln_kt, ln_z, ln_distance, ln_m2 = pairwise_lv_fts_pp(
        vectors[..., None], vectors[:, :, None], num_outputs=4
    ).unbind(1)
    unit = math.log(1e3)
    theirs = torch.stack([ln_distance, ln_kt - unit, ln_z, ln_m2 - 2 * unit], dim=-1)[both]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@needs_weaver
def test_it_is_as_deep_and_as_wide_as_jetvit(network):
    jetvit = create_model("JetViT", SIZE, width=0.25)
    blocks = jetvit.encoder.blocks
    assert len(network.body.blocks) == len(blocks)
    for theirs, ours in zip(network.body.blocks, blocks, strict=True):
        assert theirs.num_heads == ours.heads
        assert theirs.attn.in_proj.weight.shape == ours.projection.weight.shape
