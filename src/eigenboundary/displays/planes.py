"""The plane through three inputs: decision regions, and the alignment of each eigenvector."""

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
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, label

from eigenboundary.boundary.planes import Plane
from eigenboundary.displays import style
from eigenboundary.displays.arguments import class_margins, names_of_classes, numbers
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis


_REGION_STRENGTH = 0.3
# Of the picture's smaller side: the depth of a region that has room for its name.
_ROOM = 0.045
# Of its width: how far from the three points names begin.
_AROUND_POINTS = 0.08
_PANELS = 5
# Classes a legend can still name.
_MOST_NAMED = 20
#: What the three points of a section are called.
SECTION_NAMES = ("$x_t^+$", "$x_t^-$", "$x_b$")


class InputPlaneDisplay:
    """Decision regions on the plane, then one panel an eigenvector with its alignment there.

    Lengths are Euclidean distances of inputs. Where the plane was computed with a box, what lies
    outside is veiled and its edge dashed.

    Parameters
    ----------
    plane : Plane
    eigenvalues : array, shape (k,), optional
        Named in the panels' titles.
    eigenvectors : sequence of int, optional
        Which to draw, from 0; default: the top five, and that of the points' section.
    names : sequence of three str, optional
        Of the points; default: :math:`x_t^+, x_t^-, x_b` for those of a section, else none.
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
    points_ : list of PathCollection
        The three points, by panel.
    labels_ : list of Annotation
        Their names, in the first panel.
    region_names_ : list of Text
        The class of each region that has room for it, in the first panel.
    colorbar_ : Colorbar or None
        None where no alignment is drawn.

    Raises
    ------
    InvalidInputError
        If the plane lacks an eigenvector that is asked for, or lengths do not fit.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> from matplotlib.figure import Figure
    >>> plane = eb.input_plane(torch.nn.Linear(5, 2), torch.eye(5)[:3], resolution=20)
    >>> len(eb.InputPlaneDisplay.from_plane(plane, axes=Figure()).axes_)
    1
    """

    ax_: Axes
    axes_: list[Axes]
    figure_: Figure
    regions_: AxesImage
    boundaries_: list[list[QuadContourSet]]
    surfaces_: list[QuadMesh]
    points_: list[PathCollection]
    labels_: list[Annotation]
    region_names_: list[Text]
    colorbar_: Colorbar | None

    def __init__(
        self,
        plane: Plane,
        eigenvalues: ArrayLike | None = None,
        *,
        eigenvectors: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.plane = plane
        k = plane.alignment.shape[-1]
        self.eigenvalues = None if eigenvalues is None else numbers(eigenvalues, "eigenvalues")
        if self.eigenvalues is not None and len(self.eigenvalues) != k:
            raise InvalidInputError(
                "eigenvalues", f"be {k}, one an eigenvector", f"{len(self.eigenvalues)}"
            )
        self.eigenvectors = self._shown(eigenvectors, k)
        if names is None:
            names = () if plane.eigenvector is None else SECTION_NAMES
        elif len(names) != 3:
            raise InvalidInputError("names", "be 3, one a point", f"{len(names)}")
        self.names = [str(name) for name in names]
        n_classes = plane.outputs.shape[-1]
        self.class_names = names_of_classes(class_names, n_classes)
        numbered = class_names is None
        self.region_labels = [str(c) for c in range(n_classes)] if numbered else self.class_names

    @classmethod
    def from_plane(
        cls,
        plane: Plane,
        eigenvalues: ArrayLike | None = None,
        *,
        eigenvectors: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        axes: Any = None,
    ) -> InputPlaneDisplay:
        """Draw a plane from :func:`~eigenboundary.input_plane`."""
        display = cls(
            plane, eigenvalues, eigenvectors=eigenvectors, names=names, class_names=class_names
        )
        return display.plot(axes)

    @classmethod
    def from_analysis(
        cls,
        analysis: Analysis,
        index: int | None = None,
        *,
        eigenvectors: Sequence[int] | None = None,
        class_names: Sequence[str] | None = None,
        axes: Any = None,
    ) -> InputPlaneDisplay:
        """Draw a plane that an analysis with margins has kept: of its first sections.

        ``index`` is the section's eigenvector, from 0; default: that of the first plane.

        Raises
        ------
        InvalidInputError
            If the analysis has not kept that plane.
        """
        kept = {plane.eigenvector: plane for plane in analysis.planes}
        if not kept:
            raise InvalidInputError(
                "analysis",
                "have planes (analyze(..., margins=True) of inputs of more than two dimensions)",
                "one without (input_plane evaluates one)",
            )
        if index is not None and index not in kept:
            raise InvalidInputError(
                "index",
                f"be one of {', '.join(map(str, kept))}, whose planes the analysis has",
                f"{index!r} (input_plane evaluates others)",
            )
        plane = analysis.planes[0] if index is None else kept[index]
        return cls.from_plane(
            plane,
            analysis.eigenvalues[: plane.alignment.shape[-1]],
            eigenvectors=eigenvectors,
            class_names=class_names,
            axes=axes,
        )

    def _shown(self, wanted: Sequence[int] | None, k: int) -> list[int]:
        own = self.plane.eigenvector
        if wanted is None:
            top = set(range(min(k, _PANELS)))
            return sorted(top if own is None or own >= k else top | {own})
        for index in wanted:
            whole = isinstance(index, int | np.integer) and not isinstance(index, bool)
            if not whole or not 0 <= index < k:
                raise InvalidInputError(
                    "eigenvectors",
                    f"be indices from 0 to below {k}, the number that the plane has",
                    repr(index),
                )
        return [int(index) for index in wanted]

    def plot(self, axes: Any = None) -> InputPlaneDisplay:
        """Draw on ``axes`` (an empty Figure, or axes for each panel), or a new pyplot figure.

        Returns
        -------
        InputPlaneDisplay
            Itself.
        """
        count = 1 + len(self.eigenvectors)
        with style.styled():
            self.figure_, self.axes_, own = style.several_axes(axes, count, panel=self._panel)
            self.ax_ = self.axes_[0]
            self.boundaries_, self.surfaces_, self.points_ = [], [], []
            self._draw_regions(self.ax_)
            for index, ax in zip(self.eigenvectors, self.axes_[1:], strict=True):
                self._draw_alignment(ax, index)
            self.labels_ = self._label(self.ax_)
            self.colorbar_ = None
            if self.surfaces_:
                self.colorbar_ = style.alignment_colorbar(
                    self.figure_, self.surfaces_[0], self.axes_, "alignment $A_i(x)$"
                )
            self._legend(own)
        return self

    @property
    def _panel(self) -> tuple[float, float]:
        """Width and height in inches that suit the plane's shape."""
        wide, high = np.ptp(self.plane.first), np.ptp(self.plane.second)
        scale = 3.1 / max(wide, high)
        # The colour bar takes its width from the panels.
        beside = 0.2 if self.eigenvectors else 0.0
        return max(1.9, float(wide * scale)) + beside, float(high * scale) + 0.3

    def _draw_regions(self, ax: Axes) -> None:
        self.regions_ = ax.imshow(
            self._tints[self.plane.predictions],
            origin="lower",
            extent=self._extent,
            interpolation="nearest",
        )
        self._overlay(ax, 1.3)
        self.region_names_ = self._name_regions(ax)
        ax.set_title("decision regions")

    def _name_regions(self, ax: Axes) -> list[Text]:
        """Names where regions are widest: tints alone are hard to tell apart."""
        plane = self.plane
        clear = self._clear_of_points()
        found = []
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
                found.append(
                    ax.text(*place, text, fontsize=8.5, ha="center", va="center", zorder=3)
                )
        return found

    def _clear_of_points(self) -> NDArray[np.bool_]:
        """Where on the grid none of the three points is near."""
        plane = self.plane
        grid = np.stack(np.meshgrid(plane.first, plane.second), axis=-1)
        distances = np.linalg.norm(grid[..., np.newaxis, :] - plane.points, axis=-1)
        return np.asarray(distances.min(-1) > _AROUND_POINTS * np.ptp(plane.first))

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
        self._overlay(ax, 1.2)
        eigenvalue = None if self.eigenvalues is None else float(self.eigenvalues[index])
        own = "  (section)" if index == self.plane.eigenvector else ""
        ax.set_title(style.eigenvector_title(index, eigenvalue) + own)

    def _overlay(self, ax: Axes, width: float) -> None:
        """What every panel has: the boundary, the box and the three points."""
        plane = self.plane
        grid = (plane.first, plane.second)
        self.boundaries_.append(
            [
                ax.contour(
                    *grid, margin, levels=[0.0], colors=[style.INK], linewidths=width, zorder=2
                )
                for margin in class_margins(plane.outputs)
            ]
        )
        if not plane.inside.all():
            # Smoothed, or the edge would follow the grid in steps.
            outside = gaussian_filter(1.0 - plane.inside, 0.7)
            ax.contourf(*grid, outside, levels=[0.5, 1.5], colors=["white"], alpha=0.5, zorder=1)
            if plane.inside.any():
                ax.contour(
                    *(*grid, outside),
                    levels=[0.5],
                    colors=[style.MUTED],
                    linewidths=0.9,
                    linestyles="dashed",
                    zorder=2,
                )
        self.points_.append(
            ax.scatter(
                plane.points[:, 0],
                plane.points[:, 1],
                s=34,
                color="white",
                edgecolors=style.INK,
                linewidths=1.3,
                zorder=4,
            )
        )
        ax.set_aspect("equal")
        ax.set_xlim(plane.first[0], plane.first[-1])
        ax.set_ylim(plane.second[0], plane.second[-1])
        ax.set_xticks([])
        ax.set_yticks([])
        for side in ax.spines.values():
            side.set_visible(False)

    def _label(self, ax: Axes) -> list[Annotation]:
        centre = self.plane.points.mean(0)
        found = []
        for name, point in zip(self.names, self.plane.points, strict=False):
            # Away from the other points, so that names do not lie on what is between them.
            away = point - centre
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

    @property
    def _tints(self) -> NDArray[np.float64]:
        """Colours of the regions, (C, 3)."""
        n_classes = self.plane.outputs.shape[-1]
        palette = np.array([to_rgb(style.class_color(c)) for c in range(n_classes)])
        return 1 - _REGION_STRENGTH * (1 - palette)

    def _legend(self, below: bool) -> None:
        classes = np.unique(self.plane.predictions).tolist()
        if len(classes) > _MOST_NAMED:
            return
        handles = [
            Line2D(
                *([], []),
                linestyle="none",
                marker="s",
                markersize=9,
                color=tuple(self._tints[c]),
                label=self.class_names[c],
            )
            for c in classes
        ]
        if below:
            columns = style.legend_columns(self.figure_, handles)
            self.figure_.legend(handles=handles, loc="outside lower center", ncols=columns)
        else:
            self.ax_.legend(handles=handles, loc="best")

    @property
    def _extent(self) -> tuple[float, float, float, float]:
        # Pixels are centred on the grid's points.
        x, y = self.plane.first, self.plane.second
        dx, dy = (x[-1] - x[0]) / (len(x) - 1) / 2, (y[-1] - y[0]) / (len(y) - 1) / 2
        return x[0] - dx, x[-1] + dx, y[0] - dy, y[-1] + dy
