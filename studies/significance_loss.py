"""Which loss makes a linear classifier significant? The toy of arXiv:2412.09500.

Three Gaussian processes in two features, signal and two backgrounds, whose cross sections differ by
a factor of 100 and are swapped in a second case. A linear model F = w x + b is trained with each of
`LOSSES` from several seeds; a cut on F gives Z = N_s / sqrt(N_b). The efficiency of such a cut is a
normal CDF, so every curve, the best of all linear cuts and the Delta_Z loss itself are known
without counting points. Beside them stands the best cut of any shape, on the likelihood ratio.

Learning rates were chosen among a few values by the loss over the training points of seed 0 in case
1. Test points are counted for the table alone; they decide nothing.

Reads   nothing.
Writes  the tables of doc/significance_loss.md, also as doc/results/significance_loss_*.csv, and
        doc/figures/significance_loss_*. Two and a half minutes of core time.

    python -m studies.significance_loss
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.integrate import trapezoid
from scipy.optimize import minimize
from scipy.special import ndtr, ndtri

from command import parser_of, run
from evaluation.pages import Rows, environment, formatted, show
from figures import significance_loss as figures
from figures import style
from training import losses

# Signal, b1, b2. Means and covariance (the identity) are read off a figure of the paper by eye;
# cross sections, luminosity and number of points are stated in its text.
MEANS = np.array([[4.0, 7.0], [2.0, 5.0], [2.0, 10.0]])
CROSS_SECTIONS = {1: (0.1, 1.0, 100.0), 2: (0.1, 100.0, 1.0)}  # fb, of each case
LUMINOSITY = 3000.0  # fb^-1
EVENTS = {case: LUMINOSITY * np.array(sigma) for case, sigma in CROSS_SECTIONS.items()}
POINTS = 50_000  # of a process, in each sample
SIGNAL_EFFICIENCY_MIN, BACKGROUND_MIN = 0.05, 5.0  # of the paper's scan; the latter in events
# Max Z and its signal efficiency in case 1, read off the paper's figure by eye.
PUBLISHED = {(1, "cross_entropy"): "4.2 at 0.18", (1, "delta_z"): "4.5 at 0.50"}

SEEDS, TEST = range(5), 1000  # of training points and starts; of test points
BATCH, EPOCHS = 2_500, 20  # points of a process in a batch
EFFICIENCIES = np.linspace(0.001, 0.999, 999)
EPSILONS = (1, 3, 10, 30, 100, 1000)  # of the Delta_Z loss, in units of the expected signal
PAGE = Path("doc/significance_loss.md")

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Way(NamedTuple):
    """How a model is trained: a loss of logits, labels and expected events, and its rate."""

    title: str
    loss: Loss
    learning_rate: float


def _mean(loss: losses.Loss, by_cross_section: bool = False) -> Loss:
    def of_batch(logits: torch.Tensor, label: torch.Tensor, events: torch.Tensor) -> torch.Tensor:
        weight = events / events.mean() if by_cross_section else torch.ones_like(events)
        return loss(logits, label, weight, None)

    return of_batch


LOSSES = {
    "cross_entropy": Way("cross entropy", _mean(losses.cross_entropy), 0.3),
    "weighted": Way("cross entropy × σ", _mean(losses.cross_entropy, True), 3.0),
    "extreme": Way("extreme", _mean(losses.extreme), 0.3),
    "delta_z": Way("Δ_Z", losses.delta_z, 0.1),
    "simple": Way(
        "direct s/√(s+b)", partial(losses.direct, significance=losses.simple_significance), 3.0
    ),
    "asimov": Way(
        "direct Asimov Z", partial(losses.direct, significance=losses.asimov_significance), 1.0
    ),
}


# --- Closed forms -------------------------------------------------------------------------------


def efficiencies(
    angle: ArrayLike, signal_efficiency: ArrayLike, means: np.ndarray = MEANS
) -> np.ndarray:
    """Efficiencies (..., 3) of the linear cuts that keep so much signal (...).

    Args:
        angle: (...) of the direction w in which F grows, in radians.

    >>> efficiencies(np.pi / 4, 0.5).round(4)  # b1 is 2 sqrt(2) below the boundary
    array([0.5   , 0.0023, 0.7602])
    """
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return ndtr(ndtri(signal_efficiency)[..., None] + direction @ (means - means[0]).T)


def passing(model: ArrayLike, means: np.ndarray = MEANS) -> np.ndarray:
    """Efficiencies (3,) of a model's own cut, F > 0. The model is w and b, (3,).

    >>> passing([1.0, 0.0, -4.0]).round(4)  # x > 4
    array([0.5   , 0.0228, 0.0228])
    """
    *w, b = model
    return ndtr((means @ w + b) / np.hypot(*w))


def significance(efficiency: np.ndarray, events: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """N_s / sqrt(floor + N_b) (...) after cuts with efficiencies (..., 3).

    >>> significance(np.ones(3), EVENTS[1]).round(3)  # without a cut, 300 / sqrt(303,000)
    np.float64(0.545)
    """
    return efficiency[..., 0] * events[0] / np.sqrt(floor + efficiency[..., 1:] @ events[1:])


def within_scan(efficiency: np.ndarray, events: np.ndarray) -> np.ndarray:
    """Which cuts (...) the paper's scan looks at."""
    is_enough = efficiency[..., 1:] @ events[1:] >= BACKGROUND_MIN
    return is_enough & (efficiency[..., 0] >= SIGNAL_EFFICIENCY_MIN)


def best_cut(efficiency: np.ndarray, events: np.ndarray) -> np.ndarray:
    """Efficiencies (3,) of the most significant cut of (n, 3) that the scan looks at."""
    looked_at = efficiency[within_scan(efficiency, events)]
    return looked_at[significance(looked_at, events).argmax()]


def best_linear_cut(
    events: np.ndarray, floor: float = 0.0, scanned: bool = True, means: np.ndarray = MEANS
) -> tuple[float, np.ndarray]:
    """Angle and efficiencies (3,) of the best linear cut: a grid, refined from its best point.

    Args:
        floor: as in `significance`; that of the Delta_Z loss is its epsilon.
        scanned: whether only the cuts of the paper's scan count.
    """

    def z(angle: ArrayLike, signal_efficiency: ArrayLike) -> np.ndarray:
        found = efficiencies(angle, signal_efficiency, means)
        value = significance(found, events, floor)
        return np.where(within_scan(found, events), value, 0.0) if scanned else value

    angles = np.radians(np.arange(-180, 180))
    row, column = np.divmod(z(angles[:, None], EFFICIENCIES).argmax(), len(EFFICIENCIES))
    start = angles[row], EFFICIENCIES[column]
    fine = {"xatol": 1e-9, "fatol": 1e-12}
    angle, signal_efficiency = minimize(
        lambda at: -z(*at), start, method="Nelder-Mead", options=fine
    ).x
    return angle, efficiencies(angle, signal_efficiency, means)


def likelihood_ratio_cuts(events: np.ndarray, means: np.ndarray = MEANS) -> np.ndarray:
    """Efficiencies (n, 3) of the cuts on the ratio of signal to background, on a fine grid.

    None keeps as much signal with less background: the bound on every classifier.
    """
    axis = np.arange(-6, 6, 0.02)
    low, high = means.min(axis=0), means.max(axis=0)
    x, y = (np.arange(a + axis[0], b + axis[-1], 0.02) for a, b in zip(low, high, strict=True))
    of_x, of_y = (np.exp(-((at[:, None] - means[:, i]) ** 2) / 2) for i, at in enumerate((x, y)))
    density = (of_x[:, None] * of_y[None]).reshape(-1, 3)
    density /= density.sum(axis=0)
    order = np.argsort(-density[:, 0] / (density[:, 1:] @ events[1:]))
    return density[order].cumsum(axis=0)


def delta_z_of(
    model: ArrayLike, events: np.ndarray, epsilon: float, means: np.ndarray = MEANS
) -> float:
    """`training.losses.delta_z` of infinitely many points, whose scores are three Gaussians.

    The Lovasz extension is the integral of Delta_Z({m > t}) over t from 0 to infinity.
    """
    *w, b = model
    mean, width = means @ w + b, np.hypot(*w) + 1e-12
    middle = 1 + [-1, 1, 1] * mean  # of the errors 1 - F of signal and 1 + F of background
    nodes = np.clip(middle[:, None] + width * np.linspace(-8, 8, 2001), 0, None)
    t = np.unique(np.append(nodes, 0.0))[:, None]
    wrong = ndtr((middle - t) / width)
    lost = significance(wrong * [-1, 1, 1] + [1, 0, 0], events, epsilon)
    return float(trapezoid(events[0] / epsilon**0.5 - lost, t[:, 0]))


# --- Training -----------------------------------------------------------------------------------


def draw(seed: int, n: int = POINTS) -> torch.Tensor:
    """Points of signal, b1 and b2: (3, n, 2)."""
    noise = np.random.default_rng(seed).normal(size=(3, n, 2))
    return torch.from_numpy(noise + MEANS[:, None]).float()


def loss_of(loss: Loss, score: torch.Tensor, events: np.ndarray) -> torch.Tensor:
    """The loss of scores (3, n) of signal, b1 and b2."""
    n = score.shape[1]
    logits = torch.stack([torch.zeros_like(score), score], dim=-1).flatten(0, 1)
    label = torch.tensor([1, 0, 0]).repeat_interleave(n)
    of_point = torch.from_numpy(events / n).float().repeat_interleave(n)
    return loss(logits, label, of_point)


def train(
    points: torch.Tensor, way: Way, events: np.ndarray, seed: int, epochs: int = EPOCHS
) -> np.ndarray:
    """The models (epochs, 3) after each epoch: w and b.

    The learning rate falls to 0 as a cosine. Batches hold as many points of each process, so their
    counts and those of the sample are in proportion. Features are standardised for the training.
    """
    torch.manual_seed(seed)
    mean, deviation = points.mean((0, 1)), points.std((0, 1))
    points = (points - mean) / deviation
    layer = torch.nn.Linear(2, 1)
    optimiser = torch.optim.RAdam(layer.parameters(), lr=way.learning_rate)
    steps = epochs * -(-points.shape[1] // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    models = []
    for _ in range(epochs):
        order = torch.rand(points.shape[:2]).argsort(1)
        for rows in order.split(BATCH, dim=1):
            batch = torch.take_along_dim(points, rows[:, :, None], dim=1)
            loss = loss_of(way.loss, layer(batch)[..., 0], events)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            w = layer.weight[0] / deviation
            models.append(torch.cat([w, layer.bias - w @ mean]).double().numpy())
    return np.array(models)


def counted(model: np.ndarray, points: torch.Tensor) -> np.ndarray:
    """Efficiencies (n, 3) of the cuts at the score of each signal point, by counting points."""
    w, b = np.float32(model[:2]), np.float32(model[2])
    score = np.sort(points.numpy() @ w + b, axis=1)
    n = score.shape[1]
    return np.stack([1 - np.searchsorted(one, score[0]) / n for one in score], axis=-1)


# --- Results ------------------------------------------------------------------------------------

LAST, BEST = "last", "best"  # epochs: the last, and that of the greatest Z, by the closed form


def angle_of(model: np.ndarray) -> np.ndarray:
    """(...) of models (..., 3)."""
    return np.arctan2(model[..., 1], model[..., 0])


def best_of_model(model: np.ndarray, events: np.ndarray) -> np.ndarray:
    """Efficiencies (3,) of the most significant cut on a model."""
    return best_cut(efficiencies(angle_of(model), EFFICIENCIES), events)


def result(efficiency: np.ndarray, events: np.ndarray) -> dict[str, float]:
    """A cut, and its significance."""
    columns = "signal_efficiency", "b1_efficiency", "b2_efficiency"
    return {"z": significance(efficiency, events)} | dict(zip(columns, efficiency, strict=True))


def trainings() -> tuple[Rows, dict[tuple[int, str], np.ndarray]]:
    """Rows of every case, loss, seed and epoch, and the models (seeds, epochs, 3) of case and loss.

    A loss without cross sections gives the same models in both cases.
    """
    models = {}
    for name, way in LOSSES.items():
        for case, events in EVENTS.items():
            is_known = case > 1 and name in ("cross_entropy", "extreme")
            models[case, name] = (
                models[1, name]
                if is_known
                else np.array([train(draw(seed), way, events, seed) for seed in SEEDS])
            )
            print(f"case {case}: {way.title}", flush=True)
    test, rows = draw(TEST), []
    for (case, name), of_seeds in models.items():
        events = EVENTS[case]
        for seed, of_epochs in zip(SEEDS, of_seeds, strict=True):
            z = [significance(best_of_model(one, events), events) for one in of_epochs]
            for when, epoch in ((LAST, EPOCHS - 1), (BEST, int(np.argmax(z)))):
                model = of_epochs[epoch]
                score = draw(seed) @ torch.from_numpy(model[:2]).float() + float(model[2])
                own = passing(model)
                of_test = best_cut(counted(model, test), events)
                rows.append(
                    {
                        "case": case, "loss": name, "seed": seed, "when": when, "epoch": epoch + 1,
                        "w1": model[0], "w2": model[1], "b": model[2],
                        "training_loss": loss_of(LOSSES[name].loss, score, events).item(),
                        **result(best_of_model(model, events), events),
                        "z_at_half": significance(efficiencies(angle_of(model), 0.5), events),
                        "z_own": significance(own, events), "signal_efficiency_own": own[0],
                        "z_counted": significance(of_test, events),
                    }
                )  # fmt: skip
    return rows, models


def best_at(signal_efficiency: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least background (n,) that linear cuts leave, and cuts of any shape.

    Args:
        signal_efficiency: (n,).
        share: (2,) of b1 and b2 in the background.
    """
    angles = np.radians(np.arange(-180, 180, 0.25))[:, None]
    ratio = likelihood_ratio_cuts(np.array([1.0, *share]))
    of_any = np.interp(signal_efficiency, ratio[:, 0], ratio[:, 1:] @ share)
    return (efficiencies(angles, signal_efficiency)[..., 1:] @ share).min(axis=0), of_any


def references(case: int) -> Rows:
    """What no training is needed for."""
    events = EVENTS[case]
    background = events[1:].sum()
    halves = (
        events[0]
        * 0.5
        / np.sqrt(background * np.ravel(best_at(np.array([0.5]), events[1:] / background)))
    )
    cuts = {
        "no cut": (np.ones(3), np.nan),
        "best linear cut": (best_linear_cut(events)[1], halves[0]),
        "the same without the constraints of the scan": (
            best_linear_cut(events, scanned=False)[1],
            halves[0],
        ),
        "best linear cut for N_s/√(σ_s L + N_b)": (best_linear_cut(events, events[0])[1], np.nan),
        "best cut of any shape": (best_cut(likelihood_ratio_cuts(events), events), halves[1]),
    }
    return [
        {"case": case, "cut": name, **result(cut, events), "z_at_half": half,
         "z_with_floor": significance(cut, events, events[0])}
        for name, (cut, half) in cuts.items()
    ]  # fmt: skip


def delta_z_minima(case: int) -> Rows:
    """The smallest Delta_Z loss of all linear models, of infinitely many points."""
    events, rows = EVENTS[case], []
    for factor in EPSILONS:
        epsilon = factor * events[0]
        angle, cut = best_linear_cut(events, epsilon, scanned=False)
        direction = np.array([np.cos(angle), np.sin(angle)])
        b = ndtri(cut[0]) - direction @ MEANS[0]
        starts = [scale * np.append(direction, b) for scale in (0.1, 1.0, 3.0)]
        found = min(
            (
                minimize(delta_z_of, start, (events, epsilon), "Nelder-Mead",
                         options={"maxfev": 2000, "xatol": 1e-6, "fatol": 1e-9})
                for start in starts
            ),
            key=lambda one: one.fun,
        )  # fmt: skip
        zero = events[0] / epsilon**0.5  # every error is 1
        row = {"case": case, "epsilon": factor, "loss_of_zero": zero, "loss": min(found.fun, zero)}
        is_zero = found.fun > (1 - 1e-6) * zero
        curve = efficiencies(angle_of(found.x), EFFICIENCIES)
        numbers = {
            "z": significance(best_cut(curve, events), events),
            "z_own": significance(passing(found.x), events),
            "signal_efficiency_own": passing(found.x)[0],
        }
        rows.append(row | (dict.fromkeys(numbers, "") if is_zero else numbers))
    return rows


# --- Page and figures ---------------------------------------------------------------------------


def printed(rows: Rows) -> Rows:
    """One line for every loss and epoch: mean ± standard deviation over the seeds."""
    lines = []
    for name, when in dict.fromkeys((row["loss"], row["when"]) for row in rows):
        some = [row for row in rows if (row["loss"], row["when"]) == (name, when)]

        def cell(column: str, digits: int = 2, some: Rows = some) -> str:
            values = [row[column] for row in some]
            return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"

        published = PUBLISHED.get((some[0]["case"], name), "")
        lines.append(
            {
                "loss": LOSSES[name].title, "epoch": when, "max Z": cell("z"),
                "at ε_S": cell("signal_efficiency"), "ε_b1 [%]": cell("b1_percent"),
                "ε_b2 [%]": cell("b2_percent", 4), "Z at ε_S = 0.5": cell("z_at_half"),
                "Z at F > 0": cell("z_own"), "its ε_S": cell("signal_efficiency_own"),
                "max Z, counted": cell("z_counted"),
                "paper's figure, by eye": published if when == LAST else "",
            }
        )  # fmt: skip
    return lines


def printed_optima(rows: Rows) -> Rows:
    """One line for every cut."""
    headings = (
        "case | cut | max Z | at ε_S | ε_b1 [%] | ε_b2 [%] | Z at ε_S = 0.5 | N_s/√(σ_s L + N_b)"
    )
    line = (
        "{case} | {cut} | {z:.2f} | {signal_efficiency:.2f} | {b1_percent:.2f} | "
        "{b2_percent:.4f} | {z_at_half:.2f} | {z_with_floor:.2f}"
    )
    cells = formatted(rows, headings, line)
    return [{name: cell.replace("nan", "") for name, cell in row.items()} for row in cells]


def printed_minima(rows: Rows) -> Rows:
    """One line for every case and epsilon."""
    numbers = {"z": "max Z of cuts on F", "z_own": "Z at F > 0", "signal_efficiency_own": "its ε_S"}
    return [
        {
            "case": row["case"], "ε / σ_s L": row["epsilon"],
            "loss of F = 0": f"{row['loss_of_zero']:.4f}", "least loss": f"{row['loss']:.4f}",
            **{words: "F = 0" if row[name] == "" else f"{row[name]:.2f}"
               for name, words in numbers.items()},
        }
        for row in rows
    ]  # fmt: skip


def with_percent(rows: Rows) -> Rows:
    """Rows with the efficiencies of b1 and b2 in percent too."""
    return [
        dict(row) | {f"{b}_percent": 100 * row[f"{b}_efficiency"] for b in ("b1", "b2")}
        for row in rows
    ]


def drawn(rows: Rows, models: Mapping[tuple[int, str], np.ndarray], case: int) -> dict:
    """Line of the figures -> models (seeds, 3): after the last epoch, and the best of Delta_Z."""
    last = {name: found[:, -1] for (of, name), found in models.items() if of == case}
    of_best = [r for r in rows if (r["case"], r["loss"], r["when"]) == (case, "delta_z", BEST)]
    return last | {"delta_z_best": np.array([[r["w1"], r["w2"], r["b"]] for r in of_best])}


def over_seeds(values: np.ndarray, **columns: object) -> Rows:
    """Rows of the mean and the range of values (seeds, n)."""
    ends = {"value": values.mean(axis=0), "low": values.min(axis=0), "high": values.max(axis=0)}
    return style.rows(columns | ends)


def boundaries(rows: Rows, models: Mapping[tuple[int, str], np.ndarray]) -> Rows:
    """The boundary of the most significant cut of every model that is drawn."""
    found = []
    for case, events in EVENTS.items():
        angle, cut = best_linear_cut(events)
        lines = [("linear", 0, angle, cut[0])]
        for name, of_seeds in drawn(rows, models, case).items():
            for seed, model in zip(SEEDS, of_seeds, strict=True):
                kept = best_of_model(model, events)[0]
                lines.append((name, seed, angle_of(model), kept))
        for name, seed, angle, kept in lines:
            w = np.array([np.cos(angle), np.sin(angle)])
            b = ndtri(kept) - w @ MEANS[0]
            found.append({"case": case, "line": name, "seed": seed, "w1": w[0], "w2": w[1], "b": b})
    return found


def curves(rows: Rows, models: Mapping[tuple[int, str], np.ndarray]) -> tuple[Rows, Rows]:
    """Z, and background efficiencies with equal and with true shares, against that of signal."""
    x = EFFICIENCIES[9::10]
    of_z, of_background = [], []
    for case, events in EVENTS.items():
        total = events[1:].sum()
        for shares, share in (("equal", np.full(2, 0.5)), ("true", events[1:] / total)):
            lines = {
                name: efficiencies(angle_of(found)[:, None], x)[..., 1:] @ share
                for name, found in drawn(rows, models, case).items()
            }
            best = dict(zip(("linear", "any"), best_at(x, share), strict=True))
            for name, b in (lines | {line: one[None] for line, one in best.items()}).items():
                keys = {"case": case, "line": name, "signal_efficiency": x}
                of_background += over_seeds(b, shares=shares, **keys)
                if shares == "true":
                    of_z += over_seeds(events[0] * x / np.sqrt(total * b), **keys)
    return of_z, of_background


def histories(models: Mapping[tuple[int, str], np.ndarray]) -> Rows:
    """Max Z and |w| after each epoch."""
    rows, epochs = [], np.arange(1, EPOCHS + 1)
    for (case, name), found in models.items():
        events = EVENTS[case]
        z = [[significance(best_of_model(m, events), events) for m in one] for one in found]
        norm = np.hypot(found[..., 0], found[..., 1])
        for quantity, values in (("z", np.array(z)), ("norm", norm)):
            keys = {"case": case, "quantity": quantity, "line": name, "epoch": epochs}
            rows += over_seeds(values, **keys)
    return rows


def draw_all(rows: Rows, models: Mapping[tuple[int, str], np.ndarray]) -> None:
    """Write the four figures."""
    style.apply()
    titles = {1: "case 1: σ(b2) = 100 σ(b1)", 2: "case 2: σ(b1) = 100 σ(b2)"}
    of_z, of_background = curves(rows, models)
    x = {"xlabel": style.SIGNAL_EFFICIENCY, "xlim": (0, 1)}
    words = {"equal": "equal shares", "true": "shares by σ"}
    z = r"$N_s / \sqrt{N_b}$"
    drawings = {
        "boundaries": figures.boundaries(MEANS, boundaries(rows, models), titles),
        "z": figures.curves(
            of_z, "signal_efficiency",
            [({"case": case}, x | {"title": title, "ylabel": z, "ylim": (0, top)})
             for (case, title), top in zip(titles.items(), (8, 5), strict=True)],
        ),
        "roc": figures.curves(
            of_background, "signal_efficiency",
            [({"case": case, "shares": shares},
              x | {"title": title, "yscale": "log", "ylim": (1e-6, 1),
                   "ylabel": f"background efficiency, {words[shares]}"})
             for shares in words for case, title in titles.items()],
        ),
        "epochs": figures.curves(
            histories(models), "epoch",
            [({"case": case, "quantity": quantity}, {"title": title, "xlabel": "epoch"} | settings)
             for quantity, settings in (("z", {"ylabel": f"max {z}"}),
                                        ("norm", {"ylabel": "$|w|$", "yscale": "log"}))
             for case, title in titles.items()],
        ),
    }  # fmt: skip
    for name, drawing in drawings.items():
        style.save(drawing, PAGE.parent / f"figures/significance_loss_{name}.png")


def main() -> None:
    """Train, compare, write."""
    parser_of(__doc__).parse_args()
    torch.set_num_threads(1)  # the tensors are small
    rows, models = trainings()
    optima = [row for case in EVENTS for row in references(case)]
    minima = [row for case in EVENTS for row in delta_z_minima(case)]
    versions = environment()
    for name, table in (
        ("trainings", rows), ("optima", optima), ("minima", minima), ("environment", versions)
    ):  # fmt: skip
        style.write_table(PAGE.parent / f"results/significance_loss_{name}.csv", table)
    for case in EVENTS:
        of_case = [row for row in with_percent(rows) if row["case"] == case]
        show(PAGE, f"case_{case}", of_case, printed)
    show(PAGE, "optima", with_percent(optima), printed_optima)
    show(PAGE, "minima", minima, printed_minima)
    show(PAGE, "environment", versions)
    draw_all(rows, models)
    print(f"{PAGE}: its tables and figures")


if __name__ == "__main__":
    run(main)
