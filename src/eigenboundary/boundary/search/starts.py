"""Starting points of the search for the nearest boundary: several crossings an input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eigenboundary.boundary.search.descent import descend
from eigenboundary.boundary.search.input_gradients import depth, gap_gradient, outputs_at
from eigenboundary.boundary.search.norms import column
from eigenboundary.boundary.search.rays import Candidates, Origins, first_crossings

_DESCENT_STEPS = 30
_LOOKS = 16
# In more dimensions too few directions would meet what reaches into the ball.
LOW_DIMENSION = 10
_DIRECTIONS = 64
_SURFACE_DIRECTIONS = 1024
# Numbers of all inputs that are looked at together.
_NUMBERS = 2**19


@dataclass(frozen=True)
class Pool:
    """Inputs (n, ...) ready to compute with, the classes predicted for them, and indices (n,)."""

    x: Tensor
    predictions: Tensor
    indices: Tensor


def linearized_distances(origins: Origins, rivals: Tensor) -> Tensor:
    r"""Compute distances to the boundaries of the linearised network, shape (m, r).

    .. math:: \frac{|f_a - f_j|}{\|\nabla (f_a - f_j)\|_*}

    for each rival j of shape (m, r), with the dual norm below; infinite where that is zero.
    """
    columns = []
    for other in rivals.unbind(1):
        values, gradient = gap_gradient(origins.network, origins.x, origins.own, other)
        rate = origins.geometry.steepest(gradient)[1]
        columns.append(torch.where(rate > 0, values.abs() / rate, math.inf))
    return torch.stack(columns, dim=1)


def start_crossings(
    origins: Origins,
    rivals: Tensor,
    pool: Pool | None,
    n_starts: int,
    generator: torch.Generator,
    towards: Tensor,
) -> list[Candidates]:
    """Find crossings downhill to the rivals (m, r), and straight to samples and other inputs.

    There are ``n_starts`` samples of the pool and e inputs ``towards`` (m, e, ...) an origin.
    """
    everywhere = torch.ones_like(origins.own, dtype=torch.bool)
    network, x, geometry = origins.network, origins.x, origins.geometry
    ends = [(end, everywhere) for end in towards.unbind(1)]
    ends += [descend(network, x, other, geometry, _DESCENT_STEPS)[1:] for other in rivals.unbind(1)]
    if pool is not None and len(pool.x):
        ends += _near_samples(origins, pool, n_starts, generator)
    return [first_crossings(origins, end, _LOOKS).only(valid) for end, valid in ends]


def look_around(origins: Origins, radius: Tensor, generator: torch.Generator) -> list[Candidates]:
    """Find two crossings up to a radius (m,), each in the best of many directions.

    One is the nearest. The other lies in the direction, of many more, whose input at the radius is
    deepest behind the boundary: a region that reaches into the ball mostly crosses its surface.
    """
    x, geometry = origins.x, origins.geometry
    dimension = x[0].numel() if len(x) else 0
    if not dimension:
        return []
    seen = []
    for directions, looks in ((_DIRECTIONS, _LOOKS), (_SURFACE_DIRECTIONS, 1)):
        units = _directions(dimension, directions, generator).to(x).reshape(-1, *x.shape[1:])
        units = units / column(geometry.length(units), units)
        ends, valid = _best_tips(origins, radius, units, looks)
        seen.append(first_crossings(origins, ends, _LOOKS).only(valid))
    return seen


def _best_tips(
    origins: Origins, radius: Tensor, units: Tensor, looks: int
) -> tuple[Tensor, Tensor]:
    """Return, of all places looked at, the nearest behind the boundary, and the deepest of them."""
    x, own, geometry = origins.x, origins.own, origins.geometry
    ends, valid = x.clone(), torch.zeros_like(own, dtype=torch.bool)
    step = max(1, _NUMBERS // max(1, x.numel()))
    for look in range(1, looks + 1):
        deepest = torch.zeros_like(radius)
        for block in units.split(step):
            count = len(block)
            rays = block.unsqueeze(0).expand(len(x), *block.shape).flatten(0, 1)
            start = x.repeat_interleave(count, dim=0)
            length = radius.repeat_interleave(count) * (look / looks)
            length = torch.minimum(length, geometry.reach(start, rays))
            tips = geometry.inside(start + column(length, start) * rays)
            behind = depth(outputs_at(origins.network, tips), own.repeat_interleave(count))
            best, chosen = behind.reshape(len(x), -1).max(1)
            better = (best > deepest) & ~valid
            deepest = torch.where(better, best, deepest)
            tips = tips.reshape(len(x), count, *x.shape[1:])
            tips = tips[torch.arange(len(x), device=x.device), chosen]
            ends = torch.where(column(better, x), tips, ends)
        valid |= deepest > 0
    return ends, valid


def _near_samples(
    origins: Origins, pool: Pool, n_starts: int, generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Return the nearest sample of another class, of all samples and of random shares of them."""
    # The nearest few of all samples would lie on one side.
    x, count = origins.x, len(pool.x)
    order = torch.randperm(count, generator=generator).to(x.device)
    shares = min(n_starts, count) - 1
    groups = [order, *order.tensor_split(shares)] if shares > 0 else [order]
    ends = []
    for group in groups:
        distances = torch.cdist(x.flatten(1), pool.x[group].flatten(1), origins.geometry.norm)
        same = pool.predictions[group].unsqueeze(0) == origins.own.unsqueeze(1)
        nearest, row = distances.masked_fill(same, math.inf).min(1)
        ends.append((pool.x[group[row]], nearest.isfinite()))
    return ends


def _directions(dimension: int, count: int, generator: torch.Generator) -> Tensor:
    if dimension == 1:
        return torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    if dimension == 2:
        turn = torch.rand(1, generator=generator, dtype=torch.float64)
        angles = 2 * math.pi * (torch.arange(count) + turn) / count
        return torch.stack([angles.cos(), angles.sin()], dim=1)
    return torch.randn(count, dimension, generator=generator, dtype=torch.float64)
