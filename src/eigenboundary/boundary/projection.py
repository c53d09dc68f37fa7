r"""Moving inputs downhill onto the decision boundary.

A Newton step for :math:`f_a - f_b = 0` along the steepest direction, as in DeepFool
(Moosavi-Dezfooli et al. 2016, arXiv:1511.04599),

.. math:: x \leftarrow x - (1 + \eta)\, \frac{f_a - f_b}{\|\nabla(f_a - f_b)\|_*}\, u,

is taken until the predicted class changes, with an overshoot η that grows, and the crossing on the
last step is then found to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eigenboundary import checks
from eigenboundary.boundary.classifiers import (
    Options,
    classifier_for_inputs,
    gap_gradient,
    outputs_at,
)
from eigenboundary.boundary.crossings import find_crossings, leading_two, resolve_tolerance
from eigenboundary.boundary.norms import Geometry, column
from eigenboundary.classifier import Classifier

__all__ = [
    "BoundaryProjection",
    "descend",
    "onto_boundary",
    "output_rounding",
    "project",
    "project_to_boundary",
]

_FIRST_OVERSHOOT = 0.02
_OVERSHOOT_GROWTH = 1.5


@dataclass(frozen=True)
class BoundaryProjection:
    """Inputs moved onto the decision boundary.

    Attributes
    ----------
    points : array, shape (m, ...)
        The input itself where no boundary was met.
    classes : array of int, shape (m, 2)
        The two leading classes there, smaller one first.
    gap : array, shape (m,)
        What is left of the difference of the two leading outputs.
    distance : array, shape (m,)
        Euclidean distance from the input; not the smallest, see
        :func:`~eigenboundary.boundary_distance`.
    converged : array of bool, shape (m,)
    """

    points: NDArray[Any] = field(repr=False)
    classes: NDArray[np.int64] = field(repr=False)
    gap: NDArray[Any] = field(repr=False)
    distance: NDArray[Any] = field(repr=False)
    converged: NDArray[np.bool_] = field(repr=False)


def project_to_boundary(
    model: nn.Module | Classifier,
    x: Any,
    *,
    n_steps: int = 50,
    tolerance: float | None = None,
    output: Callable[[Any], Tensor] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    batch_size: int | None = None,
) -> BoundaryProjection:
    """Any inputs moved onto the boundary between their two leading classes.

    Parameters
    ----------
    model : torch.nn.Module or Problem
        It is left exactly as it was.
    x : array or Tensor, shape (m, ...)
    n_steps : int
        Most Newton steps.
    tolerance : float, optional
        Largest difference of the two leading outputs, relative to that at x; default: the square
        root of the machine epsilon.
    output, device, dtype, batch_size
        See :class:`~eigenboundary.Problem`; a problem has its own.

    Returns
    -------
    BoundaryProjection

    Raises
    ------
    InvalidInputError
        If an argument is not as described.

    Examples
    --------
    >>> import torch
    >>> from eigenboundary.boundary import project_to_boundary
    >>> model = torch.nn.Linear(2, 2)
    >>> model.weight.data, model.bias.data = torch.eye(2), torch.zeros(2)
    >>> project_to_boundary(model, [[3.0, 1.0]]).points.round(4)
    array([[2., 2.]], dtype=float32)
    """
    checks.check_positive_integer(n_steps, "n_steps")
    checks.check_tolerance(tolerance)
    options = Options(output, device, dtype, batch_size)
    classifier, inputs = classifier_for_inputs(model, x, options)
    return project(classifier, inputs, n_steps, tolerance)


def project(
    classifier: Classifier, x: Tensor, n_steps: int = 50, tolerance: float | None = None
) -> BoundaryProjection:
    """The same for inputs that are ready to compute with."""
    points, converged = onto_boundary(classifier, x, n_steps, tolerance)
    classes, left, _ = leading_two(outputs_at(classifier, points))
    distance = Geometry().length(points - x)
    columns = (points, classes.sort(1).values, left, distance, converged)
    return BoundaryProjection(*(values.cpu().numpy() for values in columns))


def onto_boundary(
    classifier: Classifier,
    x: Tensor,
    n_steps: int = 50,
    tolerance: float | None = None,
    geometry: Geometry | None = None,
) -> tuple[Tensor, Tensor]:
    """The points (m, ...) alone and whether they are on the boundary (m,); in any norm and box."""
    _, gap, _ = leading_two(outputs_at(classifier, x))
    inside, outside, crossed = descend(classifier, x, None, geometry or Geometry(), n_steps)
    found = find_crossings(classifier, inside, outside, tolerance)
    points = torch.where(column(found.leads, x), found.points, x)
    classes, left, _ = leading_two(outputs_at(classifier, points))
    rounding = output_rounding(classifier, points, classes)
    small = left <= resolve_tolerance(tolerance, x.dtype) * torch.maximum(gap, found.scale)
    return points, crossed & found.leads & (small | (left <= rounding))


def descend(
    classifier: Classifier, x: Tensor, rivals: Tensor | None, geometry: Geometry, n_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Steps downhill until the predicted class changes.

    Parameters
    ----------
    x : Tensor, shape (m, ...)
    rivals : Tensor of int64, shape (m,), optional
        The class each input is moved towards; default: the one that comes second, anew each step.

    Returns
    -------
    inside, outside : Tensor, shape (m, ...)
        Ends of the last step: predicted as x is, and otherwise.
    crossed : Tensor of bool, shape (m,)
    """
    inside, outside = x.clone(), x.clone()
    outputs = outputs_at(classifier, x)
    own = outputs.argmax(-1)
    crossed = torch.zeros_like(own, dtype=torch.bool)
    overshoot = _FIRST_OVERSHOOT
    for _ in range(n_steps):
        rows = (~crossed).nonzero().squeeze(1)
        if not len(rows):
            break
        second = leading_two(outputs[rows])[0][:, 1] if rivals is None else rivals[rows]
        values, gradient = gap_gradient(classifier, inside[rows], own[rows], second)
        floor = _rounding(inside[rows], outputs[rows], gradient)
        moved = geometry.nearest_on_plane(
            inside[rows], gradient, -(1 + overshoot) * (values.clamp(min=0) + floor)
        )
        after = outputs_at(classifier, moved)
        changed = (after.argmax(-1) != own[rows]) & after.isfinite().all(-1)
        stays = ~changed & after.isfinite().all(-1)
        outside[rows[changed]], crossed[rows[changed]] = moved[changed], True
        inside[rows[stays]], outputs[rows[stays]] = moved[stays], after[stays]
        overshoot = min(1.0, _OVERSHOOT_GROWTH * overshoot)
    return inside, outside, crossed


def output_rounding(classifier: Classifier, x: Tensor, classes: Tensor) -> Tensor:
    """How far rounding moves the difference of two outputs at x, shape (m,)."""
    gradient = gap_gradient(classifier, x, classes[:, 0], classes[:, 1])[1]
    return _rounding(x, outputs_at(classifier, x), gradient)


def _rounding(x: Tensor, outputs: Tensor, gradient: Tensor) -> Tensor:
    of_input = (x.flatten(1).abs() * gradient.flatten(1).abs()).sum(1)
    return 8 * torch.finfo(x.dtype).eps * (of_input + outputs.abs().amax(-1))
