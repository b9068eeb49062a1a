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
    logits: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    event: np.ndarray,
    study: Study,
    spectator: np.ndarray | None = None,
) -> dict[str, Estimate]:
    """The study's loss, accuracy, AUC and max SIC; errors from a bootstrap over events.

    Max SIC is NaN where no cut leaves the background that the study asks for.

    Args:
        logits: (n, 2) of background and signal.
        label: (n,) 1 for signal.
        weight: (n,) above 0.
        event: (n,) the jets of one event are resampled together.
        spectator: (n,) what the loss sees besides, if anything.

    >>> study = Study("example").changed(figures={"background_jets_min": 1})
    >>> logits = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 0.5], [0.0, 3.0]])
    >>> metrics = evaluate(logits, np.array([0, 1, 0, 1]), np.ones(4), np.arange(4), study)
    >>> {name: round(metric.value, 3) for name, metric in metrics.items()}
    {'loss': 0.616, 'accuracy': 0.5, 'auc': 0.75, 'max_sic': 1.414}
    """
    logits, bootstraps = logits.astype(float), study.figures.bootstraps
    score = logits[:, 1] - logits[:, 0]
    is_right = np.where(label == 1, score, -score) > 0
    loss, truth = loss_named(study.training.loss), torch.from_numpy(label.astype(np.int64))
    seen = None if spectator is None else torch.from_numpy(spectator)

    def mean_loss(weight: np.ndarray) -> float:
        relative = torch.from_numpy(weight / weight.mean())
        return float(loss(torch.from_numpy(logits), truth, relative, seen))

    def estimated(measured: Callable[[np.ndarray], float]) -> Estimate:
        """What is measured with weights (n,) of the jets."""
        counts = poisson_counts(event.astype(np.int64), bootstraps, seed=0)
        resampled = [measured(n * weight) for n in counts if n.any()]
        return Estimate(measured(weight), float(np.std(resampled, ddof=1)))

    classes = [Scores(*(c[label == value] for c in (score, event, weight))) for value in (1, 0)]
    return {
        "loss": estimated(mean_loss),
        "accuracy": estimated(lambda weight: float(np.average(is_right, weights=weight))),
        "auc": auc(*classes, bootstraps=bootstraps),
        "max_sic": max_sic(
            *classes,
            signal_efficiency_min=study.figures.signal_efficiency_min,
            background_min=study.figures.background_jets_min,
            bootstraps=bootstraps,
        ),
    }
