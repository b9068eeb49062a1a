"""Training weights: a weight counts jets, spectra become equal, classes stay balanced."""

import dataclasses

import numpy as np
import pytest
import torch
from toy_jets import SIDE, make_events, packed, write_study

from command import InputError
from jets.packed import EVENT_DTYPE, JET_DTYPE, SAMPLE_DTYPE, EventTable, write_event_table
from jets.split import HELD_OUT, TRAIN, VALIDATION, relative_weights
from jets.weights import balanced, draws, equalising, event_weights, training_weights
from models import create_model
from processes import PROCESSES
from products import write_manifest
from sensitivity.auc import auc
from sensitivity.bootstrap import Scores
from study import Study, TrainingSettings
from training.inputs import make_sample, read_samples
from training.jet_images import JetImages
from training.losses import LOSSES, loss_of
from training.metrics import evaluate
from training.plan import Training

CPU = torch.device("cpu")
TOY = Study("toy").changed(figures={"background_jets_min": 1})
N = 4000


def table(n: int = N, seed: int = 0) -> np.ndarray:
    """Jets whose pT and mass tell their class: signal is harder and heavier."""
    random = np.random.default_rng(seed)
    jets = np.zeros(n, [("label", "u1"), ("pt", "f4"), ("mass", "f4")])
    jets["label"] = random.random(n) < 0.4
    jets["pt"] = 200 + random.exponential(150 + 100 * jets["label"])
    jets["mass"] = jets["pt"] * random.uniform(0.1, 0.4 + 0.1 * jets["label"])
    return jets


JETS = table(), table(seed=1)


def weighted(study: Study, *given: np.ndarray, jets=JETS):
    """The training weights of both splits, and what is said of them."""
    given = given or [np.ones(len(some)) for some in jets]
    return training_weights(jets, [some["label"] for some in jets], given, study)


# --- A weight counts jets -----------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_weight_2_is_a_jet_twice(loss):
    """One gradient, in float64, and every figure of merit of validation."""
    images = JetImages(packed(n_events=12), "sqrt", False, CPU)
    sample, every = make_sample(images), np.arange(len(images))
    weight = np.where(every % 3 == 1, 2.0, 1.0)
    gradients = []
    for rows, given in (
        (every, weight / weight.mean()),
        (np.repeat(every, weight.astype(int)), np.ones(len(images))),
    ):
        torch.manual_seed(0)
        network = create_model("ViT", SIDE, 0.125).double()
        batch = next(sample.batches(rows, np.array([len(rows)])))
        logits = network(**{name: column.double() for name, column in batch.inputs.items()})
        mean = LOSSES[loss](logits, batch.label, torch.from_numpy(given)[batch.rows], None)
        mean.backward()
        gradients.append([mean, *(parameter.grad for parameter in network.parameters())])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-14)

    random = np.random.default_rng(1)
    label, event, weight = random.integers(2, size=500), np.arange(500), random.integers(1, 4, 500)
    columns = random.normal(size=(500, 2)), label, np.ones(500), event
    copied = evaluate(*(np.repeat(column, weight, axis=0) for column in columns), TOY)
    for name, found in evaluate(*columns[:2], weight / 7, event, TOY).items():
        assert found.value == pytest.approx(copied[name].value, rel=1e-12)
        assert found.error == pytest.approx(copied[name].error, rel=1e-9)


def test_an_unknown_loss_is_one_sentence():
    with pytest.raises(InputError, match="loss is 'hinge', expected one of cross entropy"):
        loss_of(TrainingSettings(loss="hinge"))


# --- From events to jets ------------------------------------------------------------------------


def weighted_events(weight: np.ndarray) -> np.ndarray:
    """Two mass points and two files of background, in turn."""
    events = np.zeros(len(weight), EVENT_DTYPE)
    number = np.arange(len(weight)) % 4
    events["process"] = np.where(number < 2, PROCESSES["stop"].number, PROCESSES["ttbar"].number)
    events["m_stop"], events["index"] = np.where(number < 2, 700 + 100 * number, -1), number
    events["weight"] = weight
    return events


def test_a_mass_point_counts_as_its_events_and_the_background_as_a_whole():
    random = np.random.default_rng(0)
    weight = random.exponential(size=400) * np.tile([1e-3, 5.0, 1.0, 7.0], 100)
    events = weighted_events(weight)
    relative = relative_weights(events)
    number = events["index"]
    means = [relative[number == i].mean() for i in range(2)] + [relative[number >= 2].mean()]
    np.testing.assert_allclose(means, 1)
    background = number >= 2  # whose two files keep their ratio
    ratio = relative[background] / weight[background]
    np.testing.assert_allclose(ratio, ratio[0])
    equal = weighted_events(np.tile([0.1, 0.3, 0.7, 0.7], 333))
    assert (relative_weights(equal) == 1).all()
    with pytest.raises(InputError, match="the weights of 100 stop events"):
        relative_weights(weighted_events(weight - 0.1 * (number == 0)))


def write_weighted(weight: np.ndarray) -> None:
    """The toy study, whose events have these weights."""
    write_study(TOY, len(weight))
    events = make_events(len(weight))
    events["weight"] = weight
    path = TOY.data_dir / "events.h5"
    write_event_table(path, EventTable(events, None, np.zeros(0, SAMPLE_DTYPE), "collisions"))
    write_manifest(TOY.data_dir / "setup.json", TOY.settings("setup"), {}, [path])


def test_a_loss_sees_the_spectator_that_the_study_names(tmp_path, monkeypatch):
    """It adds the mean spectator to the loss, in training as in validation."""

    def shifted(logits, label, weight, spectator):
        return LOSSES["cross entropy"](logits, label, weight) + spectator.mean()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(LOSSES, "shifted", shifted)
    write_weighted(np.ones(200))
    study = TOY.changed(training={"spectator": "mass", "loss": "shifted"})
    samples, _ = read_samples(Training("AK14", "CNN"), study, CPU)
    for sample in samples:
        mass = sample.inputs.table["mass"].astype(np.float32)
        [batch] = sample.batches(np.arange(len(mass)), np.array([len(mass)]))
        np.testing.assert_array_equal(batch.spectator.numpy(), mass)
    event = np.arange(len(mass))
    columns = np.zeros((len(mass), 2)), sample.label.numpy(), np.ones(len(mass)), event
    losses = [evaluate(*columns, study, mass)["loss"].value, evaluate(*columns, TOY)["loss"].value]
    assert losses[0] - losses[1] == pytest.approx(mass.mean(), rel=1e-5)


def test_jets_have_the_weights_of_their_events(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training = Training("AK14", "CNN")
    weight = np.random.default_rng(0).uniform(0.5, 2, 200)
    write_weighted(weight)
    samples, remarks = read_samples(training, TOY, CPU)
    assert remarks == []
    for sample in samples:
        of_event = weight[sample.inputs.table["event"]]
        for value in (0, 1):
            found = sample.weight[sample.label == value].numpy()
            expected = of_event[sample.inputs.table["label"] == value]
            np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-6)
    write_weighted(2 * weight)
    for sample, again in zip(samples, read_samples(training, TOY, CPU)[0], strict=True):
        assert torch.equal(sample.weight, again.weight)
    write_weighted(np.full(200, 0.3))
    assert all((sample.weight == 1).all() for sample in read_samples(training, TOY, CPU)[0])
    write_weighted(weight * np.where(np.arange(200) % 20 < 2, -1, 1))
    with pytest.raises(InputError, match="weights to train and to validate with are negative; set"):
        read_samples(training, TOY, CPU)


# --- Events as they are expected ----------------------------------------------------------------

EXPECTED = TOY.changed(training={"by_cross_section": True}, images={"split": (1 / 3, 1 / 3, 1 / 3)})


def mass_points() -> EventTable:
    """Two mass points, of 80 and 8 expected events, and two slices of background, of 900 and 3000;
    a third of each in each split, and as many loose events that are not expected."""
    expected, events = [80.0, 8, 900, 3000], weighted_events(np.zeros(1200))
    events["split"] = np.arange(1200) // 4 % 3
    events["n_jets"] = np.where(np.arange(1200) // 12 % 2, 7, 5)
    events["split"][(events["n_jets"] == 5) & (events["split"] == 2)] = 0
    number = events["index"]
    full = np.bincount(number[events["n_jets"] == 7])
    events["weight"] = np.take(expected / full, number)
    return EventTable(events, None, np.zeros(0, SAMPLE_DTYPE), "collisions")


def drawn_jets(table: EventTable) -> list[np.ndarray]:
    """Some jets of each split: of the first mass point fewer, of the background more than one."""
    found = []
    for value in (TRAIN, VALIDATION):
        event = np.flatnonzero(table.events["split"] == value)
        number = table.events["index"][event]
        copies = np.where(number == 0, np.arange(len(event)) % 3 == 0, 1 + (number > 1))
        event = np.repeat(event, copies)
        jets = np.zeros(len(event), JET_DTYPE)
        jets["event"], jets["label"] = event, table.events["index"][event] < 2
        found.append(jets)
    return found


def test_jets_stand_for_all_expected_events_however_many_were_drawn():
    """A mass point for its own, over the number of mass points; held-out events decide nothing."""
    table = mass_points()
    jets = drawn_jets(table)
    weights = event_weights(jets, table, EXPECTED)
    for of_split, weight in zip(jets, weights, strict=True):
        number = table.events["index"][of_split["event"]]
        sums = np.bincount(number, weight)
        np.testing.assert_allclose(sums[:2], [80 / 2, 8 / 2])
        assert sums[2:].sum() == pytest.approx(3900)
        for i in range(4):
            np.testing.assert_allclose(weight[number == i], weight[number == i][0])
    changed = table.events.copy()
    changed["weight"] *= np.where(changed["split"] == HELD_OUT, 1 + changed["index"], 1)
    again = event_weights(jets, dataclasses.replace(table, events=changed), EXPECTED)
    for one, other in zip(weights, again, strict=True):
        np.testing.assert_allclose(one, other)


def test_by_cross_section_the_classes_are_not_balanced():
    table = mass_points()
    jets = drawn_jets(table)
    given = event_weights(jets, table, EXPECTED)
    found, _ = training_weights(jets, [some["label"] for some in jets], given, EXPECTED)
    for weight, expected in zip(found, given, strict=True):
        np.testing.assert_allclose(weight, expected / expected.mean())
    given[0][:50] *= -1
    rule = EXPECTED.changed(training={"negative_weights": "leave out"})
    found, _ = training_weights(jets, [some["label"] for some in jets], given, rule)
    sums, expected = (np.bincount(jets[0]["label"], w) for w in (found[0], given[0]))
    assert sums[1] / sums[0] == pytest.approx(expected[1] / expected[0])
    assert found[0][found[0] > 0].mean() == pytest.approx(1)


@pytest.mark.parametrize("settings", [{"equalise": "flat"}, {"drawn": True}])
def test_expected_events_are_not_weighted_to_another_spectrum(settings):
    with pytest.raises(InputError, match=r"which changes how often events are expected; leave it"):
        weighted(EXPECTED.changed(training=settings))


def test_events_without_weights_have_no_expectation():
    table = mass_points()
    table.events["weight"][table.events["index"] < 2] = 1
    with pytest.raises(InputError, match=r"events\.h5: all events of a class have the weight 1"):
        event_weights(drawn_jets(table), table, EXPECTED)


# --- Classes and negative weights ---------------------------------------------------------------


def test_where_nothing_is_asked_all_weights_are_exactly_1():
    weights, remarks = weighted(TOY)
    assert all((weight == 1).all() for weight in weights) and remarks == []


@pytest.mark.parametrize("rule", ["leave out", "absolute"])
def test_negative_weights_are_named_and_classes_stay_as_drawn(rule):
    given = [np.random.default_rng(i).normal(1, 0.7, N) for i in range(2)]
    negative = [weight < 0 for weight in given]
    study = TOY.changed(training={"negative_weights": rule})
    weights, remarks = weighted(study, *given)
    assert remarks == [
        f"{np.sum(negative)} of {2 * N} weights to train and to validate with are negative: {rule}"
    ]
    for weight, raw, is_negative, jets in zip(weights, given, negative, JETS, strict=True):
        assert (weight[is_negative] == 0).all() == (rule == "leave out")
        assert weight[weight > 0].mean() == pytest.approx(1)
        signal = jets["label"] == 1
        assert weight[signal].sum() / weight.sum() == pytest.approx(signal.mean())
        ratio = weight[signal & ~is_negative] / raw[signal & ~is_negative]
        np.testing.assert_allclose(ratio, ratio[0])
    with pytest.raises(InputError, match=r"negative; set training\.negative_weights to 'leave"):
        weighted(TOY, *given)


def test_a_class_without_weight_cannot_be_trained_on():
    jets = table()
    given = np.where(jets["label"] == 1, -0.5, 1)
    study = TOY.changed(training={"negative_weights": "absolute"})
    with pytest.raises(InputError, match=r"signal jets to train on add up to -"):
        weighted(study, given, given)
    jets["label"] = 1
    with pytest.raises(InputError, match="weights of 0 background jets to train on add up to 0"):
        weighted(TOY, jets=(jets, jets))


# --- Equal spectra ------------------------------------------------------------------------------


def histograms(jets: np.ndarray, weight: np.ndarray, names) -> list[np.ndarray]:
    """Of both classes, in the bins of `equalising`, but for the outermost ones."""
    bins = 20 if len(names) == 1 else 10
    edges = [np.linspace(*np.quantile(jets[name], (0.01, 0.99)), bins + 1)[1:-1] for name in names]
    return [
        np.histogramdd([jets[name][some] for name in names], edges, weights=weight[some])[0]
        for some in (jets["label"] == 0, jets["label"] == 1)
    ]


@pytest.mark.parametrize("names", [("pt",), ("pt", "mass")])
@pytest.mark.parametrize("method", ["signal", "flat"])
def test_spectra_agree_and_are_the_signals_or_flat(method, names):
    study = TOY.changed(training={"equalise": method, "equalise_in": names})
    event_weight = [np.random.default_rng(i).exponential(size=N) for i in range(2)]
    weights, (remark,) = weighted(study, *event_weight)
    jets, weight = table(), weights[0]
    found, before = histograms(jets, weight, names), histograms(jets, event_weight[0], names)
    signal_share = jets["label"].mean()
    np.testing.assert_allclose(found[0] / (1 - signal_share), found[1] / signal_share)
    filled = found[0] > 0
    if method == "flat":
        np.testing.assert_allclose(found[0][filled], found[0][filled][0])
    else:
        ratio = found[1][filled] / before[1][filled]
        np.testing.assert_allclose(ratio, ratio[0])
    both = np.all([h > 0 for h in before], axis=0)
    assert np.array_equal(filled, both)
    left_out = sum(np.sum(w == 0) for w in weights)
    assert f"{left_out} of {2 * N} are left out" in remark
    assert left_out < 0.1 * N


@pytest.mark.parametrize("method", ["signal", "flat"])
def test_what_lives_on_pt_alone_learns_nothing(method):
    """The AUC of pT is 0.5 under the weights: exactly where training pT has few values, within the
    fluctuation of its own jets in validation."""
    jets = [table(seed=i) for i in range(2)]
    for some in jets:
        some["pt"] = np.round(some["pt"].clip(200, 1000), -2)
    unweighted, areas = [], []
    weights, _ = weighted(TOY.changed(training={"equalise": method}), jets=jets)
    for some, weight in zip(jets, weights, strict=True):
        classes = [some["label"] == value for value in (1, 0)]
        unweighted.append(auc(*(some["pt"][c] for c in classes), bootstraps=2).value)
        scores = [Scores(some["pt"][c], weight=weight[c]) for c in classes]
        areas.append(auc(*scores, bootstraps=100))
    assert min(unweighted) > 0.6
    assert areas[0].value == pytest.approx(0.5, abs=1e-12)
    assert abs(areas[1].value - 0.5) < 4 * areas[1].error < 0.1


def test_jets_are_drawn_as_often_as_they_weigh():
    """To within one an epoch, and on average; both classes as often; never one of weight 0."""
    random = np.random.default_rng(5)
    label = (random.random(500) < 0.3).astype(int)
    weight = random.exponential(size=500) * (random.random(500) < 0.8)
    n = np.bincount(label[weight > 0]).min()
    expected = n * weight / np.bincount(label, weight)[label]
    epochs = [draws(weight, label, random) for _ in range(400)]
    counts = np.array([np.bincount(epoch, minlength=500) for epoch in epochs])
    assert (counts[:, label == 1].sum(axis=1) == n).all() and (counts.sum(axis=1) == 2 * n).all()
    assert (np.abs(counts - expected) < 1).all()
    np.testing.assert_allclose(counts.mean(axis=0), expected, atol=5 * 0.5 / np.sqrt(400))
    assert not np.array_equal(epochs[0], epochs[1])


def test_a_drawn_sample_has_the_spectra_that_weights_give(tmp_path, monkeypatch):
    """And its losses do not weigh again; the validation sample is not drawn."""
    monkeypatch.chdir(tmp_path)
    write_weighted(np.random.default_rng(0).uniform(0.5, 2, 200))
    study = TOY.changed(training={"drawn": True})
    (training, validation), _ = read_samples(Training("AK14", "CNN"), study, CPU)
    (weighted_one, same), _ = read_samples(Training("AK14", "CNN"), TOY, CPU)
    rows = np.concatenate([training.epoch(np.random.default_rng(i)) for i in range(300)])
    assert len(rows) == 300 * len(training)
    assert (training.weight == 1).all() and torch.equal(validation.weight, same.weight)
    label, pt = training.label.numpy(), training.inputs.table["pt"]
    for value in (0, 1):
        chosen, weight = rows[label[rows] == value], weighted_one.weight.numpy()[label == value]
        assert len(chosen) == len(rows) / 2
        expected = np.average(pt[label == value], weights=weight)
        assert pt[chosen].mean() == pytest.approx(expected, rel=0.01)


def test_validation_has_the_factors_of_training():
    jets, given = [table(), table(100, seed=1)], [np.ones(N), np.ones(100)]
    study = TOY.changed(training={"equalise": "signal"})
    weights, _ = weighted(study, *given, jets=jets)
    factors = equalising(jets[0]["pt"][:, None], jets[0]["label"], given[0], "signal")
    expected = factors(jets[1]["pt"][:, None], jets[1]["label"])
    np.testing.assert_allclose(weights[1], balanced(expected, jets[1]["label"]))
