"""The distance of inputs from the decision boundary, as a user asks for it."""

from __future__ import annotations

from typing import Any

from eigenboundary.boundary.arguments import problem_with_inputs, references_for
from eigenboundary.boundary.search.nearest import BoundaryDistance, nearest_boundary
from eigenboundary.boundary.search.norms import Geometry, as_box, as_norm
from eigenboundary.problem.problem import Model
from eigenboundary.runtime.arguments import check_integer, check_seed, check_tolerance
from eigenboundary.runtime.precision import full_precision


@full_precision()
def boundary_distance(
    model: Model,
    x: Any,
    *,
    norm: float = 2,
    n_starts: int = 8,
    seed: int = 0,
    references: Any = None,
    box: tuple[float, float] | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> BoundaryDistance:
    """Compute the distance of each input from the decision boundary: an upper bound, refined.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        It is left exactly as it was.
    x : array or Tensor, shape (m, ...)
        Inputs like those of the data; no labels are needed.
    norm : {2, inf}
        Euclidean length, or largest change of an entry.
    n_starts : int
        Near inputs of another predicted class to start from, for each input; in more than ten
        dimensions only where walks along the gradient meet no boundary. There are fewer walks
        where a forward pass takes more than about 4·10⁸ operations an input.
    seed : int
        Seed of the search. Equal inputs and seeds give equal points; further inputs may change
        them.
    references : array or Tensor, shape (r, ...), optional
        Inputs to start towards, where ``n_starts`` says so; default: a problem's training samples,
        else x.
    box : (low, high), optional
        Range that every entry of an input has to stay in, e.g. (0, 1) for pixels.
    tolerance : float, optional
        Largest difference of the two leading outputs at the point, relative to that at x; default:
        the square root of the machine epsilon.
    **options
        Options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    BoundaryDistance

    Raises
    ------
    InvalidInputError
        If an argument is not as described.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> model = torch.nn.Linear(2, 2)
    >>> model.weight.data, model.bias.data = torch.eye(2), torch.zeros(2)
    >>> x = [[3.0, 1.0], [0.0, 4.0]]
    >>> eb.boundary_distance(model, x).value.round(4)
    array([1.4142, 2.8284], dtype=float32)
    >>> eb.boundary_distance(model, x, norm=float("inf")).value.round(4)
    array([1., 2.], dtype=float32)
    """
    check_integer(n_starts, "n_starts")
    check_seed(seed)
    check_tolerance(tolerance)
    geometry = Geometry(as_norm(norm), as_box(box))
    problem, inputs = problem_with_inputs(model, x, **options)
    geometry.check_inside(inputs, "x")
    pool = references_for(problem, references, inputs, geometry)
    return nearest_boundary(problem.network, inputs, pool, n_starts, seed, geometry, tolerance)
