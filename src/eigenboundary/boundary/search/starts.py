"""Where the search for the nearest boundary starts from: several crossings an input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eigenboundary.boundary.search.crossings import depth
from eigenboundary.boundary.search.descent import descend
from eigenboundary.boundary.search.input_gradients import gap_gradient, outputs_at
from eigenboundary.boundary.search.norms import Geometry, column
from eigenboundary.boundary.search.rays import Candidates, first_crossings
from eigenboundary.problem.network import Network

_DESCENT_STEPS = 30
_LOOKS = 16
# In more dimensions too few directions would meet what reaches into the ball.
LOW_DIMENSION = 10
_DIRECTIONS = 64
_SURFACE_DIRECTIONS = 1024
# Numbers of all inputs looked at in one go.
_NUMBERS = 2**19


def linearized_distances(network: Network, x: Tensor, rivals: Tensor, geometry: Geometry) -> Tensor:
    r"""Distances to the boundaries of the linearised network, shape (m, r).

    .. math:: \frac{|f_a - f_j|}{\|\nabla (f_a - f_j)\|_*}

    for each rival j of shape (m, r), with the dual norm below; infinite where that is zero.
    """
    own = outputs_at(network, x).argmax(-1)
    columns = []
    for other in rivals.unbind(1):
        values, gradient = gap_gradient(network, x, own, other)
        rate = geometry.steepest(gradient)[1]
        columns.append(torch.where(rate > 0, values.abs() / rate, math.inf))
    return torch.stack(columns, dim=1)


def start_crossings(
    network: Network,
    x: Tensor,
    own: Tensor,
    rivals: Tensor,
    samples: Pool | None,
    n_starts: int,
    geometry: Geometry,
    generator: torch.Generator,
    towards: Tensor,
) -> list[Candidates]:
    """Crossings met going downhill to each rival, and straight to near samples and other inputs.

    Parameters
    ----------
    towards : Tensor, shape (m, e, ...)
        The other inputs, e for each x.
    """
    everywhere = torch.ones_like(own, dtype=torch.bool)
    ends = [(end, everywhere) for end in towards.unbind(1)]
    for other in rivals.unbind(1):
        _, outside, crossed = descend(network, x, other, geometry, _DESCENT_STEPS)
        ends.append((outside, crossed))
    if samples is not None:
        ends += _near_samples(x, own, samples, n_starts, geometry, generator)
    return [
        _masked(first_crossings(network, x, own, end, geometry, _LOOKS), valid)
        for end, valid in ends
    ]


def look_around(
    network: Network,
    x: Tensor,
    own: Tensor,
    radius: Tensor,
    geometry: Geometry,
    generator: torch.Generator,
) -> list[Candidates]:
    """Crossings seen when looking into many directions up to a radius (m,).

    The nearest one of some directions, and the one in the direction in which the input at the
    radius itself lies deepest behind the boundary, of many more: what reaches into the ball
    mostly crosses its surface. For few dimensions only, which directions can cover.
    """
    dimension = x[0].numel() if len(x) else 0
    if not dimension:
        return []
    seen = []
    for directions, looks in ((_DIRECTIONS, _LOOKS), (_SURFACE_DIRECTIONS, 1)):
        units = _directions(dimension, directions, generator).to(x).reshape(-1, *x.shape[1:])
        units = units / column(geometry.length(units), units)
        ends, valid = _best_tips(network, x, own, radius, geometry, units, looks)
        found = first_crossings(network, x, own, ends, geometry, _LOOKS)
        seen.append(_masked(found, valid))
    return seen


def _best_tips(
    network: Network,
    x: Tensor,
    own: Tensor,
    radius: Tensor,
    geometry: Geometry,
    units: Tensor,
    looks: int,
) -> tuple[Tensor, Tensor]:
    """Of all places looked at, the nearest behind the boundary, and of these the deepest."""
    ends, valid = x.clone(), torch.zeros_like(own, dtype=torch.bool)
    step = max(1, _NUMBERS // max(1, x.numel()))
    for look in range(1, looks + 1):
        deepest = torch.zeros_like(radius)
        for block in units.split(step):
            rays = block.unsqueeze(0).expand(len(x), *block.shape).flatten(0, 1)
            start = x.repeat_interleave(len(block), dim=0)
            length = radius.repeat_interleave(len(block)) * (look / looks)
            length = torch.minimum(length, geometry.reach(start, rays))
            tips = geometry.inside(start + column(length, start) * rays)
            labels = own.repeat_interleave(len(block))
            behind = depth(outputs_at(network, tips), labels).reshape(len(x), -1)
            best, chosen = behind.max(1)
            better = (best > deepest) & ~valid
            deepest = torch.where(better, best, deepest)
            tips = tips.reshape(len(x), len(block), *x.shape[1:])
            ends = torch.where(
                column(better, x), tips[torch.arange(len(x), device=x.device), chosen], ends
            )
        valid |= deepest > 0
    return ends, valid


def _near_samples(
    x: Tensor,
    own: Tensor,
    samples: Pool,
    n_starts: int,
    geometry: Geometry,
    generator: torch.Generator,
) -> list[tuple[Tensor, Tensor]]:
    """The nearest sample of another predicted class, of all samples and of random shares of them.

    The nearest few of all would lie on one side.
    """
    count = len(samples.x)
    if not count:
        return []
    order = torch.randperm(count, generator=generator).to(x.device)
    shares = min(n_starts, count) - 1
    groups = [order, *order.tensor_split(shares)] if shares > 0 else [order]
    ends = []
    for group in groups:
        distances = torch.cdist(x.flatten(1), samples.x[group].flatten(1), geometry.norm)
        same = samples.predictions[group].unsqueeze(0) == own.unsqueeze(1)
        nearest, row = distances.masked_fill(same, math.inf).min(1)
        ends.append((samples.x[group[row]], nearest.isfinite()))
    return ends


def _directions(dimension: int, count: int, generator: torch.Generator) -> Tensor:
    if dimension == 1:
        return torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    if dimension == 2:
        turn = torch.rand(1, generator=generator, dtype=torch.float64)
        angles = 2 * math.pi * (torch.arange(count) + turn) / count
        return torch.stack([angles.cos(), angles.sin()], dim=1)
    return torch.randn(count, dimension, generator=generator, dtype=torch.float64)


def _masked(found: Candidates, valid: Tensor) -> Candidates:
    found.distance = found.distance.masked_fill(~valid, math.inf)
    return found


@dataclass(frozen=True)
class Pool:
    """Inputs ready to compute with, what the network predicts for them, and their indices.

    Attributes
    ----------
    x : Tensor, shape (n, ...)
    predictions, indices : Tensor of int64, shape (n,)
    """

    x: Tensor
    predictions: Tensor
    indices: Tensor
