"""The samples and the boundary point of one section, as images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike, NDArray

from eigenboundary.boundary.sections import Section
from eigenboundary.displays import style
from eigenboundary.displays.inputs import check_labels, names_of_classes
from eigenboundary.errors import InvalidInputError

if TYPE_CHECKING:
    from eigenboundary.analysis import Analysis

__all__ = ["SectionDisplay"]

Array = NDArray[np.float64]

_SIDES = ("+", "-")


class SectionDisplay:
    r"""The samples :math:`x_t^+, x_t^-` of a section around its :math:`x_b`, and what parts them.

    The last two panels magnify :math:`x_b - x_t`: their colours span the largest difference of
    the two (of colour images, the mean over the channels).

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
        :math:`x_t^+`, :math:`x_b`, :math:`x_t^-` and the two differences.
    images_ : list of AxesImage
        The three images.
    differences_ : list of AxesImage
        :math:`x_b - x_t` for both samples.
    colorbar_ : Colorbar
        Of the differences.

    Raises
    ------
    InvalidInputError
        If the inputs are not images, or shapes do not fit.
    """

    ax_: Axes
    axes_: list[Axes]
    figure_: Figure
    images_: list[AxesImage]
    differences_: list[AxesImage]
    colorbar_: Colorbar

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
        given = np.asarray(samples, dtype=np.float64)
        if given.shape != (2, *point.shape):
            raise InvalidInputError(
                f"samples must have shape {(2, *point.shape)}, two inputs as the section's "
                f"boundary point; got {given.shape}."
            )
        shape = _image_shape(point.shape, image_shape)
        self.samples, self.boundary_point = given.reshape(2, *shape), point.reshape(shape)
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
        from eigenboundary.planes import section_samples

        if analysis.sections is None:
            raise InvalidInputError(
                "analysis must have sections (analyze(..., margins=True)); got one without."
            )
        if not isinstance(index, int | np.integer) or not 0 <= index < len(analysis.sections):
            raise InvalidInputError(
                f"index must be an integer from 0 to below {len(analysis.sections)}, the number "
                f"of sections; got {index!r}."
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
        """Draw on ``axes`` (an empty Figure, or five axes), or on a new pyplot figure.

        Returns
        -------
        SectionDisplay
            Itself.
        """
        with style.styled():
            self.figure_, self.axes_, own = style.several_axes(
                axes, 5, panel=(1.95, 2.45), columns=5
            )
            self.ax_ = self.axes_[0]
            self._images()
            self._differences()
            for ax in self.axes_:
                ax.set_xticks([])
                ax.set_yticks([])
                for side in ax.spines.values():
                    side.set(visible=True, color=style.FAINT)
            self._titles(own)
        return self

    def _images(self) -> None:
        shown = (self.samples[0], self.boundary_point, self.samples[1])
        values = np.stack(shown)
        low, high = float(values.min()), float(values.max())
        span = high - low or 1.0
        self.images_ = []
        for ax, image in zip(self.axes_[:3], shown, strict=True):
            if len(image) == 1:
                drawn = ax.imshow(image[0], cmap="gray", vmin=low, vmax=low + span)
            else:
                drawn = ax.imshow(((image - low) / span).transpose(1, 2, 0).clip(0, 1))
            self.images_.append(drawn)

    @property
    def _steps(self) -> Array:
        """:math:`x_b - x_t` of both samples, shape (2, H, W)."""
        return (self.boundary_point - self.samples).mean(1)

    def _differences(self) -> None:
        steps = self._steps
        largest = float(np.abs(steps).max()) or 1.0
        self.differences_ = [
            ax.imshow(step, cmap=style.ALIGNMENT_MAP, norm=Normalize(-largest, largest))
            for ax, step in zip(self.axes_[3:], steps, strict=True)
        ]
        # As tall as the images, whatever the height of their titles.
        beside = self.axes_[-1].inset_axes((1.05, 0.0, 0.06, 1.0))
        self.colorbar_ = self.figure_.colorbar(
            self.differences_[0], cax=beside, ticks=[-largest, 0, largest]
        )
        digits = [style.format_number(v, 2) for v in (-largest, 0.0, largest)]
        self.colorbar_.ax.set_yticklabels(digits)
        self.colorbar_.outline.set_visible(False)

    def _titles(self, own: bool) -> None:
        section = self.section
        a, b = (self.class_names[c] for c in section.classes)
        point = [
            "$x_b$ on the boundary",
            f"{a} | {b}",
            f"|A| = {_cosine(section.alignment, signed=False)}",
            f"$v_{{{section.eigenvector + 1}}}$ leads at {section.share:.1%}",
        ]
        texts = [self._sample_title(0), point, self._sample_title(1)]
        for side, name in enumerate(_SIDES):
            distance = style.format_number(section.side_paper_margins[side])
            texts.append([rf"$x_b - x_t^{name}$", f"length {distance}"])
        for ax, lines in zip(self.axes_, texts, strict=True):
            first, *others = lines
            ax.set_title(first, fontsize=10)
            ax.set_xlabel("\n".join(others), fontsize=9, loc="left")
        if own:
            title = style.eigenvector_title(section.eigenvector, section.eigenvalue)
            note = "" if section.converged else "  (not converged)"
            self.figure_.suptitle(f"Section of {title}{note}", x=0.01, ha="left", fontsize=10.5)

    def _sample_title(self, side: int) -> list[str]:
        section = self.section
        lines = [f"$x_t^{_SIDES[side]}$, sample {section.training_samples[side]}"]
        if self.predictions is not None:
            lines.append(f"predicted {self.class_names[self.predictions[side]]}")
        lines.append(f"A = {_cosine(section.training_alignment[side])}")
        margin = section.side_margins[side]
        found = np.isfinite(margin)
        lines.append(f"margin {style.format_number(margin)}" if found else "margin not found")
        return lines


def _cosine(value: float, signed: bool = True) -> str:
    """Two decimals and a typographic minus."""
    text = f"{value:+.2f}" if signed else f"{value:.2f}"
    return text.replace("-", "−")


def _image_shape(shape: tuple[int, ...], wanted: tuple[int, int, int] | None) -> tuple[int, ...]:
    if wanted is None:
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise InvalidInputError(
                "section must be one of images, (1, H, W) or (3, H, W), or image_shape be given; "
                f"got inputs of shape {tuple(shape)}."
            )
        return shape
    fits = isinstance(wanted, tuple | list) and len(wanted) == 3 and wanted[0] in (1, 3)
    if not fits or int(np.prod(wanted)) != int(np.prod(shape)):
        raise InvalidInputError(
            f"image_shape must be (1, H, W) or (3, H, W) with as many entries as an input of shape "
            f"{tuple(shape)}; got {wanted!r}."
        )
    return tuple(wanted)
