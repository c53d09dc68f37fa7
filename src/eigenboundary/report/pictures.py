"""The pictures of an analysis, with captions that say how to read them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from eigenboundary.analysis.result import Analysis
from eigenboundary.displays import (
    AlignmentDisplay,
    ClassPairDisplay,
    ControlsDisplay,
    DensityDisplay,
    EmbeddingDisplay,
    MarginDisplay,
    MassDisplay,
    PlaneDisplay,
    SectionDisplay,
    SpectrumDisplay,
)
from eigenboundary.displays.sections import is_image
from eigenboundary.displays.style import styled

#: Dots an inch of pictures that are stored as PNG.
PNG_DPI = 190
_LEAST_EMBEDDED = 3
# The first sections that lead anywhere are drawn as images.
_SECTIONS_SHOWN = 3

#: Title and caption of each picture, by its name.
_CAPTIONS = {
    "spectrum": (
        "Spectrum",
        "Each dot is an eigenvalue, the curvature of the loss along one direction. Orange ones "
        "stand apart from the bulk{edge}; hollow ones are estimates without checked eigenvectors. "
        "Bars, where visible, are residuals.",
    ),
    "density": (
        "The whole spectrum",
        "Estimated from random vectors, all eigenvalues. Left: their density, smoothed; marks at "
        "the bottom are the computed ones. Right: how many lie above t, or below −t; bands are "
        "95 % intervals.",
    ),
    "alignment": (
        "Alignment of the training samples",
        "A row is an eigenvector, a column a training sample; samples are sorted by class, within "
        "a class by their alignment with the first eigenvector. A row that is red in one class "
        "and blue in another belongs to the boundary between the two; a pale row says little "
        "about the boundary near the samples.",
    ),
    "mass": (
        "Captured squared alignment",
        "Bars: share of the squared alignment that each eigenvector holds (orange: outliers). "
        "Line: what the first i hold together. The gap to 100 % is what the computed eigenvectors "
        "cannot explain, and why the complexity numbers are intervals.",
    ),
    "decision-boundary": (
        "Decision boundary",
        "First panel: the predicted class over the input plane, with the training samples "
        "(crossed out where predicted otherwise than labelled). Others: alignment of the "
        "reinforcing gradient with one eigenvector each. Where a strong red meets a strong blue "
        "along a black line, the eigenvector encodes that section of the boundary.",
    ),
    "embedding": (
        "Alignment on the inputs' first two principal components",
        "First panel: training samples by class. Others: the same samples, coloured by alignment "
        "with one eigenvector each; red and blue groups lie on the two sides of the section of "
        "the boundary that it encodes. Distances are those of a projection.",
    ),
    "controls": (
        "Control directions",
        "Size of the alignments of the training samples with the top eigenvectors, and with "
        "directions that should not matter. Boxes hold the middle half, whiskers 5 % to 95 %; "
        "the dashed line is the mean for a random direction. If the top row lies no further to "
        "the right than the others, its eigenvectors say nothing special about these samples.",
    ),
    "class-pairs": (
        "Class pairs",
        "Which classes meet where each eigenvector leads: the share, in per cent, of all sampled "
        "points of the boundary. “None” holds those at which the eigenvectors together have less "
        "than half of the squared alignment.",
    ),
    "margins": (
        "Margins",
        "Distance from the boundary of the most aligned sample on the narrower side, an upper "
        "bound; beside it the linearised network's, an estimate. The paper's estimate is the "
        "sample's distance from the point where the alignment is largest, wherever that is.",
    ),
    "section": (
        "Section of eigenvector {i}",
        "A row for the most aligned sample on each side: itself, the boundary point nearest to it, "
        "and their difference, magnified as its title says (of grey images red where the boundary "
        "point is brighter, of colour images added to a mid grey). Right: the boundary point where "
        "the alignment is largest, which need not be near either.",
    ),
    "plane": (
        "Plane of eigenvector {i}'s section",
        "The plane of inputs through its two samples and the boundary point where its alignment "
        "is largest; lengths are distances of inputs. First panel: predicted class. Others: "
        "alignment with one eigenvector each.{veiled}",
    ),
}


@dataclass(frozen=True)
class Picture:
    """A figure with its title and caption.

    Attributes
    ----------
    name : str
        Stem of the file's name.
    title, caption : str
    figure : Figure
    vector : bool
        Whether the page embeds an SVG of it.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    vector: bool

    def embedded(self) -> dict[str, str]:
        """Return a data URI, the title, the caption and the width in pixels."""
        buffer = io.BytesIO()
        with styled():
            if self.vector:
                self.figure.savefig(buffer, format="svg", metadata={"Date": None})
            else:
                self.figure.savefig(buffer, format="png", dpi=PNG_DPI)
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        return {
            "source": f"data:image/{'svg+xml' if self.vector else 'png'};base64,{data}",
            "title": self.title,
            "caption": self.caption,
            "width": str(round(96 * float(self.figure.get_size_inches()[0]))),
        }


def _picture(
    name: str,
    draw: Callable[..., object],
    size: tuple[float, float] | None = None,
    *,
    panels: bool = False,
    vector: bool = True,
    index: int | None = None,
    **words: str,
) -> Picture:
    """Draw a picture, on several panels or on one; without a size, the display chooses it."""
    # A figure of pyplot would stay open until someone closes it.
    figure = Figure(figsize=size, layout="constrained")
    draw(ax=figure if panels or size is None else figure.add_subplot())
    number = "" if index is None else str(index + 1)
    title, caption = (text.format(i=number, **words) for text in _CAPTIONS[name])
    return Picture(f"{name}-{number}" if number else name, title, caption, figure, vector)


def pictures_of(analysis: Analysis) -> list[Picture]:
    """Draw the pictures of an analysis, without those of its sections."""

    def draw(display: Any, *arguments: Any) -> Callable[..., object]:
        return partial(display.from_analysis, analysis, *arguments)

    edge = ", which begins at the dashed line" if analysis.outlier_count.resolved else ""
    panels: dict[str, Any] = {"size": (9.6, 6.3), "panels": True, "vector": False}
    result = []
    with styled():
        if analysis.grid is not None:
            result.append(_picture("decision-boundary", draw(PlaneDisplay), **panels))
        result.append(_picture("spectrum", draw(SpectrumDisplay), (7.4, 3.9), edge=edge))
        if analysis.bulk is not None:
            result.append(_picture("density", draw(DensityDisplay), (9.6, 3.9), panels=True))
        result.append(_picture("alignment", draw(AlignmentDisplay), vector=False))
        result.append(_picture("mass", draw(MassDisplay), (7.4, 3.4)))
        if analysis.grid is None and len(analysis.inputs) >= _LEAST_EMBEDDED:
            result.append(_picture("embedding", draw(EmbeddingDisplay, "pca"), **panels))
        if analysis.controls:
            size = 7.6, 1.3 + 0.62 * (1 + len(analysis.controls))
            result.append(_picture("controls", draw(ControlsDisplay), size))
    return result


def pictures_of_sections(analysis: Analysis) -> list[Picture]:
    """Draw the sections of an analysis with margins."""
    if analysis.sections is None:
        return []
    leading = [s.eigenvector for s in analysis.sections if s.share > 0 and s.samples is not None]
    panels: dict[str, Any] = {"panels": True, "vector": False}
    with styled():
        result = [
            _picture("class-pairs", partial(ClassPairDisplay.from_analysis, analysis)),
            _picture("margins", partial(MarginDisplay.from_analysis, analysis), (7.4, 4.2)),
        ]
        for i in leading[:_SECTIONS_SHOWN] if is_image(analysis.input_shape) else []:
            section = partial(SectionDisplay.from_analysis, analysis, i)
            result.append(_picture("section", section, (8.8, 5.8), index=i, **panels))
        for plane in analysis.planes:
            draw = partial(PlaneDisplay.from_analysis, analysis, plane.eigenvector)
            veiled = "" if plane.inside.all() else " What is veiled lies outside the box."
            options = {"index": plane.eigenvector, "veiled": veiled, **panels}
            result.append(_picture("plane", draw, (9.6, 6.3), **options))
    return result
