"""Training: batches against a dense reference, metrics against closed forms, exact resumption."""

import dataclasses
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from toy_jets import SIDE, make_events, make_jets, packed, select, write_jets, write_study

from command import InputError
from jets.images import SparseImages, dense
from jets.packed import JET_DTYPE, PackedJets
from jets.split import HELD_OUT, TRAIN, VALIDATION
from models import create_model
from physics import JET_DEFINITIONS
from products import write_manifest
from study import CHOOSE_BY, PRESETS, Study
from training import checkpoint
from training.inputs import make_sample
from training.interruption import PATIENCE, TimeIsUp, Watch, Wish
from training.jet_images import JetImages, read_split
from training.learner import Learner, choose_device
from training.loop import best_epoch, train, unseen_inputs
from training.metrics import evaluate
from training.plan import Training, trainings

CPU = torch.device("cpu")
TOY = Study("toy").changed(
    training={"width": 0.125, "epochs": 4, "batch_size": 16, "learning_rate": 3e-3},
    figures={"background_jets_min": 1},
)


def one_jet(pixels: list[int], values: list[float], mass: float = 100.0) -> PackedJets:
    jets = np.zeros(1, JET_DTYPE)
    jets["mass"] = mass
    images = SparseImages(
        np.array([0, len(pixels)]), np.array(pixels, np.uint16), np.array(values, np.float32)
    )
    return PackedJets(jets, images, SIDE, 0.2, 0.05, "AK14")


def first_batch(jets: PackedJets, pixel_scale: str = "linear", standardised_mass: bool = False):
    images = JetImages(jets, pixel_scale, standardised_mass, CPU)
    _, inputs = next(images.batches(np.arange(len(jets)), np.array([len(jets)])))
    return SimpleNamespace(**inputs)


@pytest.mark.parametrize("side", [SIDE, 128])  # at 128, pixel numbers need all 16 bits
def test_batches_are_the_dense_images_in_any_order(side):
    jets = packed(n_events=20, side=side)
    reference = dense(jets.images, side)
    reference = np.sqrt(reference / (reference.max(axis=(1, 2, 3), keepdims=True) + 1e-6))
    assert side == SIDE or jets.images.pixels.max() >= 2**15
    order = np.random.default_rng(1).permutation(len(jets))
    seen = 0
    sizes = np.array([7, 3, 9, 1, len(jets) - 20])
    for rows, inputs in JetImages(jets, "sqrt", False, CPU).batches(order, sizes):
        expected = order[seen : seen + len(rows)]
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_allclose(inputs["images"], reference[expected], rtol=1e-6)
        np.testing.assert_allclose(inputs["mass"], jets.jets["mass"][expected] / 1000, rtol=1e-6)
        seen += len(rows)
    assert seen == len(jets)


def test_an_image_is_divided_by_the_maximum_of_all_its_channels():
    jets = one_jet([0, SIDE**2, 2 * SIDE**2], [1.0, 4.0, 2.0])
    image = first_batch(jets).images[0, :, 0, 0]
    np.testing.assert_allclose(image, np.array([1.0, 4.0, 2.0]) / (4 + 1e-6), rtol=1e-6)
    np.testing.assert_allclose(first_batch(jets, "sqrt").images[0, 0, 0, 0], 0.5, rtol=1e-6)


def test_an_image_does_not_depend_on_the_unit_of_energy():
    jets = packed(n_events=5)
    scaled = dataclasses.replace(
        jets, images=dataclasses.replace(jets.images, values=1000 * jets.images.values)
    )
    np.testing.assert_allclose(
        first_batch(jets).images.clone(), first_batch(scaled).images, rtol=1e-5
    )


def test_a_jet_without_pixels_is_an_empty_image():
    assert not first_batch(one_jet([], [])).images.any()


def test_mass_is_in_tev_or_standardised_to_the_training_jets():
    jets = one_jet([0], [1.0], mass=300.0)
    assert first_batch(jets).mass.item() == pytest.approx(0.3)
    assert first_batch(jets, standardised_mass=True).mass.item() == pytest.approx(
        (0.3 - 0.2) / 0.05
    )


def test_metrics_agree_with_sklearn_and_with_binomial_errors():
    generator = np.random.default_rng(2)
    label = generator.integers(2, size=4000)
    logits = generator.normal(size=(4000, 2)) + np.stack([1 - label, label], axis=1)
    study = Study("many resamplings").changed(figures={"bootstraps": 400})
    metrics = evaluate(logits, label, np.ones(4000), np.arange(4000), study)
    probability = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    accuracy = ((probability > 0.5) == label).mean()
    assert metrics["loss"].value == pytest.approx(log_loss(label, probability))
    assert metrics["auc"].value == pytest.approx(roc_auc_score(label, probability))
    assert metrics["accuracy"].value == pytest.approx(accuracy)
    binomial = np.sqrt(accuracy * (1 - accuracy) / 4000)
    assert metrics["accuracy"].error == pytest.approx(binomial, rel=0.15)


def test_jets_of_one_event_count_as_one_in_the_errors():
    generator = np.random.default_rng(3)
    label = generator.integers(2, size=1000)
    logits = generator.normal(size=(1000, 2)) + np.stack([1 - label, label], axis=1)
    columns = (logits, label, np.ones(1000), np.arange(1000))
    once = evaluate(*columns, TOY)
    copied = evaluate(*(np.repeat(column, 4, axis=0) for column in columns), TOY)
    for name in ("loss", "accuracy", "auc"):
        assert copied[name].error == pytest.approx(once[name].error)


def test_max_sic_is_nan_where_the_background_floor_cannot_be_met():
    logits = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0]])
    study = TOY.changed(figures={"background_jets_min": 3})
    metrics = evaluate(logits, np.array([1, 0, 0]), np.ones(3), np.arange(3), study)
    assert np.isnan(metrics["max_sic"].value)


@pytest.fixture(scope="module")
def jets():
    return packed(n_events=500)


def train_toy(directory, jets, study=TOY, label="label", report=lambda row: None, settings=None):
    """The network, its optimiser's checkpoint and the history."""
    samples = [sample_of(select(jets, split), label) for split in (TRAIN, VALIDATION)]
    torch.manual_seed(0)
    network = create_model("CNN", SIDE, study.training.width)
    settings = settings or {"network": "CNN"}
    history = train(Learner(network, study), samples, 0, directory, settings, Watch(), report)
    return network, history


def sample_of(jets, label="label"):
    return make_sample(JetImages(jets, "linear", False, CPU), label)


@pytest.fixture(scope="module")
def trained(jets, tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    return directory, *train_toy(directory, jets)


def test_separable_jets_are_separated(trained):
    _, _, history = trained
    assert history[-1]["loss"] < 0.5 * history[0]["loss"] + 0.1
    assert history[-1]["auc"] > 0.99
    assert [row["epoch"] for row in history] == [0, 1, 2, 3]
    rates = [row["learning_rate"] for row in history]
    np.testing.assert_allclose(rates, TOY.training.learning_rate * 0.7 ** np.arange(4))


def test_permuted_labels_cannot_be_learnt(jets, tmp_path):
    _, history = train_toy(tmp_path, jets, label="shuffled_label")
    best = history[best_epoch(history, "loss")]
    assert abs(best["auc"] - 0.5) < 3 * best["auc_error"]


class Scripted(Watch):
    """A watch that asks for one thing after a number of steps, as time and signals would."""

    def __init__(self, asked: Wish, steps: int) -> None:
        super().__init__(every_minutes=10, max_minutes=10)
        self.asked, self.steps = asked, steps

    def wish(self) -> Wish:
        self.steps -= 1
        return self.asked if self.steps == 0 else Wish.GO_ON


@pytest.mark.parametrize("network", ["CNN", "MaxViT"])  # MaxViT: batch norm's running averages
def test_interrupted_training_ends_bit_identical(network, tmp_path):
    """Stopped within epochs, at their last step and between them, or saved and killed."""
    study = TOY.changed(training={"epochs": 3})
    jets = packed(n_events=20)
    samples = [sample_of(jets)] * 2
    steps = -(-len(jets) // study.training.batch_size)
    assert steps > 2

    def run(name, asked=Wish.GO_ON, after=0):
        torch.manual_seed(5)
        learner = Learner(create_model(network, SIDE, study.training.width), study)
        watch = Scripted(asked, after)
        train(learner, samples, 5, tmp_path / name, {}, watch, lambda row: None)

    run("whole")
    for asked, after in (
        (Wish.STOP_ON_SIGNAL, 1),
        (Wish.STOP_IN_TIME, steps - 1),
        (Wish.STOP_IN_TIME, 1),  # between two epochs
        (Wish.STOP_ON_SIGNAL, steps + 3),
    ):
        torch.rand(7)  # whatever else drew random numbers meanwhile
        with pytest.raises(TimeIsUp if asked is Wish.STOP_IN_TIME else KeyboardInterrupt):
            run("interrupted", asked, after)
    run("interrupted", Wish.SAVE, 2)
    whole, resumed = (
        torch.load(checkpoint.checkpoint_path(tmp_path / name, 2), weights_only=True)
        for name in ("whole", "interrupted")
    )
    for name in ("network", "optimiser", "random_states"):
        assert_same(whole[name], resumed[name])
    timeless = [
        [{k: v for k, v in row.items() if "second" not in k} for row in run["progress"]["history"]]
        for run in (whole, resumed)
    ]
    assert timeless[0] == timeless[1]


def assert_same(one, other):
    """Equal, bit for bit, through dictionaries and lists."""
    if isinstance(one, dict | list):
        assert len(one) == len(other)
        for key in one if isinstance(one, dict) else range(len(one)):
            assert_same(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_a_damaged_checkpoint_is_noticed_and_the_one_before_used(trained, jets, tmp_path, capsys):
    directory, _, history = trained
    for epoch in range(4):
        source = checkpoint.checkpoint_path(directory, epoch)
        checkpoint.checkpoint_path(tmp_path, epoch).write_bytes(source.read_bytes())
    for epoch in (3, 2):
        path = checkpoint.checkpoint_path(tmp_path, epoch)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    _, again = train_toy(tmp_path, jets)
    printed = capsys.readouterr().err
    assert "epoch_03.pt: damaged" in printed
    assert "epoch_02.pt: damaged" in printed
    assert "epoch_01.pt" not in printed
    assert [row["loss"] for row in again] == [row["loss"] for row in history]


def test_a_training_without_a_sound_checkpoint_does_not_start_over_in_silence(jets, tmp_path):
    for epoch in range(2):
        checkpoint.checkpoint_path(tmp_path, epoch).write_bytes(b"weights")
    with pytest.raises(InputError, match="none of its 2 checkpoints is sound"):
        train_toy(tmp_path, jets)


def test_within_an_epoch_the_newest_checkpoint_and_the_one_before_are_kept(jets, tmp_path):
    kept = []

    class Always(Scripted):
        def wish(self) -> Wish:
            kept.append({path.name for path in tmp_path.glob("*.pt")})
            return Wish.SAVE

    samples = [sample_of(select(jets, split)) for split in (TRAIN, VALIDATION)]
    learner = Learner(
        create_model("CNN", SIDE, TOY.training.width), TOY.changed(training={"epochs": 1})
    )
    train(learner, samples, 0, tmp_path, {}, Always(Wish.SAVE, 0), lambda row: None)
    assert kept[:4] == [
        set(),
        {"epoch_00_step_000001.pt"},
        {"epoch_00_step_000001.pt", "epoch_00_step_000002.pt"},
        {"epoch_00_step_000002.pt", "epoch_00_step_000003.pt"},
    ]
    checkpoint.tidy(tmp_path, kept=0)
    assert {path.name for path in tmp_path.glob("*.pt")} == {"epoch_00.pt"}


def test_a_signal_waits_for_the_end_of_a_step_and_a_second_one_does_not():
    watch = Watch(every_minutes=10, max_minutes=10)
    with watch.listening():
        assert watch.wish() is Wish.GO_ON
        signal.raise_signal(signal.SIGTERM)
        assert watch.wish() is Wish.STOP_ON_SIGNAL
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_job_in_the_background_does_not_end_with_the_ctrl_c_of_another():
    """A shell without job control has it ignore SIGINT, which reaches all jobs of the terminal."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        watch = Watch(every_minutes=10, max_minutes=10)
        with watch.listening():
            signal.raise_signal(signal.SIGINT)
            assert watch.wish() is Wish.GO_ON
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_under_torchrun_the_same_signal_may_come_twice(monkeypatch):
    """A batch system signals torchrun and its workers, and torchrun passes its own on to them."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    watch = Watch(every_minutes=10, max_minutes=10)
    with watch.listening():
        for now in (1.0, 1.1, 5.0):  # noqa: B007 - read by the clock
            signal.raise_signal(signal.SIGTERM)
        assert watch.wish() is Wish.STOP_ON_SIGNAL
        now = 1.0 + PATIENCE
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_a_training_whose_checkpoints_are_gone_does_not_start_over_in_silence(jets, tmp_path):
    study = TOY.changed(training={"epochs": 1})
    train_toy(tmp_path, jets, study)
    checkpoint.checkpoint_path(tmp_path, 0).unlink()
    with pytest.raises(InputError, match="none of its 0 checkpoints is sound; delete the folder"):
        train_toy(tmp_path, jets, study)


def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(trained, jets, tmp_path, capsys):
    """Nothing is known of its content: no older one is used, and nobody is told to delete it."""
    source = checkpoint.checkpoint_path(trained[0], 0)
    checkpoint.checkpoint_path(tmp_path, 0).write_bytes(source.read_bytes())
    newest = checkpoint.checkpoint_path(tmp_path, 1)
    newest.mkdir()
    with pytest.raises(IsADirectoryError) as found:
        train_toy(tmp_path, jets, TOY.changed(training={"epochs": 2}))
    assert found.value.filename == str(newest)
    assert "damaged" not in capsys.readouterr().err


def test_a_watch_asks_to_save_once_an_interval_and_to_stop_at_the_end(monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    watch = Watch(every_minutes=1, max_minutes=3)
    seen = []
    for now in (30.0, 61.0, 62.0, 122.0, 181.0):  # noqa: B007 - read by the clock
        seen.append(watch.wish())
    assert seen == [Wish.GO_ON, Wish.SAVE, Wish.GO_ON, Wish.SAVE, Wish.STOP_IN_TIME]


def test_fewer_epochs_are_read_off_a_longer_training(trained, jets, tmp_path):
    directory, _, history = trained
    for epoch in range(4):
        source = checkpoint.checkpoint_path(directory, epoch)
        checkpoint.checkpoint_path(tmp_path, epoch).write_bytes(source.read_bytes())
    _, shorter = train_toy(tmp_path, jets, TOY.changed(training={"epochs": 2}))
    assert shorter == history[:2]


def test_the_best_epoch_may_be_the_first():
    columns = enumerate(zip([0.3, 0.4, 0.35], [0.7, 0.8, 0.9], [1.0, 1.4, 1.2], strict=True))
    history = [{"epoch": i, "loss": a, "auc": b, "significance": c} for i, (a, b, c) in columns]
    chosen = [best_epoch(history, choose_by) for choose_by in CHOOSE_BY]
    assert dict(zip(CHOOSE_BY, chosen, strict=True)) == {"loss": 0, "AUC": 2, "significance": 1}


def test_a_foreign_checkpoint_is_refused(trained, jets, tmp_path):
    directory, *_ = trained
    with pytest.raises(InputError, match=r"epoch_03.pt: its network is 'CNN', expected 'ViT'"):
        train_toy(directory, jets, settings={"network": "ViT"})
    named = {"network": "CNN", "decorrelation": 10.0}
    with pytest.raises(InputError, match=r"its decorrelation is not stated, expected 10\.0"):
        train_toy(directory, jets, settings=named)
    train_toy(tmp_path, jets, TOY.changed(training={"epochs": 1}), settings=named)
    with pytest.raises(InputError, match=r"its decorrelation is 10\.0, expected not stated"):
        train_toy(tmp_path, jets)
    path = checkpoint.checkpoint_path(directory, 3)
    with pytest.raises(InputError, match="not a checkpoint of this network"):
        checkpoint.load(path, create_model("CNN", SIDE, 0.25), {"network": "CNN"})


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "another file of torch"])
def test_a_damaged_checkpoint_is_not_scored_with(damage, trained, tmp_path):
    path = tmp_path / "epoch_00.pt"
    whole = checkpoint.checkpoint_path(trained[0], 0).read_bytes()
    path.write_bytes({"truncated": whole[:-1000], "text": b"weights"}.get(damage, b""))
    if damage == "another file of torch":
        torch.save([1.0, 2.0], path)
    with pytest.raises(InputError, match="its checksum does not hold"):
        checkpoint.load(path, create_model("CNN", SIDE, TOY.training.width), {"network": "CNN"})


def test_a_diverged_training_is_no_result(jets, tmp_path):
    study = TOY.changed(training={"learning_rate": 1e30})
    with pytest.raises(InputError, match=r"smaller training\.learning_rate"):
        train_toy(tmp_path, jets, study)
    assert not list(tmp_path.glob("*.pt"))


def test_no_event_trains_and_tests(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_study(TOY, 40)
    events = {
        s: set(read_split(TOY, "AK08", s).jets["event"]) for s in (TRAIN, VALIDATION, HELD_OUT)
    }
    assert all(events.values())
    assert len(set.union(*events.values())) == sum(map(len, events.values()))


def test_jets_that_stand_in_the_split_of_another_event_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_study(TOY, 40)
    events = make_events(40)
    jets, images = make_jets(events, 0)
    jets["split"][np.flatnonzero(jets["split"] == HELD_OUT)[:2]] = TRAIN
    write_jets(TOY, "AK08", jets, images)
    write_manifest(TOY.data_dir / "setup.json", TOY.settings("setup"), {}, [])
    with pytest.raises(InputError, match=r"AK08.h5: 2 of \d+ jets marked train belong to events"):
        read_split(TOY, "AK08", TRAIN)


@pytest.mark.parametrize("study", PRESETS.values(), ids=PRESETS)
def test_a_study_trains_every_network_on_every_definition_and_one_null_check(study):
    names = [str(training) for training in trainings(study)]
    assert (
        len(set(names)) == len(names) == len(study.classifiers.networks) * len(JET_DEFINITIONS) + 1
    )
    assert [name for name in names if "shuffle" in name] == ["AK14 CNN 0 --shuffle-labels"]


@pytest.mark.parametrize("networks", [("cnn",), ("CNN", "ViT", "CNN"), ("Perceptron",)])
def test_a_study_spells_each_network_as_registered_and_once(networks):
    with pytest.raises(InputError, match="CNN"):
        trainings(TOY.changed(classifiers={"networks": networks}))


def test_trainings_lie_apart():
    places = {
        Training("AK14", "MaxVit", s, n).directory(TOY) for s in (0, 1) for n in (False, True)
    }
    assert {place.name for place in places} == {
        "AK14_MaxViT_0",
        "AK14_MaxViT_1",
        "AK14_MaxViT_0_shuffled",
        "AK14_MaxViT_1_shuffled",
    }


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="--device abacus"):
        choose_device("abacus")


def test_a_network_with_a_dead_layer_is_noticed():
    jets = packed(n_events=40)
    images = JetImages(jets, "sqrt", False, CPU)
    torch.manual_seed(0)
    network = create_model("CNN", SIDE, 0.25)
    assert unseen_inputs(network, images) == []
    with torch.no_grad():
        convolutions = [layer for layer in network.backbone if isinstance(layer, torch.nn.Conv2d)]
        convolutions[1].bias -= 1e3
    assert unseen_inputs(network, images) == ["images"]
