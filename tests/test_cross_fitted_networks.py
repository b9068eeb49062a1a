"""Step 4's networks of events: cross-fitting, weights, inputs by rank, the table beside trees."""

import contextlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from synthetic_study import STUDY, write_study

import fit_xgb
from command import InputError
from evaluation import event_networks as table_of
from evaluation.results import Results, read_results
from event_level import fits, trees
from event_level.networks import REACH, cross_fit, expected_of_classes, normal_scores
from figures.event_networks import against_strength
from jets.classifier import HELD_OUT_EVENTS, Classifier, EventNetwork
from jets.packed import EVENT_DTYPE, SAMPLE_DTYPE, EventTable
from jets.scores import read_trees
from jets.split import is_signal
from jets.weights import expected_yields
from processes import PROCESSES
from products import is_finished
from sensitivity.auc import correlated_aucs
from sensitivity.bootstrap import Scores
from study import PRESETS, Study, load_study
from training import checkpoint
from training.losses import LOSSES, distance_correlation
from training.metrics import distance_correlation_of

CPU = torch.device("cpu")
TOY = Study("toy").changed(
    trees={"folds": 3, "number": 60},
    event_networks={"epochs": 4, "batch_size": 100, "learning_rate": 5e-3},
)
WHOLE = TOY.changed(event_networks={"epochs": 3, "batch_size": 10**6})  # one step an epoch
DISTANCES = np.array([0.8, -0.6, 0.0, 0.5])
EXPECTED = np.array([1000.0, 100.0])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def network(name: str = "FeedForward", loss: str = "cross entropy", strength: float = 0.0):
    made = EventNetwork(name, loss, strength, seed=0)
    return Classifier(features=("DS2",), trees=HELD_OUT_EVENTS, event_network=made)


def gaussian(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features of unit width about `DISTANCES` (signal) or 0, labels, weights of 1, folds."""
    random = np.random.default_rng(seed)
    label = random.random(n) < 0.5
    features = random.normal(size=(n, len(DISTANCES))) + label[:, None] * DISTANCES
    return features, label, np.ones(n), random.integers(0, 3, n)


def area(score: np.ndarray, label: np.ndarray) -> float:
    """AUC."""
    return correlated_aucs(score[label], score[~label], bootstraps=2).value[0]


# --- Cross-fitting ------------------------------------------------------------------------------


def test_a_network_comes_near_the_likelihood_ratio_and_trees_do_not_beat_it():
    """Whose AUC is Phi(d / sqrt 2)."""
    given = gaussian(2000)
    label, best = given[1], stats.norm.cdf(np.linalg.norm(DISTANCES) / np.sqrt(2))
    scores = np.stack([cross_fit(network(), *given, TOY, CPU), trees.cross_fit(*given, TOY, "cpu")])
    aucs = correlated_aucs(scores[:, label], scores[:, ~label])
    assert aucs[0].value == pytest.approx(best, abs=3 * aucs[0].error)
    assert aucs.difference(1, 0).value < 0


@pytest.mark.parametrize("name", ["FeedForward", "EventTransformer"])
def test_no_event_is_scored_by_a_network_that_saw_it(name):
    """Labels of noise leave AUC 0.5; those of a fold change no score of that fold, but others."""
    features, _, weight, fold = gaussian(600)
    label = np.random.default_rng(1).random(600) < 0.5
    study = TOY.changed(event_networks={"epochs": 3})
    fit = network(name)
    score = cross_fit(fit, features, label, weight, fold, study, CPU)
    without_information = np.sqrt((1 / label.sum() + 1 / (~label).sum()) / 12)
    assert abs(area(score, label) - 0.5) < 4 * without_information
    changed = label ^ (fold == 0)
    again = cross_fit(fit, features, changed, weight, fold, study.changed("other"), CPU)
    for number in (0, 1):
        is_same = np.array_equal(score[fold == number], again[fold == number])
        assert is_same == (number == 0)


def test_what_is_scored_decides_no_standardisation():
    features, label, weight, fold = gaussian(300)
    score = cross_fit(network(), features, label, weight, fold, WHOLE, CPU)
    one, *others = np.flatnonzero(fold == 1)
    features[others] += 100
    again = cross_fit(network(), features, label, weight, fold, WHOLE.changed("other"), CPU)
    assert score[one] == again[one]


def test_an_interrupted_fit_goes_on_to_the_same_scores(monkeypatch):
    given = gaussian(300)
    whole = cross_fit(network("EventTransformer"), *given, TOY, CPU)
    save, saved = checkpoint.save, []

    def killed(*arguments) -> None:
        save(*arguments)
        saved.append(1)
        if len(saved) == 5:  # in the first fold
            raise KeyboardInterrupt

    study = TOY.changed("interrupted")
    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        cross_fit(network("EventTransformer"), *given, study, CPU)
    found = cross_fit(network("EventTransformer"), *given, study, CPU)
    assert np.array_equal(found, whole)
    assert len(saved) == 3 * study.event_networks.epochs
    again = cross_fit(network("EventTransformer"), *given, study, CPU)
    assert np.array_equal(again, whole) and len(saved) == 3 * study.event_networks.epochs


def test_other_settings_or_events_set_a_training_aside(capsys):
    given = gaussian(300)
    cross_fit(network(), *given, WHOLE, CPU)
    cross_fit(network(), *given, WHOLE.changed(event_networks={"learning_rate": 1e-2}), CPU)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and all(
        "made with learning_rate 0.005, now 0.01; moved" in x for x in said
    )
    cross_fit(network(), -given[0], *given[1:], WHOLE, CPU)
    assert len(list(Path("Data/toy/set_aside").iterdir())) == 6
    assert len(list(Path("Data/toy/event_networks").glob("*/epoch_*.pt"))) <= 6  # best and last


# --- Weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_weight_2_is_an_event_twice(loss):
    """With one step an epoch the order of the events does not matter."""
    features, label, _, fold = gaussian(200)
    times = np.random.default_rng(2).integers(1, 4, 200)
    rows = np.repeat(np.arange(200), times)
    weighted, copied = (
        cross_fit(network(loss=loss), *columns, WHOLE.changed(name), CPU, expected=EXPECTED)
        for name, columns in (
            ("weighted", (features, label, times.astype(float), fold)),
            ("copied", (features[rows], label[rows], np.ones(len(rows)), fold[rows])),
        )
    )
    np.testing.assert_allclose(weighted[rows], copied, atol=2e-5)
    alike = cross_fit(
        network(loss=loss), features, label, np.ones(200), fold, WHOLE, CPU, expected=EXPECTED
    )
    assert abs(alike - weighted).max() > 1e-4


def test_no_network_trains_on_a_weight_of_0_and_all_are_scored():
    features, label, weight, fold = gaussian(300)
    weight[::7] = 0
    score = cross_fit(network(), features, label, weight, fold, WHOLE, CPU)
    again = cross_fit(network(), features, label ^ (weight == 0), weight, fold, WHOLE, CPU)
    assert np.array_equal(score, again) and ((score > 0) & (score < 1)).all()


@pytest.mark.parametrize("loss", ["cross entropy", "delta Z"])
def test_the_ratio_of_the_classes_is_1_or_the_expected_one_whatever_their_weights(loss):
    features, label, weight, fold = gaussian(200)
    scores = [
        cross_fit(network(loss=loss), features, label, w, fold, WHOLE, CPU, expected=expected)
        for w, expected in (
            (weight, EXPECTED),
            (np.where(label, 5.0, 0.2), EXPECTED),
            (weight, EXPECTED[::-1]),
        )
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)
    assert (abs(scores[0] - scores[2]).max() > 1e-4) == (loss == "delta Z")


def test_expected_events_are_those_of_the_background_and_the_mean_mass_point():
    events = np.zeros(900, EVENT_DTYPE)
    number = np.arange(900) % 3
    stop = PROCESSES["stop"].number
    events["process"] = np.where(number < 2, stop, PROCESSES["ttbar"].number)
    events["m_stop"], events["n_jets"] = np.where(number < 2, 700 + 100 * number, -1), 7
    events["weight"] = np.take([0.2, 0.1, 3.0], number)
    events["split"] = np.arange(900) // 3 % 2 * 2  # half trains, half is held out
    table = EventTable(events, None, np.zeros(0, SAMPLE_DTYPE), "collisions")
    study = Study("x").changed(images={"split": (0.5, 0.0, 0.5)})
    np.testing.assert_allclose(expected_of_classes(table, study), [900, (60 + 30) / 2])


def test_expected_events_are_known_where_only_jets_without_selection_train():
    """As in studies/tail.toml: all selected events are held out, and these networks train on them;
    a network of jets could not know how many to expect."""
    events = np.zeros(300, EVENT_DTYPE)
    numbers = [PROCESSES[name].number for name in ("stop", "ttbar_hard", "ttbar_jets")]
    events["process"] = np.repeat(numbers, 100)
    events["m_stop"], events["n_jets"] = np.repeat([700, -1, -1], 100), 7
    events["weight"] = np.repeat([0.2, 3.0, 50.0], 100)
    events["split"] = np.repeat([2, 2, 0], 100)
    table = EventTable(events, None, np.zeros(0, SAMPLE_DTYPE), "collisions")
    study = Study("x").changed(images={"split": (0.0, 0.0, 1.0)})
    np.testing.assert_allclose(expected_of_classes(table, study), [300, 20])
    events["process"][100:150] = PROCESSES["half_scale_hard"].number  # is no more background
    np.testing.assert_allclose(expected_of_classes(table, study), [150, 20])
    events["process"][100:150] = numbers[1]
    with pytest.raises(InputError, match=r"images\.split is \[0\.0, 0\.0, 1\.0\], so no selected"):
        expected_yields(table, study)


# --- Inputs by rank -----------------------------------------------------------------------------


def test_any_rising_function_of_a_feature_gives_the_same_scores():
    features, *given = gaussian(300)
    score = cross_fit(network(), features, *given, WHOLE, CPU)
    assert np.array_equal(cross_fit(network(), np.exp(features), *given, WHOLE, CPU), score)


def test_gaussian_features_are_standardised_and_missing_ones_lie_apart():
    random = np.random.default_rng(0)
    features = 70 + 5 * random.normal(size=(4000, 1))
    np.testing.assert_allclose(
        normal_scores(features, np.ones(4000))(np.array([[65.0], [70], [80]])),
        [[-1], [0], [2]],
        atol=0.1,
    )
    scored = random.uniform(size=(4000, 1))
    missing = np.where(random.random((4000, 1)) < 0.3, -1, scored)
    found = normal_scores(missing, np.ones(4000))(missing)
    assert (found[missing == -1] == -REACH).all() and abs(found[missing != -1].mean()) < 0.01
    np.testing.assert_allclose(found[missing != -1].std(), 1, atol=0.01)
    for constant, at, expected in ((-1.0, -1.0, -REACH), (7.0, 7.0, 0.0), (7.0, 7.1, REACH)):
        standardised = normal_scores(np.full((5, 1), constant), np.ones(5))
        assert standardised(np.array([[at]])) == expected


def test_a_weight_is_a_rank_as_often():
    values, times = np.array([[3.0], [1], [2], [2]]), np.array([1, 2, 3, 1])
    copied = normal_scores(np.repeat(values, times, axis=0), np.ones(7))
    at = np.linspace(0, 4, 9)[:, None]
    np.testing.assert_allclose(normal_scores(values, times)(at), copied(at), atol=1e-12)


# --- Decorrelation ------------------------------------------------------------------------------


def test_a_decorrelated_score_follows_the_spectator_less():
    features, label, weight, fold = gaussian(900)
    mass = features[:, 0] * 30 + 200  # the best feature
    study = TOY.changed(event_networks={"spectator": "MJ"})
    correlations, areas = [], []
    for strength in (0.0, 10.0):
        fit = network(strength=strength)
        score = cross_fit(fit, features, label, weight, fold, study, CPU, spectator=mass)
        columns = [c[~label] for c in (score, mass, weight, np.arange(900))]
        correlations.append(distance_correlation_of(*columns))
        areas.append(area(score, label))
    assert correlations[1].value < 0.1 < 0.2 < correlations[0].value
    assert 0.5 < areas[1] < areas[0]


def test_the_distance_correlation_of_weighted_events_is_that_of_copies():
    random = np.random.default_rng(0)
    score, mass, event = random.random(300), random.normal(size=300), np.arange(300)
    times = random.integers(0, 3, 300)
    given = distance_correlation_of(score, mass + score, times, event)
    rows = np.repeat(event, times)
    columns = [torch.from_numpy(column[rows]) for column in (mass + score, score)]
    copied = distance_correlation(*columns, torch.ones(len(rows)))
    assert given.value == pytest.approx(copied.item(), rel=1e-9)
    negative = distance_correlation_of(score, mass + score, np.where(times, times, -1.0), event)
    assert negative.value == given.value and 0 < given.error < given.value


# --- In a study ---------------------------------------------------------------------------------

NETWORKS = """
[event_networks]
networks = ["FeedForward"]
losses = ["cross entropy", "extreme"]
decorrelations = [1.0]
spectator = "AK14 mass"
seeds = [0, 1]
epochs = 1
batch_size = 500
"""
SMALL = STUDY.replace(', "CoAtNet", "MaxViT", "ViT"]', "]").replace("[0, 1]", "[0]")


def run(folder: Path, *changes: str) -> None:
    words = [word for change in changes for word in ("--set", change)]
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fit_xgb.py", "--study", "synthetic.toml", *words])
        fit_xgb.main()


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> list[Path]:
    """The same study without and with event networks."""
    folders = [tmp_path_factory.mktemp(name) for name in ("without", "with")]
    for folder, more in zip(folders, ("", NETWORKS), strict=True):
        write_study(folder, stated=SMALL + more)
        run(folder)
    return folders


@pytest.fixture
def results(both, monkeypatch) -> Results:
    monkeypatch.chdir(both[1])
    return read_results(load_study("synthetic.toml"), {})


def test_scores_of_networks_stand_beside_those_of_trees(both):
    without, having = (read_trees(folder / "Data/synthetic/trees.h5").fits for folder in both)
    assert all(np.array_equal(having[one], score) for one, score in without.items())
    added = having.keys() - without.keys()
    inputs = fits.beside_event_networks(load_study(both[1] / "synthetic.toml"))
    assert {one._replace(event_network=None) for one in added} == set(inputs)
    assert len(added) == len(inputs) * 2 * 2
    assert len({one.dataset for one in having}) == len(having)
    for one in added:
        assert ((having[one] > 0) & (having[one] < 1)).all() and one.level == "events"
        assert one.label.startswith(one._replace(event_network=None).label + ", FeedForward, ")


def test_inputs_are_chosen_by_their_names_in_tables(both):
    study = load_study(both[1] / "synthetic.toml")
    asked = study.changed(event_networks={"inputs": ("DS2", "CNN + DS2 + classical")})
    every, some = fits.beside_event_networks(study), fits.beside_event_networks(asked)
    assert {trees.words for trees in some} == {"DS2", "CNN + DS2 + classical"}
    assert all(some[trees] == every[trees] for trees in some) and len(every) > 2


def test_a_second_run_does_nothing_and_a_repeated_one_gives_the_same(both, capsys):
    path = both[1] / "Data/synthetic/trees.h5"
    before = path.read_bytes()
    run(both[1])
    assert "finished already" in capsys.readouterr().out
    path.with_suffix(".json").unlink()
    run(both[1])
    assert path.read_bytes() == before


def test_a_study_without_event_networks_is_what_it_was(both):
    """Manifests of before there were any stay valid, and no file says more than then."""
    manifest = both[0] / "Data/synthetic/trees.json"
    record = json.loads(manifest.read_text())
    with contextlib.chdir(both[0]):
        study = load_study("synthetic.toml")
        wanted = [one.stated for one in fits.fits(["CNN"])]
        settings = study.settings("fit") | {"fits": wanted}
        assert record["settings"].pop("event_networks") == {}
        manifest.write_text(json.dumps(record))
        assert is_finished(manifest, settings, record["inputs"])
        asked = study.changed(event_networks={"epochs": 7}).settings("fit") | {"fits": wanted}
        assert not is_finished(manifest, asked, record["inputs"])
    assert all(len(one) == 6 for one in record["settings"]["fits"])
    for preset in PRESETS.values():
        assert "event_networks" not in preset.settings("plots")["earlier"]
        assert not fits.beside_event_networks(preset)
    other = study.changed(event_networks={"networks": ("FeedForward",)})
    assert "event_networks" in other.settings("plots")["earlier"]


def test_the_table_has_means_over_seeds_paired_with_the_trees(results):
    found = table_of.tidy(table_of.compare(results, with_masses=True))
    names = ("label", "event_network", "loss", "decorrelation", "quantity", "neutralino_mass")
    rows = {tuple(row[name] for name in names): row for row in found}
    assert len(rows) == len(found)
    label = is_signal(results.events)

    def areas(*several: Classifier):
        scores = np.stack([results.trees.fits[one] for one in several])
        event = results.scores.event
        classes = [Scores(scores[:, of], event[of]) for of in (label, ~label)]
        return correlated_aucs(*classes, bootstraps=20)

    ds2, made = fits.DS2, EventNetwork("FeedForward", "extreme", 1.0, 0)
    seeds = [ds2._replace(event_network=made._replace(seed=seed)) for seed in (0, 1)]
    aucs = areas(ds2, *seeds)
    key = seeds[0].label, "FeedForward", "extreme", 1.0
    gained = aucs.difference_of_means([1, 2], [0])
    row = rows[*key, "AUC difference", ""]
    assert row["value"] == pytest.approx(gained.value)
    assert row["high"] - row["low"] == pytest.approx(2 * gained.error)
    assert row["trainings"] == 2 and row["reference_label"] == "DS2"
    assert rows[*key, "AUC", ""]["value"] == pytest.approx(np.mean(aucs.value[1:]))
    assert rows["DS2", "", "", "", "AUC", ""]["value"] == pytest.approx(aucs.value[0])
    point = results.of_events.sic_at(ds2)
    of_trees = rows["DS2", "", "", "", "SIC", ""]
    assert of_trees["value"] == pytest.approx(point.value)
    assert of_trees["effective_background"] == pytest.approx(point.effective_background)
    sics = [results.of_fits([one]).sic_at(one).value for one in seeds]
    assert rows[*key, "SIC", ""]["value"] == pytest.approx(np.mean(sics))
    ratio = rows[*key, "ratio of SIC", ""]["value"]
    assert ratio == pytest.approx(np.mean(sics) / point.value)
    for quantity in ("excluded stop mass", "gain in excluded stop mass"):
        assert {k[-1] for k in rows if k[:4] == key and k[4] == quantity} == {100, 300, 500}
    mass = results.scores.jets["AK14"]["mass"]
    exists = results.scores.jets["AK14"]["pt"] > 0
    mean = np.array([m[e].mean() for m, e in zip(mass, exists, strict=True)])
    columns = [torch.from_numpy(c[~label].astype(float)) for c in (mean, results.trees.fits[ds2])]
    expected = distance_correlation(*columns, torch.ones(len(columns[0])))
    correlation = rows["DS2", "", "", "", "squared distance correlation", ""]["value"]
    assert correlation == pytest.approx(expected.item())


def test_the_printed_table_names_networks_and_losses(results):
    printed = table_of.compare(results, with_masses=False).text()
    assert "DS2, FeedForward, extreme, decorrelated 1 (2)" in printed and "ratio of SIC" in printed


def test_the_figure_shows_networks_against_the_strength_beside_their_trees(results):
    rows = table_of.tidy(table_of.compare(results, with_masses=False))
    assert against_strength(rows, "MJ") is None  # one strength
    more = [
        row | {"decorrelation": 0.0} | {end: row[end] + 0.1 for end in ("value", "low", "high")}
        for row in rows
        if row["event_network"]
    ]
    drawing = against_strength([*rows, *more], "MJ")
    titles = [axis.get_title() for axis in drawing.figure.axes[:3]]
    assert sorted(titles) == ["AK14 CNN + DS2 + classical", "AK14 DS2 + classical", "DS2"]
    shown = {
        (p["inputs"], p["loss"], p["decorrelation"], p["quantity"]): p["value"]
        for p in drawing.points
    }
    assert len(shown) == len(drawing.points) == 3 * 2 * (1 + 2 * 2)
    for loss in ("cross entropy", "extreme"):
        pair = [shown["DS2", loss, strength, "SIC"] for strength in (0.0, 1.0)]
        assert pair[0] == pytest.approx(pair[1] + 0.1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("networks=['CNN']", r"networks names 'CNN', expected each once .* EventSet; correct"),
        (
            "networks=['FeedForward', 'FeedForward']",
            "networks names 'FeedForward', expected each once",
        ),
        ("losses=['hinge']", "losses names 'hinge', expected each once and among cross entropy"),
        ("losses=['delta Z']", r"events\.h5: all events of a class have the weight 1.*'delta Z'"),
        ("spectator=", "decorrelations are .*, but event_networks.spectator is empty"),
        ("spectator=pt", "event_networks.spectator is 'pt', expected one of , MJ, AK14 mass"),
        ("decorrelations=[1, 1]", r"decorrelations is \[1.0, 1.0\], expected each once"),
        ("decorrelations=[]", "expected a value like"),
        ("seeds=[1, 1]", "expected each once"),
        ("inputs=['DS3']", r"inputs names 'DS3', expected each once and among CNN \+ DS2 \+ cl"),
        ("inputs=['objects']", "inputs name none that FeedForward sees; add one, or leave the"),
    ],
)
def test_settings_that_exclude_each_other_are_one_sentence(change, words, both):
    with pytest.raises(InputError, match=words):
        run(both[1], f"event_networks.{change}")


def test_too_few_folds_and_a_fold_of_one_class_are_one_sentence(both):
    with pytest.raises(InputError, match=r"trees\.folds is 2, expected 3 or more for event net"):
        run(both[1], "trees.folds=2")
    features, label, weight, fold = gaussian(300)
    weight[~label & (fold == 1)] = 0
    with pytest.raises(InputError, match=r"fold 0: \d+ events to choose the epoch by are all of"):
        cross_fit(network(), features, label, weight, fold, TOY, CPU)
