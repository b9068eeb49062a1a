"""Jet images: orientation, energy, invariances, and an independent drawing of one image."""

import numpy as np
import pytest
from toy_events import toy_events

from jets.images import (
    CHANNEL_OF_TYPE,
    SparseImages,
    concatenate,
    dense,
    draw,
    draw_events,
    sum_pixels,
)
from physics import CHANNELS, JET_DEFINITIONS, PIXEL_WIDTH

CHARGED, NEUTRAL, PHOTON, ELECTRON, MUON = range(5)


def one_jet(pt, eta, phi, kind=None, axis=(0.0, 0.0), side=64) -> np.ndarray:
    """The dense image (3, side, side) of one jet."""
    kind = np.zeros(len(pt), int) if kind is None else np.asarray(kind)
    columns = (np.asarray(column, float) for column in (pt, eta, phi))
    offsets, axes = np.array([0, len(pt)]), (np.array([value]) for value in axis)
    return dense(draw(*columns, kind, offsets, *axes, side), side)[0]


def random_jets(n=40, constituents=50, spread=0.4, seed=1):
    """Columns of `draw` but the side, constituents normally spread around their axes."""
    rng = np.random.default_rng(seed)
    axis_eta, axis_phi = rng.uniform(-2, 2, n), rng.uniform(-np.pi, np.pi, n)
    eta, phi = rng.normal(0, spread, (2, n, constituents))
    pt, kind = rng.exponential(10, n * constituents), rng.integers(0, 5, n * constituents)
    eta, phi = (axis_eta[:, None] + eta).ravel(), (axis_phi[:, None] + phi).ravel()
    return pt, eta, phi, kind, np.arange(n + 1) * constituents, axis_eta, axis_phi


def test_the_hardest_deposit_points_up():
    for angle in np.linspace(0, 2 * np.pi, 9):
        image = one_jet([100], [0.5 * np.cos(angle)], [0.5 * np.sin(angle)])
        assert np.argwhere(image).tolist() == [[2, 32 - int(np.ceil(0.5 / PIXEL_WIDTH)), 32]]


def test_the_image_is_turned_and_not_reflected():
    # Already upright (phi up): eta grows to the right. Turned by 90 degrees: the same image.
    upright = one_jet([100, 10], [0, 0.3], [0.5, 0])
    turned = one_jet([100, 10], [-0.5, 0], [0, 0.3])
    assert np.argwhere(upright == 10)[0, 2] == 32 + int(0.3 / PIXEL_WIDTH)
    np.testing.assert_array_equal(upright, turned)
    mirrored = one_jet([100, 10], [0, -0.3], [0.5, 0])
    assert np.argwhere(mirrored == 10)[0, 2] == 31 - int(0.3 / PIXEL_WIDTH)


def test_without_orientation_eta_is_right_and_phi_is_up():
    pt, eta, phi, kind, offsets, axis_eta, axis_phi = random_jets(spread=0.3)
    found = dense(draw(pt, eta, phi, kind, offsets, axis_eta, axis_phi, 64, oriented=False), 64)
    edges = PIXEL_WIDTH * np.arange(-32, 33)
    for jet, image in enumerate(found):
        rows = slice(offsets[jet], offsets[jet + 1])
        around = (phi[rows] - axis_phi[jet] + np.pi) % (2 * np.pi) - np.pi
        expected, *_ = np.histogram2d(
            around, eta[rows] - axis_eta[jet], bins=(edges, edges), weights=pt[rows]
        )
        np.testing.assert_allclose(image.sum(axis=0), expected[::-1], rtol=1e-5, atol=1e-4)


def test_channels_follow_the_detector():
    image = one_jet(
        [5, 4, 3, 2, 1], [0] * 5, [0.01] * 5, [CHARGED, NEUTRAL, PHOTON, ELECTRON, MUON]
    )
    energy = dict(zip(CHANNELS, image.sum(axis=(1, 2)), strict=True))
    assert energy == {"TrackPT": 8, "EhT": 4, "EmT": 3}
    assert (image.reshape(3, -1) > 0).sum(axis=1).tolist() == [1, 1, 1]  # they share one pixel


def test_a_constituent_on_the_axis_leaves_the_image_as_it_is():
    image = one_jet([100, 10], [0, 0.5], [0, 0])
    assert np.argwhere(image == 10).tolist() == [[2, 31, 32 + int(0.5 / PIXEL_WIDTH)]]


@pytest.mark.parametrize("side", [64, 128])
def test_energy_of_an_image_is_that_of_its_constituents_in_the_window(side):
    pt, eta, phi, kind, offsets, axis_eta, axis_phi = random_jets(spread=1.5)
    images = dense(draw(pt, eta, phi, kind, offsets, axis_eta, axis_phi, side), side)
    # Independently, jet by jet, with complex numbers: a turn is a product.
    for jet, image in enumerate(images):
        rows = slice(offsets[jet], offsets[jet + 1])
        turn = np.exp(1j * (phi[rows] - axis_phi[jet]))
        place = eta[rows] - axis_eta[jet] + 1j * np.angle(turn)
        hardest = np.argmax(pt[rows])
        place *= 1j * np.conj(place[hardest]) / abs(place[hardest])
        place[hardest] = 1j * place[hardest].imag
        inside = np.maximum(abs(place.real), abs(place.imag)) < side / 2 * PIXEL_WIDTH
        assert inside.sum() > 0
        for channel in range(3):
            energy = pt[rows][inside & (CHANNEL_OF_TYPE[kind[rows]] == channel)].sum()
            assert image[channel].sum() == pytest.approx(energy, rel=1e-6)
        expected, _, _ = np.histogram2d(
            -place.imag,
            place.real,
            bins=side,
            range=2 * [[-side / 2 * PIXEL_WIDTH, side / 2 * PIXEL_WIDTH]],
            weights=pt[rows],
        )
        np.testing.assert_allclose(image.sum(axis=0), expected, rtol=1e-5)


def test_images_do_not_change_when_events_turn_in_phi():
    pt, eta, phi, kind, offsets, axis_eta, axis_phi = random_jets()
    before = draw(pt, eta, phi, kind, offsets, axis_eta, axis_phi, 64)
    for angle in np.radians([10, 130, 360]):
        turned = (phi + angle + np.pi) % (2 * np.pi) - np.pi
        after = draw(pt, eta, turned, kind, offsets, axis_eta, axis_phi + angle, 64)
        np.testing.assert_array_equal(after.offsets, before.offsets)
        np.testing.assert_array_equal(after.pixels, before.pixels)
        np.testing.assert_array_equal(after.values, before.values)


def test_images_do_not_change_when_constituents_turn_about_the_jet_axis():
    pt, eta, phi, kind, offsets, axis_eta, axis_phi = random_jets()
    jet = np.repeat(np.arange(len(axis_eta)), np.diff(offsets))
    before = draw(pt, eta, phi, kind, offsets, axis_eta, axis_phi, 64)
    x, y = eta - axis_eta[jet], phi - axis_phi[jet]
    for angle in np.radians([30, 90, 200]):
        turned_eta = axis_eta[jet] + x * np.cos(angle) - y * np.sin(angle)
        turned_phi = axis_phi[jet] + x * np.sin(angle) + y * np.cos(angle)
        after = draw(pt, turned_eta, turned_phi, kind, offsets, axis_eta, axis_phi, 64)
        np.testing.assert_array_equal(after.pixels, before.pixels)
        np.testing.assert_array_equal(after.values, before.values)


def test_the_mirror_image_is_mirrored():
    pt, eta, phi, kind, offsets, axis_eta, axis_phi = random_jets(spread=0.2)
    image = dense(draw(pt, eta, phi, kind, offsets, axis_eta, axis_phi, 64), 64)
    mirrored = dense(draw(pt, -eta, phi, kind, offsets, -axis_eta, axis_phi, 64), 64)
    # The hardest deposit lies on the mirror axis, an edge, and belongs to the column right of it.
    hardest = np.zeros_like(image, dtype=bool)
    hardest[..., 31:33] = True
    np.testing.assert_array_equal(mirrored[~hardest], image[..., ::-1][~hardest])


def test_sparse_images_are_sorted_and_free_of_duplicates():
    images = draw(*random_jets(spread=0.1), 64)
    key = np.repeat(np.arange(len(images)), images.counts()) * 2**16 + images.pixels
    assert (np.diff(key) > 0).all()
    assert images.pixels.dtype == np.uint16
    assert images.values.dtype == np.float32
    assert (images.values > 0).all()


def test_jets_without_constituents_are_empty_images():
    pt, eta, phi, kind, offsets, axis_eta, axis_phi = random_jets(n=3)
    offsets = np.array([0, 0, len(pt), len(pt)])
    images = draw(pt, eta, phi, kind, offsets, axis_eta, axis_phi, 64)
    assert (images.counts() > 0).tolist() == [False, True, False]
    nothing = np.zeros(0)
    columns = nothing, nothing, nothing, nothing.astype(int), np.zeros(3, int)
    images = draw(*columns, axis_eta[:2], axis_phi[:2], 64)
    assert images.counts().tolist() == [0, 0]


def test_summed_pixels_equal_dense_blocks():
    images = draw(*random_jets(), 128)
    blocks = dense(images, 128).reshape(-1, 3, 64, 2, 64, 2).sum(axis=(3, 5))
    np.testing.assert_allclose(dense(sum_pixels(images, 128, 2), 64), blocks, rtol=1e-6)


def test_taking_and_joining_images():
    images = draw(*random_jets(), 64)
    order = np.random.default_rng(0).permutation(len(images))
    np.testing.assert_array_equal(dense(images.take(order), 64), dense(images, 64)[order])
    joined = concatenate([images.take(np.arange(15)), images.take(np.arange(15, 40))])
    np.testing.assert_array_equal(joined.pixels, images.pixels)
    np.testing.assert_array_equal(joined.offsets, images.offsets)
    assert len(images.take(np.arange(0))) == 0


@pytest.mark.parametrize("jet_definition", JET_DEFINITIONS)
def test_images_of_events_hold_the_energy_of_their_jets(jet_definition):
    events = toy_events(30, m_stop=700, m_neutralino=100)
    wanted = np.random.default_rng(3).random((30, 3)) < 0.6
    images = draw_events(events, jet_definition, wanted)
    assert len(images) == wanted.sum()
    energy = dense(images, JET_DEFINITIONS[jet_definition].pixels).sum(axis=(1, 2, 3))
    event = np.repeat(np.arange(30), np.diff(events.object_offsets))
    for (number, k), found in zip(np.argwhere(wanted), energy, strict=True):
        of_jet = (event == number) & (events.objects["jet"][:, 0] == k)
        assert found == pytest.approx(events.objects["pt"][of_jet].sum(), rel=1e-6)


def test_sparse_images_take_empty_images():
    images = SparseImages(np.array([0, 0, 1]), np.array([7], np.uint16), np.ones(1, np.float32))
    assert images.take(np.array([0, 1, 0])).offsets.tolist() == [0, 0, 1, 1]
