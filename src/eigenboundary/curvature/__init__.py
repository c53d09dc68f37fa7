"""The Hessian and Gauss–Newton matrix as operators: eigenpairs, trace and density."""

from eigenboundary.curvature.density import Band, SpectralDensity, spectral_density
from eigenboundary.curvature.eigenpairs import Eigenpairs
from eigenboundary.curvature.operators import (
    CURVATURES,
    GaussNewtonOperator,
    HessianOperator,
    MatrixOperator,
    SymmetricOperator,
)
from eigenboundary.curvature.range_finder import LeadingPairs
from eigenboundary.curvature.solve import top_eigenpairs
from eigenboundary.curvature.trace import TraceEstimate, estimate_trace

__all__ = [
    "CURVATURES",
    "Band",
    "Eigenpairs",
    "GaussNewtonOperator",
    "HessianOperator",
    "LeadingPairs",
    "MatrixOperator",
    "SpectralDensity",
    "SymmetricOperator",
    "TraceEstimate",
    "estimate_trace",
    "spectral_density",
    "top_eigenpairs",
]
