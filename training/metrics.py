"""What is measured on the validation jets after each epoch, with errors."""

from collections.abc import Callable

import numpy as np
import torch

from sensitivity.auc import auc
from sensitivity.binned import binned_significance, equal_signal_bins
from sensitivity.bootstrap import Estimate, Scores, poisson_counts
from sensitivity.sic import max_sic
from study import Study
from training.inputs import Sample
from training.losses import distance_correlation, loss_of

DECORRELATED_BOOTSTRAPS = 10  # the error of a loss with a distance correlation: to a quarter


def evaluate(
    logits: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    event: np.ndarray,
    study: Study,
    spectator: np.ndarray | None = None,
) -> dict[str, Estimate]:
    """The study's loss, accuracy, AUC and max SIC; errors from a bootstrap over events.

    Max SIC is NaN where no cut leaves the background that the study asks for. The loss is that of
    all at once, also where it is no mean over jets. A distance correlation takes long (0.1 s for
    10,000 jets), so the error of a loss with one is that of `DECORRELATED_BOOTSTRAPS` resamplings.

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
    loss, truth = loss_of(study.training), torch.from_numpy(label.astype(np.int64))
    seen = None if spectator is None else torch.from_numpy(spectator)

    def mean_loss(weight: np.ndarray) -> float:
        relative = torch.from_numpy(weight / weight.mean())
        return float(loss(torch.from_numpy(logits), truth, relative, seen))

    def estimated(
        measured: Callable[[np.ndarray], float], bootstraps: int = bootstraps
    ) -> Estimate:
        """What is measured with weights (n,) of the jets."""
        counts = poisson_counts(event.astype(np.int64), bootstraps, seed=0)
        resampled = [measured(n * weight) for n in counts if n.any()]
        return Estimate(measured(weight), float(np.std(resampled, ddof=1)))

    few = min(bootstraps, DECORRELATED_BOOTSTRAPS)
    classes = [Scores(*(c[label == value] for c in (score, event, weight))) for value in (1, 0)]
    return {
        "loss": estimated(mean_loss, few if study.training.decorrelation else bootstraps),
        "accuracy": estimated(lambda weight: float(np.average(is_right, weights=weight))),
        "auc": auc(*classes, bootstraps=bootstraps),
        "max_sic": max_sic(
            *classes,
            signal_efficiency_min=study.figures.signal_efficiency_min,
            background_min=study.figures.background_jets_min,
            bootstraps=bootstraps,
        ),
    }


def distance_correlation_of(
    score: np.ndarray, spectator: np.ndarray, weight: np.ndarray, event: np.ndarray
) -> Estimate:
    """Squared distance correlation of a score with a spectator, of events (n,) and their weights.

    Of negative weights it is not defined: such events are left out. The error is that of
    `DECORRELATED_BOOTSTRAPS` resamplings.
    """
    weight = np.maximum(weight, 0)
    x, y = (torch.from_numpy(column.astype(float)) for column in (spectator, score))

    def measured(weight: np.ndarray) -> float:
        return float(distance_correlation(x, y, torch.from_numpy(weight.astype(float))))

    counts = poisson_counts(event.astype(np.int64), DECORRELATED_BOOTSTRAPS, seed=0)
    resampled = [measured(n * weight) for n in counts]
    return Estimate(measured(weight), float(np.std(resampled, ddof=1)))


def expected_significance(
    samples: tuple[Sample, Sample], logits: tuple[np.ndarray, np.ndarray], study: Study
) -> Estimate:
    """The significance of the second sample in bins of equal signal of the first.

    Where the study names a spectator, it is counted in windows of it (see `sensitivity.binned`).

    Args:
        samples: training and validation.
        logits: (n, 2) of all rows of each.
    """
    of_signal, of_background = [], []
    for sample, of_sample in zip(samples, logits, strict=True):
        score = of_sample[:, 1].astype(float) - of_sample[:, 0]
        label, event = sample.label.cpu().numpy(), sample.inputs.table["event"]
        weight = sample.weight.cpu().numpy() if sample.expected is None else sample.expected
        mass = None if sample.spectator is None else sample.spectator.cpu().numpy()
        for of_class, value in ((of_signal, 1), (of_background, 0)):
            rows = label == value
            scores = Scores(score[rows], event[rows], weight[rows])
            of_class.append((scores, None if mass is None else mass[rows]))
    (known, known_mass), (signal, signal_mass) = of_signal
    background, background_mass = of_background[1]
    bins = equal_signal_bins(known.score, known.weight, known_mass)
    masses = signal_mass, background_mass
    bootstraps = study.figures.bootstraps
    return binned_significance(signal, background, bins, masses, bootstraps=bootstraps)
