"""The tables of an analysis and of a comparison, for the terminal and the page alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import numpy as np

from eigenboundary.analysis.result import Analysis
from eigenboundary.boundary.area import BoundaryArea
from eigenboundary.boundary.complexity import BoundaryComplexity
from eigenboundary.report.model import Cell, Column, Mark, Table
from eigenboundary.report.words import count, curvature_name, interval
from eigenboundary.runtime.formats import (
    UNKNOWN,
    format_known,
    format_number,
    is_narrow,
    percent,
)

_MOST_ROWS = 30
_EPSILONS: tuple[tuple[float | Literal["random"], str], ...] = (
    (1e-3, "G_θ, ε = 10⁻³"),
    (1e-2, "G_θ, ε = 10⁻²"),
    ("random", "G_θ, ε = random"),
)
_AREA_OF_A_PLANE = "a plane has 0.4"
_MIXED = " The analyses differ in curvature or loss: their numbers cannot be compared."


def numbers(analysis: Analysis) -> Table:
    """Return the numbers of an analysis, each with its interval and its meaning."""
    c, k, matrix = analysis.complexity, analysis.k, curvature_name(analysis)
    rows = [
        ("loss", format_number(analysis.loss_value, 4), "", analysis.loss),
        ("accuracy", percent(analysis.accuracy), "", "of these samples"),
        *_area(analysis.boundary_area),
        *_boundary(analysis.boundary_complexity),
        ("outliers", _outliers(analysis), "", f"eigenvalues of the {matrix} above ‖H − G‖"),
        (
            *("effective number", format_known(c.effective_number, c.effective_number_interval)),
            interval(c.effective_number_interval),
            "of eigenvectors that the reinforcing gradients spread over, exp(entropy)",
        ),
        (
            "participation number",
            format_known(c.participation_number, c.participation_number_interval),
            interval(c.participation_number_interval),
            "the same with less weight on small shares, 1 / Σ share²",
        ),
    ]
    for epsilon, name in _EPSILONS:
        g = c.generalization(epsilon)
        level = f" = {format_number(g.epsilon)}" if epsilon == "random" else ""
        meaning = f"share of eigenvectors with mean |A| > ε{level}; {g.count} of {k} computed"
        rows.append((name, format_known(g.value, g.interval), interval(g.interval), meaning))
    outside = f"of A² lies outside the {k} eigenvectors"
    rows.append(("mass outside", percent(c.mass_outside), "", outside))
    if analysis.test_accuracy is not None:
        found = percent(analysis.test_accuracy)
        rows.insert(2, ("test accuracy", found, "", "of samples not trained on"))
    if analysis.bulk is not None:
        trace, total = analysis.bulk.trace, format_number(float(analysis.eigenvalues.sum()), 4)
        error = f"± {format_number(trace.error, 1)}"
        rows.append(("trace", format_number(trace.value, 4), error, f"of which these are {total}"))
        for threshold, low, high in analysis.counts_above():
            rows.append(("eigenvalues", count(low, high), "", f"exceed {format_number(threshold)}"))
    made_by = analysis.provenance
    seconds = sum(made_by.seconds.values())
    return Table(
        (Column("number", "head"), Column("value"), Column("interval"), Column("meaning", "text")),
        rows,
        title=f"{analysis.n_classes}-class network, p = {analysis.n_parameters:,} parameters, "
        f"n = {analysis.n_samples:,} samples",
        caption=f"Solved by {made_by.solver} with {made_by.products:,} products in {seconds:.1f} s "
        f"({made_by.dtype}). Intervals hold the numbers for all p eigenvectors.",
    )


def eigenpairs(analysis: Analysis) -> Table:
    """Return one row an eigenpair, the first thirty."""
    rows = []
    for index, row in enumerate(analysis.to_dataframe().head(_MOST_ROWS).to_dict("records")):
        cosines = analysis.training_alignment[:, index]
        outlier: Mark = "outlier" if row["outlier"] else ""
        names = ("residual", "vector_error", "mean_alignment", "max_alignment", "mass")
        most = (int(row["sample_positive"]), int(row["sample_negative"]))
        rows.append(
            [
                *(index + 1, Cell(format_number(row["eigenvalue"], 4), mark=outlier)),
                *(row[name] for name in names),
                analysis.sides(index),
                *(f"#{sample} ({format_number(cosines[sample], 2)})" for sample in most),
                _remark(row["converged"], outlier),
            ]
        )
    error = partial(format_number, digits=2)
    return Table(
        (
            Column("i"),
            Column("λ_i"),
            Column("residual", format=error),
            Column("vector error", format=error, wide=True),
            Column("mean |A_i|", format=format_number),
            Column("max |A_i|", format=format_number),
            Column("mass", format=percent),
            Column("classes", "word"),
            Column("+ sample", "word", wide=True),
            Column("− sample", "word", wide=True),
            Column("", "word"),
        ),
        rows,
        caption=_omitted(analysis.k, "eigenpairs"),
    )


def sections(analysis: Analysis) -> Table:
    """Return one row a section of the boundary, the first thirty, of an analysis with margins."""
    found, smallest = analysis.sections, analysis.smallest_margin
    assert found is not None
    kind = "maximum" if found.norm == float("inf") else "Euclidean"
    caption = (
        f"{percent(found.unexplained)} of the {len(found.points):,} sampled boundary points belong "
        f"to none of them. Margins are {kind} distances."
    )
    if smallest is not None:
        whole = smallest.n_samples
        of = f"all {whole:,}" if smallest.complete else f"{smallest.n_examined:,} of {whole:,}"
        sample = f"sample #{smallest.sample_index}, of {of} examined"
        caption += f" Smallest margin: {_smallest_margin(analysis)} ({sample})."
    margins = ("margin", "linearised", "‖x_t − x_b‖")
    return Table(
        (
            Column("i"),
            Column("classes", "word"),
            Column("share", format=percent),
            Column("|A_i| at x_b", format=format_number),
            Column("x_t", format="#{}".format),
            *(Column(name, format=partial(format_number, digits=4)) for name in margins),
            Column("", "word", _remark),
        ),
        [
            (
                s.eigenvector + 1,
                " | ".join(analysis.class_name(label) for label in s.classes),
                *(s.share, s.alignment, s.sample_index),
                *(s.margin, s.lower_estimate, s.paper_margin, s.converged),
            )
            for s in found[:_MOST_ROWS]
        ],
        caption=caption + _omitted(len(found), "sections", before=" "),
    )


def comparison(analyses: Mapping[str, Analysis]) -> Table:
    """Return one row a number, one column an analysis; intervals where a number is only bounded."""
    shown: dict[str, Callable[[Analysis], str | Cell]] = {
        "boundary area": _of_area,
        "boundary dimension": partial(_of_boundary, "dimension"),
        "boundary count": partial(_of_boundary, "count"),
        "boundary rank": partial(_of_boundary, "rank"),
        "encoded": _encoded,
        "outliers": _outliers,
        "effective number": _effective_number,
        "participation number": lambda a: _known(
            a.complexity.participation_number, a.complexity.participation_number_interval
        ),
        **{name: partial(_generalization, epsilon) for epsilon, name in _EPSILONS},
        "mass outside": lambda a: percent(a.complexity.mass_outside),
        "smallest margin": _smallest_margin,
        "5 % margin": partial(_margin_at, 0.05),
        "median margin": partial(_margin_at, 0.5),
        "boundary unexplained": lambda a: _share(getattr(a.sections, "unexplained", None)),
        "λ_1": lambda a: format_number(float(a.eigenvalues[0])),
        "loss": lambda a: format_number(a.loss_value),
        "accuracy": lambda a: percent(a.accuracy),
        "test accuracy": lambda a: _share(a.test_accuracy),
        "eigenvectors": lambda a: f"{a.k:,} of {a.n_parameters:,}",
        "seconds": lambda a: f"{sum(a.provenance.seconds.values()):.1f}",
    }
    names = [Column(str(name), link=f"a{i}") for i, name in enumerate(analyses, start=1)]
    mixed = len({(a.curvature, a.loss) for a in analyses.values()}) > 1
    return Table(
        (Column("", "head"), *names),
        [(name, *map(cell, analyses.values())) for name, cell in shown.items()],
        caption="“a to b” bounds the number for all p eigenvectors; it is not determined where the "
        f"bounds are more than a factor of ten apart.{_MIXED if mixed else ''}",
    )


def provenance(analysis: Analysis) -> Table:
    """Return how the numbers came about."""
    origin = analysis.provenance
    seconds = ", ".join(f"{name} {value:.2f}" for name, value in origin.seconds.items())
    rows = {
        "curvature": f"{curvature_name(analysis)} of the {analysis.loss} loss",
        "samples": f"{analysis.n_samples:,} inputs of shape {analysis.input_shape}, "
        f"{analysis.n_classes} classes",
        "parameters": f"{analysis.n_parameters:,} in {len(analysis.parameter_names)} tensors",
        "solver": f"{origin.solver} ({origin.reason})",
        "outcome": origin.message,
        "tolerance": format_number(origin.tolerance),
        "matrix–vector products": f"{origin.products:,}",
        "products": origin.computed,
        "precision, device": f"{origin.dtype} on {origin.device}",
        "seed": str(origin.seed),
        "seconds": f"{sum(origin.seconds.values()):.2f} in all: {seconds}",
        "versions": ", ".join(f"{name} {text}" for name, text in origin.versions.items()),
        "network fingerprint": origin.fingerprint[:16],
    }
    return Table(
        (Column("", "head"), Column("", "text")),
        [(name, text) for name, text in rows.items() if text],
    )


def headline(analysis: Analysis) -> list[tuple[str, Cell]]:
    """Return the numbers to see first, by name."""
    loss = f"loss {format_number(analysis.loss_value)} ({analysis.loss})"
    return [
        *_area_headline(analysis.boundary_area),
        *_boundary_headline(analysis.boundary_complexity),
        ("accuracy", Cell(percent(analysis.accuracy), loss)),
    ]


def _area(found: BoundaryArea | None) -> list[tuple[str, str, str, str]]:
    """Return the row of the boundary's area."""
    if found is None:
        return []
    meaning = f"near the data, by crossings of short segments; {_AREA_OF_A_PLANE}"
    return [("boundary area", format_number(found.value), interval(found.interval), meaning)]


def _of_area(analysis: Analysis) -> str | Cell:
    found = analysis.boundary_area
    if found is None:
        return "–"
    return Cell(format_number(found.value), f"in {interval(found.interval)}")


def _area_headline(found: BoundaryArea | None) -> list[tuple[str, Cell]]:
    if found is None:
        return []
    detail = f"in {interval(found.interval)}; {_AREA_OF_A_PLANE}"
    return [("boundary area", Cell(format_number(found.value), detail))]


def _boundary(found: BoundaryComplexity | None) -> list[tuple[str, str, str, str]]:
    """Return the rows of the boundary's complexity."""
    if found is None:
        return []
    level = f"at level L = {format_number(found.level)}"
    counts = found.count_interval
    rows = [
        (
            *("boundary dimension", format_number(found.dimension)),
            interval(found.dimension_interval),
            f"directions of θ that move the boundary, tr G (G + L)⁻¹ {level}",
        ),
        (
            *("boundary count", str(found.count)),
            interval(counts),
            f"eigenvalues of G above L {level}, at which T = {format_number(found.temperature)}",
        ),
    ]
    if found.spread is not None:
        meaning = f"effective number of gradients at {found.spread.n_points:,} boundary points"
        rows.append(
            ("boundary rank", format_number(found.rank), interval(found.rank_interval), meaning)
        )
    if len(found.encoded):
        most = f"at best {percent(found.best[-1])}"
        meaning = f"of these gradients lies in the {len(found.encoded)} eigenvectors"
        rows.append(("encoded", percent(found.encoded[-1]), most, meaning))
    return rows


def _of_boundary(name: str, analysis: Analysis) -> str | Cell:
    found = analysis.boundary_complexity
    if found is None or (name == "rank" and found.spread is None):
        return "–"
    bounds = getattr(found, f"{name}_interval")
    return Cell(format_number(getattr(found, name)), f"in {interval(bounds)}")


def _encoded(analysis: Analysis) -> str | Cell:
    found = analysis.boundary_complexity
    if found is None or not len(found.encoded):
        return "–"
    return Cell(percent(found.encoded[-1]), f"at best {percent(found.best[-1])}")


def _boundary_headline(found: BoundaryComplexity | None) -> list[tuple[str, Cell]]:
    if found is None:
        return []
    moved = Cell(format_number(found.dimension), "directions of θ move it")
    if not len(found.encoded):
        return [("boundary dimension", moved)]
    of = f"by {len(found.encoded)} eigenvectors; at best {percent(found.best[-1])}"
    return [("boundary dimension", moved), ("encoded", Cell(percent(found.encoded[-1]), of))]


def _smallest_margin(analysis: Analysis) -> str:
    """Return the smallest margin, marked where it is an upper bound or did not converge."""
    found = analysis.smallest_margin
    if found is None:
        return "–"
    bound = "" if found.complete or math.isnan(found.value) else "≤ "
    return f"{bound}{format_number(found.value, 4)}{'' if found.converged else ' (not converged)'}"


def _margin_at(share: float, analysis: Analysis) -> str | Cell:
    """Return a quantile of the samples' margins with its interval."""
    found = analysis.sample_margins
    if found is None:
        return "–"
    bounds = interval(found.quantile_interval(share))
    return Cell(format_number(found.quantile(share)), f"in {bounds}")


def _outliers(analysis: Analysis) -> str:
    return f"{'' if analysis.outlier_count.resolved else '≥ '}{analysis.outliers}"


def _effective_number(analysis: Analysis) -> Cell:
    c = analysis.complexity
    return _known(c.effective_number, c.effective_number_interval)


def _generalization(epsilon: float | Literal["random"], analysis: Analysis) -> Cell:
    measure = analysis.complexity.generalization(epsilon)
    return _known(measure.value, measure.interval)


def _known(value: float, bounds: tuple[float, float]) -> Cell:
    """Return the number as far as it is known, and its interval where that says more."""
    shown = format_known(value, bounds)
    is_range = shown != UNKNOWN and not is_narrow(bounds)
    return Cell(shown, "" if is_range else f"in {interval(bounds)}")


def _share(share: float | None) -> str:
    return "–" if share is None else percent(share)


def _remark(converged: bool | np.bool_, otherwise: str = "") -> Cell:
    return Cell(otherwise, mark="") if converged else Cell("not converged", mark="bad")


def _omitted(n: int, what: str, before: str = "") -> str:
    rest = n - _MOST_ROWS
    return f"{before}{rest:,} further {what} are not shown." if rest > 0 else ""
