"""Sections of the decision boundary and their margins, in one call each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from eigenboundary.analysis.pipeline import analyze
from eigenboundary.analysis.result import Analysis
from eigenboundary.boundary.arguments import check_has_boundary
from eigenboundary.boundary.search.norms import Geometry, as_box, as_norm
from eigenboundary.boundary.sections import BoundarySections, Directions, sections_of
from eigenboundary.boundary.smallest_margin import SmallestMargin, most_examined, smallest_of
from eigenboundary.curvature.eigensolvers.solve import check_k, wanted_number
from eigenboundary.problem.problem import OPTIONS, Model, Problem, as_problem
from eigenboundary.runtime.arguments import check_integer, check_progress, check_seed
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.interrupts import deferred_interrupts
from eigenboundary.runtime.precision import full_precision
from eigenboundary.runtime.random_state import preserved_random_state

_EIGENPAIRS = 10
_SOLVER = ("curvature", "method", "tolerance", "max_products")
_OPTIONS = (*OPTIONS, *_SOLVER)


@full_precision()
def boundary_sections(
    model: Model,
    data: Any = None,
    k: int | Literal["all"] | None = None,
    *,
    norm: float = 2,
    box: tuple[float, float] | None = None,
    n_points: int = 1000,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> BoundarySections:
    r"""Find the part of the decision boundary that each top eigenvector encodes, and its margin.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        A trained classifier, left exactly as it was, or its analysis, with the eigenvectors.
    data : (x, y), Dataset or DataLoader
        Training samples; left out for what has them.
    k : int or "all", optional
        Eigenvectors, the sharpest first, or all that are numerically non-null; default: 10, or all
        that an analysis has.
    norm : {2, inf}
        Norm of the margins.
    box : (low, high), optional
        Range that every entry of an input has to stay in, e.g. (0, 1) for pixels.
    n_points : int
        Points to sample the boundary with, see :func:`~eigenboundary.boundary_points`.
    seed : int
    progress : callable, optional
        Called as ``progress(stage, done, total)``.
    **options
        Options of :func:`~eigenboundary.analyze` that say how to compute, for a module.

    Returns
    -------
    BoundarySections
        A sequence of k :class:`~eigenboundary.boundary.Section`.

    Raises
    ------
    InvalidInputError
        If an argument is not as described, or the samples are all predicted as one class.

    Notes
    -----
    Where a forward pass takes more than about 2·10⁸ operations an input, the most aligned points
    are sought in fewer rounds, and from 4·10⁸ distances by fewer walks: for networks this large,
    margins are upper bounds that a longer search may lower.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    >>> model = torch.nn.Linear(2, 2)
    >>> model.weight.data, model.bias.data = torch.eye(2), torch.zeros(2)
    >>> section = eb.boundary_sections(model, (x, x.argmax(1)), k=2)[0]
    >>> section.classes, section.converged
    ((0, 1), True)
    >>> nearest = (x[:, 0] - x[:, 1]).abs()[list(section.training_samples)].min() / 2**0.5
    >>> bool(abs(section.margin - nearest) < 1e-5)
    True
    """
    check_integer(n_points, "n_points")
    check_seed(seed)
    check_progress(progress)
    geometry = Geometry(as_norm(norm), as_box(box))
    with preserved_random_state(seed), deferred_interrupts():
        problem, directions = _searched(model, data, k, geometry, seed, options)
        return sections_of(problem, directions, geometry, n_points, seed, progress)


@full_precision()
def smallest_margin(
    model: Model,
    data: Any = None,
    k: int | Literal["all"] | None = None,
    *,
    norm: float = 2,
    box: tuple[float, float] | None = None,
    budget: int | None = None,
    seed: int = 0,
    **options: Any,
) -> SmallestMargin:
    r"""Find the narrowest margin of the training samples, first where eigenvectors point.

    Parameters
    ----------
    model, data, k, norm, box, seed, **options
        See :func:`boundary_sections`.
    budget : int, optional
        Most samples whose distance to the boundary is searched for; default: all where that takes
        no more than 10¹¹ operations, else 12 % of them, but at least two and no more than twenty an
        eigenvector.

    Returns
    -------
    SmallestMargin

    Raises
    ------
    InvalidInputError
        If an argument is not as described, or the samples are all predicted as one class.

    Notes
    -----
    Distances are searched for by fewer walks in large networks; see :func:`boundary_sections`.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    >>> model = torch.nn.Linear(2, 2)
    >>> model.weight.data, model.bias.data = torch.eye(2), torch.zeros(2)
    >>> found = eb.smallest_margin(model, (x, x.argmax(1)), k=2)
    >>> found.n_examined, found.converged
    (60, True)
    >>> distances = (x[:, 0] - x[:, 1]).abs() / 2**0.5
    >>> bool(abs(found.value - distances[found.sample_index]) < 1e-5)
    True
    """
    check_integer(budget, "budget", optional=True)
    check_seed(seed)
    geometry = Geometry(as_norm(norm), as_box(box))
    with preserved_random_state(seed), deferred_interrupts():
        problem, directions = _searched(model, data, k, geometry, seed, options)
        cosines, flops = directions.cosines, problem.signature.flops
        most = most_examined(len(cosines), len(cosines.T), flops) if budget is None else budget
        return smallest_of(problem, cosines, geometry, most, seed)


def _searched(
    model: Model, data: Any, k: Any, geometry: Geometry, seed: int, options: dict[str, Any]
) -> tuple[Problem, Directions]:
    """Return the problem and its first k eigenvectors, computed unless an analysis has them."""
    number = wanted_number(k)
    if isinstance(model, Analysis):
        for name, value in options.items():
            wanted = "be left out for a model that is an Analysis, which has its own"
            raise InvalidInputError(name, wanted, repr(value))
        if number is not None and number > model.k:
            wanted = f"be at most the {model.k} eigenvectors that the analysis has"
            raise InvalidInputError("k", wanted, str(k))
        problem = model.problem_of(data)
        check_has_boundary(problem, geometry)
        return problem, model.directions.first(number or model.k)
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise InvalidInputError("options", f"be among {', '.join(_OPTIONS)}", repr(unknown[0]))
    own = {name: options.pop(name) for name in _SOLVER if name in options}
    problem = as_problem(model, data, seed=seed, **options)
    check_k(number, problem.n_parameters)
    check_has_boundary(problem, geometry)
    k = min(_EIGENPAIRS, problem.n_parameters) if k is None else k
    return problem, analyze(problem, k=k, grid=0, seed=seed, **own).directions
