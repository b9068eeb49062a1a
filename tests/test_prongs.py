"""The prongs of the truth, and attributions beside them."""

from pathlib import Path

import numpy as np
import pytest

from attribution.averages import Explained
from attribution.deposits import (
    Deposits,
    distance_to_prongs,
    mean_images,
    of_images,
    of_particles,
    profile,
    shares_near_prongs,
)
from jets.constituents import of_events
from jets.events import read_events
from jets.images import centres, dense, draw_events
from jets.packed import JET_DTYPE, PackedJets
from jets.prongs import prongs
from jets.ragged import delta_r
from processes.stop import NEUTRALINO

DEMO = Path(__file__).parent.parent / "train_data/demo"


@pytest.fixture(scope="module")
def stops():
    """Stop pairs whose hardest AK14 jet matches a neutralino."""
    events = read_events(DEMO / "stop_1100_100.h5")
    return events.take(events.large_r["AK14"]["delta_r"][:, 0].min(axis=1) < 0.5)


def test_the_quarks_of_a_light_hard_neutralino_lie_in_its_jet(stops):
    """100 GeV at some 500 GeV of pT: 2 m / pT is the reach of the decay. The three together have
    the direction of the neutralino, which the jet matches."""
    first = np.zeros(len(stops), int)
    found = prongs(stops, "AK14", first, oriented=False)
    assert found.shape == (len(stops), 3, 2) and np.isfinite(found).all()
    distance = np.hypot(found[..., 0], found[..., 1])
    assert (distance < 1.4).mean() > 0.9 and np.median(distance) < 0.6
    slots = np.flatnonzero(stops.truth["pdg_id"][0] == NEUTRALINO)[:, None] + [1, 2, 3]
    axis, quarks = stops.large_r["AK14"][:, 0, None, None], stops.truth[:, slots]
    by_hand = delta_r(quarks["eta"], quarks["phi"], axis["eta"], axis["phi"])
    nearest = np.abs(by_hand - distance[:, None]).max(axis=2).min(axis=1)
    assert (nearest < 1e-5).all()


def test_a_turned_frame_is_that_of_the_image(stops):
    """A turn changes no distance; reflects nothing, and brings the deposits along."""
    first = np.zeros(len(stops), int)
    plain, turned = (prongs(stops, "AK14", first, oriented) for oriented in (False, True))
    assert np.allclose(np.linalg.norm(plain, axis=2), np.linalg.norm(turned, axis=2))
    cross = [
        one[..., 0, 0] * one[..., 1, 1] - one[..., 0, 1] * one[..., 1, 0] for one in (plain, turned)
    ]
    assert np.allclose(*cross, atol=1e-5)  # no reflection
    wanted = np.arange(3) == first[:, None]
    for oriented, found in ((False, plain), (True, turned)):
        images = dense(draw_events(stops, "AK14", wanted, oriented), 128).sum(axis=1)
        pt = images.reshape(len(images), -1)
        x, y = (np.broadcast_to(one.ravel(), pt.shape) for one in centres(128, "AK14"))
        deposits = Deposits(np.zeros_like(pt), pt, x, y, np.zeros_like(pt), {})
        near, of_others = (shares_near_prongs(deposits, p) for p in (found, np.roll(found, 1, 0)))
        assert near["pT"].mean() > near["random"].mean() + 0.1
        assert near["pT"].mean() > of_others["pT"].mean() + 0.2


def test_background_has_no_prongs():
    events = read_events(DEMO / "ttbar_0.h5").take(np.arange(20))
    assert np.isnan(prongs(events, "AK14", np.zeros(20, int), oriented=False)).all()


def toy() -> Deposits:
    """Two jets with four places along an axis; the last is empty, yet has an attribution."""
    attribution = np.array([[3.0, -1, 0, 4], [1, 1, 2, 0]])
    pt = np.array([[1.0, 1, 2, 0], [4, 0, 0, 0]])
    x = np.tile([0.0, 0.1, 0.5, 1.0], (2, 1))
    channel = np.tile([0, 0, 1, 2], (2, 1))
    return Deposits(attribution, pt, x, np.zeros((2, 4)), channel, {"mass": np.array([-8.0, 4.0])})


def test_shares_near_prongs_by_hand():
    at = np.array([[0.0, 0.0], [5.0, 0.0], [9.0, 9.0]])
    unknown = np.full((3, 2), np.nan)
    found = shares_near_prongs(toy(), np.array([at, unknown]), near=0.2)
    assert found["attribution"][0] == 1.0  # 3 + 1 of 4: the empty place does not count
    assert found["pT"][0] == 0.5 and found["random"][0] == pytest.approx(2 / 3)
    assert np.allclose(distance_to_prongs(toy(), np.array([at, at]))[0], [0, 0.1, 0.5, 1.0])
    assert np.isnan(distance_to_prongs(toy(), np.array([at, unknown]))[1]).all()
    assert toy().share_of_empty[0] == 0.25  # 4 of 16, of which 8 are the mass's
    assert toy().share_of_others["mass"].tolist() == [[0.5], [0.5]]
    first, second = profile(toy().pt, toy().x, np.array([0, 0.3, 2.0]))
    assert (first.value, second.value) == (0.75, 0.25)


def test_a_mean_image_has_the_hardest_deposit_up_and_all_of_the_attribution():
    """The hardest of the first jet lies to the right, at 0.5: it is turned upwards."""
    found = mean_images(toy(), np.array([3.0, 1.0]), half=1.2, bins=12)
    assert found.shape == (3, 12, 12)
    assert found.sum() == pytest.approx((3 * 6 + 4) / 4)
    assert np.argwhere(found[2]).tolist() == [[1, 6]]  # 1.0 upwards, in rows that fall with phi
    assert found[2].sum() == 3.0


def test_pixels_and_particles_of_a_jet_lie_at_the_same_places(stops):
    """The same jet as an image and as a list, both with pT as their attribution."""
    wanted = np.arange(3) == np.zeros(len(stops), int)[:, None]
    images = draw_events(stops, "AK14", wanted, oriented=False)
    packed = PackedJets(np.zeros(len(stops), JET_DTYPE), images, 128, 0.2, 0.1, "AK14")
    given = {"images": dense(images, 128)}
    n = len(stops)
    ends = {"end": np.zeros(n), "start": np.zeros(n), "rows": np.arange(n)}
    of_pixels = of_images(Explained(inputs=given, values=given, **ends), packed)

    found = of_events(stops, "AK14", wanted)
    t = np.diff(found.offsets).max()
    exists = np.arange(t) < np.diff(found.offsets)[:, None]
    momenta = np.zeros((n, t, 4), np.float32)
    for i, name in enumerate(("pt", "rapidity", "phi", "mass")):
        momenta[..., i][exists] = getattr(found, name)
    inputs = {"momenta": momenta, "exists": exists, "constituents": np.zeros((n, t, 10))}
    values = {"constituents": momenta[..., :1]}
    axes = stops.large_r["AK14"][wanted]
    of_list = of_particles(Explained(inputs=inputs, values=values, **ends), axes)
    centroids = [
        [np.average(np.broadcast_to(p, d.pt.shape), weights=d.size, axis=1) for p in (d.x, d.y)]
        for d in (of_pixels, of_list)
    ]
    assert np.abs(np.subtract(*centroids)).max() < 0.05
