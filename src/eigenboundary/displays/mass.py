"""How much of the reinforcing gradients the eigenvectors capture, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike

from eigenboundary.displays import style
from eigenboundary.displays.arguments import numbers
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis


class MassDisplay:
    """Squared alignment captured by each eigenvector, and by the first i together.

    Parameters
    ----------
    mass : array, shape (k,)
        Mean squared alignment :math:`q_i` of each eigenvector; their sum is at most 1.
    outliers : int, optional
        Marked by colour where given.

    Attributes
    ----------
    ax_, figure_
    bars_ : BarContainer
        The share of each eigenvector.
    line_ : Line2D
        The cumulative share.

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

    ax_: Axes
    figure_: Figure
    bars_: BarContainer
    line_: Line2D

    def __init__(self, mass: ArrayLike, outliers: int = 0) -> None:
        self.mass = numbers(mass, "mass")
        if not len(self.mass) or (self.mass < 0).any() or self.mass.sum() > 1.001:
            raise InvalidInputError(
                "mass",
                "be shares of at least 0 that sum to at most 1",
                f"{len(self.mass)} with sum {self.mass.sum():.4g}",
            )
        self.outliers = outliers

    @classmethod
    def from_analysis(cls, analysis: Analysis, *, ax: Axes | None = None) -> MassDisplay:
        """Draw the squared alignment of an analysis."""
        return cls(analysis.complexity.mass, analysis.outliers).plot(ax)

    def plot(self, ax: Axes | None = None) -> MassDisplay:
        """Draw on ``ax``, or on a new pyplot figure.

        Returns
        -------
        MassDisplay
            Itself.
        """
        index = np.arange(1, len(self.mass) + 1)
        total = float(np.minimum(np.cumsum(self.mass), 1.0)[-1])
        with style.styled():
            self.figure_, self.ax_ = style.one_axes(ax, 7.0, 3.4)
            colors = [style.ACCENT if i <= self.outliers else style.SECOND for i in index]
            width = 0.7 if len(index) < 80 else 1.0
            self.bars_ = self.ax_.bar(index, self.mass, width, color=colors, alpha=0.55)
            (self.line_,) = self.ax_.plot(
                *(index, np.cumsum(self.mass)),
                color=style.INK,
                linewidth=1.6,
                marker="o" if len(index) <= 50 else "",
                markersize=4.5,
            )
            self.ax_.axhline(1.0, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
            self.ax_.set_ylim(0, 1.06)
            self.ax_.set_xlim(0.3, max(len(index), 2) + 0.7)
            self.ax_.yaxis.set_major_formatter(PercentFormatter(1.0))
            self.ax_.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            self.ax_.grid(axis="y")
            self.ax_.set_xlabel("index $i$")
            self.ax_.set_ylabel("squared alignment")
            self.ax_.set_title(
                f"{total:.1%} captured by {len(index)} eigenvector{'s'[: len(index) > 1]}, "
                f"{1 - total:.1%} outside"
            )
        return self
