"""The main job in one call: curvature, eigenpairs, alignment, complexity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from eigenboundary.analysis.builder import Builder, ProgressReport
from eigenboundary.analysis.result import Analysis
from eigenboundary.analysis.settings import Settings
from eigenboundary.boundary.arguments import check_has_boundary
from eigenboundary.boundary.search.norms import Geometry, as_box
from eigenboundary.curvature.eigensolvers.solve import as_start, check_k
from eigenboundary.curvature.operators.hessian import CURVATURES, FunctionalHessianOperator
from eigenboundary.problem.losses import Loss, PerSampleLoss
from eigenboundary.problem.module import check_model, count_parameters
from eigenboundary.problem.problem import OPTIONS, Model, Problem, as_problem
from eigenboundary.runtime.arguments import check_flag, check_progress
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.interrupts import deferred_interrupts
from eigenboundary.runtime.memory import as_bytes
from eigenboundary.runtime.precision import full_precision
from eigenboundary.runtime.processes import current
from eigenboundary.runtime.random_state import preserved_random_state


@full_precision()
def analyze(
    model: Model,
    data: Any = None,
    k: int | Literal["auto", "all"] | None = "auto",
    *,
    curvature: str = "hessian",
    loss: str | PerSampleLoss | Loss | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    output: Callable[[Any], Tensor] | None = None,
    parameters: str | Sequence[str] | None = None,
    batch_size: int | None = None,
    cache_bytes: int | None = None,
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
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    seed: int = 0,
    progress: ProgressReport | None = None,
) -> Analysis:
    r"""Say what the curvature of a classifier's loss knows about its decision boundary.

    The k sharpest eigenvectors of the loss' curvature are computed and checked, the reinforcing
    gradients of the training samples are aligned with them, and the alignments are counted into
    complexity numbers with their intervals.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        A trained classifier, left exactly as it was, or what has one with its samples.
    data : (x, y), Dataset or DataLoader
        Training samples of a module, with integer labels. x may be a mapping of named tensors,
        with which ``model(**x)`` is called; see :class:`~eigenboundary.Problem`, also for what
        transformers return.
    k : int, "auto" or "all"
        Eigenpairs to compute; "all" (or None) for all that are numerically non-null. "auto"
        computes 10, and more until the outliers are all in and 90 % of the boundary's gradients are
        held; a note says where they are not: where work, memory or 160 of them ended that before,
        or twice as many held hardly more. With ``complexity_tolerance`` it stands for 10.
    curvature : {"hessian", "gauss_newton"}
    loss : {"cross_entropy", "nll", "mse"} or callable, optional
        Default: "cross_entropy". See :class:`~eigenboundary.Problem`, also for ``output``,
        ``parameters``, ``batch_size``, ``cache_bytes`` and ``memory_limit``.
    dtype, device : optional
        Precision and device to compute in; default: those of the model.
    class_names, feature_names : sequence of str, optional
        Names of the C classes and of the entries of an input, for tables and pictures.
    seed : int
        Seeds everything that is random.
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
        Points a side of pictures of planes; 0 for none. Two-dimensional inputs have one plane;
        with ``margins``, inputs of more dimensions have the planes through
        :math:`x_t^+, x_t^-, x_b` of the first three sections, with at most 60 points a side.
    margins : bool
        Also find the sections of the boundary that the first 20 eigenvectors encode, their margins,
        and the margins of samples (see :func:`~eigenboundary.boundary_sections`). The result then
        holds about 1,000 + 5k + 9 inputs more, and 3 · 60² · (C + 5) numbers for its planes. For
        networks of more than about 10⁸ operations an input fewer points and samples are looked at,
        with a note.
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
    asked = dict(locals())  # each option by its name
    processes = current()
    settings = processes.agree(lambda: Settings.of(asked))
    fixed = None if settings.automatic else settings.k
    processes.agree(lambda: _check_call(model, data, fixed, parameters, margins, progress))
    processes.agree(lambda: as_bytes(memory_limit))
    geometry = processes.agree(lambda: Geometry(box=as_box(box)))
    builder = Builder(settings, progress if processes.rank == 0 else None)
    with preserved_random_state(seed), deferred_interrupts():
        with builder.stage("data"):
            problem = as_problem(model, data, **{name: asked[name] for name in OPTIONS})
        settings = settings.for_parameters(problem.n_parameters)
        builder.settings = settings
        processes.agree(lambda: settings.check_names(problem.signature))
        if margins:
            check_has_boundary(problem, geometry)
        first = processes.agree(lambda: _start_vectors(start, problem))
        tested = {} if test_data is None else _tested(problem, test_data)
        operator, rest = CURVATURES[curvature](problem), FunctionalHessianOperator(problem)
        job = partial(builder.build, problem, operator, rest, first, geometry if margins else None)
        analysis = processes.led(job, problem, operator, rest)
    return replace(analysis, **tested, attached=problem)


def _check_call(
    model: Any, data: Any, k: int | None, parameters: Any, margins: Any, progress: Any
) -> None:
    check_flag(margins, "margins")
    check_progress(progress)
    if not isinstance(model, nn.Module):
        return
    check_model(model)
    if not isinstance(data, tuple | list):  # reading all of a loader may take long
        check_k(k, count_parameters(model, parameters))


def _start_vectors(start: Analysis | Any, problem: Problem) -> Tensor | None:
    if start is None:
        return None
    vectors = start.eigenvectors if isinstance(start, Analysis) else start
    return as_start(vectors, problem.n_parameters).to(problem.device, problem.dtype)


def _tested(problem: Problem, test_data: Any) -> dict[str, Any]:
    """Return accuracy and number of samples not trained on, which are looked at once."""
    try:
        tested = problem.with_data(test_data)
        return {"test_accuracy": tested.accuracy, "n_test_samples": tested.n_samples}
    except InvalidInputError as error:
        raise error.renamed(error.name.replace("data", "test_data", 1)) from error
