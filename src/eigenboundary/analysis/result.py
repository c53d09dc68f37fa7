"""The result of an analysis: every number, with its provenance, saved and loaded."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import save_file

from eigenboundary.alignment.complexity import Complexity
from eigenboundary.alignment.reinforcing_gradients import alignments
from eigenboundary.analysis.provenance import Provenance
from eigenboundary.analysis.records import (
    bulk_record,
    planes_record,
    sections_record,
    smallest_record,
)
from eigenboundary.boundary.planes import InputPlane, PlaneGrid
from eigenboundary.boundary.sections import WEAK_SIDE, BoundarySections
from eigenboundary.boundary.smallest_margin import SmallestMargin
from eigenboundary.curvature.spectrum.bulk import Bulk
from eigenboundary.curvature.spectrum.outliers import OutlierCount
from eigenboundary.problem.classifier import Classifier
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.files import new_file, replaced_when_complete
from eigenboundary.runtime.hooks import reach

#: Raised by one with every change that an older reader would misread.
FORMAT_VERSION = 2
_KEY = "eigenboundary"
_ARRAYS = (
    "eigenvalues",
    "residuals",
    "converged",
    "eigenvectors",
    "vector_errors",
    "next_eigenvalues",
    "training_alignment",
    "alignment_errors",
    "log_gradient_norms",
    "labels",
    "predictions",
    "inputs",
    "input_indices",
)
_SCALARS = (
    "loss_value",
    "accuracy",
    "n_parameters",
    "n_samples",
    "n_classes",
    "curvature",
    "loss",
    "parameter_names",
    "input_shape",
    "notes",
)
_GRID = tuple(item.name for item in dataclasses.fields(PlaneGrid))


Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Analysis:
    r"""What the curvature of a classifier's loss says about its decision boundary.

    Attributes
    ----------
    eigenvalues : array, shape (k,)
        Largest eigenvalues, descending.
    residuals : array, shape (k,)
        :math:`\|H v_i - \lambda_i v_i\| / |\lambda_1|`.
    converged : array of bool, shape (k,)
    eigenvectors : array, shape (p, k)
    vector_errors : array, shape (k,)
        Bound on the distance of each eigenvector from a true one; 1 where it is not resolved.
    next_eigenvalues : array, shape (g,)
        Estimates of the eigenvalues that follow.
    training_alignment : array, shape (n, k)
        :math:`A_i(x_s)`.
    alignment_errors : array, shape (n, k)
        Bound on the difference of each :math:`|A_i(x_s)|` from that of a true eigenvector.
    log_gradient_norms : array, shape (n,)
        Natural logarithm of :math:`\|g_\theta(x_s)\|`.
    labels, predictions : array of int, shape (n,)
    outlier_count : OutlierCount
    complexity : Complexity
    loss_value, accuracy : float
        Of the analysed samples.
    n_parameters, n_samples, n_classes : int
        p, n and C.
    curvature, loss : str
    parameter_names : tuple of str
        Order in which the eigenvectors' entries belong to parameters.
    input_shape : tuple of int
    inputs, input_indices : array, shape (n', d), and of int, shape (n',)
        Flattened training inputs kept for pictures, and their row numbers.
    grid : PlaneGrid or None
        For two-dimensional inputs.
    controls : dict of array, shape (n, k)
        Alignments of the training samples with control directions, by their kind.
    sections : BoundarySections or None
        Where margins were asked for: what part of the boundary each eigenvector encodes.
    smallest_margin : SmallestMargin or None
        Likewise.
    planes : tuple of InputPlane
        Likewise, for inputs of more than two dimensions: the planes through
        :math:`x_t^+, x_t^-, x_b` of the first three sections.
    bulk : Bulk or None
        Where it was asked for: trace and density of the spectrum.
    test_accuracy : float or None
        Of samples not trained on, where they were given.
    notes : tuple of str
    provenance : Provenance
    """

    eigenvalues: Array
    residuals: Array
    converged: NDArray[np.bool_]
    eigenvectors: NDArray[Any]
    vector_errors: Array
    next_eigenvalues: Array
    training_alignment: Array
    alignment_errors: Array
    log_gradient_norms: Array
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    outlier_count: OutlierCount
    loss_value: float
    accuracy: float
    n_parameters: int
    n_samples: int
    n_classes: int
    curvature: str
    loss: str
    parameter_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    inputs: NDArray[np.float32]
    input_indices: NDArray[np.int64]
    notes: tuple[str, ...]
    provenance: Provenance
    grid: PlaneGrid | None = None
    controls: dict[str, Array] = field(default_factory=dict)
    sections: BoundarySections | None = None
    smallest_margin: SmallestMargin | None = None
    planes: tuple[InputPlane, ...] = ()
    bulk: Bulk | None = None
    test_accuracy: float | None = None
    classifier: Classifier | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        held = [getattr(self, item.name) for item in dataclasses.fields(self)]
        held += self.controls.values()
        if self.grid is not None:
            held += [getattr(self.grid, item.name) for item in dataclasses.fields(self.grid)]
        for value in held:
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    @property
    def k(self) -> int:
        """Number of eigenpairs."""
        return len(self.eigenvalues)

    @property
    def outliers(self) -> int:
        """Number of eigenvalues that stand apart from the bulk (see `outlier_count`)."""
        return self.outlier_count.count

    @property
    def complexity(self) -> Complexity:
        """The complexity numbers of the boundary."""
        return Complexity(
            np.asarray(self.training_alignment, dtype=np.float64),
            self.n_parameters,
            self.alignment_errors,
        )

    def alignment(self, x: Any) -> Array:
        r"""Alignment :math:`A_i(x)` of any inputs with the eigenvectors, shape (len(x), k).

        Raises
        ------
        InvalidInputError
            If the network is not at hand (pass ``model`` to :func:`eigenboundary.load`), or the
            inputs do not fit it.
        """
        if self.classifier is None:
            raise InvalidInputError(
                "model",
                "be given to load(path, model=...) before alignment(x) can be computed",
                because="this analysis was loaded without one",
            )
        cosines = alignments(self.classifier, x, self.eigenvectors)
        return np.asarray(cosines.cpu().double().numpy())

    def sides(self, index: int) -> str:
        """Between which predicted classes eigenvector ``index`` (from 0) has its samples.

        ``"1 | 2"`` names the classes of the most aligned samples on the positive and the negative
        side; ``"1 only"`` says that the other side has none, or none a tenth as aligned;
        ``"within 1"`` that both are of one class; ``"–"`` that nothing is aligned.
        """
        cosines = self.training_alignment[:, index]
        positive, negative = int(cosines.argmax()), int(cosines.argmin())
        reach = max(float(cosines[positive]), 0.0), max(-float(cosines[negative]), 0.0)
        if not max(reach):
            return "–"
        if min(reach) < WEAK_SIDE * max(reach):
            return f"{self.predictions[positive if reach[0] > reach[1] else negative]} only"
        classes = self.predictions[positive], self.predictions[negative]
        return (
            f"within {classes[0]}" if classes[0] == classes[1] else f"{classes[0]} | {classes[1]}"
        )

    # ------------------------------------------------------------------------------ tables

    def to_dataframe(self) -> pd.DataFrame:
        """One row an eigenvector: eigenvalue, checks, alignment, and the classes it parts."""
        cosines, complexity = self.training_alignment, self.complexity
        positive, negative = cosines.argmax(0), cosines.argmin(0)
        return pd.DataFrame(
            {
                "eigenvalue": self.eigenvalues,
                "residual": self.residuals,
                "converged": self.converged,
                "vector_error": self.vector_errors,
                "outlier": np.arange(self.k) < self.outliers,
                "mean_alignment": complexity.aligned("mean"),
                "max_alignment": complexity.aligned("max"),
                "mass": complexity.mass,
                "sample_positive": positive,
                "sample_negative": negative,
                "class_positive": self.predictions[positive],
                "class_negative": self.predictions[negative],
            },
            index=pd.RangeIndex(1, self.k + 1, name="i"),
        )

    def samples_to_dataframe(self) -> pd.DataFrame:
        """One row a training sample: label, prediction, gradient norm and alignments."""
        columns = {f"A_{i + 1}": self.training_alignment[:, i] for i in range(self.k)}
        return pd.DataFrame(
            {
                "label": self.labels,
                "prediction": self.predictions,
                "log_gradient_norm": self.log_gradient_norms,
                "mass_outside": self.complexity.sample_mass_outside,
                **columns,
            },
            index=pd.RangeIndex(self.n_samples, name="s"),
        )

    def summary(self) -> dict[str, Any]:
        """The headline numbers as plain Python values, intervals as pairs."""
        numbers = self.complexity
        g = {}
        for epsilon in (1e-3, 1e-2, "random"):
            entry = dataclasses.asdict(numbers.generalization(epsilon))
            g[str(epsilon)] = entry | {"interval": list(entry["interval"])}
        return {
            "curvature": self.curvature,
            "loss": self.loss,
            "n_parameters": self.n_parameters,
            "n_samples": self.n_samples,
            "n_classes": self.n_classes,
            "loss_value": self.loss_value,
            "accuracy": self.accuracy,
            "test_accuracy": self.test_accuracy,
            "eigenvalues": self.eigenvalues.tolist(),
            "residuals": self.residuals.tolist(),
            "converged": self.converged.tolist(),
            "outliers": self.outliers,
            "outliers_resolved": self.outlier_count.resolved,
            "effective_number": numbers.effective_number,
            "effective_number_interval": list(numbers.effective_number_interval),
            "participation_number": numbers.participation_number,
            "participation_number_interval": list(numbers.participation_number_interval),
            "mass_outside": numbers.mass_outside,
            "generalization": g,
            **self._margin_summary(),
            "bulk": None if self.bulk is None else self.bulk.summary(self.eigenvalues),
            "notes": list(self.notes),
            "provenance": dataclasses.asdict(self.provenance),
        }

    def counts_above(self) -> list[tuple[float, int, int]]:
        """Threshold, least and greatest number of eigenvalues above it, where the bulk is known."""
        return [] if self.bulk is None else self.bulk.counts_above(float(self.eigenvalues[0]))

    def _margin_summary(self) -> dict[str, Any]:
        if self.sections is None or self.smallest_margin is None:
            return {"sections": None, "smallest_margin": None}
        rows = self.sections.to_dataframe().reset_index().to_dict(orient="records")
        found = self.smallest_margin
        return {
            "sections": [{name: _plain(value) for name, value in row.items()} for row in rows],
            "boundary_unexplained": self.sections.unexplained,
            "smallest_margin": {
                "value": _plain(found.value),
                "sample": found.sample_index,
                "classes": list(found.classes),
                "n_examined": found.n_examined,
                "converged": found.converged,
            },
        }

    # -------------------------------------------------------------------------- input, output

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write to one safetensors file: the arrays, and the rest as JSON in its header.

        Raises
        ------
        InvalidInputError
            If the file exists and ``overwrite`` is not set.
        """
        from eigenboundary.analysis.result import save

        save(self, path, overwrite=overwrite)

    def report(
        self, path: str | Path, *, title: str | None = None, overwrite: bool = False
    ) -> None:
        """Write a self-contained HTML page with the numbers and pictures.

        Raises
        ------
        InvalidInputError
            If the file exists and ``overwrite`` is not set.
        """
        reach("report")(
            {title or "Decision boundary report": self}, path, title=title, overwrite=overwrite
        )

    def __str__(self) -> str:
        numbers = self.complexity
        g = numbers.generalization(1e-3)
        found = self.outlier_count
        outliers = str(found.count) if found.resolved else f"at least {found.count}"
        if not found.resolved and not found.count:
            outliers = "not determined (a larger k may tell)"
        values = ", ".join(f"{v:.4g}" for v in self.eigenvalues[:5])
        low, high = numbers.effective_number_interval
        g_low, g_high = g.interval
        lines = [
            f"Analysis of a {self.n_classes}-class network: p = {self.n_parameters:,} parameters, "
            f"n = {self.n_samples:,} samples",
            f"  loss             {self.loss_value:.4g} ({self.loss}), accuracy {self.accuracy:.1%}",
            f"  {self.curvature + ' λ':<16} {values}{', …' if self.k > 5 else ''} "
            f"({int(self.converged.sum())} of {self.k} converged, "
            f"residual ≤ {self.residuals.max():.0e})",
            f"  outliers         {outliers}",
            f"  effective number {numbers.effective_number:.3g}, in [{low:.3g}, {high:.3g}]",
            f"  G_θ (ε = 1e-3)   {g.value:.3g}, in [{g_low:.3g}, {g_high:.3g}]",
            f"  mass outside     {numbers.mass_outside:.1%} of the squared alignment lies outside "
            f"these {self.k} eigenvectors",
            *([] if self.bulk is None else self.bulk.lines(self.eigenvalues)),
            f"  solver           {self.provenance.solver} ({self.provenance.reason}), "
            f"{self.provenance.products} products, "
            f"{sum(self.provenance.seconds.values()):.2f} s",
            *(f"  note             {note}" for note in self.notes),
        ]
        return "\n".join(lines)


def _plain(value: Any) -> Any:
    """A number as JSON knows it; None where there is none."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if np.isfinite(value) else None


def save(analysis: Analysis, path: str | Path, *, overwrite: bool = False) -> None:
    """Write an analysis (see :meth:`Analysis.save`)."""
    target = new_file(path, overwrite=overwrite)
    arrays = {name: np.ascontiguousarray(getattr(analysis, name)) for name in _ARRAYS}
    if analysis.grid is not None:
        arrays |= {
            f"grid.{name}": np.ascontiguousarray(getattr(analysis.grid, name)) for name in _GRID
        }
    arrays |= {f"controls.{k}": np.ascontiguousarray(v) for k, v in analysis.controls.items()}
    parts = _parts_record(analysis, arrays)
    header: dict[str, Any] = {
        "format": FORMAT_VERSION,
        **{name: getattr(analysis, name) for name in _SCALARS},
        "test_accuracy": analysis.test_accuracy,
        **parts,
        "outlier_count": dataclasses.asdict(analysis.outlier_count),
        "provenance": dataclasses.asdict(analysis.provenance),
        "activations": analysis.classifier.activations if analysis.classifier else 1,
        "floating_inputs": analysis.classifier.floating_inputs if analysis.classifier else True,
        "named_inputs": _layout_record(analysis.classifier),
    }
    with replaced_when_complete(target) as partial:
        save_file(arrays, partial, metadata={_KEY: json.dumps(header)})


def _layout_record(classifier: Classifier | None) -> list[Any] | None:
    layout = None if classifier is None else classifier.layout
    return None if layout is None else layout.to_record()


def _parts_record(analysis: Analysis, arrays: dict[str, Any]) -> dict[str, Any]:
    """What was asked for besides: its arrays are added, what is left is the header's."""
    header: dict[str, Any] = {}
    for name, record in (
        ("planes", analysis.planes and planes_record(analysis.planes)),
        ("sections", analysis.sections and sections_record(analysis.sections)),
        ("bulk", analysis.bulk and bulk_record(analysis.bulk)),
        ("smallest_margin", analysis.smallest_margin and smallest_record(analysis.smallest_margin)),
    ):
        if record:
            found, header[name] = record
            arrays |= {f"{name}.{key}": np.ascontiguousarray(v) for key, v in found.items()}
    return header
