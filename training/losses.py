"""Losses: how far logits are from the truth. A study chooses one by its name.

Cross entropy and the extreme loss are means over events, weighted: with weights in proportion to
the cross section of each event's process, `cross_entropy` is the cross entropy weighted by cross
section of the comparisons. `scoped` and `decorrelated` make a loss of another one, and compose:
`decorrelated(scoped(extreme, 120, 130), 10)` is a `Loss`. `delta_z` and `direct` look at a batch
as a whole, as one expectation of signal and background after a cut: they take expected events
instead of weights. `relative` makes a `Loss` of them.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from command import InputError
from study import TrainingSettings

# Logits (b, 2) of background and signal, label (b,), weight (b,) and spectator (b,) or None ->
# the mean (). Weights have the mean 1 over an epoch (see `jets.weights.balanced`), so the mean
# of the weighted losses of a batch is sum(w l) / (b x the mean weight of the epoch), and all
# batches together give the weighted mean.
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]

PROBABILITY_MAX = 0.999  # of the extreme loss; the smallest is 1 - 0.999
ROUNDING = 1e-12  # of a distance variance
BACKGROUND_MIN = 1e-9  # expected events in a direct loss
TINY = torch.finfo(torch.float64).tiny


# --- Means over events --------------------------------------------------------------------------


def cross_entropy(
    logits: torch.Tensor,
    label: torch.Tensor,
    weight: torch.Tensor,
    spectator: torch.Tensor | None = None,
) -> torch.Tensor:
    """-log softmax of the true class.

    >>> cross_entropy(torch.zeros(1, 2), torch.tensor([1]), torch.ones(1)).item()  # ln 2
    0.6931471824645996
    """
    return (weight * functional.cross_entropy(logits, label, reduction="none")).mean()


def extreme(
    logits: torch.Tensor,
    label: torch.Tensor,
    weight: torch.Tensor,
    spectator: torch.Tensor | None = None,
) -> torch.Tensor:
    """The extreme loss of arXiv:2401.00428, which punishes confident errors most.

    With the probability p of signal, 1 / p + ln((1 - p) / p) for signal and the same of 1 - p for
    background. Its gradient is that of the cross entropy divided by p (1 - p): with respect to the
    logit of signal -1 / p for signal and 1 / (1 - p) for background. It has no lower bound, so the
    clamp of p to [0.001, 0.999] is part of the definition; outside, the gradient is 0.

    >>> extreme(torch.zeros(1, 2), torch.tensor([1]), torch.ones(1)).item()  # 1 / 0.5 + ln 1
    2.0
    """
    bound = math.log(PROBABILITY_MAX / (1 - PROBABILITY_MAX))
    truth = _towards_truth(logits, label).clamp(-bound, bound)  # the logit of the true class
    return (weight * (1 + torch.exp(-truth) - truth)).mean()


def _towards_truth(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Logits (b, 2) -> that of the true class minus that of the other (b,)."""
    score = logits[:, 1] - logits[:, 0]
    return torch.where(label == 1, score, -score)


# --- Away from a spectator ----------------------------------------------------------------------


def scoped(loss: Loss, low: float, high: float) -> Loss:
    """A loss of the events between two values of the spectator: data scope, arXiv:2401.00428.

    The weighted mean over the events in scope, for a loss that is a mean over events, and the loss
    of these events alone, for one that `relative` made; 0 with gradient 0 for a batch that has
    none. A spectator that is NaN is out of scope.

    Args:
        low, high: in the unit of the spectator; both are out of scope (paper: 120 and 130 GeV).

    >>> ends = torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([1, 1]), torch.ones(2)
    >>> scoped(cross_entropy, 120, 130)(*ends, torch.tensor([125.0, 91.0])).item()  # ln 2
    0.6931471824645996
    """

    def of_scope(
        logits: torch.Tensor, label: torch.Tensor, weight: torch.Tensor, spectator: torch.Tensor
    ) -> torch.Tensor:
        inside = weight * ((low < spectator) & (spectator < high))
        smallest = torch.finfo(inside.dtype).tiny
        return loss(logits, label, inside / inside.mean().clamp(min=smallest), spectator)

    return of_scope


def decorrelated(loss: Loss, strength: float) -> Loss:
    """A loss plus `strength` times the distance correlation of signal probability and spectator.

    That of all background events of the batch, in any scope of the first term: DisCo,
    arXiv:2001.05310, as in arXiv:2401.00428 (there the strength is 10 and the weights are 1).
    A batch without background has the first term only.
    """

    def with_correlation(
        logits: torch.Tensor, label: torch.Tensor, weight: torch.Tensor, spectator: torch.Tensor
    ) -> torch.Tensor:
        background = label == 0
        probability = logits.softmax(dim=1)[background, 1]
        correlation = distance_correlation(spectator[background], probability, weight[background])
        return loss(logits, label, weight, spectator) + strength * correlation

    return with_correlation


def distance_correlation(x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Squared distance correlation of two quantities: 0 if independent, 1 if one is linear.

    dCov^2(x, y) / sqrt(dCov^2(x, x) dCov^2(y, y)), which DisCo (arXiv:2001.05310) has with power 1
    and Szekely, Rizzo and Bakirov (arXiv:0803.4101) write as the square of their correlation. It
    is the one of the sample: of n independent pairs it is above 0 by O(1 / n). The double centring
    is written out,

        dCov^2 = sum_ij w_i w_j a_ij b_ij - 2 sum_i w_i a_i b_i + a b,

    with a_ij = |x_i - x_j|, b_ij = |y_i - y_j|, a_i and b_i their means over j, a and b over both.
    No (n, n) matrix is made, after Huo and Szekely (arXiv:1410.1503): means of distances are
    cumulative sums over sorted values, and a_ij b_ij is (x_i - x_j)(y_i - y_j), up to the sign of
    the pairs that x and y order differently. O(n log^2 n) operations, in float64.

    Args:
        x, y: (n,).
        weight: (n,) 0 or more; a weight of 2 is the same as the pair twice.

    Returns:
        (); 0 with gradient 0 where x or y is constant, or there is no weight.

    >>> x, weight = torch.arange(4.0), torch.ones(4)
    >>> distance_correlation(x, 3 - 2 * x, weight).item()
    1.0
    """
    order = x.argsort()
    share = weight[order].double() / weight.double().sum().clamp(min=TINY)
    # An origin among the values: no digits are lost to an offset, and a constant is exactly 0.
    u, v = (column[order].double() - column[:1].double() for column in (x, y))

    def mean_distance(values: torch.Tensor) -> torch.Tensor:
        by_value = values.argsort()
        below = torch.stack([share, share * values])[:, by_value].cumsum(1)
        distance = values[by_value] * (2 * below[0] - 1) - 2 * below[1] + share @ values
        return torch.zeros_like(values).scatter(0, by_value, distance)

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:  # of differences of all pairs
        return 2 * (share @ (a * b) - (share @ a) * (share @ b))

    def centred(products: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return products - 2 * (share @ (a * b)) + (share @ a) * (share @ b)

    w_below, u_below, v_below, uv_below = _sums_below(
        share * torch.stack([torch.ones_like(u), u, v, u * v]), v
    )
    same_order = share @ (u * v * w_below - v * u_below - u * v_below + uv_below)
    a, b = mean_distance(u), mean_distance(v)
    covariance = centred(4 * same_order - product(u, v), a, b)
    u_variance, v_variance = centred(product(u, u), a, a), centred(product(v, v), b, b)
    vary = (u_variance > ROUNDING * (share @ u**2)) & (v_variance > ROUNDING * (share @ v**2))
    scale = torch.where(vary, u_variance * v_variance, 1.0).sqrt()
    return torch.where(vary, covariance / scale, 0.0).to(y.dtype)


def _sums_below(columns: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Sums of columns (c, n) over the events before each one that have a smaller value (n,).

    A merge sort: halves of blocks of 2, 4, 8, ... events are sorted by value together, and each
    event of a right half gains what is below it of the left half.
    """
    n = len(values)
    levels = (n - 1).bit_length()
    columns, rank = (
        functional.pad(known, (0, 2**levels - n)) for known in (columns, values.argsort().argsort())
    )
    sums = torch.zeros_like(columns)
    for half in (2**level for level in range(levels)):
        order = rank.view(-1, 2 * half).argsort(dim=1)
        is_left = order < half
        start = torch.arange(0, len(rank), 2 * half, device=rank.device)[:, None]
        order = (order + start).flatten()
        left = columns[:, order].view(len(columns), -1, 2 * half) * is_left
        gain = torch.where(is_left, 0.0, left.cumsum(2))
        sums = sums.index_add(1, order, gain.flatten(1))
    return sums[:, :n]


# --- Of expected events -------------------------------------------------------------------------


def delta_z(
    logits: torch.Tensor,
    label: torch.Tensor,
    events: torch.Tensor,
    epsilon: float | None = None,
) -> torch.Tensor:
    """The significance that errors cost, arXiv:2412.09500, as a Lovasz extension.

    The events of a set M of misclassified ones cost

        Delta_Z(M) = S / sqrt(epsilon) - (S - s) / sqrt(epsilon + b)

    with the expected signal S of the batch, and s and b of the signal and background in M. The
    loss is its Lovasz extension at the hinge errors m = max(1 - F y, 0), y = +-1, of the score F,
    the difference of the logits: sum_k m_k [Delta_Z({1..k}) - Delta_Z({1..k - 1})] in descending
    order of m, by a sort and cumulative sums. The brackets are its gradient in m.

    Delta_Z is submodular, so the loss is convex in m: linear in s, concave in b, and its mixed
    derivative -1 / (2 (epsilon + b)^1.5) is negative. Numerically, Delta_Z(M + i) + Delta_Z(M + j)
    >= Delta_Z(M + i + j) + Delta_Z(M) has no counter-example among the 134,400 random cases of
    tests/test_losses.py. Negative events break it: with one of seven events below 0, a quarter of
    these cases.

    Args:
        logits: (b, 2) of background and signal.
        label: (b,) 1 for signal.
        events: (b,) 0 or more, expected events that each stands for, for example cross section
            times luminosity over the number of events of its process in the batch. A common
            factor c multiplies the loss by sqrt(c), at the default epsilon.
        epsilon: events, above 0; S by default, as in the paper.

    Returns:
        (); 0 with gradient 0 for a batch without signal. Without background, S / sqrt(epsilon)
        times the weighted mean error of signal.

    >>> wrong = torch.tensor([[0.5, -0.5], [-0.5, 0.5]]), torch.tensor([1, 0])  # errors 2 and 2
    >>> delta_z(*wrong, torch.tensor([9.0, 100.0])).item()  # all is lost: 2 x 9 / sqrt(9)
    6.0
    """
    error = (1 - _towards_truth(logits, label)).clamp(min=0)
    order = error.argsort(descending=True, stable=True)
    is_signal, events = label[order] == 1, events[order].double()
    signal, background = torch.where(is_signal, events, 0.0), torch.where(is_signal, 0.0, events)
    total = signal.sum()
    floor = total.clamp(min=TINY) if epsilon is None else total.new_tensor(epsilon)
    left = (total - signal.cumsum(0)) / (floor + background.cumsum(0)).sqrt()
    cost = (total / floor.sqrt() - left).diff(prepend=total.new_zeros(1))
    return (error[order] * cost.to(error.dtype)).sum()


def direct(
    logits: torch.Tensor,
    label: torch.Tensor,
    events: torch.Tensor,
    significance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Minus the significance of the soft counts, in the manner of arXiv:1806.00322.

    Each event counts with its probability of signal: s = sum of p times the expected events of
    signal, b of background. The loss is minus Z, which unlike an inverse of Z is finite at s = 0.

    Args:
        logits, label, events: as in `delta_z`.
        significance: of expected signal and background, both () in float64: `simple_significance`
            or `asimov_significance`, to which `functools.partial` gives the uncertainty.

    Returns:
        (); 0 with gradient 0 for a batch without signal. A background below `BACKGROUND_MIN`
        counts as so much, so a batch without any is finite and teaches to keep signal.

    >>> certain = torch.tensor([[0.0, 99.0], [0.0, 99.0], [99.0, 0.0]]), torch.tensor([1, 0, 0])
    >>> direct(*certain, torch.tensor([6.0, 3.0, 50.0]), simple_significance).item()  # 6 / sqrt(9)
    -2.0
    """
    passed = events.double() * logits.double().softmax(dim=1)[:, 1]
    s, b = (torch.where(label == of, passed, 0.0).sum() for of in (1, 0))
    return -significance(s, b.clamp(min=BACKGROUND_MIN)).to(logits.dtype)


def simple_significance(s: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """s / sqrt(s + b)."""
    return s / (s + b).sqrt()


def asimov_significance(
    s: torch.Tensor, b: torch.Tensor, relative_uncertainty: float = 0.0
) -> torch.Tensor:
    """Expected significance of a discovery, the background b being known to a relative delta.

        Z^2 = 2 {(s + b) [ln(1 + s / b) - ln(1 + w)] - ln(1 + w) / delta^2},

    w = delta^2 s / (1 + delta^2 b): the Asimov value of the profile likelihood with a Poisson
    auxiliary measurement of b that arXiv:1806.00322 uses. (`sensitivity.exclusion.significance`
    is that of an exclusion.)

    >>> signal = torch.tensor([10.0, 100.0], dtype=torch.float64)
    >>> asimov_significance(signal, 0 * signal + 100, 0.1).numpy().round(4)
    array([0.6902, 5.8292])
    """
    variance = relative_uncertainty**2
    w = variance * s / (1 + variance * b)
    auxiliary = torch.log1p(w) / variance if variance else s  # its limit
    squared = 2 * ((s + b) * (torch.log1p(s / b) - torch.log1p(w)) - auxiliary)
    return squared.clamp(min=TINY).sqrt()  # the slope of a root at 0 is infinite


def relative(
    loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    unit: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> Loss:
    """A loss of expected events in units of a significance of its batch, before any cut.

    `delta_z` and `direct` (without uncertainty) grow as the root of a factor common to all events,
    and so does `unit`: the quotient depends on nothing but ratios of weights, neither on luminosity
    nor on the size of the batch, and is of order 1. Adam's steps do not depend on such a factor, up
    to its epsilon; the balance with a distance correlation does. Of several processes each takes
    the loss of its own share of a batch.

    Args:
        loss: of logits, label and events, as in `delta_z`.
        unit: of all signal and background of the batch, both () in float64.

    Returns:
        A loss, 0 with gradient 0 for a batch without signal.

    >>> logits, label = torch.zeros(2, 2), torch.tensor([1, 0])  # all at the boundary
    >>> LOSSES["delta Z"](logits, label, torch.tensor([0.3, 99.0]), None).item()  # all may be lost
    1.0
    """

    def in_units(
        logits: torch.Tensor,
        label: torch.Tensor,
        weight: torch.Tensor,
        spectator: torch.Tensor | None = None,
    ) -> torch.Tensor:
        events = weight.double()
        s, b = (torch.where(label == of, events, 0.0).sum() for of in (1, 0))
        scale = torch.where(s > 0, unit(s, b.clamp(min=BACKGROUND_MIN)), 1.0)
        return loss(logits, label, weight) / scale.to(logits.dtype)

    return in_units


# --- By name ------------------------------------------------------------------------------------

OF_EXPECTED_EVENTS: dict[str, Loss] = {
    # The share of sqrt(S) that errors cost.
    "delta Z": relative(delta_z, lambda s, b: s.sqrt()),
    # Minus what the soft cut gains over no cut.
    "s / sqrt(s + b)": relative(
        partial(direct, significance=simple_significance), simple_significance
    ),
    "Asimov Z": relative(partial(direct, significance=asimov_significance), asimov_significance),
}
LOSSES: dict[str, Loss] = {
    "cross entropy": cross_entropy,
    "extreme": extreme,
    **OF_EXPECTED_EVENTS,
}


def loss_of(asked: TrainingSettings) -> Loss:
    """The loss that a study asks for.

    Raises:
        InputError: a loss that does not exist, or one of expected events without such weights, or a
            scope or a decorrelation without a spectator.
    """
    if asked.loss not in LOSSES:
        raise InputError(
            f"training.loss is {asked.loss!r}, expected one of {', '.join(LOSSES)}; correct the "
            "study"
        )
    if asked.loss in OF_EXPECTED_EVENTS and not asked.by_cross_section:
        raise InputError(
            f"training.loss is {asked.loss!r}, which takes expected events, but "
            "training.by_cross_section is false; set it to true"
        )
    if (asked.scope or asked.decorrelation) and not asked.spectator:
        raise InputError(
            f"training.{'scope' if asked.scope else 'decorrelation'} is asked for, but "
            "training.spectator is empty; name the column, such as mass"
        )
    loss = LOSSES[asked.loss]
    loss = scoped(loss, *asked.scope) if asked.scope else loss
    return decorrelated(loss, asked.decorrelation) if asked.decorrelation else loss
