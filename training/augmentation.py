"""Symmetries of a jet: mirrored, or turned about its axis, it is as likely as it was.

On pixels both have a limit. An image whose hardest deposit was turned upwards has it in column p/2,
its mirror image in column p/2 - 1. Turning moves centres of pixels to the nearest pixel, where some
meet, so turned images have fewer and brighter pixels than the images that are tested.
"""

import numpy as np
import torch

from study import Study


def draw_moves(
    n: int, study: Study, seed: int, epoch: int, device: torch.device
) -> torch.Tensor | None:
    """How n jets move within their images in one epoch, or None in a study that moves none.

    They follow from the arguments alone, so a training that goes on within an epoch, or on other
    processes, sees the same images.

    Returns:
        (3, n): -1 for jets that are mirrored left to right, else 1; cosine and sine of the angle
        by which they are then turned, positive from the columns' direction to the rows'.
    """
    mirrored, turned = study.training.reflect, study.training.rotate
    if not (mirrored or turned):
        return None
    generator = np.random.default_rng((seed, epoch, 1))
    mirror = np.where(generator.random(n) < 0.5, -1.0, 1.0) if mirrored else np.ones(n)
    angle = 2 * np.pi * generator.random(n) if turned else np.zeros(n)
    moves = np.stack([mirror, np.cos(angle), np.sin(angle)]).astype(np.float32)
    return torch.from_numpy(moves).to(device)


def moved(
    moves: torch.Tensor, row: torch.Tensor, column: torch.Tensor, side: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where pixels (m,) go by the moves (3, m) of their jets: row and column of the pixel that has
    their moved centre, and whether it is within the image; outside, they are clamped."""
    mirror, cosine, sine = moves
    centre = (side - 1) / 2
    x, y = (column - centre) * mirror, row - centre
    places = [
        (coordinate + centre).round().to(torch.int64)
        for coordinate in (sine * x + cosine * y, cosine * x - sine * y)
    ]
    row, column = (place.clamp(0, side - 1) for place in places)
    return row, column, (row == places[0]) & (column == places[1])
