"""The spectrum: eigenvalues, outliers and bulk, and the density of all p eigenvalues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterSciNotation, SymmetricalLogLocator
from numpy.typing import ArrayLike

from eigenboundary.curvature.spectrum.density import SpectralDensity
from eigenboundary.displays import style
from eigenboundary.displays.arguments import Array, check_computed, check_count
from eigenboundary.displays.base import AnalysisDisplay
from eigenboundary.runtime.arguments import check_instance, check_number, finite_array
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.formats import format_number

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis

_POINTS = 40
_GRID = 800
# Least threshold, as a share of the largest eigenvalue.
_LEAST = 1e-5
# Width of the Gaussian that smooths the density, as a share of the spectrum's extent.
_WIDTH = 0.01
_SIDES = {"above": (style.ACCENT, r"$\lambda > t$"), "below": (style.SECOND, r"$\lambda < -t$")}


class SpectrumDisplay(AnalysisDisplay):
    """Eigenvalues in descending order, the outliers marked.

    Parameters
    ----------
    eigenvalues : array, shape (k,)
        The computed eigenvalues, descending.
    next_eigenvalues : array, shape (g,)
        Estimates of the eigenvalues that follow, drawn hollow.
    outliers : int
        Number of computed and estimated eigenvalues above the threshold.
    resolved : bool
        Whether that number is final; otherwise it is stated as a lower bound.
    residuals : array, shape (k,), optional
        Residuals relative to the largest eigenvalue, drawn as error bars.
    threshold : float, optional
        What outliers exceed, ‖H − G‖, drawn as a line.

    Attributes
    ----------
    lines_ : dict of Line2D
        "outliers", "rest", "next_outliers" and "next", as far as there are any.
    errorbars_ : ErrorbarContainer or None

    Raises
    ------
    InvalidInputError
        If the shapes do not fit, or ``outliers`` exceeds the number of eigenvalues.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> display = SpectrumDisplay([9.0, 4.0, 0.5, 0.4], [0.35, 0.3], outliers=2)
    >>> display.plot(Figure().add_subplot()).lines_["outliers"].get_ydata().tolist()
    [9.0, 4.0]
    """

    def __init__(
        self,
        eigenvalues: ArrayLike,
        next_eigenvalues: ArrayLike,
        outliers: int,
        resolved: bool = True,
        residuals: ArrayLike | None = None,
        threshold: float | None = None,
    ) -> None:
        check_number(threshold, "threshold", at_least=0, optional=True)
        self.threshold = threshold
        self.eigenvalues = finite_array(eigenvalues, "eigenvalues", ndim=1)
        self.next_eigenvalues = finite_array(next_eigenvalues, "next_eigenvalues", ndim=1)
        self._values: Array = np.concatenate([self.eigenvalues, self.next_eigenvalues])
        total = len(self._values)
        if not 0 <= outliers <= total:
            wanted = f"be between 0 and {total}, the number of eigenvalues"
            raise InvalidInputError("outliers", wanted, f"{outliers}")
        self.outliers, self.resolved = outliers, resolved
        self.residuals: Array | None = None
        if residuals is not None:
            self.residuals = finite_array(residuals, "residuals", ndim=1)
            check_count(self.residuals, "residuals", len(self.eigenvalues), "an eigenvalue")

    @staticmethod
    def _arguments(analysis: Analysis) -> dict[str, Any]:
        threshold = analysis.outlier_count.threshold
        return {
            "eigenvalues": analysis.eigenvalues,
            "next_eigenvalues": analysis.next_eigenvalues,
            "outliers": analysis.outliers,
            "resolved": analysis.outlier_count.resolved,
            "residuals": analysis.residuals,
            "threshold": None if np.isnan(threshold) else threshold,
        }

    def _draw(self) -> None:
        self._scale()
        self._threshold()
        self._points()
        style.index_axis(self.ax_)
        self.ax_.set(ylabel=r"eigenvalue $\lambda_i$", title=self._title())
        self.ax_.legend(loc="upper right")

    def _title(self) -> str:
        at_least = "" if self.resolved else "At least "
        plural = "" if self.outliers == 1 else "s"
        return f"{at_least}{self.outliers or 'No'} outlier{plural}"

    def _scale(self) -> None:
        values = self._values
        if (values > 0).all():
            self.ax_.set_yscale("log")
            room = max((values.max() / values.min()) ** 0.06, 1.2)
            self.ax_.set_ylim(values.min() / room, values.max() * room**1.5)
        elif values.any():
            threshold = 1e-6 * np.abs(values).max()
            self.ax_.set_yscale("symlog", linthresh=threshold)
            locator = SymmetricalLogLocator(base=10, linthresh=threshold)
            locator.set_params(numticks=8)
            self.ax_.yaxis.set_major_locator(locator)
            # Labels inside the linear part would lie on top of that of zero.
            power = LogFormatterSciNotation(linthresh=threshold)
            self.ax_.yaxis.set_major_formatter(
                lambda y, _: "0" if y == 0 else power(y) if abs(y) > threshold else ""
            )

    def _threshold(self) -> None:
        if not self.threshold:
            return
        low, high = self.ax_.get_ylim()
        if self.ax_.get_yscale() == "log":
            low = min(low, 0.7 * self.threshold)
        self.ax_.set_ylim(low, max(high, 1.3 * self.threshold))
        self.ax_.axhspan(low, self.threshold, color="#f3f4f6", linewidth=0, zorder=0)
        label = f"‖H − G‖ = {format_number(self.threshold)}"
        how: dict[str, Any] = {"linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 1}
        self.ax_.axhline(self.threshold, color=style.MUTED, label=label, **how)

    def _points(self) -> None:
        k, values = len(self.eigenvalues), self._values
        index = np.arange(1, len(values) + 1)
        apart, known = index <= self.outliers, index <= k
        size = float(np.clip(60 / np.sqrt(len(values)), 2.5, 7.0))
        groups = {
            "outliers": (apart & known, style.ACCENT, style.ACCENT, "outlier"),
            "rest": (~apart & known, style.SECOND, style.SECOND, "eigenvalue"),
            "next_outliers": (apart & ~known, "white", style.ACCENT, "outlier, estimated"),
            "next": (~apart & ~known, "white", style.SECOND, "following, estimated"),
        }
        self.errorbars_: ErrorbarContainer | None = None
        if self.residuals is not None:
            error = self.residuals * np.abs(self.eigenvalues).max()
            # A bar to zero or below has no place on a logarithmic axis.
            log = self.ax_.get_yscale() == "log"
            bars = np.stack([np.minimum(error, 0.999 * self.eigenvalues) if log else error, error])
            how: dict[str, Any] = {"ecolor": style.MUTED, "elinewidth": 1.0, "zorder": 2}
            how |= {"fmt": "none", "capsize": 2.5}
            self.errorbars_ = self.ax_.errorbar(index[:k], self.eigenvalues, bars, **how)
        self.lines_: dict[str, Line2D] = {}
        for name, (mask, face, edge, label) in groups.items():
            if mask.any():
                how = {"color": edge, "markerfacecolor": face, "zorder": 3}
                how |= {"markersize": size, "label": label}
                (self.lines_[name],) = self.ax_.plot(index[mask], values[mask], "o", **how)


class DensityDisplay(AnalysisDisplay):
    """Density of all p eigenvalues, and counts of eigenvalues beyond a threshold with their bands.

    Parameters
    ----------
    density : SpectralDensity

    Attributes
    ----------
    axes_
        Those of the density and of the counts.
    density_ : Line2D
    ticks_ : Line2D or None
        Known eigenvalues.
    counts_ : dict of Line2D
        "above" and, where there are any, "below".
    bands_ : dict of FillBetweenPolyCollection
        95 % intervals of the counts.

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

    def __init__(self, density: SpectralDensity) -> None:
        check_instance(density, "density", SpectralDensity)
        self.density = density
        values = np.concatenate([density.known, density.nodes[density.weights > 0]])
        self.low, self.high = float(values.min()), float(values.max())
        if not max(abs(self.low), abs(self.high)) > 0:
            raise InvalidInputError("density", "be of a matrix that is not zero", because="it is")
        self._arrange(2, (4.5, 3.4))

    @staticmethod
    def _arguments(analysis: Analysis) -> dict[str, Any]:
        bulk = check_computed(analysis.bulk, "the bulk of its spectrum", "analyze(..., bulk=True)")
        return {"density": bulk.density}

    def _draw(self) -> None:
        self._density(self.axes_[0])
        self._counts(self.axes_[1])

    def _density(self, ax: Axes) -> None:
        width = _WIDTH * (self.high - self.low or abs(self.high))
        grid = np.linspace(self.low - 4 * width, self.high + 4 * width, _GRID)
        values = self.density.density(grid, width)
        (self.density_,) = ax.plot(grid, values, color=style.INK, linewidth=1.4)
        ax.set_yscale("log")
        # One eigenvalue is a bell of height 1/p; lower values are the tails of bells.
        floor = 0.1 / (self.density.size * width * np.sqrt(2 * np.pi))
        ax.set_ylim(floor, 3 * values.max())
        ax.fill_between(grid, floor, values, color=style.FAINT, linewidth=0)
        self.ticks_: Line2D | None = None
        if len(self.density.known):
            heights = np.full(len(self.density.known), 1.6 * floor)
            how: dict[str, Any] = {"color": style.ACCENT, "markersize": 9, "label": "computed"}
            (self.ticks_,) = ax.plot(self.density.known, heights, "|", **how)
            ax.legend(loc="upper right")
        ax.grid(axis="y")
        title = f"Density of all {self.density.size:,} eigenvalues"
        ax.set(xlabel=r"eigenvalue $\lambda$", ylabel="density", title=title)

    def _counts(self, ax: Axes) -> None:
        self.counts_: dict[str, Line2D] = {}
        self.bands_: dict[str, FillBetweenPolyCollection] = {}
        largest = max(abs(self.low), abs(self.high))
        least = max(_LEAST * largest, 2 * self.density.uncertainty)
        for side, (color, label) in _SIDES.items():
            end = self.high if side == "above" else -self.low
            if end <= least:
                continue
            t = np.geomspace(least, end, _POINTS)
            band = self.density.count_above(t if side == "above" else -t)
            counts = np.stack([band.value, band.low, band.high])
            if side == "below":
                counts = self.density.size - counts[[0, 2, 1]]
            value, low, high = np.maximum(counts, 0.5)
            how: dict[str, Any] = {"color": color, "alpha": 0.2, "linewidth": 0}
            self.bands_[side] = ax.fill_between(t, low, high, **how)
            (self.counts_[side],) = ax.plot(t, value, color=color, linewidth=1.6, label=label)
        ax.set(xscale="log", yscale="log", ylim=(0.5, 1.5 * self.density.size))
        title = "Eigenvalues beyond a threshold"
        ax.set(xlabel="threshold $t$", ylabel="number of eigenvalues", title=title)
        ax.grid(axis="both")
        ax.legend(loc="upper right")
