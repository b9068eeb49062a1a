"""Attributions of many jets or events, averaged over the draws of their baseline, in parts."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from attribution.baselines import Baseline, fetched
from attribution.integrated_gradients import integrated_gradients
from command import InputError
from jets import hdf5
from training.inputs import Inputs

GAP_MAX = 0.01  # completeness error that is accepted
STEPS_MAX = 1_024  # nodes of the integral, where fewer miss more than that
PART = 64  # rows that are written at a time
REMEDY = "run explain.py again"


@dataclass(frozen=True)
class Explained:
    """Attributions of n jets or events.

    Attributes:
        rows: (n,) which of the inputs they are.
        inputs: name -> (n, ...) float32, as the network sees them; what it has masks for is
            filled with zeros to as many places as the longest has.
        values: name -> (n, ...) float32, of those that are attributed to: means over the draws.
        end, start: (n,) the output, and its mean over the baselines.
    """

    rows: np.ndarray
    inputs: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    end: np.ndarray
    start: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def gap(self) -> np.ndarray:
        """By how much (n,) the attributions miss `end - start`."""
        total = sum(x.reshape(len(x), -1).sum(axis=1, dtype=float) for x in self.values.values())
        return np.abs(total - (self.end - self.start))

    @property
    def completeness_error(self) -> float:
        """The mean gap over the mean change of the output."""
        change = np.abs(self.end - self.start).mean()
        return float(self.gap.mean() / max(change, np.finfo(float).tiny))

    def require_complete(self, title: str) -> None:
        """Refuse a `completeness_error` above `GAP_MAX`."""
        if not np.isfinite(self.gap).all():
            raise InputError(
                f"{title}: an attribution is no finite number; the network has no slope somewhere "
                "between the baseline and what is explained"
            )
        if self.completeness_error > GAP_MAX:
            raise InputError(
                f"{title}: the attributions miss the change of the output by "
                f"{self.completeness_error:.2%}, expected at most {GAP_MAX:.0%}, with up to "
                f"{STEPS_MAX:,} nodes; the output jumps, or hardly changes"
            )

    def take(self, rows: np.ndarray) -> "Explained":
        """Those of a mask (n,) or of numbers."""
        return Explained(
            **{
                name: {key: x[rows] for key, x in found.items()}
                if isinstance(found, dict)
                else found[rows]
                for name, found in vars(self).items()
            }
        )


def explain(
    network: nn.Module,
    inputs: Inputs,
    rows: np.ndarray,
    baseline: Baseline,
    steps: int,
    output: str,
    title: str,
    folder: Path | None = None,
) -> Explained:
    """Attributions of rows (n,), of which `PART` at a time are written into a folder, if there is
    one: what lies there is not computed again.

    Args:
        steps: nodes of the integral. Rows whose attributions miss more than `GAP_MAX` of the mean
            change of their part get twice as many, and so on up to `STEPS_MAX`.
    """
    network.eval().requires_grad_(False)
    numbers, parts = np.arange(len(rows)), []
    with tqdm(
        total=len(rows), desc=title, unit=f" {inputs.unit}", disable=None, leave=False
    ) as progress:
        for first in range(0, len(rows), PART):
            path, chosen = folder and folder / f"{first:06d}.h5", numbers[first : first + PART]
            if path and path.is_file():
                found = read_explained(path)
            else:
                found = _part(network, inputs, rows, chosen, baseline, steps, output)
                if path:
                    write_explained(path, found)
            parts.append(found)
            progress.update(len(chosen))
    return joined(parts)


def _part(
    network: nn.Module, inputs: Inputs, rows: np.ndarray, numbers: np.ndarray, baseline: Baseline,
    steps: int, output: str,
) -> Explained:  # fmt: skip
    """Some of the rows, by their numbers (m,), with as many nodes as they need."""
    found = at_steps(network, inputs, rows, numbers, baseline, steps, output)
    while steps < STEPS_MAX:
        accepted = GAP_MAX * np.abs(found.end - found.start).mean()
        if not (bad := found.gap > accepted).any():
            break
        steps *= 2
        again = at_steps(network, inputs, rows, numbers[bad], baseline, steps, output)
        order = np.argsort(np.concatenate([np.flatnonzero(~bad), np.flatnonzero(bad)]))
        found = joined([found.take(~bad), again]).take(order)
    return found


def at_steps(
    network: nn.Module, inputs: Inputs, rows: np.ndarray, numbers: np.ndarray, baseline: Baseline,
    steps: int, output: str,
) -> Explained:  # fmt: skip
    """Attributions of some of the rows, by their numbers (m,), with this number of nodes.

    In batches with as many rows times nodes as inputs are scored at once; where that does not fit
    the memory of a GPU, half as many, and so on.
    """
    parts, at_once = [], inputs.at_once
    while len(numbers):
        some = numbers[: max(at_once // steps, 1)]
        try:
            parts.append(_mean(network, inputs, rows, some, baseline, steps, output, at_once))
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
            at_once //= 2
        else:
            numbers = numbers[len(some) :]
    return joined(parts)


def _mean(
    network: nn.Module, inputs: Inputs, rows: np.ndarray, numbers: np.ndarray, baseline: Baseline,
    steps: int, output: str, at_once: int,
) -> Explained:  # fmt: skip
    """One batch: the means over the draws."""
    x, sums, start = fetched(inputs, rows[numbers]), {}, 0.0
    for draw in range(baseline.draws):
        found = integrated_gradients(
            network, x, baseline.at(x, numbers, draw), steps, output, at_once
        )
        for name, value in found.values.items():
            sums[name] = sums.get(name, 0) + value / baseline.draws
        start = start + found.start / baseline.draws
    made = {"inputs": x, "values": sums}
    ends = {"end": found.end, "start": start}
    return Explained(
        rows=rows[numbers],
        **{key: {n: t.cpu().numpy() for n, t in one.items()} for key, one in made.items()},
        **{key: one.cpu().numpy().astype(float) for key, one in ends.items()},
    )


def joined(parts: Sequence[Explained]) -> Explained:
    """All of several, one after the other."""

    def stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
        if arrays[0].ndim > 1 and len({x.shape[1] for x in arrays}) > 1:  # places of particles
            most = max(x.shape[1] for x in arrays)
            pads = [[(0, 0), (0, most - x.shape[1]), *[(0, 0)] * (x.ndim - 2)] for x in arrays]
            arrays = [np.pad(x, pad) for x, pad in zip(arrays, pads, strict=True)]
        return np.concatenate(arrays)

    def of(name: str) -> np.ndarray | dict[str, np.ndarray]:
        found = [getattr(part, name) for part in parts]
        if isinstance(found[0], dict):
            return {key: stacked([one[key] for one in found]) for key in found[0]}
        return np.concatenate(found)

    return Explained(**{field.name: of(field.name) for field in dataclasses.fields(Explained)})


# --- On disk --------------------------------------------------------------------------------------


def write_explained(path: Path, found: Explained) -> None:
    """Write them, atomically."""
    with hdf5.written(path) as file:
        for name, column in vars(found).items():
            columns = column if isinstance(column, dict) else {"": column}
            for key, array in columns.items():
                stored = {"compression": "lzf", "shuffle": True} if array.ndim > 1 else {}
                file.create_dataset(f"{name}/{key}".strip("/"), data=array, **stored)


def read_explained(path: Path) -> Explained:
    """Read them; InputError if the file is missing or damaged."""
    with hdf5.opened(path, REMEDY) as file:
        made = {}
        for field in dataclasses.fields(Explained):
            found = file[field.name]
            keys = list(found) if hasattr(found, "keys") else None
            made[field.name] = {key: found[key][()] for key in keys} if keys else found[()]
        for name, values in made["values"].items():
            hdf5.require(path, f"values/{name}", values, np.isfinite(values), "a number", REMEDY)
        return Explained(**made)
