r"""The nearest boundary in many dimensions: annealed steps on a sphere whose radius follows it.

In many dimensions the way down to the boundary ends at one of very many locally nearest points.
A walk with long steps that become shorter settles at a far better one. It goes along the gradient
of the depth behind the boundary, :math:`D(y) = \max_{j \ne a} f_j(y) - f_a(y)`, and back onto the
sphere of radius ε around x,

.. math:: y \leftarrow x + \varepsilon\, \frac{y + \alpha\varepsilon u - x}
                                        {\|y + \alpha\varepsilon u - x\|}, \qquad
          u = \frac{\nabla D}{\|\nabla D\|},

where ε falls while y is behind the boundary and grows while it is not, by a share γ of itself but
never by more than the distance of the linearised boundary, and is never above the least distance
found; before y has been behind it once, ε is where the linearised boundary is. α and γ fall along a
cosine. In the maximum norm the entries of u have mean size one, and y is clipped to the ball. This
is the attack DDN (Rony et al. 2019, arXiv:1811.09600) with the distance of FMN (Pintor et al. 2021,
arXiv:2102.12827). Gradients are taken at y plus noise that falls with α, which smooths kinks.

The first walks are towards the classes that are nearest to first order, one each. Further ones
start at x again or go on from the best point found, as in basin hopping (Wales & Doye 1997,
doi:10.1021/jp970984n), until three of them in a row have gained next to nothing or all are done.
Networks that take more than about 4·10⁸ operations a forward pass get fewer, two at the least.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eigenboundary.boundary.search.input_gradients import depth_gradient
from eigenboundary.boundary.search.norms import column
from eigenboundary.boundary.search.rays import Candidates, Origins, first_crossings
from eigenboundary.runtime.interrupts import safe_point


@dataclass(frozen=True)
class _Walk:
    """The schedule of a walk."""

    steps: int
    #: α at the start, in radii.
    reach: float
    #: Length of the noise at the start, in radii; in the maximum norm the deviation of an entry.
    noise: float = 0.0
    #: Whether the walk starts at x, and not at the best point found.
    fresh: bool = False


_TOWARDS_A_CLASS = _Walk(50, 1.0, fresh=True)
_CLASSES = 3
_WALKS = (
    _Walk(200, 2.0, fresh=True),
    _Walk(200, 3.0, 1.0, fresh=True),
    _Walk(200, 3.0, 1.0),
    _Walk(200, 2.0, 0.5),
    _Walk(200, 1.0, 0.3),
    _Walk(200, 2.0, 0.5),
    _Walk(200, 1.0, 0.1),
    _Walk(200, 3.0, 1.0),
    _Walk(200, 1.0, 0.3),
)
# Floating-point operations for an input, a pass back and forth counted as three forward passes.
_MOST_FLOPS, _WALK_PASSES = 2e12, 3 * 200
_LEAST_WALKS = 2
_PATIENCE = 3
_LEAST_GAIN = 3e-4
_LAST_REACH = 0.01
_FIRST_SHARE, _LAST_SHARE = 0.05, 1e-3
_LOOKS = 4


def anneal(
    origins: Origins, rivals: Tensor, found: Candidates, extent: Tensor, generator: torch.Generator
) -> None:
    """Move the points ``found``, in place, to nearer ones, up to distances ``extent`` (m,).

    ``rivals`` (m, r) are other classes, the one that is nearest to first order first; the generator
    draws the noise.
    """

    def walk(schedule: _Walk, rows: Tensor, other: Tensor | None = None) -> None:
        some, known = origins[rows], found[rows]
        ends = _nearest(schedule, some, known, extent[rows], other, generator)
        found.replace(rows, first_crossings(some, ends, _LOOKS))

    everywhere = torch.arange(len(origins.x), device=origins.x.device)
    for other in rivals[:, :_CLASSES].unbind(1):
        walk(_TOWARDS_A_CLASS, everywhere, other)
    failures = torch.zeros_like(origins.own)
    for schedule in _WALKS[: affordable_walks(origins.network.signature.flops)]:
        rows = (failures < _PATIENCE).nonzero().squeeze(1)
        if not len(rows):
            break
        before = found.distance[rows]
        walk(schedule, rows)
        gained = found.distance[rows] < (1 - _LEAST_GAIN) * before
        failures[rows] = torch.where(gained, 0, failures[rows] + 1)


def affordable_walks(flops: int) -> int:
    """Return how many walks an input gets where a forward pass takes so many operations."""
    walks = int(_MOST_FLOPS / (_WALK_PASSES * max(flops, 1)))
    return min(len(_WALKS), max(_LEAST_WALKS, walks))


def _nearest(
    walk: _Walk,
    origins: Origins,
    known: Candidates,
    extent: Tensor,
    other: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """Return the nearest input behind the boundary that a walk meets, or its start."""
    x, geometry = origins.x, origins.geometry
    # A walk starts at x, too, where there is no point to go on from.
    fresh = known.distance.isinf() | walk.fresh
    y = torch.where(column(fresh, x), x, known.points)
    radius = known.distance.masked_fill(fresh, 0)
    best, best_distance = y.clone(), torch.where(radius > 0, radius, math.inf)
    met = radius > 0
    for step in range(walk.steps):
        safe_point()
        falling = (1 + math.cos(math.pi * step / (walk.steps - 1))) / 2
        reach = _LAST_REACH + (walk.reach - _LAST_REACH) * falling
        share = _LAST_SHARE + (_FIRST_SHARE - _LAST_SHARE) * falling
        seen = y
        noise = walk.noise * falling * radius  # in the maximum norm, deviations of an entry
        if bool(noise.any()):
            deviation = noise if math.isinf(geometry.norm) else noise / y[0].numel() ** 0.5
            drawn = torch.randn(y.shape, generator=generator, dtype=torch.float32).to(y)
            seen = geometry.inside(y + column(deviation, y) * drawn)
        depth, towards, gradient = depth_gradient(origins.network, seen, origins.own, other)
        distance = geometry.length(seen - x)
        behind = depth > 0
        nearer = behind & (distance < best_distance)
        best = torch.where(column(nearer, x), seen, best)
        best_distance = torch.where(nearer, distance, best_distance)
        met |= behind
        gradient = geometry.not_outwards(seen, gradient)
        direction, rate = geometry.direction(gradient)
        away = towards.abs() / rate.clamp(min=torch.finfo(x.dtype).tiny)
        change = torch.minimum(share * radius, away)
        radius = torch.where(
            behind,
            torch.minimum(radius - change, best_distance),
            torch.where(met, radius + change, torch.minimum(distance + away, extent)),
        )
        moved = y + column(reach * radius, y) * direction
        y = geometry.inside(geometry.onto_sphere(x, moved, radius))
    return best
