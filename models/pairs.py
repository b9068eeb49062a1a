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
        self,
        momenta: torch.Tensor,
        exists: torch.Tensor,
        has_rapidity: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Momenta (b, t, 4) to biases (b, heads, t, t), the same for i and j as for j and i, and
        without meaning where one of both does not exist.

        Args:
            momenta: pT, rapidity, phi and mass in TeV.
            exists: (b, t) which tokens there are.
            has_rapidity: (t,) False of missing momentum, whose pairs have the distance in phi and
                the transverse mass; by default all have.
        """
        t = momenta.shape[1]
        i, j = torch.triu_indices(t, t, device=momenta.device)
        both = torch.ones_like(i) if has_rapidity is None else has_rapidity[i] & has_rapidity[j]
        if momenta.device.type == "cpu":  # what does not exist is not computed, four times as fast
            jet, pair = (exists[:, i] & exists[:, j]).nonzero(as_tuple=True)
            known = self.body(pairs(momenta[jet, i[pair]], momenta[jet, j[pair]], both[pair]))
            of_pairs = known.new_zeros(len(momenta), len(i), known.shape[1])
            of_pairs = of_pairs.index_put((jet, pair), known)
        else:  # shapes that follow from the data keep a GPU waiting
            of_pairs = self.body(pairs(momenta[:, i], momenta[:, j], both))
        place = torch.empty(t, t, dtype=torch.long, device=momenta.device)
        place[i, j] = place[j, i] = torch.arange(len(i), device=momenta.device)
        return of_pairs[:, place.flatten()].unflatten(1, (t, t)).permute(0, 3, 1, 2)


def pairs(
    first: torch.Tensor, second: torch.Tensor, have_rapidity: torch.Tensor | None = None
) -> torch.Tensor:
    """ln ΔR, ln kT, ln z and ln m² (..., 4) of particles and others (..., 4): kT is the smaller pT
    times ΔR, z the smaller pT over the sum of both; see `PairBias`.

    Two massless particles of 100 GeV, back to back, have a mass of 200 GeV:

    >>> found = pairs(torch.tensor([0.1, 0, 0, 0]), torch.tensor([0.1, 0, torch.pi, 0]))
    >>> found[2].exp(), (found[3] / 2).exp()
    (tensor(0.5000), tensor(0.2000))
    """
    of_both = zip(first.unbind(-1), second.unbind(-1), strict=True)
    (pt_1, pt_2), (rapidity_1, rapidity_2), (phi_1, phi_2), (mass_1, mass_2) = of_both
    between, around = rapidity_1 - rapidity_2, phi_1 - phi_2
    if have_rapidity is not None:
        between = between * have_rapidity
    around = torch.atan2(around.sin(), around.cos())
    # Squares are clamped before their root, which has no slope at 0.
    distance = (between**2 + around**2).clamp_min(CLOSEST**2).sqrt()
    smaller = torch.minimum(pt_1, pt_2)
    share = smaller / (pt_1 + pt_2).clamp_min(SOFTEST)
    squares = pt_1**2 + mass_1**2, pt_2**2 + mass_2**2
    transverse_1, transverse_2 = (x.clamp_min(SOFTEST**4).sqrt() for x in squares)
    mixed = transverse_1 * transverse_2 * between.cosh()
    squared = mass_1**2 + mass_2**2 + 2 * (mixed - pt_1 * pt_2 * around.cos())
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
