"""The result of an analysis: every number, with its provenance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenboundary.alignment.complexity import Complexity
from eigenboundary.alignment.reinforcing_gradients import alignments
from eigenboundary.analysis.margins import find_margins, find_planes, note_on_budget
from eigenboundary.analysis.provenance import Provenance
from eigenboundary.analysis.settings import check_grid
from eigenboundary.analysis.storage import save
from eigenboundary.boundary.area import BoundaryArea
from eigenboundary.boundary.arguments import check_has_boundary
from eigenboundary.boundary.complexity import BoundaryComplexity
from eigenboundary.boundary.planes import Plane
from eigenboundary.boundary.sample_margins import SampleMargins
from eigenboundary.boundary.search.norms import Geometry, as_box, as_norm
from eigenboundary.boundary.sections import WEAK_SIDE, BoundarySections, Directions
from eigenboundary.boundary.smallest_margin import SmallestMargin
from eigenboundary.curvature.spectrum.bulk import Bulk
from eigenboundary.curvature.spectrum.outliers import OutlierCount
from eigenboundary.problem.network import Signature
from eigenboundary.problem.problem import Problem, as_problem
from eigenboundary.runtime.arguments import check_integer, check_progress, check_seed
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.formats import format_known, percent
from eigenboundary.runtime.hooks import reach
from eigenboundary.runtime.interrupts import deferred_interrupts
from eigenboundary.runtime.precision import full_precision
from eigenboundary.runtime.random_state import preserved_random_state
from eigenboundary.runtime.records import UNSTORED

Array = NDArray[np.float64]

# Points a side of the planes through samples of the sections.
_PLANE_RESOLUTION = 60


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
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
        Loss and accuracy of the analysed samples.
    n_parameters, n_samples : int
        p and n.
    curvature, loss : str
    parameter_names : tuple of str
        Order in which the eigenvectors' entries belong to parameters.
    signature : Signature
        What is known of the network's inputs, classes and costs.
    class_names, feature_names : tuple of str
        Names of the C classes and of the entries of an input; empty where there are none.
    boundary_area : BoundaryArea or None
        How large the boundary is where the data are; None where a note says why.
    boundary_complexity : BoundaryComplexity or None
        How many directions of θ move the boundary, and what the eigenvectors hold of them; None
        where a note says why.
    inputs, input_indices : array, shape (n', d), and of int, shape (n',)
        Flattened training inputs kept for pictures, and their row numbers.
    grid : Plane or None
        For two-dimensional inputs.
    controls : dict of array, shape (n, k)
        Alignments of the training samples with control directions, by their kind.
    sections : BoundarySections or None
        Where margins were asked for: what part of the boundary each eigenvector encodes.
    smallest_margin : SmallestMargin or None
        Where margins were asked for.
    planes : tuple of Plane
        Where margins were asked for, for inputs of more than two dimensions: the planes through
        :math:`x_t^+, x_t^-, x_b` of the first three sections.
    bulk : Bulk or None
        Where it was asked for: trace and density of the spectrum.
    test_accuracy : float or None
        Accuracy of samples not trained on, where they were given.
    n_test_samples : int
        Number of these samples.
    notes : tuple of str
    provenance : Provenance
    """

    eigenvalues: Annotated[Array, "k"]
    residuals: Annotated[Array, "k"]
    converged: Annotated[NDArray[np.bool_], "k"]
    eigenvectors: Annotated[NDArray[Any], "p", "k"]
    vector_errors: Annotated[Array, "k"]
    next_eigenvalues: Annotated[Array, "g"]
    training_alignment: Annotated[Array, "n", "k"]
    alignment_errors: Annotated[Array, "n", "k"]
    log_gradient_norms: Annotated[Array, "n"]
    labels: Annotated[NDArray[np.int64], "n"]
    predictions: Annotated[NDArray[np.int64], "n"]
    outlier_count: OutlierCount
    loss_value: float
    accuracy: float
    n_parameters: int
    n_samples: int
    curvature: str
    loss: str
    parameter_names: tuple[str, ...]
    signature: Signature
    inputs: Annotated[NDArray[np.float32], "m", "d"]
    input_indices: Annotated[NDArray[np.int64], "m"]
    notes: tuple[str, ...]
    provenance: Provenance
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    boundary_area: BoundaryArea | None = None
    boundary_complexity: BoundaryComplexity | None = None
    grid: Plane | None = None
    controls: dict[str, Annotated[Array, "n", "k"]] = field(default_factory=dict)
    sections: BoundarySections | None = None
    smallest_margin: SmallestMargin | None = None
    planes: tuple[Plane, ...] = ()
    bulk: Bulk | None = None
    test_accuracy: float | None = None
    n_test_samples: int = 0
    attached: Problem | None = field(default=None, metadata=UNSTORED)

    def __post_init__(self) -> None:
        held = [getattr(self, item.name) for item in dataclasses.fields(self)]
        held += self.controls.values()
        planes = self.planes if self.grid is None else (self.grid, *self.planes)
        held += [getattr(plane, f.name) for plane in planes for f in dataclasses.fields(plane)]
        for value in held:
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    @property
    def problem(self) -> Problem:
        """The problem that was analysed; without samples where the analysis was loaded.

        Raises
        ------
        InvalidInputError
            If the analysis was loaded without its model.
        """
        if self.attached is None:
            because = "this analysis was loaded without (pass model= to load)"
            raise InvalidInputError("model", "be an analysis that has its network", because=because)
        return self.attached

    @property
    def n_classes(self) -> int:
        """Number C of classes."""
        return self.signature.n_classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.signature.input_shape

    def class_name(self, label: int) -> str:
        """Return the name of a class, or its number where classes have no names."""
        return self.class_names[label] if self.class_names else str(label)

    @property
    def k(self) -> int:
        """Number of eigenpairs."""
        return len(self.eigenvalues)

    @property
    def outliers(self) -> int:
        """Number of eigenvalues above ‖H − G‖ (see `outlier_count`)."""
        return self.outlier_count.count

    @property
    def sample_margins(self) -> SampleMargins | None:
        """Distances of samples drawn at random from the boundary, where margins are known."""
        return None if self.smallest_margin is None else self.smallest_margin.sample_margins

    @property
    def complexity(self) -> Complexity:
        """The complexity numbers of the boundary."""
        return Complexity(self.training_alignment, self.n_parameters, self.alignment_errors)

    def alignment(self, x: Any) -> Array:
        r"""Compute :math:`A_i(x)` of any inputs with the eigenvectors, shape (len(x), k).

        Raises
        ------
        InvalidInputError
            If the network is not at hand (pass ``model`` to :func:`eigenboundary.load`), or the
            inputs do not fit it.
        """
        return alignments(self.problem, x, self.eigenvectors).cpu().double().numpy()

    def sides(self, index: int) -> str:
        """Name the predicted classes of the samples most aligned with eigenvector ``index``.

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
            side = positive if reach[0] > reach[1] else negative
            return f"{self.class_name(self.predictions[side])} only"
        one, other = (self.class_name(self.predictions[s]) for s in (positive, negative))
        return f"within {one}" if one == other else f"{one} | {other}"

    @full_precision()
    def find_sections(
        self,
        data: Any = None,
        *,
        norm: float = 2,
        box: tuple[float, float] | None = None,
        n_points: int | None = None,
        grid: int = _PLANE_RESOLUTION,
        seed: int | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Analysis:
        r"""Return the analysis with sections, margins and planes, as ``margins=True`` gives them.

        Parameters
        ----------
        data : (x, y), Dataset or DataLoader, optional
            The analysed samples, for an analysis that was loaded from a file.
        norm : {2, inf}
            Norm of the margins.
        box : (low, high), optional
            Range that every entry of an input has to stay in, e.g. (0, 1) for pixels.
        n_points : int, optional
            Points to sample the boundary with; default: 1,000, or fewer for large networks.
        grid : int
            Points a side of the planes through samples of the sections; 0 for none.
        seed : int, optional
            Default: the seed of the analysis.
        progress : callable, optional
            Called as ``progress(stage, done, total)``.

        Raises
        ------
        InvalidInputError
            If an argument is not as described, the samples are all predicted as one class, or the
            analysis was loaded without its network.
        """
        check_integer(n_points, "n_points", optional=True)
        check_grid(grid)
        check_progress(progress)
        seed = self.provenance.seed if seed is None else seed
        check_seed(seed)
        geometry = Geometry(as_norm(norm), as_box(box))
        problem = self.problem_of(data)
        check_has_boundary(problem, geometry)
        searched = self.directions
        with preserved_random_state(seed), deferred_interrupts():
            found, least = find_margins(problem, searched, geometry, seed, progress, n_points)
            planes, notes = find_planes(problem, found, self.eigenvectors, grid)
        # Asked again, the analysis says each note once.
        said = tuple(dict.fromkeys((*self.notes, *note_on_budget(problem, self.k), *notes)))
        return dataclasses.replace(
            self, sections=found, smallest_margin=least, planes=planes, attached=problem, notes=said
        )

    @property
    def directions(self) -> Directions:
        """The eigenvectors as directions whose sections can be searched for."""
        cosines = self.training_alignment
        return Directions(self.eigenvectors, self.eigenvalues, self.converged, cosines)

    def problem_of(self, data: Any = None) -> Problem:
        """Return the problem with its samples, which are given for an analysis from a file.

        A missing network, or other samples than those analysed, raise InvalidInputError.
        """
        problem = as_problem(self, data)
        if not np.array_equal(problem.labels.cpu().numpy(), self.labels):
            wanted = f"be the {self.n_samples} samples that were analysed, in their order"
            raise InvalidInputError("data", wanted, f"{problem.n_samples} samples, or other labels")
        return problem

    @property
    def plot(self) -> Any:
        """Pictures of the analysis: ``plot()`` for an overview, ``plot.spectrum()`` and so on."""
        return reach("plot")(self)

    # ------------------------------------------------------------------------------ tables

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row per eigenvector: eigenvalue, checks, alignment, and the classes it parts."""
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
        """Return a row per training sample: label, prediction, gradient norm and alignments."""
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
        """Return the headline numbers as plain Python values, intervals as pairs."""
        numbers = self.complexity
        g = {str(e): dataclasses.asdict(numbers.generalization(e)) for e in (1e-3, 1e-2, "random")}
        for entry in g.values():
            entry["interval"] = list(entry["interval"])
        sizes = ("n_parameters", "n_samples", "n_classes")
        single = ("curvature", "loss", *sizes, "loss_value", "accuracy", "test_accuracy")
        return {
            **{name: getattr(self, name) for name in single},
            **{n: getattr(self, n).tolist() for n in ("eigenvalues", "residuals", "converged")},
            **self._area_summary(),
            "boundary_complexity": _summary_of_boundary(self.boundary_complexity),
            "outliers": self.outliers,
            "outliers_interval": list(self.outlier_count.interval),
            "outlier_threshold": _plain(self.outlier_count.threshold),
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
        """Return thresholds with the least and greatest number of eigenvalues above each."""
        return [] if self.bulk is None else self.bulk.counts_above(float(self.eigenvalues[0]))

    def _area_summary(self) -> dict[str, Any]:
        area = self.boundary_area
        if area is None:
            return {"boundary_area": None, "boundary_area_interval": None}
        return {"boundary_area": area.value, "boundary_area_interval": list(area.interval)}

    def _margin_summary(self) -> dict[str, Any]:
        if self.sections is None or self.smallest_margin is None:
            missing = ("sections", "boundary_unexplained", "smallest_margin")
            return {**dict.fromkeys(missing), **self._sample_margin_summary()}
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
                "n_samples": found.n_samples,
                "converged": found.converged,
            },
            **self._sample_margin_summary(),
        }

    def _sample_margin_summary(self) -> dict[str, Any]:
        found = self.sample_margins
        if found is None:
            names = ("median_margin", "five_percent_margin")
            return dict.fromkeys(part for name in names for part in (name, f"{name}_interval"))
        five, of_five = found.quantile(0.05), found.quantile_interval(0.05)
        return {
            "median_margin": found.median,
            "median_margin_interval": [_plain(end) for end in found.median_interval],
            "five_percent_margin": five,
            "five_percent_margin_interval": [_plain(end) for end in of_five],
        }

    # -------------------------------------------------------------------------- input, output

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write one safetensors file: the arrays, and the rest as JSON in its header.

        Raises
        ------
        InvalidInputError
            If the file exists and ``overwrite`` is not set.
        """
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
        pages = {title or "Decision boundary report": self}
        reach("report")(pages, path, title=title, overwrite=overwrite)

    def __repr__(self) -> str:
        """Return the short text that print shows."""
        return str(self)

    def _repr_html_(self) -> str:
        """Return the headline numbers and the spectrum, for notebooks."""
        return str(reach("notebook")(self))

    def __str__(self) -> str:
        numbers, found, origin = self.complexity, self.outlier_count, self.provenance
        g = numbers.generalization(1e-3)
        outliers = str(found.count) if found.resolved else f"at least {found.count}"
        values = ", ".join(f"{v:.4g}" for v in self.eigenvalues[:5])
        low, high = numbers.effective_number_interval
        g_low, g_high = g.interval
        lines = [
            f"Analysis of a {self.n_classes}-class network: p = {self.n_parameters:,} parameters, "
            f"n = {self.n_samples:,} samples",
            f"  loss             {self.loss_value:.4g} ({self.loss}), "
            f"accuracy {percent(self.accuracy)}",
            *_lines_of_area(self.boundary_area),
            *_lines_of_boundary(self.boundary_complexity),
            f"  {self.curvature + ' λ':<16} {values}{', …' if self.k > 5 else ''} "
            f"({int(self.converged.sum())} of {self.k} converged, "
            f"residual ≤ {self.residuals.max():.0e})",
            f"  outliers         {outliers} above ‖H − G‖ = {found.threshold:.2g}",
            f"  effective number {format_known(numbers.effective_number, (low, high))}, "
            f"in [{low:.3g}, {high:.3g}]",
            f"  G_θ (ε = 1e-3)   {format_known(g.value, g.interval)}, "
            f"in [{g_low:.3g}, {g_high:.3g}]",
            f"  mass outside     {percent(numbers.mass_outside)} of the squared alignment lies "
            f"outside these {self.k} eigenvectors",
            *([] if self.bulk is None else self.bulk.lines(self.eigenvalues)),
            f"  solver           {origin.solver} ({origin.reason}), {origin.products} products, "
            f"{sum(origin.seconds.values()):.2f} s",
            *(f"  note             {note}" for note in self.notes),
        ]
        return "\n".join(lines)


def _summary_of_boundary(found: BoundaryComplexity | None) -> dict[str, Any] | None:
    if found is None:
        return None
    names = ("level", "temperature", "dimension", "count", "n_samples")
    return {
        **{name: getattr(found, name) for name in names},
        **{
            f"{name}_interval": list(getattr(found, f"{name}_interval"))
            for name in ("dimension", "count")
        },
        "rank": _plain(found.rank),
        "rank_interval": [_plain(bound) for bound in found.rank_interval],
        **{name: getattr(found, name).tolist() for name in ("encoded", "best")},
    }


def _lines_of_area(found: BoundaryArea | None) -> list[str]:
    if found is None:
        return []
    low, high = found.interval
    of_plane = "a plane through the middle of Gaussian data has 0.4"
    return [f"  boundary area    {found.value:.3g}, in [{low:.3g}, {high:.3g}]; {of_plane}"]


def _lines_of_boundary(found: BoundaryComplexity | None) -> list[str]:
    if found is None:
        return []
    low, high = found.dimension_interval
    lines = [
        f"  boundary         {found.dimension:.3g} directions move it, in [{low:.3g}, {high:.3g}]; "
        f"{found.count} above L = {found.level:g}"
    ]
    if found.spread is not None:
        low, high = found.rank_interval
        lines.append(f"  boundary rank    {found.rank:.3g}, in [{low:.3g}, {high:.3g}]")
    if len(found.encoded):
        lines.append(
            f"  encoded          {percent(found.encoded[-1])} of the boundary's gradients by "
            f"{len(found.encoded)} eigenvectors; at best {percent(found.best[-1])}"
        )
    return lines


def _plain(value: Any) -> Any:
    """Return a number as JSON knows it; None for NaN and infinity."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if np.isfinite(value) else None
