"""What networks add where the signal is: classifiers of several ways side by side, and the law."""

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from evaluation.pages import show
from evaluation.results import Classifiers
from evaluation.table import ends
from figures.added import added
from jets.classifier import Classifier
from jets.packed import JET_DTYPE
from jets.split import HELD_OUT, VALIDATION
from products import read_csv
from sensitivity.auc import auc
from sensitivity.bootstrap import Estimate
from studies import scaling, tail
from study import PRESETS, load_study

DEMO = PRESETS["demo"].changed(figures={"bootstraps": 50})
MASS, CNN = Classifier(("AK14",), features=("mass",)), Classifier(("AK14",), ("CNN",))
N = 20_000


def of_way(**distances: float) -> Classifiers:
    """A mass without power, and CNNs of several seeds whose Gaussian scores are so far apart."""
    random = np.random.default_rng(0)
    is_signal = np.arange(N) < N // 2
    score = {MASS: random.uniform(size=N)}
    for seed, distance in enumerate(distances.values()):
        gaussian = np.random.default_rng(1 + seed).normal(distance * is_signal)
        score[CNN._replace(seed=seed)] = norm.cdf(gaussian)
    pt = np.ones(N)
    return Classifiers(DEMO, 10, score, np.arange(N), is_signal, {"pt": pt, "mass": pt}, pt)


def test_what_no_way_changes_stands_once_and_networks_side_by_side():
    joined = tail.together({"equal_pt": of_way(a=1.0, b=1.0), "as_drawn": of_way(a=0.5, b=0.5)})
    groups = tail.seeds_of(joined)
    assert {key: len(some) for key, some in groups.items()} == {
        ("", MASS): 1, ("equal_pt", CNN): 2, ("as_drawn", CNN): 2
    }  # fmt: skip
    rows = tail.measure(
        joined, "single_jets", lambda one: ("equal_pt", CNN) if one[0] == "as_drawn" else None
    )
    found = {
        (row["way"], row["network"], row["quantity"], row["signal_efficiency"]): row for row in rows
    }
    for way, distance in (("equal_pt", 1.0), ("as_drawn", 0.5)):
        expected = norm.cdf(distance / math.sqrt(2))
        assert found[way, "CNN", "AUC", ""]["value"] == pytest.approx(expected, abs=0.01)
        for at in tail.WORKING_POINTS:
            sic = at / norm.sf(norm.isf(at) + distance) ** 0.5
            assert found[way, "CNN", "SIC", at]["value"] == pytest.approx(sic, rel=0.05)
    difference = found["as_drawn", "CNN", "AUC difference", ""]
    values = [found[way, "CNN", "AUC", ""]["value"] for way in ("as_drawn", "equal_pt")]
    assert difference["value"] == pytest.approx(values[0] - values[1])
    # The same Gaussians, shifted: the jets' fluctuation largely cancels.
    error = (difference["high"] - difference["low"]) / 2
    assert error < 0.8 * (found["equal_pt", "CNN", "AUC", ""]["high"] - values[1])
    assert ("", "", "AUC difference", "") not in found


def test_held_out_events_of_other_samples_are_no_pair():
    one, other = of_way(a=1.0), of_way(a=1.0).where(np.arange(N) % 2 == 0)
    with pytest.raises(AssertionError, match="held-out events"):
        tail.together({"equal_pt": one, "as_drawn": other})


def test_a_network_beside_trees_is_the_sum_of_their_logits():
    """Of two independent Gaussian scores, each at a distance d, that is all there is: d sqrt(2)."""
    random, distance = np.random.default_rng(6), 0.5
    label = np.arange(N) < N // 2
    log_ratio = distance * random.normal(distance * label, size=(2, N)) - distance**2 / 2
    both = tail.with_trees(dict(zip((tail.TREES, CNN), expit(log_ratio), strict=True)))
    [(one, score)] = both.items()
    assert one.networks == ("CNN",) and one.words == "CNN + mass + pT + angularities"
    found = auc(score[label], score[~label], bootstraps=20)
    assert abs(found.value - norm.cdf(distance)) < 3 * found.error < 0.02


# --- More jets ------------------------------------------------------------------------------------


def of_sizes() -> Classifiers:
    """Jets of a score of two Gaussians for each number of training jets and two seeds, the more
    jets the farther apart; at a pT that tells nothing, as it is made equal."""
    random, label = np.random.default_rng(5), np.arange(N) < N // 2
    jets = np.zeros(N, JET_DTYPE)
    jets["event"], jets["label"] = np.arange(N), label
    jets["pt"] = random.exponential(100, N) * (1 + 0.5 * label) + 100
    scores = {}
    for n in (1_000, 2_000, 4_000, 8_000, 16_000):
        for seed in (0, 1):
            distance = 1 - 0.5 * (n / 1_000) ** -0.5
            x = random.normal(distance * label)
            scores[n, seed] = expit(distance * x - distance**2 / 2)
    return scaling.on_jets(DEMO, jets, scores, np.ones(N))


def test_more_jets_are_tested_at_the_spectrum_of_the_signal():
    found = of_sizes()
    of_pt = tail.replace(found, score={"pt": found.spectra["pt"]}).aucs[0]
    assert abs(of_pt.value - 0.5) < 3 * of_pt.error < 0.02
    effective = dict.fromkeys((n for n, _ in found.score), 7.0)
    rows = scaling.measure({VALIDATION: found, HELD_OUT: found}, effective)
    by_key = {(row["training_jets"], row["seed"], row["quantity"]): row for row in rows}
    for n, seed in found.score:
        distance = 1 - 0.5 * (n / 1_000) ** -0.5
        row = by_key[n, seed, "AUC"]
        error = (row["high"] - row["low"]) / 2
        assert abs(row["value"] - norm.cdf(distance / math.sqrt(2))) < 4 * error < 0.05
        row = by_key[n, seed, "1 / eps_B"]
        rejection = 1 / norm.sf(norm.isf(DEMO.figures.working_point) + distance)
        assert row["value"] == pytest.approx(rejection, rel=0.15)
    row = by_key[1_000, "", "AUC difference"]
    expected = norm.cdf(0.5 / math.sqrt(2)) - norm.cdf(0.875 / math.sqrt(2))
    assert row["value"] == pytest.approx(expected, abs=0.02)
    assert (16_000, "", "AUC difference") not in by_key
    [first, *_] = scaling.printed_scaling(rows)
    assert [first["training jets"], first["of background, effective"]] == ["1,000", "7"]
    assert first["seeds"] == 2


def test_background_counts_as_many_at_the_spectrum_of_the_signal():
    """Of two slices, 9,000 jets softer than the signal and 1,000 like it, of a tenth of the weight.
    The softer ones fall into the lowest of 20 bins, so 19 bins of 50 jets decide."""
    jets = np.zeros(11_000, JET_DTYPE)
    jets["event"], jets["label"] = np.arange(11_000), np.arange(11_000) < 1_000
    jets["pt"] = np.where(np.arange(11_000) < 10_000, 500, 200) + np.arange(11_000) % 100
    jets["pt"][1_000:10_000] -= 300
    jets["pt"][10_000:] += 300
    weight = np.where(np.arange(11_000) < 10_000, 1.0, 0.1)
    assert scaling.effective_background(jets, weight) == pytest.approx(50 * 20**2 / 19, rel=1e-3)


def test_loss_is_the_cross_entropy_of_classes_of_equal_weight():
    jets = of_way(a=1.0)
    flat = tail.replace(jets, score={CNN: np.full(N, 0.25)})
    found, _ = scaling.loss(flat, CNN)
    assert found.value == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)
    assert found.error < 1e-12
    # The best that can be known of two Gaussians; twice the background moves nothing.
    distance, is_signal = 1.0, jets.is_signal
    x = np.random.default_rng(4).normal(distance * is_signal)
    best = 1 / (1 + np.exp(distance**2 / 2 - distance * x))
    losses = [
        scaling.loss(
            tail.replace(jets, score={CNN: best}, weight=np.where(is_signal, 1.0, w)), CNN
        )[0]
        for w in (1.0, 2.0)
    ]
    grid = np.linspace(-12, 12, 100_001)
    integral = np.trapezoid(norm.pdf(grid) * np.log1p(np.exp(distance * grid - 0.5)), grid)
    assert abs(losses[0].value - integral) < 4 * losses[0].error < 0.05
    assert losses[0].value == pytest.approx(losses[1].value)


def test_the_power_law_is_found_again():
    jets = np.array([4_000, 8_000, 16_000, 32_000, 64_000])
    law = scaling.law_of(jets, scaling.power_law(jets / 1e3, 0.55, 0.08, 0.4))
    assert law == pytest.approx((0.55, 0.08, 0.4), rel=1e-3)
    flat = scaling.law_of(jets, np.array([0.6, 0.5, 0.5, 0.5, 0.5]))
    assert flat[2] == pytest.approx(scaling.BOUNDS[1][2])  # sizes that do not tell its power


def test_the_error_of_the_law_holds_what_the_sizes_do_not_tell():
    """Losses of Gaussian scores, as exact as their numbers: the truth lies in the interval."""
    jets, law, resampled = scaling.laws(of_sizes())
    assert jets.tolist() == [1_000, 2_000, 4_000, 8_000, 16_000]
    fine, value, low, high = scaling.curve(jets, law, resampled)
    assert fine[-1] == pytest.approx(scaling.PUBLISHED_JETS)
    grid = np.linspace(-12, 12, 100_001)
    of_all = np.trapezoid(norm.pdf(grid) * np.log1p(np.exp(grid - 0.5)), grid)  # at d = 1
    width = high[-1] - low[-1]
    assert low[-1] - width < of_all < high[-1] + width and 0.001 < width < 0.1
    rows = {row["quantity"]: row for row in scaling.fitted(jets, law, resampled)}
    change = rows["change of the loss to the jets of the paper"]
    of_most = scaling.power_law(jets.max() / 1e3, *law)
    assert change["value"] == pytest.approx(value[-1] - of_most, abs=1e-6)
    assert change["low"] <= change["value"] <= 0
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows.values())
    few = of_sizes()
    fewer = tail.replace(few, score={k: v for k, v in few.score.items() if k[0] > 1_000})
    assert scaling.laws(fewer) is None


def test_fewer_jets_are_seen_as_often_in_all():
    study = load_study("studies/tail.toml")
    for way in tail.SIZES:
        fewer = tail.variant(study, way)
        seen = [s.training.epochs * s.images.training_jets_per_mass_point for s in (study, fewer)]
        assert seen[0] == seen[1]
        assert fewer.training.cosine_schedule  # so its learning rate ends at 0, too
        assert fewer.sample_dir == study.sample_dir and fewer.data_dir != study.data_dir


def test_the_figure_shows_single_jets_at_equal_pt_what_is_added_and_each_seeds_losses():
    joined = tail.together({"equal_pt": of_way(a=1.0, b=1.0), "as_drawn": of_way(a=0.5)})
    rows = tail.measure(joined, "x", lambda one: ("", MASS) if one[0] else None)
    jets = [row | {"spectrum": spectrum} for row in rows for spectrum in ("", "signal pT")]
    losses = [
        {"training_jets": n, "seed": seed, **ends(Estimate(0.6, 0.01))}
        for seed in (0, 1)
        for n in (1_000, 2_000)
    ]
    titles = {way: tail.WAYS[way].title for way in ("equal_pt", "as_drawn")}
    drawn = added(jets, rows, losses, None, titles)
    assert [(row["way"], row["quantity"]) for row in drawn.points] == [
        ("", "AUC"), ("equal_pt", "AUC"), ("as_drawn", "AUC")
    ]  # fmt: skip
    assert {row["quantity"] for row in drawn.more_points["events"]} == {"AUC difference"}
    assert len(drawn.more_points["losses"]) == 4
    shown = [text.get_text() for axis in drawn.figure.axes for text in axis.get_yticklabels()]
    assert "CNN" in shown and "jet mass" in shown


def test_the_pages_show_what_their_csv_files_hold(tmp_path, monkeypatch):
    """No number of a table was written by hand."""
    shutil.copytree("doc", tmp_path / "doc")
    shutil.copy(tail.README, tmp_path)
    monkeypatch.chdir(tmp_path)
    before = {page: page.read_text() for page in (tail.PAGE, tail.README)}
    marks = set(re.findall(r"^<!-- (\w+)", before[tail.PAGE], re.M))
    assert marks == {"studies", "end", *tail.PRINTED}
    for name, printed in tail.PRINTED.items():
        path = Path(f"doc/results/tail_{name}.csv")
        pages = before if name in tail.IN_README else [tail.PAGE]
        for page in pages:
            show(page, name, read_csv(path) if path.is_file() else [], printed)
    for page, text in before.items():
        assert page.read_text() == text and "| missing:" not in text


def test_files_of_a_sample_add_up_to_their_process():
    files = {"ttbar_hard_0": 5, "ttbar_hard_1": 7, "stop_900_300": 2, "stop_jets_900_300": ""}
    rows = [
        {"file": f"{name}.h5", "begun": "100", "early veto": "50", "at least 7 jets": str(n)}
        for name, n in files.items()
    ]
    assert [tuple(row.values()) for row in tail.printed_sample(rows)] == [
        ("ttbar_hard", 2, "200", "12"), ("stop", 1, "100", "2"), ("stop_jets", 1, "100", "50")
    ]  # fmt: skip
