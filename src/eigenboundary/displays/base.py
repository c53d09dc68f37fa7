"""What all displays share: the axes they draw on, the style, colour bars and legends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eigenboundary.displays import style
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from typing_extensions import Self

    from eigenboundary.analysis.result import Analysis


class Display(ABC):
    """Numbers in, matplotlib artists out.

    A subclass checks its numbers when it is made, and draws them on ``axes_`` in ``_draw``.

    Attributes
    ----------
    figure_ : Figure
    axes_ : list of Axes
        One a panel.
    ax_ : Axes
        The first panel.
    size : (float, float)
        Width and height in inches of a figure that the display fills.
    """

    figure_: Figure
    axes_: list[Axes]
    ax_: Axes
    size: tuple[float, float] = (7.0, 3.9)
    _panels = 1
    _columns = 1

    def plot(self, ax: Any = None) -> Self:
        """Draw on given axes, or on a new pyplot figure, and return the display.

        Parameters
        ----------
        ax : Axes, sequence of Axes or Figure, optional
            Axes, one a panel, or an empty figure, which takes the display's size.

        Raises
        ------
        InvalidInputError
            If there are fewer axes than panels.
        """
        with style.styled():
            self._fills_figure = ax is None or isinstance(ax, Figure)
            if self._fills_figure:
                self.axes_ = self._new_axes(new_figure(ax, self.size))
            else:
                self.axes_ = self._given(ax)
            self.ax_ = self.axes_[0]
            figure = self.ax_.figure.figure
            assert isinstance(figure, Figure)
            self.figure_ = figure
            self._draw()
        return self

    @abstractmethod
    def _draw(self) -> None:
        """Draw on ``axes_`` and keep the artists."""

    def _arrange(self, panels: int, panel: tuple[float, float], columns: int | None = None) -> None:
        """Set the number of panels and their width and height in inches."""
        self._panels = panels
        if columns is None:
            # The last row is full where that is possible.
            columns = 4 if panels % 4 == 0 or panels > 12 else 3
        self._columns = min(columns, panels)
        rows = -(-panels // self._columns)
        self.size = panel[0] * self._columns + 0.6, panel[1] * rows + 0.5

    def _new_axes(self, figure: Figure) -> list[Axes]:
        rows = -(-self._panels // self._columns)
        return [figure.add_subplot(rows, self._columns, i + 1) for i in range(self._panels)]

    def _given(self, ax: Any) -> list[Axes]:
        given = np.ravel(np.asarray(ax, dtype=object))
        if len(given) < self._panels or not all(isinstance(one, Axes) for one in given):
            wanted = f"be None, a Figure or at least {self._panels} Axes, one a panel"
            raise InvalidInputError("ax", wanted, f"{len(given)}")
        return list(given[: self._panels])

    def _colorbar(self, drawn: ScalarMappable, label: str, **options: Any) -> Colorbar:
        """Draw the colour bar that all panels share."""
        beside = self.axes_ if len(self.axes_) > 1 else self.ax_
        options = {"ax": beside, "label": label} | options
        bar = self.figure_.colorbar(drawn, **options)
        bar.outline.set_visible(False)
        return bar

    def _legend(self, handles: Sequence[Line2D]) -> None:
        """Draw a legend below all panels, or in the first of axes that were given."""
        if handles and self._fills_figure:
            style.legend_below(self.figure_, handles)
        elif handles:
            self.ax_.legend(handles=handles, loc="best")


class AnalysisDisplay(Display):
    """Display of numbers that an analysis holds."""

    @classmethod
    def from_analysis(cls, analysis: Analysis, *, ax: Any = None, **options: Any) -> Self:
        """Draw the numbers of an analysis.

        Parameters
        ----------
        analysis : Analysis
        ax : Axes, sequence of Axes or Figure, optional
            As for :meth:`plot`.
        **options
            Optional arguments of the class.

        Raises
        ------
        InvalidInputError
            If the analysis lacks the numbers: the message names the call that computes them.
        """
        return cls(**cls._arguments(analysis) | options).plot(ax)

    @staticmethod
    @abstractmethod
    def _arguments(analysis: Analysis) -> dict[str, Any]:
        """Return the arguments of the class that an analysis gives."""


def new_figure(figure: Figure | None, size: tuple[float, float]) -> Figure:
    """Return a figure of a size in inches: that given, or one that pyplot makes."""
    if figure is None:
        # Notebooks and plt.show() find figures that pyplot made.
        import matplotlib.pyplot as plt

        return plt.figure(figsize=size, layout="constrained")
    figure.set_size_inches(size)
    return figure
