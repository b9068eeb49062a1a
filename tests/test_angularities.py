"""Angularities of images: closed forms, symmetries, and a loop over pixels."""

from pathlib import Path

import numpy as np
import pytest
from toy_jets import packed

from jets.angularities import ANGULARITIES, angularities, of_constituents
from jets.constituents import CONSTITUENTS_MAX, hardest, of_events
from jets.events import read_events
from jets.images import SparseImages, draw_events
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


def test_constituents_on_a_ring_and_one_on_the_axis():
    """n on a ring share 1 - x of the pT, one on the axis has x: lambda_beta = (1 - x) theta^beta,
    pT^D = x^2 + (1 - x)^2 / n."""
    n, x, theta = 5, 0.4, 0.3
    turn = 2 * np.pi * np.arange(n) / n
    ring = np.full(n, (1 - x) / n)
    jet = hardest(
        np.array([0, n + 1]), pt=np.append(ring, x), mass=np.zeros(n + 1), kind=np.zeros(n + 1),
        rapidity=np.append(theta * np.cos(turn), 0), phi=np.append(theta * np.sin(turn), 0),
    )  # fmt: skip
    found = of_constituents(jet, 0.8)[0]
    assert found["multiplicity"] == n + 1
    assert found["pt_d"] == pytest.approx(x**2 + (1 - x) ** 2 / n, rel=1e-5)
    for name, beta in (("lha", 0.5), ("width", 1.0), ("thrust", 2.0)):
        assert found[name] == pytest.approx((1 - x) * (theta / 0.8) ** beta, rel=1e-5)


def test_images_and_constituents_of_a_jet_nearly_agree():
    """A pixel of 0.035 moves a constituent by 0.013 on average, which changes the width of the
    demo's jets by little. Constituents that meet in a pixel are fewer and carry more each."""
    events = read_events(Path("train_data/demo/stop_900_300.h5"))
    wanted = events.large_r["AK10"]["pt"] > 300
    of_pixels = angularities(draw_events(events, "AK10", wanted), 64, "AK10")
    of_jets = of_constituents(of_events(events, "AK10", wanted), 1.0)
    for name, tolerance in (("width", 0.02), ("thrust", 0.04)):
        ratio = of_pixels[name] / of_jets[name]
        assert abs(np.median(ratio) - 1) < tolerance, name
    all_kept = of_jets["multiplicity"] < CONSTITUENTS_MAX
    of_pixels, of_jets = of_pixels[all_kept], of_jets[all_kept]
    assert (of_pixels["multiplicity"] <= of_jets["multiplicity"]).all()
    assert (of_pixels["pt_d"] > 0.999 * of_jets["pt_d"]).mean() > 0.99
