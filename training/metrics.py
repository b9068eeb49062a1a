"""What is measured on the validation jets after each epoch, with errors."""

from collections.abc import Callable

import numpy as np
import torch

from sensitivity.auc import auc
from sensitivity.bootstrap import Estimate, Scores, poisson_counts
from sensitivity.sic import max_sic
from study import Study
from training.losses import loss_named


def evaluate(
    logits: np.ndarray, label: np.ndarray, weight: np.ndarray, event: np.ndarray, study: Study
) -> dict[str, Estimate]:
    """The study's loss, accuracy, AUC and max SIC; errors from a bootstrap over events.

    Max SIC is NaN where no cut leaves the background jets that the study asks for.

    Args:
        logits: (n, 2) of background and signal.
        label: (n,) 1 for signal.
        weight: (n,) above 0.
        event: (n,) the jets of one event are resampled together.
        study: states the loss, the cuts considered for max SIC and the number of resamplings.

    Example:
        >>> study = Study("example").changed(figures={"background_jets_min": 1})
        >>> logits = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 0.5], [0.0, 3.0]])
        >>> metrics = evaluate(logits, np.array([0, 1, 0, 1]), np.ones(4), np.arange(4), study)
        >>> {name: round(metric.value, 3) for name, metric in metrics.items()}
        {'loss': 0.616, 'accuracy': 0.5, 'auc': 0.75, 'max_sic': 1.414}
    """
    logits, score = logits.astype(float), logits[:, 1].astype(float) - logits[:, 0]
    is_right = np.where(label == 1, score, -score) > 0
    loss, truth = loss_named(study.training.loss), torch.from_numpy(label.astype(np.int64))

    def mean_loss(weight: np.ndarray) -> float:
        relative = torch.from_numpy(weight / weight.mean())
        return float(loss(torch.from_numpy(logits), truth, relative, None))

    def accuracy(weight: np.ndarray) -> float:
        return float(np.average(is_right, weights=weight))

    classes = [Scores(*(c[label == value] for c in (score, event, weight))) for value in (1, 0)]
    return {
        "loss": _estimated(mean_loss, weight, event, study.figures.bootstraps),
        "accuracy": _estimated(accuracy, weight, event, study.figures.bootstraps),
        "auc": auc(*classes, bootstraps=study.figures.bootstraps),
        "max_sic": max_sic(
            *classes,
            signal_efficiency_min=study.figures.signal_efficiency_min,
            background_min=study.figures.background_jets_min,
            bootstraps=study.figures.bootstraps,
        ),
    }


def _estimated(
    measured: Callable[[np.ndarray], float], weight: np.ndarray, event: np.ndarray, bootstraps: int
) -> Estimate:
    """What is measured with these weights (n,) of jets, and its standard error."""
    counts = poisson_counts(event.astype(np.int64), bootstraps, seed=0)
    resampled = [measured(n * weight) for n in counts if n.any()]
    return Estimate(measured(weight), float(np.std(resampled, ddof=1)))
