"""The margins of an analysis: sections, smallest margin and planes, within a budget of work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from eigenboundary.boundary.ascent import affordable_rounds
from eigenboundary.boundary.planes import Plane, planes_of_sections
from eigenboundary.boundary.search.annealing import affordable_walks
from eigenboundary.boundary.search.norms import Geometry
from eigenboundary.boundary.sections import BoundarySections, Directions, sections_of
from eigenboundary.boundary.smallest_margin import (
    SmallestMargin,
    most_examined,
    smallest_of,
    usually_examined,
)
from eigenboundary.problem.problem import Problem

# Eigenvectors whose sections are found.
_SECTIONS = 20
#: Points to sample the boundary with.
BOUNDARY_POINTS = 1000
_LEAST_POINTS = 100
# Floating-point operations for all points, and the forward passes that each takes.
_POINTS_FLOPS, _POINT_PASSES = 1e13, 100
# Work for the points of three planes, with their alignments.
_PLANE_FLOPS, _PLANE_PASSES = 2e13, 3 * 100
_LEAST_RESOLUTION = 16


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
    sharpest = directions.first(_SECTIONS)
    sections = sections_of(problem, sharpest, geometry, points, seed, progress)
    cosines = directions.cosines
    budget = most_examined(problem.n_samples, len(cosines.T), problem.signature.flops)
    smallest = smallest_of(problem, cosines, geometry, budget, seed, draw=True)
    return sections, smallest


def affordable_points(problem: Problem) -> int:
    """Return how many boundary points to sample."""
    by_work = int(_POINTS_FLOPS / (_POINT_PASSES * max(problem.signature.flops, 1)))
    return problem.network.inputs_at_most(min(BOUNDARY_POINTS, max(_LEAST_POINTS, by_work)))


def note_on_budget(problem: Problem, k: int) -> tuple[str, ...]:
    """Return a note, where the network is too large for the usual searches."""
    flops, usual = problem.signature.flops, usually_examined(problem.n_samples, k)
    samples = min(usual, most_examined(problem.n_samples, k, flops))
    points = affordable_points(problem)
    searches = {
        "the smallest margin from {} samples": (samples, usual),
        "sections are told from {} points of the boundary": (points, BOUNDARY_POINTS),
        "distances from {} walks": (affordable_walks(flops), affordable_walks(0)),
        "boundary points x_b from {} rounds": (affordable_rounds(flops), affordable_rounds(0)),
    }
    said = [
        f"{what.format(some)}, not {usual}"
        for what, (some, usual) in searches.items()
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
