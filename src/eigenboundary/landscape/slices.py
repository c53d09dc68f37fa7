r"""The loss on lines and planes through parameter space.

A line along a direction v, in units of distance in parameter space, and a segment:

.. math:: \theta(t) = \theta + t\, v / \|v\|, \qquad \theta(t) = (1 - t)\,\theta_0 + t\,\theta_1

To second order, the loss on the line is :math:`L + t\langle g, v\rangle + \frac12 t^2 v^T H v`:
along a unit eigenvector its curvature is the eigenvalue. Planes have two orthonormal axes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.landscape.points import as_direction, as_point, as_steps, blocks_of, values_at
from eigenboundary.problem.problem import Model, Problem, as_problem
from eigenboundary.runtime.arguments import check_integer, check_number
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.linalg import inner
from eigenboundary.runtime.precision import full_precision

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LossCurve:
    """Training loss and accuracy along a curve in parameter space.

    Attributes
    ----------
    steps : array, shape (m,)
        The curve's parameter t.
    loss, accuracy : array, shape (m,)
    """

    steps: Array = field(repr=False)
    loss: Array = field(repr=False)
    accuracy: Array = field(repr=False)

    @property
    def barrier(self) -> float:
        """Largest loss less the larger of the losses at the first and the last step, at least 0.

        A loss that is NaN, where outputs overflow, counts as infinite.
        """
        loss = np.where(np.isnan(self.loss), np.inf, self.loss)
        ends = max(loss[0], loss[-1])
        return 0.0 if np.isinf(ends) else float(loss.max() - ends)


@dataclass(frozen=True)
class LossPlane:
    r"""Training loss and accuracy on a grid of a plane in parameter space.

    Attributes
    ----------
    first, second : array, shape (c,) and (r,)
        Coordinates: distances from the origin along the two axes.
    loss, accuracy : array, shape (r, c)
        Row i, column j is :math:`\theta = o + \mathrm{first}_j a_1 + \mathrm{second}_i a_2`.
    origin : Tensor, shape (p,)
    axes : Tensor, shape (p, 2)
        Orthonormal.
    points : array, shape (m, 2)
        Coordinates of the points that the plane was laid through, or of its origin.
    """

    first: Array = field(repr=False)
    second: Array = field(repr=False)
    loss: Array = field(repr=False)
    accuracy: Array = field(repr=False)
    origin: Tensor = field(repr=False)
    axes: Tensor = field(repr=False)
    points: Array = field(repr=False)

    @full_precision()
    def project(self, thetas: Tensor) -> Array:
        """Return the coordinates (m, 2) of the points of the plane nearest to any θ (m, p)."""
        difference = (thetas.to(self.origin) - self.origin).reshape(-1, len(self.origin))
        return inner(difference.T, self.axes).cpu().double().numpy()


@full_precision()
def loss_along(
    model: Model, direction: Any, steps: Any, *, data: Any = None, **options: Any
) -> LossCurve:
    r"""Compute the loss on the line :math:`\theta + t\, v/\|v\|`.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        Its θ is the point where t is zero.
    direction : array or Tensor, shape (p,)
        v, of any length.
    steps : array, shape (m,)
        Values of t.
    data, **options
        Samples and options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    LossCurve

    Raises
    ------
    InvalidInputError
        If a shape does not fit or a number is not finite.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> problem = eb.Problem(torch.nn.Linear(2, 3), (torch.randn(9, 2), torch.arange(9) % 3))
    >>> line = loss_along(problem, torch.ones(9), [-1.0, 0.0, 1.0])
    >>> bool(abs(line.loss[1] - problem.loss_value) < 1e-6)
    True
    """
    problem = as_problem(model, data, **options)
    v = as_direction(problem, direction, "direction")
    t = as_steps(steps)
    coefficients = np.stack([np.ones_like(t), t], axis=1)
    return curve_of(problem, t, coefficients, torch.stack([problem.network.theta, v]))


@full_precision()
def loss_between(
    model: Model, start: Any, end: Any, steps: Any = None, *, data: Any = None, **options: Any
) -> LossCurve:
    r"""Compute the loss on the segment :math:`(1 - t)\,\theta_0 + t\,\theta_1`.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        Gives the data and the loss; its own θ does not matter.
    start, end : array or Tensor of shape (p,), torch.nn.Module or state dict
        :math:`\theta_0` and :math:`\theta_1`.
    steps : array, shape (m,), optional
        Values of t in [0, 1]; default: 41 evenly spaced ones.
    data, **options
        Samples and options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    LossCurve

    Raises
    ------
    InvalidInputError
        If a network is of another architecture, a shape does not fit or a number is not finite.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> networks = [torch.nn.Linear(2, 3) for _ in range(2)]
    >>> problem = eb.Problem(networks[0], (torch.randn(9, 2), torch.arange(9) % 3))
    >>> loss_between(problem, *networks).barrier  # a convex loss
    0.0
    """
    problem = as_problem(model, data, **options)
    t = as_steps(np.linspace(0, 1, 41) if steps is None else steps, within=(0.0, 1.0))
    ends = torch.stack([as_point(problem, start, "start"), as_point(problem, end, "end")])
    return curve_of(problem, t, np.stack([1 - t, t], axis=1), ends)


@full_precision()
def loss_plane(
    model: Model,
    first: Any,
    second: Any,
    steps: Any,
    second_steps: Any = None,
    *,
    origin: Any = None,
    data: Any = None,
    **options: Any,
) -> LossPlane:
    """Compute the loss on a plane along two directions.

    The first axis is the first direction at unit length; the second axis is the part of the second
    direction orthogonal to it, at unit length (Gram and Schmidt).

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
    first, second : array or Tensor, shape (p,)
        Directions that are not parallel, of any length.
    steps : array, shape (c,)
        Coordinates along the first axis.
    second_steps : array, shape (r,), optional
        Coordinates along the second axis; default: those along the first.
    origin : array or Tensor of shape (p,), torch.nn.Module or state dict, optional
        Where both coordinates are zero; default: the problem's θ.
    data, **options
        Samples and options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    LossPlane

    Raises
    ------
    InvalidInputError
        If the directions are parallel, a shape does not fit or a number is not finite.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> problem = eb.Problem(torch.nn.Linear(2, 3), (torch.randn(9, 2), torch.arange(9) % 3))
    >>> loss_plane(problem, *torch.eye(9)[:2], [-1.0, 0.0, 1.0], [0.0, 2.0]).loss.shape
    (2, 3)
    """
    problem = as_problem(model, data, **options)
    centre = problem.network.theta if origin is None else as_point(problem, origin, "origin")
    axes = _orthonormal(problem, first=first, second=second)
    columns = as_steps(steps)
    rows = columns if second_steps is None else as_steps(second_steps, "second_steps")
    return _plane(problem, columns, rows, centre, axes, np.zeros((1, 2)))


@full_precision()
def plane_through(
    model: Model,
    a: Any,
    b: Any,
    c: Any,
    resolution: int = 25,
    *,
    margin: float = 0.2,
    data: Any = None,
    **options: Any,
) -> LossPlane:
    """Compute the loss on the plane through three networks.

    The origin is a, the first axis points to b, and c lies on the side of the second axis
    (Garipov et al. 2018, arXiv:1802.10026, sec. 3).

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        Gives the data and the loss; its own θ does not matter.
    a, b, c : array or Tensor of shape (p,), torch.nn.Module or state dict
        Not on one line.
    resolution : int
        Grid points along each axis.
    margin : float
        Width of the border around the three networks, as a share of their extent.
    data, **options
        Samples and options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    LossPlane
        Its ``points`` are the coordinates of a, b and c.

    Raises
    ------
    InvalidInputError
        If the three networks lie on one line, one is of another architecture or a number is not
        finite.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> networks = [torch.nn.Linear(2, 3) for _ in range(3)]
    >>> problem = eb.Problem(networks[0], (torch.randn(9, 2), torch.arange(9) % 3))
    >>> plane_through(problem, *networks, resolution=5).points[0].tolist()
    [0.0, 0.0]
    """
    problem = as_problem(model, data, **options)
    check_integer(resolution, "resolution")
    check_number(margin, "margin", at_least=0)
    origin = as_point(problem, a, "a")
    sides = {name: as_point(problem, at, name) - origin for name, at in (("b", b), ("c", c))}
    for name, side in sides.items():
        if not side.any():
            raise InvalidInputError(name, "differ from a", "the same parameters")
    axes = _orthonormal(problem, **sides)
    others = inner(torch.stack([*sides.values()], 1), axes).cpu().numpy()
    points = np.concatenate([np.zeros((1, 2)), others])
    low, high = points.min(0), points.max(0)
    low, high = low - margin * (high - low), high + margin * (high - low)
    columns, rows = (np.linspace(low[i], high[i], resolution) for i in range(2))
    return _plane(problem, columns, rows, origin, axes, points)


def curve_of(problem: Problem, t: Array, coefficients: Array, vectors: Tensor) -> LossCurve:
    """Compute the loss at the points ``coefficients @ vectors`` of a curve."""
    values = values_at(problem, blocks_of(problem, coefficients, vectors))
    return LossCurve(t, values.loss, values.accuracy)


def _plane(
    problem: Problem, first: Array, second: Array, origin: Tensor, axes: Tensor, points: Array
) -> LossPlane:
    rows, columns = np.meshgrid(second, first, indexing="ij")
    coefficients = np.stack([np.ones(rows.size), columns.ravel(), rows.ravel()], axis=1)
    vectors = torch.cat([origin.unsqueeze(0), axes.T])
    values = values_at(problem, blocks_of(problem, coefficients, vectors))
    loss, accuracy = (column.reshape(rows.shape) for column in (values.loss, values.accuracy))
    return LossPlane(first, second, loss, accuracy, origin, axes, points)


def _orthonormal(problem: Problem, **directions: Any) -> Tensor:
    """Return two directions as orthonormal columns (p, 2), the first one at unit length."""
    a, b = (as_direction(problem, value, name).double() for name, value in directions.items())
    rest = b - (a @ b) * a
    rest = rest - (a @ rest) * a  # once more: the first difference may be mostly rounding
    smallest = 1e-10 if problem.dtype == torch.float64 else 1e-5
    if float(rest.norm()) < smallest:
        wanted = "add a direction of its own to span a plane"
        because = "it is parallel to the first"
        raise InvalidInputError(list(directions)[1], wanted, because=because)
    return torch.stack([a, rest / rest.norm()], dim=1).to(problem.dtype)
