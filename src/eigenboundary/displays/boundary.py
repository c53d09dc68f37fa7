"""The input plane: decision regions, and where each eigenvector aligns with the gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import to_rgb
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike, NDArray

from eigenboundary.boundary.planes import Plane
from eigenboundary.displays import style
from eigenboundary.displays.arguments import (
    check_labels,
    class_margins,
    eigenvectors_shown,
    names_of_classes,
    numbers,
)
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis


_MOST_POINTS = 1000
_REGION_STRENGTH = 0.3


class DecisionBoundaryDisplay:
    """Decision regions, then one panel an eigenvector with its alignment over the plane.

    Parameters
    ----------
    grid : Plane
    inputs : array, shape (n, 2)
        Training samples; of more than 1,000, evenly spaced ones are drawn.
    labels : array of int, shape (n,)
    predictions : array of int, shape (n,), optional
        Samples predicted otherwise than labelled are crossed out.
    eigenvalues : array, shape (k,), optional
        Named in the panels' titles.
    n_eigenvectors : int, optional
        Panels besides the first; default: the top five.
    class_names : sequence of str, optional

    Attributes
    ----------
    figure_, ax_
        `ax_` is the first panel.
    axes_ : list of Axes
    regions_ : AxesImage
        Predicted classes as colours, in the first panel.
    boundaries_ : list of list of QuadContourSet
        By panel: the lines on which each class stops being predicted.
    surfaces_ : list of QuadMesh
        Alignment on the grid, one an eigenvector.
    points_ : list of list of PathCollection
        By panel, one collection a class.
    colorbar_ : Colorbar

    Raises
    ------
    InvalidInputError
        If the inputs are not two-dimensional or shapes do not fit.
    """

    ax_: Axes
    axes_: list[Axes]
    figure_: Figure
    regions_: AxesImage
    boundaries_: list[list[QuadContourSet]]
    surfaces_: list[QuadMesh]
    points_: list[list[PathCollection]]
    colorbar_: Colorbar

    def __init__(
        self,
        grid: Plane,
        inputs: ArrayLike,
        labels: ArrayLike,
        predictions: ArrayLike | None = None,
        eigenvalues: ArrayLike | None = None,
        *,
        n_eigenvectors: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.grid = grid
        self.inputs = numbers(inputs, "inputs", ndim=2)
        if self.inputs.shape[1] != 2:
            raise InvalidInputError(
                "inputs", "have two features to be drawn in a plane", f"{self.inputs.shape[1]}"
            )
        n, k = len(self.inputs), grid.alignment.shape[-1]
        self.labels = check_labels(labels, n)
        self.predictions = (
            None if predictions is None else check_labels(predictions, n, "predictions")
        )
        self.eigenvalues = None if eigenvalues is None else numbers(eigenvalues, "eigenvalues")
        if self.eigenvalues is not None and len(self.eigenvalues) != k:
            raise InvalidInputError(
                "eigenvalues", f"be {k}, one an eigenvector", f"{len(self.eigenvalues)}"
            )
        self.n_eigenvectors = eigenvectors_shown(n_eigenvectors, k)
        n_classes = max(grid.outputs.shape[-1], int(self.labels.max(initial=0)) + 1)
        self.class_names = names_of_classes(class_names, n_classes)

    @classmethod
    def from_analysis(
        cls,
        analysis: Analysis,
        *,
        n_eigenvectors: int | None = None,
        class_names: Sequence[str] | None = None,
        axes: Any = None,
    ) -> DecisionBoundaryDisplay:
        """Draw the plane of an analysis of two-dimensional inputs.

        Raises
        ------
        InvalidInputError
            If the analysis has no grid.
        """
        if analysis.grid is None:
            raise InvalidInputError(
                "analysis",
                "have a grid (two-dimensional inputs, analyze(..., grid=100))",
                f"one of inputs of shape {analysis.input_shape} without a grid",
            )
        display = cls(
            analysis.grid,
            analysis.inputs,
            analysis.labels[analysis.input_indices],
            analysis.predictions[analysis.input_indices],
            analysis.eigenvalues,
            n_eigenvectors=n_eigenvectors,
            class_names=class_names,
        )
        return display.plot(axes)

    def plot(self, axes: Any = None) -> DecisionBoundaryDisplay:
        """Draw on ``axes`` (an empty Figure, or axes for each panel), or a new pyplot figure.

        Returns
        -------
        DecisionBoundaryDisplay
            Itself.
        """
        count = 1 + self.n_eigenvectors
        with style.styled():
            self.figure_, self.axes_, own = style.several_axes(axes, count, panel=(3.0, 2.9))
            self.ax_ = self.axes_[0]
            self.boundaries_, self.surfaces_, self.points_ = [], [], []
            self._draw_regions(self.ax_)
            for index, ax in enumerate(self.axes_[1:]):
                self._draw_alignment(ax, index)
            self.colorbar_ = style.alignment_colorbar(
                self.figure_, self.surfaces_[0], self.axes_, "alignment $A_i(x)$"
            )
            style.class_legend(self.figure_, self.ax_, self.labels, self.class_names, own)
        return self

    def _draw_boundary(self, ax: Axes, width: float) -> None:
        self.boundaries_.append(
            [
                ax.contour(
                    *(self.grid.first, self.grid.second, margin),
                    levels=[0.0],
                    colors=[style.INK],
                    linewidths=width,
                    zorder=2,
                )
                for margin in class_margins(self.grid.outputs)
            ]
        )

    def _draw_regions(self, ax: Axes) -> None:
        n_classes = self.grid.outputs.shape[-1]
        palette = np.array([to_rgb(style.class_color(c)) for c in range(n_classes)])
        tints = 1 - _REGION_STRENGTH * (1 - palette)
        self.regions_ = ax.imshow(
            tints[self.grid.predictions],
            origin="lower",
            extent=self._extent,
            aspect="auto",
            interpolation="nearest",
        )
        self._draw_boundary(ax, 1.3)
        self._draw_points(ax, 26.0)
        self._draw_errors(ax)
        ax.set_title("decision regions")
        self._finish(ax)

    def _draw_alignment(self, ax: Axes, index: int) -> None:
        self.surfaces_.append(
            ax.pcolormesh(
                *(self.grid.first, self.grid.second, self.grid.alignment[..., index]),
                cmap=style.ALIGNMENT_MAP,
                norm=style.ALIGNMENT_RANGE,
                shading="gouraud",
                rasterized=True,
                zorder=0,
            )
        )
        self._draw_boundary(ax, 1.2)
        self._draw_points(ax, 11.0)
        eigenvalue = None if self.eigenvalues is None else float(self.eigenvalues[index])
        ax.set_title(style.eigenvector_title(index, eigenvalue))
        self._finish(ax)

    @property
    def _drawn(self) -> NDArray[np.int64]:
        n = len(self.inputs)
        return np.unique(np.linspace(0, max(n - 1, 0), min(n, _MOST_POINTS)).round().astype(int))

    def _draw_points(self, ax: Axes, size: float) -> None:
        x, labels = self.inputs[self._drawn], self.labels[self._drawn]
        self.points_.append(
            [
                ax.scatter(
                    x[labels == label, 0],
                    x[labels == label, 1],
                    s=size if len(x) < 300 else 0.6 * size,
                    marker=style.class_marker(int(label)),
                    color=style.class_color(int(label)),
                    edgecolors="white",
                    linewidths=0.4,
                    zorder=3,
                )
                for label in np.unique(labels)
            ]
        )

    def _draw_errors(self, ax: Axes) -> None:
        if self.predictions is None:
            return
        wrong = self.inputs[self.predictions != self.labels]
        if len(wrong):
            ax.scatter(
                wrong[:, 0],
                wrong[:, 1],
                s=28,
                marker="x",
                color=style.INK,
                linewidths=1.0,
                zorder=4,
            )

    @property
    def _extent(self) -> tuple[float, float, float, float]:
        # Pixels are centred on the grid's points.
        x, y = self.grid.first, self.grid.second
        dx, dy = (x[-1] - x[0]) / (len(x) - 1) / 2, (y[-1] - y[0]) / (len(y) - 1) / 2
        return x[0] - dx, x[-1] + dx, y[0] - dy, y[-1] + dy

    def _finish(self, ax: Axes) -> None:
        ax.set_xlim(self.grid.first[0], self.grid.first[-1])
        ax.set_ylim(self.grid.second[0], self.grid.second[-1])
        ax.set_xticks([])
        ax.set_yticks([])
        for side in ax.spines.values():
            side.set_visible(False)
