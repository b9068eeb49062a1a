"""How the networks were trained: the loss of every epoch, in training and validation."""

from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from command import InputError
from evaluation.results import Results
from figures import style
from jets.classifier import Classifier
from products import read_csv
from study import CHOOSE_BY


def histories(results: Results) -> dict[Classifier, Path]:
    """The history of every training whose scores are there, if it is kept."""
    models, names = results.study.data_dir / "models", results.scores.repeats
    paths = {one: models / one.dataset.replace("/", "_") / "history.csv" for one in names}
    return {training: path for training, path in paths.items() if path.is_file()}


def training_curves(results: Results) -> style.Drawing:
    """Loss by epoch, of every seed, one column per jet definition; the best epoch is marked.

    The best epoch, whose weights are used, is the one that the study's `training.choose_by` says.

    Raises:
        InputError: a history that train.py did not write.
    """
    definitions = list(results.scores.jets)
    figure, axes = style.panels(len(definitions), height=2.5, sharey=True)
    panel = dict(zip(definitions, axes, strict=True))
    points = []
    for training, path in histories(results).items():
        (definition,), (network,), seed = training.jet_definitions, training.networks, training.seed
        epoch, of_training, validation, error, merit = _history(
            path, results.study.training.choose_by
        )
        axis, look = panel[definition], style.look(training)
        best = merit.argmax()
        alpha = 1 if seed == results.study.classifiers.seeds[0] else 0.35
        line = {"color": look["color"], "linewidth": 0.8, "alpha": alpha}
        axis.plot(epoch, of_training, linestyle=":", marker=".", markersize=2, **line)
        axis.errorbar(epoch, validation, error, **line)
        label = network if alpha == 1 else None
        look |= {"linestyle": "-", "alpha": alpha}
        axis.plot(epoch[best], validation[best], **look, label=label)
        points += style.rows(
            {
                "jet_definition": definition, "network": network, "seed": seed,
                "epoch": epoch.astype(int), "training_loss": of_training,
                "validation_loss": validation, "validation_loss_error": error,
                "is_best": np.arange(len(epoch)) == best,
            }
        )  # fmt: skip
    epochs = max(point["epoch"] for point in points)
    for definition, axis in panel.items():
        axis.set(title=definition, xlabel="epoch", xlim=(0.5, epochs + 0.5))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0].set_ylabel(f"loss ({results.study.training.loss})")
    style.legend(figure, axes)
    absent = [one.label for one in results.scores.repeats if one not in histories(results)]
    note = (
        "Full: validation, errors 68 %. Dotted: training, mean over the epoch. Symbols: the best "
        "epoch, whose weights are used."
    )
    if len(results.study.classifiers.seeds) > 1:
        note += f" Pale: other seeds than {results.study.classifiers.seeds[0]}."
    if absent:
        note += f"\nNot drawn, for want of a history: {', '.join(absent)}."
    style.heading(figure, note, results.study.beam_energy)
    return style.Drawing(figure, points, f"{len(histories(results))} trainings, {epochs} epochs")


def _history(path: Path, choose_by: str) -> np.ndarray:
    """Epochs, counted from 1, losses of training and of validation, its errors, and what is largest
    in the best epoch: (5, epochs)."""
    columns = ("epoch", "training_loss", "loss", "loss_error")
    try:
        rows = read_csv(path)
        history = np.array([[float(row[name]) for name in columns] for row in rows])
        column, sign = CHOOSE_BY[choose_by]
        merit = [sign * float(row[column]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a history that train.py wrote ({error!r})") from None
    if not len(history):
        raise InputError(f"{path}: holds no epoch, expected one row for each")
    return np.vstack([history.T + np.array([[1], [0], [0], [0]]), merit])
