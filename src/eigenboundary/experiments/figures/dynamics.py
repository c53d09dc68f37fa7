"""Appendix: when in training the eigenvectors align with the boundary."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from eigenboundary.analysis.result import Analysis
from eigenboundary.displays import style
from eigenboundary.experiments.figures.page import SMALL, Page, lettered, log_axis, restyled
from eigenboundary.experiments.figures.panels import ALIGNMENT, alignment_map
from eigenboundary.experiments.figures.workshop import Workshop

_VECTORS = 5
_COLUMNS = 2


def compute(workshop: Workshop) -> dict[int, Analysis]:
    """Analyse every checkpoint of a training; return the analyses by epoch, ascending."""
    network = workshop.network("blobs-dynamics")
    analyses = {}
    for epoch, state in sorted(network.result.checkpoints.items()):
        then = replace(network, model=copy.deepcopy(network.model))
        then.model.load_state_dict(state)
        analyses[epoch] = workshop.analysis(then, name=f"epoch{epoch}", grid=False)
    return analyses


def draw(data: dict[int, Analysis]) -> Page:
    """Draw numbers against the epoch, and below them a map of alignments for each epoch."""
    rows = -(-len(data) // _COLUMNS)
    top, step, height = 1.95, 0.74, 0.52
    page = Page(top + rows * step + 0.46)
    _curves([page.axes(0.42 + i * 1.7, 0.24, 1.2, 1.1) for i in range(4)], data)
    left, width, gap = 0.25, 3.12, 0.25
    for i, (epoch, analysis) in enumerate(data.items()):
        column, row = divmod(i, rows)
        ax = page.axes(left + column * (width + gap), top + row * step, width, height)
        plural = "s" if epoch != 1 else ""
        title = "at the start" if epoch == 0 else f"after {epoch:,} epoch{plural}"
        shown = min(_VECTORS, analysis.k)
        alignment_map(ax, analysis, shown, title, named=row == rows - 1 or i + 1 == len(data))
    page.bar(ALIGNMENT, 5.54, page.height - 0.23, "alignment $A_i(x_s)$ with the top five")
    return page


def _curves(axes: list[Axes], data: dict[int, Analysis]) -> None:
    epochs, analyses = np.array(list(data)), list(data.values())
    numbers = [a.complexity for a in analyses]
    outliers = np.array([a.outliers for a in analyses])
    shown: dict[str, Any] = {
        "training loss": [a.loss_value for a in analyses],
        r"sharpness $\lambda_1$": [a.eigenvalues[0] for a in analyses],
        "outliers (○ at least)": outliers,
        "effective number": [n.effective_number for n in numbers],
    }
    with restyled():
        for i, (ax, (name, values)) in enumerate(zip(axes, shown.items(), strict=True)):
            line = style.ACCENT if i else style.INK
            ax.plot(epochs, values, color=line, marker="o", markersize=3, zorder=3)
            if i == 1:  # less than two powers of ten
                log_axis(ax)
            elif i != 2:
                ax.set_yscale("log")
            ax.grid(axis="y")
            ax.set_xscale("symlog", linthresh=1, linscale=0.5)
            ax.set_xlim(-0.25, 1.6 * max(epochs[-1], 1))
            ax.set_xticks([0, 1, 10, 100, 1000], ["0", "1", "10", "100", "1k"])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_minor_formatter(NullFormatter())
            ax.tick_params(labelsize=SMALL)
            ax.set_xlabel("epoch", labelpad=1)
            ax.set_title(lettered(i, name), loc="left")
        bounded = np.array([not a.outlier_count.resolved for a in analyses])
        hollow: dict[str, Any] = {"color": style.ACCENT, "mfc": "white", "ms": 3, "zorder": 4}
        axes[2].plot(epochs[bounded], outliers[bounded], "o", **hollow)
        axes[2].set_ylim(bottom=0)
        low, high = np.array([n.effective_number_interval for n in numbers]).T
        axes[3].fill_between(epochs, low, high, color=style.ACCENT, alpha=0.18, linewidth=0)
