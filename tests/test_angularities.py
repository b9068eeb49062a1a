"""Angularities of images: closed forms, symmetries, and a loop over pixels."""

import numpy as np
import pytest
from toy_jets import packed

from jets.angularities import ANGULARITIES, angularities
from jets.images import SparseImages
from physics import PIXEL_WIDTH

SIDE = 64


def one_image(row: np.ndarray, column: np.ndarray, value: np.ndarray) -> SparseImages:
    order = np.argsort(row * SIDE + column)
    pixels = (row * SIDE + column)[order].astype(np.uint16)
    return SparseImages(np.array([0, len(pixels)]), pixels, value[order].astype(np.float32))


def test_n_equal_pixels_at_one_distance():
    """pT^D = 1 / n, and lambda_beta = theta^beta."""
    steps = np.array([3, 10])
    row, column = (
        np.concatenate([31 - steps, 32 + steps, 31 - steps, 32 + steps]),
        np.concatenate([31 - steps[::-1], 32 + steps[::-1], 32 + steps[::-1], 31 - steps[::-1]]),
    )
    found = angularities(one_image(row, column, np.full(8, 5.0)), SIDE, "AK10")[0]
    theta = np.hypot(3.5, 10.5) * PIXEL_WIDTH
    assert found["multiplicity"] == 8
    assert found["pt_d"] == pytest.approx(1 / 8)
    for name, beta in (("lha", 0.5), ("width", 1.0), ("thrust", 2.0)):
        assert found[name] == pytest.approx(theta**beta, rel=1e-6)


def test_they_are_those_of_a_loop_over_pixels_and_ignore_the_unit_of_energy():
    jets = packed(n_events=12)
    found = angularities(jets.images, jets.side, "AK14")
    width = PIXEL_WIDTH * 128 / jets.side
    for i in range(len(jets)):
        image = jets.images.take(np.array([i]))
        for name, (kappa, beta) in ANGULARITIES.items():
            total = 0.0
            for pixel, value in zip(image.pixels.tolist(), image.values.tolist(), strict=True):
                row, column = divmod(pixel % jets.side**2, jets.side)
                distance = np.hypot(row - (jets.side - 1) / 2, column - (jets.side - 1) / 2) * width
                total += (value / image.values.sum()) ** kappa * (distance / 1.4) ** beta
            assert found[name][i] == pytest.approx(total, rel=1e-4)
    scaled = SparseImages(jets.images.offsets, jets.images.pixels, 1000 * jets.images.values)
    again = angularities(scaled, jets.side, "AK14")
    for name in ANGULARITIES:
        np.testing.assert_allclose(again[name], found[name], rtol=1e-5)


def test_a_jet_without_pixels_has_none():
    empty = SparseImages(np.array([0, 0]), np.zeros(0, np.uint16), np.zeros(0, np.float32))
    assert angularities(empty, SIDE, "AK08").tolist() == [(0.0,) * 5]
