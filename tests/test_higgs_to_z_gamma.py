"""H -> Z gamma: closed forms and symmetries of the features, the selection, a small sample."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from command import InputError
from event_level.higgs_to_z_gamma import (
    FEATURES,
    decay_angles,
    features,
    mass_error,
    mass_of,
    read,
)
from jets.events import ZGammaEvents, read_events
from jets.four_momenta import four_momenta, invariant_mass, momenta_of, product
from jets.ragged import table
from jets.split import HELD_OUT
from processes import PROCESSES, Z_GAMMA
from study import PRESETS, load_study

ROOT = Path(__file__).parent.parent
NUMBER = {name: i for i, name in enumerate(FEATURES)}
HIGGS, Z = 125.0, 91.2
RANDOM = np.random.default_rng(0)
N = 500


def rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """(n, 4, 4) about x, y or z."""
    matrix = np.tile(np.eye(4), (len(angle), 1, 1))
    i, j = [(2, 3), (3, 1), (1, 2)][axis]
    matrix[:, i, i] = matrix[:, j, j] = np.cos(angle)
    matrix[:, j, i], matrix[:, i, j] = np.sin(angle), -np.sin(angle)
    return matrix


def boost(axis: int, rapidity: np.ndarray) -> np.ndarray:
    """(n, 4, 4) along x, y or z."""
    matrix = np.tile(np.eye(4), (len(rapidity), 1, 1))
    k = axis + 1
    matrix[:, 0, 0] = matrix[:, k, k] = np.cosh(rapidity)
    matrix[:, 0, k] = matrix[:, k, 0] = np.sinh(rapidity)
    return matrix


def moved(matrix: np.ndarray, *momenta: np.ndarray) -> list[np.ndarray]:
    return [np.einsum("nij,nj->ni", matrix, momentum) for momentum in momenta]


def decay(Theta: np.ndarray, theta: np.ndarray, phi: np.ndarray) -> list[np.ndarray]:
    """l-, l+ and photon of H at rest with these angles; massless leptons, q1 along z."""
    n, zero = len(theta), np.zeros(len(theta))
    direction = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    minus = np.column_stack([np.full(n, Z / 2), *(Z / 2 * direction)])
    plus = minus * [1, -1, -1, -1]
    momentum = (HIGGS**2 - Z**2) / (2 * HIGGS)
    minus, plus = moved(boost(2, np.full(n, np.arcsinh(momentum / Z))), minus, plus)
    photon = np.column_stack([np.full(n, momentum), zero, zero, np.full(n, -momentum)])
    # z = p(Z) is at the angle Theta to the beam; q1 x z is then along y.
    return moved(rotation(1, Theta), minus, plus, photon)


def random_angles(n: int = N) -> tuple[np.ndarray, ...]:
    cosines = RANDOM.uniform(-0.98, 0.98, (2, n))
    return *np.arccos(cosines), RANDOM.uniform(0, 2 * np.pi, n)


def events_of(minus, plus, photon, flavour=11) -> ZGammaEvents:
    """As a file has them, the harder lepton first."""

    def columns(momentum: np.ndarray) -> dict[str, np.ndarray]:
        _, x, y, z = momentum.T
        pt = np.hypot(x, y)
        return {"pt": pt, "eta": np.arcsinh(z / pt), "phi": np.arctan2(y, x), "resolution": 0.01}

    stored = {name: ZGammaEvents.DATASETS[name].names for name in ("lepton", "photon")}
    types = {name: [(one, "f8") for one in names] for name, names in stored.items()}
    lepton = np.zeros((len(minus), 2), types["lepton"])
    for k, (momentum, charge) in enumerate(((minus, -1), (plus, 1))):
        for name, column in (columns(momentum) | {"charge": charge}).items():
            lepton[name][:, k] = column
    lepton["pdg_id"] = -flavour * lepton["charge"]
    lepton = np.take_along_axis(lepton, np.argsort(-lepton["pt"], axis=1), axis=1)
    single = table(types["photon"], len(minus), columns(photon))
    none = np.zeros(len(minus))
    return ZGammaEvents({}, none, none, none, none, lepton, single)


def some_events(n: int = N) -> list[np.ndarray]:
    """l-, l+ and photon of a Higgs boson in flight."""
    momenta = moved(boost(0, RANDOM.uniform(0, 1, n)), *decay(*random_angles(n)))
    turned = moved(rotation(2, RANDOM.uniform(-np.pi, np.pi, n)), *momenta)
    return moved(boost(2, RANDOM.uniform(-1, 1, n)), *turned)


# --- Angles -------------------------------------------------------------------------------------


def test_the_angles_are_those_of_the_decay():
    Theta, theta, phi = random_angles()
    production, decayed, azimuth = decay_angles(*decay(Theta, theta, phi))
    np.testing.assert_allclose(production, np.cos(Theta), atol=1e-9)
    np.testing.assert_allclose(decayed, np.cos(theta), atol=1e-9)
    np.testing.assert_allclose(np.exp(1j * azimuth), np.exp(1j * phi), atol=1e-7)


def test_without_pt_no_boost_along_the_beam_changes_them():
    momenta = decay(*random_angles())
    for matrix in (boost(2, RANDOM.uniform(-3, 3, N)), rotation(2, RANDOM.uniform(-3, 3, N))):
        for before, after in zip(
            decay_angles(*momenta), decay_angles(*moved(matrix, *momenta)), strict=True
        ):
            np.testing.assert_allclose(np.exp(1j * after), np.exp(1j * before), atol=1e-7)


def test_costheta_is_lorentz_invariant():
    momenta = some_events()
    for axis in (0, 1, 2):
        turned = moved(rotation(axis, RANDOM.uniform(-3, 3, N)), *momenta)
        after = decay_angles(*moved(boost(axis, RANDOM.uniform(-2, 2, N)), *turned))[1]
        np.testing.assert_allclose(after, decay_angles(*momenta)[1], atol=1e-8)


def test_explicit_boosts_give_the_same_angles():
    """Independent: rest frames by matrices, axes by cross products, as in arXiv:1108.2274."""
    momenta = some_events()
    total = sum(momenta)
    angle = np.arctan2(total[:, 2], total[:, 1])
    pt = np.hypot(total[:, 1], total[:, 2])

    def transversely(sign: int, *p: np.ndarray) -> list[np.ndarray]:
        p = moved(rotation(2, -angle), *p)
        p = moved(boost(0, sign * np.arctanh(pt / total[:, 0])), *p)
        return moved(rotation(2, angle), *p)

    [aligned] = transversely(-1, total)
    np.testing.assert_allclose(aligned[:, 1:3], 0, atol=1e-9)
    q = (aligned[:, 0] + aligned[:, 3]) / 2
    zero = np.zeros(N)
    q1, q2 = transversely(
        1, np.column_stack([q, zero, zero, q]), aligned - np.column_stack([q, zero, zero, q])
    )
    np.testing.assert_allclose(q1 + q2, total, atol=1e-9)

    along_z = np.arctan2(np.hypot(total[:, 1], total[:, 2]), total[:, 3])
    turn = rotation(1, -along_z) @ rotation(2, -angle)  # the momentum of ll gamma along z
    size = np.linalg.norm(total[:, 1:], axis=1)
    to_rest = boost(2, -np.arctanh(size / total[:, 0])) @ turn
    q1, minus, plus, photon = (p[:, 1:] for p in moved(to_rest, q1, *momenta))
    z = minus + plus
    np.testing.assert_allclose(z + photon, 0, atol=1e-9)
    z, q1 = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (z, q1))
    y = np.cross(q1, z)
    x = np.cross(y, z)
    production, _, azimuth = decay_angles(*momenta)
    np.testing.assert_allclose(production, (q1 * z).sum(axis=1), atol=1e-8)
    expected = np.arctan2((minus * y).sum(axis=1), (minus * x).sum(axis=1))
    np.testing.assert_allclose(np.exp(1j * azimuth), np.exp(1j * expected), atol=1e-6)


# --- Features -----------------------------------------------------------------------------------


def test_all_features_are_symmetric_under_rotations_about_the_beam():
    momenta = some_events()
    turned = moved(rotation(2, RANDOM.uniform(-3, 3, N)), *momenta)
    before, after = (features(events_of(*p)) for p in (momenta, turned))
    before[:, NUMBER["phi"]], after[:, NUMBER["phi"]] = (
        np.cos(a[:, NUMBER["phi"]]) for a in (before, after)
    )
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_reflection_of_the_beam_and_exchange_of_charges():
    momenta = some_events()
    before = dict(zip(FEATURES, features(events_of(*momenta)).T, strict=True))
    reflected = features(events_of(*(p * [1, 1, 1, -1] for p in momenta)))
    exchanged = features(events_of(momenta[1], momenta[0], momenta[2]))
    rapidities = ("photon_rapidity", "l1_rapidity", "l2_rapidity")
    odd = {"cosTheta", *rapidities}, {"costheta"}
    turn = (lambda phi: np.pi - phi), (lambda phi: phi + np.pi)
    for found, signs, phi in zip((reflected, exchanged), odd, turn, strict=True):
        for name, column in zip(FEATURES, found.T, strict=True):
            if name == "phi":
                column, expected = np.exp(1j * column), np.exp(1j * phi(before[name]))
            else:
                expected = before[name] * (-1 if name in signs else 1)
            np.testing.assert_allclose(column, expected, atol=1e-6, err_msg=name)


def test_flavour_is_seen_by_one_feature_only():
    momenta = some_events()
    electrons, muons = (features(events_of(*momenta, flavour)) for flavour in (11, 13))
    changed = (electrons != muons).any(axis=0)
    assert [name for name, is_other in zip(FEATURES, changed, strict=True) if is_other] == [
        "llg_flavor"
    ]
    assert (muons[:, NUMBER["llg_flavor"]] == 1).all()


def test_momenta_twice_as_large_double_what_has_a_dimension():
    momenta = some_events()
    before, after = (features(events_of(*(k * p for p in momenta))) for k in (1, 2))
    dimension = {"llg_mass_err", "llg_ptt", "lead_lep_pt", "sublead_lep_pt"}
    factor = [2 if name in dimension else 1 for name in FEATURES]
    np.testing.assert_allclose(after, before * factor, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(mass_of(events_of(*momenta)), HIGGS, rtol=1e-9)


def test_the_mass_error_is_a_derivative():
    momenta = some_events()
    events = events_of(*momenta)
    found = 0.0
    for k, step in ((0, 1e-6), (1, 1e-6), (2, 1e-6)):
        shifted = [p * (1 + step * (i == k)) for i, p in enumerate(momenta)]
        found = found + (0.01 * (invariant_mass(sum(shifted)) - HIGGS) / step) ** 2
    np.testing.assert_allclose(mass_error(events), np.sqrt(found), rtol=1e-4)


def test_ptt_is_the_pt_across_the_thrust_axis():
    """A Z with 50 GeV along x, a photon with 30 along -y: |(50, -30) x (50, 30)| / |(50, 30)|."""
    half = np.array([[HIGGS, 25.0, 0.0, 0.0]])
    photon = np.array([[30.0, 0.0, -30.0, 0.0]])
    found = features(events_of(half, half, photon))[0, NUMBER["llg_ptt"]]
    assert found == pytest.approx(2 * 50 * 30 / np.hypot(50, 30))


def test_four_momenta_are_on_shell():
    p = four_momenta(RANDOM.uniform(1, 100, N), RANDOM.normal(0, 2, N), 0.3, 0.10566)
    np.testing.assert_allclose(invariant_mass(p), 0.10566, rtol=1e-3)
    np.testing.assert_allclose(product(p, p), invariant_mass(p) ** 2)


# --- A small sample -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Both processes, some 40 events each, and the study that reads them."""
    pytest.importorskip("pythia8mc", reason="no wheel of pythia8mc for this system")
    from collisions import production

    folder = tmp_path_factory.mktemp("z_gamma")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study = load_study(str(ROOT / "studies/higgs_to_z_gamma.toml")).changed(
            simulation={"signal_events": 40, "background_events": 40}
        )
        for name, tries in (("higgs_to_z_gamma", 220), ("z_gamma", 550)):
            [made] = production.samples_of(study, [name], tries=tries)
            chunk = 0
            while not made.complete_chunks():
                _, made.selected[chunk], _ = production.simulate_chunk(made, chunk)
                chunk = made.begun = chunk + 1
            production.finish(made)
        yield study, read(study)


def test_the_signal_is_a_peak_and_the_background_none(sample):
    _, found = sample
    signal = found.label == 1
    assert min(signal.sum(), (~signal).sum()) >= 40 and len(found.features) == len(found.mass)
    near = np.abs(found.mass - HIGGS) < 5
    assert near[signal].mean() > 0.75 and near[~signal].mean() < 0.35
    assert ((found.mass > 100) & (found.mass < 180)).all()
    assert np.isfinite(found.features).all()
    lower = np.array([found.features[:, NUMBER[name]].min() for name in FEATURES])
    cuts = {"min_dR": 0.4, "photon_pt_mass": 15 / 110, "lead_lep_pt": 25, "sublead_lep_pt": 15}
    for name, cut in cuts.items():
        assert lower[NUMBER[name]] >= 0.9999 * cut
    for name in ("cosTheta", "costheta", "photon_rapidity", "l1_rapidity", "phi", "llg_flavor"):
        low, high = FEATURES[name]
        column = found.features[:, NUMBER[name]]
        assert low <= column.min() and column.max() <= high
    assert set(found.split) <= {0, 1, HELD_OUT} and len(np.unique(found.events)) == len(found.mass)


def test_weights_are_cross_section_times_luminosity_over_events(sample):
    study, found = sample
    events = read_events(study.sample_dir / "higgs_to_z_gamma_0.h5", selection=Z_GAMMA)
    expected = 137e3 * 48.58 * 1.533e-3 * 0.0673
    assert events.weighted_cut_flow[0] == pytest.approx(expected)
    assert events.weight.sum() == pytest.approx(events.weighted_cut_flow[-1])
    signal = found.label == 1
    assert found.weight[signal].sum() == pytest.approx(events.weight.sum())
    assert found.weight[~signal].sum() > 10 * found.weight[signal].sum()


def test_the_truth_is_the_decay(sample):
    study, _ = sample
    events = read_events(study.sample_dir / "higgs_to_z_gamma_0.h5", selection=Z_GAMMA)
    ids = np.abs(events.truth["pdg_id"][:, :4])
    assert (np.sort(ids[:, 1:3]) == [22, 23]).all() and (ids[:, [0, 3]] == [25, 23]).all()
    momenta = momenta_of(events.truth)
    np.testing.assert_allclose(momenta[:, 0], momenta[:, 1] + momenta[:, 2], rtol=0.01, atol=0.5)


@pytest.mark.parametrize(
    ("name", "production", "decay"),
    [("higgs_to_z_gamma", 1 / 3, 2 / 5), ("z_gamma", None, None)],
)
def test_pythia_decays_a_scalar_to_a_transverse_z(name, production, decay):
    """Mean cos2: 1/3 of a flat cosTheta, 2/5 of 1 + cos2(theta); those of the continuum differ."""
    pytest.importorskip("pythia8mc", reason="no wheel of pythia8mc for this system")
    from collisions.generate import generate
    from collisions.particles import Record

    off = [f"PartonLevel:{level} = off" for level in ("MPI", "ISR", "FSR")]
    bare = dataclasses.replace(
        PROCESSES[name],
        settings=lambda: (*PROCESSES[name].settings(), *off, "HadronLevel:all = off"),
        veto_below=-np.inf,
    )
    record = Record.of(generate(bare, (), 3_000, 3).particles)
    momenta = np.column_stack([record.energy, record.px, record.py, record.pz])
    of_kind = ((11, 13), (-11, -13), (22,))
    cosines = decay_angles(
        *(momenta[(record.status > 0) & np.isin(record.pdg_id, ids)] for ids in of_kind)
    )[:2]
    means, errors = (
        np.mean(np.square(cosines), axis=1),
        np.std(np.square(cosines), axis=1) / 3e3**0.5,
    )
    if production:
        np.testing.assert_array_less(np.abs(means - [production, decay]), 3.5 * errors)
    else:
        assert means[0] - 1 / 3 > 5 * errors[0] and 2 / 5 - means[1] > 5 * errors[1]


def test_a_second_reading_of_chunks_gives_the_same_events(sample, tmp_path):
    from collisions import production

    [made] = production.samples_of(sample[0], ["higgs_to_z_gamma"], tries=60)
    made = dataclasses.replace(made, folder=tmp_path / "twice")
    production.simulate_chunk(made, 0)
    before = made.chunk_path(0).read_bytes()
    production.simulate_chunk(made, 0)
    assert made.chunk_path(0).read_bytes() == before
    with pytest.raises(InputError, match="layout is 'dilepton and photon events 1', expected 'sto"):
        read_events(made.chunk_path(0), may_be_empty=True)


def test_other_processes_are_refused():
    with pytest.raises(InputError, match="has 'ttbar', whose events are of the stop search"):
        read(PRESETS["demo"])
    assert PROCESSES["z_gamma"].selection == PROCESSES["higgs_to_z_gamma"].selection == Z_GAMMA


def test_setup_ends_with_a_sentence(tmp_path):
    command = [sys.executable, ROOT / "setup.py", "--study", ROOT / "studies/higgs_to_z_gamma.toml"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    assert "the events of 'higgs_to_z_gamma' have no jets" in result.stderr
