"""An analysis in the making: each stage adds what it has computed."""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.alignment.complexity import Complexity
from eigenboundary.alignment.error_bounds import alignment_errors
from eigenboundary.alignment.reinforcing_gradients import Alignment, training_alignment
from eigenboundary.analysis.enough import (
    affordable_number,
    enough_of,
    hardly_more,
    wanted_number,
    what_is_missing,
)
from eigenboundary.analysis.margins import find_margins, find_planes, note_on_budget
from eigenboundary.analysis.provenance import Provenance
from eigenboundary.analysis.result import Analysis
from eigenboundary.analysis.settings import Settings
from eigenboundary.boundary.area import affordable_segments, boundary_area
from eigenboundary.boundary.complexity import complexity_and_gradients
from eigenboundary.boundary.planes import plane_of_inputs
from eigenboundary.boundary.rank import BoundaryGradients
from eigenboundary.boundary.search.norms import Geometry
from eigenboundary.boundary.sections import Directions
from eigenboundary.curvature.eigensolvers.eigenpairs import Eigenpairs
from eigenboundary.curvature.eigensolvers.outcome import Outcome
from eigenboundary.curvature.eigensolvers.range_finder import Enough
from eigenboundary.curvature.eigensolvers.solve import top_eigenpairs
from eigenboundary.curvature.operators.hessian import ProblemOperator
from eigenboundary.curvature.spectrum.bulk import estimate_bulk
from eigenboundary.curvature.spectrum.controls import control_vectors
from eigenboundary.curvature.spectrum.norm import spectral_norm
from eigenboundary.curvature.spectrum.outliers import OutlierCount, count_outliers
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.formats import percent
from eigenboundary.runtime.version import __version__

_log = logging.getLogger(__name__)

#: Called with (stage, done, total); the total may grow.
ProgressReport = Callable[[str, int, int], None]

# Eigenvalues to know beyond the k asked for, so that the outliers end among them.
_GUARD = 10
_SPECTRUM = 20
# Size of the functional Hessian, relative to λ₁, from which outliers say little.
_SAYS_LITTLE = 0.03
_KEPT_INPUTS = 2000
# Rounding of eigenvalues, relative to the largest, below which they are null.
_NULL = 1e2


class Builder:
    """The stages that compute the fields of an analysis, each timed.

    Ctrl-C in a stage leaves what is known by then, with a note of what is missing.
    """

    def __init__(self, settings: Settings, progress: ProgressReport | None) -> None:
        self.settings = settings
        self.progress = progress
        self.fields: dict[str, Any] = {}
        self.notes: list[str] = []
        self.seconds: dict[str, float] = {}
        self.interrupted = False
        self.pairs: Eigenpairs
        self.products = 0  # of all searches for eigenpairs
        self.norm: tuple[float, float] | None = None  # of the functional Hessian, with its residual
        self.gradients: BoundaryGradients | None = None
        self.shares: NDArray[np.float64] = np.zeros(0)  # of gradients that eigenvectors hold

    def _report(self, stage: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(stage, done, total)

    def build(
        self,
        problem: Problem,
        operator: ProblemOperator,
        rest: ProblemOperator,
        start: Tensor | None,
        geometry: Geometry | None,
    ) -> Analysis:
        """Compute everything asked for; margins where there is a geometry for them.

        ``rest`` is the functional Hessian, the part of the Hessian that G lacks.
        """
        settings = self.settings
        self._describe(problem)
        with self.stage("eigenpairs"):
            self.pairs = self._first_eigenpairs(problem, operator, start)
        self.interrupted = self.pairs.outcome is Outcome.INTERRUPTED
        if not self.interrupted:
            with self.stage("outliers", "outliers were counted: they are missing"):
                self._functional_norm(rest)
        self.fields["outlier_count"] = self._count_outliers(problem, self.pairs)
        if not self.interrupted:
            doing = "the boundary's area was measured: it is missing, as is its complexity"
            with self.stage("area", doing):
                self._area(problem)
        if not self.interrupted:
            doing = "the boundary's complexity was computed: it is missing"
            with self.stage("boundary", doing):
                self._boundary(problem)
        if not self.interrupted:
            with self.stage("encoded", "what eigenvectors hold of the boundary was computed"):
                self._adopt(problem, self.pairs)
                if settings.automatic and settings.target is None:
                    self._grow(problem, operator)
        pairs = self.pairs
        self._note_on_outliers(pairs)
        with self.stage("alignment"):
            directions = self._align(problem, pairs)
        with self.stage("pictures"):
            self._pictures(problem, pairs)
        if settings.controls and not self.interrupted:
            with self.stage("controls", "control directions were computed: they are missing"):
                self._controls(problem, operator, directions)
        if settings.bulk and not self.interrupted:
            with self.stage("bulk", "the bulk was estimated: it is missing, as all that follows"):
                self._bulk(operator, pairs)
        if geometry is not None and not self.interrupted:
            with self.stage("margins", "margins were searched for: they are missing"):
                self._margins(problem, directions, geometry)
        if "sections" in self.fields and not self.interrupted:
            with self.stage("planes", "planes were evaluated: they are missing"):
                found, grid = self.fields["sections"], settings.grid
                planes, notes = find_planes(problem, found, directions.vectors, grid)
                self.fields["planes"] = planes
                self.notes += notes
        if settings.target is not None:
            cosines, errors = self.fields["training_alignment"], self.fields["alignment_errors"]
            complexity = Complexity(cosines, problem.n_parameters, errors)
            self.notes += settings.target.missed_by(complexity, problem.dtype)
        provenance = self._provenance(problem, operator, pairs)
        return Analysis(**self.fields, notes=tuple(self.notes), provenance=provenance)

    @contextmanager
    def stage(self, name: str, doing: str = "") -> Iterator[None]:
        """Time a stage and report it; Ctrl-C ends one that can be left out, with a note."""
        began = time.perf_counter()
        self._report(name, 0, 1)
        try:
            yield
        except KeyboardInterrupt:
            if not doing:
                raise
            self.interrupted = True
            self.notes.append(f"Interrupted while {doing}.")
        self.seconds[name] = time.perf_counter() - began
        self._report(name, 1, 1)
        _log.info("%s: %.2f s", name, self.seconds[name])

    # ----------------------------------------------------------------------------- the stages

    def _describe(self, problem: Problem) -> None:
        numbers = ("loss_value", "accuracy", "n_parameters", "n_samples")
        for name in (*numbers, "parameter_names", "signature"):
            self.fields[name] = getattr(problem, name)
        for name in ("curvature", "class_names", "feature_names"):
            self.fields[name] = getattr(self.settings, name)
        self.fields |= {"loss": problem.loss.name, "labels": _numpy(problem.labels)}
        self.fields["predictions"] = _numpy(problem.predictions)
        self.notes += problem.notes
        layout = problem.signature.layout
        if layout is not None and layout.several:
            self.notes.append(f"An input holds several tensors, one after the other: {layout}.")

    def _first_eigenpairs(
        self, problem: Problem, operator: ProblemOperator, start: Tensor | None
    ) -> Eigenpairs:
        settings, target = self.settings, self.settings.target
        k = None if target else settings.k
        enough = target.enough(problem) if target else None
        pairs = self._eigenpairs(operator, k, start, settings.max_products, enough)
        if not len(pairs.values):
            wanted = "be a number where no eigenpair is known not to be null"
            because = "in this precision the loss has none (dtype='float64' may see some)"
            raise InvalidInputError("k", wanted, because=because)
        return pairs

    def _eigenpairs(
        self,
        operator: ProblemOperator,
        k: int | None,
        start: Tensor | None,
        max_products: int | None,
        enough: Enough | None = None,
    ) -> Eigenpairs:
        settings = self.settings
        pairs = top_eigenpairs(
            operator,
            k,
            method=settings.method,
            tolerance=settings.tolerance,
            guard=max(_GUARD, _SPECTRUM - (k or _SPECTRUM)),
            max_products=max_products,
            start=start,
            seed=settings.seed,
            progress=self._eigenpairs_found,
            enough=enough,
        )
        self.products += pairs.products
        return pairs

    def _keep(self, pairs: Eigenpairs) -> None:
        """Keep the eigenpairs as fields of the analysis."""
        self.fields |= {
            "eigenvalues": _numpy(pairs.values),
            "residuals": _numpy(pairs.residuals),
            "converged": _numpy(pairs.converged),
            "eigenvectors": _numpy(pairs.vectors),
            "vector_errors": _numpy(pairs.vector_errors),
            "next_eigenvalues": _numpy(pairs.next_values),
        }

    def _functional_norm(self, rest: ProblemOperator) -> None:
        """Compute the norm of the functional Hessian, and its residual."""
        self.norm = spectral_norm(rest, seed=self.settings.seed)
        rest.forget()

    def _count_outliers(self, problem: Problem, pairs: Eigenpairs) -> OutlierCount:
        """Count the eigenvalues that the functional Hessian cannot have made."""
        p = problem.n_parameters
        found = OutlierCount(0, (0, p), math.nan, False)
        if self.norm is not None:
            norm, residual = self.norm
            noise = float(pairs.residuals.max()) * pairs.scale
            norm = max(norm, noise)  # where H = G, eigenvalues of zero are not outliers
            values, uncertainty = _numpy(pairs.all_values), residual + noise
            found = count_outliers(values, norm, size=p, uncertainty=uncertainty)
        return found

    def _note_on_outliers(self, pairs: Eigenpairs) -> None:
        norm, largest = self.fields["outlier_count"].threshold, float(pairs.values[0])
        if norm > _SAYS_LITTLE * largest > 0:
            self.notes.append(
                f"The functional Hessian has {percent(norm / largest)} of the largest eigenvalue: "
                "the number of outliers says little here."
            )

    def _eigenpairs_found(self, converged: int, wanted: int, products: int) -> None:
        _log.debug("eigenpairs: %d of %d after %d products", converged, wanted, products)
        self._report("eigenpairs", converged, wanted)

    def _grow(self, problem: Problem, operator: ProblemOperator) -> None:
        """Compute more eigenpairs until they are enough, or no more can be had."""
        direct = self.pairs.method in ("dense", "gram")  # which take as long for any number
        while self.pairs.converged.all():
            k, shares = len(self.pairs.values), self.shares
            outliers = self.fields["outlier_count"].count
            wanted = wanted_number(shares, self._best, outliers)
            most = affordable_number(problem, operator, k, self.products)
            if wanted <= k:
                return
            if most <= k:
                break
            found = self._more(operator, most if direct else min(wanted, most))
            if found is None:
                return
            # Null vectors are arbitrary.
            known = int((found.values > _NULL * torch.finfo(problem.dtype).eps * found.scale).sum())
            if direct:
                of_all = self._shares(problem, found)
                known = min(known, enough_of(of_all, self._count_outliers(problem, found).count))
            self._adopt(problem, found.first(max(k, known)))
            outliers = self.fields["outlier_count"].count
            in_vain = outliers <= len(self.shares) and hardly_more(shares[-1], self.shares[-1])
            if known < min(wanted, most) or in_vain:
                break
        outliers = self.fields["outlier_count"].count
        of_what = "the samples'" if self.gradients is None else "the boundary's"
        self.notes += what_is_missing(self.shares, of_what, outliers)

    def _more(self, operator: ProblemOperator, k: int) -> Eigenpairs | None:
        """Return more eigenpairs; None, with a note, where they do not converge."""
        most = self.settings.max_products
        left = None if most is None else most - self.products
        found = None
        if left is None or left > 0:
            found = self._eigenpairs(operator, k, self.pairs.vectors, left)
            if found.outcome is Outcome.INTERRUPTED:
                raise KeyboardInterrupt
        if found is None or not found.converged.all():
            why = "max_products was reached" if found is None else found.message
            self.notes.append(f"More eigenvectors were wanted, but did not converge: {why}.")
            return None
        return found

    def _adopt(self, problem: Problem, pairs: Eigenpairs) -> None:
        """Take eigenpairs for those of the analysis, with all that depends on them."""
        outliers, shares = self._count_outliers(problem, pairs), self._shares(problem, pairs)
        self.pairs, self.shares, self.fields["outlier_count"] = pairs, shares, outliers
        found = self.fields.get("boundary_complexity")
        if found is not None and self.gradients is not None:
            self.fields["boundary_complexity"] = replace(found, encoded=shares)

    def _shares(self, problem: Problem, pairs: Eigenpairs) -> NDArray[np.float64]:
        """Return the share of the boundary's gradients, or of the samples', that pairs hold."""
        if self.gradients is not None:
            return self.gradients.held_by(problem, pairs.vectors)
        cosines = training_alignment(problem, pairs.vectors).cosines.double()
        found: NDArray[np.float64] = _numpy(cosines.square().mean(0).cumsum(0))
        return found

    @property
    def _best(self) -> NDArray[np.float64]:
        """The most of the boundary's gradients that any directions could hold."""
        found = self.fields.get("boundary_complexity")
        return np.zeros(0) if found is None else found.best_of_all

    def _area(self, problem: Problem) -> None:
        seed, segments = self.settings.seed, affordable_segments(problem)
        try:
            area = boundary_area(problem, segments=segments, seed=seed)
        except InvalidInputError as error:  # no reason to lose the eigenvectors
            self.notes.append(f"No boundary to measure: {error}")
            return
        self.fields["boundary_area"] = area

    def _boundary(self, problem: Problem) -> None:
        try:
            found, gradients = complexity_and_gradients(problem, seed=self.settings.seed)
        except InvalidInputError as error:  # no reason to lose the eigenvectors
            self.notes.append(f"The boundary's complexity is missing: {error}")
            return
        self.fields["boundary_complexity"], self.gradients = found, gradients
        if found.n_samples < problem.n_samples:
            self.notes.append(
                f"The boundary's complexity is that of {found.n_samples:,} of the samples."
            )

    def _align(self, problem: Problem, pairs: Eigenpairs) -> Directions:
        self._keep(pairs)
        aligned = training_alignment(problem, pairs.vectors)
        cosines = _numpy(aligned.cosines.double())
        self.fields |= {
            "training_alignment": cosines,
            "alignment_errors": alignment_errors(pairs, cosines),
            "log_gradient_norms": _numpy(aligned.log_norms),
        }
        self._note_on_precision(problem, pairs, aligned)
        found = self.fields
        return Directions(found["eigenvectors"], found["eigenvalues"], found["converged"], cosines)

    def _note_on_precision(self, problem: Problem, pairs: Eigenpairs, aligned: Alignment) -> None:
        vanished = int(torch.isneginf(aligned.log_norms).sum())
        unsure, largest = int((~pairs.converged).sum()), float(pairs.values[0])
        notes = {  # each with whether it holds
            f"{vanished} reinforcing gradients vanish: their alignment is set to 0, and they "
            "count as mass outside.": vanished,
            "The network has an operation without forward-mode derivatives: reverse mode was "
            "used, with the same numbers but more slowly.": problem.network.reverse_only,
            "The largest eigenvalue is not above zero in this precision: the loss has no "
            "curvature left to speak of (dtype='float64' may see more).": (
                largest <= torch.finfo(problem.dtype).tiny
            ),
            f"{unsure} of {len(pairs.converged)} eigenpairs did not converge, or were not checked "
            f"for one that is missing: {pairs.message}.": unsure,
        }
        self.notes += [note for note, holds in notes.items() if holds]

    def _controls(
        self, problem: Problem, operator: ProblemOperator, directions: Directions
    ) -> None:
        found: dict[str, Any] = {}
        self.fields["controls"], k = found, len(directions.values)
        for kind in self.settings.controls:
            try:
                vectors = control_vectors(operator, kind, k, seed=self.settings.seed)
            except InvalidInputError as error:  # no reason to lose the eigenvectors
                self.notes.append(f"Control directions are missing: {error}")
                continue
            found[kind] = _numpy(training_alignment(problem, vectors).cosines.double())

    def _pictures(self, problem: Problem, pairs: Eigenpairs) -> None:
        signature = problem.signature
        inputs, indices = problem.samples.some_inputs(problem.network.inputs_at_most(_KEPT_INPUTS))
        rows = inputs.flatten(1) if signature.layout is None else signature.layout.values(inputs)
        self.fields |= {"inputs": _numpy(rows.float()), "input_indices": _numpy(indices)}
        is_plane = tuple(signature.input_shape) == (2,) and signature.floating_inputs
        if self.settings.grid and is_plane:
            grid = self.settings.grid
            self.fields["grid"] = plane_of_inputs(problem, pairs.vectors, inputs, grid)

    def _bulk(self, operator: ProblemOperator, pairs: Eigenpairs) -> None:
        seed, report = self.settings.seed, partial(self._report, "bulk")
        self.fields["bulk"] = estimate_bulk(operator, pairs, seed=seed, progress=report)

    def _margins(self, problem: Problem, directions: Directions, geometry: Geometry) -> None:
        try:
            found = find_margins(problem, directions, geometry, self.settings.seed, self.progress)
        except InvalidInputError as error:  # no reason to lose the eigenvectors
            self.notes.append(f"Margins are missing: {error}")
            return
        self.fields |= {"sections": found[0], "smallest_margin": found[1]}
        self.notes += note_on_budget(problem, len(directions.values))

    def _provenance(
        self, problem: Problem, operator: ProblemOperator, pairs: Eigenpairs
    ) -> Provenance:
        count = problem.processes.count
        outcome = Outcome.INTERRUPTED if self.interrupted else pairs.outcome
        return Provenance(
            versions={
                "eigenboundary": __version__,
                "torch": str(torch.__version__),
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            seed=self.settings.seed,
            dtype=str(problem.dtype).removeprefix("torch."),
            device=str(problem.device),
            solver=pairs.method,
            reason=pairs.reason,
            tolerance=pairs.tolerance,
            products=self.products,
            seconds={name: round(s, 4) for name, s in self.seconds.items()},
            outcome=outcome,
            message=outcome.text if self.interrupted else pairs.message,
            fingerprint=problem.network.fingerprint(),
            computed=f"{operator.record}{f', in each of {count} processes' if count > 1 else ''}",
        )


def _numpy(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy().copy()
