"""An analysis put together from what was computed, with the notes a reader should know."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eigenboundary.alignments import Alignment
from eigenboundary.analysis import Analysis, Provenance
from eigenboundary.boundary.planes import InputPlane
from eigenboundary.boundary.sections import BoundarySections
from eigenboundary.boundary.smallest import SmallestMargin
from eigenboundary.curvature import Eigenpairs
from eigenboundary.curvature.bulk import Bulk
from eigenboundary.curvature.krylov import INTERRUPTED
from eigenboundary.grid import PlaneGrid
from eigenboundary.outliers import count_outliers
from eigenboundary.perturbation import alignment_errors
from eigenboundary.problem import Problem
from eigenboundary.version import __version__

__all__ = ["Extras", "assemble"]


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
