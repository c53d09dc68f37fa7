"""Fig. 5: simplicity bias, and the margin of the section that each eigenvector encodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from eigenboundary.analysis.result import Analysis
from eigenboundary.boundary import (
    BoundaryDistance,
    SectionMargins,
    boundary_distance,
    paper_margins,
)
from eigenboundary.displays import style
from eigenboundary.experiments.figures.page import Page, fit, log_axis, restyled
from eigenboundary.experiments.figures.panels import ALIGNMENT, plane_row, row_name, vector_names
from eigenboundary.experiments.figures.workshop import Workshop
from eigenboundary.runtime.formats import format_number

#: The networks compared, by the name their row has.
NETWORKS = {"normal": "checkerboard-normal", "wide margin": "checkerboard-wide"}
_SHOWN, _MEASURED = 3, 5
_POINTS, _STEPS = 300, 200
_LINE: dict[str, Any] = {"linewidth": 1.1, "zorder": 5}
_MARK: dict[str, Any] = {"markeredgecolor": style.INK, "markeredgewidth": 0.8}
_MARK |= {"linestyle": "none", "zorder": 6}


@dataclass(frozen=True, repr=False)
class Margins:
    """The numbers of a row."""

    name: str
    analysis: Analysis
    distance: BoundaryDistance  # of all training samples
    ascended: SectionMargins  # the paper's: x_b by ascent over all inputs
    constrained: SectionMargins  # x_b among the points of the boundary

    @property
    def nearest(self) -> int:
        """The training sample nearest to the boundary."""
        return int(self.distance.value.argmin())


def compute(workshop: Workshop) -> list[Margins]:
    """Measure the margins of a boundary near the samples and of one far from them."""
    found = []
    for name, config in NETWORKS.items():
        network = workshop.network(config)
        analysis = workshop.analysis(network)
        with workshop.timed("analysis"):
            problem = workshop.problem(network)
            vectors = np.array(analysis.eigenvectors[:, :_MEASURED])
            inputs, seed = network.data.train[0].double(), workshop.seed
            workshop.report(f"margins of {network.config.title}", 0, 1)
            margins = (
                boundary_distance(problem, inputs, seed=seed),
                paper_margins(problem, vectors, constrained=False, n_steps=_STEPS, seed=seed),
                paper_margins(problem, vectors, n_points=_POINTS, seed=seed),
            )
            found.append(Margins(name, analysis, *margins))
    return found


def draw(found: list[Margins]) -> Page:
    """Draw a row a network: regions, three alignments with x_t and x_b, and the margins."""
    width, gap, left, top = 1.19, 0.07, 0.22, 0.22
    grid = found[0].analysis.grid
    assert grid is not None
    # One scale on both axes, for the figure shows distances.
    height = float(np.clip(width * np.ptp(grid.second) / np.ptp(grid.first), 0.8, 1.9))
    step = height + 0.27
    page = Page(top + step * len(found) + 0.42)
    beside = left + 4 * width + 3 * gap + 0.45
    for i, margins in enumerate(found):
        down = top + i * step
        axes = page.row(1 + _SHOWN, left, down, (width, height), gap)
        narrowest = format_number(float(margins.distance.value.min()), 2)
        titles = [f"narrowest {narrowest}", *vector_names(margins.analysis, _SHOWN)]
        plane_row(axes, margins.analysis, titles=titles, scale=0.42)
        nearest = margins.analysis.inputs[margins.nearest]
        ends = np.stack([nearest, margins.distance.point[margins.nearest]])
        axes[0].plot(*ends.T, color=style.INK, **_LINE)
        axes[0].plot(*nearest, "o", markersize=4, markerfacecolor="none", **_MARK)
        for index, ax in enumerate(axes[1:]):
            _section(ax, margins, index)
        row_name(axes[0], margins.name)
        chart = page.axes(beside, down, 6.7 - beside, height)
        _chart(chart, margins, last=i + 1 == len(found))
    below = page.height - 0.46
    page.class_legend(found[0].analysis.class_names, left, below)
    page.bar(ALIGNMENT, left + 3.1 * width, below + 0.02, "alignment $A_i(x)$")
    _legend(page, below + 0.29)
    return page


def _section(ax: Axes, margins: Margins, index: int) -> None:
    """Draw x_t on both sides of a section, with x_b and the nearest point of the boundary."""
    limits = ax.get_xlim(), ax.get_ylim()
    for side in (0, 1):
        sample = margins.constrained.samples[index, side]
        start = margins.analysis.inputs[sample]
        for end, how in (
            (margins.constrained.boundary_point[index, side], (0, (1.5, 1.5))),
            (margins.distance.point[sample], "-"),
        ):
            ax.plot(*np.stack([start, end]).T, color=style.INK, linestyle=how, **_LINE)
        label = int(margins.analysis.labels[sample])
        color = style.class_color(label)
        ax.plot(*start, style.class_marker(label), markersize=4.5, markerfacecolor=color, **_MARK)
        ascended = margins.ascended.boundary_point[index, side]
        ax.plot(*ascended, "X", markersize=5, markerfacecolor="white", **_MARK)
    on_boundary = margins.constrained.boundary_point[index, 0]
    ax.plot(*on_boundary, "D", markersize=4, markerfacecolor="white", **_MARK)
    ax.set_xlim(*limits[0])
    ax.set_ylim(*limits[1])


def _chart(ax: Axes, margins: Margins, *, last: bool) -> None:
    index = np.arange(1, len(margins.constrained.samples) + 1)
    shown = (
        (margins.constrained.refined_margin, "o", style.SECOND),
        (margins.constrained.paper_margin, "D", "white"),
        (margins.ascended.paper_margin, "X", "white"),
    )
    with restyled():
        narrowest = float(margins.distance.value.min())
        ax.axhline(narrowest, color=style.MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
        for shift, (values, marker, color) in zip((-0.18, 0, 0.18), shown, strict=True):
            heights, how = np.maximum(values.min(1), 1e-4), {"markerfacecolor": color, **_MARK}
            ax.plot(index + shift, heights, marker, markersize=4, **how)
        log_axis(ax, 2)
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.grid(axis="y")
        ax.set_xticks(index)
        ax.set_xlim(0.5, len(index) + 0.5)
        if last:
            ax.set_xlabel("eigenvector $i$", labelpad=1)
        else:
            ax.set_xticklabels([])
    fit(ax, "margin of $v_i$", scale=1)


def _legend(page: Page, top: float) -> None:
    handles = [
        Line2D([], [], label=name, marker=marker, markersize=size, markerfacecolor=color, **_MARK)
        for name, marker, size, color in (
            ("sample $x_t$, its margin", "o", 4.5, style.SECOND),
            ("$x_b$ on the boundary", "D", 4, "white"),
            ("$x_b$ by ascent", "X", 5, "white"),
        )
    ]
    line: dict[str, Any] = {"color": style.INK, "linewidth": 1.1}
    handles.append(Line2D([], [], label="nearest boundary", **line))
    handles.append(Line2D([], [], label="to $x_b$", linestyle=(0, (1.5, 1.5)), **line))
    page.legend(handles, 0.22, top, handlelength=1.6, columnspacing=1.4)
