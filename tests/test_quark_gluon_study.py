"""The study of quark and gluon jets: its jets, its trainings, its page."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import norm

from command import InputError
from evaluation.pages import show
from jets import particle_jets as jets
from jets.split import HELD_OUT, TRAIN, VALIDATION
from products import read_csv
from studies import quark_gluon as study_of
from studies import quark_gluon_results as results
from studies import quark_gluon_trainings as of_study
from studies import scaling
from studies.particle_transformer import is_installed
from studies.quark_gluon_trainings import BOTH, FULL, OF_TREES, PEER, Trained, Way
from study import Study, load_study

N = 240
STUDY = """
base = "{base}"
name = "tiny"
[sample]
folder = "tiny"
[training]
width = 0.125
epochs = 2
batch_size = 32
[trees]
number = 10
[figures]
bootstraps = 10
background_jets_min = 2
[classifiers]
seeds = [0, 1]
"""


def write_jets(path: Path, seed: int = 0) -> None:
    """As EnergyFlow's: gluons of more and softer particles than quarks."""
    random = np.random.default_rng(seed)
    label = np.arange(N) % 2
    particles = np.zeros((N, 60, 4))
    for row, is_quark in zip(particles, label, strict=True):
        n = random.poisson(15 if is_quark else 30) + 2
        row[:n, 0] = 525 * random.dirichlet(np.full(n, 0.3))
        row[:n, 1:3] = random.normal([0.5, 3.1], 0.1, (n, 2))
        row[:n, 3] = random.choice([211, 22, 130], n)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, X=particles, y=label.astype(float))


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("quark_gluon")
    source = Path.cwd()
    (folder / "tiny.toml").write_text(STUDY.format(base="quark_gluon.toml"))
    shutil.copy(source / "studies/quark_gluon.toml", folder)
    (folder / "doc").mkdir()
    shutil.copy(source / study_of.PAGE, folder / "doc")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for i in range(2):
            write_jets(Path(f"train_data/tiny/QG_jets{f'_{i}' * (i > 0)}.npz"), seed=i)
        yield load_study("tiny.toml")


@pytest.fixture(scope="module")
def table(study) -> jets.JetTable:
    return jets.read(study)


def test_energyflow_files_take_the_place_of_ours(table):
    assert len(table) == 2 * N and table.label.tolist() == 2 * ([1] * 120 + [0] * 120)
    assert len(np.unique(table.events)) == 2 * N
    counts = [np.count_nonzero(table.split == split) for split in (TRAIN, VALIDATION, HELD_OUT)]
    np.testing.assert_allclose(np.array(counts) / (2 * N), (0.6, 0.1, 0.3), atol=0.06)
    pt = np.add.reduceat(table.constituents.pt, table.constituents.offsets[:-1])
    assert (table.jets["pt"] <= pt * (1 + 1e-5)).all()  # the sum of vectors
    assert np.array_equal(table.jets["multiplicity"], np.diff(table.constituents.offsets))
    some = table.take(table.label == 1)
    assert len(some) == N and len(some.constituents) == N and (some.label == 1).all()


def test_files_of_another_generator_are_not_mixed_with_these(study, table):
    write_jets(study.sample_dir / "QG_jets_herwig_1.npz", seed=5)
    again = jets.read(study)
    (study.sample_dir / "QG_jets_herwig_1.npz").unlink()
    assert again.sha256 == table.sha256


def test_another_process_is_refused(study):
    other = study.changed(sample={"processes": ("ttbar", "stop")})
    with pytest.raises(InputError, match="has 'ttbar', whose events are of the stop search"):
        jets.read(other)


def test_more_jets_hold_the_fewer_and_no_tested_one(table):
    few, most = (of_study.rows_of(table, BOTH._replace(jets=n)) for n in (50, 200))
    assert len(few[0]) == 50 and len(most[0]) == 200 and set(few[0]) < set(most[0])
    assert np.array_equal(few[1], most[1])
    for rows, split in zip(most, (TRAIN, VALIDATION), strict=True):
        assert (table.split[rows] == split).all()


def test_permuted_labels_keep_each_split_as_it_is(table):
    permuted = of_study.shuffled(table)
    for split in (TRAIN, VALIDATION, HELD_OUT):
        rows = table.split == split
        assert permuted[rows].sum() == table.label[rows].sum()
        assert 0.3 < np.mean(permuted[rows] == table.label[rows]) < 0.7


def test_what_a_way_does_not_see_is_not_in_its_inputs(table):
    known = np.flatnonzero(table.split == TRAIN)
    seen = {
        way.line: next(
            of_study.inputs_of(table, way, known, "cpu").batches(np.arange(9), np.array([9]))
        )[1]
        for way in (BOTH, FULL, Way("less", angularities=False))
    }
    kinds = {line: inputs["constituents"][..., 5:] for line, inputs in seen.items()}
    assert (kinds[BOTH.line] == 0).all() and (kinds[FULL.line].sum(dim=2) <= 1).all()
    assert kinds[FULL.line].sum() == seen[FULL.line]["exists"].sum()
    assert (seen[BOTH.line]["momenta"][..., 3] == 0).all()
    assert (seen["less"]["jet"][:, 2:] == 0).all() and (seen[BOTH.line]["jet"][:, 2:] != 0).any()


def test_shares_of_the_combiner_are_those_of_its_author():
    """With the matrix of the sketch: 0.6464 and 0.3536."""
    combiner = {
        "weight": [[-0.2955, -0.0300, -0.8453, 0.3120], [-0.2995, -0.1621, 0.7126, -0.0198]],
        "bias": [0.3255, 0.0582],
    }
    some = [Trained(BOTH._replace(jets=7), seed, np.zeros(0), [], combiner) for seed in (0, 1)]
    rows = {row["number"]: row for row in results.combiners(some)}
    assert rows["share of constituents"]["mean"] == pytest.approx(0.6464, abs=5e-5)
    assert rows["share of the jet"]["mean"] == pytest.approx(0.3536, abs=5e-5)
    assert rows["W, gluon, jet 2"]["mean"] == 0.3120 and rows["b, quark"]["deviation"] == 0


@pytest.mark.parametrize("installed", [False, True])
def test_every_way_is_trained_with_its_seeds(study, table, monkeypatch, installed):
    monkeypatch.setattr(of_study, "is_installed", lambda: installed)
    found = of_study.trainings(study, table)
    assert len(found) == len(set(found))
    n = np.count_nonzero(table.split == TRAIN)
    assert {way.jets for way, _ in found} == {n}  # fewer than 1,000
    seeds = {way: [seed for one, seed in found if one == way] for way, _ in found}
    assert seeds[OF_TREES._replace(jets=n)] == [0] and seeds[BOTH._replace(jets=n)] == [0, 1]
    assert (PEER._replace(jets=n) in seeds) == installed
    places = [of_study.directory_of(study, *one) for one in found]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("n", [3_000, 24_015, 100_000])
def test_the_law_has_enough_sizes_and_all_take_as_many_steps(study, n):
    for way in (FULL, PEER):
        some = of_study.sizes(way, n)
        assert some[-1] == way._replace(jets=n) and set(some) <= set(of_study.ways(n))
        assert len(some) >= scaling.SIZES_MIN or n < 24_000
        steps = [
            of_study.epochs_of(study.changed(training={"epochs": 10}), one)
            * one.jets
            / (128 // one.smaller)
            for one in some
        ]
        np.testing.assert_allclose(steps, 10 * n / 128, rtol=0.02)
    assert [way.jets for way in of_study.sizes(OF_TREES, n)] == [one.jets for one in some]


def test_trainings_of_jetvit_are_those_from_before_the_other_network(study):
    before = "line options identities angularities learning_rate longer is_shuffled jets"
    of_way = {way: of_study.settings_of(study, way, 0, "")["way"] for way in (BOTH, PEER)}
    assert list(of_way[BOTH]) == before.split()
    assert list(of_way[PEER]) == [*before.split(), "network"]
    assert of_way[BOTH] == {name: getattr(BOTH, name) for name in before.split()}


def test_a_run_from_end_to_end_and_again(study, monkeypatch, capsys):
    """Trees and a network of both find what separates the jets; permuted labels nothing; what needs
    a package that is not there was not run."""
    shuffled = next(way for way in of_study.WAYS if way.is_shuffled)
    monkeypatch.setattr(of_study, "is_installed", lambda: False)
    for module in (of_study, study_of):
        monkeypatch.setattr(module, "WAYS", (OF_TREES, BOTH, shuffled))
        monkeypatch.setattr(module, "MORE", (OF_TREES, BOTH, PEER))
    monkeypatch.setattr(results, "CURVES", (BOTH.line, shuffled.line))
    monkeypatch.setattr(sys, "argv", ["quark_gluon.py", "--study", "tiny.toml", "--device", "cpu"])
    study_of.main()
    rows = read_csv(Path("plots/tiny/results/tiny_checks.csv"))
    found = {row["line"]: float(row["value"]) for row in rows if row["quantity"] == "AUC"}
    assert found[OF_TREES.line] > 0.9 and found[BOTH.line] > 0.8
    assert abs(found[shuffled.line] - 0.5) < 0.2
    rejection = {row["line"]: row for row in rows if row["quantity"].endswith("eps_S = 0.5")}
    assert float(rejection[BOTH.line]["value"]) > 3
    assert int(rejection[BOTH.line]["trainings"]) == 2
    page = Path("plots/tiny/quark_gluon.md").read_text()
    tables = re.findall(r"Table: (\w+)(.*?)<!-- end", page, re.S)
    not_run = {name: text.count("not run") for name, text in tables if "not run" in text}
    assert not_run == {"peer": 1, "more_jets": 1, "sizes": 1, "power_law": 2, "showers": 1}
    rows = read_csv(Path("plots/tiny/results/tiny_peer.csv"))
    costs = {row["quantity"]: float(row["value"] or 0) for row in rows if row["line"] == BOTH.line}
    n = int(rows[0]["jets"])
    assert costs["training [s]"] == pytest.approx(2 * n / costs["jets / s"], abs=1)
    before = {path: path.stat().st_mtime_ns for path in study.data_dir.rglob("score.npy")}
    study_of.main()
    assert before == {path: path.stat().st_mtime_ns for path in study.data_dir.rglob("score.npy")}


def test_more_jets_to_test_on_are_scored_without_a_new_training(study, table):
    """As a variation that is made later."""
    asked, way = study.changed(f"{study.name}_later"), BOTH._replace(jets=100)
    sha256 = table.take(of_study.trains(table)).sha256
    more = table.take(np.concatenate([np.arange(2 * N), np.flatnonzero(table.split == HELD_OUT)]))
    assert more.take(of_study.trains(more)).sha256 == sha256
    place = of_study.directory_of(asked, way, 0)
    found = []
    for jets_of in (table, more):
        of_study.run_training(asked, way, 0, jets_of, sha256, torch.device("cpu"))
        checkpoints = {path: path.stat().st_mtime_ns for path in place.glob("epoch_*.pt")}
        found.append((np.load(place / "score.npy"), checkpoints))
    (before, trained), (after, kept) = found
    assert len(after) == len(more) > len(before) and trained == kept
    np.testing.assert_allclose(after[: 2 * N], before, rtol=1e-5)
    other = study.changed(f"{study.name}_at_once")
    of_study.run_training(other, way, 0, more, sha256, torch.device("cpu"))
    at_once = np.load(of_study.directory_of(other, way, 0) / "score.npy")
    np.testing.assert_allclose(at_once, after, rtol=1e-5)


@pytest.mark.skipif(not is_installed(), reason="weaver-core is not installed")
def test_the_particle_transformer_is_trained_like_jetvit(study, table):
    asked = study.changed(f"{study.name}_peer", training={"epochs": 6})
    way = PEER._replace(jets=200)
    of_study.run_training(asked, way, 0, table, "", torch.device("cpu"))
    tested = table.split == HELD_OUT
    score = np.load(of_study.directory_of(asked, way, 0) / "score.npy")[tested]
    is_quark = table.label[tested] == 1
    assert np.mean(score[is_quark][:, None] > score[~is_quark]) > 0.7
    few = Trained(way._replace(jets=of_study.trained_jets(table)), 0, score, [], {})
    rows = results.costs(study, table, [few], torch.device("cpu"))
    assert [row["quantity"] for row in rows] == ["parameters", "jets / s", "training [s]"]


def test_the_law_of_the_loss_is_that_of_scores_whose_loss_is_known(study, table, monkeypatch):
    """Gaussian scores that are told apart the better the more jets there were."""
    monkeypatch.setattr(results, "trained_jets", lambda table: 24_000)
    held_out = np.flatnonzero(table.split == HELD_OUT)
    many = table.take(np.tile(held_out, 50))
    random, found, expected = np.random.default_rng(0), [], {}
    grid = np.linspace(-12, 12, 100_001)
    for way in of_study.sizes(FULL, 24_000):
        n = way.jets
        distance = 1.5 - 0.5 * (n / 1_000) ** -0.5
        of_gluon = norm.pdf(grid) * np.log1p(np.exp(distance * grid - distance**2 / 2))
        expected[n] = np.trapezoid(of_gluon, grid)
        for seed in (0, 1):
            x = random.normal(distance * many.label)
            score = expit(distance * x - distance**2 / 2)
            found.append(Trained(way, seed, score, [], {}))
    laws = results.laws(study, many, found)
    assert list(laws) == [FULL.line]
    jets, law, resampled = laws[FULL.line]
    low, high = np.quantile([scaling.power_law(jets / 1e3, *one) for one in resampled], (0, 1), 0)
    width = high - low
    assert (width < 0.1).all()
    for n, a, b, margin in zip(jets, low, high, width, strict=True):
        assert a - margin < expected[n] < b + margin
    rows = results.law_rows(laws)
    of_full = {row["quantity"]: row["value"] for row in rows if row["line"] == FULL.line}
    assert of_full["floor"] == law[0].round(6)
    assert of_full["change of the loss to the jets of EnergyFlow"] < 0
    assert [row["value"] for row in rows if row["line"] == PEER.line] == [""]


def test_the_page_shows_what_its_csv_files_hold(tmp_path, monkeypatch, request):
    """No number of a table was written by hand."""
    root = request.config.rootpath
    shutil.copytree(root / "doc", tmp_path / "doc")
    monkeypatch.chdir(tmp_path)
    before = study_of.PAGE.read_text()
    marks = set(re.findall(r"^<!-- (\w+)", before, re.M))
    assert marks == {"studies", "end", *study_of.PRINTED}
    for name, printed in study_of.PRINTED.items():
        path = study_of.PAGE.parent / f"results/quark_gluon_{name}.csv"
        show(study_of.PAGE, name, read_csv(path) if path.is_file() else [], printed)
    assert study_of.PAGE.read_text() == before
