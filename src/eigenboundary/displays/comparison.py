"""Several networks side by side: boundary, margins, flatness and accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from eigenboundary.displays import style
from eigenboundary.displays.base import Display

if TYPE_CHECKING:
    from eigenboundary.analysis.comparison import Comparison


class ComparisonDisplay(Display):
    """One row a network, one panel a kind of number; the networks on the front stand out.

    Parameters
    ----------
    comparison : Comparison
        From :func:`~eigenboundary.compare`.

    Attributes
    ----------
    axes_
        Those of the boundary's area with its interval, its dimension with its interval, the
        smallest margin (dot) and the median margin with its interval (bar), the largest eigenvalue,
        and the accuracy (test: filled, training: hollow).

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    >>> runs = {name: eb.analyze(torch.nn.Linear(2, 2), (x, x.argmax(1)), k=2) for name in "ab"}
    >>> display = eb.ComparisonDisplay(eb.compare(runs)).plot()
    >>> [label.get_text() for label in display.axes_[0].get_yticklabels()]
    ['a', 'b']
    """

    _panels = 5

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.size = 10.5, 0.42 * len(comparison.table) + 1.7

    def _new_axes(self, figure: Figure) -> list[Axes]:
        return list(figure.subplots(1, self._panels, sharey=True))

    def _draw(self) -> None:
        table = self.comparison.table
        panels = (
            ("boundary area\n(interval)", self._area),
            ("boundary\ndimension", self._dimension),
            ("margin:\nsmallest ●  median |", self._margins),
            ("largest\neigenvalue λ₁", self._sharpness),
            ("accuracy:\ntest ●  training ○", self._accuracy),
        )
        names, front = table.index, self.comparison.front
        self._rows = np.arange(len(table))
        self._colors = [style.ACCENT if name in front else style.SECOND for name in names]
        for ax, (title, draw) in zip(self.axes_, panels, strict=True):
            draw(ax)
            ax.set_title(title, fontsize="medium")
            ax.grid(axis="x", alpha=0.3)
            ax.set_axisbelow(True)
            ax.tick_params(axis="y", length=0)
        self.ax_.set_yticks(self._rows, [str(name) for name in names])
        for label in self.ax_.get_yticklabels():
            if label.get_text() in front:
                label.set(color=style.ACCENT)
            if label.get_text() == self.comparison.best:
                label.set(fontweight="bold")
        self.ax_.set_ylim(len(table) - 0.5, -0.5)

    def _values(self, name: str) -> np.ndarray:
        return self.comparison.table[name].to_numpy(dtype=float)

    def _dots(self, ax: Axes, name: str) -> None:
        values = self._values(name)
        ax.scatter(values, self._rows, c=self._colors, s=42, zorder=3)
        how: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": "small"}
        for row in np.flatnonzero(np.isnan(values)).tolist():
            ax.text(0.5, row, "not known", transform=ax.get_yaxis_transform(), color="0.45", **how)

    def _interval(self, ax: Axes, name: str) -> None:
        low, high = self._values(f"{name}_low"), self._values(f"{name}_high")
        # An open end goes beyond all that is shown.
        known = self._values(name)[np.isfinite(self._values(name))]
        high = np.where(np.isinf(high), 3 * known.max(initial=0.0), high)
        ax.hlines(self._rows, low, high, colors=self._colors, linewidth=5, alpha=0.5)

    def _area(self, ax: Axes) -> None:
        self._interval(ax, "boundary_area")
        self._dots(ax, "boundary_area")
        ax.set_xlim(left=0)

    def _dimension(self, ax: Axes) -> None:
        self._interval(ax, "boundary_dimension")
        self._dots(ax, "boundary_dimension")
        ax.set_xlim(left=0)

    def _margins(self, ax: Axes) -> None:
        self._interval(ax, "median_margin")
        self._dots(ax, "smallest_margin")
        median = self._values("median_margin")
        ax.scatter(median, self._rows, c=self._colors, marker="|", s=160, linewidth=2)
        ax.set_xlim(left=0)

    def _sharpness(self, ax: Axes) -> None:
        values = self._values("largest_eigenvalue")
        self._dots(ax, "largest_eigenvalue")
        if (values > 0).all():
            ax.set_xscale("log")
            ax.set_xlim(values.min() / 3, values.max() * 3)

    def _accuracy(self, ax: Axes) -> None:
        training, test = self._values("accuracy"), self._values("test_accuracy")
        ax.scatter(training, self._rows, facecolors="none", edgecolors=self._colors, s=90)
        ax.scatter(test, self._rows, c=self._colors, s=28, zorder=3)
        lowest = np.nanmin(np.concatenate([training, test]))
        ax.set_xlim(lowest - 0.15 * (1 - lowest) - 0.01, 1 + 0.08 * (1 - lowest) + 0.005)
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.xaxis.set_major_formatter(PercentFormatter(1.0))
