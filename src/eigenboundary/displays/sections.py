"""Sections of the boundary: their samples as images, their class pairs, their margins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from eigenboundary.analysis.input_plane import section_samples
from eigenboundary.boundary.sections import BoundarySections, Section
from eigenboundary.displays import style
from eigenboundary.displays.arguments import Array, check_computed, check_labels, names_of_classes
from eigenboundary.displays.base import AnalysisDisplay, Display
from eigenboundary.runtime.arguments import as_array, check_integer, check_shape, finite_array
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.formats import format_number, percent

if TYPE_CHECKING:
    from typing_extensions import Self

    from eigenboundary.analysis.result import Analysis

_SECTIONS = "sections", "analyze(..., margins=True) or analysis.find_sections()"
# Cells of tables with more columns are too narrow for numbers.
_MOST_NUMBERED = 14
# The palest tenth of the map would look like a blank cell.
_MAP = ListedColormap(colormaps["Blues"](np.linspace(0.12, 0.95, 256)), "pairs")
# Distances that differ by more than this are drawn on a logarithmic scale.
_LOG_FROM = 12.0
_NUMBER = FuncFormatter(lambda value, _: format_number(value, 3))
_PAPER, _PAPER_LABEL = "#009E73", r"paper's estimate $\|x_t - x_b\|$"


def is_image(shape: Sequence[int]) -> bool:
    """Return whether inputs of this shape can be shown as images: (1, H, W) or (3, H, W).

    Examples
    --------
    >>> is_image((1, 28, 28)), is_image((784,)), is_image((1, 1, 50))
    (True, False, False)
    """
    return len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) >= 4


class SectionDisplay(Display):
    r"""Images of the samples :math:`x_t^+, x_t^-` of a section, their steps to it, and x_b.

    Each sample has a row: the sample, the boundary point nearest to it, and the difference of the
    two, magnified by the factor that its title names. Differences of grey images are red where the
    boundary point is brighter and blue where it is darker; differences of colour images are added
    to a mid grey.

    Parameters
    ----------
    section : Section
    samples : array, shape (2, 1, H, W) or (2, 3, H, W)
        :math:`x_t^+` and :math:`x_t^-`, as ``section.training_samples`` names them.
    predictions : array of int, shape (2,), optional
        Predicted classes of the samples.
    image_shape : (int, int, int), optional
        (1, H, W) or (3, H, W), for images that the network takes in another shape.
    class_names : sequence of str, optional

    Attributes
    ----------
    axes_
        Those of :math:`x_t^+`, its nearest boundary point and their difference, of these three for
        :math:`x_t^-`, and of :math:`x_b`.
    images_ : list of AxesImage or None
        Images by panel; None where the nearest boundary point was not found.
    factors_ : list of float
        Factors by which the two differences are magnified.

    Raises
    ------
    InvalidInputError
        If the inputs are not images, or shapes do not fit.
    """

    _panels = 7
    size = (8.8, 5.8)

    def __init__(
        self,
        section: Section,
        samples: ArrayLike,
        predictions: ArrayLike | None = None,
        *,
        image_shape: tuple[int, int, int] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.section = section
        point, given = as_array(section.boundary_point, float), as_array(samples, float)
        hint = ", two inputs as the section's boundary point"
        check_shape(given, "samples", (2, *point.shape), hint)
        shape = _image_shape(point.shape, image_shape)
        self.samples, self.boundary_point = given.reshape(2, *shape), point.reshape(shape)
        self.nearest_points = as_array(section.nearest_points, float).reshape(2, *shape)
        self.predictions = (
            None if predictions is None else check_labels(predictions, 2, "predictions")
        )
        known = () if self.predictions is None else self.predictions.tolist()
        self.class_names = names_of_classes(class_names, 1 + max(*section.classes, *known))

    @classmethod
    def from_analysis(
        cls, analysis: Analysis, index: int = 0, *, ax: Any = None, **options: Any
    ) -> Self:
        """Draw the section of an eigenvector.

        Parameters
        ----------
        analysis : Analysis
        index : int
            The eigenvector, from 0.
        ax, **options
            As for :meth:`AnalysisDisplay.from_analysis`.

        Raises
        ------
        InvalidInputError
            If the analysis has no sections, or has not kept the section's samples.
        """
        sections = check_computed(analysis.sections, *_SECTIONS)
        check_integer(index, "index", 0, len(sections) - 1)
        section = sections[index]
        # Before anything is looked up.
        _image_shape(section.boundary_point.shape, options.get("image_shape"))
        given: dict[str, Any] = {
            "section": section,
            "samples": section_samples(analysis, section),
            "predictions": analysis.predictions[list(section.training_samples)],
            "class_names": analysis.class_names or None,
        }
        return cls(**given | options).plot(ax)

    def _draw(self) -> None:
        found = np.isfinite(self.section.side_margins)
        shown = [self.samples, self.boundary_point[np.newaxis], self.nearest_points[found]]
        low, high = np.min(np.concatenate(shown)), np.max(np.concatenate(shown))
        limits = float(low), float(high if high > low else low + 1)
        self.images_: list[AxesImage | None] = []
        self.factors_: list[float] = []
        for side in range(2):
            self._draw_side(side, limits, bool(found[side]))
        self._draw_point(limits)
        if self._fills_figure:
            title = style.eigenvector_title(self.section.eigenvector, self.section.eigenvalue)
            note = "" if self.section.converged else "  (not converged)"
            self.figure_.suptitle(f"Section of {title}{note}", x=0.01, ha="left", fontsize=10.5)

    def _new_axes(self, figure: Figure) -> list[Axes]:
        """Make three panels a row for the samples, and one for x_b beside both rows."""
        grid = figure.add_gridspec(2, 4)
        rows = [figure.add_subplot(grid[row, column]) for row in range(2) for column in range(3)]
        return [*rows, figure.add_subplot(grid[:, 3])]

    def _draw_side(self, side: int, limits: tuple[float, float], found: bool) -> None:
        section, half = self.section, (limits[1] - limits[0]) / 2
        sample, point = self.samples[side], self.nearest_points[side]
        axes = self.axes_[3 * side : 3 * side + 3]
        self.images_.append(_image(axes[0], sample, limits))
        below = [f"A = {section.training_alignment[side]:+.2f}".replace("-", "−")]
        if self.predictions is not None:
            below.insert(0, f"predicted {self.class_names[self.predictions[side]]}")
        _titled(axes[0], f"$x_t^{'+-'[side]}$, sample {section.training_samples[side]}", *below)
        if not found:
            for ax in axes[1:]:
                ax.set_box_aspect(sample.shape[-2] / sample.shape[-1])
            self.images_ += [None, None]
            self.factors_.append(float("nan"))
            how: dict[str, Any] = {"ha": "center", "va": "center", "color": style.MUTED}
            axes[1].text(0.5, 0.5, "not found", transform=axes[1].transAxes, **how)
            _titled(axes[1], "nearest boundary point")
            _titled(axes[2], "difference", "margin not found")
            return
        factor = _factor(float(np.abs(point - sample).max()), half)
        self.factors_.append(factor)
        self.images_.append(_image(axes[1], point, limits))
        difference = factor * (point - sample)
        self.images_.append(_image(axes[2], difference, (-half, half), style.ALIGNMENT_MAP))
        owner = section.nearest_sections[side]
        where = "of no eigenvector" if owner < 0 else f"where $v_{{{owner + 1}}}$ leads"
        _titled(axes[1], "nearest boundary point", where)
        margin = f"margin {format_number(section.side_margins[side])}"
        _titled(axes[2], f"difference × {format_number(factor)}", margin)

    def _draw_point(self, limits: tuple[float, float]) -> None:
        section = self.section
        self.images_.append(_image(self.axes_[-1], self.boundary_point, limits))
        a, b = (self.class_names[c] for c in section.classes)
        far = [format_number(length) for length in section.side_paper_margins]
        below = [f"{a} | {b}", f"|A| = {section.alignment:.2f}"]
        below.append(f"$v_{{{section.eigenvector + 1}}}$ leads at {percent(section.share)}")
        below.append(f"{far[0]} from $x_t^+$, {far[1]} from $x_t^-$")
        _titled(self.axes_[-1], "$x_b$ on the boundary", *below)


def _image(ax: Axes, image: Array, limits: tuple[float, float], cmap: str = "gray") -> AxesImage:
    """Draw an image whose values lie between the limits; the map is for images of one channel."""
    low, high = limits
    if len(image) == 1:
        return ax.imshow(image[0], cmap=cmap, vmin=low, vmax=high)
    return ax.imshow(((image - low) / (high - low)).transpose(1, 2, 0).clip(0, 1))


def _titled(ax: Axes, title: str, *below: str) -> None:
    """Title a framed panel, and write lines below it."""
    style.bare(ax, frame=True)
    ax.set_title(title, fontsize=10)
    ax.set_xlabel("\n".join(below), fontsize=9, loc="left")


def _factor(largest: float, half: float) -> float:
    """Return the largest of 1, 2, 5, 10, ... that magnifies the largest difference to half at most.

    Examples
    --------
    >>> _factor(0.02, 0.5), _factor(0.6, 0.5), _factor(0.0, 0.5)
    (20.0, 0.5, 1.0)
    """
    if not largest > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(half / largest))
    return float(max(power * m for m in (1, 2, 5) if power * m * largest <= half * (1 + 1e-9)))


def _image_shape(shape: tuple[int, ...], wanted: tuple[int, int, int] | None) -> tuple[int, ...]:
    """Return the shape, or that wanted in its place, if it is one of images."""
    given = shape if wanted is None else wanted if isinstance(wanted, tuple | list) else ()
    if len(given) == 3 and given[0] in (1, 3) and np.prod(given) == np.prod(shape):
        return tuple(given)
    if wanted is None:
        needed = "be one of images, (1, H, W) or (3, H, W), or image_shape be given"
        raise InvalidInputError("section", needed, f"inputs of shape {shape}")
    needed = f"be (1, H, W) or (3, H, W) with as many entries as an input of shape {shape}"
    raise InvalidInputError("image_shape", needed, repr(wanted))


class ClassPairDisplay(AnalysisDisplay):
    """Heat map of the boundary's shares: a row a class pair, a column an eigenvector.

    The last column, "none", holds what no eigenvector explains; cells without points are blank.

    Parameters
    ----------
    class_pairs : pandas.DataFrame
        Shares that sum to one, as in :attr:`BoundarySections.class_pairs
        <eigenboundary.boundary.BoundarySections.class_pairs>`.
    class_names : sequence of str, optional

    Attributes
    ----------
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

    def __init__(
        self, class_pairs: pd.DataFrame, *, class_names: Sequence[str] | None = None
    ) -> None:
        if not isinstance(class_pairs, pd.DataFrame) or not class_pairs.size:
            came = getattr(class_pairs, "shape", type(class_pairs).__name__)
            raise InvalidInputError("class_pairs", "be a table with a row a class pair", f"{came}")
        self.shares = class_pairs.to_numpy(dtype=np.float64)
        total = float(self.shares.sum())
        if not (self.shares >= 0).all() or not total <= 1.001:
            came = f"ones that sum to {total:.4g}, the least {self.shares.min():.4g}"
            wanted = "hold shares of at least 0 that sum to at most 1"
            raise InvalidInputError("class_pairs", wanted, came)
        self.columns = [str(name) for name in class_pairs.columns]
        self.rows = [str(name) for name in class_pairs.index]
        if class_names is not None:
            pairs = [[int(c) for c in row.split(" | ")] for row in self.rows]
            names = names_of_classes(class_names, 1 + max(map(max, pairs)))
            self.rows = [f"{names[a]} | {names[b]}" for a, b in pairs]
        rows, columns = self.shares.shape
        named = style.MOST_IN_ROW
        per_column = 0.46 if columns <= _MOST_NUMBERED else 0.32 if columns <= named else 0.2
        wide = 1.5 + 0.075 * max(map(len, self.rows)) + per_column * columns
        high = 0.3 if rows <= 15 else 0.21 if rows <= 30 else 0.165 if rows <= 50 else 0.12
        self.size = float(np.clip(wide, 4.2, 14)), 1.1 + float(np.clip(high * rows, 1.2, 12))

    @staticmethod
    def _arguments(analysis: Analysis) -> dict[str, Any]:
        pairs = check_computed(analysis.sections, *_SECTIONS).class_pairs
        return {"class_pairs": pairs, "class_names": analysis.class_names or None}

    def _draw(self) -> None:
        how = style.CELLS | {"cmap": _MAP, "vmin": 0.0, "vmax": float(self.shares.max()) or 1.0}
        self.image_ = self.ax_.imshow(np.ma.masked_equal(self.shares, 0.0), **how)
        self._lines()
        self._names()
        self.texts_ = self._numbers()
        percent = PercentFormatter(1.0, decimals=0 if self.shares.max() > 0.05 else 1)
        how = {"pad": 0.02, "aspect": max(25.0, 5.0 * self.figure_.get_figheight())}
        self.colorbar_ = self._colorbar(self.image_, "share of boundary", format=percent, **how)
        unexplained = self.shares[:, -1].sum() if self.columns[-1] == "none" else 0.0
        pairs = len(self.rows)
        named = f"{pairs} class pair{'s'[: pairs > 1]}"
        self.ax_.set_title(f"{named}, {percent(unexplained)} of the boundary unexplained")

    def _lines(self) -> None:
        rows, columns = self.shares.shape
        self.ax_.spines[:].set_visible(False)
        for line, count in ((self.ax_.axvline, columns), (self.ax_.axhline, rows)):
            for i in range(count + 1):
                line(i - 0.5, color=style.FAINT, linewidth=0.8, zorder=2)
        if columns > 1 and self.columns[-1] == "none":
            self.ax_.axvline(columns - 1.5, color=style.INK, linewidth=0.9, zorder=3)

    def _names(self) -> None:
        rows, columns = self.shares.shape
        shown = style.named(columns)
        if len(shown) < columns:
            # A number next to the last name, "none", would run into it.
            shown = [*(i for i in shown if columns - 1 - i > 2), columns - 1]
        names = [self.columns[i] for i in shown]
        labels = [f"$v_{{{name}}}$" if name.isdigit() else name for name in names]
        self.ax_.set_xticks(shown, labels)
        self.ax_.set_yticks(range(rows), self.rows)
        height = 9.0 if rows <= 30 else 8.0 if rows <= 50 else 6.0
        self.ax_.tick_params(axis="y", labelsize=height)
        self.ax_.tick_params(length=0)
        self.ax_.set(xlabel="eigenvector", ylabel="classes")

    def _numbers(self) -> list[Text]:
        rows, columns = self.shares.shape
        if columns > _MOST_NUMBERED or rows > 50:
            return []
        top = float(self.shares.max()) or 1.0
        how: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 4}
        how["fontsize"] = 8.0 if rows <= 30 else 7.0
        texts = []
        for i, j in zip(*np.nonzero(self.shares), strict=True):
            share = float(self.shares[i, j])
            how["color"] = "white" if share > 0.6 * top else style.INK
            texts.append(self.ax_.text(j, i, _percent(share), **how))
        return texts


def _percent(share: float) -> str:
    """Write a share in per cent, short enough for a cell: one decimal below ten."""
    value = 100 * share
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.05 else "<0.1"


class MarginDisplay(AnalysisDisplay):
    r"""Margin, linearised estimate and the paper's estimate against the eigenvector's index.

    Sections that lead at no sampled point of the boundary are drawn hollow. A cross at the lower
    edge replaces the margin where the search did not converge.

    Parameters
    ----------
    margin, lower_estimate, paper_margin : array, shape (k,)
        Distances of :math:`x_t` from the boundary, of the linearised network, and
        :math:`\|x_t - x_b\|`; NaN where there is none.
    share : array, shape (k,)
        Share of the sampled boundary points that belong to the section.
    converged : array of bool, shape (k,)

    Attributes
    ----------
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

    size = (7.0, 4.0)

    def __init__(
        self,
        margin: ArrayLike,
        lower_estimate: ArrayLike,
        paper_margin: ArrayLike,
        share: ArrayLike,
        converged: ArrayLike,
    ) -> None:
        self.share = finite_array(share, "share", ndim=1)
        k = len(self.share)
        if not k or (self.share < 0).any():
            came = f"{k}, the least {self.share.min(initial=0):.3g}"
            wanted = "be numbers of at least 0, one an eigenvector"
            raise InvalidInputError("share", wanted, came)
        self.margin = _distances(margin, "margin", k)
        self.lower_estimate = _distances(lower_estimate, "lower_estimate", k)
        self.paper_margin = _distances(paper_margin, "paper_margin", k)
        self.converged = as_array(converged)
        if self.converged.shape != (k,) or self.converged.dtype != np.bool_:
            came = f"shape {self.converged.shape} of {self.converged.dtype}"
            raise InvalidInputError("converged", f"be {k} booleans, one an eigenvector", came)
        self._found: Array = np.where(self.converged, self.margin, np.nan)

    @classmethod
    def from_sections(cls, sections: BoundarySections, *, ax: Any = None) -> Self:
        """Draw the margins of the sections of a boundary."""
        return cls(**_columns(sections)).plot(ax)

    @staticmethod
    def _arguments(analysis: Analysis) -> dict[str, Any]:
        return _columns(check_computed(analysis.sections, *_SECTIONS))

    def _draw(self) -> None:
        self._scale()
        self.lines_: dict[str, Line2D] = {}
        size = float(np.clip(60 / np.sqrt(len(self.share)), 3.0, 7.0))
        for name, values, marker, color, label, scale in (
            ("paper_margin", self.paper_margin, "D", _PAPER, _PAPER_LABEL, 0.85),
            ("lower_estimate", self.lower_estimate, "v", style.SECOND, "linearised network", 0.95),
            ("margin", self._found, "o", style.ACCENT, "margin", 1.0),
        ):
            how = {"color": color, "label": label, "markersize": scale * size}
            how["zorder"] = 4 if name == "margin" else 3
            leads = np.isfinite(values) & (self.share > 0)
            self._points(name, leads, values, marker, how)
            nowhere = np.isfinite(values) & (self.share == 0)
            self._points(f"{name}_hollow", nowhere, values, marker, how | {"mfc": "white"})
        how = {"color": style.INK, "markersize": 0.9 * size, "markeredgewidth": 1.6, "zorder": 5}
        how |= {"transform": self.ax_.get_xaxis_transform(), "clip_on": False}
        how["label"] = "no margin: not converged"
        self._points("unconverged", np.isnan(self._found), np.zeros(len(self.share)), "x", how)
        style.index_axis(self.ax_)
        limits = 0.4, max(len(self.share), 2) + 0.6
        self.ax_.set(xlim=limits, ylabel="distance in input space", title=self._title())
        self._key()

    def _points(
        self, name: str, drawn: NDArray[np.bool_], values: Array, marker: str, how: dict[str, Any]
    ) -> None:
        if drawn.any():
            index = np.flatnonzero(drawn)
            (self.lines_[name],) = self.ax_.plot(index + 1, values[index], marker, **how)

    def _scale(self) -> None:
        values = np.concatenate([self._found, self.lower_estimate, self.paper_margin])
        values = values[np.isfinite(values)]
        if not len(values):
            return
        low, high = float(values.min()), float(values.max())
        if low > 0 and high > _LOG_FROM * low:
            room = max((high / low) ** 0.07, 1.15)
            self.ax_.set_yscale("log")
            self.ax_.set_ylim(low / room, high * room)
            subs = (1.0, 2.0, 5.0) if np.log10(high / low) < 3 else (1.0,)
            self.ax_.yaxis.set_major_locator(LogLocator(subs=subs))
            self.ax_.yaxis.set_major_formatter(_NUMBER)
            self.ax_.yaxis.set_minor_formatter(NullFormatter())
        else:
            self.ax_.set_ylim(0, 1.08 * high if high > 0 else 1.0)

    def _title(self) -> str:
        if np.isnan(self._found).all():
            return "No margin was found"
        narrowest = int(np.nanargmin(self._found))
        value = format_number(float(self.margin[narrowest]))
        return f"Narrowest margin {value}, at the section of $v_{{{narrowest + 1}}}$"

    def _key(self) -> None:
        lines, names = self.lines_, ("margin", "lower_estimate", "paper_margin")
        shown = [lines.get(name, lines.get(f"{name}_hollow")) for name in names]
        if any(name.endswith("hollow") for name in lines):
            hollow = Line2D([], [], linestyle="none", marker="o", color=style.MUTED, markersize=6)
            hollow.set(markerfacecolor="white", label="hollow: leads nowhere")
            shown.append(hollow)
        handles = [line for line in (*shown, lines.get("unconverged")) if line is not None]
        if handles:
            columns = min(3, style.legend_columns(self.figure_, handles))
            how: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}
            self.ax_.legend(handles=handles, ncols=columns, **how)


def _columns(sections: BoundarySections) -> dict[str, Any]:
    """Return a column a number, one entry a section."""
    table, names = sections.to_dataframe(), ("margin", "lower_estimate", "paper_margin")
    return {name: table[name].to_numpy() for name in (*names, "share", "converged")}


def _distances(value: ArrayLike, name: str, k: int) -> Array:
    array = as_array(value, np.float64)
    if array.shape != (k,) or (array < 0).any():
        least = f", the least {np.nanmin(array):.3g}" if array.shape == (k,) else ""
        wanted = f"be {k} distances of at least 0, one an eigenvector"
        raise InvalidInputError(name, wanted, f"shape {array.shape}{least}")
    return array
