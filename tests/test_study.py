"""Studies: presets, TOML files, and what is refused."""

import dataclasses

import pytest
import torch

from products import InputError
from study import PRESETS, load_study
from training.plan import Training, trainings


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_restated_in_toml_is_the_same_study(name, tmp_path):
    (tmp_path / "mine.toml").write_text(f'base = "{name}"')
    assert load_study(str(tmp_path / "mine.toml")) == dataclasses.replace(
        PRESETS[name], name="mine"
    )


def test_what_the_publication_states():
    readme, paper = PRESETS["readme"], PRESETS["paper"]
    assert len(readme.stop_masses) * len(readme.neutralino_masses) == 861
    assert [readme.image_pixels(name) for name in ("AK08", "AK10", "AK14")] == [64, 64, 128]
    assert (readme.epochs, paper.epochs) == (5, 15)
    assert 2 * 861 * paper.training_jets_per_mass_point == pytest.approx(6e6, rel=0.01)


def test_a_study_may_be_based_on_another_and_shares_its_sample(tmp_path):
    (tmp_path / "first.toml").write_text('base = "demo"\nepochs = 7')
    (tmp_path / "second.toml").write_text('base = "first.toml"\nwidth = 0.5')
    first, second = (load_study(str(tmp_path / f"{name}.toml")) for name in ("first", "second"))
    assert second == dataclasses.replace(first, name="second", sample="first", width=0.5)
    assert second.sample_dir == first.sample_dir and second.epochs == 7


def test_options_of_networks_are_those_of_the_study_and_must_exist(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[network_options.MaxViT]\nbatch_norm_eps = 0.01")
    study, training = load_study(str(path)), Training("AK14", "MaxViT")
    assert training.settings(study)["network_options"] == {"batch_norm_eps": 0.01}
    norms = [m for m in training.create(study, 32).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {0.01}
    assert Training("AK14", "CNN").settings(study)["network_options"] == {}
    assert PRESETS["readme"].network_options == PRESETS["paper"].network_options == {}
    for options, words in (
        ({"MaxVit": {}}, "network_options of 'MaxVit', expected one of CNN"),
        ({"MaxViT": {"eps": 1.0}}, "MaxViT has no option 'eps'"),
    ):
        strange = dataclasses.replace(study, network_options=options)
        with pytest.raises(InputError, match=words):
            trainings(strange)
            training.create(strange, 32)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("folds = 1", "2 or more"),
        ("bootstraps = 1", "2 or more"),
        ("trees = 0", "more than 0"),
        ("width = -1.0", "more than 0"),
        ("learning_rate = nan", "more than 0"),
        ("working_point = 1.5", "between 0 and 1"),
        ("background_loose_share = 2", "0 to 1"),
        ("pixels_max = 48", "32, 64 or 128"),
        ("stop_masses = [900, 700]", "rising"),
        ('name = "../elsewhere"', "folder"),
        ('name = ""', "folder"),
        ('name = "paper"', "preset"),
        ('epochs = "five"', "a value like 5"),
        ("network_options = 5", "network_options is 5"),
        ("[network_options]\nMaxViT = 5", "network_options is {'MaxViT': 5}"),
        ("epoch = 5", "unknown setting"),
        ('base = "mine"', "readme"),
        ('base = "mine.toml"', "readme"),
        ("base = [1]", "readme"),
        ("epochs = ", "TOML"),
    ],
)
def test_bad_settings_are_one_sentence(line, words, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(line)
    with pytest.raises(InputError) as refusal:
        load_study(str(path))
    assert str(path) in str(refusal.value)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
