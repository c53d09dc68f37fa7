"""Panels that several figures have: the input plane, an embedding, a spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar

from eigenboundary.analysis.result import Analysis
from eigenboundary.boundary.planes import Plane, plane_of_inputs
from eigenboundary.displays import (
    AlignmentDisplay,
    EmbeddingDisplay,
    PlaneDisplay,
    SpectrumDisplay,
    style,
)
from eigenboundary.experiments.figures.page import SMALL, TEXT, fit
from eigenboundary.experiments.figures.workshop import Workshop
from eigenboundary.experiments.train import TrainedNetwork

#: What a bare colour bar of alignments shows.
ALIGNMENT = ScalarMappable(style.ALIGNMENT_RANGE, style.ALIGNMENT_MAP)

Names = Sequence[str]


def vector_name(index: int, eigenvalue: float) -> str:
    """A panel's title, e.g. ``$v_1$, λ = 0.113``, short enough for a panel of an inch."""
    return rf"$v_{{{index + 1}}}$, λ = {style.format_number(eigenvalue, 2)}"


def row_name(ax: Axes, text: str) -> None:
    """Name a row, upright to the left of its first panel."""
    ax.text(
        *(-0.06, 0.5, text),
        transform=ax.transAxes,
        rotation=90,
        ha="right",
        va="center",
        fontsize=TEXT,
        color=style.INK,
    )


def plane_of(
    workshop: Workshop, network: TrainedNetwork, analysis: Analysis, k: int, finer: int = 1
) -> Plane:
    """The alignment with the top k eigenvectors, over the plane of all training samples."""
    resolution = finer * workshop.resolution
    vectors = torch.from_numpy(np.array(analysis.eigenvectors[:, :k]))
    x, _ = network.data.train
    # Cosines need no more than float32, which takes half the time.
    return plane_of_inputs(workshop.problem(network, "float32"), vectors.float(), x, resolution)


def plane_row(
    axes: Sequence[Axes],
    analysis: Analysis,
    names: Names,
    *,
    grid: Plane | None = None,
    titles: Names | None = None,
    scale: float = 0.5,
) -> PlaneDisplay:
    """Decision regions, then the alignment with each top eigenvector, one panel each.

    Parameters
    ----------
    axes : sequence of Axes
    analysis : Analysis
    names : sequence of str
        Of the classes.
    grid : Plane, optional
        Default: the analysis' own.
    titles : sequence of str, optional
        One a panel.
    scale : float
        Of lines and markers, against the screen.
    """
    plane = analysis.grid if grid is None else grid
    assert plane is not None
    shown = len(axes) - 1
    rows = analysis.input_indices
    display = PlaneDisplay(
        plane,
        inputs=analysis.inputs,
        labels=analysis.labels[rows],
        predictions=analysis.predictions[rows],
        n_eigenvectors=shown,
        class_names=names,
    )
    places = [ax.get_position() for ax in axes]
    display.plot(list(axes))
    _strip(display.ax_, display.colorbar_)
    for ax, index in zip(axes[1:], range(shown), strict=True):
        _as_image(ax, display, index)
    if titles is None:
        values = analysis.eigenvalues[:shown]
        titles = ["decision regions", *(vector_name(i, v) for i, v in enumerate(values))]
    for ax, place, title in zip(axes, places, titles, strict=True):
        ax.set_position(place)
        fit(ax, title, scale=scale)
    return display


def embedding_row(
    axes: Sequence[Axes],
    embedding: Any,
    analysis: Analysis,
    names: Names,
    first: str,
    scale: float = 0.45,
) -> EmbeddingDisplay:
    """Classes, then the alignment with each top eigenvector, on an embedding of the samples."""
    shown = len(axes) - 1
    display = EmbeddingDisplay(
        embedding,
        analysis.labels,
        analysis.training_alignment,
        n_eigenvectors=shown,
        class_names=names,
    )
    places = [ax.get_position() for ax in axes]
    display.plot(list(axes))
    _strip(display.ax_, display.colorbar_)
    titles = [first, *(vector_name(i, v) for i, v in enumerate(analysis.eigenvalues[:shown]))]
    for ax, place, title in zip(axes, places, titles, strict=True):
        ax.set_position(place)
        fit(ax, title, scale=scale)
    return display


def alignment_map(
    ax: Axes, analysis: Analysis, names: Names, shown: int, title: str, *, named: bool = True
) -> AlignmentDisplay:
    """The training samples, sorted by class, against the top eigenvectors."""
    display = AlignmentDisplay(
        analysis.training_alignment,
        analysis.labels,
        n_eigenvectors=shown,
        class_names=names,
    )
    place = ax.get_position()
    display.plot(ax)
    display.colorbar_.remove()
    ax.set_position(place)
    fit(ax, title, scale=1)
    step = 1 if shown <= 5 else 5
    ticks = sorted({0, *range(step - 1, shown, step)})
    ax.set_yticks(ticks, [f"$v_{{{tick + 1}}}$" for tick in ticks], fontsize=SMALL)
    ax.tick_params(axis="y", length=0)
    for line in ax.lines:
        line.set_linewidth(0.7 if line.get_color() == style.INK else 0.3)
    # In a stack of maps one names the classes of all.
    for artist in (*display.strip_, *display.names_):
        artist.set_visible(named)
    return display


def spectrum(ax: Axes, analysis: Analysis, most: int = 25) -> SpectrumDisplay:
    """The largest eigenvalues, those that stand apart from the bulk in another colour."""
    found = analysis.outlier_count
    most = max(most, found.count + 5)
    values = np.concatenate([analysis.eigenvalues, analysis.next_eigenvalues])[:most]
    display = SpectrumDisplay(values, [], min(found.count, len(values)), found.resolved)
    display.plot(ax)
    legend = ax.get_legend()
    if legend is not None:
        legend.remove()
    count = f"{'' if found.resolved else '≥ '}{found.count}"
    fit(ax, f"{count} outlier{'' if count == '1' else 's'}", scale=0.55)
    ax.set_ylabel(r"$\lambda_i$", fontsize=TEXT)
    ax.set_xticks([1, *range(10, len(values) + 1, 10)])
    return display


def _as_image(ax: Axes, display: PlaneDisplay, index: int) -> None:
    """An interpolated image in place of a shaded mesh, which takes many times as long to draw."""
    display.surfaces_[index].remove()
    x, y = display.plane.first, display.plane.second
    dx, dy = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2  # pixels are centred on the grid's points
    ax.imshow(
        display.plane.alignment[..., index],
        origin="lower",
        extent=(x[0] - dx, x[-1] + dx, y[0] - dy, y[-1] + dy),
        aspect="auto",
        interpolation="bilinear",
        cmap=style.ALIGNMENT_MAP,
        norm=style.ALIGNMENT_RANGE,
        zorder=0,
    )
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])


def _strip(ax: Axes, bar: Colorbar | None) -> None:
    """Take away the colour bar and the legend: the page has its own."""
    if bar is not None:
        bar.remove()
    legend = ax.get_legend()
    if legend is not None:
        legend.remove()
