"""Our reader, jet axes and angularities against EnergyFlow's own code, where that is installed."""

import numpy as np
import pytest

from jets.angularities import ANGULARITIES, of_constituents
from jets.public import read_public

energyflow = pytest.importorskip(
    "energyflow", reason="EnergyFlow is not installed (requirements-optional.txt)"
)
RADIUS = 0.4
PROBE = 1.0  # GeV, of a particle on the axis


@pytest.fixture(scope="module")
def padded() -> np.ndarray:
    """Jets (n, m, 4) as EnergyFlow has them: pT, rapidity, phi about pi, PDG id; from 1 to 100
    particles, padded with zeros."""
    random = np.random.default_rng(0)
    found = np.zeros((60, 110, 4))
    for i, jet in enumerate(found):
        n = 1 + 7 * i % 100
        jet[:n, 0] = 500 * random.dirichlet(np.full(n, 0.3)) + 1e-3
        jet[:n, 1:3] = random.normal([0.7, np.pi], 0.12, (n, 2))
        jet[:n, 3] = random.choice([211, -321, 2212, 22, 130, 2112, 11, -13], n)
    return found


def central(jet: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The particles (n, 4) of a jet about the axis, and the axis: pT, rapidity, phi, mass."""
    jet = jet[jet[:, 0] > 0].copy()
    jet[:, 3] = energyflow.pids2ms(jet[:, 3].astype(int))
    axis = energyflow.sum_ptyphims(jet)
    return energyflow.center_ptyphims(jet, center="escheme"), axis


def angularities(jets: list[np.ndarray], kappa: float, beta: float) -> list[float]:
    """By energy flow polynomials. The one of two particles, sum_ij z_i z_j theta_ij^beta, grows by
    2 t sum_i z_i theta_i^beta if a particle with z = t is put on the axis."""
    how = {"measure": "hadr", "kappa": kappa, "normed": False, "coords": "ptyphim"}
    scales = [jet[:, 0].sum() ** kappa for jet in jets]
    if beta == 0:
        of_one = energyflow.EFPSet("d==0", beta=1, **how)
        return [of_one.compute(jet)[0] / scale for jet, scale in zip(jets, scales, strict=True)]
    of_two = energyflow.EFP([(0, 1)], beta=beta, **how)
    probe = [[PROBE, 0, 0, 0]]
    grown = [of_two.compute(np.concatenate([jet, probe])) - of_two.compute(jet) for jet in jets]
    return [
        one / (2 * PROBE**kappa * scale * RADIUS**beta)
        for one, scale in zip(grown, scales, strict=True)
    ]


def test_axes_and_angularities_are_those_of_energyflow(padded, tmp_path):
    np.savez(tmp_path / "QG_jets.npz", X=padded, y=np.zeros(len(padded)))
    ours = read_public(tmp_path / "QG_jets.npz")
    jets, axes = zip(*map(central, padded), strict=True)
    pt, rapidity, phi, mass = np.transpose(axes)
    for name, theirs in (("pt", pt), ("rapidity", rapidity), ("mass", mass)):
        np.testing.assert_allclose(ours.axes[name], theirs, rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(np.exp(1j * ours.axes["phi"]), np.exp(1j * phi), atol=1e-9)
    found = of_constituents(ours.constituents, RADIUS)
    for name, powers in ANGULARITIES.items():
        theirs = angularities(jets, *powers)
        np.testing.assert_allclose(found[name], theirs, rtol=1e-6, atol=1e-7, err_msg=name)
