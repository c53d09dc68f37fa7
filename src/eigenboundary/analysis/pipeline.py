"""The main job in one call: curvature, eigenpairs, alignment, complexity."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eigenboundary.alignment.reinforcing_gradients import training_alignment
from eigenboundary.analysis.result import Analysis
from eigenboundary.analysis.settings import Settings, target_of
from eigenboundary.analysis.stages import (
    Clock,
    Extras,
    ProgressReport,
    assemble,
    plane_of,
    with_bulk,
    with_margins,
    with_planes,
)
from eigenboundary.boundary.arguments import check_has_boundary
from eigenboundary.boundary.search.norms import Geometry, as_box
from eigenboundary.curvature import CURVATURES, Eigenpairs, top_eigenpairs
from eigenboundary.curvature.eigensolvers.krylov import INTERRUPTED
from eigenboundary.curvature.eigensolvers.solve import as_start, check_k
from eigenboundary.curvature.operators.hessian import ProblemOperator
from eigenboundary.curvature.spectrum.controls import control_vectors
from eigenboundary.problem.losses import Loss, PerSampleLoss
from eigenboundary.problem.module import check_model, count_parameters
from eigenboundary.problem.problem import Problem, with_data
from eigenboundary.runtime.arguments import check_flag, check_progress
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.interrupts import deferred_interrupts
from eigenboundary.runtime.memory import as_bytes
from eigenboundary.runtime.precision import full_precision
from eigenboundary.runtime.processes import current
from eigenboundary.runtime.random_state import preserved_random_state

_log = logging.getLogger(__name__)

# Eigenvalues to know beyond the k asked for, so that outliers can be told from the bulk.
_GUARD = 10
_SPECTRUM = 20
_KEPT_INPUTS = 2000


@full_precision()
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
    memory_limit: int | str | None = None,
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
        See :class:`~eigenboundary.Problem`, also for ``output``, ``parameters``, ``batch_size``,
        ``cache_bytes`` and ``memory_limit``.
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
        1,000 + 5k + 9 inputs more, and 3 · 60² · (C + 5) numbers for its planes. For networks of
        more than about 10⁸ operations an input fewer points and samples are looked at, with a note.
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
    target = target_of(complexity_tolerance, epsilon, k)
    settings = Settings(
        k, curvature, method, tolerance, max_products, target, controls, grid, bulk, seed
    )
    processes.agree(settings.check)
    processes.agree(lambda: _check_call(model, data, k, parameters, margins, progress))
    processes.agree(lambda: as_bytes(memory_limit))
    geometry = processes.agree(lambda: Geometry(box=as_box(box)))
    clock = Clock(progress if processes.rank == 0 else None)
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
                memory_limit=memory_limit,
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


def _check_call(
    model: Any, data: Any, k: int | None, parameters: Any, margins: Any, progress: Any
) -> None:
    check_flag(margins, "margins")
    check_progress(progress)
    check_model(model)
    if not isinstance(data, tuple | list):  # reading all of a loader may take long
        check_k(k, count_parameters(model, parameters))


@dataclass(frozen=True)
class _Job:
    """What is computed once the data have been read."""

    problem: Problem
    operator: ProblemOperator
    settings: Settings
    clock: Clock

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
            controls, notes = ({}, ()) if interrupted else self._controls(len(pairs.values))
        with clock.stage("pictures"):
            inputs, indices = problem.training_inputs(problem.inputs_at_most(_KEPT_INPUTS))
            extras = Extras(
                inputs,
                indices,
                plane_of(problem, pairs.vectors, inputs, grid),
                controls,
                test_accuracy=test_accuracy,
                computed=self._computed(),
                notes=notes,
            )
        seed = self.settings.seed
        if self.settings.bulk and not interrupted:
            with clock.stage("bulk"):
                extras = with_bulk(extras, self.operator, pairs, seed, clock)
        if geometry is not None and not (interrupted or extras.interrupted):
            with clock.stage("margins"):
                extras = with_margins(extras, problem, pairs, aligned, geometry, seed, clock)
        if extras.sections is not None:
            with clock.stage("planes"):
                extras = with_planes(extras, problem, pairs.vectors, grid)
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
                "k",
                "be a number where no eigenpair is known not to be null",
                because="in this precision the loss has none (dtype='float64' may see some)",
            )
        return pairs

    def _controls(self, k: int) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Their alignments by name, and what keeps others from being known."""
        result, notes = {}, []
        for kind in self.settings.controls:
            try:
                vectors = control_vectors(self.operator, kind, k, seed=self.settings.seed)
            except InvalidInputError as error:  # no reason to lose the eigenvectors
                notes.append(f"Control directions are missing: {error}")
                continue
            cosines = training_alignment(self.problem, vectors).cosines
            result[kind] = cosines.cpu().double().numpy()
        return result, tuple(notes)

    def _computed(self) -> str:
        count = self.problem.processes.count
        return f"{self.operator.record}{f', in each of {count} processes' if count > 1 else ''}"


def _start_vectors(start: Analysis | Any, problem: Problem) -> Tensor | None:
    if start is None:
        return None
    vectors = np.array(start.eigenvectors) if isinstance(start, Analysis) else start
    return as_start(vectors, problem.n_parameters).to(problem.device, problem.dtype)


def _accuracy(problem: Problem, test_data: Any) -> float:
    """Of samples not trained on, which are looked at once."""
    try:
        return with_data(problem, test_data).accuracy
    except InvalidInputError as error:
        raise error.renamed(error.name.replace("data", "test_data", 1)) from error
