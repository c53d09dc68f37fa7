"""Pictures of an analysis, in scikit-learn's Display manner.

A display holds numbers, never a model. ``from_analysis`` draws and returns it; ``plot`` draws on
axes that are given, or on a new pyplot figure, and returns the display, which keeps its artists in
attributes that end in an underscore.

==================================  ===========================================================
:class:`SpectrumDisplay`            eigenvalues, outliers and bulk
:class:`DensityDisplay`             all p eigenvalues: density, counts beyond a threshold
:class:`AlignmentDisplay`           training samples against eigenvectors, sorted by class
:class:`PlaneDisplay`               a plane of inputs: two-dimensional ones, or through any three
:class:`EmbeddingDisplay`           other inputs, on a PCA or t-SNE embedding
:class:`ControlsDisplay`            top eigenvectors against control directions
:class:`MassDisplay`                squared alignment captured by the first i eigenvectors
:class:`LossCurveDisplay`           the loss on lines and curves through parameter space
:class:`LossSurfaceDisplay`         the loss on a plane through parameter space
:class:`ComparisonDisplay`          several networks side by side
:class:`BoundaryMotionDisplay`      decision regions as θ moves along a direction
:class:`SectionDisplay`             a section's samples and boundary point, as images
:class:`ClassPairDisplay`           the class pairs of each eigenvector's section
:class:`MarginDisplay`              margins against eigenvectors
==================================  ===========================================================
"""

from eigenboundary.displays.alignments import AlignmentDisplay, ControlsDisplay, MassDisplay
from eigenboundary.displays.comparison import ComparisonDisplay
from eigenboundary.displays.embedding import EmbeddingDisplay, embed
from eigenboundary.displays.landscape import LossCurveDisplay, LossSurfaceDisplay
from eigenboundary.displays.planes import BoundaryMotionDisplay, PlaneDisplay
from eigenboundary.displays.sections import ClassPairDisplay, MarginDisplay, SectionDisplay
from eigenboundary.displays.spectrum import DensityDisplay, SpectrumDisplay

__all__ = [
    "AlignmentDisplay",
    "BoundaryMotionDisplay",
    "ClassPairDisplay",
    "ComparisonDisplay",
    "ControlsDisplay",
    "DensityDisplay",
    "EmbeddingDisplay",
    "LossCurveDisplay",
    "LossSurfaceDisplay",
    "MarginDisplay",
    "MassDisplay",
    "PlaneDisplay",
    "SectionDisplay",
    "SpectrumDisplay",
    "embed",
]
