"""What the Hessian of a classifier's loss knows about its decision boundary.

The top eigenvectors of the training loss' Hessian encode the decision boundary
(arXiv:2306.07104). :func:`analyze` computes them for any PyTorch classifier and says how complex
the boundary is, with error bounds and pictures.
"""

from eigenboundary import datasets, networks, training
from eigenboundary.alignments import alignment
from eigenboundary.analysis import Analysis
from eigenboundary.atlas import boundary_sections, smallest_margin
from eigenboundary.boundary import boundary_distance, boundary_points
from eigenboundary.comparison import Comparison, compare
from eigenboundary.complexity import Complexity
from eigenboundary.controls import control_vectors
from eigenboundary.coordinates import layer_normalized
from eigenboundary.curvature import (
    Eigenpairs,
    GaussNewtonOperator,
    HessianOperator,
    MatrixOperator,
    SpectralDensity,
    SymmetricOperator,
    TraceEstimate,
    estimate_trace,
    spectral_density,
    top_eigenpairs,
)
from eigenboundary.displays import (
    AlignmentDisplay,
    BoundaryMotionDisplay,
    ClassPairDisplay,
    ComparisonDisplay,
    ControlsDisplay,
    DecisionBoundaryDisplay,
    DensityDisplay,
    EmbeddingDisplay,
    InputPlaneDisplay,
    LossCurveDisplay,
    LossSurfaceDisplay,
    MarginDisplay,
    MassDisplay,
    SectionDisplay,
    SpectrumDisplay,
)
from eigenboundary.errors import InvalidInputError
from eigenboundary.landscape import (
    boundary_along,
    loss_along,
    loss_at,
    loss_between,
    loss_plane,
    low_loss_curve,
    plane_through,
)
from eigenboundary.losses import Loss
from eigenboundary.outliers import count_outliers
from eigenboundary.pipeline import analyze
from eigenboundary.planes import input_plane
from eigenboundary.problem import Problem
from eigenboundary.reparametrization import random_alphas, reparametrize
from eigenboundary.storage import load
from eigenboundary.version import __version__

__all__ = [
    "AlignmentDisplay",
    "Analysis",
    "BoundaryMotionDisplay",
    "ClassPairDisplay",
    "Comparison",
    "ComparisonDisplay",
    "Complexity",
    "ControlsDisplay",
    "DecisionBoundaryDisplay",
    "DensityDisplay",
    "Eigenpairs",
    "EmbeddingDisplay",
    "GaussNewtonOperator",
    "HessianOperator",
    "InputPlaneDisplay",
    "InvalidInputError",
    "Loss",
    "LossCurveDisplay",
    "LossSurfaceDisplay",
    "MarginDisplay",
    "MassDisplay",
    "MatrixOperator",
    "Problem",
    "SectionDisplay",
    "SpectralDensity",
    "SpectrumDisplay",
    "SymmetricOperator",
    "TraceEstimate",
    "__version__",
    "alignment",
    "analyze",
    "boundary_along",
    "boundary_distance",
    "boundary_points",
    "boundary_sections",
    "compare",
    "control_vectors",
    "count_outliers",
    "datasets",
    "estimate_trace",
    "input_plane",
    "layer_normalized",
    "load",
    "loss_along",
    "loss_at",
    "loss_between",
    "loss_plane",
    "low_loss_curve",
    "networks",
    "plane_through",
    "random_alphas",
    "reparametrize",
    "smallest_margin",
    "spectral_density",
    "top_eigenpairs",
    "training",
]
