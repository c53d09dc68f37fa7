"""Figs. 3 and 4: more complex boundaries take more eigenvectors."""

from __future__ import annotations

from eigenboundary.alignment.complexity import Generalization
from eigenboundary.analysis.result import Analysis
from eigenboundary.experiments.figures.page import SMALL, WIDTH, Page, lettered
from eigenboundary.experiments.figures.panels import (
    ALIGNMENT,
    alignment_map,
    plane_of,
    plane_row,
    row_name,
    spectrum,
    vector_names,
)
from eigenboundary.experiments.figures.rows import Row
from eigenboundary.experiments.figures.workshop import Workshop
from eigenboundary.runtime.formats import format_number, percent

#: The networks compared, by the name their row has.
REGIMES = {
    "normal": "blobs-normal",
    "adversarial": "blobs-adversarial",
    "large norm": "blobs-large-norm",
}
_VECTORS = 3
_ROWS = 25


def compute(workshop: Workshop) -> list[Row]:
    """Train and analyse the three networks on the blobs, with all non-null eigenpairs."""
    found = []
    for name, config in REGIMES.items():
        network = workshop.network(config)
        analysis = workshop.analysis(network, None, grid=False)
        with workshop.timed("analysis"):
            found.append(Row(name, analysis, plane_of(workshop, network, analysis, _VECTORS)))
    return found


def draw(regimes: list[Row]) -> Page:
    """Draw a row a network: regions, alignments, spectrum and numbers."""
    size, gap, left, top, step = (0.98, 0.98), 0.06, 0.2, 0.22, 1.24
    page = Page(top + step * len(regimes) + 0.2)
    beside = left + 4 * size[0] + 3 * gap + 0.36
    for i, regime in enumerate(regimes):
        down = top + i * step
        axes = page.row(1 + _VECTORS, left, down, size, gap)
        titles = ["" if i else "decision regions", *vector_names(regime.analysis, _VECTORS)]
        plane_row(axes, regime.analysis, grid=regime.grid, titles=titles, scale=0.45)
        row_name(axes[0], regime.name)
        panel = page.axes(beside, down, 0.78, size[1])
        spectrum(panel, regime.analysis, "" if i else r"spectrum $\lambda_i$")
        panel.set_ylabel("")
        last = i + 1 == len(regimes)
        panel.set_xlabel("index $i$" if last else "", labelpad=1)
        if not last:
            panel.set_xticklabels([])
        g = regime.analysis.complexity.generalization("random")
        _numbers(page, regime.analysis, g, beside + 0.9, down)
    below = top + step * len(regimes) - step + size[1] + 0.1
    page.class_legend(regimes[0].analysis.class_names, left, below)
    page.bar(ALIGNMENT, left + 3 * size[0], below + 0.02, "alignment $A_i(x)$")
    level = format_number(g.epsilon, 2)  # all networks have as many parameters
    page.remark(WIDTH - 0.03, below + 0.02, rf"$G_\theta$: mean $|A_i| > {level}$", ha="right")
    return page


def _numbers(page: Page, analysis: Analysis, g: Generalization, left: float, top: float) -> None:
    found = analysis.outlier_count
    low, high = g.interval
    lines = {
        "outliers": f"{'' if found.resolved else '≥ '}{found.count}",
        "$G_\\theta$": percent(g.value),
        "": f"in [{percent(low)}, {percent(high)}]",
        # All other eigenvalues are null.
        "tr $H$": format_number(float(analysis.eigenvalues.sum()), 3),
        "$\\lambda_1$": format_number(float(analysis.eigenvalues[0]), 3),
        "eff. number": format_number(analysis.complexity.effective_number, 3),
    }
    for i, (name, value) in enumerate(lines.items()):
        down = top + 0.02 + 0.165 * i
        page.remark(left, down, name)
        page.write(WIDTH - 0.03, down, value, fontsize=SMALL, ha="right")


def draw_alignments(regimes: list[Row]) -> Page:
    """Draw every training gradient against the top 25 eigenvectors, a map a network."""
    width, height, left, top, step = 6.32, 1.78, 0.38, 0.22, 2.16
    page = Page(top + step * len(regimes) + 0.3)
    for i, regime in enumerate(regimes):
        analysis = regime.analysis
        shown = min(_ROWS, analysis.k)
        ax = page.axes(left, top + i * step, width, height)
        mass = percent(float(analysis.complexity.mass[:shown].sum()))
        title = f"{regime.name}: the top {shown} hold {mass} of the squared alignment"
        last = i + 1 == len(regimes)
        alignment_map(ax, analysis, shown, lettered(i, title), named=last)
    page.bar(ALIGNMENT, left + width - 1.15, page.height - 0.24, "alignment $A_i(x_s)$")
    return page
