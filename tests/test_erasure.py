"""Erasing a prong: subjets, the hole and its filling, the mass of what is left."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_jets import SIDE, packed, select

from attribution import erasure
from attribution.erasure import (
    HIGHEST,
    NAMES,
    RADIUS,
    beside,
    chosen_subjet,
    erased,
    means,
    measured,
    pixel_masses,
    regions,
    require_images,
    subjets,
)
from command import InputError
from jets.images import SparseImages, centres, dense
from jets.split import HELD_OUT
from models import create_model
from study import PRESETS
from training.plan import Training

WIDTH = 1.4 * 2 * 1.6 / SIDE  # of a pixel of an AK14 image: 4.48 over 32


def images_of(*jets: list[tuple[int, int, int, float]]) -> SparseImages:
    """Images of (channel, row, column, GeV)."""
    pixels = [[(c * SIDE + row) * SIDE + column for c, row, column, _ in jet] for jet in jets]
    values = [[value for *_, value in jet] for jet in jets]
    order = [np.argsort(one) for one in pixels]
    offsets = np.concatenate([[0], np.cumsum([len(jet) for jet in jets])]).astype(int)
    flat = [np.concatenate([np.array(x)[o] for x, o in zip(some, order, strict=True)])
            for some in (pixels, values)]  # fmt: skip
    return SparseImages(offsets, flat[0].astype(np.uint16), flat[1].astype(np.float32))


THREE = [
    (0, 5, 5, 30.0), (2, 5, 6, 10.0),  # 40 GeV at the upper left
    (1, 25, 5, 90.0),
    (2, 16, 27, 20.0), (2, 17, 27, 20.0), (0, 16, 28, 20.0),
]  # fmt: skip


def test_three_clumps_are_three_subjets_by_falling_pt():
    found = subjets(images_of(THREE), SIDE, "AK14")
    x, y = centres(SIDE, "AK14")
    assert found.x[0] == pytest.approx([x[25, 5], x[16, [27, 27, 28]].mean(),
                                        x[5, 5] + WIDTH / 4], abs=1e-4)  # fmt: skip
    assert found.y[0, 0] == pytest.approx(y[25, 5], abs=1e-4) and found.y[0, 0] < 0
    # By channel, row and column: the second clump, the third, the first, ...
    assert np.bincount(found.of_pixel).tolist() == [1, 3, 2]


def test_every_pixel_is_in_a_subjet():
    """Also a soft one that is far from all others."""
    images = images_of([*THREE, (2, 0, 31, 0.1)])
    found = subjets(images, SIDE, "AK14")
    assert (found.of_pixel >= 0).all() and np.bincount(found.of_pixel).sum() == len(THREE) + 1
    assert (
        found.of_pixel[images.pixels == 2 * SIDE**2 + 31]
        == found.of_pixel[images.pixels == 2 * SIDE**2 + 16 * SIDE + 27]
    )  # the nearest


def test_a_control_is_as_large_and_apart():
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 50))
    there = beside(x, y, np.random.default_rng(1))
    assert np.allclose(np.hypot(*(there - [x, y])), 2 * RADIUS)
    first, second = (regions(*place, SIDE, "AK14") for place in ((x, y), there))
    assert not (first & second).any()
    assert 20 < second.sum(axis=(1, 2)).mean() < 30


def test_a_jet_with_fewer_pixels_has_no_subjets_and_disturbs_no_other():
    two = [(0, 5, 5, 30.0), (0, 9, 9, 5.0)]
    alone = subjets(images_of(THREE), SIDE, "AK14")
    found = subjets(images_of(two, THREE, []), SIDE, "AK14")
    assert np.isnan(found.x[[0, 2]]).all() and (found.of_pixel[:2] == -1).all()
    assert np.array_equal(found.x[1], alone.x[0])
    assert np.array_equal(found.of_pixel[2:], alone.of_pixel)
    assert np.isnan(subjets(images_of(two), SIDE, "AK14").x).all()


def test_a_hole_is_empty_or_has_what_the_other_image_has_there():
    jets = select(packed(60, seed=1), HELD_OUT).images
    fill = select(packed(60, seed=2), HELD_OUT).images
    n = min(len(jets), len(fill))
    jets, fill = (one.take(np.arange(n)) for one in (jets, fill))
    region = regions(np.full(n, 0.3), np.full(n, -0.5), SIDE, "AK14")
    assert 20 < region[0].sum() < 30  # a disc of radius 0.4, in pixels of 0.14
    inside = region[:, None]
    for other, of_fill in ((None, 0.0), (fill, dense(fill, SIDE))):
        found = dense(erased(jets, region, other), SIDE)
        assert np.array_equal(found, np.where(inside, of_fill, dense(jets, SIDE)))


def test_regions_lie_where_they_should():
    """Upwards is towards lower rows."""
    [region] = regions(np.array([1.0]), np.array([1.5]), SIDE, "AK14")
    rows, columns = np.nonzero(region)
    assert rows.max() < SIDE // 2 and columns.min() >= SIDE // 2
    x, y = centres(SIDE, "AK14")
    assert x[region].mean() == pytest.approx(1.0, abs=0.05)
    assert np.hypot(x[region] - 1, y[region] - 1.5).max() < RADIUS


def test_the_mass_of_two_pixels():
    """m^2 = 2 pT pT' (cosh d_eta - cos d_phi), where the jet axis lies at eta = 0 or not."""
    x, y = centres(SIDE, "AK14")
    found = pixel_masses(images_of([(0, 4, 10, 50.0), (2, 20, 25, 30.0)], []), SIDE, "AK14")
    between = np.cosh(x[4, 10] - x[20, 25]) - np.cos(y[4, 10] - y[20, 25])
    assert found == pytest.approx([np.sqrt(2 * 50 * 30 * between), 0], rel=1e-5)


def test_the_subjet_of_highest_attribution():
    images = images_of(THREE, THREE)
    found = subjets(images, SIDE, "AK14")
    attribution = np.zeros((2, 3, SIDE, SIDE))
    attribution[0, 1, 25, 5] = 1.0  # the first
    attribution[1, [0, 2], 5, [5, 6]] = 1.0  # the third, of two pixels
    attribution[1, 1, 25, 5] = 1.5
    assert chosen_subjet(found, HIGHEST, attribution, images).tolist() == [0, 2]
    assert chosen_subjet(found, NAMES[1], attribution, images).tolist() == [1, 1]


def test_what_was_empty_can_be_erased_without_a_change():
    """Zeros in a region without a deposit change neither logit nor score; elsewhere they do."""
    jets = select(packed(60), HELD_OUT)
    torch.manual_seed(0)
    network = create_model("CNN", SIDE, 0.25).eval()
    inputs = SimpleNamespace(device=torch.device("cpu"))
    subject = SimpleNamespace(study=PRESETS["demo"], network=network, inputs=inputs)
    nothing, half = np.zeros((2, len(jets), SIDE, SIDE), bool)
    half[:, :16] = True
    before = measured(subject, jets, jets.images, nothing)
    assert np.isnan(before["ReMOVE"]).all()  # no patch is inside
    for region, fill in ((nothing, None), (nothing, jets.images), (half, jets.images)):
        found = measured(subject, jets, erased(jets.images, region, fill), half)
        assert np.array_equal(found["logit"], before["logit"])
        assert np.array_equal(found["logit, new mass"], before["logit"])
    found = measured(subject, jets, erased(jets.images, half), half)
    assert not np.allclose(found["logit"], before["logit"])
    assert not np.allclose(found["logit"], found["logit, new mass"])
    assert np.isfinite(found["ReMOVE"]).all() and (found["ReMOVE"] <= 1 + 1e-6).all()


def test_means_are_of_the_jets_that_have_a_score():
    keys = {"class": "signal", "region": "subjet", "fill": "zeros"}
    rows = [keys | {"change": x, "change, new mass": 2 * x, "ReMOVE": s, "pT left": 0.5}
            for x, s in ((1.0, 0.5), (2.0, np.nan), (3.0, 0.7))]  # fmt: skip
    found = {row["quantity"]: row["value"] for row in means(rows)}
    assert found.pop("ReMOVE") == pytest.approx(0.6)
    assert found == {"change": 2.0, "change, new mass": 4.0, "pT left": 0.5}


def test_a_network_without_images_is_refused():
    with pytest.raises(InputError, match=r"^--erase: JetViT sees no image .* jet constituents"):
        require_images(Training("AK14", "JetViT"))
    require_images(Training("AK14", "CNN"))
    assert len(NAMES) == erasure.SUBJETS
