"""The spectral norm of an operator, by ARPACK."""

from __future__ import annotations

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from eigenboundary.curvature.operators.base import SymmetricOperator, check_operator
from eigenboundary.runtime.arguments import check_seed
from eigenboundary.runtime.interrupts import safe_point
from eigenboundary.runtime.linalg import eigvalsh, random_block

_TOLERANCE = 1e-3
_DENSE_BELOW = 25


def spectral_norm(operator: SymmetricOperator, *, seed: int = 0) -> tuple[float, float]:
    r"""Compute the largest :math:`|\lambda|` of an operator, and its residual.

    An eigenvalue lies within the residual of the value, which the norm is thus not below by more
    than that.

    Parameters
    ----------
    operator : SymmetricOperator
    seed : int
        Seed of the vector that the iteration starts from.

    Examples
    --------
    >>> import torch
    >>> from eigenboundary import MatrixOperator
    >>> norm, residual = spectral_norm(MatrixOperator(torch.diag(torch.linspace(-3, 2, 50))))
    >>> abs(norm - 3) <= residual + 1e-6 < 0.01
    True
    """
    check_operator(operator)
    check_seed(seed)
    if operator.size < _DENSE_BELOW:
        return float(eigvalsh(operator.to_dense()).abs().max()), 0.0
    start = random_block(operator.like, 1, seed)

    def product(vector: np.ndarray) -> np.ndarray:
        safe_point()
        return (operator @ vector).cpu().double().numpy()

    first = operator @ start
    if not first.any():
        return 0.0, 0.0
    matrix = LinearOperator(operator.shape, matvec=product, dtype=np.float64)
    try:
        # The image of a random vector has little left of the null space.
        values, vectors = eigsh(
            matrix, k=1, which="LM", v0=first[:, 0].cpu().double().numpy(), tol=_TOLERANCE
        )
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
        if not len(values):
            return float(first.norm() / start.norm()), float("inf")
    residual = np.linalg.norm(product(vectors[:, 0]) - values[0] * vectors[:, 0])
    return abs(float(values[0])), float(residual)
