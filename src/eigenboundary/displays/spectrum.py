"""The spectrum: outliers, bulk and the eigenvalues that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterSciNotation, MaxNLocator, SymmetricalLogLocator
from numpy.typing import ArrayLike

from eigenboundary.displays import style
from eigenboundary.displays.arguments import numbers
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis


class SpectrumDisplay:
    """Eigenvalues in descending order, those that stand apart from the bulk marked.

    Parameters
    ----------
    eigenvalues : array, shape (k,)
        The computed eigenvalues, descending.
    next_eigenvalues : array, shape (g,)
        Estimates of those that follow; drawn hollow.
    outliers : int
        How many, counted over computed and estimated ones, stand apart.
    resolved : bool
        Whether that number is final; otherwise it is stated as a lower bound.
    residuals : array, shape (k,), optional
        Relative to the largest eigenvalue; drawn as error bars.

    Attributes
    ----------
    ax_, figure_
    lines_ : dict of Line2D
        "outliers", "bulk", "next_outliers" and "next", as far as there are any.
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

    ax_: Axes
    figure_: Figure
    lines_: dict[str, Line2D]
    errorbars_: ErrorbarContainer | None

    def __init__(
        self,
        eigenvalues: ArrayLike,
        next_eigenvalues: ArrayLike,
        outliers: int,
        resolved: bool = True,
        residuals: ArrayLike | None = None,
    ) -> None:
        self.eigenvalues = numbers(eigenvalues, "eigenvalues")
        self.next_eigenvalues = numbers(next_eigenvalues, "next_eigenvalues")
        total = len(self.eigenvalues) + len(self.next_eigenvalues)
        if not 0 <= outliers <= total:
            raise InvalidInputError(
                "outliers", f"be between 0 and {total}, the number of eigenvalues", f"{outliers}"
            )
        self.outliers, self.resolved = outliers, resolved
        self.residuals = None if residuals is None else numbers(residuals, "residuals")
        if self.residuals is not None and self.residuals.shape != self.eigenvalues.shape:
            raise InvalidInputError(
                "residuals",
                f"be one an eigenvalue, {len(self.eigenvalues)}",
                f"{len(self.residuals)}",
            )

    @classmethod
    def from_analysis(cls, analysis: Analysis, *, ax: Axes | None = None) -> SpectrumDisplay:
        """Draw the spectrum of an analysis."""
        display = cls(
            analysis.eigenvalues,
            analysis.next_eigenvalues,
            analysis.outliers,
            analysis.outlier_count.resolved,
            analysis.residuals,
        )
        return display.plot(ax)

    def plot(self, ax: Axes | None = None) -> SpectrumDisplay:
        """Draw on ``ax``, or on a new pyplot figure.

        Returns
        -------
        SpectrumDisplay
            Itself.
        """
        with style.styled():
            self.figure_, self.ax_ = style.one_axes(ax, 7.0, 3.9)
            self._scale()
            self._bulk_edge()
            self._points()
            self.ax_.set_xlabel("index $i$")
            self.ax_.set_ylabel(r"eigenvalue $\lambda_i$")
            self.ax_.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            self.ax_.grid(axis="y")
            self.ax_.set_title(self._title())
            self.ax_.legend(loc="upper right")
        return self

    @property
    def _values(self) -> Any:
        return np.concatenate([self.eigenvalues, self.next_eigenvalues])

    def _title(self) -> str:
        if not self.outliers and not self.resolved:
            return "Too few eigenvalues to tell outliers from the bulk"
        at_least = "" if self.resolved else "At least "
        plural = "" if self.outliers == 1 else "s"
        verb = "stands" if self.outliers == 1 else "stand"
        return f"{at_least}{self.outliers or 'No'} eigenvalue{plural} {verb} apart from the bulk"

    def _scale(self) -> None:
        values = self._values
        if (values > 0).all():
            self.ax_.set_yscale("log")
            room = (values.max() / values.min()) ** 0.06
            room = max(room, 1.2)
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

    def _bulk_edge(self) -> None:
        values = self._values
        if not (self.resolved and self.outliers < len(values)):
            return
        edge = float(values[self.outliers])
        self.ax_.axhspan(min(values.min(), 0.0), edge, color="#f3f4f6", linewidth=0, zorder=0)
        self.ax_.axhline(
            edge,
            color=style.MUTED,
            linewidth=0.9,
            linestyle=(0, (4, 3)),
            zorder=1,
            label=f"edge of the bulk, λ = {style.format_number(edge)}",
        )

    def _points(self) -> None:
        k, values = len(self.eigenvalues), self._values
        index = np.arange(1, len(values) + 1)
        apart, known = index <= self.outliers, index <= k
        size = float(np.clip(60 / np.sqrt(len(values)), 2.5, 7.0))
        rest = "bulk" if self.resolved else "not told from the bulk"
        groups = {
            "outliers": (apart & known, style.ACCENT, style.ACCENT, "outlier"),
            "bulk": (~apart & known, style.SECOND, style.SECOND, rest),
            "next_outliers": (apart & ~known, "white", style.ACCENT, "outlier, estimated"),
            "next": (~apart & ~known, "white", style.SECOND, "following, estimated"),
        }
        self.errorbars_ = self._errors(index[:k]) if self.residuals is not None else None
        self.lines_ = {}
        for name, (mask, face, edge, label) in groups.items():
            if mask.any():
                (self.lines_[name],) = self.ax_.plot(
                    *(index[mask], values[mask], "o"),
                    color=edge,
                    markerfacecolor=face,
                    markersize=size,
                    label=label,
                    zorder=3,
                )

    def _errors(self, index: Any) -> ErrorbarContainer:
        assert self.residuals is not None
        size = self.residuals * np.abs(self.eigenvalues).max()
        # A bar to zero or below has no place on a logarithmic axis.
        lower = size
        if self.ax_.get_yscale() == "log":
            lower = np.minimum(size, 0.999 * self.eigenvalues)
        return self.ax_.errorbar(
            *(index, self.eigenvalues),
            yerr=np.stack([lower, size]),
            fmt="none",
            ecolor=style.MUTED,
            elinewidth=1.0,
            capsize=2.5,
            zorder=2,
        )
