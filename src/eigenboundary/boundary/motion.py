r"""The decision boundary of two-dimensional inputs as θ moves along a direction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.boundary.planes import Plane, coordinates_of
from eigenboundary.landscape.points import as_direction, as_steps, blocks_of, outputs_at
from eigenboundary.problem.problem import Model, Problem, as_problem
from eigenboundary.runtime.arguments import check_integer
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.interrupts import safe_point
from eigenboundary.runtime.precision import full_precision


@dataclass(frozen=True)
class BoundaryMotion:
    """Predictions of networks along a line in parameter space on a grid of the input plane.

    Attributes
    ----------
    steps : array, shape (m,)
        Distances from θ along the direction.
    x, y : array, shape (c,) and (r,)
        Coordinates of the columns and rows.
    outputs : array, shape (m, r, c, C)
        Frame by frame; row i, column j is the input (x[j], y[i]).
    """

    steps: NDArray[np.float64] = field(repr=False)
    x: NDArray[np.float64] = field(repr=False)
    y: NDArray[np.float64] = field(repr=False)
    outputs: NDArray[np.float32] = field(repr=False)

    def plane(self, index: int) -> Plane:
        """Return the decision regions of one step, without alignments."""
        outputs = self.outputs[index]
        return Plane(self.x, self.y, outputs, np.zeros((*outputs.shape[:2], 0), np.float32))

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Predicted classes, shape (m, r, c)."""
        return self.outputs.argmax(-1)

    @property
    def changed(self) -> NDArray[np.float64]:
        """Share of the grid that is predicted otherwise than at the step nearest 0, shape (m,)."""
        start = self.predictions[np.abs(self.steps).argmin()]
        return (self.predictions != start).mean((1, 2))


@full_precision()
def boundary_along(
    model: Model,
    direction: Any,
    steps: Any,
    grid: Plane | None = None,
    *,
    resolution: int = 100,
    data: Any = None,
    **options: Any,
) -> BoundaryMotion:
    r"""Compute decision regions at :math:`\theta + t\, v/\|v\|`, for inputs in the plane.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        Its inputs are two-dimensional.
    direction : array or Tensor, shape (p,)
        v, e.g. an eigenvector, of any length.
    steps : array, shape (m,)
        Values of t.
    grid : Plane, optional
        On whose points to predict, e.g. ``analysis.grid``; default: the training inputs' extent
        and a margin around it.
    resolution : int
        Grid points along each axis where no grid is given.
    data, **options
        Samples and options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    BoundaryMotion

    Raises
    ------
    InvalidInputError
        If inputs are not two-dimensional, a shape does not fit or a number is not finite.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> problem = eb.Problem(torch.nn.Linear(2, 3), (torch.randn(9, 2), torch.arange(9) % 3))
    >>> boundary_along(problem, torch.ones(9), [-1.0, 0.0, 1.0], resolution=20).predictions.shape
    (3, 20, 20)
    """
    problem = as_problem(model, data, **options)
    check_integer(resolution, "resolution")
    if tuple(problem.signature.input_shape) != (2,):
        wanted = "have inputs of two features for its boundary to be drawn in a plane"
        got = f"inputs of shape {tuple(problem.signature.input_shape)}"
        raise InvalidInputError("model", wanted, got)
    if grid is not None and not isinstance(grid, Plane):
        raise InvalidInputError("grid", "be a Plane", type(grid).__name__)
    v = as_direction(problem, direction, "direction")
    t = as_steps(steps)
    x, y = (grid.first, grid.second) if grid is not None else _axes(problem, resolution)
    columns, rows = np.meshgrid(x, y)
    points = torch.from_numpy(np.stack([columns.ravel(), rows.ravel()], axis=1))
    coefficients = np.stack([np.ones_like(t), t], axis=1)
    frames = _frames(problem, coefficients, torch.stack([problem.network.theta, v]), points)
    return BoundaryMotion(t, x, y, frames.reshape(len(t), len(y), len(x), -1))


def _axes(problem: Problem, resolution: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    inputs, _ = problem.samples.some_inputs(problem.n_samples)
    x, y = (np.linspace(low, high, resolution) for low, high in coordinates_of(inputs, 2))
    return x, y


@torch.no_grad()
def _frames(
    problem: Problem, coefficients: NDArray[np.float64], vectors: Tensor, points: Tensor
) -> NDArray[np.float32]:
    network, frames = problem.network, []
    for block in blocks_of(problem, coefficients, vectors):
        parts = []
        for inputs in network.input_batches(points, network.samples_per_chunk(len(block))):
            safe_point()
            parts.append(outputs_at(network, block, inputs).float().cpu())
        frames.append(torch.cat(parts, dim=1))
    return torch.cat(frames).numpy()
