"""Public samples of jets: small files of exactly their layouts, and files that are not."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import uproot

from command import InputError
from jets.constituents import CONSTITUENTS_MAX
from jets.public import JETCLASS_KINDS, JETCLASS_LABELS, PublicJets, of_pdg_ids, read_public

N = 6
COUNTS = np.array([3, 1, 5, 2, 130, 4])  # one has more particles than are kept


def particles() -> list[np.ndarray]:
    """pT, rapidity, phi, PDG id of each jet, in no order; phi around pi, where it turns over."""
    random = np.random.default_rng(0)
    found = []
    for n in COUNTS:
        pt = random.exponential(20, n) + 0.5
        rapidity, phi = random.normal(0.3, 0.1, n), random.normal(np.pi, 0.1, n)
        found.append(np.stack([pt, rapidity, phi, random.choice([211, -211, 22, 130, 13], n)], 1))
    return found


def four_momenta(jet: np.ndarray, massless: bool) -> np.ndarray:
    pt, rapidity, phi, pdg_id = jet.T
    mass = 0 * pt if massless else of_pdg_ids(pdg_id.astype(int))[0]
    transverse = np.hypot(pt, mass)
    return np.stack(
        [
            transverse * np.cosh(rapidity), pt * np.cos(phi), pt * np.sin(phi),
            transverse * np.sinh(rapidity),
        ]
    )  # fmt: skip


def write_energyflow(path: Path) -> Path:
    padded = np.zeros((N, COUNTS.max() + 9, 4))
    for row, jet in zip(padded, particles(), strict=True):
        row[: len(jet)] = jet
    np.savez(path, X=padded, y=np.arange(N) % 2.0)
    return path


def write_top_tagging(path: Path) -> Path:
    """As pandas' `to_hdf(format="table")`: blocks of one type, whose columns a pickle names."""
    names = [f"{name}_{i}" for i in range(200) for name in ("E", "PX", "PY", "PZ")]
    names += ["truthE", "truthPX", "truthPY", "truthPZ"]
    dtype = [("index", "i8"), ("values_block_0", "f4", (804,)), ("values_block_1", "i8", (2,))]
    table = np.zeros(N, dtype)
    for row, jet in zip(table["values_block_0"], particles(), strict=True):
        row[: 4 * len(jet)] = four_momenta(jet, massless=True).T.ravel()
    table["values_block_1"] = np.stack([np.ones(N), np.arange(N) % 2], axis=1)
    with h5py.File(path, "w") as file:
        found = file.create_dataset("table/table", data=table)
        for block, columns in (
            ("values_block_0", names),
            ("values_block_1", ["ttv", "is_signal_new"]),
        ):
            found.attrs[f"{block}_kind"] = np.void(pickle.dumps(columns, protocol=0))
        found.attrs["index_kind"] = np.bytes_("integer")
    return path


def write_jetclass(path: Path) -> Path:
    import awkward as ak

    jets = particles()
    momenta = [four_momenta(jet, massless=False) for jet in jets]
    branches = {
        f"part_{name}": ak.Array([one[i].astype(np.float32) for one in momenta])
        for i, name in enumerate(("energy", "px", "py", "pz"))
    }
    for i, name in enumerate(JETCLASS_KINDS):
        kinds = [of_pdg_ids(jet[:, 3].astype(int))[1] == i for jet in jets]
        branches[f"part_is{name}"] = ak.Array([one.astype(np.int32) for one in kinds])
    for i, name in enumerate(JETCLASS_LABELS):
        branches[f"label_{name}"] = (np.arange(N) == i).astype(np.int32)
    with uproot.recreate(path) as file:
        file["tree"] = branches
    return path


FILES = {
    "jets.npz": write_energyflow, "train.h5": write_top_tagging, "jets.root": write_jetclass
}  # fmt: skip


@pytest.fixture(params=FILES)
def found(request, tmp_path) -> tuple[str, PublicJets]:
    return request.param, read_public(FILES[request.param](tmp_path / request.param))


def test_jets_are_the_sums_of_their_particles(found):
    name, read = found
    massless = name.endswith(".h5")
    sums = np.stack([four_momenta(jet, massless).sum(axis=1) for jet in particles()])
    e, x, y, z = sums.T
    np.testing.assert_allclose(read.axes["pt"], np.hypot(x, y), rtol=1e-5)
    np.testing.assert_allclose(
        np.exp(1j * read.axes["phi"]), (x + 1j * y) / np.hypot(x, y), atol=1e-5
    )
    np.testing.assert_allclose(read.axes["rapidity"], np.arctanh(z / e), rtol=1e-5)
    mass = np.sqrt(np.maximum(e**2 - x**2 - y**2 - z**2, 0))
    np.testing.assert_allclose(read.axes["mass"], mass, rtol=1e-2, atol=0.05)
    labels = np.arange(N) if name.endswith(".root") else np.arange(N) % 2
    assert read.label.tolist() == labels.tolist()


def test_a_table_read_in_pieces_is_the_same_and_its_rows_are_named(tmp_path, monkeypatch):
    path = write_top_tagging(tmp_path / "train.h5")
    whole = read_public(path)
    monkeypatch.setattr("jets.public.ROWS_AT_ONCE", 4)
    pieces = read_public(path)
    assert np.array_equal(pieces.axes, whole.axes) and np.array_equal(pieces.label, whole.label)
    for name, column in vars(whole.constituents).items():
        np.testing.assert_array_equal(vars(pieces.constituents)[name], column)
    with h5py.File(path, "r+") as file:
        table = file["table/table"][()]
        table["values_block_0"][5, :800] = 0
        file["table/table"][...] = table
    with pytest.raises(InputError, match="row 5: a jet without particles"):
        read_public(path)


def test_the_hardest_particles_stay_about_the_axis(found):
    name, read = found
    counts = np.minimum(COUNTS, CONSTITUENTS_MAX)
    assert np.diff(read.constituents.offsets).tolist() == counts.tolist()
    for i, jet in enumerate(particles()):
        jet = jet[np.argsort(-jet[:, 0])][:CONSTITUENTS_MAX]
        one = read.constituents.take(np.array([i]))
        np.testing.assert_allclose(one.pt, jet[:, 0], rtol=1e-4)
        rapidity = one.rapidity + read.axes["rapidity"][i]
        np.testing.assert_allclose(rapidity, jet[:, 1], atol=1e-4)
        assert np.abs(one.phi).max() < 1  # not a turn away
        turned = np.exp(1j * (one.phi + read.axes["phi"][i] - jet[:, 2]))
        np.testing.assert_allclose(turned, 1, atol=1e-3)
        mass, kind = of_pdg_ids(jet[:, 3].astype(int))
        if name.endswith(".h5"):
            assert (one.kind == 5).all()
        else:
            assert one.kind.tolist() == kind.tolist()
            np.testing.assert_allclose(one.mass, mass, atol=0.03)


def test_one_particle_lies_on_the_axis(found):
    _, read = found
    alone = read.constituents.take(np.array([1]))
    np.testing.assert_allclose([*alone.rapidity, *alone.phi], 0, atol=1e-5)


def without_labels(path: Path) -> Path:
    """The top-tagging file with another name for its last column."""
    write_top_tagging(path)
    path.write_bytes(path.read_bytes().replace(b"is_signal_new", b"is_signal_neQ"))
    return path


def test_another_file_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"there is no such file"):
        read_public(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"the suffix is '\.csv', expected \.npz"):
        read_public(tmp_path / "jets.csv")
    for name in FILES:
        (tmp_path / name).write_bytes(b"something else")
        with pytest.raises(InputError, match="not a file of this layout, or damaged"):
            read_public(tmp_path / name)
    np.savez(tmp_path / "other.npz", X=np.zeros((3, 4)), y=np.zeros(3))
    with pytest.raises(InputError, match="no array 'X' of numbers with 3 dimensions"):
        read_public(tmp_path / "other.npz")
    np.savez(tmp_path / "three.npz", X=np.ones((3, 5, 3)), y=np.zeros(3))
    with pytest.raises(InputError, match=r"X has the shape \(3, 5, 3\)"):
        read_public(tmp_path / "three.npz")
    with pytest.raises(InputError, match="no column 'is_signal_new'"):
        read_public(without_labels(tmp_path / "top.h5"))
    with uproot.recreate(tmp_path / "tree.root") as file:
        file["other"] = {"x": np.zeros(3)}
    with pytest.raises(InputError, match="no tree 'tree'"):
        read_public(tmp_path / "tree.root")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "row 2: rapidity of a particle is nan, expected"),
        (None, "row 3: a jet without"),
    ],
)
def test_a_jet_that_cannot_be_is_named(value, words, tmp_path):
    padded = np.ones((4, 5, 4))
    if value is None:
        padded[3] = 0
    else:
        padded[2, 1, 1] = value
    np.savez(tmp_path / "jets.npz", X=padded, y=np.zeros(4))
    with pytest.raises(InputError, match=words):
        read_public(tmp_path / "jets.npz")


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        (0, np.nan, "row 1: pT of a particle is nan"),
        (0, -3.0, "row 1: pT of a particle is -3, expected 1e-30 to"),
        (0, 1e-320, "row 1: pT of a particle is 9.99989e-321"),  # 0 in single precision
        (0, 1e300, r"row 1: pT of a particle is 1e\+300"),
        (1, 800.0, "row 1: rapidity of a particle is 800"),
        (2, np.inf, "row 1: phi of a particle is inf"),
        (3, np.nan, "row 1: the PDG id of a particle is nan"),
        (3, 1e30, "row 1: the PDG id of a particle is 1e.30, expected a whole number"),
        (3, 0.5, "row 1: the PDG id of a particle is 0.5"),
        (3, 0.0, "row 1: the PDG id of a particle is 0,"),
    ],
)
def test_numbers_that_make_no_sense_are_told_with_their_row(tmp_path, column, value, words):
    particles = np.zeros((3, 2, 4))
    particles[:, 0] = [5.0, 0.1, 0.2, 211]
    particles[1, 0, column] = value
    np.savez(tmp_path / "QG_jets.npz", X=particles, y=np.array([0, 1, 1.0]))
    with pytest.raises(InputError, match=words):
        read_public(tmp_path / "QG_jets.npz")


@pytest.mark.parametrize(
    ("particle", "words"),
    [
        ([5.0, 0, 0, 5], "row 2: pT of a particle is 0, expected"),  # along the beam
        ([-5.0, 3, 0, 4], "row 2: the energy of a particle is -5, expected 0 or more"),
        ([1e30, 1e30, 0, 0], r"row 2: pT of a particle is 1e\+30, expected"),
        ([np.nan, 1, 0, 0], "row 2: rapidity of a particle is nan"),
    ],
)
def test_momenta_that_make_no_sense_are_told_with_their_row(tmp_path, particle, words):
    path = write_top_tagging(tmp_path / "top.h5")
    with h5py.File(path, "r+") as file:
        table = file["table/table"][:]
        table["values_block_0"][2, 4:8] = particle
        file["table/table"][:] = table
    with pytest.raises(InputError, match=words):
        read_public(path)


def rewritten(path: Path, **changes) -> Path:
    """An EnergyFlow file with some arrays changed."""
    with np.load(write_energyflow(path)) as file:
        arrays = dict(file)
    np.savez(path, **{name: changes[name](one) if name in changes else one
                      for name, one in arrays.items()})  # fmt: skip
    return path


@pytest.mark.parametrize(
    "changes",
    [{"X": lambda x: x > 0}, {"X": lambda x: x + 0j}, {"X": lambda x: x.astype("S8")}],
    ids=["bool", "complex", "bytes"],
)
def test_columns_that_are_no_numbers_are_refused(tmp_path, changes):
    with pytest.raises(InputError, match="no array 'X' of numbers with 3 dimensions"):
        read_public(rewritten(tmp_path / "jets.npz", **changes))


def test_labels_as_words_and_files_without_jets_are_refused(tmp_path):
    path = tmp_path / "jets.npz"
    with pytest.raises(InputError, match="no array 'y' of numbers with 1 dimension"):
        read_public(rewritten(path, y=lambda y: np.where(y > 0, "quark", "gluon")))
    with pytest.raises(InputError, match=r"row 1: y is 7, expected 1 \(quark\) or 0 \(gluon\)"):
        read_public(rewritten(path, y=lambda y: 7 * y))
    with pytest.raises(InputError, match=r"jets\.npz: no jets"):
        read_public(rewritten(path, X=lambda x: x[:0], y=lambda y: y[:0]))
    with h5py.File(write_top_tagging(tmp_path / "top.h5"), "r+") as file:
        attributes, none = dict(file["table/table"].attrs), file["table/table"][:0]
        del file["table/table"]
        file.create_dataset("table/table", data=none).attrs.update(attributes)
    with pytest.raises(InputError, match=r"top\.h5: no jets"):
        read_public(tmp_path / "top.h5")


def test_a_table_that_python_2_wrote_is_the_same(tmp_path):
    """Its pickle names columns by STRING, not by UNICODE."""
    path = write_top_tagging(tmp_path / "top.h5")
    found = read_public(path)
    with h5py.File(path, "r+") as file:
        for block in ("values_block_0", "values_block_1"):
            attributes = file["table/table"].attrs
            names = pickle.loads(bytes(attributes[f"{block}_kind"]))
            lines = "".join(f"S'{name}'\np{i}\na" for i, name in enumerate(names, 1))
            attributes[f"{block}_kind"] = np.void(f"(lp0\n{lines}.".encode())
    again = read_public(path)
    assert np.array_equal(again.axes, found.axes) and np.array_equal(again.label, found.label)


def test_a_table_with_more_names_than_columns_is_refused(tmp_path):
    with h5py.File(write_top_tagging(tmp_path / "top.h5"), "r+") as file:
        whole = file["table/table"][:]
        short = np.zeros(N, [("index", "i8"), ("values_block_0", "f4", (700,)),
                             ("values_block_1", "i8", (2,))])  # fmt: skip
        short["values_block_0"] = whole["values_block_0"][:, :700]
        attributes = dict(file["table/table"].attrs)
        del file["table/table"]
        file.create_dataset("table/table", data=short).attrs.update(attributes)
    with pytest.raises(InputError, match="not a file of this layout, or damaged"):
        read_public(tmp_path / "top.h5")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x[:, 0], "branch 'part_px' has no vectors"),
        (lambda x: x[:, :1], "row 0: part_px is of 1 particles, expected 3, as part_energy"),
    ],
)
def test_branches_of_another_shape_are_named(tmp_path, change, words):
    with uproot.open(write_jetclass(tmp_path / "jets.root")) as file:
        arrays = file["tree"].arrays()
    branches = {name: arrays[name] for name in arrays.fields if not name.startswith("n")}
    with uproot.recreate(tmp_path / "jets.root") as file:
        file["tree"] = {**branches, "part_px": change(branches["part_px"])}
    with pytest.raises(InputError, match=words):
        read_public(tmp_path / "jets.root")


def test_a_single_array_and_labels_that_are_none_are_refused(tmp_path):
    particles = np.tile([5.0, 0.1, 0.2, 211], (3, 2, 1))
    with (tmp_path / "jets.npz").open("wb") as file:
        np.save(file, particles)
    with pytest.raises(InputError, match="a single array, expected the arrays X and y"):
        read_public(tmp_path / "jets.npz")
    path = write_top_tagging(tmp_path / "top.h5")
    with h5py.File(path, "r+") as file:
        table = file["table/table"][:]
        table["values_block_1"][3, 1] = 7
        file["table/table"][:] = table
    with pytest.raises(InputError, match=r"row 3: is_signal_new is 7, expected 1 \(top\)"):
        read_public(path)
