"""Step 5: every figure has its points beside it, and they are those of the model behind them."""

import contextlib
import csv
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from scipy.stats import norm
from synthetic_study import (
    DS2,
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
from figures import limits, performance, style
from figures.results import Results, read_results
from figures.summary import _modelling, summarise
from figures.table import Summary
from jets.split import HELD_OUT, STOP, events_in_two_splits
from products import InputError
from sensitivity.cross_sections import stop_pair_cross_section
from study import EXPECTED_BACKGROUND, JET_DEFINITIONS, LUMINOSITY, load_study

SIGNAL, BACKGROUND = 50, 800  # held-out events, of a mass point and of background
FIGURES = {
    "process",
    "event_displays",
    *(f"average_images_{name}" for name in JET_DEFINITIONS),
    "sic_single_jets",
    "sic_three_jets",
    "sic_networks",
    "sic_combinations",
    "sic_observables",
    "features",
    "exclusion_plane",
    "gain",
}


def run(folder: Path) -> None:
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["plots.py", "--study", "synthetic.toml"])
        plots.main()


def read(folder: Path, name: str) -> list[dict]:
    with (folder / f"plots/synthetic/{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{key: _number(value) for key, value in row.items()} for row in rows]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("plots")
    write_study(folder, signal=SIGNAL, background=BACKGROUND)
    write_known_trees(folder)
    run(folder)
    return folder


@pytest.fixture
def results(finished) -> Iterator[Results]:
    with contextlib.chdir(finished):
        yield read_results(load_study("synthetic.toml"), {})


def test_every_figure_is_there_with_its_points(finished):
    folder = finished / "plots/synthetic"
    assert {path.stem for path in folder.glob("*.png")} == FIGURES
    assert {path.stem for path in folder.glob("*.csv")} == (
        FIGURES | {"exclusion_plane_contours", "summary"}
    )
    for name in FIGURES:
        image = matplotlib.image.imread(folder / f"{name}.png")
        width = image.shape[1] / style.DOTS_PER_INCH
        assert width == pytest.approx(style.TWO_COLUMNS) or width == pytest.approx(style.ONE_COLUMN)
        assert image.std() > 0.01  # something is drawn


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


def test_grey_lines_count_the_background_of_every_point(results):
    """SIC = eps_S sqrt(N / n), for lines and curves alike; a cut passes whole signal jets."""
    drawing = performance.sic_of_jets(results)
    for axis in drawing.figure.axes[: len(JET_DEFINITIONS)]:
        is_signal = results.of_jets(axis.get_title()).is_signal
        n_signal, n = is_signal.sum(), (~is_signal).sum()
        of_panel = [p for p in drawing.points if p["jet_definition"] == axis.get_title()]
        for point in of_panel:
            passing = point["sic"] / np.sqrt(n / point["background_jets"]) * n_signal
            assert passing == pytest.approx(np.ceil(n_signal * point["signal_efficiency"] - 1e-9))
        lines = [line.get_xydata()[-1] for line in axis.lines if line.get_color() == style.GREY]
        slopes = [y / x for x, y in lines]
        counts = [int(text.get_text().replace(",", "")) for text in axis.texts]
        assert counts == [10, 25, 100, 1000]
        assert slopes == pytest.approx(np.sqrt(n / np.array(counts)))


def test_the_scale_on_the_right_counts_the_background_of_measured_points(results):
    drawing = performance.sic_of_networks(results)
    n = np.count_nonzero(~results.of_events.is_signal)
    right = drawing.figure.axes[-1]
    counts = [int(label.get_text().replace(",", "")) for label in right.get_yticklabels()]
    assert counts == [10, 25, 100]  # 1,000 of 800 cannot pass
    expected = results.study.working_point * np.sqrt(n / np.array(counts))
    np.testing.assert_allclose(right.get_yticks(), expected)
    of_points = [p for p in drawing.points if not p["is_lower_limit"]]
    for point in of_points:
        same = results.study.working_point * np.sqrt(n / point["background_events"])
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
        pb = float(stop_pair_cross_section(row["stop_mass"]))
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


def test_empty_and_full_planes_say_so(results):
    one = limits.exclusions(results)[-1]
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
    study = dataclasses.replace(results.study, background_events_min=BACKGROUND + 1)
    with pytest.raises(InputError, match="800 held-out background events, expected at least 801"):
        limits.exclusions(dataclasses.replace(results, study=study))


def test_a_classifier_gains_nothing_over_itself(results):
    """The bootstrap is paired: not even the error is left."""
    one = limits.exclusions(results)[0]
    gain, _ = limits.gain_over(one, one)
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
    single = [row for row in rows if row["section"].startswith("Single jets")]
    for name in JET_DEFINITIONS:
        for classifier in (*OF_JETS, "jet mass", "jet pT", "trees on (mass, pT)"):
            found = {r["quantity"]: r for r in single if r["classifier"] == f"{name} {classifier}"}
            assert {"AUC", "max SIC"} <= set(found)
            assert ("AUC - AUC of mass" in found) == (classifier != "jet mass")
            assert all(row["low"] < row["value"] < row["high"] for row in found.values())
    published = {
        row["classifier"]: row["published"]
        for row in rows
        if row["quantity"] == "max SIC" and "weighted" not in row["section"]
    }
    assert published["AK14 MaxViT"] == 8.5 and published["AK08_CNN"] == 6.94
    assert published["AK14 ViT"] == "" and published["DS2"] == ""
    # The working point of the demo is not the published one: nothing is put beside it.
    assert all(row["published"] == "" for row in rows if row["quantity"].startswith("SIC at"))
    added = [row for row in rows if row["quantity"] == "AUC - AUC of DS2"]
    assert [row["classifier"] for row in added] == [f"{name} + DS2" for name in OF_JETS]
    text = (finished / "plots/synthetic/summary.txt").read_text()
    events = (SIGNAL + SIGNAL // 5) * 9 + BACKGROUND + BACKGROUND // 5
    assert f"Events in two splits: 0 of {events}." in text
    assert text.count("permuted labels: AUC is 0.5 within three standard errors: yes") == 4
    assert "AK14: a network beats the jet mass by more than two standard errors: yes" in text


def test_seeds_are_averaged_with_their_spread(finished):
    rows = read(finished, "summary")
    assert not any(row["classifier"] == "AK14_MaxViT_1" for row in rows)
    rows = [row for row in rows if row["section"].startswith("Mean and standard")]
    names = {row["classifier"] for row in rows}
    assert names == {
        f"{what}: {name} MaxViT, 2 seeds"
        for what in ("single jets", "trees on three jets")
        for name in JET_DEFINITIONS
    }
    for row in rows:
        if row["quantity"] == "AUC":
            distance = OF_JETS["MaxViT"] if "single" in row["classifier"] else OF_EVENTS["MaxViT"]
            assert row["value"] == pytest.approx(norm.cdf(distance / np.sqrt(2)), abs=0.03)


def test_ratios_are_those_of_the_maxima(finished):
    rows = read(finished, "summary")
    maxima = {
        row["classifier"]: row["value"]
        for row in rows
        if row["section"].startswith("Single jets, held") and row["quantity"] == "max SIC"
    }
    ordering = [row for row in rows if row["section"].startswith("The paper's ordering")]
    ratios = {row["classifier"]: row for row in ordering if row["quantity"] == "max SIC"}
    row = ratios["single jets: AK14 CoAtNet / AK14 CNN"]
    assert row["value"] == pytest.approx(maxima["AK14 CoAtNet"] / maxima["AK14 CNN"], rel=1e-4)
    assert row["published"] == pytest.approx(7.9 / 4.4, abs=0.01)
    assert row["low"] < row["value"] < row["high"]
    assert "single jets: AK14 MaxViT / AK14 CNN (2 / 1)" in ratios
    assert "single jets: AK14 ViT / AK10 ViT" in ratios
    at_point = {row["classifier"]: row for row in ordering if row["quantity"] != "max SIC"}
    single = {
        row["classifier"]: row["value"]
        for row in rows
        if row["section"].startswith("Single jets, held") and row["quantity"].startswith("SIC at")
    }
    network, trees = single["AK10 CNN"], single["AK10 trees on the networks' jets"]
    row = at_point["single jets: AK10 CNN / AK10 trees on the networks' jets"]
    assert row["value"] == pytest.approx(network / trees, rel=1e-4)
    name = "trees on three jets: AK14 CoAtNet / AK14 CNN"
    assert ratios[name]["published"] == pytest.approx(9.94 / 7.75, abs=0.01)
    assert at_point[name]["published"] == ""  # the working point of the demo is another


def test_other_showers_shift_what_passes_the_cut(results):
    """A variation drawn from the same model shifts nothing; one nearer to signal passes more."""
    random = np.random.default_rng(5)
    trees = results.trees.take(results.events["process"] != STOP)
    shifts = {"half_scale": 0.0, "power_shower": 0.7}
    varied = {}
    for name, shift in shifts.items():
        n = 4_000
        score = {"DS2": 1 / (1 + np.exp(-random.normal(shift, 1.0, n)))}
        varied[name] = dataclasses.replace(trees.take(np.zeros(n, int)), fits=score)
    only = dataclasses.replace(results.trees, fits={"DS2": results.trees.fits["DS2"]})
    summary = Summary()
    _modelling(summary, dataclasses.replace(results, trees=only, varied=varied))
    found = {row["quantity"]: row for row in summary.rows}
    error = (found["half_scale"]["high"] - found["half_scale"]["low"]) / 2
    assert abs(found["half_scale"]["value"]) < 3 * error < 1
    # At eps_S = 0.5 the cut lies at d = 1.8.
    expected = norm.sf(DS2 - 0.7) / norm.sf(DS2) - 1
    error = (found["power_shower"]["high"] - found["power_shower"]["low"]) / 2
    assert abs(found["power_shower"]["value"] - expected) < 3 * error


def test_auc_of_the_summary_is_the_closed_form(finished):
    """The AUC of two unit Gaussians at distance d is Phi(d / sqrt(2))."""
    rows = {
        row["classifier"]: row
        for row in read(finished, "summary")
        if row["quantity"] == "AUC" and "held out (" in row["section"]
    }
    distances = {f"AK14 {name}": d for name, d in OF_JETS.items()} | {"DS2": DS2}
    for name, distance in distances.items():
        row = rows[name]
        error = (row["high"] - row["low"]) / 2
        assert abs(row["value"] - norm.cdf(distance / np.sqrt(2))) < 4.5 * error


def test_an_event_in_two_splits_is_counted(results):
    events = results.table.events.copy()
    first, second = np.flatnonzero(events["process"] != STOP)[[0, -1]]
    assert events["split"][first] == HELD_OUT != events["split"][second]
    events["row"][second] = events["row"][first]
    assert events_in_two_splits(results.table.events, []) == 0
    assert events_in_two_splits(events, []) == 1


def test_a_leak_fails_the_null_check(results):
    leaking = {
        f"{name}/CNN": jets["shuffled_label"].astype("f4")
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
        summary.add("section", "number", name, value, low, high, status)
    lines = [line.split(maxsplit=1) for line in summary.text().splitlines()]
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

    def note(drawing: style.Drawing, path: Path) -> list[Path]:
        drawn.add(path.stem)
        return []

    monkeypatch.setattr(style, "save", note)
    write_study(tmp_path, signal=12, background=150, published=True)
    write_known_trees(tmp_path, published=True)
    run(tmp_path)
    missing = {"sic_observables", "features", "exclusion_plane", "gain"}
    assert drawn == FIGURES - missing
    printed = capsys.readouterr().out
    assert all(f"Left out: {name}: the published files hold no" in printed for name in missing)
    assert "Left out: AK14_MaxViT_DS2: the published files hold no" in printed
