"""Integrated gradients: what the integral is in closed form, and what every average of it obeys."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from attribution import averages
from attribution.averages import GAP_MAX, Explained, explain, read_explained, write_explained
from attribution.baselines import BASELINES, aligned, baseline_of, fetched
from attribution.integrated_gradients import OUTPUTS, attributed_inputs, integrated_gradients
from attribution.removal import area, curve, randomised, rank_correlation, removed, units
from command import InputError
from models import create_model
from training.event_features import EventFeatures

CPU = torch.device("cpu")


class Formula(nn.Module):
    """Two logits, whose difference is a function of the features."""

    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, features):
        return torch.stack([torch.zeros(len(features)), self.formula(features)], dim=1)


def features(n: int, width: int, seed: int = 0) -> EventFeatures:
    """n events, the first half signal, without physics."""
    table = np.zeros(n, [("event", "i8"), ("label", "u1")])
    table["event"], table["label"] = np.arange(n), np.arange(n) < n // 2
    return EventFeatures(np.random.default_rng(seed).normal(size=(n, width)), table, CPU)


def attributed(formula, x, baseline, steps=16, output="logit"):
    given, start = ({"features": torch.tensor(np.float32(one))} for one in (x, baseline))
    return integrated_gradients(Formula(formula).eval(), given, start, steps, output)


def gap(found) -> torch.Tensor:
    """By how much attributions miss the change of the output."""
    total = sum(x.reshape(len(x), -1).sum(1) for x in found.values.values())
    return (total - (found.end - found.start)).abs()


def test_a_linear_function_is_attributed_exactly_at_one_node():
    w = torch.tensor([2.0, -1.0, 0.0])
    x, start = [[1.0, 2.0, 3.0], [0.5, 0.0, 1.0]], [[0.0, 1.0, -1.0], [0.0, 0.0, 0.0]]
    found = attributed(lambda f: f @ w + 7, x, start, steps=1)
    assert np.allclose(found.values["features"], (np.array(x) - start) * w.numpy(), atol=1e-5)
    assert gap(found).max() < 1e-5


def test_the_integral_of_a_quadratic_form():
    """f = x A x: phi_i = (x - x')_i sum_j A_ij (x + x')_j for symmetric A, with two nodes."""
    random = np.random.default_rng(0)
    a = random.normal(size=(4, 4))
    a += a.T
    x, start = random.normal(size=(2, 3, 4))
    matrix = torch.tensor(a, dtype=torch.float32)
    found = attributed(lambda f: ((f @ matrix) * f).sum(1), x, start, steps=2)
    assert np.allclose(found.values["features"], (x - start) * ((x + start) @ a), atol=1e-4)


def test_the_integral_of_a_logistic_function():
    """p = expit(w x): along the line all features share the change of p as they share that of the
    logit, phi_i = w_i (x - x')_i (p - p') / (w (x - x'))."""
    w, x, start = np.array([1.5, -0.5, 0.7]), np.array([2.0, 1.0, -1.0]), np.array([-1.0, 0.0, 0.5])
    weight = torch.tensor(w, dtype=torch.float32)
    found = attributed(lambda f: f @ weight, [x], [start], steps=32, output="probability")
    shares = w * (x - start) / (w @ (x - start))
    expected = shares * (expit(w @ x) - expit(w @ start))
    assert np.allclose(found.values["features"][0], expected, atol=1e-6)


def test_what_makes_no_difference_has_none_and_equals_have_the_same():
    """Dummy and symmetry: a feature that f does not depend on; two that f treats alike."""

    def formula(f):
        return torch.tanh(f[:, 0] * f[:, 1]) + f[:, 2].sin()

    found = attributed(formula, [[0.7, 0.7, 1.0, 5.0]], [[0.1, 0.1, 0.0, -3.0]], steps=32)
    first, second, _, dummy = found.values["features"][0].tolist()
    assert dummy == 0 and first == pytest.approx(second, rel=1e-5) and first > 0
    assert gap(found).max() < 1e-5


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", BASELINES)
def test_averages_of_a_network_are_complete_on_both_outputs(name, output):
    inputs, n, draws = features(40, 5), 8, 3
    torch.manual_seed(0)
    network = create_model("EventTransformer", 5)
    background = np.arange(20, 40)
    weight = np.linspace(0.1, 2, 20)
    baseline = baseline_of(name, inputs, background, weight, n, draws, seed=1)
    found = explain(network, inputs, np.arange(n), baseline, 24, output, name)
    assert found.completeness_error < GAP_MAX
    found.require_complete(name)
    assert np.allclose(found.values["features"].sum(1), found.end - found.start, atol=1e-4)


def test_draws_average_attributions_not_events():
    """f = x^2 from two baselines: the mean of (x^2 - a^2) and (x^2 - b^2), which is less than what
    their mean as a baseline gives."""
    inputs = features(3, 1)
    inputs._features[:] = torch.tensor([[2.0], [1.0], [-1.0]])
    network = Formula(lambda f: f[:, 0] ** 2)
    drawn = baseline_of("uniform", inputs, np.array([1, 2]), np.ones(2), 1, 100, seed=0)
    found = explain(network, inputs, np.array([0]), drawn, 2, "logit", "")
    assert found.values["features"][0, 0] == pytest.approx(3, abs=1e-4)
    middle = baseline_of("mean", inputs, np.array([1, 2]), np.ones(2), 1, 1)
    assert explain(network, inputs, np.array([0]), middle, 2, "logit", "").values["features"] == 4


def test_weights_say_how_often_background_is_drawn():
    """A linear function: the mean over draws is that of the background, with its weights."""
    inputs = features(1_001, 1)
    network = Formula(lambda f: f[:, 0])
    background, weight = np.arange(1, 1_001), np.random.default_rng(1).exponential(size=1_000)
    weight[500:] = -1.0  # which are never drawn
    values = inputs._features.numpy()[:, 0]
    for name, of_events in (("uniform", np.ones(1_000)), ("weighted", np.maximum(weight, 0))):
        baseline = baseline_of(name, inputs, background, weight, 100, 80, seed=2)
        found = explain(network, inputs, np.zeros(100, int), baseline, 1, "logit", "")
        mean = np.average(values[1:], weights=of_events)
        spread = np.sqrt(np.average((values[1:] - mean) ** 2, weights=of_events) / 8_000)
        assert abs(found.start.mean() - mean) < 4 * spread
        assert np.allclose(found.values["features"][:, 0], values[0] - found.start, atol=1e-3)


def test_a_list_of_particles_keeps_its_mask_and_its_places():
    """The baseline is cut to as many places, or filled with zeros; where no particle is, nothing is
    attributed, and no jet of the batch changes another."""
    torch.manual_seed(0)
    network = create_model("JetViT", {"constituents": 10, "jet": 7}, 0.25).eval()
    assert attributed_inputs(network, particles(2, 4)) == ["constituents", "jet"]
    x, shorter, longer = particles(2, 4), particles(2, 3), particles(2, 6)
    x["exists"][0, 2:] = False
    x["constituents"][0, 2:] = 0
    for baseline in (shorter, longer):
        made = aligned(baseline, x)
        assert made["constituents"].shape == x["constituents"].shape
        assert torch.equal(made["exists"], x["exists"])
        found = integrated_gradients(network, x, made, 16)
        assert (found.values["constituents"][0, 2:] == 0).all()
        assert (gap(found) / (found.end - found.start).abs()).max() < GAP_MAX
    assert (aligned(shorter, x)["constituents"][:, 3:] == 0).all()


@pytest.mark.parametrize("which", ["zero", "itself", "another"])
def test_pairs_have_slopes_everywhere(which):
    """From momenta of 0, along which all pairs are at one place, and where nothing changes."""
    torch.manual_seed(0)
    size = {"constituents": 10, "jet": 7}
    network = create_model("JetViT", size, 0.25, pairwise=True).eval()
    x = particles(2, 5)
    assert attributed_inputs(network, x) == ["constituents", "momenta", "jet"]
    zero = {name: torch.zeros_like(one) for name, one in x.items()}
    baseline = {"zero": zero, "itself": x, "another": particles(2, 5)}[which]
    found = integrated_gradients(network, x, aligned(baseline, x), 256)
    assert all(torch.isfinite(one).all() for one in found.values.values())
    assert gap(found).max() < 0.02


def test_what_is_no_number_is_refused():
    found = Explained(np.arange(2), {}, {"x": np.array([[1.0], [np.nan]])}, np.ones(2), np.zeros(2))
    with pytest.raises(InputError, match=r"^it: an attribution is no finite number"):
        found.require_complete("it")


def particles(n: int, t: int) -> dict[str, torch.Tensor]:
    return {
        "constituents": torch.randn(n, t, 10),
        "exists": torch.ones(n, t, dtype=torch.bool),
        "momenta": torch.rand(n, t, 4),
        "jet": torch.randn(n, 7),
    }


def test_what_misses_the_change_is_refused():
    """A step function has no gradient: however many nodes there are, none sees the step."""
    inputs = features(4, 2)
    network = Formula(lambda f: f[:, 0] + 0.5 * (f[:, 0] > 0).float())
    baseline = baseline_of("zero", inputs, np.array([]), np.array([]), 4, 1)
    found = explain(network, inputs, np.arange(4), baseline, 8, "logit", "step")
    with pytest.raises(
        InputError, match=r"^step: .* expected at most 1%, with up to 1,024 nodes; the output jumps"
    ):
        found.require_complete("step")


def test_rows_get_as_many_nodes_as_they_need(monkeypatch):
    """Kinks at other places of the line: only those rows are done again, and keep their order."""
    inputs = features(8, 1)
    inputs._features[:] = torch.linspace(0.3, 3, 8)[:, None]
    network = Formula(lambda f: torch.relu(f[:, 0] - 1.234))
    baseline = baseline_of("zero", inputs, np.array([]), np.array([]), 8, 1)
    real, nodes = averages.integrated_gradients, []

    def counted(network, x, start, steps, *more):
        nodes.append((steps, len(x["features"])))
        return real(network, x, start, steps, *more)

    monkeypatch.setattr(averages, "integrated_gradients", counted)
    found = explain(network, inputs, np.arange(8), baseline, 4, "logit", "")
    assert found.completeness_error < GAP_MAX and found.rows.tolist() == list(range(8))
    assert nodes[0] == (4, 8) and nodes[1][0] == 8 and 1 < nodes[1][1] < 8
    x = inputs._features[:, 0].numpy()
    assert np.allclose(found.values["features"][:, 0], np.maximum(x - 1.234, 0), atol=0.03)


def test_parts_are_kept_and_read_again(tmp_path, monkeypatch):
    """After an interruption only what is missing is computed, and the whole is the same."""
    inputs = features(30, 3)
    network = create_model("FeedForward", 3)
    monkeypatch.setattr(averages, "PART", 4)
    rows = np.arange(10)
    baseline = baseline_of("uniform", inputs, np.arange(15, 30), np.ones(15), 10, 2)

    def found(folder):
        return explain(network, inputs, rows, baseline, 4, "logit", "", folder)

    whole = found(None)
    found(tmp_path)
    (tmp_path / "000004.h5").unlink()
    calls = []
    real = averages._part
    monkeypatch.setattr(averages, "_part", lambda *a: calls.append(a[3]) or real(*a))
    again = found(tmp_path)
    assert np.concatenate(calls).tolist() == [4, 5, 6, 7]
    for name in ("rows", "end", "start"):
        assert np.allclose(vars(again)[name], vars(whole)[name], atol=1e-6)
    assert np.allclose(again.values["features"], whole.values["features"], atol=1e-6)
    write_explained(tmp_path / "whole.h5", whole)
    read = read_explained(tmp_path / "whole.h5")
    assert np.array_equal(read.inputs["features"], fetched(inputs, rows)["features"])


def test_a_batch_that_does_not_fit_is_halved(monkeypatch):
    inputs = features(30, 3)
    network = create_model("FeedForward", 3)
    baseline = baseline_of("zero", inputs, np.array([]), np.array([]), 9, 1)
    whole = explain(network, inputs, np.arange(9), baseline, 4, "logit", "")
    real, tried = averages.integrated_gradients, []

    def small(network, x, start, steps, output, at_once):
        tried.append(at_once)
        if at_once > 16:
            raise torch.OutOfMemoryError
        return real(network, x, start, steps, output, at_once)

    monkeypatch.setattr(averages, "integrated_gradients", small)
    found = explain(network, inputs, np.arange(9), baseline, 4, "logit", "")
    assert min(tried) == 16 and np.allclose(found.end, whole.end)


def test_removal_by_attribution_is_the_fastest_there_is():
    """A linear function: without its k largest terms it has the sum of the others, which no other
    order beats; at random it falls in proportion. The classes have opposite signs."""
    inputs = features(6, 8)
    w = torch.linspace(-1, 1, 8)
    network = Formula(lambda f: f @ w)
    zero = baseline_of("zero", inputs, np.array([]), np.array([]), 6, 1)
    found = explain(network, inputs, np.arange(6), zero, 1, "logit", "")
    sign, fractions = np.array([1.0, 1, 1, -1, -1, -1]), np.arange(9) / 8
    terms = inputs._features.numpy() * w.numpy()
    importance = units(found)[1]
    assert np.allclose(importance, terms, atol=1e-6)

    def of(order):
        return curve(network, found, sign, order, zero, CPU, 4, fractions)

    falling = np.sort(sign[:, None] * terms, axis=1)[:, ::-1]
    left = falling.sum(1, keepdims=True) - np.pad(np.cumsum(falling, 1), ((0, 0), (1, 0)))
    assert np.allclose(of(importance), left, atol=1e-5)
    random = of(None)
    for seed in range(5):
        other = of(np.random.default_rng(seed).normal(size=(6, 8)))
        assert (area(of(importance), random, fractions) >= area(other, random, fractions)).all()
    assert np.allclose(random[:, [0, -1]], left[:, [0, -1]], atol=1e-5)


def test_a_particle_that_is_removed_is_gone():
    """As if the list had never had it; what takes its place from a baseline has its features."""
    torch.manual_seed(1)
    network = create_model("JetViT", {"constituents": 10, "jet": 7}, 0.25).eval()
    x, which = particles(2, 5), torch.zeros(2, 5, dtype=torch.bool)
    which[:, 4] = True
    nothing = {name: torch.zeros_like(one) for name, one in x.items()}
    made = removed("constituents", x, which, nothing)
    shorter = {name: one if name == "jet" else one[:, :4] for name, one in x.items()}
    assert torch.allclose(network(**made), network(**shorter), atol=1e-6)
    other = particles(2, 5)
    made = removed("constituents", x, which, other)
    assert torch.equal(made["constituents"][:, 4], other["constituents"][:, 4])
    assert torch.equal(made["constituents"][:, :4], x["constituents"][:, :4])
    assert torch.equal(made["momenta"][:, 4], other["momenta"][:, 4])
    assert made["exists"].all()


def test_other_weights_have_other_attributions():
    """Same weights correlate fully; new ones in the last layer or everywhere do not."""
    inputs = features(40, 12)
    torch.manual_seed(0)
    network = create_model("FeedForward", 12)
    zero = baseline_of("zero", inputs, np.array([]), np.array([]), 40, 1)

    def sizes(one):
        return units(explain(one, inputs, np.arange(40), zero, 16, "logit", ""))[1:]

    attribution, exists = sizes(network)
    found = randomised(network, lambda: create_model("FeedForward", 12))
    correlation = {
        n: rank_correlation(attribution, sizes(one)[0], exists) for n, one in found.items()
    }
    assert np.allclose(rank_correlation(attribution, attribution, exists), 1)
    assert max(np.abs(one).mean() for one in correlation.values()) < 0.6
    same = [torch.equal(a, b) for a, b in zip(
        network.parameters(), found["last layer"].parameters(), strict=True)]  # fmt: skip
    assert same == [True] * (len(same) - 2) + [False] * 2
