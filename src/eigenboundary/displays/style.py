"""One look for every picture: colours, markers, type and legends.

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
from matplotlib.collections import PathCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from eigenboundary.runtime.formats import format_number

ALIGNMENT_MAP = "RdBu_r"
ALIGNMENT_RANGE = Normalize(-1.0, 1.0)
ALIGNMENT: dict[str, Any] = {"cmap": ALIGNMENT_MAP, "norm": ALIGNMENT_RANGE}
ALIGNMENT_BAR: dict[str, Any] = {"pad": 0.015, "aspect": 30, "fraction": 0.04}
ALIGNMENT_BAR["ticks"] = [-1, -0.5, 0, 0.5, 1]
CELLS: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest"}
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
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "eigenboundary",
}
for _axis in ("xtick", "ytick"):
    _STYLE |= {f"{_axis}.color": "#9ca3af", f"{_axis}.labelcolor": INK, f"{_axis}.labelsize": 9.0}
#: Classes that a legend can still name, and rows or columns that can all be named.
MOST_NAMED, MOST_IN_ROW = 20, 25


def styled() -> AbstractContextManager[None]:
    """Return the context in which pictures are drawn and saved; it restores all settings."""
    settings: Any = _STYLE  # matplotlib types the keys as literals
    return mpl.rc_context(settings)


def class_color(label: int) -> str:
    """Return the colour of a class: twelve colours, and 132 pairs of colour and marker."""
    return _CLASS_COLORS[label % len(_CLASS_COLORS)]


def class_marker(label: int) -> str:
    """Return the marker of a class."""
    return _CLASS_MARKERS[label % len(_CLASS_MARKERS)]


def class_handles(classes: Sequence[int], names: Sequence[str]) -> list[Line2D]:
    """Return legend entries of some classes, or none of more than a legend can name."""
    how: dict[str, Any] = {"linestyle": "none", "markersize": 6.5, "markeredgewidth": 0.5}
    how["markeredgecolor"] = "white"
    return [
        Line2D([], [], marker=class_marker(c), color=class_color(c), label=names[c], **how)
        for c in (classes if len(classes) <= MOST_NAMED else ())
    ]


def eigenvector_title(index: int, eigenvalue: float | None) -> str:
    """Return the title of a panel, e.g. ``$v_{1}$, λ = 0.113`` for index 0."""
    name = f"$v_{{{index + 1}}}$"
    return name if eigenvalue is None else f"{name},  λ = {format_number(eigenvalue)}"


def named(n: int) -> list[int]:
    """Return which of n rows or columns to name: all, or every fifth of too many."""
    return [i for i in range(n) if n <= MOST_IN_ROW or i == 0 or (i + 1) % 5 == 0]


def scatter_classes(
    ax: Axes, points: NDArray[Any], labels: NDArray[Any], **how: Any
) -> list[PathCollection]:
    """Draw points (n, 2) in the colour and marker of their class, one collection a class."""
    how = {"edgecolors": "white"} | how
    return [
        ax.scatter(*points[labels == c].T, marker=class_marker(c), color=class_color(c), **how)
        for c in np.unique(labels).tolist()
    ]


def index_axis(ax: Axes) -> None:
    """Label the x axis by the index of eigenvectors, in whole numbers."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlabel("index $i$")
    ax.grid(axis="y")


def bare(ax: Axes, frame: bool = False) -> None:
    """Hide the ticks, and the spines unless a faint frame is wanted."""
    ax.set(xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set(visible=frame, color=FAINT)


def legend_below(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Draw a legend below all panels of a figure."""
    columns = legend_columns(figure, handles)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def legend_columns(figure: Figure, handles: Sequence[Line2D]) -> int:
    """Return how many columns of a legend the figure's width has room for."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    room = figure.get_figwidth() / (0.55 + 0.08 * longest)
    return max(1, min(len(handles), int(room)))
