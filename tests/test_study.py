"""Studies: presets, TOML files, and what is refused."""

import dataclasses

import pytest

from products import InputError
from study import PRESETS, load_study


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
