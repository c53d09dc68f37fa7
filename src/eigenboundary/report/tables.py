"""The tables of an analysis and of a comparison, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np

from eigenboundary.analysis.result import Analysis
from eigenboundary.displays.style import format_number
from eigenboundary.report.model import Cell, Column, Table
from eigenboundary.report.words import (
    count,
    curvature_name,
    interval,
    is_narrow,
    percent,
)

_MOST_ROWS = 30
_EPSILONS: tuple[tuple[float | Literal["random"], str], ...] = (
    (1e-3, "G_θ, ε = 10⁻³"),
    (1e-2, "G_θ, ε = 10⁻²"),
    ("random", "G_θ, ε = random"),
)
_MIXED = " The analyses differ in curvature or loss: their numbers cannot be compared."


def numbers(analysis: Analysis) -> Table:
    """Return the numbers of an analysis, each with its interval and its meaning."""
    c, k = analysis.complexity, analysis.k
    rows = [
        ("loss", format_number(analysis.loss_value, 4), "", analysis.loss),
        ("accuracy", percent(analysis.accuracy), "", "of these samples"),
        (
            "outliers",
            _outliers(analysis),
            "",
            f"eigenvalues of the {curvature_name(analysis)} apart from the bulk",
        ),
        (
            "effective number",
            format_number(c.effective_number),
            interval(c.effective_number_interval),
            "of eigenvectors that the reinforcing gradients spread over, exp(entropy)",
        ),
        (
            "participation number",
            format_number(c.participation_number),
            interval(c.participation_number_interval),
            "the same with less weight on small shares, 1 / Σ share²",
        ),
    ]
    for epsilon, name in _EPSILONS:
        g = c.generalization(epsilon)
        level = f" = {format_number(g.epsilon)}" if epsilon == "random" else ""
        meaning = f"share of eigenvectors with mean |A| > ε{level}; {g.count} of {k} computed"
        rows.append((name, format_number(g.value), interval(g.interval), meaning))
    rows.append(
        ("mass outside", percent(c.mass_outside), "", f"of A² lies outside the {k} eigenvectors")
    )
    if analysis.test_accuracy is not None:
        found = percent(analysis.test_accuracy)
        rows.insert(2, ("test accuracy", found, "", "of samples not trained on"))
    if analysis.bulk is not None:
        trace, total = analysis.bulk.trace, format_number(float(analysis.eigenvalues.sum()), 4)
        error = f"± {format_number(trace.error, 1)}"
        rows.append(("trace", format_number(trace.value, 4), error, f"of which these are {total}"))
        for threshold, low, high in analysis.counts_above():
            above = f"exceed {format_number(threshold)}"
            rows.append(("eigenvalues", count(low, high), "", above))
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
        most = [
            f"#{sample} ({format_number(cosines[sample], 2)})"
            for sample in (int(row["sample_positive"]), int(row["sample_negative"]))
        ]
        rows.append(
            [
                index + 1,
                Cell(format_number(row["eigenvalue"], 4), mark="outlier" if row["outlier"] else ""),
                *(row[name] for name in ("residual", "vector_error")),
                *(row[name] for name in ("mean_alignment", "max_alignment", "mass")),
                analysis.sides(index),
                *most,
                _remark(row["converged"], "outlier" if row["outlier"] else ""),
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
    caption = (
        f"{percent(found.unexplained)} of the {len(found.points):,} sampled boundary points belong "
        f"to none of them. Margins are "
        f"{'maximum' if found.norm == float('inf') else 'Euclidean'} distances."
    )
    if smallest is not None:
        caption += (
            f" Smallest margin: {_smallest_margin(analysis)} (sample #{smallest.sample_index}, of "
            f"{smallest.n_examined:,} examined)."
        )
    return Table(
        (
            Column("i"),
            Column("classes", "word"),
            Column("share", format=percent),
            Column("|A_i| at x_b", format=format_number),
            Column("x_t", format="#{}".format),
            *(
                Column(name, format=partial(format_number, digits=4))
                for name in ("margin", "linearised", "‖x_t − x_b‖")
            ),
            Column("", "word", _remark),
        ),
        [
            (
                s.eigenvector + 1,
                " | ".join(analysis.class_name(label) for label in s.classes),
                s.share,
                s.alignment,
                s.sample_index,
                s.margin,
                s.lower_estimate,
                s.paper_margin,
                s.converged,
            )
            for s in found[:_MOST_ROWS]
        ],
        caption=caption + _omitted(len(found), "sections", before=" "),
    )


def comparison(analyses: Mapping[str, Analysis]) -> Table:
    """Return one row a number, one column an analysis; intervals where a number is only bounded."""
    every = list(analyses.values())
    complexities = [analysis.complexity for analysis in every]
    rows: dict[str, list[Any]] = {
        "outliers": [_outliers(a) for a in every],
        "effective number": [
            _known(c.effective_number, c.effective_number_interval) for c in complexities
        ],
        "participation number": [
            _known(c.participation_number, c.participation_number_interval) for c in complexities
        ],
    }
    for epsilon, name in _EPSILONS:
        measures = [c.generalization(epsilon) for c in complexities]
        rows[name] = [_known(g.value, g.interval) for g in measures]
    rows |= {
        "mass outside": [percent(c.mass_outside) for c in complexities],
        "smallest margin": [_smallest_margin(a) for a in every],
        "boundary unexplained": [
            _share(None if a.sections is None else a.sections.unexplained) for a in every
        ],
        "λ_1": [format_number(float(a.eigenvalues[0])) for a in every],
        "loss": [format_number(a.loss_value) for a in every],
        "accuracy": [percent(a.accuracy) for a in every],
        "test accuracy": [_share(a.test_accuracy) for a in every],
        "eigenvectors": [f"{a.k:,} of {a.n_parameters:,}" for a in every],
        "seconds": [f"{sum(a.provenance.seconds.values()):.1f}" for a in every],
    }
    mixed = len({(a.curvature, a.loss) for a in every}) > 1
    return Table(
        (
            Column("", "head"),
            *(Column(str(name), link=f"a{i}") for i, name in enumerate(analyses, start=1)),
        ),
        [(name, *cells) for name, cells in rows.items()],
        caption="“a to b” bounds the number for all p eigenvectors; below it stands the value of "
        "the computed ones."
        + " The analyses differ in curvature or loss: their numbers cannot be compared."
        * mixed,
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
    c = analysis.complexity
    loss = f"loss {format_number(analysis.loss_value)} ({analysis.loss})"
    return [
        ("outliers", Cell(_outliers(analysis), "eigenvalues apart from the bulk")),
        ("effective number", _known(c.effective_number, c.effective_number_interval)),
        (
            "mass outside",
            Cell(percent(c.mass_outside), f"of k = {analysis.k} of {analysis.n_parameters:,}"),
        ),
        ("accuracy", Cell(percent(analysis.accuracy), loss)),
    ]


def _smallest_margin(analysis: Analysis) -> str:
    """Return the smallest margin found, marked where its search did not converge."""
    found = analysis.smallest_margin
    if found is None:
        return "–"
    return format_number(found.value, 4) + ("" if found.converged else " (not converged)")


def _outliers(analysis: Analysis) -> str:
    return f"{'' if analysis.outlier_count.resolved else '≥ '}{analysis.outliers}"


def _known(value: float, bounds: tuple[float, float]) -> Cell:
    """The value where it is known, or else its interval: a lower end is no value."""
    if is_narrow(bounds):
        return Cell(format_number(value), f"in {interval(bounds)}")
    low, high = (format_number(bound) for bound in bounds)
    return Cell(f"{low} to {high}", f"{format_number(value)} computed")


def _share(share: float | None) -> str:
    return "–" if share is None else percent(share)


def _remark(converged: bool | np.bool_, otherwise: str = "") -> Cell:
    return Cell(otherwise, mark="") if converged else Cell("not converged", mark="bad")


def _omitted(n: int, what: str, before: str = "") -> str:
    rest = n - _MOST_ROWS
    return f"{before}{rest:,} further {what} are not shown." if rest > 0 else ""
