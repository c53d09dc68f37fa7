"""Alignment of the training samples with the top eigenvectors, sorted by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

from eigenboundary.displays import style
from eigenboundary.displays.arguments import (
    check_alignment,
    check_labels,
    eigenvectors_shown,
    names_of_classes,
    numbers,
)
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis


# More columns than a wide picture has pixels say nothing; samples are picked, never averaged:
# alignments of both signs would cancel.
_MOST_COLUMNS = 2000
_MOST_ROWS = 50


class AlignmentDisplay:
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
    ax_, figure_
    image_ : AxesImage
        Its array has shape (rows, columns).
    order_ : array of int
        The samples drawn, in their order.
    strip_ : list of Rectangle
        One a class, below the map.
    names_ : list of Text
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

    ax_: Axes
    figure_: Figure
    image_: AxesImage
    order_: NDArray[np.int64]
    strip_: list[Rectangle]
    names_: list[Text]
    colorbar_: Colorbar

    def __init__(
        self,
        alignment: ArrayLike,
        labels: ArrayLike,
        eigenvalues: ArrayLike | None = None,
        *,
        n_eigenvectors: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.alignment = check_alignment(alignment)
        n, k = self.alignment.shape
        self.labels = check_labels(labels, n)
        self.eigenvalues = None if eigenvalues is None else numbers(eigenvalues, "eigenvalues")
        if self.eigenvalues is not None and len(self.eigenvalues) != k:
            raise InvalidInputError(
                "eigenvalues", f"be {k}, one an eigenvector", f"{len(self.eigenvalues)}"
            )
        self.n_eigenvectors = eigenvectors_shown(n_eigenvectors, k, _MOST_ROWS)
        self.class_names = names_of_classes(class_names, int(self.labels.max()) + 1)

    @classmethod
    def from_analysis(
        cls,
        analysis: Analysis,
        *,
        n_eigenvectors: int | None = None,
        class_names: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> AlignmentDisplay:
        """Draw the training samples of an analysis."""
        display = cls(
            analysis.training_alignment,
            analysis.labels,
            analysis.eigenvalues,
            n_eigenvectors=n_eigenvectors,
            class_names=class_names,
        )
        return display.plot(ax)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches that suit the number of rows."""
        rows = self.n_eigenvectors
        return 8.6, 1.5 + float(np.clip(0.3 * rows, 0.5, 8.0))

    def plot(self, ax: Axes | None = None) -> AlignmentDisplay:
        """Draw on ``ax``, or on a new pyplot figure.

        Returns
        -------
        AlignmentDisplay
            Itself.
        """
        with style.styled():
            self.figure_, self.ax_ = style.one_axes(ax, *self.size)
            self.order_ = self._order()
            self.image_ = self.ax_.imshow(
                self.alignment[self.order_, : self.n_eigenvectors].T,
                cmap=style.ALIGNMENT_MAP,
                norm=style.ALIGNMENT_RANGE,
                aspect="auto",
                interpolation="nearest",
            )
            self._rows()
            self._classes()
            self.colorbar_ = self.figure_.colorbar(
                self.image_,
                ax=self.ax_,
                pad=0.015,
                aspect=self._height / 0.16,
                ticks=[-1, -0.5, 0, 0.5, 1],
                label="alignment $A_i(x_s)$",
            )
            self.colorbar_.outline.set_visible(False)
            n, drawn = len(self.labels), len(self.order_)
            thinned = "" if n == drawn else f", {drawn:,} of them drawn"
            self.ax_.set_title(f"{n:,} training samples by class{thinned}")
        return self

    def _order(self) -> NDArray[np.int64]:
        order = np.lexsort((self.alignment[:, 0], self.labels))
        n = len(order)
        if n <= _MOST_COLUMNS:
            return order
        picked = []
        for label in np.unique(self.labels):
            members = order[self.labels[order] == label]
            count = max(1, round(len(members) * _MOST_COLUMNS / n))
            picked.append(members[np.linspace(0, len(members) - 1, count).round().astype(int)])
        return np.concatenate(picked)

    @property
    def _height(self) -> float:
        """Of the axes, in inches."""
        inches = self.figure_.get_size_inches()[1] * self.ax_.get_position().height
        return max(float(inches), 0.5)

    def _rows(self) -> None:
        rows = self.n_eigenvectors
        step = 1 if rows <= 25 else 5
        shown = [i for i in range(rows) if step == 1 or i == 0 or (i + 1) % step == 0]
        self.ax_.set_yticks(shown)
        self.ax_.set_yticklabels(
            [
                style.eigenvector_title(
                    i, None if self.eigenvalues is None else float(self.eigenvalues[i])
                )
                for i in shown
            ],
            fontsize=9 if rows <= 12 else 8,
        )
        self.ax_.tick_params(axis="y", length=0)
        if rows <= 25:
            for i in range(1, rows):
                self.ax_.axhline(i - 0.5, color="white", linewidth=1.2)

    def _classes(self) -> None:
        labels = self.labels[self.order_]
        self.ax_.set_xticks([])
        for side in self.ax_.spines.values():
            side.set_visible(False)
        thickness = 0.12 / self._height
        frame = self.ax_.get_xaxis_transform()
        self.strip_, self.names_ = [], []
        for label in np.unique(labels):
            first, last = np.flatnonzero(labels == label)[[0, -1]]
            if first:
                self.ax_.axvline(first - 0.5, color=style.INK, linewidth=0.9)
            bar = Rectangle(
                (first - 0.5, -1.6 * thickness),
                *(last - first + 1, thickness),
                transform=frame,
                facecolor=style.class_color(int(label)),
                clip_on=False,
                linewidth=0,
            )
            self.strip_.append(bar)
            self.ax_.add_patch(bar)
            name = self.class_names[label]
            # A class too narrow for its name keeps only its colour.
            if (last - first + 1) / len(labels) > 0.011 * len(name):
                place = ((first + last) / 2, -2.1 * thickness)
                self.names_.append(
                    self.ax_.text(
                        *(*place, name), transform=frame, ha="center", va="top", fontsize=9
                    )
                )
