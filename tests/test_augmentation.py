"""Moves of jets within their images: exact symmetries of the grid, and conservation of pT."""

import dataclasses

import numpy as np
import pytest
import torch
from toy_jets import packed

from jets.images import dense
from study import Study
from training.augmentation import draw_moves
from training.jet_images import JetImages

CPU = torch.device("cpu")
TURNING = Study("toy").changed(training={"reflect": True, "rotate": True})


def moved_images(jets, mirror: float, angle: float, scale: str = "linear") -> np.ndarray:
    """All jets, mirrored (-1) and turned by the same angle."""
    n = len(jets)
    moves = torch.tensor([mirror, np.cos(angle), np.sin(angle)])[:, None].expand(3, n)
    images = JetImages(jets, scale, False, CPU)
    return next(images.batches(np.arange(n), np.array([n]), moves))[1]["images"].numpy().copy()


def normalised(jets) -> np.ndarray:
    image = dense(jets.images, jets.side)
    return image / (image.max(axis=(1, 2, 3), keepdims=True) + 1e-6)


@pytest.mark.parametrize("quarters", range(5))
def test_quarter_turns_and_mirror_images_are_exact(quarters):
    jets = packed(n_events=12)
    turned = np.rot90(normalised(jets), -quarters, axes=(2, 3))
    found = moved_images(jets, 1.0, quarters * np.pi / 2)
    np.testing.assert_allclose(found, turned, rtol=1e-6)
    mirrored = np.rot90(normalised(jets)[..., ::-1], -quarters, axes=(2, 3))
    found = moved_images(jets, -1.0, quarters * np.pi / 2)
    np.testing.assert_allclose(found, mirrored, rtol=1e-6)


def test_a_turn_keeps_pt_and_the_distance_from_the_axis():
    """What lies within the inscribed circle stays in the image; a pixel moves by rounding alone."""
    jets = packed(n_events=40)
    centre = (jets.side - 1) / 2
    row, column = np.indices((jets.side, jets.side)) - centre
    inside = np.hypot(row, column) < centre - 1
    rows = inside.ravel()[jets.images.pixels.astype(int) % jets.side**2]
    values = np.where(rows, jets.images.values, 0).astype("f4")
    jets = dataclasses.replace(jets, images=dataclasses.replace(jets.images, values=values))
    before, after = normalised(jets), moved_images(jets, 1.0, 0.7)
    sums = after.sum(axis=(2, 3))
    np.testing.assert_allclose(sums, before.sum(axis=(2, 3)), rtol=1e-5)
    radius = np.hypot(row, column)
    moment = [(image * radius).sum(axis=(1, 2, 3)) / image.sum(axis=(1, 2, 3))
              for image in (before, after)]  # fmt: skip
    assert np.abs(moment[1] - moment[0]).max() < 0.5


def test_pixels_that_meet_are_added_before_they_are_scaled():
    jets = packed(n_events=12)
    linear = moved_images(jets, 1.0, 0.4)
    assert np.count_nonzero(linear) < np.count_nonzero(normalised(jets))  # some did meet
    np.testing.assert_allclose(moved_images(jets, 1.0, 0.4, "sqrt"), np.sqrt(linear), rtol=1e-6)


def test_moves_follow_from_seed_and_epoch_and_are_fair():
    assert draw_moves(5, Study("toy"), 0, 0, CPU) is None
    one, again, next_epoch = (draw_moves(4_000, TURNING, 3, epoch, CPU) for epoch in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one[1], next_epoch[1])
    assert abs(one[0].mean()) < 4 / 4_000**0.5
    for component in one[1:]:
        assert abs(component.mean()) < 4 * (0.5 / 4_000) ** 0.5
    only = draw_moves(100, TURNING.changed(training={"rotate": False}), 3, 1, CPU)
    assert (only[1] == 1).all() and (only[2] == 0).all()


def test_batches_of_any_size_show_the_same_moved_jets():
    jets = packed(n_events=20)
    moves = draw_moves(len(jets), TURNING, 0, 0, CPU)
    images = JetImages(jets, "linear", False, CPU)
    order = np.random.default_rng(0).permutation(len(jets))
    sizes = np.array([7, 5, len(jets) - 12])
    whole = next(images.batches(order, np.array([len(order)]), moves))[1]["images"].clone()
    seen = 0
    for _, inputs in images.batches(order, sizes, moves):
        part = inputs["images"]
        assert torch.equal(part, whole[seen : seen + len(part)])
        seen += len(part)
