"""Symmetries of a jet: mirrored, or turned about its axis, it is as likely as it was.

On pixels both have a limit. An image whose hardest deposit was turned upwards has it in column p/2,
its mirror image in column p/2 - 1. Turning moves centres of pixels to the nearest pixel, where some
meet, so turned images have fewer and brighter pixels than the images that are tested.
"""

from typing import NamedTuple

import numpy as np
import torch

from study import Study


class Moves(NamedTuple):
    """How each of n jets is moved within its image: mirrored left to right, then turned.

    Attributes:
        mirror: (n,) -1 for jets that are mirrored, else 1.
        cosine, sine: (n,) of the angle, positive from the columns' direction to the rows'.
    """

    mirror: torch.Tensor
    cosine: torch.Tensor
    sine: torch.Tensor

    def place(
        self, jet: torch.Tensor, row: torch.Tensor, column: torch.Tensor, side: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Where pixels go: to the pixel that holds their moved centre.

        Args:
            jet: (m,) the jet of each pixel, a row of these moves.
            row, column: (m,) of the pixel.
            side: p of the image.

        Returns:
            Row and column (m,), and whether they lie within the image; outside they are clamped.
        """
        centre = (side - 1) / 2
        x, y = (column - centre) * self.mirror[jet], row - centre
        cosine, sine = self.cosine[jet], self.sine[jet]
        moved = [
            (coordinate + centre).round().to(torch.int64)
            for coordinate in (sine * x + cosine * y, cosine * x - sine * y)
        ]
        inside = [(place >= 0) & (place < side) for place in moved]
        row, column = (place.clamp(0, side - 1) for place in moved)
        return row, column, inside[0] & inside[1]


def draw_moves(n: int, study: Study, seed: int, epoch: int, device: torch.device) -> Moves | None:
    """The moves of n jets in one epoch, or None in a study that has none.

    They follow from their arguments alone, so a training that goes on within an epoch, or on other
    processes, sees the same images.
    """
    if not (study.training.reflect or study.training.rotate):
        return None
    generator = np.random.default_rng((seed, epoch, 1))
    mirror = (
        np.where(generator.random(n) < 0.5, -1.0, 1.0) if study.training.reflect else np.ones(n)
    )
    angle = 2 * np.pi * generator.random(n) if study.training.rotate else np.zeros(n)
    columns = (mirror, np.cos(angle), np.sin(angle))
    return Moves(*(torch.from_numpy(c.astype(np.float32)).to(device) for c in columns))
