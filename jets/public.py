"""Public samples of jets as constituents: EnergyFlow's quarks and gluons, top tagging, JetClass.

Layouts: EnergyFlow `.npz` (Zenodo 3164691), top tagging HDF5 (Zenodo 2603256), JetClass ROOT
(Zenodo 6619768). All give the same: constituents about the axis of their jet, which is the sum of
all of them, also of those beyond the hardest `CONSTITUENTS_MAX`.
"""

import pickletools
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from command import InputError
from jets.constituents import UNKNOWN_KIND, Constituents, concatenate, hardest
from jets.ragged import delta_phi, events_of, offsets_from

AXIS = np.dtype([(name, "f8") for name in ("pt", "rapidity", "phi", "mass")])
# PDG ids that last -> mass in GeV and kind; others are neutral hadrons of the mass of a neutron.
PARTICLES = {
    211: (0.13957, 0), 321: (0.49368, 0), 2212: (0.93827, 0), 3222: (1.18937, 0),
    3112: (1.19745, 0), 3312: (1.32171, 0), 3334: (1.67245, 0), 130: (0.49761, 1),
    310: (0.49761, 1), 2112: (0.93957, 1), 3122: (1.11568, 1), 3322: (1.31486, 1), 22: (0.0, 2),
    11: (0.000511, 3), 13: (0.10566, 4),
}  # fmt: skip
UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError,
    zipfile.BadZipFile,
)  # fmt: skip
NUMBERS = "fiu"  # kinds of such columns
PARTICLE = {  # least and largest of a particle, pT and mass in GeV
    "pT": (1e-30, 1e6), "rapidity": (-50, 50), "phi": (-1e6, 1e6), "mass": (0, 1e6)
}  # fmt: skip
TOP_PARTICLES = 200  # columns of particles of a top-tagging jet
ROWS_AT_ONCE = 2**15  # of these, 100 MB
JETCLASS_KINDS = ("ChargedHadron", "NeutralHadron", "Photon", "Electron", "Muon")
JETCLASS_LABELS = (
    "QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl",
)  # fmt: skip


class PublicJets(NamedTuple):
    """n jets.

    Attributes:
        constituents: of them.
        axes: structured (n,) `AXIS`, the sum of all constituents.
        label: (n,) int64: quark or top 1, gluon or QCD 0; of JetClass the number in
            `JETCLASS_LABELS`.
    """

    constituents: Constituents
    axes: np.ndarray
    label: np.ndarray

    def take(self, rows: np.ndarray) -> "PublicJets":
        """The jets of a mask or of numbers."""
        return PublicJets(self.constituents.take(rows), self.axes[rows], self.label[rows])


def read_public(path: Path) -> PublicJets:
    """The jets of one file, by its suffix: .npz, .h5 or .hdf5, .root.

    Raises:
        InputError: no such file, or not one of these layouts.
    """
    readers: dict[str, Callable[[Path], PublicJets]] = {
        ".npz": energyflow, ".h5": top_tagging, ".hdf5": top_tagging, ".root": jetclass
    }  # fmt: skip
    if path.suffix not in readers:
        raise InputError(
            f"{path}: the suffix is {path.suffix!r}, expected .npz (EnergyFlow), .h5 (top tagging) "
            "or .root (JetClass)"
        )
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        return readers[path.suffix](path)
    except UNREADABLE as error:
        words = f"{error}".partition("\n")[0] or type(error).__name__
        raise InputError(f"{path}: not a file of this layout, or damaged ({words})") from None


def energyflow(path: Path) -> PublicJets:
    """`X` (n, m, 4): pT, rapidity, phi, PDG id, padded with zeros; `y` (n,): 1 of a quark."""
    if isinstance(found := np.load(path), np.ndarray):
        raise InputError(f"{path}: a single array, expected the arrays X and y of EnergyFlow")
    with found as file:
        for name, dimensions, kinds in (("X", 3, NUMBERS), ("y", 1, f"b{NUMBERS}")):
            array = file[name] if name in file else np.empty(0)
            if array.ndim != dimensions or array.dtype.kind not in kinds:
                raise InputError(
                    f"{path}: no array {name!r} of numbers with {dimensions} dimensions, expected "
                    "those of EnergyFlow's quark and gluon jets"
                )
        particles, label = file["X"].astype(np.float64), file["y"]
    if particles.shape[2] < 4 or len(label) != len(particles):
        raise InputError(
            f"{path}: X has the shape {particles.shape} and y {label.shape}, expected (n, m, 4) "
            "with PDG ids, and (n,)"
        )
    _require_classes(path, "y", label, "1 (quark) or 0 (gluon)")
    exists = particles[..., 0] != 0  # what is no number is refused below
    pt, rapidity, phi, pdg_id = particles[exists][:, :4].T
    counts, size = exists.sum(axis=1), np.abs(pdg_id)
    is_id = (size >= 1) & (size < 2**31) & (pdg_id == np.round(pdg_id))
    _require(path, is_id, counts, pdg_id, "the PDG id", "a whole number other than 0")
    mass, kind = of_pdg_ids(pdg_id.astype(np.int64))
    return from_particles(path, counts, pt, rapidity, phi, mass, kind, label)


def _require_classes(
    path: Path, name: str, label: np.ndarray, expected: str, first: int = 0
) -> None:
    """Refuse labels (n,) other than 0 and 1, of rows from `first`."""
    if (is_other := ~np.isin(label, (0, 1))).any():
        row = is_other.argmax()
        raise InputError(
            f"{path}: row {first + row}: {name} is {label[row]:g}, expected {expected}"
        )


def _require(
    path: Path | str,
    is_good: np.ndarray,
    counts: np.ndarray,
    values: np.ndarray,
    name: str,
    expected: str,
    first: int = 0,
) -> None:
    """Refuse values (m,) that are not good (m,), of particles of jets with so many (n,) each; of
    the jets the first is row `first`."""
    if not is_good.all():
        one = is_good.argmin()
        row = first + np.searchsorted(np.cumsum(counts), one, side="right")
        raise InputError(
            f"{path}: row {row}: {name} of a particle is {values[one]:g}, expected {expected}"
        )


def top_tagging(path: Path) -> PublicJets:
    """A table as pandas writes it: `E_i`, `PX_i`, `PY_i`, `PZ_i` of 200 particles,
    `is_signal_new`. Read without pandas, which would need PyTables."""
    with h5py.File(path) as file:
        found = file.get("table/table")
        fields = found.dtype.names or () if isinstance(found, h5py.Dataset) else ()
        blocks = [name for name in fields if name.startswith("values_block_")]
        place = {
            column: (block, i)
            for block in blocks
            for i, column in enumerate(_strings(found.attrs[f"{block}_kind"]))
        }
        names = [[f"{name}_{i}" for i in range(TOP_PARTICLES)] for name in ("E", "PX", "PY", "PZ")]
        for name in (*np.ravel(names), "is_signal_new"):
            if name not in place:
                raise InputError(f"{path}: no column {str(name)!r}, expected those of top tagging")
        parts = []
        for first in range(0, max(len(found), 1), ROWS_AT_ONCE):
            rows = found[first : first + ROWS_AT_ONCE]
            padded = np.stack([_columns(rows, place, some) for some in names])
            if padded.dtype.kind not in NUMBERS:
                raise InputError(f"{path}: columns E_0, PX_0, ... are no numbers")
            exists = padded[0] != 0  # what is no number is refused below
            momenta = padded[:, exists].astype(np.float64)
            kind = np.full(momenta.shape[1], UNKNOWN_KIND)
            label = _columns(rows, place, ["is_signal_new"])[:, 0]
            _require_classes(path, "is_signal_new", label, "1 (top) or 0 (QCD)", first)
            counts = exists.sum(axis=1)
            _require(path, ~(momenta[0] < 0), counts, momenta[0], "the energy", "0 or more", first)
            of_jets = counts, *_coordinates(*momenta), kind, label
            parts.append(from_particles(path, *of_jets, first=first))
    of_constituents, *others = zip(*parts, strict=True)
    return PublicJets(concatenate(of_constituents), *map(np.concatenate, others))


def _columns(
    rows: np.ndarray, place: Mapping[str, tuple[str, int]], names: Sequence[str]
) -> np.ndarray:
    """Columns (n, ...) of some rows by their names; a place is a block and a number in that."""
    blocks = [(rows[block], i) for block, i in map(place.__getitem__, names)]
    return np.stack([block[:, i] for block, i in blocks], axis=1)


def _strings(pickled: bytes) -> list[str]:
    """The strings of a pickled list, which is not executed."""
    found = pickletools.genops(bytes(pickled))  # STRING: of Python 2
    kinds = "UNICODE", "STRING"
    return [
        value for code, value, _ in found
        if isinstance(value, str) and any(kind in code.name for kind in kinds)
    ]  # fmt: skip


def jetclass(path: Path) -> PublicJets:
    """Tree `tree`: vectors `part_px`, `part_py`, `part_pz`, `part_energy`, `part_isPhoton`, ...;
    one of `label_QCD`, `label_Hbb`, ... is 1."""
    try:
        import awkward as ak
        import uproot
    except ImportError as error:
        raise InputError(f"{path}: the package {error.name!r} is not installed") from None
    momenta = [f"part_{name}" for name in ("energy", "px", "py", "pz")]
    kinds = [f"part_is{name}" for name in JETCLASS_KINDS]
    labels = [f"label_{name}" for name in JETCLASS_LABELS]
    with uproot.open(path) as file:
        tree = file.get("tree")
        if not hasattr(tree, "keys"):
            raise InputError(f"{path}: no tree 'tree'; not of JetClass")
        if absent := [name for name in (*momenta, *kinds, *labels) if name not in tree]:
            raise InputError(f"{path}: no branch {absent[0]!r} of a tree 'tree'; not of JetClass")
        found = tree.arrays([*momenta, *kinds, *labels])
    for name in (*momenta, *kinds):
        if found[name].ndim != 2:
            raise InputError(f"{path}: branch {name!r} has no vectors; not of JetClass")
    counts = ak.to_numpy(ak.num(found[momenta[0]]))
    for name in (*momenta, *kinds):
        of_branch = ak.to_numpy(ak.num(found[name]))
        if (is_other := of_branch != counts).any():
            row = is_other.argmax()
            raise InputError(
                f"{path}: row {row}: {name} is of {of_branch[row]} particles, expected "
                f"{counts[row]}, as {momenta[0]}"
            )
    e, x, y, z = (ak.to_numpy(ak.flatten(found[name])).astype(np.float64) for name in momenta)
    _require(path, ~(e < 0), counts, e, "the energy", "0 or more")
    is_kind = np.stack([ak.to_numpy(ak.flatten(found[name])) > 0 for name in kinds])
    kind = np.where(is_kind.any(axis=0), is_kind.argmax(axis=0), UNKNOWN_KIND)
    of_each = np.stack([ak.to_numpy(found[name]) > 0 for name in labels])
    if (is_other := of_each.sum(axis=0) != 1).any():
        row = is_other.argmax()
        raise InputError(
            f"{path}: row {row}: {of_each[:, row].sum()} of the labels label_QCD, label_Hbb, ... "
            "are set, expected one"
        )
    label = of_each.argmax(axis=0)
    return from_particles(path, counts, *_coordinates(e, x, y, z), kind, label)


def of_pdg_ids(pdg_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masses (m,) in GeV and kinds (m,), see `Constituents`, of stable particles.

    >>> of_pdg_ids(np.array([-211, 22, 13]))
    (array([0.13957, 0.     , 0.10566]), array([0, 2, 4]))
    """
    known, number = np.unique(np.abs(pdg_id), return_inverse=True)
    facts = [PARTICLES.get(one, PARTICLES[2112]) for one in known.tolist()]
    mass, kind = np.array(facts, dtype=np.float64).reshape(-1, 2).T
    return mass[number], kind[number].astype(np.int64)


def _coordinates(
    e: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """pT, rapidity, phi and mass (m,) of momenta; what is too large for that is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        pt, mass = np.hypot(x, y), np.sqrt(np.maximum(e**2 - x**2 - y**2 - z**2, 0))
    return pt, np.arcsinh(z / np.maximum(np.hypot(pt, mass), 1e-12)), np.arctan2(y, x), mass


def from_particles(
    path: Path | str,
    counts: np.ndarray,
    pt: np.ndarray,
    rapidity: np.ndarray,
    phi: np.ndarray,
    mass: np.ndarray,
    kind: np.ndarray,
    label: np.ndarray,
    first: int = 0,
) -> PublicJets:
    """From particles jet after jet, so many (n,) in each; an InputError names `path` and the row,
    of which the first is `first`."""
    if not len(counts):
        raise InputError(f"{path}: no jets")
    columns = pt, rapidity, phi, mass
    for (name, (low, high)), column in zip(PARTICLE.items(), columns, strict=True):
        is_good = (column >= low) & (column <= high)
        _require(path, is_good, counts, column, name, f"{low:g} to {high:g}", first)
    if (counts == 0).any():
        raise InputError(f"{path}: row {first + counts.argmin()}: a jet without particles")
    offsets = offsets_from(counts)
    jet, transverse = events_of(offsets), np.hypot(pt, mass)
    momenta = [
        transverse * np.cosh(rapidity), pt * np.cos(phi), pt * np.sin(phi),
        transverse * np.sinh(rapidity),
    ]  # fmt: skip
    sums = (np.bincount(jet, one, len(counts)) for one in momenta)
    axes = np.empty(len(counts), AXIS)
    for name, column in zip(AXIS.names, _coordinates(*sums), strict=True):
        axes[name] = column
    found = hardest(
        offsets, pt=pt, rapidity=rapidity - axes["rapidity"][jet],
        phi=delta_phi(phi, axes["phi"][jet]), mass=mass, kind=kind,
    )  # fmt: skip
    return PublicJets(found, axes, label.astype(np.int64))
