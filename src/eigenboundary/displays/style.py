"""One look for every picture: colours, markers, type and the way figures are made.

Styles are applied through :func:`styled` while a picture is drawn, never globally. Classes differ
in colour (Okabe and Ito's colour-blind safe set, then four of Tol's) and in marker; alignments
have a diverging map centred at zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

ALIGNMENT_MAP = "RdBu_r"
ALIGNMENT_RANGE = Normalize(-1.0, 1.0)
INK, MUTED, FAINT = "#22262e", "#6b7280", "#e5e7eb"
ACCENT, SECOND = "#D55E00", "#0072B2"

_CLASS_COLORS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#DCCB24"),
    *("#4d4d4d", "#882255", "#44AA99", "#332288", "#999933"),
)
_CLASS_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h")

_STYLE: dict[str, Any] = {
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 7.0,
    "axes.labelsize": 10.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9ca3af",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": "#9ca3af",
    "ytick.color": "#9ca3af",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "eigenboundary",
}
# Classes a legend can still name.
_MOST_NAMED = 20
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def styled() -> AbstractContextManager[None]:
    """Context in which pictures are drawn and saved; the caller's settings return after it."""
    settings: Any = _STYLE  # matplotlib types the keys as literals
    return mpl.rc_context(settings)


def class_color(label: int) -> str:
    """Colour of a class; colours repeat after twelve classes, colour and marker after 132."""
    return _CLASS_COLORS[label % len(_CLASS_COLORS)]


def class_marker(label: int) -> str:
    """Marker of a class."""
    return _CLASS_MARKERS[label % len(_CLASS_MARKERS)]


def class_handles(classes: Sequence[int], names: Sequence[str]) -> list[Line2D]:
    """Legend entries of some classes."""
    return [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=class_marker(label),
            markersize=6.5,
            markerfacecolor=class_color(label),
            markeredgecolor="white",
            markeredgewidth=0.5,
            label=names[label],
        )
        for label in classes
    ]


def format_number(value: float, digits: int = 3) -> str:
    """A number for people: few digits, powers of ten written as such.

    Examples
    --------
    >>> [format_number(v) for v in (0.11324, 12345.0, 2.31e-7, 0.0, -4.0)]
    ['0.113', '12,345', '2.31·10⁻⁷', '0', '−4']
    """
    if not np.isfinite(value):
        return "–" if np.isnan(value) else ("∞" if value > 0 else "−∞")
    size = abs(value)
    sign = "−" if value < 0 else ""
    if size == 0:
        return "0"
    if 1e-3 <= size < 1e6:
        if size >= 10**digits:
            return f"{sign}{size:,.0f}"
        return sign + f"{size:.{digits}g}"
    mantissa, exponent = f"{size:.{digits - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{sign}{mantissa}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def eigenvector_title(index: int, eigenvalue: float | None) -> str:
    """Title of a panel, e.g. ``$v_{1}$, λ = 0.113``; the first eigenvector has index 0."""
    name = f"$v_{{{index + 1}}}$"
    return name if eigenvalue is None else f"{name},  λ = {format_number(eigenvalue)}"


def new_figure(width: float, height: float) -> Figure:
    """A pyplot figure, so that notebooks and ``plt.show()`` find it."""
    import matplotlib.pyplot as plt

    return plt.figure(figsize=(width, height), layout="constrained")


def one_axes(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The given axes, or those of a new figure, and their figure."""
    if ax is None:
        figure = new_figure(width, height)
        return figure, figure.add_subplot()
    figure = ax.figure.figure
    assert isinstance(figure, Figure)
    return figure, ax


def several_axes(
    axes: Any, count: int, *, panel: tuple[float, float], columns: int | None = None
) -> tuple[Figure, list[Axes], bool]:
    """Axes for ``count`` panels, their figure, and whether the figure is the display's own.

    ``axes`` is None (a pyplot figure is made), an empty Figure to fill, or enough axes.

    Raises
    ------
    InvalidInputError
        If fewer axes are given than there are panels.
    """
    from eigenboundary.runtime.errors import InvalidInputError

    if axes is None or isinstance(axes, Figure):
        columns = _columns(count) if columns is None else min(columns, count)
        rows = -(-count // columns)
        width, height = panel[0] * columns + 0.6, panel[1] * rows + 0.5
        figure = new_figure(width, height) if axes is None else axes
        figure.set_size_inches(width, height)
        return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)], True
    given = np.ravel(np.asarray(axes, dtype=object))
    if len(given) < count or not all(isinstance(ax, Axes) for ax in given):
        raise InvalidInputError(
            "axes", f"be None, a Figure or at least {count} Axes, one a panel", f"{len(given)}"
        )
    figure, _ = one_axes(given[0], *panel)
    return figure, list(given[:count]), False


def alignment_colorbar(
    figure: Figure, drawn: ScalarMappable, axes: Sequence[Axes], label: str
) -> Colorbar:
    """The colour bar that all panels of alignments share."""
    ticks = [-1, -0.5, 0, 0.5, 1]
    bar = figure.colorbar(
        drawn, ax=axes, pad=0.015, aspect=30, fraction=0.04, ticks=ticks, label=label
    )
    bar.outline.set_visible(False)
    return bar


def class_legend(
    figure: Figure, ax: Axes, labels: ArrayLike, names: Sequence[str], below: bool
) -> None:
    """Name the classes that occur, below all panels or inside ``ax``; none of more than 20."""
    classes = np.unique(labels).tolist()
    if not 1 <= len(classes) <= _MOST_NAMED:
        return
    handles = class_handles(classes, names)
    if below:
        columns = legend_columns(figure, handles)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    else:
        ax.legend(handles=handles, loc="best")


def legend_columns(figure: Figure, handles: Sequence[Line2D]) -> int:
    """Columns of a legend below the panels that the figure's width has room for."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    room = figure.get_figwidth() / (0.55 + 0.08 * longest)
    return max(1, min(len(handles), int(room)))


def _columns(count: int) -> int:
    # A full last row where one is possible.
    if count <= 3:
        return count
    return 4 if count % 4 == 0 or count > 12 else 3
