"""The pictures of an analysis, with captions that say how to read them."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from eigenboundary import displays
from eigenboundary.analysis.result import Analysis
from eigenboundary.displays.embedding import LEAST_SAMPLES
from eigenboundary.displays.sections import is_image
from eigenboundary.displays.style import styled

#: Dots an inch of pictures that are stored as PNG.
PNG_DPI = 190
# The first sections that lead anywhere are drawn as images.
_SECTIONS_SHOWN = 3

#: Title and caption of each picture, by its name.
_CAPTIONS = {
    "spectrum": (
        "Spectrum",
        "Each dot is an eigenvalue, the curvature of the loss along one direction. Orange ones, "
        "the outliers, are above the dashed line, the most that the functional Hessian H − G can "
        "make; hollow ones are estimates without checked eigenvectors. Bars, where visible, are "
        "residuals.",
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
    """A figure with its title and caption."""

    name: str  # stem of the file's name
    title: str
    caption: str
    figure: Figure
    vector: bool  # whether the page embeds an SVG of it

    def embedded(self) -> dict[str, str]:
        """Return a data URI, the title, the caption and the width in pixels."""
        how: dict[str, Any] = {"format": "png", "dpi": PNG_DPI}
        if self.vector:
            how = {"format": "svg", "metadata": {"Date": None}}
        buffer = io.BytesIO()
        with styled():
            self.figure.savefig(buffer, **how)
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        return {
            "source": f"data:image/{'svg+xml' if self.vector else 'png'};base64,{data}",
            "title": self.title,
            "caption": self.caption,
            "width": str(round(96 * float(self.figure.get_size_inches()[0]))),
        }


def _picture(
    name: str,
    display: Any,
    analysis: Analysis,
    size: tuple[float, float] | None = None,
    *,
    panels: bool = False,
    vector: bool = True,
    index: int | None = None,
    **words: str,
) -> Picture:
    """Draw a picture, on several panels or on one; without a size, the display chooses it."""
    which: dict[str, Any] = {} if index is None else {"index": index}
    with styled():
        # A figure of pyplot would stay open until someone closes it.
        figure = Figure(figsize=size, layout="constrained")
        ax = figure if panels or size is None else figure.add_subplot()
        display.from_analysis(analysis, ax=ax, **which)
    number = "" if index is None else str(index + 1)
    title, caption = (text.format(i=number, **words) for text in _CAPTIONS[name])
    return Picture(f"{name}-{number}" if number else name, title, caption, figure, vector)


def pictures_of(analysis: Analysis) -> list[Picture]:
    """Draw the pictures of an analysis, without those of its sections."""
    draw = partial(_picture, analysis=analysis)
    panels: dict[str, Any] = {"size": (9.6, 6.3), "panels": True, "vector": False}
    result = []
    if analysis.grid is not None:
        result.append(draw("decision-boundary", displays.PlaneDisplay, **panels))
    result.append(draw("spectrum", displays.SpectrumDisplay, size=(7.4, 3.9)))
    if analysis.bulk is not None:
        result.append(draw("density", displays.DensityDisplay, size=(9.6, 3.9), panels=True))
    result.append(draw("alignment", displays.AlignmentDisplay, vector=False))
    result.append(draw("mass", displays.MassDisplay, size=(7.4, 3.4)))
    if analysis.grid is None and len(analysis.inputs) >= LEAST_SAMPLES:
        result.append(draw("embedding", displays.EmbeddingDisplay, **panels))
    if analysis.controls:
        size = 7.6, 1.3 + 0.62 * (1 + len(analysis.controls))
        result.append(draw("controls", displays.ControlsDisplay, size=size))
    return result


def pictures_of_sections(analysis: Analysis) -> list[Picture]:
    """Draw the sections of an analysis with margins."""
    if analysis.sections is None:
        return []
    draw = partial(_picture, analysis=analysis)
    leading = [s.eigenvector for s in analysis.sections if s.share > 0 and s.samples is not None]
    panels: dict[str, Any] = {"panels": True, "vector": False}
    result = [
        draw("class-pairs", displays.ClassPairDisplay),
        draw("margins", displays.MarginDisplay, size=(7.4, 4.2)),
    ]
    for i in leading[:_SECTIONS_SHOWN] if is_image(analysis.input_shape) else []:
        section = draw("section", displays.SectionDisplay, size=(8.8, 5.8), index=i, **panels)
        result.append(section)
    for plane in analysis.planes:
        veiled = "" if plane.inside.all() else " What is veiled lies outside the box."
        options = {"index": plane.eigenvector, "veiled": veiled, **panels}
        result.append(draw("plane", displays.PlaneDisplay, size=(9.6, 6.3), **options))
    return result


def analysis_html(analysis: Analysis) -> str:
    """Return the short text and the spectrum as HTML, for a notebook."""
    drawn = io.StringIO()
    with styled():
        figure = Figure(figsize=(6, 3), layout="constrained")
        displays.SpectrumDisplay.from_analysis(analysis, ax=figure.subplots())
        figure.savefig(drawn, format="svg")
    svg = drawn.getvalue()
    return f"<pre>{html.escape(str(analysis))}</pre>{svg[svg.index('<svg') :]}"
