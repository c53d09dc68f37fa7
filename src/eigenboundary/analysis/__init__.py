"""The analysis of a classifier: computed, saved, loaded, compared and asked further."""

from eigenboundary.analysis.atlas import boundary_sections, smallest_margin
from eigenboundary.analysis.comparison import Comparison, compare
from eigenboundary.analysis.input_plane import input_plane
from eigenboundary.analysis.loading import load
from eigenboundary.analysis.pipeline import analyze
from eigenboundary.analysis.provenance import Provenance
from eigenboundary.analysis.result import Analysis

__all__ = [
    "Analysis",
    "Comparison",
    "Provenance",
    "analyze",
    "boundary_sections",
    "compare",
    "input_plane",
    "load",
    "smallest_margin",
]
