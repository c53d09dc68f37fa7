"""Eigenpairs from the dense matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from eigenboundary.curvature.eigensolvers.eigenpairs import (
    Eigenpairs,
    checked_eigenpairs,
    residual_scale,
)
from eigenboundary.curvature.operators.base import SymmetricOperator
from eigenboundary.runtime.linalg import eigh


def ends(size: int, k: int, which: str) -> Tensor:
    """Return the indices of the k largest, smallest or both of ``size`` descending values."""
    index = torch.arange(size)
    if which == "largest":
        return index[:k]
    if which == "smallest":
        return index[-k:]
    return torch.cat([index[:k], index[k:][-k:]])


def dense_eigenpairs(
    operator: SymmetricOperator, k: int, *, which: str, tolerance: float, guard: int
) -> Eigenpairs:
    """Compute eigenpairs from the p×p matrix, by p products and p³ operations."""
    before = operator.products
    tolerance = max(tolerance, 1e2 * torch.finfo(operator.dtype).eps)
    values, vectors = eigh(operator.to_dense())
    kept = ends(operator.size, k, which)
    after = values[k : k + guard] if which == "largest" else values[:0]
    left = torch.ones(operator.size, dtype=torch.bool)
    left[kept] = False
    others = values[left.to(values.device)]
    return checked_eigenpairs(
        operator,
        vectors[:, kept.to(vectors.device)].to(operator.dtype),
        tolerance=tolerance,
        method="dense",
        products_before=before,
        scale=residual_scale(values, which),
        next_values=after,
        rest=(float(others.min()), float(others.max())) if len(others) else None,
    )
