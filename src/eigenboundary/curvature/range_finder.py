r"""All numerically non-null eigenpairs by a randomised range finder.

Blocks of random vectors are multiplied by A until what a further block adds to the range is
rounding (Halko, Martinsson & Tropp 2011, algorithm 4.2); Rayleigh–Ritz in that range then gives
every eigenpair outside the numerical null space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eigenboundary.curvature.eigenpairs import Eigenpairs, checked_eigenpairs
from eigenboundary.curvature.krylov import Progress
from eigenboundary.curvature.linalg import (
    column_norms,
    inner,
    orthonormal_extension,
    random_block,
)
from eigenboundary.curvature.operators import SymmetricOperator

__all__ = ["range_eigenpairs"]

_BLOCK = 128


def range_eigenpairs(
    operator: SymmetricOperator,
    k: int | None,
    *,
    tolerance: float,
    guard: int,
    seed: int,
    progress: Progress | None,
) -> Eigenpairs:
    """All eigenpairs whose eigenvalue exceeds ``tolerance`` times the largest, or the top k."""
    before = operator.products
    tolerance = max(tolerance, 1e2 * torch.finfo(operator.dtype).eps)
    basis, scale = _range(operator, tolerance, seed, progress, before)
    if k is not None and basis.shape[1] < k:  # the null space has the rest
        like = (operator.size, operator.dtype, operator.device)
        null = random_block(like, k - basis.shape[1], seed - 1 if seed else 2**31)
        basis = torch.cat([basis, orthonormal_extension(null, [basis])], dim=1)
    image = operator @ basis
    projected = inner(basis, image)
    values, rotation = torch.linalg.eigh((projected + projected.T) / 2)
    values, rotation = values.flip(0), rotation.flip(1)
    if k is None:
        kept = values.abs() > tolerance * scale
    else:
        kept = torch.arange(len(values), device=values.device) < k
    after = values[~kept][:guard] if k is not None else values[:0]
    rotation = rotation[:, kept].to(basis.dtype)
    return checked_eigenpairs(
        operator,
        basis @ rotation,
        images=image @ rotation,
        tolerance=tolerance,
        method="range",
        products_before=before,
        next_values=after,
        next_residuals=torch.zeros_like(after),
        rest=_rest(values[~kept], basis.shape, tolerance * scale),
    )


def _range(
    operator: SymmetricOperator,
    tolerance: float,
    seed: int,
    progress: Progress | None,
    before: int,
) -> tuple[Tensor, float]:
    """An orthonormal basis of the range up to ``tolerance``, and the norm of A."""
    like = (operator.size, operator.dtype, operator.device)
    basis = torch.empty(operator.size, 0, dtype=operator.dtype, device=operator.device)
    scale = 0.0
    draw = 0
    while basis.shape[1] < operator.size:
        width = min(_BLOCK, operator.size - basis.shape[1])
        image = operator @ random_block(like, width, seed + draw)
        # |Ax| / |x| for a Gaussian x is the norm spread over sqrt(p) directions.
        scale = max(scale, float(torch.linalg.matrix_norm(image.double(), 2)) / width**0.5)
        left = image - basis @ inner(basis, image).to(basis.dtype)
        # A product carries rounding of the size of |A| |x|; what is below it is no direction.
        noise = 4 * torch.finfo(operator.dtype).eps * operator.size**0.5
        if draw and float(column_norms(left).max()) <= max(0.1 * tolerance, noise) * scale:
            break
        new = orthonormal_extension(left, [basis])
        if not new.shape[1]:
            break
        basis = torch.cat([basis, new], dim=1)
        draw += 1
        if progress is not None:
            progress(basis.shape[1], operator.size, operator.products - before)
    return basis, scale


def _rest(left: Tensor, basis: tuple[int, ...], null: float) -> tuple[float, float] | None:
    """Where the eigenvalues lie that are not returned: those left out, and the null space."""
    bounds = [float(v) for v in left] + ([-null, null] if basis[1] < basis[0] else [])
    return (min(bounds), max(bounds)) if bounds else None
