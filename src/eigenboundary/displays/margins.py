"""How wide the margin is at the section of each eigenvector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from eigenboundary.boundary.sections import BoundarySections
from eigenboundary.displays import style
from eigenboundary.displays.arguments import numbers
from eigenboundary.runtime.arguments import as_array
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis


Array = NDArray[np.float64]

# Distances that differ by more than this are drawn on a logarithmic scale.
_LOG_FROM = 12.0
_NUMBER = FuncFormatter(lambda value, _: style.format_number(value, 3))
_PAPER = "#009E73"


class MarginDisplay:
    r"""Margin, linearised estimate and the paper's estimate against the eigenvector's index.

    Sections that lead at no sampled point of the boundary are drawn hollow. Where the search did
    not converge a cross at the lower edge stands in place of the margin.

    Parameters
    ----------
    margin, lower_estimate, paper_margin : array, shape (k,)
        Distances of :math:`x_t` from the boundary, of the linearised network, and
        :math:`\|x_t - x_b\|`; NaN where there is none.
    share : array, shape (k,)
        Of the sampled boundary points, those that belong to the section.
    converged : array of bool, shape (k,)

    Attributes
    ----------
    ax_, figure_
    lines_ : dict of Line2D
        "margin", "lower_estimate" and "paper_margin", each also with "_hollow" for sections of no
        share, and "unconverged", as far as there are any.

    Raises
    ------
    InvalidInputError
        If shapes do not fit, or a distance is negative.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> display = MarginDisplay([2.0, 3.0], [1.5, 2.0], [4.0, 5.0], [0.6, 0.0], [True, True])
    >>> display.plot(Figure().add_subplot()).lines_["margin_hollow"].get_xdata().tolist()
    [2]
    """

    ax_: Axes
    figure_: Figure
    lines_: dict[str, Line2D]

    def __init__(
        self,
        margin: ArrayLike,
        lower_estimate: ArrayLike,
        paper_margin: ArrayLike,
        share: ArrayLike,
        converged: ArrayLike,
    ) -> None:
        self.share = numbers(share, "share")
        k = len(self.share)
        if not k or (self.share < 0).any():
            raise InvalidInputError(
                "share",
                "be numbers of at least 0, one an eigenvector",
                f"{k}, the least {self.share.min(initial=0):.3g}",
            )
        self.margin = _distances(margin, "margin", k)
        self.lower_estimate = _distances(lower_estimate, "lower_estimate", k)
        self.paper_margin = _distances(paper_margin, "paper_margin", k)
        self.converged = as_array(converged)
        if self.converged.shape != (k,) or self.converged.dtype != np.bool_:
            raise InvalidInputError(
                "converged",
                f"be {k} booleans, one an eigenvector",
                f"shape {self.converged.shape} of {self.converged.dtype}",
            )

    @classmethod
    def from_sections(cls, sections: BoundarySections, *, ax: Axes | None = None) -> MarginDisplay:
        """Draw the margins of the sections of a boundary."""
        display = cls(
            [section.margin for section in sections],
            [section.lower_estimate for section in sections],
            [section.paper_margin for section in sections],
            [section.share for section in sections],
            np.array([section.converged for section in sections], dtype=bool),
        )
        return display.plot(ax)

    @classmethod
    def from_analysis(cls, analysis: Analysis, *, ax: Axes | None = None) -> MarginDisplay:
        """Draw the margins of an analysis.

        Raises
        ------
        InvalidInputError
            If it was made without margins.
        """
        if analysis.sections is None:
            raise InvalidInputError(
                "analysis", "have sections (analyze(..., margins=True))", "one without"
            )
        return cls.from_sections(analysis.sections, ax=ax)

    def plot(self, ax: Axes | None = None) -> MarginDisplay:
        """Draw on ``ax``, or on a new pyplot figure.

        Returns
        -------
        MarginDisplay
            Itself.
        """
        with style.styled():
            self.figure_, self.ax_ = style.one_axes(ax, 7.0, 4.0)
            self._scale()
            self.lines_ = {}
            found = self.converged & np.isfinite(self.margin)
            size = float(np.clip(60 / np.sqrt(len(self.share)), 3.0, 7.0))
            kinds = (
                ("paper_margin", "D", _PAPER, r"paper's estimate $\|x_t - x_b\|$", 0.85 * size),
                (
                    "lower_estimate",
                    "v",
                    style.SECOND,
                    "linearised network",
                    0.95 * size,
                ),
                ("margin", "o", style.ACCENT, "margin", size),
            )
            for name, marker, color, label, width in kinds:
                values = getattr(self, name)
                drawn = found if name == "margin" else np.isfinite(values)
                self._points(name, values, drawn, marker, color, label, width)
            self._crosses(~found, size)
            self.ax_.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            self.ax_.set_xlim(0.4, max(len(self.share), 2) + 0.6)
            self.ax_.grid(axis="y")
            self.ax_.set_xlabel("index $i$")
            self.ax_.set_ylabel("distance in input space")
            self.ax_.set_title(self._title(found))
            self._legend(found)
        return self

    def _points(
        self,
        name: str,
        values: Array,
        drawn: NDArray[np.bool_],
        marker: str,
        color: str,
        label: str,
        size: float,
    ) -> None:
        index = np.arange(1, len(values) + 1)
        for key, mask in ((name, self.share > 0), (f"{name}_hollow", self.share == 0)):
            if (drawn & mask).any():
                (self.lines_[key],) = self.ax_.plot(
                    *(index[drawn & mask], values[drawn & mask]),
                    linestyle="none",
                    marker=marker,
                    color=color,
                    markerfacecolor="white" if key.endswith("hollow") else color,
                    markersize=size,
                    zorder=4 if name == "margin" else 3,
                    label=label,
                )

    def _crosses(self, missing: NDArray[np.bool_], size: float) -> None:
        if not missing.any():
            return
        index = np.arange(1, len(missing) + 1)[missing]
        (self.lines_["unconverged"],) = self.ax_.plot(
            *(index, np.zeros(len(index))),
            linestyle="none",
            marker="x",
            color=style.INK,
            markersize=0.9 * size,
            markeredgewidth=1.6,
            transform=self.ax_.get_xaxis_transform(),
            clip_on=False,
            zorder=5,
            label="no margin: not converged",
        )

    def _scale(self) -> None:
        estimates = [self.lower_estimate, self.paper_margin]
        found = np.where(self.converged, self.margin, np.nan)
        values = np.concatenate([found, *estimates])
        values = values[np.isfinite(values)]
        if not len(values):
            return
        low, high = float(values.min()), float(values.max())
        if low > 0 and high > _LOG_FROM * low:
            room = max((high / low) ** 0.07, 1.15)
            self.ax_.set_yscale("log")
            self.ax_.set_ylim(low / room, high * room)
            decades = np.log10(high / low)
            self.ax_.yaxis.set_major_locator(
                LogLocator(subs=(1.0, 2.0, 5.0) if decades < 3 else (1.0,))
            )
            self.ax_.yaxis.set_major_formatter(_NUMBER)
            self.ax_.yaxis.set_minor_formatter(NullFormatter())
        else:
            self.ax_.set_ylim(0, 1.08 * high if high > 0 else 1.0)

    def _title(self, found: NDArray[np.bool_]) -> str:
        if not found.any():
            return "No margin was found"
        narrowest = int(np.nanargmin(np.where(found, self.margin, np.nan)))
        value = style.format_number(float(self.margin[narrowest]))
        return f"Narrowest margin {value}, at the section of $v_{{{narrowest + 1}}}$"

    def _legend(self, found: NDArray[np.bool_]) -> None:
        handles = [
            self.lines_.get(name) or self.lines_[f"{name}_hollow"]
            for name in ("margin", "lower_estimate", "paper_margin")
            if name in self.lines_ or f"{name}_hollow" in self.lines_
        ]
        if any(name.endswith("hollow") for name in self.lines_):
            hollow = Line2D([], [], linestyle="none", marker="o", color=style.MUTED, markersize=6)
            hollow.set(markerfacecolor="white", label="hollow: leads nowhere")
            handles.append(hollow)
        if "unconverged" in self.lines_:
            handles.append(self.lines_["unconverged"])
        if handles:
            columns = style.legend_columns(self.figure_, handles)
            self.ax_.legend(
                handles=handles,
                loc="upper center",
                bbox_to_anchor=(0.5, -0.16),
                ncols=min(3, columns),
            )


def _distances(value: ArrayLike, name: str, k: int) -> Array:
    array = as_array(value, np.float64)
    if array.shape != (k,) or (array < 0).any():
        raise InvalidInputError(
            name,
            f"be {k} distances of at least 0, one an eigenvector",
            "shape "
            f"{array.shape}{'' if array.shape != (k,) else f', the least {np.nanmin(array):.3g}'}",
        )
    return array
