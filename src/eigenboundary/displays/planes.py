"""Planes of inputs: decision regions, alignments, and how regions move with θ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import to_rgb
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, label

from eigenboundary.boundary.motion import BoundaryMotion
from eigenboundary.boundary.planes import Plane
from eigenboundary.displays import arguments, style
from eigenboundary.displays.arguments import Array
from eigenboundary.displays.base import Display
from eigenboundary.runtime.arguments import check_instance, check_integer
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.formats import format_number

if TYPE_CHECKING:
    from typing_extensions import Self

    from eigenboundary.analysis.result import Analysis

_REGION_STRENGTH = 0.3
_MOST_POINTS = 1000
# Depth of a region that has room for its name, as a share of the picture's smaller side.
_ROOM = 0.045
# Distance from the three points at which names begin, as a share of the picture's width.
_AROUND_POINTS = 0.08
_SECTION_NAMES = ("$x_t^+$", "$x_t^-$", "$x_b$")
_MOST_IN_MOTION = 300
_START_COLOR, _START_WIDTH = "#9ca3af", 1.3
# A step smaller than this share of the largest one is zero but for rounding.
_ROUNDING = 1e-12


class PlaneDisplay(Display):
    r"""Decision regions on a plane of inputs, then the alignment of each eigenvector there.

    On a plane through three inputs lengths are Euclidean distances of inputs. Where such a plane
    was computed with a box, what lies outside is veiled and its edge dashed.

    Parameters
    ----------
    plane : Plane
        The plane of two-dimensional inputs, or one through three inputs.
    eigenvalues : array, shape (k,), optional
        Named in the panels' titles.
    inputs : array, shape (n, 2), optional
        Samples on the plane of two-dimensional inputs; of more than 1,000, evenly spaced ones are
        drawn.
    labels : array of int, shape (n,), optional
        Classes of the samples.
    predictions : array of int, shape (n,), optional
        Samples predicted otherwise than labelled are crossed out.
    n_eigenvectors : int, optional
        Panels besides the first; default: the top five, and the eigenvector of the section whose
        points span the plane.
    eigenvectors : sequence of int, optional
        Which eigenvectors to draw instead, from 0.
    names : sequence of three str, optional
        Names of the three inputs; default: :math:`x_t^+, x_t^-, x_b` on the plane of a section.
    class_names : sequence of str, optional

    Attributes
    ----------
    regions_ : AxesImage
        Predicted classes as colours, in the first panel.
    boundaries_ : list of list of QuadContourSet
        By panel: the lines on which each class stops being predicted.
    surfaces_ : list of QuadMesh
        Alignment on the grid, one an eigenvector.
    samples_ : list of list of PathCollection
        By panel, the samples, one collection a class.
    points_ : list of PathCollection
        By panel, the three inputs that span the plane.
    labels_ : list of Annotation
        Names of the three inputs, in the first panel.
    region_names_ : list of Text
        The class of each region that has room for it, in the first panel of a plane without
        samples.
    colorbar_ : Colorbar or None
        None where no alignment is drawn.

    Raises
    ------
    InvalidInputError
        If the plane lacks an eigenvector that is asked for, or shapes do not fit.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> from matplotlib.figure import Figure
    >>> plane = eb.input_plane(torch.nn.Linear(5, 2), torch.eye(5)[:3], resolution=20)
    >>> len(eb.PlaneDisplay(plane).plot(Figure()).axes_)
    1
    """

    def __init__(
        self,
        plane: Plane,
        eigenvalues: ArrayLike | None = None,
        *,
        inputs: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        predictions: ArrayLike | None = None,
        n_eigenvectors: int | None = None,
        eigenvectors: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.plane = plane
        k, n_classes = plane.alignment.shape[-1], plane.outputs.shape[-1]
        self.eigenvalues = arguments.check_eigenvalues(eigenvalues, k)
        self.eigenvectors = _shown(plane, n_eigenvectors, eigenvectors)
        self.inputs: Array | None = None
        if inputs is not None:
            if plane.origin.shape != (2,):
                wanted = "be of two-dimensional inputs to show samples"
                raise InvalidInputError("plane", wanted, f"{plane.origin.shape}")
            self.inputs = plane.project(arguments.check_flat_inputs(inputs))
            self.labels = arguments.check_labels(labels, len(self.inputs))
            n_classes = max(n_classes, int(self.labels.max(initial=0)) + 1)
            given = self.labels if predictions is None else predictions
            self.predictions = arguments.check_labels(given, len(self.inputs), "predictions")
        if names is None:
            names = () if plane.eigenvector is None else _SECTION_NAMES
        else:
            arguments.check_count(names, "names", 3, "a point")
        self.names = [str(name) for name in names]
        self.class_names = arguments.names_of_classes(class_names, n_classes)
        self.region_labels = self.class_names if class_names else [*map(str, range(n_classes))]
        self._arrange(1 + len(self.eigenvectors), self._panel)

    @classmethod
    def from_analysis(
        cls, analysis: Analysis, index: int | None = None, *, ax: Any = None, **options: Any
    ) -> Self:
        """Draw a plane that an analysis holds.

        Parameters
        ----------
        analysis : Analysis
        index : int, optional
            Eigenvector, from 0, whose section spans the plane; default: the plane of
            two-dimensional inputs with the training samples, else that of the first section.
        ax, **options
            As for :meth:`AnalysisDisplay.from_analysis`.

        Raises
        ------
        InvalidInputError
            If the analysis does not hold that plane.
        """
        kept = {plane.eigenvector: plane for plane in analysis.planes}
        first = next(iter(analysis.planes), None) if analysis.grid is None else analysis.grid
        plane = first if index is None else kept.get(index)
        if plane is None and not kept:
            call = "grid=100" if analysis.input_shape == (2,) else "margins=True"
            wanted = f"have a plane of inputs (analyze(..., {call}) or input_plane)"
            raise InvalidInputError("analysis", wanted, "one without")
        if plane is None:
            wanted = f"be one of {', '.join(map(str, kept))}, whose planes the analysis has"
            raise InvalidInputError("index", wanted, f"{index!r} (input_plane evaluates others)")
        values = analysis.eigenvalues[: plane.alignment.shape[-1]]
        given: dict[str, Any] = {"plane": plane, "eigenvalues": values}
        given["class_names"] = analysis.class_names or None
        if plane is analysis.grid:
            rows = analysis.input_indices
            given |= {"inputs": analysis.inputs, "labels": analysis.labels[rows]}
            given["predictions"] = analysis.predictions[rows]
        return cls(**given | options).plot(ax)

    @property
    def _panel(self) -> tuple[float, float]:
        """Width and height in inches that suit the plane's shape."""
        if not len(self.plane.points):
            return 3.0, 2.9
        wide, high = np.ptp(self.plane.first), np.ptp(self.plane.second)
        scale = 3.1 / max(wide, high)
        # The colour bar takes its width from the panels.
        beside = 0.2 if self.eigenvectors else 0.0
        return max(1.9, float(wide * scale)) + beside, float(high * scale) + 0.3

    def _draw(self) -> None:
        self.boundaries_: list[list[QuadContourSet]] = []
        self.samples_: list[list[PathCollection]] = []
        self.points_: list[PathCollection] = []
        self.regions_ = _regions(self.ax_, self.plane)
        self._overlay(self.ax_, 1.3, 26.0)
        self.region_names_ = self._name_regions(self.ax_) if self.inputs is None else []
        if self.inputs is not None:
            x, y = self.inputs[self.predictions != self.labels].T
            self.ax_.scatter(x, y, s=28, marker="x", color=style.INK, linewidths=1.0, zorder=4)
        self.ax_.set_title("decision regions")
        panels = zip(self.axes_[1:], self.eigenvectors, strict=True)
        self.surfaces_ = [self._draw_alignment(ax, index) for ax, index in panels]
        self.labels_ = self._label(self.ax_)
        self.colorbar_: Colorbar | None = None
        if self.surfaces_:
            bar = style.ALIGNMENT_BAR
            self.colorbar_ = self._colorbar(self.surfaces_[0], "alignment $A_i(x)$", **bar)
        self._legend(self._handles())

    def _draw_alignment(self, ax: Axes, index: int) -> QuadMesh:
        plane = self.plane
        how = style.ALIGNMENT | {"shading": "gouraud", "rasterized": True, "zorder": 0}
        surface = ax.pcolormesh(plane.first, plane.second, plane.alignment[..., index], **how)
        self._overlay(ax, 1.2, 11.0)
        own = "  (section)" if index == plane.eigenvector else ""
        ax.set_title(style.eigenvector_title(index, self.eigenvalues[index]) + own)
        return surface

    def _overlay(self, ax: Axes, width: float, size: float) -> None:
        """Draw what every panel has: boundary, box, and samples or the three points."""
        plane = self.plane
        self.boundaries_.append(_boundary(ax, plane, style.INK, width))
        if not plane.inside.all():
            self._veil(ax)
        if self.inputs is not None:
            size = size if len(self.inputs) < 300 else 0.6 * size
            self.samples_.append(_samples(ax, self.inputs, self.labels, _MOST_POINTS, size))
        if len(plane.points):
            how: dict[str, Any] = {"s": 34, "edgecolors": style.INK, "linewidths": 1.3}
            self.points_.append(ax.scatter(*plane.points.T, color="white", zorder=4, **how))
        ax.set_aspect("equal" if len(plane.points) else "auto")

    def _veil(self, ax: Axes) -> None:
        """Veil what lies outside the box."""
        # Smoothed, or the edge would follow the grid in steps.
        outside = gaussian_filter(1.0 - self.plane.inside, 0.7)
        drawn = (self.plane.first, self.plane.second, outside)
        ax.contourf(*drawn, levels=[0.5, 1.5], colors=["white"], alpha=0.5, zorder=1)
        if self.plane.inside.any():
            how: dict[str, Any] = {"linewidths": 0.9, "linestyles": "dashed", "zorder": 2}
            ax.contour(*drawn, levels=[0.5], colors=[style.MUTED], **how)

    def _name_regions(self, ax: Axes) -> list[Text]:
        """Name regions where they are widest: tints alone are hard to tell apart."""
        plane = self.plane
        grid = np.stack(np.meshgrid(plane.first, plane.second), axis=-1)
        distances = np.linalg.norm(grid[..., np.newaxis, :] - plane.points, axis=-1)
        clear = distances.min(-1, initial=np.inf) > _AROUND_POINTS * np.ptp(plane.first)
        found: list[Text] = []
        for predicted in np.unique(plane.predictions).tolist():
            text = self.region_labels[predicted]
            room = _ROOM * max(1.0, len(text) / 3) * min(clear.shape)
            pieces, count = label(plane.predictions == predicted)
            for piece in range(1, count + 1):
                # The picture's edge is an edge of the region, too.
                depth = distance_transform_edt(np.pad((pieces == piece) & clear, 1))[1:-1, 1:-1]
                if depth.max() < room:
                    continue
                row, column = np.unravel_index(depth.argmax(), depth.shape)
                x, y = float(plane.first[column]), float(plane.second[row])
                how: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8.5}
                found.append(ax.text(x, y, text, zorder=3, **how))
        return found

    def _label(self, ax: Axes) -> list[Annotation]:
        found = []
        for name, point in zip(self.names, self.plane.points, strict=False):
            # Away from the other points, so that names do not lie on what is between them.
            away = point - self.plane.points.mean(0)
            x, y = away / max(float(np.linalg.norm(away)), 1e-300)
            beside = abs(x) > 0.4
            align = ("left" if x > 0 else "right") if beside else "center"
            shift = 8.0 * float(np.sign(x)) * beside, 11.0 * float(y)
            box = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.7}
            how: dict[str, Any] = {"textcoords": "offset points", "va": "center", "zorder": 3}
            found.append(ax.annotate(name, tuple(point), shift, ha=align, bbox=box, **how))
        return found

    def _handles(self) -> list[Line2D]:
        """Return legend entries: the samples' classes, else those predicted on the plane."""
        if self.inputs is not None:
            return style.class_handles(np.unique(self.labels).tolist(), self.class_names)
        classes = np.unique(self.plane.predictions).tolist()
        handles = style.class_handles(classes, self.class_names)
        for handle, c in zip(handles, classes, strict=False):
            tint = tuple(_tints(self.plane)[c])
            handle.set(marker="s", markersize=9, markeredgewidth=1.0)
            handle.set(markerfacecolor=tint, markeredgecolor=tint)
        return handles


class BoundaryMotionDisplay(Display):
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
        Largest number of panels; of more steps, evenly spaced ones are drawn.
    class_names : sequence of str, optional

    Attributes
    ----------
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
        check_integer(n_panels, "n_panels")
        check_instance(motion, "motion", BoundaryMotion)
        self.motion, self.direction = motion, direction
        self._start = int(np.abs(motion.steps).argmin())
        if min(len(motion.x), len(motion.y)) < 2:
            wanted = "have at least two grid points along each axis"
            raise InvalidInputError("motion", wanted, f"{len(motion.x)} and {len(motion.y)}")
        self.inputs = arguments.check_flat_inputs(inputs)
        self.labels = arguments.check_labels(labels, len(self.inputs))
        n_classes = max(motion.outputs.shape[-1], int(self.labels.max(initial=0)) + 1)
        self.class_names = arguments.names_of_classes(class_names, n_classes)
        self.shown_: list[int] = arguments.evenly_spaced(len(motion.steps), n_panels).tolist()
        self._arrange(len(self.shown_), (2.4, 2.5), columns=5)

    def _draw(self) -> None:
        panels = zip(self.axes_, self.shown_, strict=True)
        drawn = [self._draw_step(ax, index) for ax, index in panels]
        self.regions_ = [regions for regions, _ in drawn]
        self.boundaries_ = [boundaries for _, boundaries in drawn]
        self._legend(self._handles())

    def save_animation(self, path: str | Path, *, fps: int = 12, dpi: int = 110) -> Path:
        """Write all steps, there and back, as an animated GIF, and return its path.

        Parameters
        ----------
        path : str or Path
            Ends in ``.gif``.
        fps : int
            Frames a second.
        dpi : int

        Raises
        ------
        InvalidInputError
            If the path does not end in ``.gif``, or its folder is not there.
        """
        check_integer(fps, "fps")
        check_integer(dpi, "dpi")
        target = Path(path)
        if target.suffix.lower() != ".gif" or not target.parent.is_dir():
            wanted = "end in .gif and lie in a folder that exists"
            raise InvalidInputError("path", wanted, repr(str(path)))
        order = [*range(len(self.motion.steps)), *range(len(self.motion.steps) - 2, 0, -1)]
        with style.styled():
            figure = Figure(figsize=(4.8, 5.0), layout="constrained")
            FigureCanvasAgg(figure)
            ax = figure.add_subplot()
            style.legend_below(figure, self._handles())
            writer = PillowWriter(fps=fps)
            with writer.saving(figure, str(target), dpi):
                for index in order:
                    ax.clear()
                    self._draw_step(ax, index)
                    writer.grab_frame()
        return target

    def _draw_step(self, ax: Axes, index: int) -> tuple[AxesImage, list[QuadContourSet]]:
        plane = self.motion.plane(index)
        regions = _regions(ax, plane)
        _boundary(ax, self.motion.plane(self._start), _START_COLOR, _START_WIDTH)
        boundaries = _boundary(ax, plane, style.INK, 1.4)
        _samples(ax, self.inputs, self.labels, _MOST_IN_MOTION, 15)
        ax.set_title(self._panel_title(index))
        return regions, boundaries

    def _handles(self) -> list[Line2D]:
        """Return legend entries of the classes and of the boundary at the start."""
        label = f"at {self._panel_title(self._start)}"
        return [
            *style.class_handles(np.unique(self.labels).tolist(), self.class_names),
            Line2D([], [], color=_START_COLOR, linewidth=_START_WIDTH, label=label),
        ]

    def _panel_title(self, index: int) -> str:
        step = float(self.motion.steps[index])
        if abs(step) <= _ROUNDING * np.abs(self.motion.steps).max():
            return r"$\theta$"
        sign = "+" if step > 0 else "−"
        return rf"$\theta$ {sign} {format_number(abs(step), 2)} {self.direction}"


def _regions(ax: Axes, plane: Plane) -> AxesImage:
    """Draw the predicted classes as colours, without ticks and spines."""
    x, y = plane.first, plane.second
    # Pixels are centred on the grid's points.
    dx, dy = (x[-1] - x[0]) / (len(x) - 1) / 2, (y[-1] - y[0]) / (len(y) - 1) / 2
    extent = (x[0] - dx, x[-1] + dx, y[0] - dy, y[-1] + dy)
    colors = _tints(plane)[plane.predictions]
    return ax.imshow(colors, origin="lower", extent=extent, **style.CELLS)


def _boundary(ax: Axes, plane: Plane, color: str, width: float) -> list[QuadContourSet]:
    """Draw the lines on which each class stops being predicted, on axes that show the plane."""
    ax.set_xlim(plane.first[0], plane.first[-1])
    ax.set_ylim(plane.second[0], plane.second[-1])
    style.bare(ax)
    how: dict[str, Any] = {"levels": [0.0], "colors": [color], "linewidths": width, "zorder": 2}
    return [ax.contour(plane.first, plane.second, m, **how) for m in plane.class_margins]


def _samples(
    ax: Axes, inputs: Array, labels: NDArray[np.int64], most: int, size: float
) -> list[PathCollection]:
    """Draw samples in the colour and marker of their class, at most so many."""
    drawn = arguments.evenly_spaced(len(inputs), most)
    return style.scatter_classes(ax, inputs[drawn], labels[drawn], s=size, linewidths=0.4, zorder=3)


def _tints(plane: Plane) -> Array:
    """Return the colours of the regions, (C, 3)."""
    palette = np.array([to_rgb(style.class_color(c)) for c in range(plane.outputs.shape[-1])])
    return 1 - _REGION_STRENGTH * (1 - palette)


def _shown(plane: Plane, count: int | None, wanted: Sequence[int] | None) -> list[int]:
    """Return the eigenvectors to draw, from 0."""
    k, own = plane.alignment.shape[-1], plane.eigenvector
    if wanted is None:
        top = set(range(arguments.eigenvectors_shown(count, k)))
        return sorted(top if count or own is None or own >= k else top | {own})
    for i, index in enumerate(wanted):
        check_integer(index, f"eigenvectors[{i}]", 0, k - 1)
    return [int(index) for index in wanted]
