"""Which classes each eigenvector's part of the boundary separates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.ticker import PercentFormatter

from eigenboundary.boundary.sections import BoundarySections
from eigenboundary.displays import style
from eigenboundary.displays.arguments import names_of_classes
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis


# Cells of tables with more columns are too narrow for numbers.
_MOST_NUMBERED = 14
# Of tables with more columns only every fifth is named.
_MOST_NAMED = 25
# The palest tenth would look like the blank of no points at all.
_MAP = ListedColormap(colormaps["Blues"](np.linspace(0.12, 0.95, 256)), "pairs")


class ClassPairDisplay:
    """Heat map of the boundary's shares: a row a class pair, a column an eigenvector.

    The last column, "none", holds what no eigenvector explains; cells without points are blank.

    Parameters
    ----------
    class_pairs : pandas.DataFrame
        Shares that sum to one, of :attr:`BoundarySections.class_pairs
        <eigenboundary.boundary.BoundarySections.class_pairs>`.
    class_names : sequence of str, optional

    Attributes
    ----------
    ax_, figure_
    image_ : AxesImage
        Its array has the table's shape, cells without points masked.
    texts_ : list of Text
        Percentages in the cells, of at most 14 columns.
    colorbar_ : Colorbar

    Raises
    ------
    InvalidInputError
        If the table is empty or holds no shares.

    Examples
    --------
    >>> import pandas as pd
    >>> from matplotlib.figure import Figure
    >>> table = pd.DataFrame([[0.75, 0.0], [0.0, 0.25]], ["0 | 1", "1 | 2"], ["1", "none"])
    >>> display = ClassPairDisplay(table, class_names=["cat", "dog", "owl"])
    >>> [name.get_text() for name in display.plot(Figure().add_subplot()).ax_.get_yticklabels()]
    ['cat | dog', 'dog | owl']
    """

    ax_: Axes
    figure_: Figure
    image_: AxesImage
    texts_: list[Text]
    colorbar_: Colorbar

    def __init__(
        self, class_pairs: pd.DataFrame, *, class_names: Sequence[str] | None = None
    ) -> None:
        if not isinstance(class_pairs, pd.DataFrame) or not class_pairs.size:
            came = getattr(class_pairs, "shape", type(class_pairs).__name__)
            raise InvalidInputError("class_pairs", "be a table with a row a class pair", f"{came}")
        self.shares = class_pairs.to_numpy(dtype=np.float64)
        total = float(self.shares.sum())
        if not (self.shares >= 0).all() or not total <= 1.001:
            raise InvalidInputError(
                "class_pairs",
                "hold shares of at least 0 that sum to at most 1",
                f"ones that sum to {total:.4g}, the least {self.shares.min():.4g}",
            )
        self.columns = [str(name) for name in class_pairs.columns]
        self.rows = [str(name) for name in class_pairs.index]
        if class_names is not None:
            pairs = [[int(c) for c in row.split(" | ")] for row in self.rows]
            names = names_of_classes(class_names, 1 + max(map(max, pairs)))
            self.rows = [f"{names[a]} | {names[b]}" for a, b in pairs]

    @classmethod
    def from_sections(
        cls,
        sections: BoundarySections,
        *,
        class_names: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> ClassPairDisplay:
        """Draw the class pairs of the sections of a boundary."""
        return cls(sections.class_pairs, class_names=class_names).plot(ax)

    @classmethod
    def from_analysis(
        cls,
        analysis: Analysis,
        *,
        class_names: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> ClassPairDisplay:
        """Draw the class pairs of an analysis with margins.

        Raises
        ------
        InvalidInputError
            If it was made without margins.
        """
        if analysis.sections is None:
            raise InvalidInputError(
                "analysis", "have sections (analyze(..., margins=True))", "one without"
            )
        return cls.from_sections(analysis.sections, class_names=class_names, ax=ax)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches that suit the table."""
        rows, columns = self.shares.shape
        names = 0.075 * max(map(len, self.rows))
        per_column = 0.46 if columns <= _MOST_NUMBERED else 0.32 if columns <= _MOST_NAMED else 0.2
        wide = 1.5 + names + per_column * columns
        return float(np.clip(wide, 4.2, 14)), 1.1 + float(np.clip(self._pitch * rows, 1.2, 12))

    @property
    def _pitch(self) -> float:
        """Height of a row in inches."""
        rows = len(self.rows)
        return 0.3 if rows <= 15 else 0.21 if rows <= 30 else 0.165 if rows <= 50 else 0.12

    def plot(self, ax: Axes | None = None) -> ClassPairDisplay:
        """Draw on ``ax``, or on a new pyplot figure.

        Returns
        -------
        ClassPairDisplay
            Itself.
        """
        with style.styled():
            self.figure_, self.ax_ = style.one_axes(ax, *self.size)
            self.image_ = self.ax_.imshow(
                np.ma.masked_equal(self.shares, 0.0),
                cmap=_MAP,
                vmin=0.0,
                vmax=float(self.shares.max()) or 1.0,
                aspect="auto",
                interpolation="nearest",
            )
            self._lines()
            self._names()
            self.texts_ = self._numbers()
            self.colorbar_ = self.figure_.colorbar(
                self.image_,
                ax=self.ax_,
                pad=0.02,
                aspect=max(25.0, 5.0 * self.figure_.get_figheight()),
                format=PercentFormatter(1.0, decimals=0 if self.shares.max() > 0.05 else 1),
                label="share of boundary",
            )
            self.colorbar_.outline.set_visible(False)
            unexplained = self.shares[:, -1].sum() if self.columns[-1] == "none" else 0.0
            pairs = len(self.rows)
            self.ax_.set_title(
                f"{pairs} class pair{'s'[: pairs > 1]}, {unexplained:.1%} of the boundary "
                "unexplained"
            )
        return self

    def _lines(self) -> None:
        rows, columns = self.shares.shape
        for side in self.ax_.spines.values():
            side.set_visible(False)
        for x in np.arange(columns + 1) - 0.5:
            self.ax_.axvline(x, color=style.FAINT, linewidth=0.8, zorder=2)
        for y in np.arange(rows + 1) - 0.5:
            self.ax_.axhline(y, color=style.FAINT, linewidth=0.8, zorder=2)
        if columns > 1 and self.columns[-1] == "none":
            self.ax_.axvline(columns - 1.5, color=style.INK, linewidth=0.9, zorder=3)

    def _names(self) -> None:
        rows, columns = self.shares.shape
        step = 1 if columns <= _MOST_NAMED else 5
        shown = [
            i
            for i, name in enumerate(self.columns)
            if step == 1 or name == "none" or i == 0 or (i + 1) % step == 0
        ]
        # A number next to "none" would run into it.
        shown = [i for i in shown if i in (0, columns - 1) or step == 1 or columns - 1 - i > 2]
        names = [self.columns[i] for i in shown]
        labels = [f"$v_{{{name}}}$" if name.isdigit() else name for name in names]
        self.ax_.set_xticks(shown, labels)
        self.ax_.set_yticks(range(rows), self.rows)
        height = 9.0 if rows <= 30 else 8.0 if rows <= 50 else 6.0
        self.ax_.tick_params(axis="y", labelsize=height)
        self.ax_.tick_params(length=0)
        self.ax_.set_ylabel("classes")
        self.ax_.set_xlabel("eigenvector")

    def _numbers(self) -> list[Text]:
        rows, columns = self.shares.shape
        if columns > _MOST_NUMBERED or rows > 50:
            return []
        top = float(self.shares.max()) or 1.0
        return [
            self.ax_.text(
                j,
                i,
                _percent(float(self.shares[i, j])),
                ha="center",
                va="center",
                fontsize=8.0 if rows <= 30 else 7.0,
                color="white" if self.shares[i, j] > 0.6 * top else style.INK,
                zorder=4,
            )
            for i, j in zip(*np.nonzero(self.shares), strict=True)
        ]


def _percent(share: float) -> str:
    """Per cent, short enough for a cell: one decimal below ten."""
    value = 100 * share
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.05 else "<0.1"
