"""The Hessian and Gauss–Newton matrix as operators: eigenpairs, trace and density."""

from eigenboundary.curvature.eigensolvers.eigenpairs import Eigenpairs
from eigenboundary.curvature.eigensolvers.outcome import Outcome
from eigenboundary.curvature.eigensolvers.solve import top_eigenpairs
from eigenboundary.curvature.operators.base import MatrixOperator, SymmetricOperator
from eigenboundary.curvature.operators.hessian import (
    CURVATURES,
    FunctionalHessianOperator,
    GaussNewtonOperator,
    HessianOperator,
)
from eigenboundary.curvature.spectrum.bulk import Bulk
from eigenboundary.curvature.spectrum.controls import control_vectors
from eigenboundary.curvature.spectrum.density import Band, SpectralDensity, spectral_density
from eigenboundary.curvature.spectrum.norm import spectral_norm
from eigenboundary.curvature.spectrum.outliers import OutlierCount, count_outliers
from eigenboundary.curvature.spectrum.trace import TraceEstimate, estimate_trace

__all__ = [
    "CURVATURES",
    "Band",
    "Bulk",
    "Eigenpairs",
    "FunctionalHessianOperator",
    "GaussNewtonOperator",
    "HessianOperator",
    "MatrixOperator",
    "Outcome",
    "OutlierCount",
    "SpectralDensity",
    "SymmetricOperator",
    "TraceEstimate",
    "control_vectors",
    "count_outliers",
    "estimate_trace",
    "spectral_density",
    "spectral_norm",
    "top_eigenpairs",
]
