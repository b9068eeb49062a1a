"""The numbers of an explanation, one row each."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from attribution.averages import Explained
from attribution.baselines import Baseline
from attribution.deposits import (
    NEAR,
    Deposits,
    distance_to_prongs,
    mean_images,
    mean_of,
    profile,
    shares_near_prongs,
)
from attribution.removal import FRACTIONS, area, curve, units
from attribution.subject import Subject, feature_names
from evaluation.table import cell, ends, pivot
from sensitivity.bootstrap import Estimate

Rows = list[dict[str, object]]
PT_EDGES = (0.0, 450.0, 700.0, np.inf)  # GeV, about a third of the jets of stop pairs in each
CLASSES = "background", "signal"
FILLS = {"zeros": "zero", "background": "weighted"}  # baselines, in place of what is removed
EDGES = np.linspace(0, 1.4, 8)  # of Delta R, in profiles


def row(quantity: str, number: Estimate, n: int, of: str = "", pt: str = "") -> dict[str, object]:
    """A number of n jets or events, of a class and a range of pT."""
    return {"class": of, "pT [GeV]": pt, "quantity": quantity, **ends(number), "n": n}


def summary(subject: Subject, found: Explained) -> Rows:
    """Completeness; shares of |attribution|: on the jet mass and other features, on places where
    the jet has nothing, and near the prongs of the truth beside those of pT and at random."""
    rows = [
        row("completeness error", Estimate(found.completeness_error, np.nan), 1),
        row("change of the output", mean_of(np.abs(found.end - found.start)), len(found)),
    ]
    deposits = subject.deposits(found)
    for label, name in enumerate(CLASSES):
        for words, share in _shares(found, deposits).items():
            values = share[subject.is_signal == label]
            rows.append(row(f"share of {words}", mean_of(values), len(values), name))
    if deposits is not None:
        rows += _near_prongs(subject, shares_near_prongs(deposits, subject.prongs()))
    return rows


def _shares(found: Explained, deposits: Deposits | None) -> dict[str, np.ndarray]:
    """Shares (n,) of |attribution| by their names: of features, and of places without a deposit;
    of what is no single jet and no list of features, of each input as a whole."""
    if deposits is not None:
        empty = {"places where there is nothing": deposits.share_of_empty}
        return _named(deposits.share_of_others) | empty
    sizes = {name: np.abs(x).reshape(len(found), -1) for name, x in found.values.items()}
    every = sum(x.sum(axis=1) for x in sizes.values())[:, None]
    if len(sizes) > 1:
        return {name: x.sum(axis=1) / every[:, 0] for name, x in sizes.items()}
    return _named({name: x / every for name, x in sizes.items()})


def _named(shares: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Shares (n, features) of inputs as one (n,) a feature."""
    return {
        words: column
        for name, share in shares.items()
        for words, column in zip(feature_names(name, share.shape[1]), share.T, strict=True)
    }


def _near_prongs(subject: Subject, shares: Mapping[str, np.ndarray]) -> Rows:
    """Within `NEAR` of a prong: the shares, and the differences to those of pT and at random."""
    rows, pt = [], subject.jets["pt"]
    columns = {
        "attribution": shares["attribution"],
        "pT": shares["pT"],
        "random": shares["random"],
        "attribution - pT": shares["attribution"] - shares["pT"],
        "attribution - random": shares["attribution"] - shares["random"],
    }
    known = subject.is_signal & np.isfinite(shares["attribution"])
    for low, high in pairwise(PT_EDGES):
        inside = known & (pt >= low) & (pt < high)
        for words, values in columns.items():
            of_bin = values[inside]
            quantity = f"within {NEAR} of a prong: {words}"
            rows.append(row(quantity, mean_of(of_bin), len(of_bin), "signal", f"{low:g}-{high:g}"))
    return rows


def class_images(
    subject: Subject, found: Explained, half: float, bins: int
) -> dict[str, np.ndarray]:
    """The mean attribution (3, bins, bins) to jets of each class, see `mean_images`."""
    weight = subject.weight[found.rows]
    deposits = subject.deposits(found)
    return {
        of: mean_images(deposits.take(chosen), weight[chosen], half, bins)
        for label, of in enumerate(CLASSES)
        for chosen in [subject.is_signal == label]
    }


def profiles(subject: Subject, explained: Mapping[str, Explained]) -> Rows:
    """Shares of |attribution| by each baseline, and of pT, against Delta R from the jet axis and
    from the nearest prong."""
    found = {name: subject.deposits(one) for name, one in explained.items()}
    some = next(iter(found.values()))
    weights = {name: deposits.size for name, deposits in found.items()} | {"pT": some.pt}
    axis, prong = np.hypot(some.x, some.y), distance_to_prongs(some, subject.prongs())
    panels = {f"{of}, jet axis": (subject.is_signal == i, axis) for i, of in enumerate(CLASSES)}
    if (known := np.isfinite(prong).any(axis=1)).any():
        panels["signal, nearest prong"] = known, prong
    return [
        {"panel": panel, "baseline": name, "delta_r": float(middle), **ends(number)}
        for panel, (chosen, distance) in panels.items()
        for name, weight in weights.items()
        for middle, number in zip(
            (EDGES[1:] + EDGES[:-1]) / 2, profile(weight[chosen], distance[chosen], EDGES),
            strict=True,
        )
    ]  # fmt: skip


def removal(
    subject: Subject, explained: Mapping[str, Explained], fill: Baseline
) -> tuple[Rows, Rows]:
    """Curves of the logit without what is most important, by each baseline and at random; and the
    areas between them and random removal, of each class.

    Returns:
        Rows of `baseline`, `class`, `fraction`, `value`, `low`, `high`; and rows of `area`.
    """
    sign, points, areas = np.where(subject.is_signal, 1.0, -1.0), [], []
    device, at_once = subject.inputs.device, subject.inputs.at_once
    some = next(iter(explained.values()))
    orders: dict[str, np.ndarray | None] = {"random": None}
    orders |= {name: units(found)[1] for name, found in explained.items()}
    curves = {
        name: curve(subject.network, some, sign, importance, fill, device, at_once)
        for name, importance in orders.items()
    }
    for name, values in curves.items():
        for label, of in enumerate(CLASSES):
            of_class = subject.is_signal == label
            for fraction, column in zip(FRACTIONS, values[of_class].T, strict=True):
                points.append(
                    {"baseline": name, "class": of, "fraction": fraction, **ends(mean_of(column))}
                )
            if name != "random":
                gain = mean_of(area(values, curves["random"])[of_class])
                areas.append({"baseline": name, **row("area", gain, of_class.sum(), of)})
    return points, areas


def printed(rows: Rows) -> Rows:
    """One line a quantity that has an error, class and range of pT, one column a baseline."""

    def line(row: Mapping[str, object]) -> dict[str, str]:
        return {name: str(row[name]) for name in ("quantity", "class", "pT [GeV]")}

    known = [row for row in rows if row["n"] > 1]
    return pivot(known, line, lambda row: {row["baseline"]: cell(row)})
