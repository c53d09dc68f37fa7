"""Inputs moved onto the decision boundary, as a user asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigenboundary.boundary.arguments import problem_with_inputs
from eigenboundary.boundary.search.crossings import leading_two
from eigenboundary.boundary.search.descent import onto_boundary
from eigenboundary.boundary.search.input_gradients import outputs_at
from eigenboundary.boundary.search.norms import Geometry
from eigenboundary.problem.problem import Model
from eigenboundary.runtime.arguments import check_integer, check_tolerance


@dataclass(frozen=True)
class BoundaryProjection:
    """Inputs moved onto the decision boundary.

    Attributes
    ----------
    points : array, shape (m, ...)
        The points; the input itself where no boundary was met.
    classes : array of int, shape (m, 2)
        The two leading classes there, smaller one first.
    gap : array, shape (m,)
        Remaining difference of the two leading outputs.
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
    model: Model, x: Any, *, n_steps: int = 50, tolerance: float | None = None, **options: Any
) -> BoundaryProjection:
    """Move any inputs onto the boundary between their two leading classes.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        It is left exactly as it was.
    x : array or Tensor, shape (m, ...)
        Inputs like those of the data; no labels are needed.
    n_steps : int
        Most Newton steps.
    tolerance : float, optional
        Largest difference of the two leading outputs, relative to that at x; default: the square
        root of the machine epsilon.
    **options
        Options of :class:`~eigenboundary.Problem`, for a module.

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
    check_integer(n_steps, "n_steps")
    check_tolerance(tolerance)
    problem, inputs = problem_with_inputs(model, x, **options)
    network, geometry = problem.network, Geometry()
    points, converged = onto_boundary(network, inputs, geometry, n_steps, tolerance)
    classes, left, _ = leading_two(outputs_at(network, points))
    distance = geometry.length(points - inputs)
    columns = (points, classes.sort(1).values, left, distance, converged)
    return BoundaryProjection(*(values.cpu().numpy() for values in columns))
