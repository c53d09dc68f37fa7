"""The decision boundary: points on it, distances to it, and the margins of its sections.

=============================  =================================================================
:func:`boundary_area`          how large the boundary is where the data are
:func:`boundary_complexity`    how many directions of θ move the boundary, at a standard confidence
:func:`boundary_rank`          how many directions the gradients at points of the boundary span
:func:`boundary_points`        inputs where the two largest outputs are equal, near the data
:func:`project_to_boundary`    any inputs moved onto the boundary between their leading classes
:func:`boundary_distance`      how far inputs are from the boundary, and its nearest point
:func:`paper_margins`          the paper's margin of the section that each eigenvector encodes
=============================  =================================================================

All work in any input dimension, on batches, and leave the network as it was.
"""

from eigenboundary.boundary.area import BoundaryArea, boundary_area
from eigenboundary.boundary.complexity import (
    BoundaryComplexity,
    ComplexityAtLevel,
    boundary_complexity,
)
from eigenboundary.boundary.distance import boundary_distance
from eigenboundary.boundary.motion import BoundaryMotion, boundary_along
from eigenboundary.boundary.paper_margins import SectionMargins, paper_margins
from eigenboundary.boundary.planes import Plane
from eigenboundary.boundary.points import BoundaryPoints, boundary_points
from eigenboundary.boundary.projection import BoundaryProjection, project_to_boundary
from eigenboundary.boundary.rank import BoundaryRank, boundary_rank
from eigenboundary.boundary.sample_margins import SampleMargins
from eigenboundary.boundary.search.nearest import BoundaryDistance
from eigenboundary.boundary.sections import BoundarySections, Section
from eigenboundary.boundary.smallest_margin import SmallestMargin

__all__ = [
    "BoundaryArea",
    "BoundaryComplexity",
    "BoundaryDistance",
    "BoundaryMotion",
    "BoundaryPoints",
    "BoundaryProjection",
    "BoundaryRank",
    "BoundarySections",
    "ComplexityAtLevel",
    "Plane",
    "SampleMargins",
    "Section",
    "SectionMargins",
    "SmallestMargin",
    "boundary_along",
    "boundary_area",
    "boundary_complexity",
    "boundary_distance",
    "boundary_points",
    "boundary_rank",
    "paper_margins",
    "project_to_boundary",
]
