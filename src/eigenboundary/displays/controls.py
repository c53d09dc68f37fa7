"""Are the top eigenvectors special? Their alignment against that of control directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from eigenboundary.alignment.complexity import random_alignment
from eigenboundary.displays import style
from eigenboundary.displays.arguments import check_alignment
from eigenboundary.runtime.arguments import check_positive_integer
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis


_FLOOR = 1e-6
_MOST_POINTS = 600
_MOST_TOP = 10
_NAMES = {
    "lowest": "lowest eigenvectors",
    "random_eigenvectors": "random eigenvectors",
    "random_directions": "random directions",
}


class ControlsDisplay:
    """Distribution of |A| over the training samples: top eigenvectors, then each control.

    A box holds the middle half, its whiskers 5 % to 95 %. Alignments below 1e-6 are drawn there.

    Parameters
    ----------
    alignment : array, shape (n, k)
        With the top eigenvectors.
    controls : mapping of str to array, shape (n, j)
        By kind.
    n_parameters : int
        p; the dashed line is what random directions reach on average in p dimensions.

    Attributes
    ----------
    ax_, figure_
    boxes_ : dict
        What ``Axes.boxplot`` returned; its medians are in the order of `rows_`.
    rows_ : dict of array
        The |A| of each row, from the top, by name.
    points_ : list of PathCollection
    line_ : Line2D
        The random level.

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

    ax_: Axes
    figure_: Figure
    boxes_: dict[str, Any]
    rows_: dict[str, NDArray[np.float64]]
    points_: list[PathCollection]
    line_: Line2D

    def __init__(
        self, alignment: ArrayLike, controls: Mapping[str, ArrayLike], n_parameters: int
    ) -> None:
        if not controls:
            raise InvalidInputError(
                "controls",
                "hold at least one kind of control direction (analyze(..., "
                "controls=('random_directions',)))",
                "none",
            )
        check_positive_integer(n_parameters, "n_parameters")
        self.alignment = check_alignment(alignment)
        self.controls = {
            kind: check_alignment(value, f"controls[{kind!r}]") for kind, value in controls.items()
        }
        self.n_parameters = n_parameters

    @classmethod
    def from_analysis(cls, analysis: Analysis, *, ax: Axes | None = None) -> ControlsDisplay:
        """Draw the controls of an analysis, against its top ten eigenvectors at most.

        Raises
        ------
        InvalidInputError
            If it was made without controls.
        """
        top = analysis.training_alignment[:, :_MOST_TOP]
        display = cls(top, analysis.controls, analysis.n_parameters)
        return display.plot(ax)

    def plot(self, ax: Axes | None = None) -> ControlsDisplay:
        """Draw on ``ax``, or on a new pyplot figure.

        Returns
        -------
        ControlsDisplay
            Itself.
        """
        k = self.alignment.shape[1]
        top = "top eigenvector" if k == 1 else f"top {k} eigenvectors"
        self.rows_ = {top: np.abs(self.alignment).ravel()} | {
            _NAMES.get(kind, kind): np.abs(value).ravel() for kind, value in self.controls.items()
        }
        with style.styled():
            self.figure_, self.ax_ = style.one_axes(ax, 7.6, 1.2 + 0.62 * len(self.rows_))
            self._boxes()
            self._points()
            self._level()
            self.ax_.set_xscale("log")
            self.ax_.set_xlim(right=1.25)
            self.ax_.invert_yaxis()
            self.ax_.spines["left"].set_visible(False)
            self.ax_.tick_params(axis="y", length=0)
            self.ax_.grid(axis="x")
            self.ax_.set_xlabel("size of alignment $|A(x_s)|$")
        return self

    def _boxes(self) -> None:
        colors = [style.ACCENT, *[style.SECOND] * len(self.controls)]
        self.boxes_ = self.ax_.boxplot(
            [np.maximum(values, _FLOOR) for values in self.rows_.values()],
            positions=range(len(self.rows_)),
            orientation="horizontal",
            widths=0.5,
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            medianprops={"color": style.INK, "linewidth": 1.8},
        )
        self.ax_.set_yticks(range(len(self.rows_)), list(self.rows_))
        for box, color in zip(self.boxes_["boxes"], colors, strict=True):
            box.set(facecolor=color, alpha=0.35, edgecolor=color)
        for part in (*self.boxes_["whiskers"], *self.boxes_["caps"]):
            part.set(color=style.MUTED, linewidth=0.9)

    def _points(self) -> None:
        rng = np.random.default_rng(0)
        self.points_ = []
        for row, values in enumerate(self.rows_.values()):
            drawn = np.sort(values)[:: max(1, len(values) // _MOST_POINTS)]
            height = row + rng.uniform(-0.2, 0.2, len(drawn))
            color = style.SECOND if row else style.ACCENT
            self.points_.append(
                self.ax_.scatter(
                    *(np.maximum(drawn, _FLOOR), height),
                    s=5,
                    color=color,
                    alpha=0.3,
                    linewidths=0,
                    zorder=1,
                )
            )

    def _level(self) -> None:
        level = random_alignment(self.n_parameters)
        self.line_ = self.ax_.axvline(
            level, color=style.INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0
        )
        self.ax_.annotate(
            f"random level {style.format_number(level, 2)}",
            (level, 1.0),
            xycoords=self.ax_.get_xaxis_transform(),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=style.MUTED,
        )
