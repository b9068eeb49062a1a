"""The collisions in the repository look like top and stop pairs."""

import functools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.pages import markdown
from jets.events import read_events, write_events
from physics import JETS_MIN, LUMINOSITY
from products import read_csv
from study import PRESETS

pytest.importorskip("pythia8mc", reason="no wheel of pythia8mc for this system")
pytest.importorskip("fastjet", reason="no wheel of fastjet for this system")

from checks.validation import (
    CMS_TTBAR_EVENTS,
    cut_flow,
    from_one_jet,
    from_small_jets,
    peak,
    peak_masses,
    printed,
    read_sample,
    ttbar_yield,
)
from processes.ttbar import CROSS_SECTION, VETO_SCORE_MIN

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / PRESETS["demo"].sample_dir


def test_the_sample_is_what_its_study_asks_for():
    demo = PRESETS["demo"]
    stops = [read_events(path) for path in FOLDER.glob("stop_*.h5")]
    points = {events.numbers for events in stops}
    assert points == {
        (m, chi) for m in demo.sample.stop_masses for chi in demo.sample.neutralino_masses
    }
    assert all(events.fully_selected.sum() >= demo.simulation.signal_events for events in stops)
    background = read_sample(FOLDER, "ttbar")
    assert background.fully_selected.sum() >= demo.simulation.background_events
    assert background.observables["n_jets"].min() == 5 < JETS_MIN
    assert (background.veto_score >= VETO_SCORE_MIN).all()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 15e6


def test_the_top_yield_is_that_of_cms_within_a_factor_of_one_and_a_half():
    value, error = ttbar_yield(FOLDER)
    assert error < 0.03 * value
    assert 1 / 1.5 < value / CMS_TTBAR_EVENTS < 1.5


def test_the_top_yield_is_a_sum_of_weights(tmp_path):
    """Of all events twice the weight: the same; of some more than of others: (sum w^2)^1/2."""
    events = read_events(FOLDER / "ttbar_0.h5")
    selected = events.fully_selected
    of_all = 2.0 * events.attributes["generated"]
    weighted = replace(events, attributes=events.attributes | {"sum_of_weights": of_all})
    plain = 1e3 * CROSS_SECTION * LUMINOSITY / of_all
    for weight in (np.full(len(events), 2.0), np.where(np.arange(len(events)) % 2, 3.0, 1.0)):
        in_file = replace(weighted, weight=weight * weighted.unit_weight)
        write_events(tmp_path / "ttbar_0.h5", in_file)
        expected = plain * np.array([weight[selected].sum(), np.sum(weight[selected] ** 2) ** 0.5])
        assert ttbar_yield(tmp_path) == pytest.approx(expected, rel=1e-12)


def test_the_peak_is_found_on_a_slope():
    generator = np.random.default_rng(1)
    masses = np.concatenate([generator.normal(80, 5, 500), generator.uniform(20, 300, 500)])
    value, error = peak(masses)
    assert abs(value - 80) < 4 * error < 8


@pytest.mark.parametrize(
    ("particle", "mass", "definition"), [("W", 80.4, "AK08"), ("top", 172.5, "AK14")]
)
def test_peaks_of_single_jets(particle, mass, definition):
    reconstruct = functools.partial(from_one_jet, definition=definition)
    value, error = peak(peak_masses(read_sample(FOLDER, "ttbar"), particle, reconstruct))
    assert abs(value - mass) < 0.05 * mass + 2 * error


@pytest.mark.parametrize(("particle", "mass"), [("W", 80.4), ("top", 172.5)])
def test_peaks_of_small_jets(particle, mass):
    value, error = peak(peak_masses(read_sample(FOLDER, "ttbar"), particle, from_small_jets))
    assert abs(value - mass) < 0.05 * mass + 2 * error


@pytest.mark.parametrize("mass", PRESETS["demo"].sample.neutralino_masses)
def test_peaks_of_neutralinos(mass):
    parts = [read_events(path) for path in FOLDER.glob(f"stop_*_{mass}.h5")]
    masses = [peak_masses(part, "neutralino", from_small_jets) for part in parts]
    value, error = peak(np.concatenate(masses))
    assert abs(value - mass) < 0.05 * mass + 2 * error


def test_the_cut_flow_begins_at_one_and_falls():
    rows = cut_flow(FOLDER)
    keys = [(row["process"], row["parameter"]) for row in rows if row["cut"] == "begun"]
    assert keys == [("ttbar", ""), ("stop", 700), ("stop", 900), ("stop", 1100)]
    for key in keys:
        share = [row["share"] for row in rows if (row["process"], row["parameter"]) == key]
        assert share[0] == 1 and (np.diff(share) <= 0).all()


def test_the_page_shows_what_its_csv_files_hold():
    """No number of a table was written by hand."""
    page = (ROOT / "doc/validation.md").read_text()
    tables = re.findall(r"<!-- (?!end|slices)(\w+) -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    assert len(tables) == 9
    for name, table in tables:
        rows = read_csv(ROOT / f"doc/results/validation_{name}.csv")
        assert markdown(printed(name, rows)) == table
