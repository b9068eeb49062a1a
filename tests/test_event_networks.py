"""Networks of event features: what they compute, what they see, and what they learn."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import erf
from scipy.stats import norm
from torch import nn
from toy_events import toy_events

import setup
import train
from command import InputError
from event_level.fits import EVENT_FEATURES
from jets import split
from jets.events import write_events
from jets.packed import JET_DTYPE, OBSERVABLES, read_event_table
from jets.preparation import look_again
from jets.split import HELD_OUT, TRAIN, VALIDATION
from models import MODELS, create_model
from models.__main__ import parameters
from models.event_transformer import HEADS, TokenLinear
from physics import FOX_WOLFRAM_ORDERS
from products import read_csv, read_manifest
from sensitivity.auc import auc
from study import Study, load_study
from training import event_features
from training.event_features import FEATURES, EventFeatures
from training.inputs import make_sample, read_samples
from training.interruption import TimeIsUp, Watch
from training.learner import Learner
from training.loop import train as train_toy
from training.losses import LOSSES
from training.plan import Training
from training.scoring import read_trained, signal_probability

CPU = torch.device("cpu")
NETWORKS = [name for name, network in MODELS.items() if network.input == "event features"]


def network(name: str, features: int = 15, width: float = 1.0, seed: int = 0) -> nn.Module:
    """In float64, with a class token that differs from 0."""
    torch.manual_seed(seed)
    made = create_model(name, features, width).double()
    for key, value in made.named_parameters():
        if key.endswith("token"):
            nn.init.normal_(value)
    return made


def events(n: int, features: int = 15) -> torch.Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(1)).double()


# --- Networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "width", "features", "expected"),
    [
        ("EventTransformer", 1, 15, 5_785),  # as published
        ("EventTransformer", 1, 30, 5_785 + 15 * 88),
        ("EventTransformer", 0.5, 15, 15 * 28 + 2 * 288 + 552 + 8 + 4 * 16 + 9),  # 8 channels
        ("FeedForward", 1, 15, 5_521),
        ("FeedForward", 0.5, 15, 15 * 24 + 24 + 2 * (24 * 24 + 24) + 24 + 1),
    ],
)
def test_parameters(name, width, features, expected):
    made = create_model(name, features, width)
    assert parameters(made) == expected
    assert made(torch.randn(3, features)).shape == (3, 2)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_softmax_of_the_logits_is_the_sigmoid_of_the_one_number(name):
    made = network(name).eval()
    logits, z = made(features=events(7)), made.body(events(7))
    torch.testing.assert_close(logits.softmax(1)[:, 1:], z.sigmoid(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_every_parameter(name):
    made = network(name)
    nn.functional.cross_entropy(made(events(16)), torch.arange(16) % 2).backward()
    for key, value in made.named_parameters():
        parts = value.grad.chunk(3) if key.endswith("in_proj_weight") else [value.grad]
        assert all(part.abs().sum() > 0 for part in parts), key  # of query, key and value each


@pytest.mark.parametrize("name", NETWORKS)
def test_an_event_does_not_see_the_others_of_its_batch_nor_chance(name):
    made = network(name).eval()
    with torch.no_grad():
        together = made(events(5))
        alone = torch.cat([made(event[None]) for event in events(5)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
    with torch.enable_grad():  # another kernel of PyTorch
        torch.testing.assert_close(made(events(5)), together, rtol=1e-12, atol=1e-12)


def test_dropout_is_of_training_alone():
    made = network("EventTransformer")
    assert not torch.equal(made(events(5)), made(events(5)))
    assert torch.equal(made.eval()(events(5)), made(events(5)))


def test_each_feature_has_an_embedding_of_its_own():
    """Attention itself knows no order: features and their embeddings may be permuted together."""
    made, order = network("EventTransformer").eval(), torch.arange(14, -1, -1)
    with torch.no_grad():
        before, mixed = made(events(8)), made(events(8)[:, order])
        for layer in made.modules():
            if isinstance(layer, TokenLinear):
                layer.weight.copy_(layer.weight[order])
                layer.bias.copy_(layer.bias[order])
        after = made(events(8)[:, order])
    assert (mixed - before)[:, 1].abs().min() > 1e-4
    assert (after - before).abs().max() < 1e-12


def test_the_transformer_equals_its_definition_written_out():
    """Event by event, token by token, head by head, in numpy."""
    made = network("EventTransformer").eval()
    state = {name: value.numpy() for name, value in made.body.state_dict().items()}
    _, first, _, second, _, encoder, last, norm_layer, head = range(9)

    def gelu(x):
        return x * (1 + erf(x / np.sqrt(2))) / 2

    def normalised(x, name):
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x, name):
        return state[f"{name}.weight"] @ x + state[f"{name}.bias"]

    def attention(query, seen, name):
        weight, bias = state[f"{name}.in_proj_weight"], state[f"{name}.in_proj_bias"]
        of_query, of_key, of_value = zip(np.split(weight, 3), np.split(bias, 3), strict=True)
        q = of_query[0] @ query + of_query[1]
        heads = []
        for part in np.split(np.arange(len(query)), HEADS):
            keys = [(of_key[0] @ token + of_key[1])[part] for token in seen]
            values = [(of_value[0] @ token + of_value[1])[part] for token in seen]
            factor = np.exp([q[part] @ key / np.sqrt(len(part)) for key in keys])
            heads.append(sum(f * v for f, v in zip(factor, values, strict=True)) / factor.sum())
        return linear(np.concatenate(heads), f"{name}.out_proj")

    def z(event):
        tokens = []
        for i, feature in enumerate(event):
            x = gelu(feature * state[f"{first}.weight"][i, 0] + state[f"{first}.bias"][i])
            tokens.append(gelu(x @ state[f"{second}.weight"][i] + state[f"{second}.bias"][i]))
        seen = [normalised(token, f"{encoder}.norm") for token in tokens]
        tokens = [
            token + attention(query, seen, f"{encoder}.attention")
            for token, query in zip(tokens, seen, strict=True)
        ]
        for i, token in enumerate(tokens):
            inner = linear(normalised(token, f"{encoder}.perceptron.0"), f"{encoder}.perceptron.1")
            tokens[i] = token + linear(gelu(inner), f"{encoder}.perceptron.3")
        token = state[f"{last}.token"]
        seen = [normalised(one, f"{last}.norm") for one in (token, *tokens)]
        token = token + attention(token, seen, f"{last}.attention")
        return linear(normalised(token, f"{norm_layer}"), f"{head}")

    expected = [[0, *z(event)] for event in events(4).numpy()]
    np.testing.assert_allclose(made(events(4)).detach(), expected, rtol=0, atol=1e-12)


def test_a_class_token_of_zero_looks_at_all_tokens_alike():
    """As it is at first: the query is the bias, 0, and the norm of 0 is 0."""
    torch.manual_seed(0)
    block = create_model("EventTransformer", 15).double().eval().body[6]
    x = events(3 * 15, 16).view(3, 15, 16)
    value, out = block.attention.in_proj_weight[32:], block.attention.out_proj.weight
    mean = block.norm(x).sum(dim=1) / 16  # over the class token too
    torch.testing.assert_close(block(x), mean @ value.T @ out.T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_width_that_leaves_a_layer_empty_is_refused(name):
    with pytest.raises(ValueError, match=r"width 0\.01 leaves a layer of \d+ channels none"):
        create_model(name, 15, 0.01)
    with pytest.raises(ValueError, match=f"{name} has no option 'depth'; it has none"):
        create_model(name, 15, depth=3)


@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0:RuntimeWarning")
def test_the_transformer_is_one_graph():
    torch.compiler.reset()
    made = network("EventTransformer").eval()
    compiled = torch.compile(made, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(features=events(4)), made(events(4)))


# --- Their input --------------------------------------------------------------------------------

STUDY = """
published_files = false
stop_masses = [700, 800]
neutralino_masses = [100, 200]
split = [0.4, 0.3, 0.3]
training_jets_per_mass_point = 5
pixels_max = 32
epochs = 2
batch_size = 16
learning_rate = 5e-3
background_jets_min = 2
"""
SHIFTS = {"ht": 1.0, "mj": -0.7}  # of signal, in standard deviations
AREA = norm.cdf(np.hypot(*SHIFTS.values()) / np.sqrt(2))  # AUC of the best classifier


def gaussian(n: int, seed: int, **sample: int):
    """Toy events whose HT and MJ alone tell signal from background."""
    found, random = toy_events(n, n_loose=n // 4, **sample), np.random.default_rng(seed)
    seen = found.observables
    for name in ("met_x", "met_y", "ht", "mj"):
        shift = SHIFTS.get(name, 0) * ("m_stop" in sample)
        seen[name] = 1500 + 150 * (random.normal(size=len(seen)) + shift)
    for order in FOX_WOLFRAM_ORDERS:
        seen[f"h{order}"] = random.uniform(size=len(seen))
    seen["n_jets"][:n] += random.integers(0, 3, n, dtype=np.int16)
    picobarn = 0.05 if "m_stop" in sample else 1.0
    of_weights = {"cross_section_pb": picobarn, "sum_of_weights": 10.0 * n}
    found = dataclasses.replace(found, attributes=found.attributes | of_weights)
    return dataclasses.replace(found, weight=np.full(len(seen), found.unit_weight))


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("event_features")
    (folder / "tiny.toml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        collisions = Path("train_data/tiny")
        for seed, (m_stop, m_neutralino) in enumerate(((700, 100), (700, 200), (800, 100))):
            masses = {"m_stop": m_stop, "m_neutralino": m_neutralino}
            name = f"stop_{m_stop}_{m_neutralino}.h5"
            write_events(collisions / name, gaussian(400, seed, **masses))
        write_events(collisions / "ttbar_1.h5", gaussian(1200, 3, index=1))
        setup.main(["--study", "tiny.toml"])
        yield load_study("tiny.toml")


def features_of(inputs: EventFeatures) -> np.ndarray:
    [(_, seen)] = inputs.batches(np.arange(len(inputs)), np.array([len(inputs)]))
    return seen["features"].numpy()


def test_features_are_standardised_to_the_training_split(study):
    table = read_event_table(study.data_dir / "events.h5")
    assert EVENT_FEATURES["DS2"] == FEATURES
    known = table.observables[table.events["split"] == TRAIN, : len(FEATURES)].astype(float)
    for number in (TRAIN, VALIDATION, HELD_OUT):
        inputs = EventFeatures.read(study, "AK14", number, CPU)
        seen = table.observables[table.events["split"] == number, : len(FEATURES)]
        expected = (seen - known.mean(axis=0)) / known.std(axis=0)
        np.testing.assert_allclose(features_of(inputs), expected, rtol=1e-5, atol=1e-5)
        if number == TRAIN:
            np.testing.assert_allclose(features_of(inputs).mean(axis=0), 0, atol=1e-5)
            np.testing.assert_allclose(features_of(inputs).std(axis=0), 1, rtol=1e-5)


def test_held_out_events_never_train_nor_those_of_small_ht(study, monkeypatch):
    table = read_event_table(study.data_dir / "events.h5")
    samples, remarks = read_samples(Training("AK14", "FeedForward"), study, CPU)
    assert remarks == []
    for number, sample in zip((TRAIN, VALIDATION), samples, strict=True):
        event = sample.inputs.table["event"]
        assert np.array_equal(event, np.flatnonzero(table.events["split"] == number))
        assert np.array_equal(sample.label, split.is_signal(table.events[event]))
    prepared = look_again(study)
    monkeypatch.setattr(event_features, "look_again", lambda _: prepared)
    hard = study.changed(images={"training_ht_min": 1500.0})
    inputs = EventFeatures.read(hard, "AK14", TRAIN, CPU)
    ht = table.observables[inputs.table["event"], OBSERVABLES.index("HT")]
    assert ht.min() >= 1500 and len(ht) < len(samples[0])


def test_the_table_has_the_hardest_jet_and_permuted_labels(study):
    inputs = EventFeatures.read(study, "AK14", VALIDATION, CPU)
    jets = look_again(study)[1].jets["AK14"][inputs.table["event"], 0]
    for name in ("pt", "mass"):
        assert np.array_equal(inputs.table[name], jets[name])
    agree = np.mean(inputs.table["label"] == inputs.table["shuffled_label"])
    assert inputs.table["k"].max() == 0 and abs(agree - 0.5) < 4 * 0.5 / np.sqrt(len(inputs))


def test_constant_and_missing_features_are_refused(study, monkeypatch):
    source, overview = look_again(study)
    observables = overview.table.observables.copy()
    trains = overview.table.events["split"] == TRAIN
    observables[trains, 0], observables[trains, 3] = 50, 7  # whatever held-out events have
    for given, words in (
        (observables, rf"events\.h5: in all {trains.sum()} events to train on pTmiss is 50, Nj is"),
        (None, "the sample holds no event features"),
    ):
        table = dataclasses.replace(overview.table, observables=given)
        changed = dataclasses.replace(overview, table=table)
        monkeypatch.setattr(event_features, "look_again", lambda _, c=changed: (source, c))
        with pytest.raises(InputError, match=words):
            EventFeatures.read(study, "AK14", VALIDATION, CPU)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_known_separation_is_learnt(name, study, monkeypatch):
    """The AUC is Phi(d / sqrt 2) for Gaussians of unit width at a distance d."""
    command = ["train.py", "AK14", name, "0", "--study", "tiny.toml", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", command)
    train.main()
    manifest = Training("AK14", name).directory(study) / "manifest.json"
    best = read_manifest(manifest, "train.py")["best"]
    assert abs(best["auc"] - AREA) < 3 * best["auc_error"] < 0.05
    inputs = EventFeatures.read(study, "AK14", HELD_OUT, CPU)
    score = signal_probability(read_trained(manifest, study), study, inputs)
    is_signal = inputs.table["label"] == 1
    found = auc(score[is_signal], score[~is_signal])
    assert abs(found.value - AREA) < 3 * found.error < 0.05


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_and_the_epoch_of_largest_significance_is_kept(
    loss, study, monkeypatch, capsys
):
    """Of 0.05 pb of signal beside 1 pb of background, decorrelated from a mass, in a scope.

    Direct losses need large batches: where few events are, all that pass is as good as a cut.
    """
    seed = 1 + list(LOSSES).index(loss)
    settings = {
        "loss": loss, "by_cross_section": "true", "choose_by": "significance", "spectator": "mass",
        "decorrelation": 0.1, "scope": "[50, 350]", "epochs": 8, "batch_size": 200,
    }  # fmt: skip
    changes = [f"training.{name}={value}" for name, value in settings.items()]
    command = ["train.py", "AK14", "EventTransformer", str(seed), "--study", "tiny.toml"]
    command += ["--device", "cpu", *(word for change in changes for word in ("--set", change))]
    monkeypatch.setattr(sys, "argv", command)
    train.main()
    folder = Training("AK14", "EventTransformer", seed).directory(study)
    found = read_manifest(folder / "manifest.json", "train.py")
    history = read_csv(folder / "history.csv")
    values = [float(row["significance"]) for row in history]
    assert found["best_epoch"] == int(np.argmax(values))
    assert max(float(row["auc"]) for row in history) > 0.65
    said = capsys.readouterr().out
    assert f"expected significance {max(values):.3f} ± " in said.splitlines()[-1]
    assert "the significance is that of " in said
    train.main()
    assert "already finished" in capsys.readouterr().out


def test_dropout_goes_on_bit_for_bit_after_an_interruption(tmp_path):
    random = np.random.default_rng(0)
    table = np.zeros(40, JET_DTYPE)
    table["event"], table["label"] = np.arange(40), np.arange(40) % 2
    sample = make_sample(EventFeatures(random.normal(size=(40, 3)), table, CPU))
    toy = Study("toy").changed(
        training={"epochs": 2, "batch_size": 8}, figures={"background_jets_min": 1}
    )

    def run(name: str, watch: Watch) -> dict:
        torch.manual_seed(0)
        learner = Learner(create_model("EventTransformer", 3), toy)
        train_toy(learner, [sample, sample], 0, tmp_path / name, {}, watch, lambda row: None)
        return learner.network.state_dict()

    whole = run("whole", Watch())
    for _ in range(3):
        with pytest.raises(TimeIsUp):
            run("interrupted", Watch(max_minutes=0))
    for name, value in run("interrupted", Watch()).items():
        assert torch.equal(value, whole[name])
