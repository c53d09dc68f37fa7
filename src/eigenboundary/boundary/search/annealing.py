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
arXiv:2102.12827). Gradients are taken at y plus noise that falls with α, which smooths kinks out.

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
from eigenboundary.boundary.search.norms import Geometry, column
from eigenboundary.boundary.search.rays import Candidates, first_crossings
from eigenboundary.problem.network import Network
from eigenboundary.runtime.interrupts import safe_point


@dataclass(frozen=True)
class _Walk:
    """How a walk goes.

    Attributes
    ----------
    steps : int
    reach : float
        α at the start, in radii.
    noise : float
        Length of the noise at the start, in radii; in the maximum norm the deviation of an entry.
    fresh : bool
        From x, and not from the best point found.
    """

    steps: int
    reach: float
    noise: float = 0.0
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
    network: Network,
    x: Tensor,
    own: Tensor,
    rivals: Tensor,
    found: Candidates,
    geometry: Geometry,
    extent: Tensor,
    generator: torch.Generator,
) -> None:
    """Move the points ``found``, in place, to nearer ones.

    Parameters
    ----------
    x : Tensor, shape (m, ...)
    own : Tensor of int64, shape (m,)
        The classes predicted there.
    rivals : Tensor of int64, shape (m, r)
        Other classes, the one that is nearest to first order first.
    found : Candidates
        The best points known, at distance infinity where none is.
    extent : Tensor, shape (m,)
        How far to look.
    generator : torch.Generator
        Of the noise.
    """
    search = _Search(network, geometry, generator)
    everywhere = torch.arange(len(x), device=x.device)
    for other in rivals[:, :_CLASSES].unbind(1):
        search.walk(_TOWARDS_A_CLASS, x, own, extent, found, everywhere, other)
    failures = torch.zeros_like(own)
    for walk in _WALKS[: affordable_walks(network.signature.flops)]:
        rows = (failures < _PATIENCE).nonzero().squeeze(1)
        if not len(rows):
            break
        before = found.distance[rows]
        search.walk(walk, x, own, extent, found, rows)
        gained = found.distance[rows] < (1 - _LEAST_GAIN) * before
        failures[rows] = torch.where(gained, 0, failures[rows] + 1)


def affordable_walks(flops: int) -> int:
    """How many walks an input gets where a forward pass takes so many operations."""
    walks = int(_MOST_FLOPS / (_WALK_PASSES * max(flops, 1)))
    return min(len(_WALKS), max(_LEAST_WALKS, walks))


@dataclass(frozen=True)
class _Search:
    """Walks of many inputs side by side."""

    network: Network
    geometry: Geometry
    generator: torch.Generator

    def walk(
        self,
        walk: _Walk,
        x: Tensor,
        own: Tensor,
        extent: Tensor,
        found: Candidates,
        rows: Tensor,
        other: Tensor | None = None,
    ) -> None:
        """One walk of some rows; what it finds nearer is taken up."""
        start, known = x[rows], found[rows]
        begin = start if walk.fresh else known.points
        radius = torch.zeros_like(known.distance) if walk.fresh else known.distance
        missing = radius.isinf()  # there is no point to go on from
        begin = torch.where(column(missing, start), start, begin)
        radius = radius.masked_fill(missing, 0)
        towards = None if other is None else other[rows]
        ends = self._nearest(walk, start, begin, radius, own[rows], extent[rows], towards)
        nearer = first_crossings(self.network, start, own[rows], ends, self.geometry, _LOOKS)
        found.replace(rows, nearer)

    def _nearest(
        self,
        walk: _Walk,
        x: Tensor,
        y: Tensor,
        radius: Tensor,
        own: Tensor,
        extent: Tensor,
        other: Tensor | None,
    ) -> Tensor:
        """The nearest input behind the boundary that a walk met, or its start."""
        geometry = self.geometry
        best, best_distance = y.clone(), torch.where(radius > 0, radius, math.inf)
        met = radius > 0
        for step in range(walk.steps):
            safe_point()
            falling = (1 + math.cos(math.pi * step / (walk.steps - 1))) / 2
            reach = _LAST_REACH + (walk.reach - _LAST_REACH) * falling
            share = _LAST_SHARE + (_FIRST_SHARE - _LAST_SHARE) * falling
            seen = self._shaken(y, walk.noise * falling * radius)
            depth, towards, gradient = depth_gradient(self.network, seen, own, other)
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

    def _shaken(self, y: Tensor, length: Tensor) -> Tensor:
        """Inputs with Gaussian noise of these lengths, or deviations of an entry, added."""
        if not bool(length.any()):
            return y
        noise = torch.randn(y.shape, generator=self.generator, dtype=torch.float32).to(y)
        deviation = length if math.isinf(self.geometry.norm) else length / y[0].numel() ** 0.5
        return self.geometry.inside(y + column(deviation, y) * noise)
