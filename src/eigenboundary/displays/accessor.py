"""The pictures of an analysis, one method each: ``analysis.plot.spectrum()``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from eigenboundary.displays import style
from eigenboundary.displays.alignments import AlignmentDisplay, ControlsDisplay, MassDisplay
from eigenboundary.displays.base import new_figure
from eigenboundary.displays.embedding import LEAST_SAMPLES, EmbeddingDisplay
from eigenboundary.displays.planes import PlaneDisplay
from eigenboundary.displays.sections import ClassPairDisplay, MarginDisplay, SectionDisplay
from eigenboundary.displays.spectrum import DensityDisplay, SpectrumDisplay

if TYPE_CHECKING:
    from eigenboundary.analysis.result import Analysis


class AnalysisPlots:
    """The pictures of an analysis.

    Calling the object draws an overview; each method draws one picture and returns its display.
    Options are those of the display's ``from_analysis``, among them ``ax``, the axes or the empty
    figure to draw on; default: a new pyplot figure. A method whose numbers the analysis lacks
    raises :class:`~eigenboundary.InvalidInputError`, which names the call that computes them.

    Parameters
    ----------
    analysis : Analysis

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> from matplotlib.figure import Figure
    >>> x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    >>> analysis = eb.analyze(torch.nn.Linear(2, 2), (x, x.argmax(1)), k=3, grid=20)
    >>> plots = AnalysisPlots(analysis)
    >>> len(plots.boundary(ax=Figure(), n_eigenvectors=2).axes_)
    3
    """

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis

    def __call__(self, figure: Figure | None = None) -> Figure:
        """Draw the spectrum, the squared alignment, and the boundary or an embedding.

        Parameters
        ----------
        figure : Figure, optional
            An empty figure to fill, which is returned; default: a new pyplot figure.
        """
        analysis = self._analysis
        flat = analysis.grid is not None
        lower = flat or len(analysis.inputs) >= LEAST_SAMPLES
        with style.styled():
            figure = new_figure(figure, (11.0, 7.0 if lower else 3.9))
            heights = [3.0, 2.6][: 1 + lower]
            rows = figure.subfigures(1 + lower, height_ratios=heights, squeeze=False)
            left, right = rows[0, 0].subplots(1, 2)
            self.spectrum(ax=left)
            self.mass(ax=right)
            if lower:
                shown = min(3, analysis.k)
                draw = self.boundary if flat else self.embedding
                draw(ax=rows[1, 0].subplots(1, 1 + shown), n_eigenvectors=shown)
        return figure

    def spectrum(self, **options: Any) -> SpectrumDisplay:
        """Draw the eigenvalues, those that stand apart from the bulk marked."""
        return SpectrumDisplay.from_analysis(self._analysis, **options)

    def density(self, **options: Any) -> DensityDisplay:
        """Draw the density of all eigenvalues, and counts of those beyond a threshold."""
        return DensityDisplay.from_analysis(self._analysis, **options)

    def alignment(self, **options: Any) -> AlignmentDisplay:
        """Draw the alignment of the training samples with each eigenvector, by class."""
        return AlignmentDisplay.from_analysis(self._analysis, **options)

    def boundary(self, **options: Any) -> PlaneDisplay | EmbeddingDisplay:
        """Draw the plane of two-dimensional inputs; other inputs are drawn on an embedding."""
        if self._analysis.grid is None and self._analysis.input_shape != (2,):
            return self.embedding(**options)
        return PlaneDisplay.from_analysis(self._analysis, **options)

    def embedding(self, **options: Any) -> EmbeddingDisplay:
        """Draw the training inputs on two principal components, or by ``method="tsne"``."""
        return EmbeddingDisplay.from_analysis(self._analysis, **options)

    def controls(self, **options: Any) -> ControlsDisplay:
        """Draw the alignment with the top eigenvectors against that with control directions."""
        return ControlsDisplay.from_analysis(self._analysis, **options)

    def mass(self, **options: Any) -> MassDisplay:
        """Draw the squared alignment captured by the first i eigenvectors."""
        return MassDisplay.from_analysis(self._analysis, **options)

    def sections(self, index: int = 0, **options: Any) -> SectionDisplay:
        """Draw the samples and the boundary point of the section of an eigenvector, as images."""
        return SectionDisplay.from_analysis(self._analysis, index, **options)

    def class_pairs(self, **options: Any) -> ClassPairDisplay:
        """Draw the class pairs that the section of each eigenvector separates."""
        return ClassPairDisplay.from_analysis(self._analysis, **options)

    def margins(self, **options: Any) -> MarginDisplay:
        """Draw the margin at the section of each eigenvector."""
        return MarginDisplay.from_analysis(self._analysis, **options)

    def plane(self, index: int | None = None, **options: Any) -> PlaneDisplay:
        """Draw the plane of two-dimensional inputs, or that of an eigenvector's section."""
        return PlaneDisplay.from_analysis(self._analysis, index, **options)
