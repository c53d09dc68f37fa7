"""The first change of the predicted class on the way from an input to others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eigenboundary.boundary.search.crossings import along, find_crossings
from eigenboundary.boundary.search.input_gradients import outputs_at
from eigenboundary.boundary.search.norms import Geometry, column
from eigenboundary.problem.network import Network


@dataclass(frozen=True)
class Origins:
    """Inputs x (m, ...) whose nearest boundary is searched for, predicted as classes own (m,)."""

    network: Network
    #: Norm and box of the distances.
    geometry: Geometry
    x: Tensor
    own: Tensor

    def __getitem__(self, rows: Tensor) -> Origins:
        return Origins(self.network, self.geometry, self.x[rows], self.own[rows])


@dataclass
class Candidates:
    """A point of the boundary (m, ...) for each of m inputs, at distance infinity if none is."""

    points: Tensor
    #: The class behind the boundary, and the point's distance from the input, (m,).
    other: Tensor
    distance: Tensor

    def __getitem__(self, rows: Tensor | tuple[Tensor, Tensor]) -> Candidates:
        return self.map(lambda values: values[rows])

    def map(self, function: Callable[[Tensor], Tensor]) -> Candidates:
        """Apply a function to each field."""
        return Candidates(*(function(values) for values in vars(self).values()))

    def only(self, valid: Tensor) -> Candidates:
        """Move the points of all other rows to distance infinity."""
        return Candidates(self.points, self.other, self.distance.masked_fill(~valid, math.inf))

    def replace(self, rows: Tensor, better: Candidates) -> None:
        """Replace, in place, the points of these rows where ``better`` has a nearer one."""
        nearer = better.distance < self.distance[rows]
        for values, new in zip(vars(self).values(), vars(better).values(), strict=True):
            values[rows[nearer]] = new[nearer]


def stacked(several: Sequence[Candidates]) -> Candidates:
    """Stack several points for each input side by side, in fields of shape (m, r, ...)."""
    fields = zip(*(vars(some).values() for some in several), strict=True)
    return Candidates(*(torch.stack(values, dim=1) for values in fields))


def nearest_column(many: Candidates) -> tuple[Candidates, Tensor]:
    """Return the nearest of the points of each input, and which of them it is, shape (m,)."""
    nearest = many.distance.argmin(1)
    return many[torch.arange(len(nearest), device=nearest.device), nearest], nearest


def first_crossings(origins: Origins, ends: Tensor, looks: int) -> Candidates:
    """Find the first crossings on the segments from the origins to ``ends`` (m, ...).

    The predicted class is looked at in ``looks`` evenly spaced points of each segment.
    """
    network, x, own = origins.network, origins.x, origins.own
    shares = torch.linspace(1 / looks, 1, looks, dtype=x.dtype, device=x.device)
    seen = (outputs_at(network, along(x, ends, share.expand(len(x)))) for share in shares)
    changed = torch.stack([outputs.argmax(-1) != own for outputs in seen], dim=1)
    outer = shares[changed.int().argmax(1)]
    found = find_crossings(network, along(x, ends, outer - 1 / looks), along(x, ends, outer))
    there = changed.any(1) & found.leads & (found.own == own)
    distance = origins.geometry.length(found.points - x)
    points = torch.where(column(there, x), found.points, x)
    return Candidates(points, found.other, distance).only(there)
