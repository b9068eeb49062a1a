"""Patches of a jet's constituents as tokens: the tokeniser of HEP-JEPA (arXiv:2502.03933).

Centres are constituents far from each other in rapidity and phi (farthest-point sampling), a patch
is the constituents nearest to its centre, and a small network makes a token of them, whatever
their order (arXiv:1612.00593). The numbers are not published; 8 constituents are ours.
"""

import torch
from torch import nn

MEMBERS = 8  # constituents of a patch, at most
FAR = 1e6  # more than any squared distance


class Patches(nn.Module):
    """Constituents to so many patches."""

    def __init__(self, of_constituents: int, channels: int, number: int) -> None:
        super().__init__()
        self.number = number
        # Of a member: its features, and rapidity and phi from the centre.
        self.of_members = nn.Sequential(
            nn.Linear(of_constituents + 2, channels), nn.GELU(), nn.Linear(channels, channels)
        )
        self.of_patch = nn.Linear(channels + 2, channels)

    def forward(
        self,
        constituents: torch.Tensor,
        exists: torch.Tensor,
        momenta: torch.Tensor,
        hidden: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Constituents as `JetViT` takes them to patches.

        Args:
            hidden: (b, t) constituents that no patch holds, whose places still decide where the
                patches are.

        Returns:
            Tokens (b, k, channels), which there are (b, k), the momenta (b, k, 4) of the sums of
            their members, and which constituents are members (b, k, t).
        """
        places = momenta[..., 1:3]
        centres, is_patch = farthest(momenta[..., 0], places, exists, self.number)
        at = _taken(places, centres)  # (b, k, 2)
        squared = (at[:, :, None] - places[:, None]).square().sum(dim=3)
        squared = squared.masked_fill(~exists[:, None], FAR)
        squared, members = squared.topk(min(MEMBERS, exists.shape[1]), largest=False)
        is_member = (squared < FAR) & is_patch[..., None]  # (b, k, m)
        if hidden is not None:
            is_member = is_member & ~_taken(hidden[..., None], members)[..., 0]
            is_patch = is_member.any(dim=2)
        relative = _taken(places, members) - at[:, :, None]
        known = torch.cat([_taken(constituents, members), relative], dim=3)
        seen = self.of_members(known).masked_fill(~is_member[..., None], -torch.inf).amax(dim=2)
        seen = seen.masked_fill(~is_patch[..., None], 0.0)
        tokens = self.of_patch(torch.cat([seen, at], dim=2))
        sums = _sum(_taken(momenta, members) * is_member[..., None])
        nothing = is_member.new_zeros(*centres.shape, exists.shape[1])
        return tokens, is_patch, sums, nothing.scatter(2, members, is_member)


def farthest(
    pt: torch.Tensor, places: torch.Tensor, exists: torch.Tensor, number: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Farthest-point sampling: the hardest constituent, then again and again the one that is
    farthest from all that are chosen.

    Args:
        pt: (b, t).
        places: (b, t, 2) rapidity and phi, about the jet axis.

    Returns:
        Numbers of constituents (b, number); which (b, number) are no repetition, where there are
        fewer constituents in different places.

    Of four on a line the hardest, the farthest, and what is far from both:

    >>> pt, exists = torch.tensor([[3.0, 2, 1, 1]]), torch.ones(1, 4, dtype=torch.bool)
    >>> places = torch.tensor([[[0.0, 0], [0.1, 0], [1, 0], [0.5, 0]]])
    >>> farthest(pt, places, exists, 3)[0].tolist()
    [[0, 2, 3]]
    """
    chosen = [pt.masked_fill(~exists, -1.0).argmax(dim=1)]
    is_new = [exists.any(dim=1)]
    least = torch.full_like(pt, FAR).masked_fill(~exists, 0.0)
    for _ in range(number - 1):
        at = places.gather(1, chosen[-1][:, None, None].expand(-1, 1, 2))
        least = torch.minimum(least, (places - at).square().sum(dim=2))
        distance, number_of = least.max(dim=1)
        chosen.append(number_of)
        is_new.append(distance > 0)
    return torch.stack(chosen, dim=1), torch.stack(is_new, dim=1)


def _taken(x: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Rows (b, ..., f) of x (b, t, f) with these numbers (b, ...)."""
    rows = x.gather(1, numbers.flatten(1)[..., None].expand(-1, -1, x.shape[2]))
    return rows.unflatten(1, numbers.shape[1:])


def _sum(momenta: torch.Tensor) -> torch.Tensor:
    """The momenta (b, k, 4) of sums over members (b, k, m, 4): pT, rapidity, phi and mass; 0 of
    none."""
    pt, rapidity, phi, mass = momenta.unbind(3)
    transverse = torch.hypot(pt, mass)
    parts = (
        transverse * rapidity.cosh(), pt * phi.cos(), pt * phi.sin(), transverse * rapidity.sinh()
    )  # fmt: skip
    e, x, y, z = (part.sum(dim=2) for part in parts)
    pt = torch.hypot(x, y)
    mass = (e.square() - pt.square() - z.square()).clamp_min(0).sqrt()
    rapidity = torch.asinh(z / torch.hypot(pt, mass).clamp_min(1e-9))
    return torch.stack([pt, rapidity, torch.atan2(y, x), mass], dim=2)
