"""Classifiers of a user's own events: tables of all formats, what is refused, figures of merit."""

import contextlib
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
from scipy.stats import norm

from command import InputError
from event_level.user_table import NEITHER, UserTable, read_columns, read_user_table
from products import read_csv
from sensitivity.binned import significance_of
from studies import events
from study import load_study

STUDY = load_study(str(Path(__file__).parent.parent / "studies/events.toml"))
CLASSES = {"signal": ["higgs"], "background": ["z*"]}
SHIFT = 1.5  # of signal, in widths


def table(n: int = 900, seed: int = 0) -> pandas.DataFrame:
    """Two Gaussian features, one of noise, a mass, and a process that is neither."""
    random = np.random.default_rng(seed)
    process = random.choice(["higgs", "z jets", "zz", "data"], n, p=[0.4, 0.3, 0.2, 0.1])
    is_signal = process == "higgs"
    mass = np.where(is_signal, random.normal(125, 2, n), random.uniform(105, 160, n))
    return pandas.DataFrame(
        {
            "process": process, "weight": np.where(is_signal, 0.02, 1.0) * random.uniform(1, 2, n),
            "m": mass, "x": random.normal(size=n) + SHIFT * is_signal,
            "n": random.integers(0, 9, n),
        }
    )  # fmt: skip


def write(frame: pandas.DataFrame, path: Path) -> Path:
    """In the format that its ending says."""
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name in frame:
                is_text = name == "process"
                file[name] = frame[name].to_numpy().astype("S" if is_text else frame[name].dtype)
    elif path.suffix == ".hdf5":
        with h5py.File(path, "w") as file:
            kinds = [(name, "S9" if name == "process" else frame[name].dtype) for name in frame]
            file["all/events"] = np.array([*frame.itertuples(index=False)], kinds)
            file.move("all/events", "events")
            del file["all"]
    else:
        uproot = pytest.importorskip("uproot")
        with uproot.recreate(path) as file:
            kinds = {name: "string" if name == "process" else "float64" for name in frame}
            file.mktree("events", kinds).extend(
                {name: frame[name].astype(float) for name in frame if name != "process"}
                | {"process": [*map(str, frame["process"])]}
            )
    return path


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command on a table in a folder of its own; what it says."""
    monkeypatch.chdir(tmp_path)
    few = ["event_networks.epochs=3", "trees.folds=3", "trees.number=20", "figures.bootstraps=10"]
    root = Path(__file__).parent.parent

    def run(frame: pandas.DataFrame, *words: str, name: str = "mine.csv") -> str:
        path = write(frame, Path(name))
        settings = [word for one in few for word in ("--set", one)]
        named = ["--signal", "higgs", "--background", "z jets", "zz"]
        study = ["--study", str(root / "studies/events.toml")]
        monkeypatch.setattr(sys, "argv", ["events", str(path), *named, *study, *settings, *words])
        events.main()
        return capsys.readouterr().out

    return run


# --- Tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".h5", ".hdf5", ".root"])
def test_all_formats_give_the_same_events(ending, tmp_path):
    frame = table(50)
    found = read_user_table(write(frame, tmp_path / f"a{ending}"), **CLASSES, spectator="m")
    assert sorted(found.names) == ["n", "x"]
    at = [found.names.index(name) for name in ("x", "n")]
    np.testing.assert_allclose(found.features[:, at], frame[["x", "n"]], rtol=1e-12)
    np.testing.assert_allclose([found.spectator, found.weight], frame[["m", "weight"]].T)
    expected = frame["process"].map({"higgs": 1, "z jets": 0, "zz": 0, "data": NEITHER})
    assert np.array_equal(found.label, expected)
    assert found.process.tolist() == frame["process"].tolist()


def test_without_a_weight_every_event_counts_1_and_features_may_be_named(tmp_path):
    path = write(table(50).drop(columns="weight"), tmp_path / "a.csv")
    found = read_user_table(path, **CLASSES, features=["x"])
    assert (found.weight == 1).all() and found.names == ("x",) and found.spectator is None


def changed(column: str, value: object, rows: slice | int = 7) -> pandas.DataFrame:
    frame = table(60)
    frame[column] = frame[column].astype(object if isinstance(value, str) else float)
    frame.loc[rows, column] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (changed("x", np.nan), {}, r"column 'x' is nan in row 7 \(1 of 60 rows\), expected finite"),
        (changed("weight", np.inf), {}, "column 'weight' is inf in row 7"),
        (changed("x", "many"), {}, "column 'x' holds .*, expected numbers; .* --features"),
        (changed("weight", 0, slice(None)), {}, "adds up to 0 for the signal, expected more than"),
        (changed("m", 5, slice(None)), {"spectator": "m"}, "'m' is 5 in all background events"),
        (table(60), {"spectator": "mass"}, "no column 'mass', expected one of process, weight, m"),
        (table(60), {"weight": "w"}, "no column 'w', expected one of process"),
        (table(60), {"features": ["y"]}, "no column 'y'"),
        (table(60), {"process": "label"}, "no column 'label'"),
        (table(60), {"signal": ["h"]}, "column 'process' has no 'h', expected a signal among .*zz"),
        (table(60), {"signal": ["z*"]}, "'z jets' is named as signal and as background"),
        (table(60)[["process", "m"]], {"spectator": "m"}, "no column is left to be a feature"),
        (table(0), {}, "its columns have lengths .*, expected equal ones above 0"),
    ],
)
def test_what_cannot_be_trained_on_is_one_sentence(frame, options, words, tmp_path):
    path = write(frame, tmp_path / "a.csv")
    with pytest.raises(InputError, match=words) as caught:
        read_user_table(path, **CLASSES | options)
    assert str(caught.value).startswith(f"{path}: ")


def test_files_that_are_no_tables_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"ends in '\.txt', expected \.csv, \.parquet"):
        read_columns(tmp_path / "a.txt")
    with pytest.raises(InputError, match="no such file"):
        read_columns(tmp_path / "a.csv")
    for ending, words in (
        (".csv", "expected a CSV table"), (".parquet", "write it again"), (".h5", "write it again"),
    ):  # fmt: skip
        path = tmp_path / f"a{ending}"
        path.write_bytes(b"a,b\n1,2,3,4\n\xff" if ending == ".csv" else b"nothing of that kind")
        with pytest.raises(InputError, match=words):
            read_columns(path)
    with h5py.File(tmp_path / "two.h5", "w") as file:
        for name in ("a", "b"):
            file[name] = np.zeros(3, [("x", float)])
    with pytest.raises(InputError, match=r"two\.h5: 2 tables, expected one of a, b; name it with"):
        read_columns(tmp_path / "two.h5")
    assert len(read_columns(tmp_path / "two.h5", "b")["x"]) == 3
    with pytest.raises(InputError, match="no 'c', expected one of a, b"):
        read_columns(tmp_path / "two.h5", "c")


# --- Figures of merit -----------------------------------------------------------------------------


def gaussian(n: int) -> tuple[UserTable, np.ndarray, np.ndarray]:
    """Events whose score is the likelihood ratio of two Gaussians, and folds."""
    random = np.random.default_rng(1)
    label = np.arange(n) % 2
    score = random.normal(size=n) + SHIFT * label
    weight = np.where(label, 30.0, 3000.0) / (n / 2)
    given = UserTable(score[:, None], ("x",), label.astype(str), label, weight, None)
    return given, score, events.folds(given, STUDY)


def test_folds_share_each_class_evenly():
    given, _, fold = gaussian(1001)
    counts = [np.bincount(fold[given.label == value]) for value in (0, 1)]
    assert all(np.ptp(count) <= 1 for count in counts) and len(counts[0]) == STUDY.trees.folds


def test_auc_and_significance_have_their_closed_forms():
    """AUC = Phi(d / sqrt 2); eighths of a Gaussian hold known shares of another."""
    given, score, fold = gaussian(60_000)
    rows = events.merits(given, {events.TREES: score}, fold, STUDY)
    found = {row["quantity"]: row for row in rows}
    edges = np.r_[-np.inf, norm.ppf(np.arange(1, 8) / 8) + SHIFT, np.inf]
    expected = np.hypot.reduce(significance_of(30 / 8, 3000 * np.diff(norm.cdf(edges))))
    for quantity, value in (("AUC", norm.cdf(SHIFT / 2**0.5)), ("significance", expected)):
        error = found[quantity]["high"] - found[quantity]["value"]
        assert abs(found[quantity]["value"] - value) < 3 * error < 0.1 * value
    counts, _ = events.of_bins(given, {events.TREES: score}, fold)
    np.testing.assert_allclose([row["signal"] for row in counts], 30 / 8, rtol=0.02)
    in_bins = np.hypot.reduce([row["significance"] for row in counts])
    assert in_bins == pytest.approx(found["significance"]["value"])


def test_the_bins_of_a_fold_follow_from_the_others():
    given, score, fold = gaussian(1000)
    place = events.places(given, score, fold)
    moved = np.where(fold == 0, np.tanh(score / 9) * 9, score)
    again = events.places(given, moved, fold)
    shuffled = np.where(fold == 1, score + 100, score)
    others = events.places(given, shuffled, fold)
    assert np.array_equal(place[fold == 1], events.places(given, score, fold)[fold == 1])
    assert (others[fold == 1] == 7).all() and (others[fold == 0] != place[fold == 0]).any()
    assert np.array_equal(place[fold > 1] >= 0, again[fold > 1] >= 0)


# --- The command ----------------------------------------------------------------------------------


def test_a_table_becomes_scores_merits_and_figures(run):
    frame = table()
    said = run(frame, "--spectator", "m")
    assert "| XGBoost | 1 | 0.8" in said and "EventTransformer, cross entropy" in said
    scores = pandas.read_csv("Data/mine/scores.csv")
    assert scores["process"].tolist() == frame["process"].tolist()
    assert list(scores)[4:] == [
        "XGBoost", "FeedForward, cross entropy, seed 0", "EventTransformer, cross entropy, seed 0",
    ]  # fmt: skip
    assert scores.iloc[:, 4:].notna().all(axis=None)  # data, which is neither, too
    merits = read_csv(Path("plots/mine/merits.csv"))
    quantities = {row["quantity"] for row in merits if row["classifier"] == "XGBoost"}
    assert quantities == {"AUC", "significance", "squared distance correlation"}
    for name in ("bins.png", "bins.csv", "spectator.png", "merits.txt"):
        assert (Path("plots/mine") / name).is_file()
    before = Path("Data/mine/scores.csv").read_bytes()
    assert "finished already" in run(frame, "--spectator", "m")
    Path("plots/mine/events.json").unlink()
    run(frame, "--spectator", "m")
    assert Path("Data/mine/scores.csv").read_bytes() == before


def test_labels_by_chance_leave_an_auc_of_one_half(run):
    frame = table(1200)
    frame["process"] = np.random.default_rng(3).permutation(frame["process"])
    run(frame, "--features", "x", "n", "--set", 'event_networks.networks=["FeedForward"]')
    for row in read_csv(Path("plots/mine/merits.csv")):
        if row["quantity"] == "AUC":
            assert abs(float(row["value"]) - 0.5) < 0.06


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--set", 'event_networks.networks=["EventSet"]'], "networks names 'EventSet', expected"),
        (["--set", "event_networks.decorrelations=[1.0]"], "empty; name one with --spectator"),
        (["--set", "trees.folds=2"], r"trees\.folds is 2, expected 3 or more"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(words, expected, run):
    with pytest.raises(InputError, match=expected):
        run(table(60), *words)
    assert not Path("Data").exists() and not Path("plots").exists()


def test_negative_weights_and_a_study_of_that_name_are_refused(run):
    with pytest.raises(InputError, match=r"mine\.csv: 1 of \d+ weights to grow trees with are neg"):
        run(changed("weight", -0.1))
    Path("Data/mine").mkdir(parents=True, exist_ok=True)
    Path("Data/mine/setup.json").touch()
    with pytest.raises(InputError, match="belongs to a study of that name; rename the table"):
        run(table(60))
    with contextlib.suppress(FileNotFoundError):
        assert not list(Path("plots/mine").glob("*.csv"))
