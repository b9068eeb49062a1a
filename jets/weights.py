"""Training weights: of events, of equal spectra, of balanced classes. No result contains them.

A jet has the weight of its event relative to the mean of its mass point or of the background
(`jets.split.relative_weights`): a mass point counts as its jets were drawn, and slices of the
background count as they are expected. Then, if a study asks for it, both classes get the same
spectrum of `equalise_in`, so that a network gains nothing from that spectrum alone:

    equalise = "signal"   the background gets the signal's spectrum. weaver: `reweight_method: ref`
                          with the signal as first of `reweight_classes`. UPP (ATLAS): resampling,
                          `method: pdf` or `countup`, or `reweighting` with `class_target` signal.
    equalise = "flat"     both spectra become flat. weaver: `reweight_method: flat`.

As there, a factor is a ratio of histograms of the training split, with their weights; validation
jets have the same factors, and jets that are tested have none. By default weights multiply losses,
and each class has its share of the jets; `drawn` instead draws jets with them, as weaver and UPP's
resampling do, as many of each class (see `draws`). Unlike there, no weight is clipped (weaver:
`reweight_threshold`), and both classes are left out of bins where one of them is missing: else
their spectra would differ.

A study that trains `by_cross_section` balances nothing: all jets count as their events are expected
(`expected_events`), a rare signal beside all of the background.
"""

from collections.abc import Callable, Sequence

import numpy as np

from command import InputError
from jets.packed import EventTable
from jets.preparation import may_train
from jets.split import (
    HELD_OUT,
    is_background,
    is_signal,
    is_variation,
    population,
    relative_weights,
)
from physics import JETS_MIN
from processes import PROCESSES
from study import Study

BINS = {1: 20, 2: 10}  # of each of one or of two variables, of equal widths
RANGE = (0.01, 0.99)  # quantiles of the training jets; those beyond count in the outermost bins
CLASSES, USES = ("background", "signal"), ("to train on", "to validate with")


def training_weights(
    tables: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
    study: Study,
) -> tuple[list[np.ndarray], list[str]]:
    """Weights of the losses of training and validation jets; all exactly 1 where nothing is asked.

    Args:
        tables: structured, with the columns that `equalise_in` names, of the training split, and
            of the validation split if that is wanted.
        labels: 1 for signal, of each split.
        weights: of the events, of each split, see `event_weights`.

    Returns:
        The weights of each split, see `balanced`, and sentences on what was left out or changed.
        Trained `by_cross_section`, classes keep the ratio of the weights given.

    Raises:
        InputError: negative weights that the study refuses, a class whose weights do not add up
            to more than 0, or settings that exclude each other.
    """
    asked, n, remarks = study.training, sum(map(len, weights)), []
    counts = [None] * len(weights)
    if asked.by_cross_section:
        if asked.equalise != "none" or asked.drawn:
            setting = "drawn is true" if asked.drawn else f"equalise is {asked.equalise!r}"
            raise InputError(
                f"study {study.name!r}: training.{setting}, which changes how often events are "
                "expected; leave it out or set training.by_cross_section to false"
            )
        counts = [np.bincount(label, w) for label, w in zip(labels, weights, strict=True)]
    _require_classes(weights, labels, study, "add events to the sample and run setup.py again")
    if negative := sum(np.count_nonzero(weight < 0) for weight in weights):
        found = f"{negative} of {n} weights to train and to validate with are negative"
        if asked.negative_weights == "refuse":
            raise InputError(
                f"study {study.name!r}: {found}; set training.negative_weights to 'leave out' or "
                "to 'absolute', which takes |w|"
            )
        remarks.append(f"{found}: {asked.negative_weights}")
        takes_absolute = asked.negative_weights == "absolute"
        weights = [np.abs(w) if takes_absolute else np.maximum(w, 0) for w in weights]
    if asked.equalise != "none":
        values = [np.stack([t[name] for name in asked.equalise_in], axis=1) for t in tables]
        factors = equalising(values[0], labels[0], weights[0], asked.equalise)
        given = sum(map(np.count_nonzero, weights))
        weights = [
            w * factors(*of_jets) for w, *of_jets in zip(weights, values, labels, strict=True)
        ]
        left_out = given - sum(map(np.count_nonzero, weights))
        remarks.append(
            f"equal spectra in {' and '.join(asked.equalise_in)}: {left_out} of {n} are left out, "
            "in bins where a class has no training jet"
        )
        _require_classes(weights, labels, study, "equalise in fewer variables")
    return list(map(balanced, weights, labels, counts)), remarks


def balanced(weight: np.ndarray, label: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Weights (n,), 0 or more, scaled so that each class (label 1: signal) counts in proportion to
    `counts` (2,), by default as many jets as it has; the mean of those that are not 0 is 1.

    >>> balanced(np.array([1.0, 3.0, 7.0, 0.0]), np.array([0, 0, 1, 1]))
    array([0.375, 1.125, 1.5  , 0.   ])
    """
    counts = np.bincount(label) if counts is None else counts
    used = np.count_nonzero(weight) / counts.sum()
    return weight * (counts / np.bincount(label, weight) * used)[label]


def event_weights(
    tables: Sequence[np.ndarray], table: EventTable, study: Study
) -> list[np.ndarray]:
    """The weights of the events of jets, as `training_weights` takes them: relative or expected.

    Args:
        tables: structured, with `event`, of each split.
        table: all events of the study.

    Raises:
        InputError: as `expected_events`, or weights that do not add up to more than 0.
    """
    if study.training.by_cross_section:
        return expected_events(tables, table, study)
    relative = relative_weights(table.events)
    return [relative[of_split["event"]] for of_split in tables]


def expected_events(
    tables: Sequence[np.ndarray], table: EventTable, study: Study
) -> list[np.ndarray]:
    """How many events of `physics.LUMINOSITY` the jets of each split stand for.

    The jets of the background stand together for all its expected, fully selected events. Mass
    points are alternatives, so the jets of each stand for its expected events over the number of
    mass points: all together are the mean signal. That holds whatever share of the jets was drawn.
    Held-out events decide nothing: the expectation is that of the others over their share.

    Args:
        tables, table: as in `event_weights`.

    Raises:
        InputError: events without weights, or as `expected_yields`.
    """
    number, relative = population(table.events), relative_weights(table.events)
    if not is_weighted(table.events):
        raise InputError(
            f"{study.data_dir / 'events.h5'}: all events of a class have the weight 1, expected "
            "cross section x luminosity / events; simulate the sample again, or set "
            "training.by_cross_section to false"
        )
    expected, found = expected_yields(table, study), []
    for of_split in tables:
        event = of_split["event"]
        sums = np.bincount(number[event], relative[event], minlength=len(expected))
        share = np.divide(expected, sums, out=np.zeros(len(sums)), where=sums > 0)
        found.append(relative[event] * share[number[event]])
    return found


def is_weighted(events: np.ndarray) -> bool:
    """Whether the weights of both classes say how many events are expected."""
    of_classes = [events["weight"][is_class(events)] for is_class in (is_background, is_signal)]
    return all((weight != 1).any() for weight in of_classes)


def expected_yields(table: EventTable, study: Study, of_held_out: bool = False) -> np.ndarray:
    """Expected, fully selected events of each `population` (see `expected_events`), those of a mass
    point over the number of mass points; 0 of variations, and of jets without selection.

    Args:
        of_held_out: from the held-out events, for what is trained on them; else from the others.

    Raises:
        InputError: a study without such events.
    """
    events, share = table.events, study.images.split[HELD_OUT]
    chosen, which = (events["split"] == HELD_OUT) & ~is_variation(events), "held out"
    if not of_held_out:
        chosen, share, which = may_train(table, study), 1 - share, "to train on"
    if not share > 0:
        raise InputError(
            f"study {study.name!r}: images.split is {list(study.images.split)}, so no selected "
            f"event is {which}, and how many are expected is unknown; give both a share, or leave "
            "out losses and choices of the epoch that take expected events"
        )
    unselected = [process.number for process in PROCESSES.values() if process.for_training]
    counted = chosen & (events["n_jets"] >= JETS_MIN) & ~np.isin(events["process"], unselected)
    number = population(events)
    yields = np.maximum(np.bincount(number, events["weight"] * counted), 0) / share
    points = np.unique(number[is_signal(events)])
    yields[points] /= max(np.count_nonzero(yields[points]), 1)
    return yields


def draws(weight: np.ndarray, label: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The jets of an epoch, in random order: of each class as many as the smaller one has.

    Systematic sampling: a jet is drawn as often as it weighs, to within one.

    Args:
        weight: (n,) 0 or more; 0 is never drawn.
        label: (n,) 0 or 1.
    """
    classes = [np.flatnonzero((weight > 0) & (label == value)) for value in (0, 1)]
    n = min(map(len, classes))
    drawn = []
    for rows in classes:
        sums = np.cumsum(weight[rows])
        at = (np.arange(n) + generator.random()) * (sums[-1] / n)
        drawn.append(rows[np.minimum(np.searchsorted(sums, at, "right"), len(rows) - 1)])
    return generator.permutation(np.concatenate(drawn))


def equalising(
    values: np.ndarray, label: np.ndarray, weight: np.ndarray, method: str
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Factors that make the spectra of both classes equal ("signal") or flat ("flat").

    Args:
        values: (n, d) of one or two variables.
        label: (n,) 1 for signal.
        weight: (n,) 0 or more.

    Returns:
        A function of values (m, d) and labels (m,), of these jets or others, to the factors (m,);
        0 in bins where a class has no weight, for spectra cannot be equal there.

    >>> pt, label = np.array([[1.0], [1], [2], [1], [2], [2]]), np.array([0, 0, 0, 1, 1, 1])
    >>> equalising(pt, label, np.ones(6), "signal")(pt, label)
    array([0.5, 0.5, 2. , 1. , 1. , 1. ])
    """
    bins = BINS[values.shape[1]]
    ends = np.quantile(values, RANGE, axis=0).T
    edges = [np.linspace(low, high, bins + 1)[1:-1] for low, high in ends]

    def bin_of(values: np.ndarray) -> np.ndarray:
        places = [np.searchsorted(e, v, "right") for e, v in zip(edges, values.T, strict=True)]
        return np.ravel_multi_index(places, [bins] * len(edges))

    shape = (2, bins ** len(edges))
    place = np.ravel_multi_index((label, bin_of(values)), shape)
    sums = np.bincount(place, weight, minlength=np.prod(shape)).reshape(shape)
    target = (sums[1] if method == "signal" else 1.0) * (sums > 0).all(axis=0)
    factor = np.divide(target, sums, out=np.zeros(shape), where=sums > 0)
    return lambda values, label: factor[label, bin_of(values)]


def _require_classes(
    weights: Sequence[np.ndarray], labels: Sequence[np.ndarray], study: Study, remedy: str
) -> None:
    for weight, label, use in zip(weights, labels, USES, strict=False):
        for value, name in enumerate(CLASSES):
            if not (total := weight[label == value].sum()) > 0:
                raise InputError(
                    f"study {study.name!r}: the weights of {np.count_nonzero(label == value)} "
                    f"{name} jets {use} add up to {total:g}, expected more than 0; {remedy}"
                )
