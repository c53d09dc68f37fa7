"""The steps of an analysis that can be left out, and the clock that all of them are timed by.

Ctrl-C in one of them leaves what is known by then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.alignments import Alignment
from eigenboundary.assembly import Extras
from eigenboundary.boundary.annealing import affordable_walks
from eigenboundary.boundary.ascent import affordable_rounds
from eigenboundary.boundary.norms import Geometry
from eigenboundary.boundary.planes import planes_of_sections
from eigenboundary.boundary.sections import sections_of
from eigenboundary.boundary.smallest import most_examined, smallest_of
from eigenboundary.curvature import Eigenpairs
from eigenboundary.curvature.bulk import estimate_bulk
from eigenboundary.curvature.operators import ProblemOperator
from eigenboundary.errors import InvalidInputError
from eigenboundary.grid import PlaneGrid, evaluate_plane
from eigenboundary.problem import Problem

__all__ = ["Clock", "ProgressReport", "plane_of", "with_bulk", "with_margins", "with_planes"]

_log = logging.getLogger(__name__)

#: Called with (stage, done, total); the total may grow.
ProgressReport = Callable[[str, int, int], None]

_BOUNDARY_POINTS, _LEAST_POINTS = 1000, 100
# Floating-point operations for all points, and for all samples whose distances are searched for;
# and the forward passes that each of them takes, a backward pass counted as two.
_POINTS_FLOPS, _POINT_PASSES = 1e13, 100
_SEARCH_FLOPS, _SEARCH_PASSES = 2e13, 3 * 600
# Likewise for the points of three planes, with their alignments.
_PLANE_FLOPS, _PLANE_PASSES = 2e13, 3 * 100
_LEAST_RESOLUTION = 16


class Clock:
    """Seconds by stage, and progress passed on."""

    def __init__(self, progress: ProgressReport | None) -> None:
        self.seconds: dict[str, float] = {}
        self.progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        if self.progress is not None:
            self.progress(name, 0, 1)
        yield
        self.seconds[name] = time.perf_counter() - began
        if self.progress is not None:
            self.progress(name, 1, 1)
        _log.info("%s: %.2f s", name, self.seconds[name])

    def bulk(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress("bulk", done, total)

    def eigenpairs(self, converged: int, wanted: int, products: int) -> None:
        _log.debug("eigenpairs: %d of %d after %d products", converged, wanted, products)
        if self.progress is not None:
            self.progress("eigenpairs", converged, wanted)


def plane_of(
    problem: Problem, vectors: Tensor, inputs: Tensor, resolution: int
) -> PlaneGrid | None:
    """Alignments over the plane of two-dimensional inputs."""
    is_plane = tuple(problem.input_shape) == (2,) and problem.floating_inputs
    if not resolution or not is_plane:
        return None
    return evaluate_plane(problem, vectors, inputs, resolution)


def with_bulk(
    extras: Extras, operator: ProblemOperator, pairs: Eigenpairs, seed: int, clock: Clock
) -> Extras:
    """With the spectrum's trace and density, unless that is interrupted."""
    try:
        bulk = estimate_bulk(operator, pairs, seed=seed, progress=clock.bulk)
    except KeyboardInterrupt:
        return replace(
            extras,
            interrupted="the bulk was estimated: it is missing, and so is what was to follow",
        )
    return replace(extras, bulk=bulk)


def with_margins(
    extras: Extras,
    problem: Problem,
    pairs: Eigenpairs,
    aligned: Alignment,
    geometry: Geometry,
    seed: int,
    clock: Clock,
) -> Extras:
    """With the sections and the smallest margin, unless that is interrupted."""
    cosines = aligned.cosines.cpu().double().numpy()
    n_points, budget = _searched(problem, *cosines.shape)
    try:
        sections = sections_of(
            problem,
            pairs.vectors.cpu().numpy(),
            pairs.values.cpu().double().numpy(),
            pairs.converged.cpu().numpy(),
            cosines,
            geometry=geometry,
            n_points=n_points,
            seed=seed,
            progress=clock.progress or (lambda stage, done, total: None),
        )
        smallest = smallest_of(problem, cosines, geometry=geometry, budget=budget, seed=seed)
    except KeyboardInterrupt:
        return replace(extras, interrupted="margins were searched for: they are missing")
    except InvalidInputError as error:  # no reason to lose the eigenvectors
        return replace(extras, notes=(*extras.notes, f"Margins are missing: {error}"))
    return replace(
        extras,
        sections=sections,
        smallest_margin=smallest,
        notes=(*extras.notes, *_fewer(problem, cosines, n_points, budget)),
    )


def _searched(problem: Problem, n: int, k: int) -> tuple[int, int]:
    """Boundary points to sample, and samples whose distance is searched for."""
    by_work = max(_LEAST_POINTS, int(_POINTS_FLOPS / (_POINT_PASSES * max(problem.flops, 1))))
    n_points = problem.inputs_at_most(min(_BOUNDARY_POINTS, by_work))
    examined = max(2, int(_SEARCH_FLOPS / (_SEARCH_PASSES * max(problem.flops, 1))))
    return n_points, min(most_examined(n, k), examined)


def _fewer(problem: Problem, cosines: NDArray[Any], n_points: int, budget: int) -> tuple[str, ...]:
    """A note, where the network is too large for the usual searches."""
    usual = most_examined(*cosines.shape)
    walks, most = affordable_walks(problem.flops), affordable_walks(0)
    rounds = affordable_rounds(problem.flops)
    said = [
        f"{what} from {some}, not {usually}"
        for what, some, usually in (
            ("the smallest margin", f"{budget} samples", usual),
            ("sections are told", f"{n_points} points of the boundary", _BOUNDARY_POINTS),
            ("distances", f"{walks} walks", most),
            ("boundary points x_b", f"{rounds} rounds", affordable_rounds(0)),
        )
        if not some.startswith(f"{usually} ")
    ]
    why = "for the network's size or the memory limit"
    return (f"Less was searched than is usual, {why}: {', '.join(said)}.",) if said else ()


def with_planes(extras: Extras, problem: Problem, vectors: Tensor, resolution: int) -> Extras:
    """With the planes of the top sections, unless that is interrupted or would take too long."""
    assert extras.sections is not None
    affordable = int((_PLANE_FLOPS / (_PLANE_PASSES * max(problem.flops, 1))) ** 0.5)
    if resolution and affordable < _LEAST_RESOLUTION:
        note = "Planes of so large a network are not evaluated here; eb.input_plane does it."
        return replace(extras, notes=(*extras.notes, note))
    resolution = min(resolution, affordable)
    try:
        planes = planes_of_sections(problem, extras.sections, vectors, resolution)
    except KeyboardInterrupt:
        return replace(extras, interrupted="planes were evaluated: they are missing")
    return replace(extras, planes=planes)
