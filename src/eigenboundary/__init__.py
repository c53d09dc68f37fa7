"""What the Hessian of a classifier's loss knows about its decision boundary.

The top eigenvectors of the training loss' Hessian encode the decision boundary
(arXiv:2306.07104). :func:`analyze` computes them for any PyTorch classifier and says how complex
the boundary is, with error bounds and pictures.
"""

from eigenboundary.alignments import alignment
from eigenboundary.analysis import Analysis
from eigenboundary.complexity import Complexity
from eigenboundary.controls import control_vectors
from eigenboundary.curvature import (
    Eigenpairs,
    GaussNewtonOperator,
    HessianOperator,
    MatrixOperator,
    SymmetricOperator,
    top_eigenpairs,
)
from eigenboundary.displays import (
    AlignmentDisplay,
    ControlsDisplay,
    DecisionBoundaryDisplay,
    EmbeddingDisplay,
    MassDisplay,
    SpectrumDisplay,
)
from eigenboundary.errors import InvalidInputError
from eigenboundary.losses import Loss
from eigenboundary.outliers import count_outliers
from eigenboundary.pipeline import analyze
from eigenboundary.problem import Problem
from eigenboundary.storage import load
from eigenboundary.version import __version__

__all__ = [
    "AlignmentDisplay",
    "Analysis",
    "Complexity",
    "ControlsDisplay",
    "DecisionBoundaryDisplay",
    "Eigenpairs",
    "EmbeddingDisplay",
    "GaussNewtonOperator",
    "HessianOperator",
    "InvalidInputError",
    "Loss",
    "MassDisplay",
    "MatrixOperator",
    "Problem",
    "SpectrumDisplay",
    "SymmetricOperator",
    "__version__",
    "alignment",
    "analyze",
    "control_vectors",
    "count_outliers",
    "load",
    "top_eigenpairs",
]
