r"""From a point of the boundary to the locally nearest one.

At a boundary point p between classes a and b the boundary is, to first order, the plane
:math:`\{y : \langle g, y - p\rangle = 0\}`, :math:`g = \nabla(f_a - f_b)(p)`. Its point nearest to
x says in which direction the boundary comes nearer; the next p is the first crossing on the ray
from x there. The boundary of a ReLU network has ridges, across which these planes alternate: there
the nearest point of the intersection of the last few half-spaces
:math:`\langle g_i, y - x\rangle \le c_i` is tried too, whose dual,

.. math:: \min_{\lambda \ge 0} \tfrac12 \lambda^T G \lambda + c^T \lambda, \quad
          G_{ij} = \langle g_i, g_j\rangle, \qquad y = x - \sum_i \lambda_i g_i,

is solved by coordinate descent (Hildreth 1957), and shorter steps as well; in the maximum norm the
least-squares problem is reweighted until its largest entry is smallest (Lawson 1961). A distance
never grows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eigenboundary.boundary.search.input_gradients import depth, gap_gradient, outputs_at
from eigenboundary.boundary.search.norms import column, divisor
from eigenboundary.boundary.search.rays import Candidates, Origins, first_crossings
from eigenboundary.runtime.interrupts import safe_point

_STEPS = (1.0, 0.5, 0.2, 0.05, 0.01, 1e-3)
_PLANES = 5
_SWEEPS = 15
_LAWSON_STEPS = 12
_LEAST_WEIGHT = 1e-6
_LOOKS = 2


def refine(origins: Origins, found: Candidates, n_steps: int) -> Tensor:
    """Move the points ``found``, in place, along the boundary to where it is nearest.

    Return whether the last step changed the distance by less than a millionth of it, (m,).
    """
    converged = torch.zeros_like(origins.own, dtype=torch.bool)
    planes = _Planes(origins, found)
    active = found.distance.isfinite().nonzero().squeeze(1)
    for _ in range(n_steps):
        if not len(active):
            break
        safe_point()
        some, before = origins[active], found[active]
        ends, crosses = _best_ends(some, before, planes, active)
        found.replace(active, first_crossings(some, ends, _LOOKS).only(crosses))
        change = before.distance - found.distance[active]
        done = change <= _smallest_change(before.distance.dtype) * before.distance
        converged[active[done]] = True
        active = active[~done]
    return converged


def _smallest_change(dtype: torch.dtype) -> float:
    """Return the relative change of a distance that ends the refinement."""
    return max(1e-6, 16 * torch.finfo(dtype).eps)


def _best_ends(
    origins: Origins, found: Candidates, planes: _Planes, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Return inputs, nearer than ``found``, that lie deepest behind the boundary, if any does."""
    network, geometry, start, points = origins.network, origins.geometry, origins.x, found.points
    values, gradient = gap_gradient(network, points, origins.own, found.other)
    offset = ((points - start) * gradient).flatten(1).sum(1) - values
    targets = [
        geometry.nearest_on_plane(start, gradient, offset),
        start + planes.intersection(rows, gradient, offset, found.other),
    ]
    length = found.distance * (1 - 0.5 * _smallest_change(start.dtype))
    deepest = torch.zeros_like(found.distance)
    best = start.clone()
    for target in targets:
        for step in _STEPS:
            ray = points + step * (target - points) - start
            ray = ray / column(divisor(geometry.length(ray)), ray)
            ends = geometry.as_far_as(start, ray, length)
            behind = depth(outputs_at(network, ends), origins.own)
            deeper = behind > deepest
            deepest = torch.where(deeper, behind, deepest)
            best = torch.where(column(deeper, start), ends, best)
    return best, deepest > 0


class _Planes:
    """The last few half-spaces of each row, as unit gradients (m, r, d) and offsets (m, r)."""

    def __init__(self, origins: Origins, found: Candidates) -> None:
        x = origins.x
        self.lawson_steps = _LAWSON_STEPS if math.isinf(origins.geometry.norm) else 1
        self.gradients = x.new_zeros(len(x), _PLANES, x[0].numel() if len(x) else 0)
        self.offsets = x.new_zeros(len(x), _PLANES)
        self.other = found.other.clone()

    def intersection(self, rows: Tensor, gradient: Tensor, offset: Tensor, other: Tensor) -> Tensor:
        """Add a half-space to each row; return the step to the nearest point of all of them."""
        # Half-spaces of another class do not bound this one's region.
        stale = rows[self.other[rows] != other]
        self.gradients[stale], self.offsets[stale] = 0, 0
        self.other[rows] = other
        flat = gradient.flatten(1)
        rate = divisor(torch.linalg.vector_norm(flat, dim=1))
        fresh = (flat / rate.unsqueeze(1)).unsqueeze(1)
        self.gradients[rows] = torch.cat([fresh, self.gradients[rows, :-1]], dim=1)
        newest = (offset / rate).unsqueeze(1)
        self.offsets[rows] = torch.cat([newest, self.offsets[rows, :-1]], dim=1)
        normals, c = self.gradients[rows], self.offsets[rows]
        shares = torch.ones_like(flat)
        for _ in range(self.lawson_steps):
            step = _nearest_common(normals, c, shares)
            # Entries that have moved much get more weight: all end at the same, smallest change.
            shares = shares * step.abs()
            shares = shares / shares.amax(1, keepdim=True).clamp(min=torch.finfo(c.dtype).tiny)
            shares = shares.clamp(min=_LEAST_WEIGHT)
        return step.reshape_as(gradient)


def _nearest_common(normals: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """Return the step (m, d) of least weighted length into half-spaces (m, r, d) and (m, r)."""
    scaled = normals / weights.unsqueeze(1)
    gram = scaled @ normals.mT
    diagonal = gram.diagonal(dim1=1, dim2=2)
    inverse = torch.where(diagonal > 0, 1 / diagonal, torch.zeros_like(diagonal))
    multipliers = torch.zeros_like(offsets)
    for _ in range(_SWEEPS):
        for i in range(offsets.shape[1]):
            slope = (gram[:, i] * multipliers).sum(1) + offsets[:, i]
            multipliers[:, i] = (multipliers[:, i] - slope * inverse[:, i]).clamp(min=0)
    return -(multipliers.unsqueeze(1) @ scaled).squeeze(1)
