"""The first change of the predicted class on the way from an input to others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eigenboundary.boundary.search.crossings import along, find_crossings
from eigenboundary.boundary.search.input_gradients import outputs_at
from eigenboundary.boundary.search.norms import Geometry, column
from eigenboundary.problem.network import Network


@dataclass
class Candidates:
    """A point of the boundary for each of some inputs; at distance infinity where there is none.

    Attributes
    ----------
    points : Tensor, shape (m, ...)
    other : Tensor of int64, shape (m,)
        The class behind the boundary.
    distance : Tensor, shape (m,)
    """

    points: Tensor
    other: Tensor
    distance: Tensor

    def __getitem__(self, rows: Tensor) -> Candidates:
        return Candidates(self.points[rows], self.other[rows], self.distance[rows])

    def replace(self, rows: Tensor, better: Candidates) -> None:
        """Take over those of ``better``, given for these rows, that are nearer."""
        nearer = better.distance < self.distance[rows]
        chosen = rows[nearer]
        self.points[chosen] = better.points[nearer]
        self.other[chosen] = better.other[nearer]
        self.distance[chosen] = better.distance[nearer]


def stacked(several: list[Candidates]) -> Candidates:
    """Several points for each input, side by side: fields of shape (m, r, ...)."""
    return Candidates(
        torch.stack([some.points for some in several], dim=1),
        torch.stack([some.other for some in several], dim=1),
        torch.stack([some.distance for some in several], dim=1),
    )


def nearest_column(many: Candidates) -> tuple[Candidates, Tensor]:
    """The nearest of the points of each input, and which of them it is, shape (m,)."""
    nearest = many.distance.argmin(1)
    chosen = torch.arange(len(nearest), device=nearest.device), nearest
    return Candidates(many.points[chosen], many.other[chosen], many.distance[chosen]), nearest


def first_crossings(
    network: Network,
    x: Tensor,
    own: Tensor,
    ends: Tensor,
    geometry: Geometry,
    looks: int,
) -> Candidates:
    """The first crossings on the segments from x to ``ends``, as seen from so many looks.

    Parameters
    ----------
    x, ends : Tensor, shape (m, ...)
    own : Tensor of int64, shape (m,)
        The classes predicted at x.
    looks : int
        Evenly spaced points of each segment at which the predicted class is looked at.
    """
    shares = torch.linspace(1 / looks, 1, looks, dtype=x.dtype, device=x.device)
    changed = torch.stack(
        [
            outputs_at(network, along(x, ends, share.expand(len(x)))).argmax(-1) != own
            for share in shares
        ],
        dim=1,
    )
    first = changed.int().argmax(1)
    outer = shares[first]
    found = find_crossings(network, along(x, ends, outer - 1 / looks), along(x, ends, outer))
    there = changed.any(1) & found.leads & (found.own == own)
    distance = geometry.length(found.points - x).masked_fill(~there, torch.inf)
    points = torch.where(column(there, x), found.points, x)
    return Candidates(points, found.other, distance)
