"""What is measured on the validation jets after each epoch, with errors."""

import numpy as np

from sensitivity.auc import auc
from sensitivity.bootstrap import Estimate, Scores, poisson_counts
from sensitivity.sic import max_sic
from study import Study


def evaluate(
    logits: np.ndarray, label: np.ndarray, weight: np.ndarray, event: np.ndarray, study: Study
) -> dict[str, Estimate]:
    """Cross entropy, accuracy, AUC and max SIC; errors from a bootstrap over events.

    Max SIC is NaN where no cut leaves the background jets that the study asks for.

    Args:
        logits: (n, 2) of background and signal.
        label: (n,) 1 for signal.
        weight: (n,) above 0.
        event: (n,) the jets of one event are resampled together.
        study: states the cuts considered for max SIC and the number of resamplings.

    Example:
        >>> study = Study("example").changed(figures={"background_jets_min": 1})
        >>> logits = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 0.5], [0.0, 3.0]])
        >>> metrics = evaluate(logits, np.array([0, 1, 0, 1]), np.ones(4), np.arange(4), study)
        >>> {name: round(metric.value, 3) for name, metric in metrics.items()}
        {'loss': 0.616, 'accuracy': 0.5, 'auc': 0.75, 'max_sic': 1.414}
    """
    score = logits[:, 1].astype(float) - logits[:, 0]
    # -log softmax of the true class: log(1 + exp(-margin)).
    margin = np.where(label == 1, score, -score)
    loss, loss_error = _mean(np.logaddexp(0.0, -margin), weight, event, study.figures.bootstraps)
    accuracy, accuracy_error = _mean(margin > 0, weight, event, study.figures.bootstraps)
    classes = [Scores(*(c[label == value] for c in (score, event, weight))) for value in (1, 0)]
    return {
        "loss": Estimate(loss, loss_error),
        "accuracy": Estimate(accuracy, accuracy_error),
        "auc": auc(*classes, bootstraps=study.figures.bootstraps),
        "max_sic": max_sic(
            *classes,
            signal_efficiency_min=study.figures.signal_efficiency_min,
            background_min=study.figures.background_jets_min,
            bootstraps=study.figures.bootstraps,
        ),
    }


def _mean(
    value: np.ndarray, weight: np.ndarray, event: np.ndarray, bootstraps: int
) -> tuple[float, float]:
    """The weighted mean over jets and its standard error."""
    counts = poisson_counts(event.astype(np.int64), bootstraps, seed=0)
    resampled = [np.average(value, weights=n * weight) for n in counts if n.any()]
    return float(np.average(value, weights=weight)), float(np.std(resampled, ddof=1))
