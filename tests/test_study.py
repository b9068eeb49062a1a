"""Studies: presets, TOML files, and what is refused."""

import dataclasses

import pytest
import torch

from command import InputError
from study import PRESETS, SECTIONS, Study, load_study
from training.plan import Training, trainings


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_restated_in_toml_is_the_same_study(name, tmp_path):
    (tmp_path / "mine.toml").write_text(f'base = "{name}"')
    assert load_study(str(tmp_path / "mine.toml")) == PRESETS[name].changed(
        "mine", sample={"folder": PRESETS[name].sample_dir.name}
    )


def test_what_the_publication_states():
    readme, paper = PRESETS["readme"], PRESETS["paper"]
    assert len(readme.sample.stop_masses) * len(readme.sample.neutralino_masses) == 861
    assert [readme.image_pixels(name) for name in ("AK08", "AK10", "AK14")] == [64, 64, 128]
    assert (readme.training.epochs, paper.training.epochs) == (5, 15)
    assert 2 * 861 * paper.images.training_jets_per_mass_point == pytest.approx(6e6, rel=0.01)


FEWER = "signal_events = 7"


@pytest.mark.parametrize(
    ("first", "second", "samples"),
    [
        ("epochs = 7", "width = 0.5", ("demo", "demo")),
        (FEWER, "", ("first", "first")),
        (FEWER, "stop_masses = [900]", ("first", "second")),
        ("", FEWER, ("demo", "second")),
        ('sample = "other"', FEWER, ("other", "other")),
        (f'{FEWER}\nsample = "demo"', "", ("demo", "demo")),
        (FEWER, 'sample = "demo"', ("first", "demo")),
    ],
)
def test_a_study_shares_the_sample_of_its_base_unless_it_simulates_another(
    first, second, samples, tmp_path
):
    (tmp_path / "first.toml").write_text(f'base = "demo"\n{first}')
    (tmp_path / "second.toml").write_text(f'base = "first.toml"\n{second}')
    studies = [load_study(str(tmp_path / f"{name}.toml")) for name in ("first", "second")]
    assert tuple(study.sample_dir.name for study in studies) == samples


def test_a_study_has_the_settings_of_its_base(tmp_path):
    (tmp_path / "first.toml").write_text('base = "demo"\nepochs = 7')
    (tmp_path / "second.toml").write_text('base = "./first.toml"\nwidth = 0.5')
    first, second = (load_study(str(tmp_path / f"{name}.toml")) for name in ("first", "second"))
    assert second == first.changed("second", training={"width": 0.5})


@pytest.mark.parametrize("bases", [["./mine"], ["a", "mine"], ["a", "b", "c", "a"]])
def test_studies_based_on_each_other_are_one_sentence(bases, tmp_path):
    for name, base in zip(["mine", *bases], bases, strict=False):
        (tmp_path / f"{name}.toml").write_text(f'base = "{base}.toml"')
    with pytest.raises(InputError, match=r"\.toml: is based on itself \(.*; base one of them on"):
        load_study(str(tmp_path / "mine.toml"))


def test_a_long_chain_of_studies_is_read(tmp_path):
    for i in range(1001):
        (tmp_path / f"{i}.toml").write_text(f'base = "{i + 1}.toml"\nepochs = {i + 1}')
    (tmp_path / "1001.toml").write_text('base = "demo"')
    assert load_study(str(tmp_path / "0.toml")).training.epochs == 1


def test_every_section_decides_a_step():
    decided = [name for sections in SECTIONS.values() for name in sections]
    assert ["name", *decided] == [section.name for section in dataclasses.fields(Study)]


def test_settings_without_a_section_are_those_of_earlier_studies(tmp_path):
    path = tmp_path / "old.toml"
    path.write_text("""
        base = "demo"
        sample = "other"
        learning_rate = 1e-2
        trees = 7
        tree_learning_rate = 0.5
        tree_events_per_mass_point = 9
        working_point = 0.4
    """)
    assert load_study(str(path)) == PRESETS["demo"].changed(
        "old",
        sample={"folder": "other"},
        training={"learning_rate": 1e-2},
        trees={"number": 7, "learning_rate": 0.5, "events_per_mass_point": 9},
        figures={"working_point": 0.4},
    )


def test_settings_of_the_command_line_come_last(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nepochs = 7\nwidth = 0.5")
    changes = [
        "training.epochs=9",
        "training.pixel_scale=log",
        "classifiers.seeds=[1, 2]",
        "name=x",
    ]
    found = load_study(str(path), changes)
    assert found == load_study(str(path)).changed(
        "x",
        training={"epochs": 9, "pixel_scale": "log"},
        classifiers={"seeds": (1, 2)},
    )
    for change, words in (
        ("training.epochs", "--set training.epochs: expected SECTION.SETTING=VALUE"),
        ("training.epoch=3", "--set training.epoch=3: unknown setting 'training.epoch'"),
        ("training=3", "--set training=3: training is 3, expected settings of that section"),
        (
            "training.epochs=0",
            "--set training.epochs=0: training.epochs is 0, expected more than 0",
        ),
        (
            "training.epochs=many",
            "--set training.epochs=many: training.epochs is 'many', expected a value like 7",
        ),
        ("name=demo", "belongs to a preset"),
    ):
        with pytest.raises(InputError, match=words):
            load_study(str(path), [change])


def test_options_of_networks_are_those_of_the_study_and_must_exist(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[network_options.MaxViT]\nbatch_norm_eps = 0.01")
    study, training = load_study(str(path)), Training("AK14", "MaxViT")
    assert training.stated(study)["network_options"] == {"batch_norm_eps": 0.01}
    norms = [m for m in training.create(study, 32).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {0.01}
    assert Training("AK14", "CNN").stated(study)["network_options"] == {}
    assert (
        PRESETS["readme"].training.network_options
        == PRESETS["paper"].training.network_options
        == {}
    )
    for options, words in (
        ({"MaxVit": {}}, "network_options names 'MaxVit', expected each once and among CNN"),
        ({"MaxViT": {"eps": 1.0}}, "MaxViT has no option 'eps'"),
    ):
        strange = study.changed(training={"network_options": options})
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
        ("pixels_max = 48", "one of 32, 64, 128"),
        ('equalise = "ref"', "one of none, signal, flat"),
        ('equalise_in = ["pt", "pt"]', "equalise_in is ['pt', 'pt'], expected pt, mass"),
        ('negative_weights = "ignore"', "one of refuse, leave out, absolute"),
        ("stop_masses = [900, 700]", "rising"),
        ('name = "../elsewhere"', "folder"),
        ('name = ""', "folder"),
        ('name = "tags"', "which tag.py has"),
        ('name = "paper"', "preset"),
        ('epochs = "five"', "a value like 5"),
        ("network_options = 5", "network_options is 5"),
        ("[network_options]\nMaxViT = 5", "network_options is {'MaxViT': 5}"),
        ("epoch = 5", "unknown setting"),
        ('base = "mine"', "readme"),
        ('base = "mine.toml"', "readme"),
        ("base = [1]", "readme"),
        ("epochs = ", "TOML"),
        ("epochs = true", "a value like 5"),
        ("seeds = [true]", "a value like 0"),
        (f"epochs = {10**30}", "below 2147483648"),
        (f"epochs = {'9' * 5000}", "TOML"),
        (f"width = 1{'0' * 400}", "a value like 1.0"),
        ("width = 1e300", "at most 10"),
        ("width = inf", "at most 10"),
        ("stop_masses = [700, 40_000]", "below 6500"),
        (f"split = {'[' * 5000}", "TOML"),
        ("split = {train = 0.5}", "a value like"),
        ('base = "nul\\u0000.toml"', "TOML"),
    ],
)
def test_bad_settings_are_one_sentence(line, words, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(line)
    with pytest.raises(InputError) as refusal:
        load_study(str(path))
    assert str(tmp_path) in str(refusal.value)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_no_text_is_one_sentence(tmp_path):
    (tmp_path / "latin.toml").write_bytes("# schön".encode("latin-1"))
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    for path in tmp_path.iterdir():
        with pytest.raises(InputError, match=f"{path}: not a readable TOML file"):
            load_study(str(path))
