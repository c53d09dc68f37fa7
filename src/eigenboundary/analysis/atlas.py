"""An atlas of the decision boundary: the sections that eigenvectors encode, and their margins.

Each function takes a classifier and its data and computes the eigenvectors it needs, or takes an
analysis that has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from eigenboundary.alignment.reinforcing_gradients import training_alignment
from eigenboundary.analysis.result import Analysis
from eigenboundary.boundary.arguments import check_has_boundary
from eigenboundary.boundary.search.norms import Geometry, as_box, as_norm
from eigenboundary.boundary.sections import BoundarySections, sections_of
from eigenboundary.boundary.smallest_margin import SmallestMargin, most_examined, smallest_of
from eigenboundary.curvature import CURVATURES, top_eigenpairs
from eigenboundary.curvature.eigensolvers.solve import check_k
from eigenboundary.problem.module import check_model
from eigenboundary.problem.problem import Problem, with_data
from eigenboundary.runtime.arguments import (
    check_choice,
    check_positive_integer,
    check_progress,
    check_seed,
)
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.interrupts import deferred_interrupts
from eigenboundary.runtime.precision import full_precision
from eigenboundary.runtime.random_state import preserved_random_state

Array = NDArray[np.float64]
_EIGENPAIRS = 10
_SOLVER_OPTIONS = ("method", "tolerance", "max_products")
_PROBLEM_OPTIONS = (
    "loss",
    "output",
    "parameters",
    "device",
    "dtype",
    "batch_size",
    "cache_bytes",
    "memory_limit",
)
_OPTIONS = ("curvature", *_PROBLEM_OPTIONS, *_SOLVER_OPTIONS)


@full_precision()
def boundary_sections(
    model: nn.Module | Problem | Analysis,
    data: Any = None,
    k: int | None = None,
    *,
    norm: float = 2,
    box: tuple[float, float] | None = None,
    n_points: int = 1000,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> BoundarySections:
    r"""Which part of the decision boundary each top eigenvector encodes, and the margin there.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        A trained classifier, left exactly as it was, or its analysis, with the eigenvectors.
    data : (x, y), Dataset or DataLoader
        Its training samples; left out for what has them.
    k : int, optional
        Eigenvectors, the sharpest first; default: 10, or all that an analysis has.
    norm : {2, inf}
        Of the margins.
    box : (low, high), optional
        Range that every entry of an input has to stay in, e.g. (0, 1) for pixels.
    n_points : int
        Points to sample the boundary with, see :func:`~eigenboundary.boundary_points`.
    seed : int
    progress : callable, optional
        Called as ``progress(stage, done, total)``.
    **options
        Those of :func:`~eigenboundary.analyze` that say how to compute: ``curvature``, ``loss``,
        ``output``, ``parameters``, ``device``, ``dtype``, ``batch_size``, ``cache_bytes``,
        ``memory_limit``, ``method``, ``tolerance``, ``max_products``.

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
    are sought in fewer rounds, and from 4·10⁸ distances by fewer walks: with so large networks
    margins are upper bounds that a longer search might lower.

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
    check_positive_integer(n_points, "n_points")
    check_seed(seed)
    check_progress(progress)
    geometry = Geometry(as_norm(norm), as_box(box))
    with preserved_random_state(seed), deferred_interrupts():
        subject = _subject(model, data, k, geometry, seed, options)
        return sections_of(
            subject.problem,
            subject.vectors,
            subject.eigenvalues,
            subject.converged,
            subject.cosines,
            geometry=geometry,
            n_points=n_points,
            seed=seed,
            progress=progress or _silent,
        )


@full_precision()
def smallest_margin(
    model: nn.Module | Problem | Analysis,
    data: Any = None,
    k: int | None = None,
    norm: float = 2,
    *,
    box: tuple[float, float] | None = None,
    budget: int | None = None,
    seed: int = 0,
    **options: Any,
) -> SmallestMargin:
    r"""The narrowest margin of the training samples, looked for where eigenvectors point.

    Parameters
    ----------
    model, data, k, norm, box, seed, **options
        See :func:`boundary_sections`.
    budget : int, optional
        Most samples whose distance to the boundary is searched for; default: 12 % of them, but at
        least two and no more than twenty an eigenvector.

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
    (7, True)
    >>> distances = (x[:, 0] - x[:, 1]).abs() / 2**0.5
    >>> bool(abs(found.value - distances[found.sample_index]) < 1e-5)
    True
    """
    check_positive_integer(budget, "budget", optional=True)
    check_seed(seed)
    geometry = Geometry(as_norm(norm), as_box(box))
    with preserved_random_state(seed), deferred_interrupts():
        subject = _subject(model, data, k, geometry, seed, options)
        n, eigenvectors = subject.cosines.shape
        return smallest_of(
            subject.problem,
            subject.cosines,
            geometry=geometry,
            budget=most_examined(n, eigenvectors) if budget is None else budget,
            seed=seed,
        )


@dataclass(frozen=True)
class _Subject:
    """A problem and its top eigenvectors (p, k), with the training samples' alignments (n, k)."""

    problem: Problem
    vectors: Any
    eigenvalues: Array
    converged: NDArray[np.bool_]
    cosines: Array


def _subject(
    model: Any, data: Any, k: int | None, geometry: Geometry, seed: int, options: dict[str, Any]
) -> _Subject:
    check_positive_integer(k, "k", optional=True)
    for name in options:
        if name not in _OPTIONS:
            raise InvalidInputError("options", f"be among {', '.join(_OPTIONS)}", repr(name))
    if isinstance(model, Analysis):
        return _from_analysis(model, data, k, geometry, options)
    curvature = options.pop("curvature", "hessian")
    check_choice(curvature, "curvature", tuple(CURVATURES))
    solver = {name: options.pop(name) for name in _SOLVER_OPTIONS if name in options}
    if isinstance(model, Problem):
        _refuse(options, data, "Problem")
        problem = model
    else:
        check_model(model)
        if data is None:
            raise InvalidInputError(
                "data", "be given for a model that is a torch.nn.Module", "None"
            )
        problem = Problem(model, data, seed=seed, **options)
    k = min(_EIGENPAIRS, problem.n_parameters) if k is None else k
    check_k(k, problem.n_parameters)
    check_has_boundary(problem, geometry)
    pairs = top_eigenpairs(CURVATURES[curvature](problem), k, seed=seed, **solver)
    cosines = training_alignment(problem, pairs.vectors).cosines
    return _Subject(
        problem,
        pairs.vectors.cpu().numpy(),
        pairs.values.cpu().double().numpy(),
        pairs.converged.cpu().numpy(),
        cosines.cpu().double().numpy(),
    )


def _from_analysis(
    analysis: Analysis, data: Any, k: int | None, geometry: Geometry, options: dict[str, Any]
) -> _Subject:
    k = analysis.k if k is None else k
    if k > analysis.k:
        raise InvalidInputError(
            "k", f"be at most the {analysis.k} eigenvectors that the analysis has", f"{k}"
        )
    problem = _problem_of(analysis, data, options)
    check_has_boundary(problem, geometry)
    return _Subject(
        problem,
        analysis.eigenvectors[:, :k],
        analysis.eigenvalues[:k],
        analysis.converged[:k],
        analysis.training_alignment[:, :k],
    )


def _problem_of(analysis: Analysis, data: Any, options: dict[str, Any]) -> Problem:
    classifier = analysis.classifier
    if isinstance(classifier, Problem):
        _refuse(options, data, "Analysis")
        return classifier
    _refuse(options, None, "Analysis")
    if classifier is None:
        raise InvalidInputError(
            "model",
            "be an analysis that has its network (pass model= to load)",
            because="this one was loaded without",
        )
    if data is None:
        raise InvalidInputError(
            "data", "be given with an analysis that was loaded from a file", "None"
        )
    problem = with_data(classifier, data)
    same = problem.n_samples == analysis.n_samples and np.array_equal(
        problem.labels.cpu().numpy(), analysis.labels
    )
    if not same:
        raise InvalidInputError(
            "data",
            f"be the {analysis.n_samples} samples that were analysed, in their order",
            f"{problem.n_samples} samples, or other labels",
        )
    return problem


def _refuse(options: dict[str, Any], data: Any, kind: str) -> None:
    given = {"data": data, **options}
    for name, value in given.items():
        if value is not None:
            raise InvalidInputError(
                name,
                f"be left out for a model that is {_article(kind)} {kind}, which has its own",
                type(value).__name__,
            )


def _article(kind: str) -> str:
    return "an" if kind[0] in "AEIOU" else "a"


def _silent(stage: str, done: int, total: int) -> None:
    """Where nobody wants to know."""


def _margins(analysis: Analysis, seed: int) -> dict[str, float]:
    sections, smallest = analysis.sections, analysis.smallest_margin
    if isinstance(analysis.classifier, Problem):
        # A network without a boundary between its samples has no margins, but other numbers.
        with suppress(InvalidInputError):
            sections = boundary_sections(analysis, seed=seed) if sections is None else sections
            smallest = smallest_margin(analysis, seed=seed) if smallest is None else smallest
    found = [s.margin for s in sections or () if s.share > 0 and not math.isnan(s.margin)]
    return {
        "smallest_margin": smallest.value if smallest is not None else math.nan,
        "median_margin": float(np.median(found)) if found else math.nan,
        "unexplained": sections.unexplained if sections is not None else math.nan,
    }
