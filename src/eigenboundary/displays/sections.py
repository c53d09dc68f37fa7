"""A section's samples, the boundary points nearest to them and its own one, as images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike, NDArray

from eigenboundary.boundary.sections import Section
from eigenboundary.displays import style
from eigenboundary.displays.arguments import check_labels, names_of_classes
from eigenboundary.runtime.arguments import as_array
from eigenboundary.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis


Array = NDArray[np.float64]

_SIDES = ("+", "-")
# Panels: for each sample itself, its nearest boundary point and the step to it; then x_b.
_PANELS = 7
# Width and height of a panel with the text below it, in inches.
_WIDTH, _HEIGHT = 2.2, 2.75
_SMALLEST_IMAGE = 4


def is_image(shape: Sequence[int]) -> bool:
    """Whether inputs of this shape can be shown as images: (1, H, W) or (3, H, W).

    Examples
    --------
    >>> is_image((1, 28, 28)), is_image((784,)), is_image((1, 1, 50))
    (True, False, False)
    """
    return len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) >= _SMALLEST_IMAGE


class SectionDisplay:
    r"""The samples :math:`x_t^+, x_t^-` of a section, what parts them from the boundary, and x_b.

    A row for each sample: itself, the boundary point nearest to it, and the difference of the two,
    magnified by the factor that its title names. Differences of grey images are red where the
    boundary point is brighter and blue where it is darker; those of colour images are added to a
    mid grey.

    Parameters
    ----------
    section : Section
    samples : array, shape (2, 1, H, W) or (2, 3, H, W)
        :math:`x_t^+` and :math:`x_t^-`, as ``section.training_samples`` names them.
    predictions : array of int, shape (2,), optional
        Their predicted classes.
    image_shape : (int, int, int), optional
        (1, H, W) or (3, H, W), for images that the network takes in another shape.
    class_names : sequence of str, optional

    Attributes
    ----------
    figure_, ax_
        `ax_` is the first panel.
    axes_ : list of Axes
        Of :math:`x_t^+` its image, nearest boundary point and difference, the same of
        :math:`x_t^-`, and :math:`x_b`.
    images_ : list of AxesImage or None
        Those of the panels; None where the nearest boundary point was not found.
    factors_ : list of float
        How much each of the two differences is magnified.

    Raises
    ------
    InvalidInputError
        If the inputs are not images, or shapes do not fit.
    """

    ax_: Axes
    axes_: list[Axes]
    figure_: Figure
    images_: list[AxesImage | None]
    factors_: list[float]

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
        point = np.asarray(section.boundary_point, dtype=np.float64)
        given = as_array(samples, np.float64)
        if given.shape != (2, *point.shape):
            raise InvalidInputError(
                "samples",
                f"have shape {(2, *point.shape)}, two inputs as the section's boundary point",
                f"{given.shape}",
            )
        shape = _image_shape(point.shape, image_shape)
        self.samples, self.boundary_point = given.reshape(2, *shape), point.reshape(shape)
        self.nearest_points = np.asarray(section.nearest_points, np.float64).reshape(2, *shape)
        self.predictions = (
            None if predictions is None else check_labels(predictions, 2, "predictions")
        )
        known = () if self.predictions is None else self.predictions.tolist()
        self.class_names = names_of_classes(class_names, 1 + max(*section.classes, *known))

    @classmethod
    def from_analysis(
        cls,
        analysis: Analysis,
        index: int = 0,
        *,
        image_shape: tuple[int, int, int] | None = None,
        class_names: Sequence[str] | None = None,
        axes: Any = None,
    ) -> SectionDisplay:
        """Draw the section of eigenvector ``index``, from 0, of an analysis with margins.

        Raises
        ------
        InvalidInputError
            If it was made without margins, or has not kept the section's samples.
        """
        from eigenboundary.analysis.input_plane import section_samples

        if analysis.sections is None:
            raise InvalidInputError(
                "analysis", "have sections (analyze(..., margins=True))", "one without"
            )
        if not isinstance(index, int | np.integer) or not 0 <= index < len(analysis.sections):
            raise InvalidInputError(
                "index",
                f"be an integer from 0 to below {len(analysis.sections)}, the number of sections",
                repr(index),
            )
        section = analysis.sections[int(index)]
        _image_shape(section.boundary_point.shape, image_shape)  # before anything is looked up
        display = cls(
            section,
            section_samples(analysis, section),
            analysis.predictions[list(section.training_samples)],
            image_shape=image_shape,
            class_names=class_names,
        )
        return display.plot(axes)

    def plot(self, axes: Any = None) -> SectionDisplay:
        """Draw on ``axes`` (an empty Figure, or seven axes), or on a new pyplot figure.

        Returns
        -------
        SectionDisplay
            Itself.
        """
        with style.styled():
            own = axes is None or isinstance(axes, Figure)
            if own:
                self.figure_, self.axes_ = self._own_axes(axes)
            else:
                panel = (_WIDTH, _HEIGHT)
                self.figure_, self.axes_, _ = style.several_axes(axes, _PANELS, panel=panel)
            self.ax_ = self.axes_[0]
            self._images()
            for ax in self.axes_:
                ax.set_xticks([])
                ax.set_yticks([])
                for side in ax.spines.values():
                    side.set(visible=True, color=style.FAINT)
            self._titles()
            if own:
                title = style.eigenvector_title(self.section.eigenvector, self.section.eigenvalue)
                note = "" if self.section.converged else "  (not converged)"
                self.figure_.suptitle(f"Section of {title}{note}", x=0.01, ha="left", fontsize=10.5)
        return self

    @staticmethod
    def _own_axes(figure: Figure | None) -> tuple[Figure, list[Axes]]:
        """Three panels a row for the samples, and x_b in the middle beside both rows."""
        width, height = 4 * _WIDTH, 2 * _HEIGHT + 0.3
        figure = style.new_figure(width, height) if figure is None else figure
        figure.set_size_inches(width, height)
        grid = figure.add_gridspec(2, 4)
        rows = [figure.add_subplot(grid[row, column]) for row in range(2) for column in range(3)]
        return figure, [*rows, figure.add_subplot(grid[:, 3])]

    @property
    def _found(self) -> list[bool]:
        return [bool(np.isfinite(margin)) for margin in self.section.side_margins]

    def _images(self) -> None:
        found = self._found
        shown = [self.samples, self.boundary_point[np.newaxis], self.nearest_points[found]]
        low = float(min(images.min(initial=np.inf) for images in shown))
        high = float(max(images.max(initial=-np.inf) for images in shown))
        span = high - low or 1.0
        self.images_, self.factors_ = [], []
        for side in range(2):
            first, nearest, difference = self.axes_[3 * side : 3 * side + 3]
            self.images_.append(_image(first, self.samples[side], low, span))
            if not found[side]:
                for ax in (nearest, difference):
                    ax.set_box_aspect(self.samples.shape[-2] / self.samples.shape[-1])
                self.images_ += [None, None]
                self.factors_.append(float("nan"))
                continue
            self.images_.append(_image(nearest, self.nearest_points[side], low, span))
            step = self.nearest_points[side] - self.samples[side]
            self.factors_.append(_factor(float(np.abs(step).max()), span / 2))
            self.images_.append(_difference(difference, self.factors_[side] * step, span / 2))
        self.images_.append(_image(self.axes_[-1], self.boundary_point, low, span))

    def _titles(self) -> None:
        texts = [lines for side in range(2) for lines in self._side_titles(side)]
        for ax, lines in zip(self.axes_, [*texts, self._point_titles()], strict=True):
            first, *others = lines
            ax.set_title(first, fontsize=10)
            ax.set_xlabel("\n".join(others), fontsize=9, loc="left")

    def _side_titles(self, side: int) -> list[list[str]]:
        section = self.section
        sample = [f"$x_t^{_SIDES[side]}$, sample {section.training_samples[side]}"]
        if self.predictions is not None:
            sample.append(f"predicted {self.class_names[self.predictions[side]]}")
        sample.append(f"A = {_cosine(section.training_alignment[side])}")
        nearest = "nearest boundary point"
        if not self._found[side]:
            self.axes_[3 * side + 1].text(
                *(0.5, 0.5, "not found"),
                transform=self.axes_[3 * side + 1].transAxes,
                ha="center",
                va="center",
                color=style.MUTED,
            )
            return [sample, [nearest], ["difference", "margin not found"]]
        owner = section.nearest_sections[side]
        where = "of no eigenvector" if owner < 0 else f"where $v_{{{owner + 1}}}$ leads"
        magnified = f"difference × {style.format_number(self.factors_[side])}"
        margin = f"margin {style.format_number(section.side_margins[side])}"
        return [sample, [nearest, where], [magnified, margin]]

    def _point_titles(self) -> list[str]:
        section = self.section
        a, b = (self.class_names[c] for c in section.classes)
        far = [style.format_number(length) for length in section.side_paper_margins]
        return [
            "$x_b$ on the boundary",
            f"{a} | {b}",
            f"|A| = {_cosine(section.alignment, signed=False)}",
            f"$v_{{{section.eigenvector + 1}}}$ leads at {section.share:.1%}",
            f"{far[0]} from $x_t^+$, {far[1]} from $x_t^-$",
        ]


def _image(ax: Axes, image: Array, low: float, span: float) -> AxesImage:
    if len(image) == 1:
        return ax.imshow(image[0], cmap="gray", vmin=low, vmax=low + span)
    return ax.imshow(((image - low) / span).transpose(1, 2, 0).clip(0, 1))


def _difference(ax: Axes, step: Array, half: float) -> AxesImage:
    """A difference that has been magnified to at most half of the images' range."""
    if len(step) == 1:
        return ax.imshow(step[0], cmap=style.ALIGNMENT_MAP, norm=Normalize(-half, half))
    return ax.imshow((0.5 + step / (2 * half)).transpose(1, 2, 0).clip(0, 1))


def _factor(largest: float, half: float) -> float:
    """The largest of 1, 2, 5, 10, 20, ... that magnifies the largest difference to half at most.

    Examples
    --------
    >>> _factor(0.02, 0.5), _factor(0.6, 0.5), _factor(0.0, 0.5)
    (20.0, 0.5, 1.0)
    """
    if not largest > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(half / largest))
    return float(max(power * m for m in (1, 2, 5) if power * m * largest <= half * (1 + 1e-9)))


def _cosine(value: float, signed: bool = True) -> str:
    """Two decimals and a typographic minus."""
    text = f"{value:+.2f}" if signed else f"{value:.2f}"
    return text.replace("-", "−")


def _image_shape(shape: tuple[int, ...], wanted: tuple[int, int, int] | None) -> tuple[int, ...]:
    if wanted is None:
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise InvalidInputError(
                "section",
                "be one of images, (1, H, W) or (3, H, W), or image_shape be given",
                f"inputs of shape {tuple(shape)}",
            )
        return shape
    fits = isinstance(wanted, tuple | list) and len(wanted) == 3 and wanted[0] in (1, 3)
    if not fits or int(np.prod(wanted)) != int(np.prod(shape)):
        raise InvalidInputError(
            "image_shape",
            f"be (1, H, W) or (3, H, W) with as many entries as an input of shape {tuple(shape)}",
            repr(wanted),
        )
    return tuple(wanted)
