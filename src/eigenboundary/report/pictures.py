"""The pictures of an analysis, with captions that say how to read them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from matplotlib.figure import Figure

from eigenboundary.analysis.result import Analysis
from eigenboundary.boundary.planes import Plane
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

#: Dots an inch of pictures that are made of them.
PNG_DPI = 190
_LEAST_EMBEDDED = 3
# Sections drawn as images: the first that lead anywhere.
_SECTIONS_SHOWN = 3


@dataclass(frozen=True)
class Picture:
    """A figure with what is said about it.

    Attributes
    ----------
    name : str
        For a file.
    title, caption : str
    figure : Figure
    vector : bool
        Whether an SVG of it is no larger than need be.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    vector: bool = True

    def embedded(self) -> dict[str, str]:
        """For a page: a data URI, title, caption and width in pixels."""
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


def pictures_of(analysis: Analysis) -> list[Picture]:
    """All pictures an analysis has data for, but those of its sections."""
    with styled():
        result = [_plane(analysis)] if analysis.grid is not None else []
        result.append(_spectrum(analysis))
        if analysis.bulk is not None:
            result.append(_density(analysis))
        result += [_alignment(analysis), _mass(analysis)]
        if analysis.grid is None and len(analysis.inputs) >= _LEAST_EMBEDDED:
            result.append(_embedding(analysis))
        if analysis.controls:
            result.append(_controls(analysis))
    return result


def pictures_of_sections(analysis: Analysis) -> list[Picture]:
    """Pictures of the sections of an analysis with margins."""
    if analysis.sections is None:
        return []
    shown = [s for s in analysis.sections if s.share > 0 and s.samples is not None]
    with styled():
        result = [_class_pairs(analysis), _margins(analysis)]
        if is_image(analysis.input_shape):
            result += [_section(analysis, s.eigenvector) for s in shown[:_SECTIONS_SHOWN]]
        result += [_input_plane(analysis, plane) for plane in analysis.planes]
    return result


def _figure(width: float, height: float) -> Figure:
    # Not a pyplot figure: those stay open until someone closes them.
    return Figure(figsize=(width, height), layout="constrained")


def _spectrum(analysis: Analysis) -> Picture:
    figure = _figure(7.4, 3.9)
    SpectrumDisplay.from_analysis(analysis, ax=figure.add_subplot())
    return Picture(
        "spectrum",
        "Spectrum",
        "Each dot is an eigenvalue, the curvature of the loss along one direction. Orange ones "
        "stand apart from the bulk"
        f"{', which begins at the dashed line' if analysis.outlier_count.resolved else ''}; hollow "
        "ones are estimates without checked eigenvectors. Bars, where visible, are residuals.",
        figure,
    )


def _density(analysis: Analysis) -> Picture:
    figure = _figure(9.6, 3.9)
    DensityDisplay.from_analysis(analysis, ax=figure)
    return Picture(
        "density",
        "The whole spectrum",
        "Estimated from random vectors, all eigenvalues. Left: their density, smoothed; marks at "
        "the bottom are the computed ones. Right: how many lie above t, or below −t; bands are "
        "95 % intervals.",
        figure,
    )


def _alignment(analysis: Analysis) -> Picture:
    figure = Figure(layout="constrained")
    AlignmentDisplay.from_analysis(analysis, ax=figure)
    return Picture(
        "alignment",
        "Alignment of the training samples",
        "A row is an eigenvector, a column a training sample; samples are sorted by class, within "
        "a class by their alignment with the first eigenvector. A row that is red in one class "
        "and blue in another belongs to the boundary between the two; a pale row says little "
        "about the boundary near the samples.",
        figure,
        vector=False,
    )


def _mass(analysis: Analysis) -> Picture:
    figure = _figure(7.4, 3.4)
    MassDisplay.from_analysis(analysis, ax=figure.add_subplot())
    return Picture(
        "mass",
        "Captured squared alignment",
        "Bars: share of the squared alignment that each eigenvector holds (orange: outliers). "
        "Line: what the first i hold together. The gap to 100 % is what the computed eigenvectors "
        "cannot explain, and why the complexity numbers are intervals.",
        figure,
    )


def _plane(analysis: Analysis) -> Picture:
    figure = _figure(9.6, 6.3)
    PlaneDisplay.from_analysis(analysis, ax=figure)
    return Picture(
        "decision-boundary",
        "Decision boundary",
        "First panel: the predicted class over the input plane, with the training samples "
        "(crossed out where predicted otherwise than labelled). Others: alignment of the "
        "reinforcing gradient with one eigenvector each. Where a strong red meets a strong blue "
        "along a black line, the eigenvector encodes that section of the boundary.",
        figure,
        vector=False,
    )


def _embedding(analysis: Analysis) -> Picture:
    figure = _figure(9.6, 6.3)
    EmbeddingDisplay.from_analysis(analysis, "pca", ax=figure)
    return Picture(
        "embedding",
        "Alignment on the inputs' first two principal components",
        "First panel: training samples by class. Others: the same samples, coloured by alignment "
        "with one eigenvector each; red and blue groups lie on the two sides of the section of "
        "the boundary that it encodes. Distances are those of a projection.",
        figure,
        vector=False,
    )


def _controls(analysis: Analysis) -> Picture:
    figure = _figure(7.6, 1.3 + 0.62 * (1 + len(analysis.controls)))
    ControlsDisplay.from_analysis(analysis, ax=figure.add_subplot())
    return Picture(
        "controls",
        "Control directions",
        "Size of the alignments of the training samples with the top eigenvectors, and with "
        "directions that should not matter. Boxes hold the middle half, whiskers 5 % to 95 %; "
        "the dashed line is the mean for a random direction. If the top row lies no further to "
        "the right than the others, its eigenvectors say nothing special about these samples.",
        figure,
    )


def _class_pairs(analysis: Analysis) -> Picture:
    figure = Figure(layout="constrained")
    ClassPairDisplay.from_analysis(analysis, ax=figure)
    return Picture(
        "class-pairs",
        "Class pairs",
        "Which classes meet where each eigenvector leads: the share, in per cent, of all sampled "
        "points of the boundary. “None” holds those at which the eigenvectors together have less "
        "than half of the squared alignment.",
        figure,
    )


def _margins(analysis: Analysis) -> Picture:
    figure = _figure(7.4, 4.2)
    MarginDisplay.from_analysis(analysis, ax=figure.add_subplot())
    return Picture(
        "margins",
        "Margins",
        "Distance from the boundary of the most aligned sample on the narrower side, an upper "
        "bound; beside it the linearised network's, an estimate. The paper's estimate is the "
        "sample's distance from the point where the alignment is largest, wherever that is.",
        figure,
    )


def _section(analysis: Analysis, index: int) -> Picture:
    figure = _figure(8.8, 5.8)
    SectionDisplay.from_analysis(analysis, index, ax=figure)
    return Picture(
        f"section-{index + 1}",
        f"Section of eigenvector {index + 1}",
        "A row for the most aligned sample on each side: itself, the boundary point nearest to it, "
        "and their difference, magnified as its title says (of grey images red where the boundary "
        "point is brighter, of colour images added to a mid grey). Right: the boundary point where "
        "the alignment is largest, which need not be near either.",
        figure,
        vector=False,
    )


def _input_plane(analysis: Analysis, plane: Plane) -> Picture:
    assert plane.eigenvector is not None
    figure = _figure(9.6, 6.3)
    PlaneDisplay.from_analysis(analysis, plane.eigenvector, ax=figure)
    beyond = "" if plane.inside.all() else " What is veiled lies outside the box."
    return Picture(
        f"plane-{plane.eigenvector + 1}",
        f"Plane of eigenvector {plane.eigenvector + 1}'s section",
        "The plane of inputs through its two samples and the boundary point where its alignment "
        "is largest; lengths are distances of inputs. First panel: predicted class. Others: "
        f"alignment with one eigenvector each.{beyond}",
        figure,
        vector=False,
    )
