"""The rows of the report's tables, every number formatted once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from eigenboundary.analysis.result import Analysis
from eigenboundary.displays.style import format_number
from eigenboundary.report.words import curvature_name, interval, is_narrow, percent

_MOST_ROWS = 30
_EPSILONS: tuple[tuple[float | Literal["random"], str], ...] = (
    (1e-3, "ε = 10⁻³"),
    (1e-2, "ε = 10⁻²"),
    ("random", "ε = random level"),
)


def _outliers(analysis: Analysis) -> str:
    return f"{'' if analysis.outlier_count.resolved else '≥ '}{analysis.outliers}"


def _known(value: float, bounds: tuple[float, float]) -> dict[str, str]:
    """The value where it is known, else its interval: a lower end must not pass for a value."""
    if is_narrow(bounds):
        return {"value": format_number(value), "detail": f"in {interval(bounds)}"}
    low, high = (format_number(bound) for bound in bounds)
    return {"value": f"{low} to {high}", "detail": f"{format_number(value)} as far as computed"}


def headline(analysis: Analysis) -> list[dict[str, str]]:
    """The numbers to see first."""
    numbers = analysis.complexity
    return [
        {
            "name": "outliers",
            "value": _outliers(analysis),
            "detail": "eigenvalues apart from the bulk",
        },
        {
            "name": "effective number",
            **_known(numbers.effective_number, numbers.effective_number_interval),
        },
        {
            "name": "mass outside",
            "value": percent(numbers.mass_outside),
            "detail": f"of k = {analysis.k} of {analysis.n_parameters:,}",
        },
        {
            "name": "accuracy",
            "value": percent(analysis.accuracy),
            "detail": f"loss {format_number(analysis.loss_value)} ({analysis.loss})",
        },
    ]


def complexity(analysis: Analysis) -> list[dict[str, str]]:
    """One row a complexity number: value, interval and explanation."""
    numbers = analysis.complexity
    rows = [
        {
            "name": "effective number",
            "value": format_number(numbers.effective_number),
            "interval": interval(numbers.effective_number_interval),
            "meaning": "over how many eigenvectors the reinforcing gradients spread (exp entropy)",
        },
        {
            "name": "participation number",
            "value": format_number(numbers.participation_number),
            "interval": interval(numbers.participation_number_interval),
            "meaning": "the same with less weight on small shares (1 / Σ share²)",
        },
    ]
    for epsilon, label in _EPSILONS:
        g = numbers.generalization(epsilon)
        level = f" = {format_number(g.epsilon)}" if epsilon == "random" else ""
        rows.append(
            {
                "name": f"G_θ, {label}{level}",
                "value": format_number(g.value),
                "interval": interval(g.interval),
                "meaning": f"share of all eigenvectors with mean |A| > ε; {g.count} of the "
                f"{analysis.k} computed",
            }
        )
    rows.append(
        {
            "name": "mass outside",
            "value": percent(numbers.mass_outside),
            "interval": "",
            "meaning": f"squared alignment outside the {analysis.k} computed eigenvectors: what "
            "the intervals have to allow for",
        }
    )
    return rows


def omitted(analysis: Analysis) -> int:
    """Eigenpairs beyond those the table shows."""
    return max(0, analysis.k - _MOST_ROWS)


def eigenpairs(analysis: Analysis) -> list[dict[str, Any]]:
    """One row an eigenpair, the first thirty."""
    table = analysis.to_dataframe().head(_MOST_ROWS)
    rows = []
    for index, row in enumerate(table.to_dict("records")):
        positive, negative = int(row["sample_positive"]), int(row["sample_negative"])
        cosines = analysis.training_alignment[:, index]
        rows.append(
            {
                "index": index + 1,
                "eigenvalue": format_number(row["eigenvalue"], 4),
                "residual": format_number(row["residual"], 2),
                "converged": bool(row["converged"]),
                "vector_error": format_number(row["vector_error"], 2),
                "outlier": bool(row["outlier"]),
                "mean_alignment": format_number(row["mean_alignment"]),
                "mass": percent(row["mass"]),
                "sides": analysis.sides(index),
                "positive": f"#{positive} ({format_number(cosines[positive], 2)})",
                "negative": f"#{negative} ({format_number(cosines[negative], 2)})",
            }
        )
    return rows


def comparison(analyses: Mapping[str, Analysis]) -> dict[str, Any]:
    """One row a number, one column an analysis; where a number is only bounded, its interval."""

    def cell(value: str) -> dict[str, str]:
        return {"value": value, "detail": ""}

    every = list(analyses.values())
    numbers = [analysis.complexity for analysis in every]
    rows = [
        ("outliers", [cell(_outliers(a)) for a in every]),
        (
            "effective number",
            [_known(c.effective_number, c.effective_number_interval) for c in numbers],
        ),
        (
            "participation number",
            [_known(c.participation_number, c.participation_number_interval) for c in numbers],
        ),
    ]
    for epsilon, label in _EPSILONS:
        measures = [c.generalization(epsilon) for c in numbers]
        rows.append((f"G_θ, {label}", [_known(g.value, g.interval) for g in measures]))
    rows += [
        ("mass outside", [cell(percent(c.mass_outside)) for c in numbers]),
        ("smallest margin", [cell(smallest_margin(a)) for a in every]),
        ("boundary unexplained", [cell(_unexplained(a)) for a in every]),
        ("λ₁", [cell(format_number(float(a.eigenvalues[0]))) for a in every]),
        ("loss", [cell(format_number(a.loss_value)) for a in every]),
        ("accuracy on these samples", [cell(percent(a.accuracy)) for a in every]),
        ("test accuracy", [cell(_test_accuracy(a)) for a in every]),
        ("eigenvectors computed", [cell(f"{a.k:,} of {a.n_parameters:,}") for a in every]),
    ]
    return {
        "names": [(str(name), f"a{i}") for i, name in enumerate(analyses, start=1)],
        "rows": [{"name": name, "cells": cells} for name, cells in rows],
        "mixed": len({(a.curvature, a.loss) for a in every}) > 1,
    }


def smallest_margin(analysis: Analysis) -> str:
    """The smallest margin found, marked where its search did not converge; – where none was."""
    found = analysis.smallest_margin
    if found is None:
        return "–"
    return format_number(found.value) + ("" if found.converged else " (not converged)")


def _unexplained(analysis: Analysis) -> str:
    return "–" if analysis.sections is None else percent(analysis.sections.unexplained)


def _test_accuracy(analysis: Analysis) -> str:
    return "–" if analysis.test_accuracy is None else percent(analysis.test_accuracy)


def sections(analysis: Analysis) -> dict[str, Any] | None:
    """One row a section of the boundary, the first thirty; None without margins."""
    if analysis.sections is None:
        return None
    rows = [
        {
            "index": section.eigenvector + 1,
            "classes": " | ".join(map(str, section.classes)),
            "share": percent(section.share),
            "alignment": format_number(section.alignment),
            "sample": f"#{section.sample_index}",
            "margin": format_number(section.margin),
            "lower": format_number(section.lower_estimate),
            "paper": format_number(section.paper_margin),
            "converged": section.converged,
        }
        for section in analysis.sections[:_MOST_ROWS]
    ]
    found = analysis.smallest_margin
    examined = "" if found is None else f" of {found.n_examined} samples examined"
    return {
        "rows": rows,
        "unexplained": percent(analysis.sections.unexplained),
        "points": f"{len(analysis.sections.points):,}",
        "norm": "maximum" if analysis.sections.norm == float("inf") else "Euclidean",
        "smallest": smallest_margin(analysis) + examined,
    }


def provenance(analysis: Analysis) -> list[tuple[str, str]]:
    """How the numbers came about, as pairs of name and text."""
    origin = analysis.provenance
    seconds = ", ".join(f"{name} {value:.2f}" for name, value in origin.seconds.items())
    rows = [
        ("curvature", f"{curvature_name(analysis)} of the {analysis.loss} loss"),
        (
            "samples",
            f"{analysis.n_samples:,} inputs of shape {analysis.input_shape}, "
            f"{analysis.n_classes} classes",
        ),
        (
            "parameters",
            f"{analysis.n_parameters:,} in {len(analysis.parameter_names)} tensors",
        ),
        ("solver", f"{origin.solver} ({origin.reason})"),
        ("tolerance", format_number(origin.tolerance)),
        ("matrix–vector products", f"{origin.products:,}"),
        ("precision, device", f"{origin.dtype} on {origin.device}"),
        ("seed", str(origin.seed)),
        ("seconds", f"{sum(origin.seconds.values()):.2f} in all: {seconds}"),
        ("versions", ", ".join(f"{name} {text}" for name, text in origin.versions.items())),
        ("network fingerprint", origin.fingerprint[:16]),
    ]
    if origin.computed:
        rows.insert(6, ("products", origin.computed))
    if origin.message:
        rows.insert(4, ("outcome", origin.message))
    return rows
