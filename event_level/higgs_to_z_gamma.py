"""What a classifier sees of events with two leptons and a photon: fifteen features and the mass.

The features are those of the event classifier transformer (J. Kim, arXiv:2401.00428). The files of
`simulate.py` hold four-momenta; everything here follows from them.
"""

from dataclasses import dataclass

import numpy as np

from command import InputError
from jets.events import ZGammaEvents, read_events
from jets.four_momenta import invariant_mass, momenta_of, product
from jets.ragged import delta_r, table
from jets.split import IDENTITY, assign_split
from processes import PROCESSES, SIGNAL, Z_GAMMA, Process
from study import Study

FEATURES = {  # and the ranges that the paper scales linearly to -1 ... 1
    "min_dR": (0.4, 3.7),
    "max_dR": (0.4, 5.0),
    "pt_mass": (0.0, 11.0),
    "cosTheta": (-1.0, 1.0),
    "costheta": (-1.0, 1.0),
    "llg_mass_err": (1.1, 3.4),
    "phi": (0.0, 6.3),
    "photon_rapidity": (-2.5, 2.5),
    "l1_rapidity": (-2.5, 2.5),
    "l2_rapidity": (-2.5, 2.5),
    "llg_flavor": (0.0, 1.0),
    "llg_ptt": (0.0, 400.0),
    "photon_pt_mass": (0.13, 2.0),
    "lead_lep_pt": (25.0, 1000.0),
    "sublead_lep_pt": (15.0, 500.0),
}


@dataclass(frozen=True)
class ZGammaTable:
    """The events of a study, one row each.

    Attributes:
        events: structured (n,), the `jets.split.IDENTITY` of every event.
        features: (n, 15), the columns of `FEATURES`.
        mass: (n,) m(ll gamma) in GeV, which no classifier should know.
        label: (n,) 1 of H -> Z gamma, 0 of the continuum.
        weight: (n,) so many events of this kind are expected in `physics.LUMINOSITY`.
        split: (n,) a number of `jets.split.SPLITS`.
    """

    events: np.ndarray
    features: np.ndarray
    mass: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    split: np.ndarray


def read(study: Study) -> ZGammaTable:
    """All events of a study whose processes are selected as Z gamma, by process, file and row.

    Raises:
        InputError: another process, a file that is missing or damaged, or one without weights.
    """
    parts = []
    for process in map(PROCESSES.__getitem__, study.sample.processes):
        if process.selection != Z_GAMMA:
            raise InputError(
                f"study {study.name!r}: sample.processes has {process.name!r}, whose events are of "
                f"the {process.selection}, expected those of {Z_GAMMA}; leave it out"
            )
        files = {
            numbers: _read_file(study, process, numbers) for numbers in study.files_of(process)
        }
        generated = sum(found.sum_of_weights for found in files.values())
        for numbers, found in files.items():
            identity = dict(zip(IDENTITY[1:-1], process.identity(*numbers), strict=True))
            identity |= {"process": process.number, "row": np.arange(len(found))}
            parts.append(
                (
                    table([(name, "i8") for name in IDENTITY], len(found), identity),
                    features(found),
                    mass_of(found),
                    np.full(len(found), process.role == SIGNAL, np.int64),
                    found.weight * (found.sum_of_weights / generated),  # parts of one sample
                )
            )
    events, *columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ZGammaTable(events, *columns, assign_split(events, np.ones(len(events), bool), study))


def _read_file(study: Study, process: Process, numbers: tuple[int, ...]) -> ZGammaEvents:
    path = study.folder_of(process) / f"{process.sample_name(*numbers)}.h5"
    found = read_events(path, selection=Z_GAMMA)
    if found.weight is None:
        raise InputError(f"{path}: dataset 'weight' is missing; simulate the file again")
    return found


def features(events: ZGammaEvents) -> np.ndarray:
    """The fifteen features (n, 15) of `FEATURES`; momenta in GeV.

    - min_dR, max_dR: the smaller and the larger Delta R of the photon and a lepton.
    - pt_mass, photon_pt_mass: pT of ll gamma and of the photon, over m(ll gamma).
    - cosTheta, costheta, phi: `decay_angles`.
    - llg_mass_err: the standard deviation of m(ll gamma), `mass_error`.
    - photon_rapidity, l1_rapidity, l2_rapidity: pseudorapidities; l1 is the harder lepton.
    - llg_flavor: 0 of electrons, 1 of muons.
    - llg_ptt: pT of ll gamma across the thrust axis, |pT(ll gamma) x t| with the unit vector t
      along pT(ll) - pT(gamma).
    - lead_lep_pt, sublead_lep_pt.
    """
    lepton, photon = events.lepton, events.photon
    distance = delta_r(
        lepton["eta"], lepton["phi"], photon["eta"][:, None], photon["phi"][:, None]
    ).astype(float)
    leptons, gamma = momenta_of(lepton), momenta_of(photon)
    dilepton = leptons.sum(axis=1)
    total = dilepton + gamma
    mass = invariant_mass(total)
    (x, y), axis = total[:, 1:3].T, (dilepton - gamma)[:, 1:3]
    axis = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    negative = np.argmin(lepton["charge"], axis=1)
    rows = np.arange(len(lepton))
    minus, plus = leptons[rows, negative], leptons[rows, 1 - negative]
    production, decay, azimuth = decay_angles(minus, plus, gamma)
    columns = {
        "min_dR": distance.min(axis=1),
        "max_dR": distance.max(axis=1),
        "pt_mass": np.hypot(x, y) / mass,
        "cosTheta": production,
        "costheta": decay,
        "llg_mass_err": mass_error(events),
        "phi": azimuth,
        "photon_rapidity": photon["eta"],
        "l1_rapidity": lepton["eta"][:, 0],
        "l2_rapidity": lepton["eta"][:, 1],
        "llg_flavor": np.abs(lepton["pdg_id"][:, 0]) == 13,
        "llg_ptt": np.abs(x * axis[:, 1] - y * axis[:, 0]),
        "photon_pt_mass": photon["pt"] / mass,
        "lead_lep_pt": lepton["pt"][:, 0],
        "sublead_lep_pt": lepton["pt"][:, 1],
    }
    return np.stack([columns[name] for name in FEATURES], axis=1).astype(float)


def mass_of(events: ZGammaEvents) -> np.ndarray:
    """m(ll gamma) (n,) in GeV."""
    return invariant_mass(momenta_of(events.lepton).sum(axis=1) + momenta_of(events.photon))


def mass_error(events: ZGammaEvents) -> np.ndarray:
    """Standard deviation (n,) of m(ll gamma) in GeV, from the resolutions r of the three momenta.

    With the sum P of the three, dm / dln p_i = p_i P / m, which add up to m.
    """
    momenta = np.concatenate([momenta_of(events.lepton), momenta_of(events.photon)[:, None]], 1)
    resolution = np.column_stack([events.lepton["resolution"], events.photon["resolution"]])
    total = momenta.sum(axis=1)
    shifts = resolution * product(momenta, total[:, None]) / invariant_mass(total)[:, None]
    return np.sqrt((shifts**2).sum(axis=1))


def decay_angles(
    minus: np.ndarray, plus: np.ndarray, photon: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three angles of ll gamma as CMS defines them, after Gainer, Kumar, Low and Vega-Morales.

    The incoming partons are taken as two massless momenta q1 + q2 = P, the momentum of ll gamma:
    parallel to +z and -z in the frame that the boost with the transverse velocity pT / E of
    ll gamma leads to. In the rest frame of P, with p(Z) = p(l-) + p(l+):

    - cosTheta: of the angle between q1 and p(Z).
    - costheta: of l- and p(Z), with l- in the rest frame of the Z.
    - phi: the azimuth of l- about p(Z), 0 to 2 pi, in the frame z = p(Z), y = q1 x z, x = y x z;
      it is the angle between the planes of decay and of production.

    costheta is Lorentz invariant. The others are invariant under rotations about the beam, and
    under boosts along it as long as the pT of ll gamma is 0: otherwise the transverse velocity, and
    with it q1, depends on the frame. Reflecting z turns cosTheta into -cosTheta and phi into
    pi - phi; exchanging the charges turns costheta into -costheta and phi into phi + pi.

    Source: arXiv:1108.2274, equations 4, 5, 7, 13; CMS HIG-19-014, arXiv:2204.12945.

    Args:
        minus, plus, photon: four-momenta (n, 4) of the leptons by charge, and of the photon.

    Returns:
        cosTheta, costheta, phi, each (n,).
    """
    z_boson = minus + plus
    total = z_boson + photon
    square = product(total, total)

    def at_rest(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Product of the two spatial momenta in the rest frame of ll gamma."""
        energies = product(first, total) * product(second, total) / square
        return energies - product(first, second)

    energy, x, y, z = total.T
    longitudinal = np.sqrt(energy**2 - x**2 - y**2)  # energy after the transverse boost
    parton = np.stack([energy, x, y, longitudinal], axis=1)
    parton = parton * ((longitudinal + z) / (2 * longitudinal))[:, None]

    z_momentum = np.sqrt(at_rest(z_boson, z_boson))
    production = at_rest(parton, z_boson) / np.sqrt(at_rest(parton, parton)) / z_momentum
    decay = product(minus - plus, total) / np.sqrt(square) / z_momentum
    # l- x l+ times q1 and times q1 x p(Z): sine and cosine, but for one positive factor.
    volume = np.linalg.det(np.stack([total, parton, minus, plus], axis=1)) / np.sqrt(square)
    in_plane = at_rest(minus, parton) * at_rest(plus, z_boson)
    in_plane -= at_rest(minus, z_boson) * at_rest(plus, parton)
    return production, decay, np.arctan2(-z_momentum * volume, -in_plane) % (2 * np.pi)
