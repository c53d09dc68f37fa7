"""The spectrum as a whole: its density, and how many eigenvalues lie beyond a threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eigenboundary.curvature.spectrum.density import SpectralDensity
from eigenboundary.displays import style
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis


_POINTS = 40
_GRID = 800
# Thresholds go down to this share of the largest eigenvalue.
_LEAST = 1e-5
# Width of the Gaussian that smooths the density, as a share of the spectrum's extent.
_WIDTH = 0.01
_SIDES = {"above": (style.ACCENT, r"$\lambda > t$"), "below": (style.SECOND, r"$\lambda < -t$")}


class DensityDisplay:
    """The density of all p eigenvalues, and counts of those beyond a threshold with their bands.

    Parameters
    ----------
    density : SpectralDensity

    Attributes
    ----------
    axes_ : list of Axes
        Density, counts.
    figure_
    density_ : Line2D
    ticks_ : Line2D or None
        The known eigenvalues.
    counts_ : dict of Line2D
        "above" and, where there are any, "below".
    bands_ : dict of FillBetweenPolyCollection
        Their 95 % intervals.

    Raises
    ------
    InvalidInputError
        If the matrix is zero.

    Examples
    --------
    >>> import torch
    >>> from matplotlib.figure import Figure
    >>> import eigenboundary as eb
    >>> matrix = eb.MatrixOperator(torch.diag(torch.linspace(-1, 3, 200).double()))
    >>> density = eb.spectral_density(matrix, steps=20)
    >>> sorted(eb.DensityDisplay(density).plot(Figure()).counts_)
    ['above', 'below']
    """

    axes_: list[Axes]
    figure_: Figure
    density_: Line2D
    ticks_: Line2D | None
    counts_: dict[str, Line2D]
    bands_: dict[str, FillBetweenPolyCollection]

    def __init__(self, density: SpectralDensity) -> None:
        if not isinstance(density, SpectralDensity):
            raise InvalidInputError("density", "be a SpectralDensity", type(density).__name__)
        self.density = density
        values = np.concatenate([density.known, density.nodes[density.weights > 0]])
        self.low, self.high = float(values.min()), float(values.max())
        if not max(abs(self.low), abs(self.high)) > 0:
            raise InvalidInputError("density", "be of a matrix that is not zero", because="it is")

    @classmethod
    def from_analysis(cls, analysis: Analysis, *, axes: Any = None) -> DensityDisplay:
        """Draw the density of an analysis.

        Raises
        ------
        InvalidInputError
            If it was made without ``bulk=True``.
        """
        if analysis.bulk is None:
            raise InvalidInputError(
                "analysis",
                "have the bulk of its spectrum (analyze(..., bulk=True))",
                because="it has not",
            )
        return cls(analysis.bulk.density).plot(axes)

    def plot(self, axes: Any = None) -> DensityDisplay:
        """Draw on two axes, a figure, or a new pyplot figure.

        Returns
        -------
        DensityDisplay
            Itself.
        """
        with style.styled():
            self.figure_, self.axes_, _ = style.several_axes(axes, 2, panel=(4.5, 3.4))
            self._density(self.axes_[0])
            self._counts(self.axes_[1])
        return self

    def _density(self, ax: Axes) -> None:
        width = _WIDTH * (self.high - self.low or abs(self.high))
        grid = np.linspace(self.low - 4 * width, self.high + 4 * width, _GRID)
        values = self.density.density(grid, width)
        (self.density_,) = ax.plot(grid, values, color=style.INK, linewidth=1.4)
        ax.set_yscale("log")
        # One eigenvalue alone is 1/p high; what is far below it is a bell's tail.
        floor = 0.1 / (self.density.size * width * np.sqrt(2 * np.pi))
        ax.set_ylim(floor, 3 * values.max())
        ax.fill_between(grid, floor, values, color=style.FAINT, linewidth=0)
        self.ticks_ = None
        if len(self.density.known):
            (self.ticks_,) = ax.plot(
                *(self.density.known, np.full(len(self.density.known), 1.6 * floor)),
                *("|",),
                color=style.ACCENT,
                markersize=9,
                label="computed",
            )
            ax.legend(loc="upper right")
        ax.grid(axis="y")
        ax.set_xlabel(r"eigenvalue $\lambda$")
        ax.set_ylabel("density")
        ax.set_title(f"Density of all {self.density.size:,} eigenvalues")

    def _counts(self, ax: Axes) -> None:
        self.counts_, self.bands_ = {}, {}
        largest = max(abs(self.low), abs(self.high))
        least = max(_LEAST * largest, 2 * self.density.uncertainty)
        for side, (color, label) in _SIDES.items():
            end = self.high if side == "above" else -self.low
            if end <= least:
                continue
            t = np.geomspace(least, end, _POINTS)
            if side == "above":
                band = self.density.count_above(t)
                value, low, high = band.value, band.low, band.high
            else:
                band = self.density.count_above(-t)
                p = self.density.size
                value, low, high = p - band.value, p - band.high, p - band.low
            self.bands_[side] = ax.fill_between(
                t, np.maximum(low, 0.5), np.maximum(high, 0.5), color=color, alpha=0.2, linewidth=0
            )
            (self.counts_[side],) = ax.plot(
                t, np.maximum(value, 0.5), color=color, linewidth=1.6, label=label
            )
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_ylim(0.5, 1.5 * self.density.size)
        ax.grid(axis="both")
        ax.set_xlabel("threshold $t$")
        ax.set_ylabel("number of eigenvalues")
        ax.set_title("Eigenvalues beyond a threshold")
        ax.legend(loc="upper right")
