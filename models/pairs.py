"""What two particles know of each other, as a bias of attention (arXiv:2202.03772, section 3)."""

import torch
from torch import nn

HIDDEN = 16
CLOSEST, SOFTEST = 1e-3, 1e-6  # distance or share, and TeV: what is smaller has this logarithm


class PairBias(nn.Module):
    """A small perceptron makes of the four numbers of each pair one for each head of attention."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, heads))

    def forward(
        self, momenta: torch.Tensor, has_rapidity: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Momenta (b, t, 4), see `pairs`, to biases (b, heads, t, t)."""
        return self.body(pairs(momenta, has_rapidity)).permute(0, 3, 1, 2)


def pairs(momenta: torch.Tensor, has_rapidity: torch.Tensor | None = None) -> torch.Tensor:
    """ln ΔR, ln kT, ln z and ln m² (b, t, t, 4) of all pairs: kT is the smaller pT times ΔR, z the
    smaller pT over the sum of both.

    Args:
        momenta: (b, t, 4) pT, rapidity, phi and mass in TeV; 0 of tokens that do not exist.
        has_rapidity: (t,) False of missing momentum, whose pairs have the distance in phi and the
            transverse mass; by default all have.

    Two massless particles of 100 GeV, back to back, have a mass of 200 GeV:

    >>> momenta = torch.tensor([[[0.1, 0, 0, 0], [0.1, 0, torch.pi, 0]]])
    >>> found = pairs(momenta)[0, 0, 1]
    >>> found[2].exp(), (found[3] / 2).exp()
    (tensor(0.5000), tensor(0.2000))
    """
    pt, rapidity, phi, mass = momenta.unbind(-1)
    transverse = torch.hypot(pt, mass)
    between = rapidity[:, :, None] - rapidity[:, None]
    if has_rapidity is not None:
        between = between * (has_rapidity[:, None] & has_rapidity)
    around = phi[:, :, None] - phi[:, None]
    around = torch.atan2(around.sin(), around.cos())
    distance = torch.hypot(between, around).clamp_min(CLOSEST)
    smaller = torch.minimum(pt[:, :, None], pt[:, None])
    share = smaller / (pt[:, :, None] + pt[:, None]).clamp_min(SOFTEST)
    mixed = transverse[:, :, None] * transverse[:, None] * between.cosh()
    mixed = mixed - pt[:, :, None] * pt[:, None] * around.cos()
    squared = mass[:, :, None] ** 2 + mass[:, None] ** 2 + 2 * mixed
    kt = (smaller * distance).clamp_min(SOFTEST)
    return torch.stack(
        [
            distance.log(),
            kt.log(),
            share.clamp_min(CLOSEST).log(),
            squared.clamp_min(SOFTEST**2).log(),
        ],
        dim=-1,
    )
