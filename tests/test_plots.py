"""Step 5: every figure has its points beside it, and they are those of the model behind them."""

import contextlib
import csv
import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from synthetic_study import (
    DS2,
    HISTORY,
    NEUTRALINO_MASSES,
    OF_EVENTS,
    OF_JETS,
    SELECTION_EFFICIENCY,
    STOP_MASSES,
    background_efficiency,
    write_known_trees,
    write_study,
)

import plots
from command import InputError
from evaluation import exclusions
from evaluation.results import Results, read_results
from evaluation.summary import _stand_ins, other_showers, summarise
from evaluation.table import Summary, label, trainings
from event_level.fits import DS2 as ON_DS2
from event_level.fits import fits, reason_against, trees_on_one_jet
from figures import diagram, distributions, jet_images, limits, performance, style, training_curves
from jets.classifier import Classifier
from jets.images import dense
from jets.packed import OBSERVABLES, read_event_table, read_jets
from jets.split import HELD_OUT, events_in_two_splits, is_signal
from physics import EXPECTED_BACKGROUND, JET_DEFINITIONS, LUMINOSITY
from processes import variations_of
from processes.stop import cross_section
from products import write_csv
from study import load_study

SIGNAL, BACKGROUND = 50, 800  # held-out events, of a mass point and of background
FIGURES = {
    "process",
    "event_displays",
    "jet_spectra",
    "training_curves",
    "scores",
    *(f"average_images_{name}" for name in JET_DEFINITIONS),
    "sic_single_jets",
    "sic_three_jets",
    "sic_networks",
    "sic_combinations",
    "sic_observables",
    "sic_all_known",
    "features",
    "exclusion_plane",
    "gain",
}


# Of a row of the summary.
KEYS = (
    "table", "level", "spectrum", "jet_definition", "network", "features", "trees",
    "reference_jet_definition", "reference_network", "reference_features", "reference_trees",
    "variation", "neutralino_mass", "quantity", "signal_efficiency",
)  # fmt: skip


def run(folder: Path, *options: str) -> None:
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["plots.py", "--study", "synthetic.toml", *options])
        plots.main()


def read(folder: Path, name: str) -> list[dict]:
    with (folder / f"plots/synthetic/{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{key: _number(value) for key, value in row.items()} for row in rows]


def _number(text: str) -> int | float | str:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text


@pytest.fixture(scope="module")
def finished_and_drawn(tmp_path_factory) -> tuple[Path, dict[str, style.Drawing]]:
    """The folder, and every drawing as it was saved."""
    folder, drawn, save = tmp_path_factory.mktemp("plots"), {}, style.save
    write_study(folder, signal=SIGNAL, background=BACKGROUND)
    write_known_trees(folder)

    def keep(drawing: style.Drawing, path: Path, *formats) -> list[Path]:
        drawn[path.stem] = drawing
        return save(drawing, path, *formats)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "save", keep)
        run(folder)
    return folder, drawn


@pytest.fixture
def finished(finished_and_drawn) -> Path:
    return finished_and_drawn[0]


@pytest.fixture
def drawn(finished_and_drawn) -> dict[str, style.Drawing]:
    return finished_and_drawn[1]


@pytest.fixture
def results(finished) -> Iterator[Results]:
    with contextlib.chdir(finished):
        yield read_results(load_study("synthetic.toml"), {})


def test_every_figure_is_there_with_its_points(finished):
    folder = finished / "plots/synthetic"
    assert {path.stem for path in folder.glob("*.png")} == FIGURES
    assert {path.stem for path in folder.glob("*.csv")} == (
        FIGURES | {"exclusion_plane_contours", "exclusion_plane_band", "summary", "events"}
    )
    for name in FIGURES:
        image = matplotlib.image.imread(folder / f"{name}.png")
        width = image.shape[1] / style.DOTS_PER_INCH
        assert width == pytest.approx(style.TWO_COLUMNS) or width == pytest.approx(style.ONE_COLUMN)
        assert image.std() > 0.01  # something is drawn


def test_the_table_of_events_holds_what_is_known_of_the_held_out_ones(finished):
    """A mass point is a process; nothing in it names the class but that."""
    rows = read(finished, "events")
    found = Counter(row["process"] for row in rows)
    assert found.pop("ttbar") == BACKGROUND and set(found.values()) == {SIGNAL}
    assert len(found) == len(STOP_MASSES) * len(NEUTRALINO_MASSES) and "stop_700_100" in found
    table = read_event_table(finished / "Data/synthetic/events.h5")
    held_out = np.flatnonzero(table.events["split"] == HELD_OUT)
    for name in ("HT", "Nb"):
        expected = table.observables[held_out, OBSERVABLES.index(name)]
        np.testing.assert_allclose([row[name] for row in rows], expected, rtol=1e-5)
    assert {"mass 3", "width 1"} < rows[0].keys() and "m_stop" not in rows[0]


def _expected_error(efficiency: float, distance: float, n_signal: int, n_background: int) -> float:
    """Relative standard error of SIC: the background's binomial, and where the cut falls."""
    eps_b = background_efficiency(efficiency, distance)
    shift = 1e-4
    slope = np.diff(np.log(background_efficiency(efficiency + np.array([0, shift]), distance)))
    cut = slope[0] / shift * np.sqrt(efficiency * (1 - efficiency) / n_signal)
    return 0.5 * np.hypot(np.sqrt((1 - eps_b) / eps_b / n_background), cut)


@pytest.mark.parametrize(
    ("figure", "distances", "n_signal", "n_background", "least"),
    [
        ("sic_single_jets", OF_JETS, 900, 2300, 10),
        ("sic_three_jets", OF_EVENTS, 450, 800, 10),
    ],
)
def test_sic_curves_follow_the_closed_form(
    finished, figure, distances, n_signal, n_background, least
):
    """SIC = eps_S / sqrt(Phi(Phi^-1(eps_S) - d)), within its statistical error."""
    curves = [row for row in read(finished, figure) if row["classifier"] in distances]
    assert {row["jet_definition"] for row in curves} == set(JET_DEFINITIONS)
    counted = "background_jets" if figure == "sic_single_jets" else "background_events"
    assert min(row[counted] for row in curves) >= least
    pulls = []
    for row in curves:
        efficiency, distance = row["signal_efficiency"], distances[row["classifier"]]
        if 0.3 <= efficiency <= 0.95:
            truth = efficiency / np.sqrt(background_efficiency(efficiency, distance))
            error = _expected_error(efficiency, distance, n_signal, n_background)
            pulls.append(np.log(row["sic"] / truth) / error)
            assert row["low"] < row["high"]
    assert np.max(np.abs(pulls)) < 4.5
    assert np.sqrt(np.mean(np.square(pulls))) < 1.5


def test_grey_lines_count_the_background_of_every_point(results, drawn):
    """SIC = eps_S sqrt(N / n), for lines and curves alike; a cut passes whole signal jets."""
    drawing = drawn["sic_single_jets"]
    for axis in drawing.figure.axes[: len(JET_DEFINITIONS)]:
        definition, _, row = axis.get_title().partition(": ")
        assert row == "networks"
        is_signal = results.of_jets(definition).is_signal
        n_signal, n = is_signal.sum(), (~is_signal).sum()
        of_panel = [p for p in drawing.points if p["jet_definition"] == definition]
        for point in of_panel:
            passing = point["sic"] / np.sqrt(n / point["background_jets"]) * n_signal
            assert passing == pytest.approx(np.ceil(n_signal * point["signal_efficiency"] - 1e-9))
        lines = [line.get_xydata()[-1] for line in axis.lines if line.get_color() == style.GREY]
        slopes = [y / x for x, y in lines]
        counts = [int(text.get_text().replace(",", "")) for text in axis.texts]
        assert counts == [10, 25, 100, 1000]
        assert slopes == pytest.approx(np.sqrt(n / np.array(counts)))
        for text in axis.texts:  # no curve lies outside its panel
            assert not text.get_window_extent().overlaps(axis.bbox)


def test_the_scale_on_the_right_counts_the_background_of_measured_points(results, drawn):
    drawing = drawn["sic_networks"]
    n = np.count_nonzero(~results.of_events.is_signal)
    right = drawing.figure.axes[-1]
    counts = [int(label.get_text().replace(",", "")) for label in right.get_yticklabels()]
    assert counts == [10, 25, 100]  # 1,000 of 800 cannot pass
    expected = results.study.figures.working_point * np.sqrt(n / np.array(counts))
    np.testing.assert_allclose(right.get_yticks(), expected)
    of_points = [p for p in drawing.points if not p["is_lower_limit"]]
    for point in of_points:
        same = results.study.figures.working_point * np.sqrt(n / point["background_events"])
        assert point["sic"] == pytest.approx(same, rel=0.02)  # a cut passes whole events
    assert len(of_points) > 3


def test_points_with_little_background_are_lower_limits(finished):
    """At eps_S = 0.5, 800 background events: 17.5 pass at d = 2.02, 2.1 at d = 2.8."""
    rows = [row for row in read(finished, "sic_combinations") if row["classifier"] == "all scores"]
    limits_of_all = [row for row in rows if row["is_lower_limit"] == "True"]
    assert len(limits_of_all) >= len(rows) - 1
    for row in limits_of_all:
        assert row["background_events"] < 10 and row["high"] == np.inf
        assert row["sic"] == row["low"] < 0.5 / np.sqrt(background_efficiency(0.5, 2.8)) * 1.1
    one = [row for row in read(finished, "sic_networks") if row["classifier"] == "CNN"]
    assert all(row["is_lower_limit"] == "False" for row in one)


def _published_significance(s: float, b: float) -> float:
    """arXiv:1510.03456 as printed in the paper, with delta = 0.06."""
    variance = (0.06 * b) ** 2
    x = np.sqrt((s + b) ** 2 - 4 * s * b * variance / (b + variance))
    logs = b * np.log((b + s + x) / (2 * b)) + b**2 / variance * np.log((b - s + x) / (2 * b))
    return np.sqrt(2 * (s - logs) - (b + s - x) * (1 + b / variance))


def test_exclusion_plane_is_the_published_formula_of_the_yields(finished):
    rows = read(finished, "exclusion_plane")
    assert len(rows) == 5 * len(STOP_MASSES) * len(NEUTRALINO_MASSES)
    for row in rows:
        pb = float(cross_section(row["stop_mass"]))
        signal = pb * 1e3 * LUMINOSITY * SELECTION_EFFICIENCY * row["signal_efficiency"]
        background = EXPECTED_BACKGROUND * row["background_efficiency"]
        assert row["expected_signal"] == pytest.approx(signal, rel=1e-4)
        assert row["expected_background"] == pytest.approx(background, rel=1e-4)
        assert row["significance"] == pytest.approx(
            _published_significance(signal, background), rel=1e-3
        )
        assert row["background_events"] >= 10
        assert (row["signal_efficiency"] >= 0.5 - 1e-9) and row["background_efficiency"] >= 10 / 800


def test_contours_pass_through_the_excluded_masses(finished):
    """At a neutralino mass of the grid the contour at 1.64485 is the excluded mass."""
    contours = read(finished, "exclusion_plane_contours")
    inside = [row for row in read(finished, "gain") if row["status"] == "inside"]
    assert inside
    for row in inside:
        crossings = [
            point["stop_mass"]
            for point in contours
            if point["classifier"] == row["classifier"]
            and point["level"] == pytest.approx(1.64485)
            and abs(point["neutralino_mass"] - row["neutralino_mass"]) < 1e-6
        ]
        assert min(abs(np.array(crossings) - row["excluded_mass"])) < 1.0


def test_gain_is_the_difference_and_a_limit_where_a_mass_is_one(finished):
    rows = read(finished, "gain")
    reference = {row["neutralino_mass"]: row for row in rows if row["classifier"] == "DS2"}
    for row in rows:
        other = reference[row["neutralino_mass"]]
        statuses = (row["status"], other["status"])
        expected = {
            ("inside", "inside"): "measured",
            ("inside", "below grid"): "lower limit",
            ("above grid", "inside"): "lower limit",
            ("above grid", "below grid"): "lower limit",
            ("inside", "above grid"): "upper limit",
            ("below grid", "inside"): "upper limit",
        }.get(statuses, "undefined")
        assert row["gain_is"] == expected
        if expected != "undefined":
            gain = row["excluded_mass"] - other["excluded_mass"]
            assert row["gain"] == pytest.approx(gain, abs=0.01)
            assert row["gain_low"] <= row["gain"] <= row["gain_high"]


def test_a_point_of_loosened_cuts_has_an_open_symbol(results):
    """At 100 GeV of the first classifier, at 500 GeV of the reference: both in their gain."""
    found = exclusions.exclusions(results)[-2:]
    for one, loosened in zip(found, ([1, 0, 0], [0, 0, 1]), strict=True):
        for cut, is_loosened in zip(one.cuts.T, [loosened, [0, 0, 0], [0, 0, 0]], strict=True):
            cut[:] = [
                dataclasses.replace(old, is_loosened=bool(new))
                for old, new in zip(cut, is_loosened, strict=True)
            ]
    drawing = limits.gain(found)
    assert [point["loosened_cuts"] for point in drawing.points] == [1, 0, 0, 0, 0, 1]
    assert "Open symbols without an arrow" in drawing.figure.get_suptitle()
    expected = [
        {p["drawn_at"] for p in drawing.points if p["loosened_cuts"] or p["status"] != "inside"},
        {
            p["drawn_at"]
            for p in drawing.points[:3]
            if p["neutralino_mass"] != 300 or p["gain_is"] != "measured"
        },
    ]
    for axis, of_axis in zip(drawing.figure.axes, expected, strict=True):
        lines = (line for line in axis.lines if line.get_markerfacecolor() == "white")
        assert {x for line in lines for x in line.get_xdata()} == of_axis


def test_a_gain_that_nothing_measures_is_called_undefined(results):
    found = [
        dataclasses.replace(one, selection_efficiency=1e-4 * one.selection_efficiency)
        for one in exclusions.exclusions(results)[-2:]
    ]
    lower = limits.gain(found).figure.axes[1]
    assert [text.get_text() for text in lower.texts] == ["undefined: limits on both sides"]
    assert not len(lower.get_yticks())


def test_a_seed_that_stands_in_is_named(results):
    study = results.study.changed(classifiers={"seeds": (2, 0)})
    repeats = {one: s for one, s in results.scores.repeats.items() if one.seed == 0}
    scores = dataclasses.replace(results.scores, repeats=repeats)
    summary = Summary()
    _stand_ins(summary, dataclasses.replace(results, study=study, scores=scores))
    assert len(summary.sentences) == 12
    assert summary.sentences[0] == "AK08 CNN: seed 2 is not trained; seed 0 stands in."
    assert not any("stands in" in sentence for sentence in summarise(results, {}).sentences)


def test_empty_and_full_planes_say_so(results):
    one = exclusions.exclusions(results)[-1]
    for efficiency, verdict in ((1e-4, "nothing excluded"), (50.0, "everything excluded")):
        scaled = dataclasses.replace(
            one, selection_efficiency=np.full_like(one.selection_efficiency, efficiency)
        )
        drawing = limits.plane([scaled])
        texts = [text.get_text() for text in drawing.figure.axes[0].texts]
        assert len(texts) == 1 and verdict in texts[0] and verdict in drawing.words


def test_stop_masses_without_a_cross_section_exclude_nothing(results):
    table = results.table.events.copy()
    table["m_stop"][table["m_stop"] > 0] -= 300
    beyond = dataclasses.replace(results, table=dataclasses.replace(results.table, events=table))
    reasons = plots.left_out(beyond)
    assert "spans 700 to 1200 GeV" in reasons["exclusion_plane"]
    assert reasons["gain"] == reasons["exclusion_plane"]


def test_too_little_background_is_one_sentence(results):
    study = results.study.changed(figures={"background_events_min": BACKGROUND + 1})
    with pytest.raises(
        InputError, match=r"800 \(effective\) held-out background events, expected at least 801"
    ):
        exclusions.exclusions(dataclasses.replace(results, study=study))


def test_a_classifier_gains_nothing_over_itself(results):
    """The bootstrap is paired: not even the error is left."""
    one = exclusions.exclusions(results)[0]
    gain, _ = exclusions.gain_over(one, one)
    assert (gain[np.isfinite(gain)] == 0).all()


def test_average_images_share_out_all_pt(finished):
    for name in JET_DEFINITIONS:
        rows = read(finished, f"average_images_{name}")
        for part, total in (("background", 1), ("signal", 1), ("difference", 0)):
            assert sum(row[part] for row in rows) == pytest.approx(total, abs=1e-4)


def test_features_are_normalised_distributions(finished):
    rows = read(finished, "features")
    assert {row["feature"] for row in rows} == {"pTmiss", "HT", "MJ", "Nj"} | {
        f"H{order}" for order in range(1, 6)
    }
    for name in ("HT", "Nj", "H5"):
        of_feature = [row for row in rows if row["feature"] == name]
        for part in ("signal", "background"):
            share = sum(row[part] * (row["high"] - row["low"]) for row in of_feature)
            assert 0.97 < share <= 1 + 1e-6


def test_summary_holds_every_number_with_its_error(finished):
    rows = read(finished, "summary")
    assert (finished / "Data/synthetic/summary.csv").read_bytes() == (
        finished / "plots/synthetic/summary.csv"
    ).read_bytes()
    assert len({tuple(row[key] for key in KEYS) for row in rows}) == len(rows)
    single = [row for row in rows if (row["table"], row["level"]) == ("merits", "jets")]
    for name in JET_DEFINITIONS:
        for classifier in (*OF_JETS, "jet mass", "jet pT", "trees on (mass, pT)"):
            found = {r["quantity"]: r for r in single if label(r) == f"{name} {classifier}"}
            assert {"AUC", "max SIC"} <= set(found)
            assert ("AUC difference" in found) == (classifier != "jet mass")
            assert all(row["low"] < row["value"] < row["high"] for row in found.values())
    published = {
        (row["level"], label(row)): row["published"]
        for row in rows
        if (row["table"], row["quantity"], row["spectrum"]) == ("merits", "max SIC", "")
    }
    assert published["jets", "AK14 MaxViT"] == 8.5 and published["events", "AK08 CNN"] == 6.94
    assert published["jets", "AK14 ViT"] == "" and published["events", "DS2"] == ""
    # The working point of the demo is not the published one: nothing is put beside it.
    assert all(row["published"] == "" for row in rows if row["quantity"] == "SIC")
    added = [row for row in rows if row["table"] == "added"]
    assert [row["network"] for row in added] == 2 * [*OF_JETS]
    assert {(row["features"], row["reference_features"]) for row in added} == {
        ("DS2", "DS2"), ("DS2 + classical", "DS2 + classical")
    }  # fmt: skip
    text = (finished / "plots/synthetic/summary.txt").read_text()
    events = (SIGNAL + SIGNAL // 5) * 9 + BACKGROUND + BACKGROUND // 5
    assert f"Events in two splits: 0 of {events}." in text
    assert text.count("permuted labels: AUC is 0.5 within three standard errors: yes") == 4
    assert "AK14: a network beats the jet mass by more than two standard errors: yes" in text


def test_seeds_are_averaged_with_their_spread(finished):
    rows = read(finished, "summary")
    rows = [row for row in rows if row["table"] == "seeds"]
    assert {trainings(row) for row in rows} == {"2"}
    names = {(row["level"], label(row)) for row in rows}
    assert names == {
        (level, f"{name} MaxViT") for level in ("jets", "events") for name in JET_DEFINITIONS
    }
    for row in rows:
        if row["quantity"] == "AUC":
            distance = (OF_JETS if row["level"] == "jets" else OF_EVENTS)["MaxViT"]
            assert row["value"] == pytest.approx(norm.cdf(distance / np.sqrt(2)), abs=0.03)


def test_ratios_are_those_of_the_figures_of_merit(finished):
    rows = read(finished, "summary")
    single = {
        (row["classifier"], row["quantity"]): row["value"]
        for row in rows
        if (row["table"], row["level"], row["spectrum"], row["jet_definition"])
        == ("merits", "jets", "", "AK14")
    }
    ratios = {
        (row["level"], label(row), row["quantity"]): row for row in rows if row["table"] == "ratios"
    }
    row = ratios["jets", "AK14 CoAtNet / AK14 CNN", "ratio of max SIC"]
    assert row["value"] == pytest.approx(
        single["CoAtNet", "max SIC"] / single["CNN", "max SIC"], rel=1e-4
    )
    assert row["published"] == pytest.approx(7.9 / 4.4, abs=0.01)
    assert row["low"] < row["value"] < row["high"]
    row = ratios["jets", "AK14 MaxViT / AK14 CNN", "ratio of max SIC"]
    assert trainings(row) == "2 / 1"
    assert ("jets", "AK14 ViT / AK10 ViT", "ratio of max SIC") in ratios
    trees = "trees on (mass, pT, angularities), networks' jets"
    row = ratios["jets", f"AK14 CNN / AK14 {trees}", "ratio of SIC"]
    assert row["value"] == pytest.approx(single["CNN", "SIC"] / single[trees, "SIC"], rel=1e-4)
    assert row["signal_efficiency"] == 0.5
    of_events = [
        ratios["events", "AK14 CoAtNet / AK14 CNN", f"ratio of {quantity}"]["published"]
        for quantity in ("max SIC", "SIC")
    ]
    # The working point of the demo is another.
    assert of_events == [pytest.approx(9.94 / 7.75, abs=0.01), ""]


def _varied(results: Results, shifts: dict[str, float], random: np.random.Generator) -> dict:
    """Variations of 4,000 events whose scores by DS2 are moved towards signal by a shift."""
    rows = np.zeros(4_000, int)
    trees = results.trees.take(~is_signal(results.events)).take(rows)
    scores = {name: expit(random.normal(shift, 1.0, len(rows))) for name, shift in shifts.items()}
    return {name: dataclasses.replace(trees, fits={ON_DS2: s}) for name, s in scores.items()}


def test_other_showers_shift_what_passes_the_cut(results):
    """A variation drawn from the same model shifts nothing; one nearer to signal passes more."""
    random = np.random.default_rng(5)
    varied = _varied(results, {"half_scale": 0.0, "power_shower": 0.7}, random)
    only = dataclasses.replace(results.trees, fits={ON_DS2: results.trees.fits[ON_DS2]})
    summary = Summary()
    changed = dataclasses.replace(results, trees=only, varied=varied)
    other_showers(summary, changed, changed.of_events)
    found = {row["variation"]: row for row in summary.rows}
    eps_b = norm.sf(DS2)
    assert found[""]["quantity"] == "eps_B"
    assert abs(found[""]["value"] - eps_b) < 4 * (found[""]["high"] - found[""]["value"])
    error = (found["half_scale"]["high"] - found["half_scale"]["low"]) / 2
    assert abs(found["half_scale"]["value"]) < 3 * error < 1
    # At eps_S = 0.5 the cut lies at d = 1.8.
    expected = norm.sf(DS2 - 0.7) / norm.sf(DS2) - 1
    error = (found["power_shower"]["high"] - found["power_shower"]["low"]) / 2
    assert abs(found["power_shower"]["value"] - expected) < 3 * error


def test_another_shower_is_compared_with_the_process_that_it_varies(results):
    """Of two backgrounds, the second harder to reject: only the first is drawn once more."""
    random = np.random.default_rng(6)
    second = np.flatnonzero(~is_signal(results.events))[::2]
    events, score = results.table.events.copy(), results.trees.fits[ON_DS2].copy()
    events["process"][results.scores.event[second]] = 99  # of no variation
    score[second] = expit(random.normal(1.0, 1.0, len(second)))
    two = dataclasses.replace(
        results,
        table=dataclasses.replace(results.table, events=events),
        trees=dataclasses.replace(results.trees, fits={ON_DS2: score}),
        varied=_varied(results, {"half_scale": 0.0}, random),
    )
    summary = Summary()
    other_showers(summary, two, two.of_events)
    eps_b, shift = summary.rows
    expected = (norm.sf(DS2) + norm.sf(DS2 - 1.0)) / 2  # of both, each half of the background
    assert abs(eps_b["value"] - expected) < 4 * (eps_b["high"] - eps_b["value"])
    below, above = (abs(shift[name] - shift["value"]) for name in ("low", "high"))
    assert -3 * above < shift["value"] < 3 * below


def test_slices_of_another_shower_are_one_mixture(results):
    """Of 95 % of the yield (60 events) next to nothing passes, of 5 % (4,000 events) the most.

    Var(eps_B) = sum_i w_i^2 n_i (p_i (1 - 2 eps_B) + eps_B^2) / (sum_i w_i n_i)^2 over slices i.
    """
    random = np.random.default_rng(7)
    n, distance = np.array([60, 4_000]), np.array([-3.0, 2.0])
    weight = np.array([0.95, 0.05]) / n
    parts = variations_of(["ttbar_soft", "ttbar_hard"])["half_scale"]
    events = np.zeros(n.sum(), results.table.events.dtype)
    events["process"] = np.repeat([part.number for part in parts], n)
    events["weight"] = 1e-3 * np.repeat(weight, n)
    rows = np.arange(n.sum())
    varied = dataclasses.replace(
        results.trees.take(np.zeros(len(rows), int)),
        event=len(results.table.events) + rows,
        fits={ON_DS2: expit(random.normal(np.repeat(distance, n), 1.0))},
    )
    every = np.concatenate([results.table.events, events])
    found = dataclasses.replace(
        results,
        table=dataclasses.replace(results.table, events=every),
        trees=dataclasses.replace(results.trees, fits={ON_DS2: results.trees.fits[ON_DS2]}),
        varied={"half_scale": varied},
    )
    summary = Summary()
    other_showers(summary, found, found.of_events)
    of_all, shift = summary.rows
    cut = found.of_events.cut_at(ON_DS2)
    nominal = found.of_events.background_efficiency(ON_DS2, cut.threshold, ~is_signal(found.events))
    p = norm.sf(logit(cut.threshold) - distance)
    eps_b = (weight * n) @ p
    variance = (weight**2 * n) @ (p * (1 - 2 * eps_b) + eps_b**2)
    error = eps_b / nominal.value * np.hypot(nominal.error / nominal.value, variance**0.5 / eps_b)
    assert of_all["value"] == pytest.approx(nominal.value)
    assert shift["variation"] == "half_scale"
    assert abs(shift["value"] - (eps_b / nominal.value - 1)) < 3 * error
    assert (shift["high"] - shift["low"]) / 2 == pytest.approx(error, rel=0.15)
    passing = np.repeat(weight, n) * (varied.fits[ON_DS2] >= cut.threshold)
    expected = passing.sum() ** 2 / (passing**2).sum()
    assert shift["effective_background"] == pytest.approx(expected)


def test_auc_of_the_summary_is_the_closed_form(finished):
    """The AUC of two unit Gaussians at distance d is Phi(d / sqrt(2))."""
    rows = {
        (row["level"], label(row)): row
        for row in read(finished, "summary")
        if (row["table"], row["spectrum"], row["quantity"]) == ("merits", "", "AUC")
    }
    distances = {("jets", f"AK14 {name}"): d for name, d in OF_JETS.items()}
    distances |= {("events", "DS2"): DS2}
    for name, distance in distances.items():
        row = rows[name]
        error = (row["high"] - row["low"]) / 2
        assert abs(row["value"] - norm.cdf(distance / np.sqrt(2))) < 4.5 * error


def test_an_event_in_two_splits_is_counted(results):
    events = results.table.events.copy()
    first, second = np.flatnonzero(~is_signal(events))[[0, -1]]
    assert events["split"][first] == HELD_OUT != events["split"][second]
    events["row"][second] = events["row"][first]
    assert events_in_two_splits(results.table.events, []) == 0
    assert events_in_two_splits(events, []) == 1


def test_a_leak_fails_the_null_check(results):
    leaking = {
        Classifier((name,), ("CNN",), permuted=True): jets["shuffled_label"].astype("f4")
        for name, jets in results.scores.jets.items()
    }
    scores = dataclasses.replace(results.scores, shuffled=leaking)
    summary = summarise(dataclasses.replace(results, scores=scores), {})
    assert sum("permuted" in line and "NO" in line for line in summary.sentences) == 3


def test_numbers_are_printed_to_their_error():
    summary = Summary()
    for name, low, value, high, status in (
        ("symmetric", 0.90, 0.9123, 0.9246, "measured"),
        ("asymmetric", 7.0, 7.5, 8.7, "measured"),
        ("limit", 3.218, 3.218, np.inf, "lower limit"),
        ("undefined", np.nan, np.nan, np.nan, "undefined"),
    ):
        one = Classifier(("AK14",), (name,))
        summary.add("merits", one, "number", (value, low, high), status=status)
    lines = [line.removeprefix("AK14 ").split(maxsplit=1) for line in summary.text().splitlines()]
    printed = dict(line for line in lines if len(line) == 2)
    assert printed["symmetric"] == "0.912 ± 0.012"
    assert printed["asymmetric"] == "7.5 +1.2 -0.5"
    assert printed["limit"] == "> 3.22"
    assert printed["undefined"] == "-"


def test_a_second_run_does_nothing(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in (finished / "plots").rglob("*.*")}
    run(finished)
    assert "finished already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_published_files_leave_out_what_needs_observables(tmp_path, capsys, monkeypatch):
    drawn = set()

    def note(drawing: style.Drawing, path: Path, formats: Sequence[str]) -> list[Path]:
        drawn.add(path.stem)
        assert formats == ["png", "pdf"]
        return []

    monkeypatch.setattr(style, "save", note)
    write_study(tmp_path, signal=12, background=150, published=True)
    write_known_trees(tmp_path, published=True)
    earlier = tmp_path / "plots" / "synthetic" / "gain.png"  # as if drawn with other settings
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    record = {"outputs": {"plots/synthetic/gain.png": {}}}
    (earlier.parent / "plots.json").write_text(json.dumps(record))
    run(tmp_path, "--format", "pdf")
    assert not earlier.exists()
    missing = {"sic_observables", "sic_all_known", "features", "exclusion_plane", "gain"}
    assert drawn == FIGURES - missing
    printed = capsys.readouterr().out
    assert all(f"Left out: {name}: the sample holds no" in printed for name in missing)
    assert "Left out: AK14 MaxViT + DS2: the sample holds no" in printed


# --- How figures look ----------------------------------------------------------------------------


def test_every_figure_of_collisions_says_what_it_shows(drawn):
    """Simulation, energy and luminosity; nothing leaves the page."""
    for name in FIGURES - {"process"}:
        figure = drawn[name].figure
        heading = figure.get_suptitle()
        assert "Simulation" in heading and r"\sqrt{s}=13$ TeV, 137 fb$^{-1}$" in heading
        texts = [figure._suptitle, *figure.legends]
        for box in (text.get_window_extent() for text in texts):
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 + 1, name
            assert figure.bbox.y0 - 1 <= box.y0 and box.y1 <= figure.bbox.y1 + 1, name
    for name in JET_DEFINITIONS:
        heading = drawn[f"average_images_{name}"].figure.get_suptitle()
        assert "EhT + EmT + TrackPT" in heading


def test_figures_do_not_depend_on_the_users_settings(tmp_path):
    """Nor on the date, the hash seed or the backend: the same bytes in a process of its own."""
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nfigure.facecolor: red\nsavefig.bbox: tight\nlines.linewidth: 9\n"
    )
    code = "from figures import diagram, style; from pathlib import Path; style.apply(); "
    code += "style.save(diagram.process(), Path('process.png'), ('png', 'pdf'))"
    environment = {"MPLBACKEND": "no such backend", "MPLCONFIGDIR": str(tmp_path)}
    environment |= {"PYTHONPATH": str(Path(plots.__file__).parent), "PYTHONHASHSEED": "7"}
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | environment, check=True
    )
    style.apply()
    style.save(diagram.process(), tmp_path / "here.png", ("png", "pdf"))
    for suffix in ("png", "pdf"):
        written = [(tmp_path / f"{name}.{suffix}").read_bytes() for name in ("here", "process")]
        assert written[0] == written[1] and b"CreationDate" not in written[0]


def test_the_users_settings_are_forgotten():
    with matplotlib.rc_context({"axes.facecolor": "yellow", "savefig.bbox": "tight"}):
        style.apply()
        assert matplotlib.rcParams["axes.facecolor"] == "white"
        assert matplotlib.rcParams["savefig.bbox"] is None
        assert matplotlib.rcParams["savefig.dpi"] == style.DOTS_PER_INCH
        assert matplotlib.get_backend().lower() == "agg"


def test_networks_of_the_user_look_like_nothing_else():
    reserved = list(style._LOOKS.values())
    names = [Classifier(("AK14",), (f"CNN{i}",)) for i in range(40)]
    looks = [style.look(name) for name in names]
    pairs = {(look["color"], str(look["linestyle"])) for look in looks}
    assert len(pairs) == len(names)
    assert len({look["color"] for look in looks[:6]}) == 6
    assert {look["color"] for look in looks}.isdisjoint(color for color, _, _ in reserved)
    assert {str(look["linestyle"]) for look in looks}.isdisjoint(str(line) for *_, line in reserved)
    assert [style.look(name._replace(features=("DS2",))) for name in names] == looks
    known = [style.look(one) for one in (*fits(OF_JETS), *trees_on_one_jet("AK14"))]
    assert not any(look["linestyle"] in [other["linestyle"] for other in looks] for look in known)


def test_points_that_are_moved_sideways_say_so(drawn):
    for name in ("gain", "sic_networks", "sic_combinations", "sic_observables"):
        assert "Points are shifted sideways." in drawn[name].figure.get_suptitle().replace(
            "\n", " "
        )
        axis, points = drawn[name].figure.axes[0], drawn[name].points
        plotted = np.concatenate([line.get_xdata() for line in axis.lines])
        group = points[0].get("group")
        for point in points:
            if point.get("group") == group:
                assert np.isclose(plotted, point["drawn_at"]).any()
            assert abs(point["drawn_at"] - point["neutralino_mass"]) < 100  # half a grid step
        assert any(point["drawn_at"] != point["neutralino_mass"] for point in points)


def _some(results: Results, definitions: Sequence[str], networks: Sequence[str]) -> Results:
    """As if only these networks had been trained, on these jets."""
    kept = {Classifier((d,), (n,)) for d in definitions for n in networks}
    scores = dataclasses.replace(
        results.scores,
        jets={name: results.scores.jets[name] for name in definitions},
        networks={name: s for name, s in results.scores.networks.items() if name in kept},
        repeats={n: s for n, s in results.scores.repeats.items() if n._replace(seed=None) in kept},
    )
    reasons = {one: reason_against(one, scores, results.table) for one in results.trees.fits}
    grown = {one: score for one, score in results.trees.fits.items() if not reasons[one]}
    return dataclasses.replace(
        results,
        study=results.study.changed(
            classifiers={"networks": tuple(networks)}, figures={"bootstraps": 10}
        ),
        scores=scores,
        trees=dataclasses.replace(results.trees, fits=grown),
        left_out={one.label: reason for one, reason in reasons.items() if reason},
    )


def test_one_jet_definition_and_one_mass_fill_their_figures(results):
    table = results.events["m_neutralino"]
    rows = (table == 300) | ~is_signal(results.events)
    few = _some(
        dataclasses.replace(
            results, scores=results.scores.take(rows), trees=results.trees.take(rows)
        ),
        ["AK14"],
        ["CNN", "MaxViT"],
    )
    assert (
        plots.left_out(few)["exclusion_plane"] == "a plane needs two stop and two neutralino masses"
    )
    drawings = plots.drawings(few)
    for name in ("sic_networks", "gain", "sic_single_jets"):
        figure = drawings[name]().figure
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in (figure._suptitle, *figure.legends)]
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 + 1 for box in boxes)
        assert sum(box.height for box in boxes) < 0.4 * figure.bbox.height
        legend = {text.get_text() for text in figure.legends[0].get_texts()}
        assert legend >= ({"CNN + DS2", "MaxViT + DS2"} if name == "gain" else {"CNN", "MaxViT"})
        low, high = figure.axes[-1].get_xlim()
        assert name == "sic_single_jets" or (low < 260 and high > 340)


def test_one_network_one_definition_and_one_epoch_fill_their_figures(results, tmp_path):
    one = _some(results, ["AK14"], ["CNN"])
    figure = distributions.scores(one).figure
    figure.draw_without_rendering()
    assert figure.axes[0].get_window_extent().height > 0.4 * figure.bbox.height
    ends = np.log10(figure.axes[0].get_ylim())
    assert ends == pytest.approx(np.rint(ends)) and ends[1] - ends[0] >= 1
    models = tmp_path / "Data/synthetic/models"
    for training in ("AK14_CNN_0", "AK14_CNN_1"):
        write_csv(models / training / "history.csv", HISTORY[:1])
    with contextlib.chdir(tmp_path):
        figure = training_curves.training_curves(one).figure
        ticks = figure.axes[0].get_xticks()
    assert [tick for tick in ticks if 0.5 < tick < 1.5] == [1]


def test_what_is_missing_is_said_and_what_is_there_is_drawn(results):
    without = _some(results, list(JET_DEFINITIONS), ["CoAtNet", "MaxViT"])
    assert "sic_combinations" not in plots.left_out(without)
    figure = performance.sic_of_combinations(without).figure
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert names == {"CoAtNet", "MaxViT", "CoAtNet and MaxViT"}
    note = figure.get_suptitle()
    assert "for want of scores: CNN; all scores; AK08, all networks; AK10" in note
    assert figure.axes[0].get_title() == "scores on AK08 + AK10 + AK14"
    only = _some(results, ["AK14"], ["CNN"])
    reason = plots.left_out(only)["sic_combinations"]
    assert "AK08 CNN" in reason and "AK14 MaxViT" in reason and "AK14 CNN" not in reason
    figure = performance.sic_with_observables(only).figure
    assert [axis.get_title() for axis in figure.axes[:2]] == [
        "event features",
        "AK14 networks and DS2",
    ]
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert names == {"DS1", "DS2", "CNN + DS2"}


def test_published_images_are_drawn_in_the_frame_of_their_jet(results):
    """Turned images have no place in the eta-phi plane: pixels keep their rows and columns."""
    published = dataclasses.replace(
        results, table=dataclasses.replace(results.table, source="published files")
    )
    drawing = jet_images.event_displays(published)
    labels = {axis.get_xlabel() for axis in drawing.figure.axes} - {""}
    assert labels == {r"$\Delta\eta'$ (turned)"}
    packed = read_jets(results.study.data_dir / "AK14.h5", HELD_OUT)
    sums = dense(packed.images, packed.side).sum(axis=(1, 2, 3))
    for event in ("signal", "background"):
        points = [point for point in drawing.points if point["event"] == event]
        assert all(0 <= p["row"] < packed.side and 0 <= p["column"] < packed.side for p in points)
        for jet in {point["jet"] for point in points}:
            total = sum(point["pt"] for point in points if point["jet"] == jet)
            assert np.isclose(sums, total, rtol=1e-5).any()


def test_muons_are_drawn_above_all_hadrons_and_never_too_small(drawn):
    axis = drawn["event_displays"].figure.axes[0]
    # By kind an empty one for the legend, then those of the event.
    charged, muons = axis.collections[1], axis.collections[9]
    assert len(muons.get_offsets()) > 0
    assert muons.get_zorder() > charged.get_zorder()
    assert muons.get_sizes().min() >= jet_images.LEAST_AREA > charged.get_sizes().min()


# --- Distributions and trainings -----------------------------------------------------------------


def test_scores_and_spectra_are_those_of_the_held_out_jets(finished, results):
    jets = results.of_jets("AK10")
    for figure, key, name in (
        ("scores", "network", Classifier(("AK10",), ("CoAtNet",))),
        ("jet_spectra", "quantity", Classifier(("AK10",), features=("mass",))),
    ):
        rows = [
            row
            for row in read(finished, figure)
            if row["jet_definition"] == "AK10" and row[key] == name.words
        ]
        assert len(rows) >= 20
        for part, of_class in (("signal", jets.is_signal), ("background", ~jets.is_signal)):
            values, n = jets.score[name][of_class], of_class.sum()
            for row in rows[1:-1]:
                count = np.sum((values >= row["low"]) & (values < row["high"]))
                width = row["high"] - row["low"]
                assert row[part] * n * width == pytest.approx(count, abs=2)  # edges are rounded
                assert row[f"{part}_error"] * n * width == pytest.approx(count**0.5, abs=1)
    of_scores = [row for row in read(finished, "scores") if row["jet_definition"] == "AK14"]
    for part in ("signal", "background"):
        total = sum(row[part] * (row["high"] - row["low"]) for row in of_scores)
        assert total == pytest.approx(len(OF_JETS), rel=1e-5)


def test_training_curves_mark_the_epoch_of_lowest_validation_loss(finished):
    rows = read(finished, "training_curves")
    assert len(rows) == len(JET_DEFINITIONS) * (len(OF_JETS) + 1) * len(HISTORY)
    for row in rows:
        expected = HISTORY[int(row["epoch"]) - 1]
        assert row["training_loss"] == pytest.approx(expected["training_loss"])
        assert row["validation_loss"] == expected["loss"]
        assert (row["is_best"] == "True") == (row["epoch"] == 2)


def test_a_damaged_history_is_one_sentence(results, tmp_path, monkeypatch):
    damaged, training = tmp_path / "history.csv", Classifier(("AK14",), ("CNN",), seed=0)
    for text in ("epoch,loss\n0,0.5\n", "epoch,training_loss,loss,loss_error\n0,x,y,z\n", ""):
        damaged.write_text(text)
        monkeypatch.setattr(training_curves, "histories", lambda results: {training: damaged})
        with pytest.raises(InputError, match=r"history\.csv: "):
            training_curves.training_curves(results)


# --- Few events ----------------------------------------------------------------------------------


def test_mass_points_of_one_event_give_limits_and_no_traceback(results):
    """A third of all resamplings lack the one event; then the interval goes to the grid's end."""
    events = results.events
    first = np.zeros(len(events), bool)
    points = events[["process", "m_stop", "m_neutralino"]]
    first[np.unique(points, return_index=True)[1]] = True
    rows = first | ~is_signal(events)
    few = dataclasses.replace(
        results, scores=results.scores.take(rows), trees=results.trees.take(rows)
    )
    found = exclusions.exclusions(few)
    drawing = limits.gain(found)
    for point in drawing.points:
        assert 700 <= point["excluded_low"] <= point["excluded_mass"] <= point["excluded_high"]
        assert point["excluded_high"] <= 1100
    assert limits.plane(found).points
    assert performance.sic_of_networks(few).points


def test_an_empty_mass_point_is_a_named_gap(results):
    events = results.events
    rows = ~((events["m_stop"] == 900) & (events["m_neutralino"] == 300))
    few = dataclasses.replace(
        results, scores=results.scores.take(rows), trees=results.trees.take(rows)
    )
    drawing = limits.plane(exclusions.exclusions(few)[-1:])
    assert "Without held-out events" in drawing.figure.get_suptitle()
    assert "(900, 300) GeV" in drawing.figure.get_suptitle()


def test_errors_end_where_the_grid_does(finished):
    for row in read(finished, "gain"):
        assert 700 <= row["excluded_low"] <= row["excluded_high"] <= 1100


def test_resamplings_that_know_nothing_count_for_neither_side():
    mass = np.concatenate([[800.0], np.linspace(790, 810, 80), np.full(20, np.nan)])[:, None]
    interval = exclusions._interval(mass, np.zeros(1), (700.0, 1100.0))[:, 0]
    assert interval.tolist() == [800.0, 700.0, 1100.0]
    known = exclusions._interval(mass[:81], np.array([6.0]), (700.0, 1100.0))[:, 0]
    spread = np.quantile(mass[1:81], [0.15865, 0.84135]) - 800
    assert known[1:] - 800 == pytest.approx([-np.hypot(spread[0], 6), np.hypot(spread[1], 6)])


def test_a_class_without_a_jet_is_one_sentence(results):
    rows = ~is_signal(results.events)
    few = dataclasses.replace(
        results, scores=results.scores.take(rows), trees=results.trees.take(rows)
    )
    with pytest.raises(InputError, match=r"AK14: of the held-out signal jets .* there are none"):
        few.of_jets("AK14")


def test_band_holds_the_contour_and_agrees_with_the_gain(finished):
    band = read(finished, "exclusion_plane_band")
    assert all(r["excluded_low"] <= r["excluded_mass"] <= r["excluded_high"] for r in band)
    at = {(r["classifier"], r["neutralino_mass"]): r for r in band}
    for row in read(finished, "gain"):
        same = at[row["classifier"], row["neutralino_mass"]]
        for name in ("excluded_mass", "excluded_low", "excluded_high"):
            assert same[name] == pytest.approx(row[name], abs=0.01)
    assert any(row["interpolation"] != 0 for row in read(finished, "gain"))
