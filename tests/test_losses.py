"""Losses that aim at significance: closed forms, brute force, finite differences (float64)."""

import re
from functools import partial
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from torch.autograd import gradcheck

from command import InputError
from sensitivity.exclusion import significance as exclusion
from study import TrainingSettings
from training.losses import (
    LOSSES,
    OF_EXPECTED_EVENTS,
    asimov_significance,
    cross_entropy,
    decorrelated,
    delta_z,
    direct,
    distance_correlation,
    extreme,
    loss_of,
    scoped,
    simple_significance,
)


def logits_of(score) -> torch.Tensor:
    """Logits (b, 2) in float64 of scores (b,)."""
    score = torch.as_tensor(score, dtype=torch.float64)
    return torch.stack([torch.zeros_like(score), score], dim=1)


def batch(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores, labels, weights and a spectator around 125; differentiable in the scores."""
    random = np.random.default_rng(seed)
    columns = random.normal(size=n), random.uniform(0.5, 2, n), random.normal(125, 5, n)
    score, weight, spectator = map(torch.from_numpy, columns)
    return score.requires_grad_(), torch.arange(n) % 2, weight, spectator


def slope(loss: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
    """The gradient of a loss in the scores (b,)."""
    return torch.autograd.grad(loss, score)[0]


# --- The extreme loss ---------------------------------------------------------------------------


@pytest.mark.parametrize("label", [0, 1])
def test_extreme_is_the_formula_of_the_paper_with_its_clamp(label):
    score = torch.linspace(-9, 9, 181, dtype=torch.float64, requires_grad=True)
    p = torch.sigmoid(score)
    inside = (p > 0.001) & (p < 0.999)
    truth, one = torch.full((181,), label), torch.ones(181, dtype=torch.float64)
    loss = extreme(logits_of(score), truth, one)
    q = p.detach().clamp(0.001, 0.999)
    written = label / q + (1 - label) / (1 - q) + (2 * label - 1) * torch.log((1 - q) / q)
    torch.testing.assert_close(loss, written.mean())

    found = 181 * slope(loss, score)
    expected = torch.where(inside, -1 / p if label else 1 / (1 - p), 0.0)
    torch.testing.assert_close(found, expected)
    bce = 181 * slope(cross_entropy(logits_of(score), truth, one), score)
    torch.testing.assert_close(found[inside], (bce / (p * (1 - p)))[inside])


def test_extreme_of_certain_errors_is_finite_in_float32():
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss = extreme(logits, torch.tensor([1, 0]), torch.ones(2))
    assert loss.item() == pytest.approx(1 / 0.001 + np.log(999), rel=1e-5)
    assert not torch.autograd.grad(loss, logits)[0].any()


# --- Distance correlation -----------------------------------------------------------------------


def reference(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """By the definition: the product of doubly centred distances."""
    share = weight / weight.sum()

    def centred(values: np.ndarray) -> np.ndarray:
        distance = abs(np.subtract.outer(values, values))
        mean = distance @ share
        return distance - mean[:, None] - mean[None, :] + share @ mean

    a, b = centred(x), centred(y)
    covariance, *variances = (share @ (u * v) @ share for u, v in [(a, b), (a, a), (b, b)])
    return covariance / np.sqrt(np.prod(variances))


@pytest.mark.parametrize("n", [2, 3, 8, 25, 200])
def test_distance_correlation_is_its_definition(n):
    """With its gradient; also of values that occur more than once, and of weights of 0."""
    x, _, weight, y = batch(n)
    y = (y + x**2).detach().requires_grad_()
    columns = [c.detach().numpy() for c in (x, y, weight)]
    assert distance_correlation(x, y, weight).item() == pytest.approx(reference(*columns))
    if n < 100:
        assert gradcheck(lambda x, y: distance_correlation(x, y, weight), (x, y))
    if n > 3:
        columns = [columns[0].round(), columns[1].round(), columns[2] * (np.arange(n) % 3 > 0)]
        found = distance_correlation(*map(torch.from_numpy, columns)).item()
        assert found == pytest.approx(reference(*columns))


def test_distance_correlation_of_independent_samples_is_0_within_statistics():
    """Of x and x^2 it is not, though their covariance is 0."""
    x, y = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 2000)))
    one = torch.ones(2000)
    orders = torch.rand(5, 2000, generator=torch.Generator().manual_seed(0)).argsort()
    shuffled = [distance_correlation(x, y[order], one) for order in orders]
    assert 0 < distance_correlation(x, y, one) < 3 * torch.stack(shuffled).mean() < 0.01
    assert distance_correlation(x, x**2, one) > 0.2


def test_distance_correlation_is_1_of_a_linear_map_and_knows_no_unit():
    x, _, weight, y = batch(60)
    torch.testing.assert_close(distance_correlation(x, 125 - 3 * x, weight).item(), 1.0)
    found = distance_correlation(x, y, weight)
    torch.testing.assert_close(found, distance_correlation(x, 10 * y - 1e7, weight))
    torch.testing.assert_close(found, distance_correlation(5 - x / 9, y, 4 * weight))
    torch.testing.assert_close(found, distance_correlation(y, x, weight))


@pytest.mark.parametrize(
    "rows, weight", [(slice(0), 1), (slice(1), 1), (slice(9), 0), (slice(9), 1)]
)
def test_distance_correlation_without_variation_is_0_with_gradient_0(rows, weight):
    """No event, one event, no weight; and a constant with either side varying."""
    score, _, one, spectator = batch(9)
    constant = spectator if weight == 0 or len(one[rows]) < 2 else torch.full_like(spectator, 91.2)
    x, y = score[rows], constant[rows].detach().requires_grad_()
    for found in (distance_correlation(*pair, weight * one[rows]) for pair in [(x, y), (y, x)]):
        assert found == 0
        for gradient in torch.autograd.grad(found, (score, y)):
            assert not gradient.any() and gradient.isfinite().all()


def test_what_only_events_of_weight_0_vary_is_constant():
    for seed in range(20):
        score, label, weight, spectator = batch(9, seed)
        spectator = torch.where(label == 1, 91.2, spectator)
        found = distance_correlation(spectator, score, weight * label)
        assert found == 0 and not slope(found, score).any()


# --- Scopes -------------------------------------------------------------------------------------


def test_only_events_in_scope_are_classified():
    score, label, weight, spectator = batch(40)
    inside = (spectator > 120) & (spectator < 130)
    assert 0 < inside.sum() < 40
    loss = scoped(extreme, 120, 130)(logits_of(score), label, weight, spectator)
    alone = extreme(logits_of(score)[inside], label[inside], weight[inside])
    torch.testing.assert_close(loss, alone / weight[inside].mean())  # the weighted mean
    gradient = slope(loss, score)
    assert gradient[inside].all() and not gradient[~inside].any()
    assert gradcheck(
        lambda s: scoped(extreme, 120, 130)(logits_of(s), label, weight, spectator), score
    )


@pytest.mark.parametrize("spectator", [91.2, 120.0, 130.0, np.nan])
def test_a_batch_with_none_in_scope_is_0_with_gradient_0(spectator):
    score, label, weight, _ = batch(6)
    where = torch.full((6,), spectator)
    loss = scoped(extreme, 120, 130)(logits_of(score), label, weight, where)
    assert loss == 0 and not slope(loss, score).any()


def test_decorrelated_adds_that_of_the_background_over_the_whole_range():
    score, label, weight, spectator = batch(40)
    columns = logits_of(score), label, weight, spectator
    scope = scoped(extreme, 124, 126)
    loss = decorrelated(scope, 10)(*columns)
    background = label == 0
    probability = torch.sigmoid(score.detach()).numpy()
    of_background = (c[background].numpy() for c in (spectator, torch.tensor(probability), weight))
    assert (loss - scope(*columns)).item() == pytest.approx(10 * reference(*of_background))
    assert gradcheck(
        lambda s: decorrelated(scope, 10)(logits_of(s), label, weight, spectator), score
    )


def test_decorrelated_without_background_is_the_loss_itself():
    score, label, weight, spectator = batch(6)
    columns = logits_of(score), torch.ones_like(label), weight, spectator
    loss = decorrelated(extreme, 10)(*columns)
    assert loss == extreme(*columns)
    assert torch.equal(slope(loss, score), slope(extreme(*columns), score))


# --- The significance that errors cost ----------------------------------------------------------


def set_function(wrong, label, events, epsilon: float) -> float:
    """Delta_Z of misclassified events, a mask (n,)."""
    total = events[label == 1].sum()
    lost, passed = events[(label == 1) & wrong].sum(), events[(label == 0) & wrong].sum()
    return total / np.sqrt(epsilon) - (total - lost) / np.sqrt(epsilon + passed)


def choquet(error, label, events, epsilon: float) -> float:
    """The Lovasz extension as the integral of the set function over thresholds of the error."""
    steps = np.unique(np.append(error, 0.0))
    values = [set_function(error >= t, label, events, epsilon) for t in steps[1:]]
    return float(np.dot(np.diff(steps), values))


def subsets(n: int) -> np.ndarray:
    """All of them: (2^n, n)."""
    return (np.arange(2**n)[:, None] >> np.arange(n)) % 2 == 1


def instance(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Labels of both kinds, events over three orders of magnitude, and an epsilon."""
    random = np.random.default_rng(seed)
    label = random.permutation(np.arange(n) % 3 == 0).astype(int)
    return label, 10 ** random.uniform(-1, 2, n), 10 ** random.uniform(-1, 2)


def test_delta_z_at_the_vertices_of_the_hypercube_is_the_formula_of_the_paper():
    """With its counts of false negatives and false positives of each process.

    Errors are 0 or 1: scores are at the margin or at the boundary.
    """
    process = np.array([0, 1, 2, 0, 1, 2, 2, 0])  # 0 is signal
    expected = np.array([0.3, 3.0, 300.0])  # cross section times luminosity
    generated = np.bincount(process)
    label = (process == 0).astype(int)
    columns = torch.from_numpy(label), torch.from_numpy((expected / generated)[process])
    for epsilon in (None, 0.3, 2.0):
        eps = expected[0] if epsilon is None else epsilon
        for wrong in subsets(8):
            fraction = np.bincount(process, wrong) / generated
            kept, passed = (1 - fraction[0]) * expected[0], np.dot(fraction[1:], expected[1:])
            cost = expected[0] / np.sqrt(eps) - kept / np.sqrt(eps + passed)
            score = logits_of((2 * label - 1) * (1 - wrong))
            assert delta_z(score, *columns, epsilon).item() == pytest.approx(cost, abs=1e-12)
            assert wrong.any() or cost == 0


def test_delta_z_is_the_lovasz_extension_by_brute_force():
    """The integral over thresholds and, of a submodular function, the greatest over all orders."""
    for seed in range(4):
        label, events, epsilon = instance(6, seed)
        score = 2 * np.random.default_rng(seed).normal(size=6)
        error = np.maximum(1 - (2 * label - 1) * score, 0)
        found = delta_z(
            logits_of(score), torch.from_numpy(label), torch.from_numpy(events), epsilon
        ).item()
        assert found == pytest.approx(choquet(error, label, events, epsilon))
        of_set = {tuple(wrong): set_function(wrong, label, events, epsilon) for wrong in subsets(6)}
        sums = []
        for order in permutations(range(6)):
            rank = np.argsort(order)
            chain = [of_set[tuple(rank < k)] for k in range(7)]
            sums.append(np.dot(error[list(order)], np.diff(chain)))
        assert len(sums) == 720 and found == pytest.approx(max(sums))


def violations(signs) -> tuple[int, int]:
    """Cases of submodularity, and how many fail, in 200 instances of 7 events: all sets, pairs."""
    cases = failures = 0
    sets = subsets(7)
    for seed in range(200):
        label, events, epsilon = instance(7, seed)
        events = events * signs(seed)
        with np.errstate(invalid="ignore"):
            value = np.array([set_function(wrong, label, events, epsilon) for wrong in sets])
        for i in range(7):
            for j in range(i):
                without = np.flatnonzero(~sets[:, i] & ~sets[:, j])
                excess = value[without + 2**i] + value[without + 2**j]
                excess = excess - value[without] - value[without + 2**i + 2**j]
                excess = excess[np.isfinite(excess)]
                cases, failures = cases + len(excess), failures + (excess < -1e-9).sum()
    return cases, failures


def test_delta_z_is_submodular_unless_events_are_negative():
    assert violations(lambda seed: 1) == (134400, 0)
    cases, failures = violations(lambda seed: np.where(np.arange(7) == seed % 7, -0.1, 1))
    assert failures > 0.01 * cases


def test_delta_z_gradient_is_that_of_finite_differences():
    score, label, weight, _ = batch(30)
    events = torch.where(label == 1, weight, 40 * weight)
    for epsilon in (None, 3.0):
        assert gradcheck(lambda s, e=epsilon: delta_z(logits_of(s), label, events, e), score)


def test_delta_z_grows_as_the_root_of_luminosity():
    score, label, events, _ = batch(30)
    one, nine = (delta_z(logits_of(score), label, k * events) for k in (1, 9))
    torch.testing.assert_close(nine, 3 * one)


# --- Direct losses ------------------------------------------------------------------------------


def profiled(s: float, b: float, delta: float) -> float:
    """Discovery: the likelihood ratio of s + b and an auxiliary count, maximised numerically."""
    tau = 1 / (delta**2 * b)
    counts, means = np.array([s + b, tau * b]), np.array([1, tau])

    def minus_log(background: float) -> float:
        mean = background * means
        return (mean - counts + xlogy(counts, counts / mean)).sum()

    return np.sqrt(2 * minimize_scalar(minus_log, bounds=(b, s + b), method="bounded").fun)


SIGNIFICANCES = {
    "simple": simple_significance,
    "known": asimov_significance,
    "uncertain": partial(asimov_significance, relative_uncertainty=0.2),
}


@pytest.mark.parametrize("s, b", [(3.0, 0.5), (10.0, 100.0), (400.0, 2000.0)])
def test_certain_events_have_the_significance_of_their_counts(s, b):
    """Of those that pass: as many are lost."""
    logits = logits_of([999.0, 999.0, -999.0, 999.0, -999.0])
    columns = torch.tensor([1, 1, 1, 0, 0]), torch.tensor([s / 4, 3 * s / 4, s, b, b]).double()
    expected = {
        "simple": s / np.sqrt(s + b),
        "known": np.sqrt(2 * ((s + b) * np.log(1 + s / b) - s)),
        "uncertain": profiled(s, b, 0.2),
    }
    for name, z in expected.items():
        found = -direct(logits, *columns, SIGNIFICANCES[name]).item()
        assert found == pytest.approx(z, rel=1e-6)


@pytest.mark.parametrize("delta", [0.0, 0.2])
def test_discovery_and_exclusion_agree_for_a_small_signal(delta):
    s, b = torch.tensor([0.01, 100.0], dtype=torch.float64)
    found = asimov_significance(s, b, delta).item()
    assert found == pytest.approx(exclusion(0.01, 100.0, delta), rel=1e-3)
    assert found == pytest.approx(0.01 / np.sqrt(100 + (100 * delta) ** 2), rel=1e-3)


@pytest.mark.parametrize("significance", SIGNIFICANCES.values(), ids=SIGNIFICANCES)
def test_direct_gradients_are_those_of_finite_differences(significance):
    score, label, weight, _ = batch(12)
    events = torch.where(label == 1, weight, 40 * weight)
    assert gradcheck(lambda s: direct(logits_of(s), label, events, significance), score)


# --- In units of a significance -----------------------------------------------------------------


@pytest.mark.parametrize("name", OF_EXPECTED_EVENTS)
def test_a_factor_of_all_events_changes_no_relative_loss(name):
    """Nor its gradient: neither luminosity nor the size of a batch matters."""
    score, label, events, _ = batch(30)
    loss = OF_EXPECTED_EVENTS[name]
    one, other = (loss(logits_of(score), label, k * events) for k in (1, 1e-4))
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(slope(one, score), slope(other, score))
    assert gradcheck(lambda s: loss(logits_of(s), label, events), score)


def test_relative_losses_of_no_cut_of_all_wrong_and_of_perfect_separation():
    """From the closed forms, with 4 signal and 400 background events."""
    label = torch.tensor([1, 1, 0, 0])
    events = torch.tensor([1.0, 3.0, 100.0, 300.0], dtype=torch.float64)
    passes, right = torch.full((4,), 99.0), 99.0 * (2 * label - 1)
    expected = {  # of all that pass, and of signal alone
        "delta Z": (100 * (1 - np.sqrt(4 / 404)), 0),
        "s / sqrt(s + b)": (-1, -np.sqrt(404 / 4)),
        "Asimov Z": (-1, None),
    }
    for name, values in expected.items():
        for score, value in zip((passes, right), values, strict=True):
            if value is not None:
                found = OF_EXPECTED_EVENTS[name](logits_of(score), label, events).item()
                assert found == pytest.approx(value, rel=1e-6, abs=1e-12)
    boundary = OF_EXPECTED_EVENTS["delta Z"](logits_of(torch.zeros(4)), label, events)
    assert boundary.item() == pytest.approx(1)  # all errors are 1: all of sqrt(S) is lost


def test_the_settings_of_a_study_compose_a_loss():
    score, label, weight, spectator = batch(40)
    columns = logits_of(score), label, weight, spectator
    scope, correlated = {"scope": (124.0, 126.0)}, {"decorrelation": 10.0}
    for asked, expected in (
        ({}, extreme),
        (scope, scoped(extreme, 124, 126)),
        (correlated, decorrelated(extreme, 10)),
        (scope | correlated, decorrelated(scoped(extreme, 124, 126), 10)),
    ):
        loss = loss_of(TrainingSettings(loss="extreme", spectator="mass", **asked))
        assert loss(*columns) == expected(*columns)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"loss": "Z"}, "training.loss is 'Z', expected one of cross entropy, extreme, delta Z, s"),
        ({"loss": "delta Z"}, "takes expected events, but training.by_cross_section is false; set"),
        ({"scope": (1.0, 2.0)}, "training.scope is asked for, but training.spectator is empty;"),
        ({"decorrelation": 1.0}, "training.decorrelation is asked for, but training.spectator is"),
    ],
)
def test_a_loss_that_lacks_what_it_needs_is_one_sentence(asked, words):
    with pytest.raises(InputError, match=re.escape(words)):
        loss_of(TrainingSettings(**asked))


# --- All of them --------------------------------------------------------------------------------

OF_EVENTS = {"misclassified": delta_z} | {
    name: partial(direct, significance=significance) for name, significance in SIGNIFICANCES.items()
}
ALL = {
    **{name: lambda s, y, w, m, loss=loss: loss(s, y, w, m) for name, loss in LOSSES.items()},
    "scoped": scoped(extreme, 120, 130),
    "decorrelated": decorrelated(scoped(extreme, 120, 130), 10),
    **{name: lambda s, y, w, m, loss=loss: loss(s, y, w) for name, loss in OF_EVENTS.items()},
}


@pytest.mark.parametrize("name", ALL)
def test_weight_2_is_an_event_twice(name):
    """In value and in gradient; a mean weight of 1 is asked for where a loss is a mean."""
    score, label, _, spectator = batch(24)
    count = torch.arange(24) % 3 + 1
    weight = count.double() if name in OF_EVENTS else count / count.double().mean()
    once = ALL[name](logits_of(score), label, weight, spectator)
    copies = [c.repeat_interleave(count) for c in (score, label, spectator)]
    one = torch.ones(count.sum(), dtype=torch.float64)
    twice = ALL[name](logits_of(copies[0]), copies[1], one, copies[2])
    torch.testing.assert_close(once, twice)
    torch.testing.assert_close(slope(once, score), slope(twice, score))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("labels", [(0, 0, 0), (1, 1, 1), (0, 1, 1)])
@pytest.mark.parametrize("name", ALL)
def test_a_batch_without_a_class_has_a_finite_loss_and_gradient(name, labels, dtype):
    """Also where the network is certain, right or wrong."""
    for scale in (1.0, 1e3):
        logits = scale * torch.tensor([[0.1, 0.4], [0.3, -0.2], [0.0, 0.5]], dtype=dtype)
        logits.requires_grad_()
        columns = torch.ones(3, dtype=dtype), torch.tensor([121.0, 125, 128], dtype=dtype)
        loss = ALL[name](logits, torch.tensor(labels), *columns)
        assert loss.shape == () and loss.dtype == dtype and loss.isfinite()
        assert torch.autograd.grad(loss, logits)[0].isfinite().all()


@pytest.mark.parametrize("name", OF_EVENTS)
def test_without_signal_nothing_can_be_lost(name):
    score, label, events, _ = batch(5)
    loss = OF_EVENTS[name](logits_of(score), torch.zeros_like(label), events)
    assert abs(loss) < 1e-100 and not slope(loss, score).any()


def test_without_background_signal_is_kept():
    """Delta_Z is the mean error of signal, in units of sqrt(S); s / sqrt(s + b) is sqrt(s)."""
    score, label, events, _ = batch(5)
    columns = logits_of(score), torch.ones_like(label), events
    error = (1 - score).clamp(min=0)
    torch.testing.assert_close(delta_z(*columns), (events * error).sum() / events.sum().sqrt())
    passed = (events * torch.sigmoid(score)).sum()
    torch.testing.assert_close(-direct(*columns, simple_significance), passed.sqrt())
    for name, loss in OF_EVENTS.items():
        assert (slope(loss(*columns), score)[score < 1] < 0).all(), name
