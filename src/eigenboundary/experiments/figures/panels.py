"""Panels that several figures have: the input plane, an embedding, a spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable

from eigenboundary.analysis.result import Analysis
from eigenboundary.boundary.planes import Plane, plane_of_inputs
from eigenboundary.displays import (
    AlignmentDisplay,
    EmbeddingDisplay,
    PlaneDisplay,
    SpectrumDisplay,
    style,
)
from eigenboundary.experiments.figures.page import SMALL, TEXT, drop_legend, fit
from eigenboundary.experiments.figures.workshop import Workshop
from eigenboundary.experiments.train import TrainedNetwork
from eigenboundary.runtime.formats import format_number

#: What a bare colour bar of alignments shows.
ALIGNMENT = ScalarMappable(style.ALIGNMENT_RANGE, style.ALIGNMENT_MAP)


def vector_names(analysis: Analysis, shown: int) -> list[str]:
    """Return titles of panels of an inch, e.g. ``$v_1$, λ = 0.113``."""
    return [
        rf"$v_{{{i + 1}}}$, λ = {format_number(value, 2)}"
        for i, value in enumerate(analysis.eigenvalues[:shown])
    ]


def row_name(ax: Axes, text: str) -> None:
    """Name a row, upright to the left of its first panel."""
    how: Any = {"rotation": 90, "ha": "right", "va": "center", "fontsize": TEXT}
    ax.text(-0.06, 0.5, text, transform=ax.transAxes, color=style.INK, **how)


def plane_of(
    workshop: Workshop, network: TrainedNetwork, analysis: Analysis, k: int, finer: int = 1
) -> Plane:
    """Return the alignment with the top k eigenvectors over the plane of all training samples."""
    # Cosines need no more than float32, which takes half the time.
    problem, x = workshop.problem(network, "float32"), network.data.train[0]
    vectors = torch.from_numpy(np.array(analysis.eigenvectors[:, :k])).float()
    return plane_of_inputs(problem, vectors, x, finer * workshop.resolution)


def plane_row(
    axes: Sequence[Axes],
    analysis: Analysis,
    *,
    grid: Plane | None = None,
    titles: Sequence[str] | None = None,
    scale: float = 0.5,
) -> None:
    """Draw decision regions, then the alignment with each top eigenvector, one panel each.

    The grid is by default the analysis' own, and each panel has its default title.
    """
    plane = analysis.grid if grid is None else grid
    assert plane is not None
    kept = analysis.input_indices
    display = PlaneDisplay(
        plane,
        inputs=analysis.inputs,
        labels=analysis.labels[kept],
        predictions=analysis.predictions[kept],
        n_eigenvectors=len(axes) - 1,
        class_names=analysis.class_names,
    )
    titles = titles or ["decision regions", *vector_names(analysis, len(axes) - 1)]
    _plot_in_place(display, axes, titles, scale)
    for index, ax in enumerate(axes[1:]):
        _as_image(ax, display, index)


def embedding_row(axes: Sequence[Axes], embedding: Any, analysis: Analysis, first: str) -> None:
    """Draw classes, then the alignment with each top eigenvector, on the embedded samples."""
    shown = len(axes) - 1
    display = EmbeddingDisplay(
        embedding,
        analysis.labels,
        analysis.training_alignment,
        n_eigenvectors=shown,
        class_names=analysis.class_names,
    )
    _plot_in_place(display, axes, [first, *vector_names(analysis, shown)], 0.45)


def _plot_in_place(display: Any, axes: Sequence[Axes], titles: Sequence[str], scale: float) -> None:
    """Plot on axes that the display's colour bar and legend must not move."""
    places = [ax.get_position() for ax in axes]
    display.plot(list(axes))
    if display.colorbar_ is not None:
        display.colorbar_.remove()
    drop_legend(display.ax_)
    for ax, place, title in zip(axes, places, titles, strict=True):
        ax.set_position(place)
        fit(ax, title, scale=scale)


def alignment_map(ax: Axes, analysis: Analysis, shown: int, title: str, *, named: bool) -> None:
    """Draw the training samples, sorted by class, against the top eigenvectors."""
    names: dict[str, Any] = {"n_eigenvectors": shown, "class_names": analysis.class_names}
    display = AlignmentDisplay(analysis.training_alignment, analysis.labels, **names)
    _plot_in_place(display, [ax], [title], 1)
    step = 1 if shown <= 5 else 5
    ticks = sorted({0, *range(step - 1, shown, step)})
    ax.set_yticks(ticks, [f"$v_{{{tick + 1}}}$" for tick in ticks], fontsize=SMALL)
    ax.tick_params(axis="y", length=0)
    for line in ax.lines:
        line.set_linewidth(0.7 if line.get_color() == style.INK else 0.3)
    # In a stack of maps, one map names the classes.
    for artist in (*display.strip_, *display.names_):
        artist.set_visible(named)


def spectrum(ax: Axes, analysis: Analysis, title: str) -> None:
    """Draw the largest eigenvalues, with the outliers in another colour."""
    found = analysis.outlier_count
    most = max(25, found.count + 5)
    values = np.concatenate([analysis.eigenvalues, analysis.next_eigenvalues])[:most]
    count = min(found.count, len(values))
    SpectrumDisplay(values, [], count, found.resolved, threshold=found.threshold).plot(ax)
    drop_legend(ax)
    fit(ax, title, scale=0.55)
    ax.set_xticks([1, *range(10, len(values) + 1, 10)])


def _as_image(ax: Axes, display: PlaneDisplay, index: int) -> None:
    """Draw an image in place of a shaded mesh, which takes many times as long."""
    display.surfaces_[index].remove()
    x, y = display.plane.first, display.plane.second
    dx, dy = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2  # pixels are centred on the grid's points
    how: Any = {"cmap": style.ALIGNMENT_MAP, "norm": style.ALIGNMENT_RANGE, "origin": "lower"}
    how |= {"extent": (x[0] - dx, x[-1] + dx, y[0] - dy, y[-1] + dy), "aspect": "auto"}
    ax.imshow(display.plane.alignment[..., index], interpolation="bilinear", zorder=0, **how)
    ax.set(xlim=x[[0, -1]], ylim=y[[0, -1]])
