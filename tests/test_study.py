"""Studies: presets, TOML files, and what is refused."""

import dataclasses

import pytest
import torch

from command import InputError
from products import is_finished, require_settings, write_manifest
from study import PRESETS, SECTIONS, Study, TrainingSettings, load_study, to_toml
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


# --- Settings that came later -------------------------------------------------------------------

LATER = {
    "decorrelation": 10.0,
    "scope": [120.0, 130.0],
    "by_cross_section": True,
    "choose_by": "significance",
}


def test_a_setting_that_came_later_changes_the_identity_of_nothing_made_before():
    """The hashes are those of the version before these settings."""
    before = {
        "readme": "807cebc0660dd864",
        "paper": "2d5de6be3ec1466b",
        "demo": "8c4c44c6cc74d694",
    }
    for name, settings in before.items():
        study = PRESETS[name]
        assert study.settings("predict")["earlier"]["training"] == settings
        training = Training("AK14", "CNN")
        for manifest in (training.stated(study), training.decisive(study, "a hash")):
            assert LATER.keys().isdisjoint(manifest)
    named = {one.name for one in dataclasses.fields(TrainingSettings) if one.metadata}
    assert named == LATER.keys()


@pytest.mark.parametrize("name", LATER)
def test_a_setting_that_came_later_makes_another_training_wherever_it_is_stated(name, tmp_path):
    """Of two manifests, one with it and one of the old form, neither is taken for the other."""
    old = Study("x")
    new = old.changed(training={name: LATER[name]})
    training, path = Training("AK14", "CNN"), tmp_path / "manifest.json"
    of_old, of_new = ({"training": training.stated(study)} for study in (old, new))
    assert of_new["training"][name] == LATER[name]
    for then, now, words in (
        (of_old, of_new, f"made with training.{name} not stated, the study says"),
        (of_new, of_old, f"made with training.{name} .*, the study says its default; run train.py"),
    ):
        write_manifest(path, then, {}, [])
        assert is_finished(path, then, []) and not is_finished(path, now, [])
        require_settings(path, "train.py", then, then)
        with pytest.raises(InputError, match=words):
            require_settings(path, "train.py", then, now)


def test_a_scope_is_two_rising_numbers_or_none(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nscope = [120, 130.5]")
    study = load_study(str(path))
    assert study.training.scope == (120.0, 130.5)
    assert load_study(str(path), ["training.scope=[]"]).training.scope == ()
    (tmp_path / "whole.toml").write_text(to_toml(study.changed("whole")))
    assert load_study(str(tmp_path / "whole.toml")).training == study.training
    for bad in ("[1]", "[2, 1]", "[1, 1]", "[1, nan]", "[1, inf]", "[1, 2, 3]", "['a', 'b']", "5"):
        with pytest.raises(InputError, match=r"training\.scope is .*, expected"):
            load_study(str(path), [f"training.scope={bad}"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("decorrelation = -1", "0 or more"),
        ("decorrelation = nan", "0 or more"),
        ('choose_by = "accuracy"', "one of loss, AUC, significance"),
        ("by_cross_section = 1", "a value like False"),
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
