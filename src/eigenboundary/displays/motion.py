"""Decision regions of two-dimensional inputs as θ moves along a direction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from eigenboundary.boundary.motion import BoundaryMotion
from eigenboundary.displays import style
from eigenboundary.displays.arguments import check_labels, class_margins, names_of_classes, numbers
from eigenboundary.runtime.arguments import check_positive_integer
from eigenboundary.runtime.errors import InvalidInputError

Array = NDArray[np.float64]

_REGION_STRENGTH = 0.3
_MOST_POINTS = 300
# Classes a legend can still name.
_MOST_NAMED = 20
# Of the largest step: a smaller one is zero but for rounding.
_ROUNDING = 1e-12
_START_COLOR, _START_WIDTH = "#9ca3af", 1.3


class BoundaryMotionDisplay:
    r"""Decision regions as θ moves along a direction.

    The boundary at the step nearest 0, where it usually starts, is grey in each panel.

    Parameters
    ----------
    motion : BoundaryMotion
    inputs : array, shape (n, 2)
        Training samples; of more than 300, evenly spaced ones are drawn.
    labels : array of int, shape (n,)
    direction : str
        The direction's name, as in "$v_1$".
    n_panels : int
        Most panels; of more steps, evenly spaced ones are drawn.
    class_names : sequence of str, optional

    Attributes
    ----------
    figure_, ax_
        `ax_` is the first panel.
    axes_ : list of Axes
    shown_ : list of int
        The steps drawn, one a panel.
    regions_ : list of AxesImage
        Predicted classes as colours.
    boundaries_ : list of list of QuadContourSet
        By panel: the lines on which each class stops being predicted.

    Raises
    ------
    InvalidInputError
        If the inputs are not two-dimensional or shapes do not fit.
    """

    ax_: Axes
    axes_: list[Axes]
    figure_: Figure
    shown_: list[int]
    regions_: list[AxesImage]
    boundaries_: list[list[QuadContourSet]]

    def __init__(
        self,
        motion: BoundaryMotion,
        inputs: ArrayLike,
        labels: ArrayLike,
        *,
        direction: str = "$v$",
        n_panels: int = 5,
        class_names: Sequence[str] | None = None,
    ) -> None:
        check_positive_integer(n_panels, "n_panels")
        if not isinstance(motion, BoundaryMotion):
            raise InvalidInputError("motion", "be a BoundaryMotion", type(motion).__name__)
        self.motion, self.direction, self.n_panels = motion, direction, n_panels
        if min(len(motion.x), len(motion.y)) < 2:
            raise InvalidInputError(
                "motion",
                "have at least two grid points along each axis",
                f"{len(motion.x)} and {len(motion.y)}",
            )
        self.inputs = numbers(inputs, "inputs", ndim=2)
        if self.inputs.shape[1] != 2:
            raise InvalidInputError(
                "inputs", "have two features to be drawn in a plane", f"{self.inputs.shape[1]}"
            )
        self.labels = check_labels(labels, len(self.inputs))
        n_classes = max(motion.outputs.shape[-1], int(self.labels.max(initial=0)) + 1)
        self.class_names = names_of_classes(class_names, n_classes)

    def plot(self, axes: Any = None) -> BoundaryMotionDisplay:
        """Draw on ``axes`` (an empty Figure, or axes for each panel), or a new pyplot figure.

        Returns
        -------
        BoundaryMotionDisplay
            Itself.
        """
        m = len(self.motion.steps)
        self.shown_ = (
            np.unique(np.linspace(0, m - 1, min(m, self.n_panels)).round()).astype(int).tolist()
        )
        with style.styled():
            self.figure_, self.axes_, own = style.several_axes(
                axes, len(self.shown_), panel=(2.4, 2.5), columns=5
            )
            self.ax_ = self.axes_[0]
            self.regions_, self.boundaries_ = [], []
            for ax, index in zip(self.axes_, self.shown_, strict=True):
                regions, boundaries = self._draw(ax, index)
                self.regions_.append(regions)
                self.boundaries_.append(boundaries)
            self._legend(self.figure_, self.ax_, own)
        return self

    def save_animation(self, path: str | Path, *, fps: int = 12, dpi: int = 110) -> Path:
        """Write all steps, there and back, as an animated GIF.

        Parameters
        ----------
        path : str or Path
            Ends in ``.gif``.
        fps : int
            Frames a second.
        dpi : int

        Returns
        -------
        Path

        Raises
        ------
        InvalidInputError
            If the path does not end in ``.gif``, or its folder is not there.
        """
        check_positive_integer(fps, "fps")
        check_positive_integer(dpi, "dpi")
        target = Path(path)
        if target.suffix.lower() != ".gif" or not target.parent.is_dir():
            raise InvalidInputError(
                "path", "end in .gif and lie in a folder that exists", repr(str(path))
            )
        order = [*range(len(self.motion.steps)), *range(len(self.motion.steps) - 2, 0, -1)]
        with style.styled():
            figure = Figure(figsize=(4.8, 5.0), layout="constrained")
            FigureCanvasAgg(figure)
            ax = figure.add_subplot()
            self._legend(figure, ax, below=True)
            writer = PillowWriter(fps=fps)
            with writer.saving(figure, str(target), dpi):
                for index in order:
                    ax.clear()
                    self._draw(ax, index)
                    writer.grab_frame()
        return target

    # -------------------------------------------------------------------------- one panel

    def _draw(self, ax: Axes, index: int) -> tuple[AxesImage, list[QuadContourSet]]:
        outputs = self.motion.outputs[index]
        n_classes = outputs.shape[-1]
        palette = np.array([to_rgb(style.class_color(c)) for c in range(n_classes)])
        tints = 1 - _REGION_STRENGTH * (1 - palette)
        regions = ax.imshow(
            tints[self.motion.predictions[index]],
            origin="lower",
            extent=self._extent,
            aspect="auto",
            interpolation="nearest",
        )
        start = self.motion.outputs[self._start]
        self._contours(ax, start, colors=_START_COLOR, linewidths=_START_WIDTH)
        boundaries = self._contours(ax, outputs, colors=style.INK, linewidths=1.4)
        self._points(ax)
        ax.set_title(self._panel_title(index))
        ax.set_xlim(self.motion.x[0], self.motion.x[-1])
        ax.set_ylim(self.motion.y[0], self.motion.y[-1])
        ax.set_xticks([])
        ax.set_yticks([])
        for side in ax.spines.values():
            side.set_visible(False)
        return regions, boundaries

    @property
    def _start(self) -> int:
        return int(np.abs(self.motion.steps).argmin())

    @property
    def _extent(self) -> tuple[float, float, float, float]:
        # Pixels are centred on the grid's points.
        x, y = self.motion.x, self.motion.y
        dx, dy = (x[-1] - x[0]) / (len(x) - 1) / 2, (y[-1] - y[0]) / (len(y) - 1) / 2
        return x[0] - dx, x[-1] + dx, y[0] - dy, y[-1] + dy

    def _contours(self, ax: Axes, outputs: NDArray[np.float32], **how: Any) -> list[QuadContourSet]:
        return [
            ax.contour(self.motion.x, self.motion.y, margin, levels=[0.0], zorder=2, **how)
            for margin in class_margins(outputs)
        ]

    def _points(self, ax: Axes) -> None:
        n = len(self.inputs)
        drawn = np.unique(np.linspace(0, max(n - 1, 0), min(n, _MOST_POINTS)).round().astype(int))
        x, labels = self.inputs[drawn], self.labels[drawn]
        for label in np.unique(labels):
            ax.scatter(
                x[labels == label, 0],
                x[labels == label, 1],
                s=15,
                marker=style.class_marker(int(label)),
                color=style.class_color(int(label)),
                edgecolors="white",
                linewidths=0.4,
                zorder=3,
            )

    def _legend(self, figure: Figure, ax: Axes, below: bool) -> None:
        classes = np.unique(self.labels).tolist()
        handles = (
            style.class_handles(classes, self.class_names) if len(classes) <= _MOST_NAMED else []
        )
        line = Line2D([], [], color=_START_COLOR, linewidth=_START_WIDTH)
        line.set_label(f"at {self._panel_title(self._start)}")
        handles.append(line)
        if below:
            columns = style.legend_columns(figure, handles)
            figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        else:
            ax.legend(handles=handles, loc="best")

    def _panel_title(self, index: int) -> str:
        step = float(self.motion.steps[index])
        if abs(step) <= _ROUNDING * np.abs(self.motion.steps).max():
            return r"$\theta$"
        sign = "+" if step > 0 else "−"
        return rf"$\theta$ {sign} {style.format_number(abs(step), 2)} {self.direction}"
