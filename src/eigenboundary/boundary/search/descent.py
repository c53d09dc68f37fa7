r"""Steps downhill onto the boundary, along the gradient of the gap between the leading outputs.

A Newton step for :math:`f_a - f_b = 0` along the steepest direction, as in DeepFool
(Moosavi-Dezfooli et al. 2016, arXiv:1511.04599),

.. math:: x \leftarrow x - (1 + \eta)\, \frac{f_a - f_b}{\|\nabla(f_a - f_b)\|_*}\, u,

is taken until the predicted class changes, with an overshoot η that grows, and the crossing on the
last step is then found to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eigenboundary.boundary.search.crossings import find_crossings, leading_two, resolve_tolerance
from eigenboundary.boundary.search.input_gradients import gap_gradient, outputs_at
from eigenboundary.boundary.search.norms import Geometry, column
from eigenboundary.problem.network import Network

_FIRST_OVERSHOOT = 0.02
_OVERSHOOT_GROWTH = 1.5


def onto_boundary(
    network: Network,
    x: Tensor,
    geometry: Geometry,
    n_steps: int = 50,
    tolerance: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Move inputs onto the boundary: return the points (m, ...) and whether they are there (m,)."""
    _, gap, _ = leading_two(outputs_at(network, x))
    inside, outside, crossed = descend(network, x, None, geometry, n_steps)
    found = find_crossings(network, inside, outside, tolerance)
    points = torch.where(column(found.leads, x), found.points, x)
    classes, left, _ = leading_two(outputs_at(network, points))
    rounding = output_rounding(network, points, classes)
    small = left <= resolve_tolerance(tolerance, x.dtype) * torch.maximum(gap, found.scale)
    return points, crossed & found.leads & (small | (left <= rounding))


def descend(
    network: Network, x: Tensor, rivals: Tensor | None, geometry: Geometry, n_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Step downhill from inputs (m, ...) until the predicted class changes.

    ``rivals`` (m,) are the classes to move towards; default: the one that comes second, anew each
    step. The results are the ends of the last step, the first of which is predicted as x and the
    second otherwise, and whether such a step was found (m,).
    """
    inside, outside = x.clone(), x.clone()
    outputs = outputs_at(network, x)
    own = outputs.argmax(-1)
    crossed = torch.zeros_like(own, dtype=torch.bool)
    overshoot = _FIRST_OVERSHOOT
    for _ in range(n_steps):
        rows = (~crossed).nonzero().squeeze(1)
        if not len(rows):
            break
        second = leading_two(outputs[rows])[0][:, 1] if rivals is None else rivals[rows]
        values, gradient = gap_gradient(network, inside[rows], own[rows], second)
        floor = _rounding(inside[rows], outputs[rows], gradient)
        moved = geometry.nearest_on_plane(
            inside[rows], gradient, -(1 + overshoot) * (values.clamp(min=0) + floor)
        )
        after = outputs_at(network, moved)
        finite = after.isfinite().all(-1)
        differs = after.argmax(-1) != own[rows]
        changed, stays = finite & differs, finite & ~differs
        outside[rows[changed]], crossed[rows[changed]] = moved[changed], True
        inside[rows[stays]], outputs[rows[stays]] = moved[stays], after[stays]
        overshoot = min(1.0, _OVERSHOOT_GROWTH * overshoot)
    return inside, outside, crossed


def output_rounding(network: Network, x: Tensor, classes: Tensor) -> Tensor:
    """Bound how far rounding moves the difference of two outputs at x, shape (m,)."""
    gradient = gap_gradient(network, x, classes[:, 0], classes[:, 1])[1]
    return _rounding(x, outputs_at(network, x), gradient)


def _rounding(x: Tensor, outputs: Tensor, gradient: Tensor) -> Tensor:
    of_input = (x.flatten(1).abs() * gradient.flatten(1).abs()).sum(1)
    return 8 * torch.finfo(x.dtype).eps * (of_input + outputs.abs().amax(-1))
