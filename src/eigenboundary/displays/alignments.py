"""Alignment of the training samples: by class, captured together, and against controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from eigenboundary.alignment.complexity import random_alignment
from eigenboundary.displays import arguments, style
from eigenboundary.displays.base import AnalysisDisplay
from eigenboundary.runtime.arguments import check_integer, finite_array
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.formats import format_number, percent

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis

# A picture has no pixels for more columns. Samples are picked, never averaged: alignments of both
# signs would cancel.
_MOST_COLUMNS = 2000
_MOST_ROWS = 50
_FLOOR = 1e-6
_MOST_POINTS = 600
_MOST_TOP = 10


class AlignmentDisplay(AnalysisDisplay):
    """Heat map of the alignments: a row an eigenvector, a column a training sample.

    Samples are sorted by class, within a class by their alignment with the first eigenvector. Of
    more than 2,000 samples about that many, evenly spaced in each class, are drawn.

    Parameters
    ----------
    alignment : array, shape (n, k)
    labels : array of int, shape (n,)
    eigenvalues : array, shape (k,), optional
        Named beside the rows.
    n_eigenvectors : int, optional
        Rows to draw; default: all, at most 50.
    class_names : sequence of str, optional

    Attributes
    ----------
    image_ : AxesImage
        Its array has shape (rows, columns).
    order_ : array of int
        Indices of the samples drawn, in the order of the columns.
    strip_ : list of Rectangle
        One a class, below the map.
    names_ : list of Text
        Names of the classes below the strip.
    colorbar_ : Colorbar

    Raises
    ------
    InvalidInputError
        If the shapes do not fit, or alignments exceed 1.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> display = AlignmentDisplay([[0.5], [-0.5], [0.1]], [1, 1, 0])
    >>> display.plot(Figure().add_subplot()).order_.tolist()
    [2, 1, 0]
    """

    def __init__(
        self,
        alignment: ArrayLike,
        labels: ArrayLike,
        eigenvalues: ArrayLike | None = None,
        *,
        n_eigenvectors: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.alignment = arguments.check_alignment(alignment)
        n, k = self.alignment.shape
        self.labels = arguments.check_labels(labels, n)
        self.eigenvalues = arguments.check_eigenvalues(eigenvalues, k)
        self.n_eigenvectors = arguments.eigenvectors_shown(n_eigenvectors, k, _MOST_ROWS)
        self.size = 8.6, 1.5 + float(np.clip(0.3 * self.n_eigenvectors, 0.5, 8.0))
        self.class_names = arguments.names_of_classes(class_names, int(self.labels.max()) + 1)

    @staticmethod
    def _arguments(analysis: Analysis) -> dict[str, Any]:
        return {
            "alignment": analysis.training_alignment,
            "labels": analysis.labels,
            "eigenvalues": analysis.eigenvalues,
            "class_names": analysis.class_names or None,
        }

    def _draw(self) -> None:
        self.order_ = self._order()
        values = self.alignment[self.order_, : self.n_eigenvectors].T
        self.image_ = self.ax_.imshow(values, **style.ALIGNMENT, **style.CELLS)
        self._rows()
        self._classes()
        how = style.ALIGNMENT_BAR | {"aspect": self._height / 0.16, "fraction": 0.15}
        self.colorbar_ = self._colorbar(self.image_, "alignment $A_i(x_s)$", **how)
        n, drawn = len(self.labels), len(self.order_)
        thinned = "" if n == drawn else f", {drawn:,} of them drawn"
        self.ax_.set_title(f"{n:,} training samples by class{thinned}")

    def _order(self) -> NDArray[np.int64]:
        order = np.lexsort((self.alignment[:, 0], self.labels))
        picked, share = [], min(1.0, _MOST_COLUMNS / len(order))
        for label in np.unique(self.labels):
            members = order[self.labels[order] == label]
            count = max(1, round(len(members) * share))
            picked.append(members[arguments.evenly_spaced(len(members), count)])
        return np.concatenate(picked)

    @property
    def _height(self) -> float:
        """Height of the axes in inches."""
        inches = self.figure_.get_size_inches()[1] * self.ax_.get_position().height
        return max(float(inches), 0.5)

    def _rows(self) -> None:
        rows = self.n_eigenvectors
        shown = style.named(rows)
        titles = [style.eigenvector_title(i, self.eigenvalues[i]) for i in shown]
        self.ax_.set_yticks(shown, titles, fontsize=9 if rows <= 12 else 8)
        self.ax_.tick_params(axis="y", length=0)
        for i in range(1, rows if len(shown) == rows else 0):
            self.ax_.axhline(i - 0.5, color="white", linewidth=1.2)

    def _classes(self) -> None:
        labels = self.labels[self.order_]
        self.ax_.set_xticks([])
        self.ax_.spines[:].set_visible(False)
        thickness = 0.12 / self._height
        frame = self.ax_.get_xaxis_transform()
        self.strip_: list[Rectangle] = []
        self.names_: list[Text] = []
        for label in np.unique(labels):
            first, last = np.flatnonzero(labels == label)[[0, -1]]
            if first:
                self.ax_.axvline(first - 0.5, color=style.INK, linewidth=0.9)
            place, width = (first - 0.5, -1.6 * thickness), last - first + 1
            color = style.class_color(int(label))
            bar = Rectangle(place, width, thickness, color=color, clip_on=False, linewidth=0)
            bar.set_transform(frame)
            self.strip_.append(bar)
            self.ax_.add_patch(bar)
            name = self.class_names[label]
            # A class too narrow for its name keeps only its colour.
            if width / len(labels) > 0.011 * len(name):
                how: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 9}
                middle = (first + last) / 2, -2.1 * thickness
                self.names_.append(self.ax_.text(*middle, name, transform=frame, **how))


class MassDisplay(AnalysisDisplay):
    """Squared alignment that each eigenvector captures, and that the first i capture together.

    Parameters
    ----------
    mass : array, shape (k,)
        Mean squared alignment :math:`q_i` of each eigenvector; their sum is at most 1.
    outliers : int
        Number of outliers, which have another colour.

    Attributes
    ----------
    bars_ : BarContainer
        Share of each eigenvector.
    line_ : Line2D
        Cumulative share.

    Raises
    ------
    InvalidInputError
        If the shares are negative or sum to more than 1.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> display = MassDisplay([0.5, 0.25]).plot(Figure().add_subplot())
    >>> display.line_.get_ydata().tolist()
    [0.5, 0.75]
    """

    size = (7.0, 3.4)

    def __init__(self, mass: ArrayLike, outliers: int = 0) -> None:
        self.mass = finite_array(mass, "mass", ndim=1)
        if not len(self.mass) or (self.mass < 0).any() or self.mass.sum() > 1.001:
            came = f"{len(self.mass)} with sum {self.mass.sum():.4g}"
            raise InvalidInputError("mass", "be shares of at least 0 that sum to at most 1", came)
        self.outliers = outliers

    @staticmethod
    def _arguments(analysis: Analysis) -> dict[str, Any]:
        return {"mass": analysis.complexity.mass, "outliers": analysis.outliers}

    def _draw(self) -> None:
        index = np.arange(1, len(self.mass) + 1)
        total = min(float(np.cumsum(self.mass)[-1]), 1.0)
        colors = [style.ACCENT if i <= self.outliers else style.SECOND for i in index]
        width = 0.7 if len(index) < 80 else 1.0
        self.bars_ = self.ax_.bar(index, self.mass, width, color=colors, alpha=0.55)
        marker = "o" if len(index) <= 50 else ""
        how: dict[str, Any] = {"marker": marker, "markersize": 4.5, "linewidth": 1.6}
        (self.line_,) = self.ax_.plot(index, np.cumsum(self.mass), color=style.INK, **how)
        self.ax_.axhline(1.0, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        self.ax_.set(xlim=(0.3, max(len(index), 2) + 0.7), ylim=(0, 1.06))
        self.ax_.yaxis.set_major_formatter(PercentFormatter(1.0))
        style.index_axis(self.ax_)
        captured = f"{percent(total)} captured by {len(index)} eigenvector{'s'[: len(index) > 1]}"
        title = f"{captured}, {percent(1 - total)} outside"
        self.ax_.set(ylabel="squared alignment", title=title)


class ControlsDisplay(AnalysisDisplay):
    """Distribution of |A| over the training samples: top eigenvectors, then each control.

    A box holds the middle half, its whiskers 5 % to 95 %. Alignments below 1e-6 are drawn there.

    Parameters
    ----------
    alignment : array, shape (n, k)
        Alignment with the top eigenvectors.
    controls : mapping of str to array, shape (n, j)
        Alignment with control directions, by their kind.
    n_parameters : int
        Number p of dimensions; the dashed line is the mean that random directions reach there.

    Attributes
    ----------
    boxes_ : dict
        Artists of ``Axes.boxplot``, in the order of `rows_`.
    rows_ : dict of array
        Sizes |A| of each row, from the top, by name.
    points_ : list of PathCollection
    line_ : Line2D
        Mean for random directions.

    Raises
    ------
    InvalidInputError
        If there are no controls or shapes do not fit.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> display = ControlsDisplay([[0.9], [-0.8]], {"lowest": [[0.1], [0.0]]}, n_parameters=100)
    >>> list(display.plot(Figure().add_subplot()).rows_)
    ['top eigenvector', 'lowest eigenvectors']
    """

    def __init__(
        self, alignment: ArrayLike, controls: Mapping[str, ArrayLike], n_parameters: int
    ) -> None:
        if not controls:
            call = "analyze(..., controls=('random_directions',))"
            wanted = f"hold at least one kind of control direction ({call})"
            raise InvalidInputError("controls", wanted, "none")
        check_integer(n_parameters, "n_parameters")
        self.alignment = arguments.check_alignment(alignment)
        check = arguments.check_alignment
        self.controls = {kind: check(v, f"controls[{kind!r}]") for kind, v in controls.items()}
        self.n_parameters = n_parameters
        self.size = 7.6, 1.2 + 0.62 * (1 + len(self.controls))

    @staticmethod
    def _arguments(analysis: Analysis) -> dict[str, Any]:
        return {
            "alignment": analysis.training_alignment[:, :_MOST_TOP],
            "controls": analysis.controls,
            "n_parameters": analysis.n_parameters,
        }

    def _draw(self) -> None:
        k = self.alignment.shape[1]
        top = "top eigenvector" if k == 1 else f"top {k} eigenvectors"
        self.rows_ = {top: np.abs(self.alignment).ravel()}
        for kind, cosines in self.controls.items():
            name = "lowest eigenvectors" if kind == "lowest" else kind.replace("_", " ")
            self.rows_[name] = np.abs(cosines).ravel()
        self._boxes([style.ACCENT, *[style.SECOND] * len(self.controls)])
        level = random_alignment(self.n_parameters)
        dashed: dict[str, Any] = {"linewidth": 1.0, "linestyle": (0, (4, 3)), "zorder": 0}
        self.line_ = self.ax_.axvline(level, color=style.INK, **dashed)
        how: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 9}
        how |= {"xycoords": self.ax_.get_xaxis_transform(), "color": style.MUTED}
        text = f"random level {format_number(level, 2)}"
        self.ax_.annotate(text, (level, 1.0), (0, 4), **how)
        self.ax_.set_xscale("log")
        self.ax_.set_xlim(right=1.25)
        self.ax_.invert_yaxis()
        self.ax_.spines["left"].set_visible(False)
        self.ax_.tick_params(axis="y", length=0)
        self.ax_.grid(axis="x")
        self.ax_.set_xlabel("size of alignment $|A(x_s)|$")

    def _boxes(self, colors: list[str]) -> None:
        values = [np.maximum(sizes, _FLOOR) for sizes in self.rows_.values()]
        how: dict[str, Any] = {"orientation": "horizontal", "positions": range(len(values))}
        how |= {"widths": 0.5, "whis": (5, 95), "showfliers": False, "patch_artist": True}
        median = {"color": style.INK, "linewidth": 1.8}
        self.boxes_ = self.ax_.boxplot(values, medianprops=median, **how)
        self.ax_.set_yticks(range(len(values)), list(self.rows_))
        for part in (*self.boxes_["whiskers"], *self.boxes_["caps"]):
            part.set(color=style.MUTED, linewidth=0.9)
        rng = np.random.default_rng(0)
        self.points_: list[PathCollection] = []
        how = {"s": 5, "alpha": 0.3, "linewidths": 0, "zorder": 1}
        for row, (sizes, box) in enumerate(zip(values, self.boxes_["boxes"], strict=True)):
            box.set(facecolor=colors[row], alpha=0.35, edgecolor=colors[row])
            drawn = np.sort(sizes)[:: max(1, len(sizes) // _MOST_POINTS)]
            height = row + rng.uniform(-0.2, 0.2, len(drawn))
            self.points_.append(self.ax_.scatter(drawn, height, color=colors[row], **how))
