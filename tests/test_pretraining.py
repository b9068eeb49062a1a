"""HEP-JEPA: masks, what the predictor can know, the average, collapse, resumption, the script."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import pretrain as script
import train
from command import InputError
from jets.constituents import Constituents
from jets.ragged import offsets_from
from models import create_model
from models.jepa import JEPA, Masks, blocks, draw_masks, loss_of, taken
from models.jetvit import Tokens
from models.pretrained import load_encoder
from products import read_csv
from study import PRESETS, Study
from training.inputs import make_sample
from training.interruption import TimeIsUp, Watch
from training.pretraining import (
    MASKS,
    Pretrainer,
    Pretraining,
    effective_rank,
    monitor,
    options_of,
    predict,
    pretrain,
    shares_of_context,
    unlabelled,
    write_encoder,
)

CPU = torch.device("cpu")
SIZE = {"constituents": 10, "jet": 7}
KINDS = {
    "constituents": {},
    "pairs, registers": {"pairwise": True, "registers": 2},
    "patches": {"patches": 5, "pairwise": True, "registers": 1},
}


def some_jets(n: int, seed: int = 0) -> Constituents:
    """Jets of 3 to 30 constituents."""
    random = np.random.default_rng(seed)
    counts = random.integers(3, 31, n)
    m = counts.sum()
    columns = {
        "pt": random.exponential(5, m) + 0.5,
        "rapidity": random.normal(0, 0.2, m),
        "phi": random.normal(0, 0.2, m),
        "mass": np.zeros(m),
    }
    columns = {name: one.astype(np.float32) for name, one in columns.items()}
    return Constituents(offsets_from(counts), kind=random.integers(0, 5, m), **columns)


def study_of(options: dict, **training) -> Study:
    asked = {"width": 0.25, "epochs": 2, "batch_size": 16, "learning_rate": 1e-3}
    asked |= {"network_options": {"JetViT": options}} | training
    return PRESETS["demo"].changed("tiny", training=asked)


def network_of(options: dict, seed: int = 0) -> JEPA:
    torch.manual_seed(seed)
    made = JEPA(create_model("JetViT", SIZE, 0.25, **options).encoder)
    for value in made.target.parameters():  # another encoder than that of the context
        nn.init.normal_(value, std=0.3)
    return made.eval()


def batch_of(n: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    inputs = unlabelled(some_jets(n, seed), CPU)
    [(_, given)] = inputs.batches(np.arange(n), np.array([n]))
    return given


# --- Masks ----------------------------------------------------------------------------------------


def some_places(b: int = 40, t: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    exists = torch.arange(t) < torch.randint(1, t + 1, (b, 1))
    return torch.randn(b, t, 2), exists


def test_a_block_is_what_is_nearest_to_one_of_its_tokens():
    places, exists = some_places()
    is_blocked = blocks(places, exists, 3, (0.2, 0.4), True, None)
    assert not (is_blocked & ~exists[:, None]).any()
    for jet, count in enumerate(exists.sum(dim=1).tolist()):
        for block in is_blocked[jet, :, :count]:
            members = block.nonzero()[:, 0]
            assert max(1, round(0.2 * count) - 1) <= len(members) <= max(1, round(0.4 * count) + 1)
            apart = torch.cdist(places[jet, members], places[jet, :count])
            farthest_in = apart[:, members].max(dim=1).values
            left = apart.masked_fill(block, torch.inf).min(dim=1).values
            assert (farthest_in < left).any()  # of the token that it is drawn about


def test_random_blocks_are_no_neighbours_and_every_token_is_as_likely():
    places = torch.linspace(-1, 1, 20)[None, :, None].expand(20_000, 20, 2)
    exists = torch.ones(20_000, 20, dtype=torch.bool)
    torch.manual_seed(2)
    for is_contiguous in (False, True):
        block = blocks(places, exists, 1, (0.25, 0.25), is_contiguous, None)[:, 0]
        assert (block.sum(dim=1) == 5).all()
        spread = (block * places[..., 0]).sum(dim=1).square().mean() / 25
        uniform = (places[0, :, 0].square().mean() / 5 * 15 / 19).item()  # without replacement
        if is_contiguous:
            assert spread > 3 * uniform
        else:
            assert abs(spread / uniform - 1) < 0.03
            share = block.float().mean(dim=0)
            assert (share - 0.25).abs().max() < 5 * (0.25 * 0.75 / 20_000) ** 0.5


@pytest.mark.parametrize("is_contiguous", [True, False])
def test_no_token_is_context_and_target(is_contiguous):
    places, exists = some_places()
    momenta = nn.functional.pad(places, (1, 1))
    tokens = Tokens(places, exists, momenta)
    masks = draw_masks(tokens, 4, (0.15, 0.2), (0.85, 1.0), is_contiguous)
    assert not (masks.context & masks.targets).any()
    assert masks.targets.any(dim=1).all()
    assert not ((masks.context | masks.targets) & ~exists).any()
    n = exists.sum(dim=1)
    assert (masks.targets.sum(dim=1) <= 4 * (0.2 * n + 0.5).clamp_min(1)).all()
    assert (masks.context | masks.targets).sum(dim=1).ge(0.85 * n - 0.5).all()


# --- What is predicted from what ------------------------------------------------------------------


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_nothing_of_a_target_but_its_place_reaches_the_prediction(options):
    network, given = network_of(options), batch_of()
    whole = network.target.tokens(**given)
    masks = Pretraining().draw(whole)
    tokens = network.encoder.tokens(**given, hidden=whole.constituents_of(masks.targets))

    def found(of_targets: float, of_context: float) -> torch.Tensor:
        """With something added to all that tokens know, but for places."""
        change = of_targets * masks.targets + of_context * masks.context
        known = change[..., None] * torch.tensor([0.1, 0, 0, 0.01])
        direction = torch.arange(tokens.embedded.shape[2]).float().cos()
        other = tokens._replace(
            embedded=tokens.embedded + change[..., None] * direction,
            momenta=tokens.momenta + known,
        )
        changed = whole._replace(momenta=whole.momenta + known)
        return network(masks, other, changed).found

    with torch.inference_mode():
        exists = taken(whole, masks.targets).exists
        as_it_is = found(0, 0)[exists]
        torch.testing.assert_close(found(1, 0)[exists], as_it_is, rtol=0, atol=1e-6)
        assert (found(0, 1)[exists] - as_it_is).abs().max() > 1e-3
        moved = whole._replace(
            momenta=whole.momenta + 0.3 * masks.targets[..., None] * torch.tensor([0, 1.0, 0, 0])
        )
        other_place = network(masks, tokens, moved).found[exists]
        assert (other_place - as_it_is).abs().max() > 1e-4


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_the_context_holds_no_constituent_of_a_target(options):
    network, given = network_of(options), batch_of()
    whole = network.target.tokens(**given)
    masks = Pretraining().draw(whole)
    hidden = whole.constituents_of(masks.targets)
    assert not (hidden & ~given["exists"]).any()
    tokens = network.encoder.tokens(**given, hidden=hidden)
    context = taken(tokens, masks.context & tokens.exists)
    assert context.exists.any()
    # What targets hold may be anything, but for places, by which patches are found.
    other = {name: value.clone() for name, value in given.items()}
    other["constituents"][hidden] += 1.0
    other["momenta"][hidden] *= torch.tensor([2.0, 1, 1, 3])
    other["momenta"][:, 0, 0] = 1e3  # the hardest stays the first centre
    given["momenta"][:, 0, 0] = 1e3
    found = [
        taken(network.encoder.tokens(**one, hidden=hidden), masks.context & tokens.exists)
        for one in (given, other)
    ]
    for name in ("embedded", "momenta"):
        of_context = [getattr(one, name)[one.exists] for one in found]
        torch.testing.assert_close(*of_context)
    # The targets do know them, and without a mask the context would, where patches overlap.
    assert not torch.equal(network.target.tokens(**other).embedded, whole.embedded)
    if "patches" in options:
        leaky = [taken(network.encoder.tokens(**one), masks.context) for one in (given, other)]
        assert not torch.equal(*(one.embedded[one.exists] for one in leaky))


def test_shares_of_the_context_among_constituents_of_equal_pt():
    """A quarter of 20 is target; two patches hold 16 of them at most, and one of the two what is
    left to it without what the other holds."""
    torch.manual_seed(0)
    b, t = 50, 20
    given = {"constituents": torch.randn(b, t, 10), "exists": torch.ones(b, t, dtype=torch.bool)}
    places = 0.2 * torch.randn(b, t, 2)
    ones = torch.ones(b, t, 1)
    given |= {"momenta": torch.cat([ones, places, 0 * ones], 2), "jet": torch.zeros(b, 7)}
    asked = Pretraining("random", 1, (0.25, 0.25), (1.0, 1.0))
    shares = {
        patches: shares_of_context(network_of({"patches": patches}).encoder, asked, given)
        for patches in (0, 2)
    }
    of_context, of_none = shares[0]
    assert (of_context == 0.75).all() and (of_none == 0).all()
    of_context, of_none = shares[2]
    held = ((1 - of_none) * t).round()
    assert held.max() == 16 and held.min() >= 8
    torch.testing.assert_close(of_context * t, held - 8)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_padding_and_order_change_no_loss(options):
    network, given = network_of(options), batch_of()
    more = {name: given[name] for name in given}
    for name in ("constituents", "momenta"):
        more[name] = nn.functional.pad(given[name], (0, 0, 0, 7))
    more["exists"] = nn.functional.pad(given["exists"], (0, 7))
    masks = Pretraining().draw(network.target.tokens(**given))
    t = network.target.tokens(**more).exists.shape[1]
    padded = Masks(*(nn.functional.pad(one, (0, t - one.shape[1])) for one in masks))
    with torch.inference_mode():
        losses = [
            loss_of(network(some, network.encoder.tokens(**one), network.target.tokens(**one)))
            for some, one in ((masks, given), (padded, more))
        ]
    torch.testing.assert_close(*losses, rtol=0, atol=1e-6)


def test_the_loss_is_smooth_l1_of_normalised_targets():
    network, given = network_of({}), batch_of()
    tokens, whole = network.encoder.tokens(**given), network.target.tokens(**given)
    masks = Pretraining().draw(whole)
    with torch.inference_mode():
        predicted = network(masks, tokens, whole)
        of_all = network.target(whole)[1]
    for jet in range(len(masks.targets)):
        wanted = of_all[jet, masks.targets[jet]].double()
        wanted = (wanted - wanted.mean(dim=1, keepdim=True)) / wanted.std(
            dim=1, keepdim=True, correction=0
        )
        n = len(wanted)
        torch.testing.assert_close(predicted.wanted[jet, :n].double(), wanted, rtol=0, atol=1e-3)
        off = (predicted.found[jet, :n].double() - predicted.wanted[jet, :n].double()).abs()
        expected = torch.where(off < 1, off.square() / 2, off - 0.5).mean()
        assert loss_of(predicted)[jet].item() == pytest.approx(expected.item(), rel=1e-5)


def test_gradients_reach_the_encoder_and_never_the_target():
    network, given = network_of(KINDS["patches"]), batch_of()
    loss_of(predict(network, Pretraining(), given)).sum().backward()
    for name, value in network.named_parameters():
        assert (value.grad is None) == name.startswith("target."), name
        assert value.grad is None or value.grad.abs().sum() > 0, name


def test_the_target_is_the_moving_average():
    network = network_of({})
    before = [one.clone() for one in network.target.parameters()]
    for _ in range(3):
        network.follow(0.9)
    for mine, old, new in zip(
        network.target.parameters(), before, network.encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(mine, 0.9**3 * old + (1 - 0.9**3) * new)
    assert network.steps == 3


def test_the_momentum_rises_linearly_to_one():
    study = study_of({}, epochs=3, batch_size=10)
    learner = Pretrainer(network_of({}), study, Pretraining(momentum=0.9), jets=95)
    found = []
    for _ in range(30):
        found.append(learner.momentum())
        learner.network.follow(1.0)
    np.testing.assert_allclose(found, 0.9 + 0.1 * np.arange(30) / 30)
    assert learner.momentum() == 1


def test_features_of_the_whole_jet_are_refused():
    with pytest.raises(ValueError, match="tell of the targets"):
        network_of({"jet_bias": True})
    with pytest.raises(InputError, match=r"JetViT\.jet_bias is true, but jets without labels"):
        options_of(study_of({"jet_bias": True}))


# --- Training -------------------------------------------------------------------------------------


def run(directory: Path, watch: Watch | None = None, asked: Pretraining | None = None):
    directory.mkdir(exist_ok=True)
    inputs = [unlabelled(some_jets(n, seed), CPU) for n, seed in ((96, 0), (40, 1))]
    study = study_of(KINDS["patches"])
    found = pretrain(
        directory, inputs, study, asked or Pretraining(), 0, {"seed": 0}, watch or Watch(),
        lambda row: None,
    )  # fmt: skip
    return study, *found


def test_it_learns_and_an_interrupted_one_goes_on_bit_for_bit(tmp_path):
    study, network, history = run(tmp_path / "whole")
    losses = [row["loss"] for row in history]
    assert losses[1] < losses[0] and history[1]["training_loss"] < history[0]["training_loss"]
    with pytest.raises(TimeIsUp):
        run(tmp_path / "parts", Watch(max_minutes=0))
    _, again, _ = run(tmp_path / "parts")
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    write_encoder(tmp_path / "encoder.safetensors", network, study, seed=0)
    options = {**KINDS["patches"], "init": str(tmp_path / "encoder.safetensors")}
    for is_frozen in (True, False):
        made = create_model("JetViT", SIZE, 0.25, **options, frozen=is_frozen)
        for name, value in made.encoder.state_dict().items():
            assert torch.equal(value, network.target.state_dict()[name]), name
        assert all(one.requires_grad != is_frozen for one in made.encoder.parameters())
    of_file = '"patches": 5, "pairwise": true'
    words = f"width 0.25 and options {{{of_file}.*expected one of width 0.5 and options {{}}"
    with pytest.raises(ValueError, match=words):
        create_model("JetViT", SIZE, 0.5, init=options["init"])
    with pytest.raises(ValueError, match=r'expected one of .*"patches": 4'):  # the same weights
        create_model("JetViT", SIZE, 0.25, **{**options, "patches": 4})
    with pytest.raises(ValueError, match="no file of weights"):
        load_encoder(tmp_path / "nothing", made.encoder, 0.25, {})


def test_monitors_tell_a_collapsed_encoder():
    samples = [make_sample(unlabelled(some_jets(60), CPU))] * 2
    torch.manual_seed(0)
    network = JEPA(create_model("JetViT", SIZE, 0.25).encoder)
    learner = Pretrainer(network, study_of({}), Pretraining(), jets=60)
    sound = monitor(learner, samples)
    assert sound["variance"].value > 0.1 and sound["rank"].value > 3
    assert monitor(learner, samples) == sound  # the same masks each time
    for block in network.target.blocks:  # nothing of a token is left behind them
        nn.init.zeros_(block.output.weight)
        nn.init.zeros_(block.perceptron[-1].weight)
    nn.init.zeros_(network.target.embedding.weight)
    collapsed = monitor(learner, samples)
    assert collapsed["variance"].value < 1e-9 and collapsed["rank"].value < 1.001


def test_the_effective_rank_of_known_spectra():
    torch.manual_seed(0)
    directions, _ = torch.linalg.qr(torch.randn(50, 4).double())
    axes = torch.linalg.qr(torch.randn(8, 4).double())[0].T
    for values in ([1, 1, 1, 1], [4, 1, 0, 0], [1, 0, 0, 0]):
        shares = np.array(values) / sum(values)
        expected = np.exp(-sum(x * np.log(x) for x in shares if x))
        rows = directions @ torch.diag(torch.tensor(values).double()) @ axes
        assert effective_rank(rows) == pytest.approx(expected, rel=1e-6)


# --- The scripts ----------------------------------------------------------------------------------


TINY = """
base = "demo"
[training]
width = 0.25
epochs = 2
batch_size = 64
[training.network_options.JetViT]
registers = 1
"""


def write_public(path: Path, n: int = 90) -> Path:
    found = some_jets(n)
    particles = np.zeros((n, 40, 4))
    for row, i, j in zip(particles, found.offsets, found.offsets[1:], strict=False):
        row[: j - i] = np.stack(
            [found.pt[i:j], found.rapidity[i:j], found.phi[i:j], np.full(j - i, 211)], axis=1
        )
    np.savez(path, X=particles, y=np.arange(n) % 2.0)
    return path


def call(module, monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *words, "--device", "cpu"])
    module.main()


def test_public_jets_pre_train_an_encoder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
    path = write_public(tmp_path / "QG_jets.npz")
    words = str(path), "--study", "tiny.toml"
    call(script, monkeypatch, *words)
    said = capsys.readouterr().out
    assert "81 jets to learn from, 9 to watch" in said and "effective rank" in said
    [directory] = Path("Data/tiny/pretrained").glob("QG_jets-*_0")
    rows = read_csv(directory / "collapse.csv")
    assert {row["quantity"] for row in rows} >= {"variance", "rank", "loss"}
    assert (directory / "collapse.png").is_file()
    call(script, monkeypatch, *words)
    assert "already finished" in capsys.readouterr().out
    call(script, monkeypatch, *words, "--masks", MASKS[1])
    said = capsys.readouterr().out
    assert "moved to" in said and "epoch 2/2" in said
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["settings"]["pretraining"]["masks"] == MASKS[1]


def test_what_cannot_be_pre_trained_on_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
    with pytest.raises(InputError, match="no such file"):
        call(script, monkeypatch, "QG.npz", "--study", "tiny.toml")
    with pytest.raises(InputError, match=r"expected 0 or more"):
        call(script, monkeypatch, "QG.npz", "--seed", "-1", "--study", "tiny.toml")
    with pytest.raises(InputError, match=r"run setup\.py"):
        call(script, monkeypatch, "AK14", "--study", "tiny.toml")
    with pytest.raises(InputError, match=r"name what pretrain\.py wrote"):
        call(train, monkeypatch, "AK14", "JetViT", "--study", "tiny.toml", "--init", "nothing")
    with pytest.raises(InputError, match="of the encoder of JetViT, not of CNN"):
        call(train, monkeypatch, "AK14", "CNN", "--study", "tiny.toml", "--init", "nothing")
    with pytest.raises(InputError, match="AK10 stands beside others"):
        call(script, monkeypatch, "QG.npz", "AK10", "--study", "tiny.toml")
    path = str(write_public(tmp_path / "few.npz", 5))
    with pytest.raises(InputError, match="named twice"):
        call(script, monkeypatch, path, path, "--study", "tiny.toml")
    with pytest.raises(InputError, match="5 jets, expected 10 or more"):
        call(script, monkeypatch, path, "--study", "tiny.toml")
    path = str(write_public(tmp_path / "many.npz"))
    with pytest.raises(InputError, match="the loss is no longer finite"):
        call(
            script, monkeypatch, path, "--study", "tiny.toml", "--set", "training.learning_rate=1e9"
        )
    with pytest.raises(SystemExit):
        call(train, monkeypatch, "AK14", "JetViT", "--study", "tiny.toml", "--freeze")
