"""Jets of particles, public ones here, through all steps: each is an event of one jet."""

import io
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from test_chain import figures, read_csv
from test_quark_gluon_study import N, write_jets

import fit_xgb
import plots
import predict_base_model_mass
import setup
import train
from command import InputError
from jets.events import TABLES, ParticleJets, write_events
from jets.packed import read_event_table, read_jets
from jets.particle_jets import files_of, read, read_file
from jets.preparation import look_through, may_train
from jets.ragged import events_of, table
from jets.sources import find_source
from jets.split import HELD_OUT, is_signal
from study import load_study
from training.plan import trainings

STUDY = """
base = "readme"
[sample]
published_files = false
processes = ["quark_jets", "gluon_jets"]
background_files = 1
[images]
split = [0.4, 0.2, 0.4]
training_jets_per_mass_point = 1_000
[training]
width = 0.125
epochs = 4
batch_size = 32
learning_rate = 2e-3
[classifiers]
networks = ["Toy", "JetViT"]
jet_definitions = ["AK04"]
[trees]
number = 5
folds = 2
[figures]
bootstraps = 10
background_events_min = 2
background_jets_min = 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("particle_jets")
    (folder / "few.toml").write_text(STUDY)
    for i in range(2):
        write_jets(folder / f"train_data/few/QG_jets_{i}.npz", seed=i)
    (folder / "train_data/few/gluon_jets_0.h5").touch()
    return folder


@pytest.fixture(scope="module", autouse=True)
def finished(folder) -> Iterator[str]:
    """All steps have run in `folder`, which is the current one; what setup.py printed."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        patch.setattr(Figure, "savefig", lambda figure, path, **options: None)  # they take long
        patch.chdir(folder)
        for script in (setup, train, predict_base_model_mass, fit_xgb, plots):
            every = ["--all", "--jobs", "1"] if script is train else []
            patch.setattr(sys, "argv", [script.__file__, "--study", "few.toml", *every])
            script.main()
        yield said.getvalue()


def test_public_files_are_named_and_ours_left_out(finished):
    assert "source: public jets, train_data/few/, 2 files" in finished
    assert "left out: 1 file beside the public jets: gluon_jets_0.h5" in finished
    assert "missing" not in finished


def test_an_event_is_a_jet_of_the_table(finished):
    """Both ways to read a sample know the same jets, by the same identity, in the same split."""
    study = load_study("few.toml")
    events, other = read_event_table(Path("Data/few/events.h5")).events, read(study)
    assert len(events) == len(other) == 2 * N
    for name in other.events.dtype.names:
        np.testing.assert_array_equal(events[name], other.events[name])
    np.testing.assert_array_equal(events["split"], other.split)
    np.testing.assert_array_equal(is_signal(events), other.label == 1)
    jets = read_jets(Path("Data/few/AK04.h5"))
    assert set(jets.jets["k"]) == {0} and jets.side == 32
    held_out = jets.jets["event"][jets.jets["split"] == HELD_OUT]
    np.testing.assert_array_equal(held_out, np.flatnonzero(events["split"] == HELD_OUT))
    for name in ("mass", "pt"):
        np.testing.assert_allclose(jets.jets[name], other.jets[name][jets.jets["event"]], rtol=1e-6)


def test_an_image_holds_all_of_its_jet(finished):
    """The pT of each kind of constituent is in the channel of that kind; none lies outside."""
    jets, other = read_jets(Path("Data/few/AK04.h5")), read(load_study("few.toml"))
    found = other.constituents.take(jets.jets["event"])
    image, jet = events_of(jets.images.offsets), events_of(found.offsets)
    assert np.hypot(found.rapidity, found.phi).max() < 0.56
    for channel, kind in enumerate((1, 2, 0)):  # EhT, EmT, TrackPT
        inside, of_kind = jets.images.pixels // 32**2 == channel, found.kind == kind
        drawn = np.bincount(image[inside], jets.images.values[inside], len(jets))
        held = np.bincount(jet[of_kind], found.pt[of_kind], len(jets))
        np.testing.assert_allclose(drawn, held, rtol=1e-5)


def test_the_axis_has_the_direction_of_the_jets_momentum(finished):
    """sinh eta = pz / pT, with pz of the constituents."""
    study = load_study("few.toml")
    file = files_of(study)[0]
    found = read_file(file)
    jets = look_through(find_source(study), study).jets["AK04"][: len(found.axes), 0]
    part, jet = found.constituents, events_of(found.constituents.offsets)
    rapidity = part.rapidity.astype(float) + found.axes["rapidity"][jet]
    pz = np.bincount(jet, np.hypot(part.pt, part.mass) * np.sinh(rapidity))
    np.testing.assert_allclose(np.sinh(jets["eta"]), pz / jets["pt"], rtol=1e-4)


def test_networks_of_both_inputs_are_scored_and_trees_grown(finished):
    rows = read_csv(Path("plots/few/summary.csv"))
    auc = {
        (row["level"], row["label"]): float(row["value"])
        for row in rows
        if (row["table"], row["quantity"], row["spectrum"]) == ("merits", "AUC", "")
    }
    assert auc["jets", "AK04 JetViT"] > 0.8
    assert auc["jets", "AK04 trees on (mass, pT, angularities)"] > 0.8
    assert auc["events", "AK04 JetViT"] > 0.7  # of one jet; the others have the score -1
    assert ("jets", "AK04 Toy") in auc


def test_what_one_jet_can_give_is_drawn_and_the_rest_named(finished):
    drawn = figures(Path())
    assert drawn == {
        "event_displays", "average_images_AK04", "jet_spectra", "training_curves", "scores",
        "sic_single_jets", "sic_three_jets",
    }  # fmt: skip
    assert "Left out: features: the sample holds no event observables" in finished
    assert "Left out: gain: the sample holds no event observables" in finished


# --- Files of our own -----------------------------------------------------------------------------


def our_jets(process: str, n: int, seed: int, weighted: bool = True) -> ParticleJets:
    """Jets of two particles each, as simulate.py writes them; every second weighs three times."""
    random = np.random.default_rng(seed)
    particles = {"pt": random.uniform(240, 280, 2 * n), "rapidity": random.normal(0, 0.1, 2 * n)}
    particles |= {"phi": random.normal(0, 0.1, 2 * n), "pdg_id": np.tile([22, 211], n)}
    columns = {
        "jet": table(ParticleJets.DATASETS["jet"], n, {"pt": 520}),
        "particles": table(ParticleJets.DATASETS["particles"], 2 * n, particles),
        "particle_offsets": 2 * np.arange(n + 1),
        "truth": np.zeros((n, 0), TABLES["truth"]),
        "pt_hat": np.full(n, 530.0), "veto_score": np.full(n, np.nan),
        "cut_flow": np.array([(b"begun", n)], TABLES["cut_flow"]),
    }  # fmt: skip
    attributes = {
        "process": process, "index": 0, "cross_section_pb": 1.0, "cross_section_error_pb": 0.1,
        "generated": n, "selected": n, "selection_efficiency": 1.0,
        "selection_efficiency_error": 0.0,
    }  # fmt: skip
    weight = 1.0 + 2.0 * (np.arange(n) % 2) if weighted else None
    return ParticleJets(attributes, **columns, weight=weight)


@pytest.fixture
def ours(tmp_path, monkeypatch) -> Path:
    """The folder of a sample with a file of each process; the study is `few.toml`."""
    monkeypatch.chdir(tmp_path)
    Path("few.toml").write_text(STUDY)
    for seed, name in enumerate(("quark_jets", "gluon_jets")):
        write_events(Path(f"train_data/few/{name}_0.h5"), our_jets(name, 20, seed))
    return tmp_path / "train_data/few"


def test_weights_of_our_jets_are_those_of_their_events(ours):
    study = load_study("few.toml")
    source = find_source(study)
    assert source.name == "jets of particles" and not source.left_out
    events = look_through(source, study).table.events
    np.testing.assert_array_equal(events["weight"], 1.0 + 2.0 * (np.arange(40) % 2))
    write_events(ours / "gluon_jets_0.h5", our_jets("gluon_jets", 20, 1, weighted=False))
    assert (look_through(find_source(study), study).table.events["weight"][20:] == 1).all()


def test_a_jet_that_is_there_twice_is_found(ours):
    write_events(ours / "quark_jets_0.h5", our_jets("quark_jets", 20, seed=1))
    study = load_study("few.toml")
    with pytest.raises(
        InputError, match=r"gluon_jets_0\.h5, row 0: the same event as .*quark_jets"
    ):
        look_through(find_source(study), study)


def test_what_does_not_fit_the_jets_is_refused(ours):
    study = load_study("few.toml")
    with pytest.raises(InputError, match="names 'AK14', expected each once and among AK04"):
        trainings(study.changed(classifiers={"jet_definitions": ("AK04", "AK14")}))
    mixed = study.changed(sample={"processes": ("quark_jets", "ttbar")})
    with pytest.raises(InputError, match="has 'ttbar', whose events are of the stop search"):
        find_source(mixed)
    shutil.copy(ours / "quark_jets_0.h5", ours / "gluon_jets_0.h5")
    with pytest.raises(InputError, match=r"gluon_jets_0\.h5: holds the jets of quark_jets_0\.h5"):
        read(study)


def test_a_floor_in_ht_needs_events(ours):
    study = load_study("few.toml")
    with pytest.raises(InputError, match="the sample holds no HT"):
        floor = study.changed(images={"training_ht_min": 1000.0})
        may_train(look_through(find_source(floor), floor).table, floor)
