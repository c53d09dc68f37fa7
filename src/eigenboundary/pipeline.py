"""The main job in one call: curvature, eigenpairs, alignment, complexity."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eigenboundary import checks
from eigenboundary.alignments import Alignment, training_alignment
from eigenboundary.analysis import Analysis
from eigenboundary.assembly import Extras, assemble
from eigenboundary.boundary.classifiers import check_has_boundary
from eigenboundary.boundary.norms import Geometry, as_box
from eigenboundary.boundary.planes import planes_of_sections
from eigenboundary.boundary.sections import sections_of
from eigenboundary.boundary.smallest import most_examined, smallest_of
from eigenboundary.controls import CONTROLS, control_vectors
from eigenboundary.curvature import (
    CURVATURES,
    Eigenpairs,
    top_eigenpairs,
)
from eigenboundary.curvature.bulk import estimate_bulk
from eigenboundary.curvature.krylov import INTERRUPTED
from eigenboundary.curvature.operators import ProblemOperator
from eigenboundary.curvature.solve import METHODS, as_start, check_k
from eigenboundary.data import preserved_random_state
from eigenboundary.errors import InvalidInputError
from eigenboundary.grid import PlaneGrid, evaluate_plane
from eigenboundary.interrupts import deferred_interrupts
from eigenboundary.losses import Loss, PerSampleLoss
from eigenboundary.problem import Problem, with_data
from eigenboundary.processes import current
from eigenboundary.target import Target

__all__ = ["analyze"]

_log = logging.getLogger(__name__)

#: Called with (stage, done, total); the total may grow.
ProgressReport = Callable[[str, int, int], None]

# Eigenvalues to know beyond the k asked for, so that outliers can be told from the bulk.
_GUARD = 10
_SPECTRUM = 20
_KEPT_INPUTS = 2000
_BOUNDARY_POINTS = 1000
_EPSILON = 1e-3


def analyze(
    model: nn.Module,
    data: Any,
    k: int | None = 10,
    curvature: str = "hessian",
    loss: str | PerSampleLoss | Loss = "cross_entropy",
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    *,
    output: Callable[[Any], Tensor] | None = None,
    parameters: str | Sequence[str] | None = None,
    batch_size: int | None = None,
    cache_bytes: int = 2**28,
    method: str = "auto",
    tolerance: float | None = None,
    max_products: int | None = None,
    complexity_tolerance: float | None = None,
    epsilon: float | None = None,
    start: Analysis | Any = None,
    controls: Sequence[str] = (),
    grid: int = 100,
    margins: bool = False,
    bulk: bool = False,
    box: tuple[float, float] | None = None,
    test_data: Any = None,
    progress: ProgressReport | None = None,
) -> Analysis:
    r"""Say what the curvature of a classifier's loss knows about its decision boundary.

    The k sharpest eigenvectors of the loss' curvature are computed and checked, the reinforcing
    gradients of the training samples are aligned with them, and the alignments are counted into
    complexity numbers with their intervals.

    Parameters
    ----------
    model : torch.nn.Module
        A trained classifier. It is left exactly as it was.
    data : (x, y), Dataset or DataLoader
        Its training samples with integer labels. x may be a mapping of named tensors, with which
        ``model(**x)`` is called; see :class:`~eigenboundary.Problem`, also for what transformers
        return.
    k : int or None
        Eigenpairs to compute; None for all that are numerically non-null.
    curvature : {"hessian", "gauss_newton"}
    loss : {"cross_entropy", "nll", "mse"} or callable
        See :class:`~eigenboundary.Problem`, also for ``output``, ``parameters``, ``batch_size``
        and ``cache_bytes``.
    dtype, device : optional
        Precision and place to compute in; default: the model's.
    seed : int
    method, tolerance, max_products
        See :func:`~eigenboundary.top_eigenpairs`.
    complexity_tolerance : float, optional
        Find as many eigenpairs, k at the least, as make the interval of :math:`G_\theta` at
        ``epsilon`` (default 1e-3) no wider than this; 0 closes it. That takes up to
        :math:`p \cdot \text{rank}` numbers in memory, and float64 where eigenvalues below 1e-5 of
        the largest matter. If it cannot be reached, a note says so.
    epsilon : float, optional
        See ``complexity_tolerance``.
    start : Analysis or Tensor (p, j), optional
        An earlier analysis (of the last checkpoint, or an interrupted one) whose eigenvectors the
        search starts from.
    controls : sequence of {"lowest", "random_eigenvectors", "random_directions"}
        Also align the samples with these control directions.
    grid : int
        Points a side of pictures of planes; 0 for none. That of two-dimensional inputs; with
        ``margins`` also, for inputs of more dimensions, those through :math:`x_t^+, x_t^-, x_b` of
        the first three sections, with at most 60 points a side.
    margins : bool
        Also find the sections of the boundary that the eigenvectors encode, their margins and the
        smallest margin (see :func:`~eigenboundary.boundary_sections`). The result then holds about
        1,000 + 5k + 9 inputs more, and 3 · 60² · (C + 5) numbers for its planes.
    bulk : bool
        Also estimate the trace and the distribution of all p eigenvalues, by about 660 more
        products (see :func:`~eigenboundary.estimate_trace`,
        :func:`~eigenboundary.spectral_density`).
    box : (low, high), optional
        Range that every entry of an input has to stay in when margins are searched for.
    test_data : (x, y), Dataset or DataLoader, optional
        Samples not trained on, whose accuracy is noted.
    progress : callable, optional
        Called as ``progress(stage, done, total)``.

    Returns
    -------
    Analysis

    Raises
    ------
    InvalidInputError
        If an argument is not as described; raised before any long computation.

    Notes
    -----
    Ctrl-C while eigenvectors are computed ends the search; the analysis is finished with what was
    found, pairs that have not converged marked as such. ``start=`` takes it up again. Ctrl-C while
    the bulk is estimated or margins are searched for finishes the analysis without them.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 0] > 0).long()
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> analysis = eb.analyze(model, (x, y), k=5)
    >>> analysis.eigenvalues.shape, analysis.training_alignment.shape
    ((5,), (60, 5))
    """
    processes = current()
    target = _target(complexity_tolerance, epsilon, k)
    settings = _Settings(
        k, curvature, method, tolerance, max_products, target, controls, grid, bulk, seed
    )
    processes.agree(settings.check)
    processes.agree(lambda: _check_call(model, data, k, parameters, margins, progress))
    geometry = processes.agree(lambda: Geometry(box=as_box(box)))
    clock = _Clock(progress if processes.rank == 0 else None)
    with preserved_random_state(seed), deferred_interrupts():
        with clock.stage("data"):
            problem = Problem(
                model,
                data,
                loss,
                output=output,
                parameters=parameters,
                device=device,
                dtype=dtype,
                batch_size=batch_size,
                cache_bytes=cache_bytes,
                seed=seed,
            )
        check_k(k, problem.n_parameters)
        if margins:
            check_has_boundary(problem, geometry)
        first = processes.agree(lambda: _start_vectors(start, problem))
        test_accuracy = None if test_data is None else _accuracy(problem, test_data)
        operator = CURVATURES[curvature](problem)
        job = _Job(problem, operator, settings, clock)
        analysis = processes.led(
            lambda: job.analysis(first, geometry if margins else None, test_accuracy),
            problem,
            operator,
        )
    return replace(analysis, classifier=problem)


@dataclass(frozen=True)
class _Settings:
    """What to compute."""

    k: int | None
    curvature: str
    method: str
    tolerance: float | None
    max_products: int | None
    target: Target | None
    controls: Sequence[str]
    grid: int
    bulk: bool
    seed: int

    def check(self) -> None:
        checks.check_flag(self.bulk, "bulk")
        checks.check_choice(self.curvature, "curvature", tuple(CURVATURES))
        checks.check_choice(self.method, "method", METHODS)
        if self.method == "gram" and self.curvature != "gauss_newton":
            raise InvalidInputError("method 'gram' needs curvature 'gauss_newton'; got 'hessian'.")
        checks.check_seed(self.seed)
        checks.check_tolerance(self.tolerance)
        checks.check_positive_integer(self.max_products, "max_products", optional=True)
        checks.check_positive_integer(self.k, "k", optional=True)
        if self.target is not None:
            self.target.check()
            if self.method == "krylov":
                raise InvalidInputError(
                    "method must be 'auto' or 'range' with complexity_tolerance; got 'krylov'."
                )
        if not isinstance(self.controls, list | tuple | set):
            raise InvalidInputError(f"controls must be a sequence of names; got {self.controls!r}.")
        for kind in self.controls:
            checks.check_choice(kind, "controls", CONTROLS)
        grid = self.grid
        if not isinstance(grid, int) or isinstance(grid, bool) or grid < 0 or grid == 1:
            raise InvalidInputError(f"grid must be 0 or an integer of at least 2; got {grid!r}.")


def _target(width: float | None, epsilon: float | None, k: int | None) -> Target | None:
    if width is None:
        if epsilon is not None:
            raise InvalidInputError(
                f"complexity_tolerance must be given with epsilon; got epsilon={epsilon!r} alone."
            )
        return None
    return Target(_EPSILON if epsilon is None else epsilon, width, k or 1)


def _check_call(
    model: Any, data: Any, k: int | None, parameters: Any, margins: Any, progress: Any
) -> None:
    checks.check_flag(margins, "margins")
    checks.check_progress(progress)
    checks.check_model(model)
    if not isinstance(data, tuple | list):  # reading all of a loader may take long
        check_k(k, checks.count_parameters(model, parameters))


@dataclass(frozen=True)
class _Job:
    """What is computed once the data have been read."""

    problem: Problem
    operator: ProblemOperator
    settings: _Settings
    clock: _Clock

    def analysis(
        self, first: Tensor | None, geometry: Geometry | None, test_accuracy: float | None
    ) -> Analysis:
        """All of it; margins where there is a geometry for them."""
        problem, clock, grid = self.problem, self.clock, self.settings.grid
        with clock.stage("eigenpairs"):
            pairs = self._eigenpairs(first)
        with clock.stage("alignment"):
            aligned = training_alignment(problem, pairs.vectors)
        interrupted = pairs.message == INTERRUPTED
        with clock.stage("controls"):
            controls = {} if interrupted else self._controls(len(pairs.values))
        with clock.stage("pictures"):
            inputs, indices = problem.training_inputs(_KEPT_INPUTS)
            extras = Extras(
                inputs,
                indices,
                _plane(problem, pairs.vectors, inputs, grid),
                controls,
                test_accuracy=test_accuracy,
                computed=self._computed(),
            )
        seed = self.settings.seed
        if self.settings.bulk and not interrupted:
            with clock.stage("bulk"):
                extras = _with_bulk(extras, self.operator, pairs, seed, clock)
        if geometry is not None and not (interrupted or extras.interrupted):
            with clock.stage("margins"):
                extras = _with_margins(extras, problem, pairs, aligned, geometry, seed, clock)
        if extras.sections is not None:
            with clock.stage("planes"):
                extras = _with_planes(extras, problem, pairs.vectors, grid)
        curvature = self.settings.curvature
        analysis = assemble(problem, pairs, aligned, curvature, extras, clock.seconds, seed)
        return self._said(analysis)

    def _said(self, analysis: Analysis) -> Analysis:
        """With a note, if G_θ is not as sure as asked."""
        target = self.settings.target
        if target is None:
            return analysis
        found = analysis.complexity.generalization(target.epsilon)
        if target.reached(found):
            return analysis
        low, high = found.interval
        note = (
            f"The interval of G_θ at {target.epsilon:g}, {low:.3g} to {high:.3g}, is wider than "
            f"the {target.width:g} asked for{self._why()}."
        )
        _log.warning("%s", note)
        return replace(analysis, notes=(*analysis.notes, note))

    def _why(self) -> str:
        return "" if self.problem.dtype == torch.float64 else " (dtype='float64' may see more)"

    def _eigenpairs(self, first: Tensor | None) -> Eigenpairs:
        settings, target = self.settings, self.settings.target
        pairs = top_eigenpairs(
            self.operator,
            None if target else settings.k,
            method=settings.method,
            tolerance=settings.tolerance,
            guard=max(_GUARD, _SPECTRUM - (settings.k or _SPECTRUM)),
            max_products=settings.max_products,
            start=first,
            seed=settings.seed,
            progress=self.clock.eigenpairs,
            enough=target.enough(self.problem) if target else None,
        )
        if not len(pairs.values):
            raise InvalidInputError(
                "k=None asks for all eigenpairs that are not null; in this precision the loss has "
                "none (dtype='float64' may see some)."
            )
        return pairs

    def _controls(self, k: int) -> dict[str, Any]:
        result = {}
        for kind in self.settings.controls:
            vectors = control_vectors(self.operator, kind, k, seed=self.settings.seed)
            cosines = training_alignment(self.problem, vectors).cosines
            result[kind] = cosines.cpu().double().numpy()
        return result

    def _computed(self) -> str:
        count = self.problem.processes.count
        return f"{self.operator.record}{f', in each of {count} processes' if count > 1 else ''}"


class _Clock:
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


def _start_vectors(start: Analysis | Any, problem: Problem) -> Tensor | None:
    if start is None:
        return None
    vectors = np.array(start.eigenvectors) if isinstance(start, Analysis) else start
    return as_start(vectors, problem.n_parameters).to(problem.device, problem.dtype)


def _plane(problem: Problem, vectors: Tensor, inputs: Tensor, resolution: int) -> PlaneGrid | None:
    is_plane = tuple(problem.input_shape) == (2,) and problem.floating_inputs
    if not resolution or not is_plane:
        return None
    return evaluate_plane(problem, vectors, inputs, resolution)


def _accuracy(problem: Problem, test_data: Any) -> float:
    """Of samples not trained on, which are looked at once."""
    try:
        return with_data(problem, test_data).accuracy
    except InvalidInputError as error:
        raise InvalidInputError(str(error).replace("data ", "test_data ", 1)) from error


def _with_bulk(
    extras: Extras, operator: ProblemOperator, pairs: Eigenpairs, seed: int, clock: _Clock
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


def _with_margins(
    extras: Extras,
    problem: Problem,
    pairs: Eigenpairs,
    aligned: Alignment,
    geometry: Geometry,
    seed: int,
    clock: _Clock,
) -> Extras:
    """With the sections and the smallest margin, unless that is interrupted."""
    cosines = aligned.cosines.cpu().double().numpy()
    budget = most_examined(*cosines.shape)
    try:
        sections = sections_of(
            problem,
            pairs.vectors.cpu().numpy(),
            pairs.values.cpu().double().numpy(),
            pairs.converged.cpu().numpy(),
            cosines,
            geometry=geometry,
            n_points=_BOUNDARY_POINTS,
            seed=seed,
            progress=clock.progress or (lambda stage, done, total: None),
        )
        smallest = smallest_of(problem, cosines, geometry=geometry, budget=budget, seed=seed)
    except KeyboardInterrupt:
        return replace(extras, interrupted="margins were searched for: they are missing")
    except InvalidInputError as error:  # no reason to lose the eigenvectors
        return replace(extras, notes=(f"Margins are missing: {error}",))
    return replace(extras, sections=sections, smallest_margin=smallest)


def _with_planes(extras: Extras, problem: Problem, vectors: Tensor, resolution: int) -> Extras:
    """With the planes of the top sections, unless that is interrupted."""
    assert extras.sections is not None
    try:
        planes = planes_of_sections(problem, extras.sections, vectors, resolution)
    except KeyboardInterrupt:
        return replace(extras, interrupted="planes were evaluated: they are missing")
    return replace(extras, planes=planes)
