"""The Hessian and Gauss–Newton matrix as operators, and their eigenpairs."""

from eigenboundary.curvature.eigenpairs import Eigenpairs
from eigenboundary.curvature.operators import (
    CURVATURES,
    GaussNewtonOperator,
    HessianOperator,
    MatrixOperator,
    SymmetricOperator,
)
from eigenboundary.curvature.solve import top_eigenpairs

__all__ = [
    "CURVATURES",
    "Eigenpairs",
    "GaussNewtonOperator",
    "HessianOperator",
    "MatrixOperator",
    "SymmetricOperator",
    "top_eigenpairs",
]
