"""The margins of an analysis: sections, smallest margin and planes, within a budget of work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigenboundary.boundary.ascent import affordable_rounds
from eigenboundary.boundary.planes import Plane, planes_of_sections
from eigenboundary.boundary.search.annealing import affordable_walks
from eigenboundary.boundary.search.norms import Geometry
from eigenboundary.boundary.sections import BoundarySections, sections_of
from eigenboundary.boundary.smallest_margin import SmallestMargin, most_examined, smallest_of
from eigenboundary.problem.problem import Problem

#: Points to sample the boundary with.
BOUNDARY_POINTS = 1000
_LEAST_POINTS = 100
# Floating-point operations for all points, and for all samples whose distances are searched for;
# and the forward passes that each takes, a backward pass counted as two.
_POINTS_FLOPS, _POINT_PASSES = 1e13, 100
_SEARCH_FLOPS, _SEARCH_PASSES = 2e13, 3 * 600
# Work for the points of three planes, with their alignments.
_PLANE_FLOPS, _PLANE_PASSES = 2e13, 3 * 100
_LEAST_RESOLUTION = 16


@dataclass(frozen=True, eq=False)
class Directions:
    """Eigenvectors whose sections are searched for.

    Attributes
    ----------
    vectors : array, shape (p, k)
    values : array, shape (k,)
        Eigenvalues.
    converged : array of bool, shape (k,)
    cosines : array, shape (n, k)
        Alignments of the training samples.
    """

    vectors: NDArray[Any]
    values: NDArray[np.float64]
    converged: NDArray[np.bool_]
    cosines: NDArray[np.float64]

    def first(self, k: int) -> Directions:
        """Return the first k eigenvectors."""
        vectors, values, converged = self.vectors[:, :k], self.values[:k], self.converged[:k]
        return Directions(vectors, values, converged, self.cosines[:, :k])


def find_sections(
    problem: Problem,
    directions: Directions,
    geometry: Geometry,
    n_points: int,
    seed: int,
    progress: Callable[[str, int, int], None] | None,
) -> BoundarySections:
    """Find the section of the boundary that each eigenvector encodes."""
    return sections_of(
        problem,
        directions.vectors,
        directions.values,
        directions.converged,
        directions.cosines,
        geometry=geometry,
        n_points=n_points,
        seed=seed,
        progress=progress or (lambda stage, done, total: None),
    )


def find_margins(
    problem: Problem,
    directions: Directions,
    geometry: Geometry,
    seed: int,
    progress: Callable[[str, int, int], None] | None = None,
    n_points: int | None = None,
) -> tuple[BoundarySections, SmallestMargin]:
    """Find the sections and the smallest margin, within a budget of work."""
    points = affordable_points(problem) if n_points is None else n_points
    sections = find_sections(problem, directions, geometry, points, seed, progress)
    budget = affordable_samples(problem, len(directions.values))
    smallest = smallest_of(problem, directions.cosines, geometry=geometry, budget=budget, seed=seed)
    return sections, smallest


def affordable_points(problem: Problem) -> int:
    """Return how many boundary points to sample."""
    by_work = int(_POINTS_FLOPS / (_POINT_PASSES * max(problem.signature.flops, 1)))
    return problem.network.inputs_at_most(min(BOUNDARY_POINTS, max(_LEAST_POINTS, by_work)))


def affordable_samples(problem: Problem, k: int) -> int:
    """Return how many samples' distances to search for, with k eigenvectors."""
    by_work = int(_SEARCH_FLOPS / (_SEARCH_PASSES * max(problem.signature.flops, 1)))
    return min(most_examined(problem.n_samples, k), max(2, by_work))


def note_on_budget(problem: Problem, k: int) -> tuple[str, ...]:
    """Return a note, where the network is too large for the usual searches."""
    flops = problem.signature.flops
    said = [
        f"{what} from {some} {unit}, not {usual}"
        for what, unit, some, usual in (
            (
                "the smallest margin",
                "samples",
                affordable_samples(problem, k),
                most_examined(problem.n_samples, k),
            ),
            (
                "sections are told",
                "points of the boundary",
                affordable_points(problem),
                BOUNDARY_POINTS,
            ),
            ("distances", "walks", affordable_walks(flops), affordable_walks(0)),
            ("boundary points x_b", "rounds", affordable_rounds(flops), affordable_rounds(0)),
        )
        if some != usual
    ]
    why = "for the network's size or the memory limit"
    return (f"Less was searched than is usual, {why}: {', '.join(said)}.",) if said else ()


def find_planes(
    problem: Problem, sections: BoundarySections, vectors: NDArray[Any], resolution: int
) -> tuple[tuple[Plane, ...], tuple[str, ...]]:
    """Evaluate the planes of the top sections; a note instead, where that would take too long."""
    affordable = int((_PLANE_FLOPS / (_PLANE_PASSES * max(problem.signature.flops, 1))) ** 0.5)
    if resolution and affordable < _LEAST_RESOLUTION:
        note = "Planes of so large a network are not evaluated here; eb.input_plane does it."
        return (), (note,)
    return planes_of_sections(problem, sections, vectors, min(resolution, affordable)), ()
