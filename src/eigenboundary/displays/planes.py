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
from eigenboundary.displays import style
from eigenboundary.displays.arguments import (
    Array,
    check_eigenvalues,
    check_flat_inputs,
    check_labels,
    eigenvectors_shown,
    evenly_spaced,
    names_of_classes,
)
from eigenboundary.displays.base import AnalysisDisplay, Display
from eigenboundary.runtime.arguments import check_integer
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from typing_extensions import Self

    from eigenboundary.analysis.result import Analysis

_REGION_STRENGTH = 0.3
_MOST_POINTS = 1000
# Depth of a region that has room for its name, as a share of the picture's smaller side.
_ROOM = 0.045
# Distance from the three points at which names begin, as a share of the picture's width.
_AROUND_POINTS = 0.08
# Names of the three points of a section.
_SECTION_NAMES = ("$x_t^+$", "$x_t^-$", "$x_b$")
_MOST_IN_MOTION = 300
_START_COLOR, _START_WIDTH = "#9ca3af", 1.3
# A step smaller than this share of the largest one is zero but for rounding.
_ROUNDING = 1e-12


class PlaneDisplay(AnalysisDisplay):
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
    figure_, axes_, ax_
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
        self.eigenvalues = check_eigenvalues(eigenvalues, k)
        self.eigenvectors = _shown(plane, n_eigenvectors, eigenvectors)
        self.inputs: Array | None = None
        if inputs is not None:
            if plane.origin.shape != (2,):
                raise InvalidInputError(
                    "plane", "be of two-dimensional inputs to show samples", f"{plane.origin.shape}"
                )
            self.inputs = plane.project(check_flat_inputs(inputs))
            self.labels = check_labels(labels, len(self.inputs))
            n_classes = max(n_classes, int(self.labels.max(initial=0)) + 1)
            given = self.labels if predictions is None else predictions
            self.predictions = check_labels(given, len(self.inputs), "predictions")
        if names is None:
            names = () if plane.eigenvector is None else _SECTION_NAMES
        elif len(names) != 3:
            raise InvalidInputError("names", "be 3, one a point", f"{len(names)}")
        self.names = [str(name) for name in names]
        self.class_names = names_of_classes(class_names, n_classes)
        numbered = class_names is None
        self.region_labels = [str(c) for c in range(n_classes)] if numbered else self.class_names
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
        ax : Axes, sequence of Axes or Figure, optional
            As for :meth:`plot`.
        **options
            Optional arguments of the class.

        Raises
        ------
        InvalidInputError
            If the analysis does not hold that plane.
        """
        return cls(**cls._arguments(analysis, index) | options).plot(ax)

    @staticmethod
    def _arguments(analysis: Analysis, index: int | None = None) -> dict[str, Any]:
        names = analysis.class_names or None
        if index is None and analysis.grid is not None:
            rows = analysis.input_indices
            return {
                "plane": analysis.grid,
                "eigenvalues": analysis.eigenvalues,
                "class_names": names,
                "inputs": analysis.inputs,
                "labels": analysis.labels[rows],
                "predictions": analysis.predictions[rows],
            }
        kept = {plane.eigenvector: plane for plane in analysis.planes}
        if not kept:
            flat = analysis.input_shape == (2,)
            call = f"analyze(..., {'grid=100' if flat else 'margins=True'})"
            raise InvalidInputError(
                "analysis", f"have a plane of inputs ({call} or input_plane)", "one without"
            )
        if index is not None and index not in kept:
            raise InvalidInputError(
                "index",
                f"be one of {', '.join(map(str, kept))}, whose planes the analysis has",
                f"{index!r} (input_plane evaluates others)",
            )
        plane = analysis.planes[0] if index is None else kept[index]
        values = analysis.eigenvalues[: plane.alignment.shape[-1]]
        return {"plane": plane, "eigenvalues": values, "class_names": names}

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
        self.surfaces_: list[QuadMesh] = []
        self.samples_: list[list[PathCollection]] = []
        self.points_: list[PathCollection] = []
        self.region_names_: list[Text] = []
        self._draw_regions(self.ax_)
        for index, ax in zip(self.eigenvectors, self.axes_[1:], strict=True):
            self._draw_alignment(ax, index)
        self.labels_ = self._label(self.ax_)
        self.colorbar_: Colorbar | None = None
        if self.surfaces_:
            self.colorbar_ = self._colorbar(
                self.surfaces_[0], "alignment $A_i(x)$", **style.ALIGNMENT_BAR
            )
        self._legend(self._handles())

    def _draw_regions(self, ax: Axes) -> None:
        self.regions_ = _regions(ax, self.plane)
        self._overlay(ax, 1.3, 26.0)
        if self.inputs is None:
            self.region_names_ = self._name_regions(ax)
        else:
            wrong = self.inputs[self.predictions != self.labels]
            how: dict[str, Any] = {"color": style.INK, "linewidths": 1.0, "zorder": 4}
            ax.scatter(wrong[:, 0], wrong[:, 1], s=28, marker="x", **how)
        ax.set_title("decision regions")

    def _draw_alignment(self, ax: Axes, index: int) -> None:
        plane = self.plane
        self.surfaces_.append(
            ax.pcolormesh(
                *(plane.first, plane.second, plane.alignment[..., index]),
                cmap=style.ALIGNMENT_MAP,
                norm=style.ALIGNMENT_RANGE,
                shading="gouraud",
                rasterized=True,
                zorder=0,
            )
        )
        self._overlay(ax, 1.2, 11.0)
        own = "  (section)" if index == plane.eigenvector else ""
        ax.set_title(style.eigenvector_title(index, self.eigenvalues[index]) + own)

    def _overlay(self, ax: Axes, width: float, size: float) -> None:
        """Draw what every panel has: boundary, box, and samples or the three points."""
        plane = self.plane
        self.boundaries_.append(_boundary(ax, plane, style.INK, width))
        if not plane.inside.all():
            self._veil(ax)
        if self.inputs is not None:
            size = size if len(self.inputs) < 300 else 0.6 * size
            drawn = _samples(ax, self.inputs, self.labels, _MOST_POINTS, size)
            self.samples_.append(drawn)
        if len(plane.points):
            how: dict[str, Any] = {"color": "white", "edgecolors": style.INK, "linewidths": 1.3}
            x, y = plane.points.T
            self.points_.append(ax.scatter(x, y, s=34, zorder=4, **how))
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
        clear = self._clear_of_points()
        found: list[Text] = []
        how: dict[str, Any] = {"fontsize": 8.5, "zorder": 3}
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
                place = float(plane.first[column]), float(plane.second[row])
                found.append(ax.text(*place, text, ha="center", va="center", **how))
        return found

    def _clear_of_points(self) -> NDArray[np.bool_]:
        """Return where on the grid none of the three points is near."""
        plane = self.plane
        grid = np.stack(np.meshgrid(plane.first, plane.second), axis=-1)
        distances = np.linalg.norm(grid[..., np.newaxis, :] - plane.points, axis=-1)
        near = _AROUND_POINTS * np.ptp(plane.first)
        return np.asarray(distances.min(-1, initial=np.inf) > near)

    def _label(self, ax: Axes) -> list[Annotation]:
        found = []
        for name, point in zip(self.names, self.plane.points, strict=False):
            # Away from the other points, so that names do not lie on what is between them.
            away = point - self.plane.points.mean(0)
            x, y = away / max(float(np.linalg.norm(away)), 1e-300)
            beside = abs(x) > 0.4
            found.append(
                ax.annotate(
                    name,
                    tuple(point),
                    xytext=(8.0 * float(np.sign(x)) * beside, 11.0 * float(y)),
                    textcoords="offset points",
                    ha=("left" if x > 0 else "right") if beside else "center",
                    va="center",
                    bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.7},
                    zorder=3,
                )
            )
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
    figure_, axes_, ax_
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
        if not isinstance(motion, BoundaryMotion):
            raise InvalidInputError("motion", "be a BoundaryMotion", type(motion).__name__)
        self.motion, self.direction = motion, direction
        self._start = int(np.abs(motion.steps).argmin())
        if min(len(motion.x), len(motion.y)) < 2:
            raise InvalidInputError(
                "motion",
                "have at least two grid points along each axis",
                f"{len(motion.x)} and {len(motion.y)}",
            )
        self.inputs = check_flat_inputs(inputs)
        self.labels = check_labels(labels, len(self.inputs))
        n_classes = max(motion.outputs.shape[-1], int(self.labels.max(initial=0)) + 1)
        self.class_names = names_of_classes(class_names, n_classes)
        self.shown_: list[int] = evenly_spaced(len(motion.steps), n_panels).tolist()
        self._arrange(len(self.shown_), (2.4, 2.5), columns=5)

    def _draw(self) -> None:
        self.regions_: list[AxesImage] = []
        self.boundaries_: list[list[QuadContourSet]] = []
        for ax, index in zip(self.axes_, self.shown_, strict=True):
            regions, boundaries = self._draw_step(ax, index)
            self.regions_.append(regions)
            self.boundaries_.append(boundaries)
        self._legend(self._handles())

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
        check_integer(fps, "fps")
        check_integer(dpi, "dpi")
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
        return rf"$\theta$ {sign} {style.format_number(abs(step), 2)} {self.direction}"


def _regions(ax: Axes, plane: Plane) -> AxesImage:
    """Draw the predicted classes as colours, without ticks and spines."""
    x, y = plane.first, plane.second
    # Pixels are centred on the grid's points.
    dx, dy = (x[-1] - x[0]) / (len(x) - 1) / 2, (y[-1] - y[0]) / (len(y) - 1) / 2
    return ax.imshow(
        _tints(plane)[plane.predictions],
        origin="lower",
        extent=(x[0] - dx, x[-1] + dx, y[0] - dy, y[-1] + dy),
        aspect="auto",
        interpolation="nearest",
    )


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
    drawn = evenly_spaced(len(inputs), most)
    return style.scatter_classes(ax, inputs[drawn], labels[drawn], s=size, linewidths=0.4, zorder=3)


def _tints(plane: Plane) -> Array:
    """Return the colours of the regions, (C, 3)."""
    palette = np.array([to_rgb(style.class_color(c)) for c in range(plane.outputs.shape[-1])])
    return 1 - _REGION_STRENGTH * (1 - palette)


def _shown(plane: Plane, count: int | None, wanted: Sequence[int] | None) -> list[int]:
    """Return the eigenvectors to draw, from 0."""
    k, own = plane.alignment.shape[-1], plane.eigenvector
    if wanted is None:
        top = set(range(eigenvectors_shown(count, k)))
        return sorted(top if count or own is None or own >= k else top | {own})
    for index in wanted:
        whole = isinstance(index, int | np.integer) and not isinstance(index, bool)
        if not whole or not 0 <= index < k:
            raise InvalidInputError(
                "eigenvectors",
                f"be indices from 0 to below {k}, the number that the plane has",
                repr(index),
            )
    return [int(index) for index in wanted]
