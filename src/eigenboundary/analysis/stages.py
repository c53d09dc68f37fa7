"""An analysis put together from what was computed, with the notes a reader should know."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.alignment.error_bounds import alignment_errors
from eigenboundary.alignment.reinforcing_gradients import Alignment
from eigenboundary.analysis.provenance import Provenance
from eigenboundary.analysis.result import Analysis
from eigenboundary.boundary.ascent import affordable_rounds
from eigenboundary.boundary.planes import InputPlane, PlaneGrid, evaluate_plane, planes_of_sections
from eigenboundary.boundary.search.annealing import affordable_walks
from eigenboundary.boundary.search.norms import Geometry
from eigenboundary.boundary.sections import BoundarySections, sections_of
from eigenboundary.boundary.smallest_margin import SmallestMargin, most_examined, smallest_of
from eigenboundary.curvature import Eigenpairs
from eigenboundary.curvature.eigensolvers.krylov import INTERRUPTED
from eigenboundary.curvature.operators.hessian import ProblemOperator
from eigenboundary.curvature.spectrum.bulk import Bulk, estimate_bulk
from eigenboundary.curvature.spectrum.outliers import count_outliers
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.version import __version__

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


@dataclass(frozen=True)
class Extras:
    """What an analysis has beside eigenpairs and alignments, each where it was asked for."""

    inputs: Tensor
    indices: Tensor
    plane: PlaneGrid | None = None
    controls: dict[str, Any] = field(default_factory=dict)
    sections: BoundarySections | None = None
    smallest_margin: SmallestMargin | None = None
    planes: tuple[InputPlane, ...] = ()
    test_accuracy: float | None = None
    bulk: Bulk | None = None
    #: What was being done at Ctrl-C, and what is missing since; empty where nothing is.
    interrupted: str = ""
    notes: tuple[str, ...] = ()
    computed: str = ""


def assemble(
    problem: Problem,
    pairs: Eigenpairs,
    aligned: Alignment,
    curvature: str,
    extras: Extras,
    seconds: dict[str, float],
    seed: int,
) -> Analysis:
    """The analysis that all these make, without its network."""
    cosines = _numpy(aligned.cosines.double())
    return Analysis(
        eigenvalues=_numpy(pairs.values),
        residuals=_numpy(pairs.residuals),
        converged=_numpy(pairs.converged),
        eigenvectors=_numpy(pairs.vectors),
        vector_errors=_numpy(pairs.vector_errors),
        next_eigenvalues=_numpy(pairs.next_values),
        training_alignment=cosines,
        alignment_errors=alignment_errors(pairs, cosines),
        log_gradient_norms=_numpy(aligned.log_norms),
        labels=_numpy(problem.labels),
        predictions=_numpy(problem.predictions),
        outlier_count=count_outliers(
            _numpy(pairs.all_values), noise=float(pairs.residuals.max()) * pairs.scale
        ),
        loss_value=problem.loss_value,
        accuracy=problem.accuracy,
        test_accuracy=extras.test_accuracy,
        n_parameters=problem.n_parameters,
        n_samples=problem.n_samples,
        n_classes=problem.n_classes,
        curvature=curvature,
        loss=problem.loss.name,
        parameter_names=problem.parameter_names,
        input_shape=tuple(problem.input_shape),
        inputs=_numpy(_rows(problem, extras.inputs).float()),
        input_indices=_numpy(extras.indices),
        notes=_notes(problem, pairs, aligned, extras),
        provenance=_provenance(problem, pairs, extras, seconds, seed),
        grid=extras.plane,
        controls=extras.controls,
        sections=extras.sections,
        smallest_margin=extras.smallest_margin,
        planes=extras.planes,
        bulk=extras.bulk,
    )


def _notes(
    problem: Problem, pairs: Eigenpairs, aligned: Alignment, extras: Extras
) -> tuple[str, ...]:
    notes = list(problem.notes)
    if problem.layout is not None and problem.layout.several:
        notes.append(f"An input holds several tensors, one after the other: {problem.layout}.")
    vanished = int(torch.isneginf(aligned.log_norms).sum())
    if vanished:
        notes.append(
            f"{vanished} reinforcing gradients vanish: their alignment is set to 0, and they count "
            "as mass outside."
        )
    if problem.reverse_only:
        notes.append(
            "The network has an operation without forward-mode derivatives: reverse mode was used, "
            "with the same numbers but more slowly."
        )
    if not len(pairs.values) or float(pairs.values[0]) <= torch.finfo(problem.dtype).tiny:
        notes.append(
            "The largest eigenvalue is not above zero in this precision: the loss has no curvature "
            "left to speak of (dtype='float64' may see more)."
        )
    if not pairs.converged.all():
        notes.append(
            f"{int((~pairs.converged).sum())} of {len(pairs.converged)} eigenpairs did not "
            "converge, or were not checked for one that is missing"
            f"{': ' + pairs.message if pairs.message else ''}."
        )
    if extras.interrupted:
        notes.append(f"Interrupted while {extras.interrupted}.")
    return (*notes, *extras.notes)


def _provenance(
    problem: Problem, pairs: Eigenpairs, extras: Extras, seconds: dict[str, float], seed: int
) -> Provenance:
    return Provenance(
        versions={
            "eigenboundary": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        seed=seed,
        dtype=str(problem.dtype).removeprefix("torch."),
        device=str(problem.device),
        solver=pairs.method,
        reason=pairs.reason,
        tolerance=pairs.tolerance,
        products=pairs.products,
        seconds={name: round(s, 4) for name, s in seconds.items()},
        message=pairs.message or (INTERRUPTED if extras.interrupted else ""),
        fingerprint=problem.fingerprint(),
        computed=extras.computed,
    )


def _rows(problem: Problem, x: Tensor) -> Tensor:
    """Inputs as rows of numbers."""
    return x.flatten(1) if problem.layout is None else problem.layout.values(x)


def _numpy(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy().copy()


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
