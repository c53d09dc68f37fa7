"""The main job in one call: curvature, eigenpairs, alignment, complexity."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eigenboundary import checks
from eigenboundary.alignments import Alignment, training_alignment
from eigenboundary.analysis import Analysis, Provenance
from eigenboundary.controls import CONTROLS, control_vectors
from eigenboundary.curvature import (
    CURVATURES,
    Eigenpairs,
    SymmetricOperator,
    top_eigenpairs,
)
from eigenboundary.curvature.krylov import INTERRUPTED
from eigenboundary.curvature.solve import METHODS, as_start, check_k
from eigenboundary.data import preserved_random_state
from eigenboundary.errors import InvalidInputError
from eigenboundary.grid import PlaneGrid, evaluate_plane
from eigenboundary.interrupts import deferred_interrupts
from eigenboundary.losses import Loss, PerSampleLoss
from eigenboundary.outliers import count_outliers
from eigenboundary.problem import Problem
from eigenboundary.version import __version__

__all__ = ["analyze"]

_log = logging.getLogger(__name__)

#: Called with (stage, done, total); the total may grow.
ProgressReport = Callable[[str, int, int], None]

# Eigenvalues to know beyond the k asked for, so that outliers can be told from the bulk.
_GUARD = 10
_SPECTRUM = 20
_KEPT_INPUTS = 2000


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
    start: Analysis | Any = None,
    controls: Sequence[str] = (),
    grid: int = 100,
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
        Its training samples with integer labels.
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
    start : Analysis or Tensor (p, j), optional
        An earlier analysis (of the last checkpoint, or an interrupted one) whose eigenvectors the
        search starts from.
    controls : sequence of {"lowest", "random_eigenvectors", "random_directions"}
        Also align the samples with these control directions.
    grid : int
        Points a side of the picture of the plane, for two-dimensional inputs; 0 for none.
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
    found, pairs that have not converged marked as such. ``start=`` takes it up again.

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
    _check_arguments(k, curvature, seed, method, tolerance, max_products, controls, grid)
    if progress is not None and not callable(progress):
        raise InvalidInputError(
            f"progress must be a function of (stage, done, total); got {progress!r}."
        )
    checks.check_model(model)
    if not isinstance(data, tuple | list):  # reading all of a loader may take long
        check_k(k, checks.count_parameters(model, parameters))
    clock = _Clock(progress)
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
        operator = CURVATURES[curvature](problem)
        with clock.stage("eigenpairs"):
            pairs = top_eigenpairs(
                operator,
                k,
                method=method,
                tolerance=tolerance,
                guard=max(_GUARD, _SPECTRUM - (k or _SPECTRUM)),
                max_products=max_products,
                start=_start_vectors(start, problem),
                seed=seed,
                progress=clock.eigenpairs,
            )
        if not len(pairs.values):
            raise InvalidInputError(
                "k=None asks for all eigenpairs that are not null; in this precision the loss has "
                "none (dtype='float64' may see some)."
            )
        with clock.stage("alignment"):
            aligned = training_alignment(problem, pairs.vectors)
        with clock.stage("controls"):
            kinds = () if pairs.message == INTERRUPTED else controls
            control_alignment = _controls(problem, operator, kinds, len(pairs.values), seed)
        with clock.stage("pictures"):
            inputs, indices = problem.training_inputs(_KEPT_INPUTS)
            plane = _plane(problem, pairs.vectors, inputs, grid)
    return _assemble(
        problem, pairs, aligned, curvature, control_alignment, inputs, indices, plane, clock, seed
    )


def _check_arguments(
    k: Any,
    curvature: Any,
    seed: Any,
    method: Any,
    tolerance: Any,
    max_products: Any,
    controls: Sequence[str],
    grid: Any,
) -> None:
    checks.check_choice(curvature, "curvature", tuple(CURVATURES))
    checks.check_choice(method, "method", METHODS)
    if method == "gram" and curvature != "gauss_newton":
        raise InvalidInputError("method 'gram' needs curvature 'gauss_newton'; got 'hessian'.")
    checks.check_seed(seed)
    checks.check_tolerance(tolerance)
    checks.check_positive_integer(max_products, "max_products", optional=True)
    checks.check_positive_integer(k, "k", optional=True)
    if not isinstance(controls, list | tuple | set):
        raise InvalidInputError(f"controls must be a sequence of names; got {controls!r}.")
    for kind in controls:
        checks.check_choice(kind, "controls", CONTROLS)
    if not isinstance(grid, int) or isinstance(grid, bool) or grid < 0 or grid == 1:
        raise InvalidInputError(f"grid must be 0 or an integer of at least 2; got {grid!r}.")


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

    def eigenpairs(self, converged: int, wanted: int, products: int) -> None:
        _log.debug("eigenpairs: %d of %d after %d products", converged, wanted, products)
        if self.progress is not None:
            self.progress("eigenpairs", converged, wanted)


def _start_vectors(start: Analysis | Any, problem: Problem) -> Tensor | None:
    if start is None:
        return None
    vectors = np.array(start.eigenvectors) if isinstance(start, Analysis) else start
    return as_start(vectors, problem.n_parameters).to(problem.device, problem.dtype)


def _controls(
    problem: Problem, operator: SymmetricOperator, kinds: Sequence[str], k: int, seed: int
) -> dict[str, Any]:
    result = {}
    for kind in kinds:
        vectors = control_vectors(operator, kind, k, seed=seed)
        result[kind] = _numpy(training_alignment(problem, vectors).cosines.double())
    return result


def _plane(problem: Problem, vectors: Tensor, inputs: Tensor, resolution: int) -> PlaneGrid | None:
    is_plane = tuple(problem.input_shape) == (2,) and problem.floating_inputs
    if not resolution or not is_plane:
        return None
    return evaluate_plane(problem, vectors, inputs, resolution)


def _numpy(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy().copy()


def _assemble(
    problem: Problem,
    pairs: Eigenpairs,
    aligned: Alignment,
    curvature: str,
    controls: dict[str, Any],
    inputs: Tensor,
    indices: Tensor,
    plane: PlaneGrid | None,
    clock: _Clock,
    seed: int,
) -> Analysis:
    notes = list(problem.notes)
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
    return Analysis(
        eigenvalues=_numpy(pairs.values),
        residuals=_numpy(pairs.residuals),
        converged=_numpy(pairs.converged),
        eigenvectors=_numpy(pairs.vectors),
        vector_errors=_numpy(pairs.vector_errors),
        next_eigenvalues=_numpy(pairs.next_values),
        training_alignment=_numpy(aligned.cosines.double()),
        log_gradient_norms=_numpy(aligned.log_norms),
        labels=_numpy(problem.labels),
        predictions=_numpy(problem.predictions),
        outlier_count=count_outliers(
            _numpy(pairs.all_values), noise=float(pairs.residuals.max()) * pairs.scale
        ),
        loss_value=problem.loss_value,
        accuracy=problem.accuracy,
        n_parameters=problem.n_parameters,
        n_samples=problem.n_samples,
        n_classes=problem.n_classes,
        curvature=curvature,
        loss=problem.loss.name,
        parameter_names=problem.parameter_names,
        input_shape=tuple(problem.input_shape),
        inputs=_numpy(inputs.flatten(1).float()),
        input_indices=_numpy(indices),
        notes=tuple(notes),
        provenance=_provenance(problem, pairs, clock, seed),
        grid=plane,
        controls=controls,
        classifier=problem,
    )


def _provenance(problem: Problem, pairs: Eigenpairs, clock: _Clock, seed: int) -> Provenance:
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
        seconds={name: round(seconds, 4) for name, seconds in clock.seconds.items()},
        message=pairs.message,
        fingerprint=problem.fingerprint(),
    )
