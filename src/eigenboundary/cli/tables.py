"""Analyses as tables at the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from eigenboundary.analysis.comparison import Comparison
from eigenboundary.analysis.result import Analysis
from eigenboundary.report.words import count, percent

_ROWS = 25
_CURVATURES = {"hessian": "Hessian", "gauss_newton": "Gauss–Newton"}
_EPSILONS: tuple[float, ...] = (1e-3, 1e-2)


def headline(analysis: Analysis) -> Table:
    """The numbers of one analysis, with their intervals and what they mean."""
    numbers = analysis.complexity
    table = Table(
        title=f"{analysis.n_classes}-class network, p = {analysis.n_parameters:,} parameters, "
        f"n = {analysis.n_samples:,} samples",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        show_header=False,
        show_edge=False,
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    table.add_row("loss", f"{analysis.loss_value:.4g}", Text(analysis.loss))
    table.add_row("accuracy", percent(analysis.accuracy), "of these samples")
    table.add_row(
        "outliers", _outliers(analysis), f"of the {_CURVATURES.get(analysis.curvature)} spectrum"
    )
    table.add_row(
        "effective number",
        _with_interval(numbers.effective_number, numbers.effective_number_interval),
        "eigenvectors needed",
    )
    for epsilon in _EPSILONS:
        g = numbers.generalization(epsilon)
        table.add_row("G_θ", _with_interval(g.value, g.interval), f"have mean |A| > {epsilon:g}")
    table.add_row(
        "mass outside",
        percent(numbers.mass_outside),
        f"of A² is not in these {analysis.k}",
    )
    if analysis.bulk is not None:
        trace, total = analysis.bulk.trace, analysis.eigenvalues.sum()
        table.add_row(
            "trace", f"{trace.value:.4g} ± {trace.error:.1g}", f"of which these are {total:.4g}"
        )
        for threshold, low, high in analysis.counts_above():
            table.add_row("eigenvalues", count(low, high), f"exceed {threshold:.3g}")
    made_by = analysis.provenance
    seconds = sum(made_by.seconds.values())
    table.add_row(
        "solver", made_by.solver, f"{made_by.products} products, {seconds:.1f} s, {made_by.dtype}"
    )
    return table


def eigenpairs(analysis: Analysis) -> Table:
    """One row an eigenvector, up to a screenful."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, collapse_padding=True)
    for name in ("i", "λ_i", "residual", "mean |A|", "max |A|", "mass"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("classes", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in analysis.to_dataframe().head(_ROWS).reset_index().to_dict("records"):
        remark = "outlier" if row["outlier"] else ""
        table.add_row(
            str(row["i"]),
            f"{row['eigenvalue']:.4g}",
            f"{row['residual']:.0e}",
            f"{row['mean_alignment']:.3f}",
            f"{row['max_alignment']:.3f}",
            percent(row["mass"]),
            analysis.sides(row["i"] - 1),
            remark if row["converged"] else Text("not converged", style="yellow"),
        )
    if analysis.k > _ROWS:
        table.caption = f"… and {analysis.k - _ROWS} more eigenpairs"
        table.caption_justify = "left"
    return table


def sections(analysis: Analysis) -> Table:
    """One row a section of the boundary, up to a screenful."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, collapse_padding=True)
    names = ("section", "share", "|A| at x_b", "x_t", "margin", "linearised", "‖x_t − x_b‖")
    table.add_column("", no_wrap=True, justify="right")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    found = analysis.sections or ()
    for section in found[:_ROWS]:
        table.add_row(
            f"v_{section.eigenvector + 1}",
            " | ".join(map(str, section.classes)),
            percent(section.share),
            f"{section.alignment:.3f}",
            f"#{section.sample_index}",
            f"{section.margin:.4g}",
            f"{section.lower_estimate:.4g}",
            f"{section.paper_margin:.4g}",
            "" if section.converged else Text("not converged", style="yellow"),
        )
    if analysis.sections is not None and analysis.smallest_margin is not None:
        smallest = analysis.smallest_margin
        table.caption = (
            f"{percent(analysis.sections.unexplained)} of the sampled boundary belongs to none of "
            f"them. Smallest margin: {smallest.value:.4g} (sample #{smallest.sample_index}, of "
            f"{smallest.n_examined} examined)."
        )
        table.caption_justify = "left"
    return table


def recommendation(comparison: Comparison) -> list[Text]:
    """The recommended network, why, and what makes the comparison less than fair."""
    lines = [Text.assemble(("Recommended: ", "bold"), (comparison.best, "bold green"))]
    lines += [Text(reason) for reason in comparison.reasons]
    return lines + [Text.assemble(("Note: ", "bold"), caveat) for caveat in comparison.caveats]


def _smallest(analysis: Analysis) -> str:
    found = analysis.smallest_margin
    return "–" if found is None else f"{found.value:.4g}" + ("" if found.converged else " ?")


def notes(analysis: Analysis) -> list[Text]:
    """The analysis' notes, one line each."""
    return [Text.assemble(("Note: ", "bold"), note) for note in analysis.notes]


def comparison(analyses: dict[str, Analysis]) -> Table:
    """One column an analysis."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("", style="bold", no_wrap=True)
    for title in analyses:
        table.add_column(Text(title), justify="right")
    rows = {
        "accuracy": lambda a: percent(a.accuracy),
        "λ_1": lambda a: f"{a.eigenvalues[0]:.3g}",
        "outliers": _outliers,
        "effective number": lambda a: f"{a.complexity.effective_number:.3g}",
        "  in": lambda a: _interval(a.complexity.effective_number_interval),
        "G_θ": lambda a: f"{a.complexity.generalization('random').value:.3g}",
        "   in": lambda a: _interval(a.complexity.generalization("random").interval),
        "mass outside": lambda a: percent(a.complexity.mass_outside),
        "smallest margin": _smallest,
        "boundary unexplained": lambda a: percent(a.sections.unexplained) if a.sections else "–",
        "test accuracy": lambda a: "–" if a.test_accuracy is None else percent(a.test_accuracy),
        "seconds": lambda a: f"{sum(a.provenance.seconds.values()):.1f}",
    }
    for name, cell in rows.items():
        table.add_row(name, *(cell(analysis) for analysis in analyses.values()))
    return table


def explanation() -> Group:
    """What the rows of :func:`comparison` are."""
    lines = (
        "effective number: eigenvectors needed, exp(entropy of the mean A²)",
        "G_θ: share of all eigenvectors that align more than a random direction does",
        "mass outside: share of A² not in the computed eigenvectors; it widens intervals",
        "seconds: of the analysis, without training",
    )
    return Group(*(Text(line, style="dim") for line in lines))


def _outliers(analysis: Analysis) -> str:
    return f"{'' if analysis.outlier_count.resolved else '≥ '}{analysis.outliers}"


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3g}  in {_interval(interval)}"


def _interval(interval: tuple[float, float]) -> str:
    # Rich takes no bracket for markup that a digit follows.
    return f"[{interval[0]:.3g}, {interval[1]:.3g}]"
