"""A page of a paper: axes placed in inches, text of 7 and 8 points, PNG and PDF.

The package's displays are drawn for the screen. :func:`fit` brings what they drew to the size of
a panel on the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import Collection, PathCollection
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator

from eigenboundary.displays import style
from eigenboundary.runtime.files import replaced_when_complete
from eigenboundary.runtime.formats import format_number

#: Inches, and points of text.
WIDTH = 6.75
TEXT, SMALL = 8.0, 7.0
_DPI = 300

_PAGE_STYLE: dict[str, Any] = {
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), TEXT),
    "axes.titlepad": 3.5,
    "axes.labelpad": 2.5,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.5,
    "legend.fontsize": SMALL,
    "legend.handletextpad": 0.4,
    "legend.borderaxespad": 0.2,
    "legend.labelspacing": 0.25,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,  # text stays text
}
_TICKS = {"major.size": 2.5, "minor.size": 1.5, "major.width": 0.6, "major.pad": 2.0}
for _name, _value in {"labelsize": SMALL, **_TICKS}.items():
    _PAGE_STYLE |= {f"xtick.{_name}": _value, f"ytick.{_name}": _value}


@contextmanager
def restyled() -> Iterator[None]:
    """Draw in the displays' style, at the size of a page."""
    settings: Any = _PAGE_STYLE  # matplotlib types the keys as literals
    with style.styled(), mpl.rc_context(settings):
        yield


def lettered(index: int, title: str) -> str:
    """Return a panel's title after its letter, by which a text refers to it.

    Examples
    --------
    >>> lettered(1, "spectrum")
    '$\\\\mathbf{b}$  spectrum'
    """
    return rf"$\mathbf{{{chr(ord('a') + index)}}}$  {title}"


class Page:
    """A figure of a paper's width, its axes placed in inches from the upper left corner."""

    def __init__(self, height: float) -> None:
        with restyled():
            self.figure = Figure(figsize=(WIDTH, height))
            FigureCanvasAgg(self.figure)
        self.height = height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes whose upper left corner is at (left, top)."""
        below = self.height - top - height
        place = left / WIDTH, below / self.height, width / WIDTH, height / self.height
        with restyled():
            axes: Axes = self.figure.add_axes(place)
        return axes

    def row(
        self, count: int, left: float, top: float, size: tuple[float, float], gap: float
    ) -> list[Axes]:
        """Add axes of one size side by side."""
        return [self.axes(left + i * (size[0] + gap), top, *size) for i in range(count)]

    def write(self, left: float, top: float, text: str, **options: Any) -> Text:
        """Write text whose upper left corner is at (left, top), unless told otherwise."""
        how: dict[str, Any] = {"fontsize": TEXT, "color": style.INK, "ha": "left", "va": "top"}
        return self.figure.text(left / WIDTH, 1 - top / self.height, text, **how | options)

    def remark(self, left: float, top: float, text: str, **options: Any) -> Text:
        """Write small grey text."""
        return self.write(left, top, text, fontsize=SMALL, color=style.MUTED, **options)

    def bar(
        self,
        drawn: ScalarMappable,
        left: float,
        top: float,
        label: str,
        *,
        ticks: Sequence[float] = (-1, -0.5, 0, 0.5, 1),
    ) -> Colorbar:
        """Draw a level colour bar, with its label to the left."""
        with restyled():
            place = self.axes(left, top, 1.1, 0.07)
            bar = self.figure.colorbar(drawn, place, ticks=list(ticks), orientation="horizontal")
            bar.ax.set_xticklabels([format_number(tick) for tick in ticks])
            bar.ax.tick_params(length=2)
            bar.outline.set_visible(False)
        self.write(left - 0.12, top + 0.035, label, ha="right", va="center", fontsize=SMALL)
        return bar

    def class_legend(self, names: Sequence[str], left: float, top: float) -> None:
        """Draw the classes' colours and markers, in a line that begins at (left, top)."""
        handles = style.class_handles(range(len(names)), names)
        for handle in handles:
            handle.set_markersize(4.5)
        self.legend(handles, left, top, handlelength=1.0, columnspacing=1.2)

    def legend(self, handles: Sequence[Line2D], left: float, top: float, **options: Any) -> None:
        """Draw a legend in one line that begins at (left, top)."""
        options |= {"loc": "upper left", "ncols": len(handles), "borderpad": 0}
        place = left / WIDTH, 1 - top / self.height
        with restyled():
            self.figure.legend(handles=handles, bbox_to_anchor=place, **options)

    def save(self, folder: Path, name: str) -> tuple[Path, ...]:
        """Write ``<name>.png`` at 300 dpi and ``<name>.pdf``."""
        files = {kind: folder / f"{name}.{kind}" for kind in ("png", "pdf")}
        for kind, target in files.items():
            # No date: the same numbers give the same file.
            metadata = {"CreationDate": None} if kind == "pdf" else None
            with restyled(), replaced_when_complete(target, "folder") as partial:
                self.figure.savefig(partial, format=kind, dpi=_DPI, metadata=metadata)
        return tuple(files.values())


def log_axis(ax: Axes, digits: int = 6) -> None:
    """Scale the ordinate by logarithms, with ticks at 1, 2 and 5 times powers of ten."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: format_number(y, digits)))


def drop_legend(ax: Axes) -> None:
    """Remove a display's legend: the page has its own."""
    if (legend := ax.get_legend()) is not None:
        legend.remove()


def fit(ax: Axes, title: str | None = None, *, scale: float = 0.5) -> None:
    """Scale what a display drew for the screen to a panel on the page.

    The title replaces the display's, ``scale`` multiplies the sizes of lines and markers, and text
    becomes 7 or 8 points.
    """
    for artist in ax.get_children():
        if isinstance(artist, PathCollection):
            artist.set_sizes(scale**2 * artist.get_sizes())
        if isinstance(artist, Collection):
            widths: Any = artist.get_linewidth()
            artist.set_linewidth([scale * width for width in np.atleast_1d(widths)])
        elif isinstance(artist, Line2D):
            artist.set_markersize(scale * artist.get_markersize())
            artist.set_linewidth(max(0.6, scale * artist.get_linewidth()))
        elif isinstance(artist, Text):
            artist.set_fontsize(SMALL)
    if title is not None:
        ax.set_title(title, loc="left", fontsize=TEXT, pad=_PAGE_STYLE["axes.titlepad"])
    for side in ax.spines.values():
        side.set_linewidth(_PAGE_STYLE["axes.linewidth"])
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_fontsize(TEXT)
        axis.labelpad = _PAGE_STYLE["axes.labelpad"]
        axis.set_tick_params(which="both", labelsize=SMALL, width=0.6, pad=2.0)
        axis.set_tick_params(which="major", length=2.5)
