"""Events as sets of objects: their facts, their frame, the network's symmetries and its input."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import setup
from collisions.observables import fox_wolfram
from command import InputError
from event_level.fits import beside_event_networks
from event_level.networks import cross_fit
from event_level.trees import grow_all
from jets.angularities import ANGULARITIES
from jets.classifier import Classifier
from jets.event_set import JETS_MAX, EventSet, event_set, read_event_set
from jets.events import MANTISSA_BITS, read_events
from jets.four_momenta import invariant_mass, momenta_of
from jets.packed import JET_DTYPE, OBSERVABLES, read_event_table, read_jet_table
from jets.ragged import events_of, offsets_from, table
from jets.scores import BaseScores
from jets.split import HELD_OUT, is_signal
from models.__main__ import parameters
from models.event_set import event_set as make
from models.pairs import CLOSEST, pairs
from physics import FOX_WOLFRAM_ORDERS
from sensitivity.auc import correlated_aucs
from study import Study, load_study
from training.event_set import EventSets, moments
from training.inputs import input_of, make_sample
from training.interruption import Watch
from training.learner import Learner
from training.loop import train, unseen_inputs
from training.plan import Training

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
NETWORK = Classifier(("AK14",), ("CNN",))
STUDY = """
base = "demo"
folder = "demo"
stop_masses = [900]
neutralino_masses = [300]
training_jets_per_mass_point = 20
split = [0.2, 0.1, 0.7]
"""
SIZE = {"lepton": 2, "missing": 3, "jets": 6, "large_jets": 7}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """A part of the demo, after setup.py."""
    folder = tmp_path_factory.mktemp("event_set")
    (folder / "tiny.toml").write_text(STUDY)
    sample = folder / "train_data" / "demo"
    sample.mkdir(parents=True)
    for name in ("stop_900_300", "ttbar_0", "ttbar_1"):
        shutil.copy2(ROOT / "train_data" / "demo" / f"{name}.h5", sample)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        setup.main(["--study", "tiny.toml"])
        yield load_study("tiny.toml")


@pytest.fixture(scope="module")
def scores(study) -> BaseScores:
    """Angularities and scores by chance; a jet without pixels has none."""
    random, events = np.random.default_rng(0), read_event_table(study.data_dir / "events.h5").events
    held_out = np.flatnonzero(events["split"] == HELD_OUT)
    jets = np.zeros((len(held_out), 3), [("pt", "f4"), *((name, "f4") for name in ANGULARITIES)])
    for name in ANGULARITIES:
        jets[name] = random.uniform(size=jets.shape)
    packed = read_jet_table(study.data_dir / "AK14.h5")
    packed = packed[packed["split"] == HELD_OUT]
    jets["pt"][np.searchsorted(held_out, packed["event"]), packed["k"]] = packed["pt"]
    found = {NETWORK: np.where(jets["pt"] > 0, random.integers(0, 2, jets.shape), -1.0)}
    return BaseScores(held_out, {"AK14": jets}, found, {}, {})


@pytest.fixture(scope="module")
def found(study, scores) -> EventSet:
    return read_event_set(study, scores, [NETWORK], "AK14")


@pytest.fixture
def given() -> dict[str, np.ndarray]:
    """What `event_set` takes, of 300 signal events of the demo, in float64."""
    events = read_events(ROOT / "train_data/demo/stop_900_500.h5")
    events = events.take(np.arange(len(events)) < 300)
    wide = [(name, "f8") for name in ("pt", "eta", "phi", "mass", "b_tag")]
    kinds = {"lepton": events.lepton, "jets": events.jets, "large_jets": events.large_r["AK14"]}
    made = {}
    for kind, one in kinds.items():
        columns = {name: one[name] for name, _ in wide if name in one.dtype.names}
        made[kind] = table(wide, one.shape, columns)
    names = ("met_x", "met_y")
    columns = {name: events.observables[name] for name in names}
    made["observables"] = table([(name, "f8") for name in names], len(events), columns)
    return made | {"event": np.arange(len(events)), "jet_offsets": events.jet_offsets}


def as_set(given: dict[str, np.ndarray], **options) -> EventSet:
    random = np.random.default_rng(0)
    more = {name: random.normal(size=(len(given["event"]), 3)) for name in ("width", "logit")}
    return event_set(**given, more=more, **options)


def inputs_of(found: EventSet) -> dict[str, torch.Tensor]:
    """As the network takes them, of all events, in float64."""
    known = found.take(np.arange(len(found)) % 2 == 0)
    inputs = EventSets(found, moments(known), np.zeros(len(found), JET_DTYPE), CPU)
    [(_, named)] = inputs.batches(np.arange(len(found)), np.array([len(found)]))
    return {k: x if x.dtype == torch.bool else x.double() for k, x in named.items()}


def network(size: dict[str, int] = SIZE, **options) -> nn.Module:
    """In float64, with a class token that differs from 0."""
    torch.manual_seed(0)
    made = make(size, **options).double().eval()
    nn.init.normal_(made.last.token)
    return made


@torch.no_grad()
def logits(inputs: dict[str, torch.Tensor], **options) -> torch.Tensor:
    return network(**options)(**inputs)[:, 1]


# --- Facts ----------------------------------------------------------------------------------------


def test_the_objects_give_the_observables_of_the_event_table(study, scores, found):
    known = read_event_table(study.data_dir / "events.h5")
    seen = dict(zip(OBSERVABLES, known.observables[found.event].T.astype(float), strict=True))
    columns = dict(zip(found.names, found.features.T.astype(float), strict=True))
    assert (known.events["split"][found.event] == HELD_OUT).all() and len(found) > 1000

    def column(kind: str, name: str) -> np.ndarray:
        n = found.objects[kind].shape[1]
        return np.stack([columns[f"{kind} {i} {name}"] for i in range(n)], axis=1)

    pt = np.exp(column("jets", "ln pT"))
    whole = seen["Nj"] <= JETS_MAX
    assert np.array_equal((pt > 0).sum(axis=1), np.minimum(seen["Nj"], JETS_MAX))
    assert np.array_equal(np.nansum(column("jets", "b tag"), axis=1)[whole], seen["Nb"][whole])
    rounding = 2.0**-MANTISSA_BITS
    np.testing.assert_allclose(np.nansum(pt, axis=1)[whole], seen["HT"][whole], rtol=rounding)
    assert (np.nansum(pt, axis=1)[~whole] < seen["HT"][~whole]).all()
    for kind, name in (("missing", "pTmiss"), ("lepton", "lepton pT")):
        np.testing.assert_allclose(np.exp(column(kind, "ln pT")[:, 0]), seen[name], rtol=1e-5)
    masses = np.expm1(column("large_jets", "ln(1 + mass)"))
    assert (np.nansum(masses, axis=1) <= (1 + rounding) * seen["MJ"]).all()
    fewer = np.isnan(masses[:, 2])  # than three: no other jet adds to MJ
    np.testing.assert_allclose(np.nansum(masses, axis=1)[fewer], seen["MJ"][fewer], rtol=rounding)
    assert fewer.sum() > 50
    logit = column("large_jets", "logit of AK14 CNN")
    score = np.where(np.isnan(masses), -1, logit > 0)
    assert np.array_equal(score, scores.networks[NETWORK])
    np.testing.assert_allclose(np.abs(logit[score >= 0]), np.log(1e7), rtol=1e-6)


def test_the_fox_wolfram_moments_are_those_of_the_jets_in_the_frame(study, found):
    known = read_event_table(study.data_dir / "events.h5").observables[found.event]
    few = known[:, OBSERVABLES.index("Nj")] <= JETS_MAX
    ln_pt, eta, cosine, sine = found.objects["jets"][few, :, :4].transpose(2, 0, 1).astype(float)
    exists = ~np.isnan(ln_pt)
    pt, eta, phi = np.exp(ln_pt)[exists], eta[exists], np.arctan2(sine, cosine)[exists]
    seen = fox_wolfram(pt, eta, phi, offsets_from(exists.sum(axis=1)), FOX_WOLFRAM_ORDERS)
    first = OBSERVABLES.index("H1")
    expected = known[few, first : first + len(FOX_WOLFRAM_ORDERS)]
    np.testing.assert_allclose(seen, expected, atol=3e-4)


def test_published_files_and_missing_collisions_are_refused(study, scores, monkeypatch):
    sample = study.sample_dir / "ttbar_1.h5"
    sample.rename("elsewhere.h5")
    with pytest.raises(InputError, match=r"ttbar_1\.h5: no such file; simulate or copy it again"):
        read_event_set(study, scores, [], "AK14")
    Path("elsewhere.h5").rename(sample)
    known = read_event_table(study.data_dir / "events.h5")
    without = dataclasses.replace(known, observables=None)
    monkeypatch.setattr("jets.event_set.read_event_table", lambda _: without)
    with pytest.raises(InputError, match="the sample holds no lepton, pTmiss and R = 0"):
        read_event_set(study, scores, [], "AK14")


# --- Symmetries -----------------------------------------------------------------------------------


def turned(given: dict, angle: np.ndarray, phi: int = 1, eta: int = 1) -> dict:
    """Events turned about the beam by angles (m,), then reflected where a sign is -1."""
    made = {name: one.copy() for name, one in given.items()}
    of_jets = angle[events_of(given["jet_offsets"])]
    for kind, by in (("lepton", angle), ("jets", of_jets), ("large_jets", angle[:, None])):
        made[kind]["phi"] = phi * (given[kind]["phi"] + by)
        made[kind]["eta"] *= eta
    x, y = (given["observables"][name] for name in ("met_x", "met_y"))
    made["observables"]["met_x"] = x * np.cos(angle) - y * np.sin(angle)
    made["observables"]["met_y"] = phi * (x * np.sin(angle) + y * np.cos(angle))
    return made


@pytest.mark.parametrize("signs", [{}, {"phi": -1}, {"eta": -1}], ids=["turn", "phi", "eta"])
def test_turns_and_reflections_change_nothing(signs, given):
    angle = np.random.default_rng(1).uniform(-np.pi, np.pi, len(given["event"]))
    before, after = as_set(given), as_set(turned(given, angle, **signs))
    np.testing.assert_allclose(after.features, before.features, rtol=1e-6, atol=1e-6)
    before, after = (logits(inputs_of(one)) for one in (before, after))
    assert before.std() > 0.01
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


def test_a_reflection_of_one_jet_is_no_symmetry(given):
    before = as_set(given)
    given = given | {"large_jets": given["large_jets"].copy()}
    given["large_jets"]["eta"][:, 0] *= -1
    changed = logits(inputs_of(as_set(given))) - logits(inputs_of(before))
    assert changed.abs().median() > 1e-4


def test_the_order_of_jets_changes_nothing(given):
    inputs, random = inputs_of(as_set(given)), np.random.default_rng(2)
    before, momenta, first = logits(inputs), [inputs["momenta"][:, :2]], 2
    for kind in ("jets", "large_jets"):
        n = inputs[kind].shape[1]
        order = random.permuted(np.tile(np.arange(n), (len(before), 1)), axis=1)
        event, order = torch.arange(len(before))[:, None], torch.from_numpy(order)
        for name in (kind, f"{kind}_mask"):
            inputs[name] = inputs[name][event, order]
        momenta.append(inputs["momenta"][:, first : first + n][event, order])
        first += n
    torch.testing.assert_close(
        logits(inputs | {"momenta": torch.cat(momenta, dim=1)}), before, rtol=0, atol=1e-6
    )
    for wrong in ({}, {"momenta": inputs["momenta"].roll(1, 1)}):
        assert (logits(inputs | wrong) - before).abs().max() > 1e-4


def test_more_padding_changes_nothing_nor_does_what_stands_there(given):
    inputs, padded = (inputs_of(as_set(given, jets_max=n)) for n in (20, 25))
    before = logits(inputs)
    torch.testing.assert_close(logits(padded), before, rtol=0, atol=1e-6)
    for kind in ("jets", "large_jets"):
        inputs[kind][~inputs[f"{kind}_mask"]] = 100.0
    exists = torch.cat([inputs["jets_mask"], inputs["large_jets_mask"]], dim=1)
    assert not exists[:, -1].all()
    inputs["momenta"][:, 2:][~exists] = 1.0
    torch.testing.assert_close(logits(inputs), before, rtol=0, atol=1e-6)


def test_softer_jets_than_twelve_are_left_out(given):
    n_jets, seen = np.diff(given["jet_offsets"]), as_set(given).objects["jets"]
    assert n_jets.max() > JETS_MAX
    ln_pt = as_set(given, jets_max=n_jets.max()).objects["jets"][..., 0]
    assert np.array_equal(seen[..., 0], -np.sort(-ln_pt, axis=1)[:, :JETS_MAX], equal_nan=True)


# --- Network --------------------------------------------------------------------------------------


def test_pairs_are_those_of_four_momenta(given):
    """In the laboratory; with pTmiss, the transverse mass."""
    seen = as_set(given)
    momenta = torch.from_numpy(seen.momenta[:, :5] / np.float32([1e3, 1, 1, 1e3])).double()
    has_rapidity = torch.tensor([True, False, True, True, True])
    have = has_rapidity[:, None] & has_rapidity
    found = pairs(momenta[:, :, None], momenta[:, None], have)
    jets = [given["jets"][given["jet_offsets"][:-1] + i] for i in (0, 1)]
    lepton, first, second = map(momenta_of, (given["lepton"], *jets))
    missing = np.zeros_like(lepton)
    missing[:, 1:3] = np.stack([given["observables"][name] for name in ("met_x", "met_y")], axis=1)
    missing[:, 0] = np.hypot(missing[:, 1], missing[:, 2])
    for i, j, both in ((2, 3, first + second), (0, 2, lepton + first)):
        mass = found[:, i, j, 3].exp().sqrt()
        np.testing.assert_allclose(1e3 * mass, invariant_mass(both), rtol=1e-3)
    flat = lepton * [1, 1, 1, 0]  # of the same mass, without momentum along the beam
    flat[:, 0] = np.hypot(invariant_mass(lepton), given["lepton"]["pt"])
    squared = invariant_mass(flat + missing) ** 2 / 1e6
    np.testing.assert_allclose(found[:, 0, 1, 3].exp(), squared, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(found, found.transpose(1, 2), rtol=0, atol=1e-9)
    rapidity = np.subtract(*(np.arctanh(p[:, 3] / p[:, 0]) for p in (first, second)))
    turn = np.angle(np.exp(1j * (jets[0]["phi"] - jets[1]["phi"])))
    np.testing.assert_allclose(found[:, 2, 3, 0].exp(), np.hypot(rapidity, turn), rtol=1e-4)
    kt = jets[1]["pt"] / 1e3 * np.hypot(rapidity, turn)
    np.testing.assert_allclose(found[:, 2, 3, 1].exp(), kt, rtol=1e-4)
    share = jets[1]["pt"] / (jets[0]["pt"] + jets[1]["pt"])
    np.testing.assert_allclose(found[:, 2, 3, 2].exp(), np.maximum(share, CLOSEST), rtol=1e-4)


def test_parameters():
    """Embeddings, pairs, two blocks, class attention and head, layer by layer."""
    attention = (3 * 32 * 32 + 3 * 32) + (32 * 32 + 32)
    block = 2 * 32 + attention + 2 * 32 + (32 * 128 + 128) + (128 * 32 + 32)
    rest = 2 * block + (32 + 2 * 32 + attention) + (2 * 32 + 33) + 4 * (32 + 32 * 32 + 32)
    of_pairs = (4 * 16 + 16) + (16 * 4 + 4)
    assert rest + of_pairs == 34_325 and of_pairs == 148
    assert parameters(make(SIZE)) == rest + of_pairs + 32 * sum(SIZE.values())
    assert parameters(make(SIZE, pairwise=False)) == rest + 32 * sum(SIZE.values())
    with pytest.raises(ValueError, match=r"width 0\.01 leaves a layer of 8 channels none"):
        make(SIZE, 0.01)


def test_gradients_reach_every_parameter_and_inputs_that_do_not_exist_have_none(given):
    inputs, made = inputs_of(as_set(given)), network()
    inputs["jets"].requires_grad_()
    made(**inputs)[:, 1].square().sum().backward()
    for key, value in made.named_parameters():
        parts = value.grad.chunk(3) if key.endswith("in_proj_weight") else [value.grad]
        assert all(part.abs().sum() > 0 for part in parts), key
    of_jets = inputs["jets"].grad.abs().sum(dim=2)
    assert torch.equal(of_jets > 0, inputs["jets_mask"])


def test_without_pairs_momenta_are_not_seen(given):
    inputs = inputs_of(as_set(given))
    other = inputs | {"momenta": inputs["momenta"].flip(0)}
    assert torch.equal(logits(inputs, pairwise=False), logits(other, pairwise=False))
    assert (logits(inputs) - logits(other)).abs().max() > 1e-4


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0:RuntimeWarning")
def test_products_in_half_precision_agree_and_the_network_is_one_graph(given):
    inputs, made = inputs_of(as_set(given)), network().float()
    inputs = {k: x if x.dtype == torch.bool else x.float() for k, x in inputs.items()}
    with torch.no_grad():
        before = made(**inputs)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(made(**inputs).float(), before, rtol=0, atol=0.05)
        torch.compiler.reset()
        compiled = torch.compile(made, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(**inputs), before)


def test_the_one_loop_trains_it_and_it_sees_every_input(given, tmp_path):
    table = np.zeros(len(given["event"]), JET_DTYPE)
    table["event"], table["label"] = given["event"], given["event"] % 2
    seen = as_set(given)
    sample = make_sample(EventSets(seen, moments(seen), table, CPU))
    toy = Study("toy").changed(
        training={"epochs": 1, "batch_size": 64}, figures={"background_jets_min": 1}
    )
    learner = Learner(make(sample.inputs.size), toy)
    [row] = train(learner, [sample, sample], 0, tmp_path, {}, Watch(), lambda row: None)
    assert 0.5 < row["loss"] < 0.9  # the labels are chance
    assert unseen_inputs(learner.network, sample.inputs) == []


# --- Step 4 ---------------------------------------------------------------------------------------


def test_step_4_trains_it_beside_trees_on_the_same_objects(study, scores, found, monkeypatch):
    """The networks' scores tell nothing here, the objects do: most top pairs have less pT."""
    asked = study.changed(
        classifiers={"networks": ("CNN",)},
        trees={"folds": 3, "number": 40},
        event_networks={"networks": ("EventSet",), "epochs": 2, "batch_size": 100},
    )
    beside = beside_event_networks(asked)
    assert [one.label for one in beside] == ["AK14 CNN + objects", "AK14 objects"]
    wanted = [one for trees, networks in beside.items() for one in (trees, *networks)]
    monkeypatch.setattr("event_level.trees.read_scores", lambda path, seeds: scores)
    monkeypatch.setattr("event_level.trees.repeats", lambda scores: [])
    grown, left_out = grow_all(asked, wanted, "cpu")
    label = is_signal(read_event_table(study.data_dir / "events.h5").events[scores.event])
    assert not left_out
    for one in wanted:
        score = grown.fits[one]
        area = correlated_aucs(score[label], score[~label], bootstraps=2).value[0]
        assert area > 0.85, one.label
    with_scores, without = (grown.fits[trees] for trees in beside)
    assert not np.array_equal(with_scores, without)

    weight = np.ones(len(label))
    again = cross_fit(wanted[1], found, label, weight, grown.fold, asked.changed("again"), CPU)
    assert np.array_equal(again, grown.fits[wanted[1]])


def test_step_2_leaves_it_to_step_4():
    with pytest.raises(
        InputError, match=r"AK14 EventSet 0: .* step 4 trains it; name it in event_"
    ):
        input_of(Training("AK14", "EventSet"))


# --- Input ----------------------------------------------------------------------------------------


def test_objects_are_standardised_to_those_of_known_events(given):
    seen = as_set(given)
    known = np.arange(len(seen)) % 2 == 0
    inputs = inputs_of(seen)
    for kind, objects in seen.objects.items():
        exists = ~np.isnan(objects[..., 0])
        values = objects[known][exists[known]].astype(float)
        expected = (objects[exists] - values.mean(axis=0)) / values.std(axis=0)
        made = inputs[kind].reshape(*exists.shape, -1).numpy()
        np.testing.assert_allclose(made[exists], expected, rtol=1e-4, atol=1e-5)
        assert (made[~exists] == 0).all()
        np.testing.assert_allclose(made[known][exists[known]].mean(axis=0), 0, atol=1e-4)
        if f"{kind}_mask" in inputs:
            assert np.array_equal(inputs[f"{kind}_mask"], exists)


def test_a_constant_column_becomes_0_and_a_kind_without_objects_is_refused(given):
    given["jets"]["b_tag"] = 1
    inputs = inputs_of(as_set(given))
    column = as_set(given).columns["jets"].index("b tag")
    assert (inputs["jets"][..., column] == 0).all()
    with pytest.raises(
        InputError, match="no lepton in 0 events to train on, expected at least one"
    ):
        moments(as_set(given).take(np.zeros(0, int)))
