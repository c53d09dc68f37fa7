r"""All numerically non-null eigenpairs, from a space that A maps into itself.

A block Krylov space with a random start grows until its frontier is rounding. Then a fresh random
block tells whether anything is left outside of it: an image of it that is more than rounding goes
on (Halko, Martinsson & Tropp 2011, sec. 4.3 on what a random block fails to see). Rayleigh–Ritz
then gives every eigenpair outside of the numerical null space, with no product beyond those by
which the space was found.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eigenboundary.curvature.eigenpairs import Eigenpairs, checked_eigenpairs
from eigenboundary.curvature.krylov import Progress, computed_images
from eigenboundary.curvature.linalg import random_block
from eigenboundary.curvature.operators import SymmetricOperator
from eigenboundary.curvature.subspace import Subspace

__all__ = ["range_eigenpairs"]

_BLOCK = 64


def range_eigenpairs(
    operator: SymmetricOperator,
    k: int | None,
    *,
    tolerance: float,
    null: float,
    guard: int,
    seed: int,
    progress: Progress | None,
) -> Eigenpairs:
    """All eigenpairs whose eigenvalue exceeds ``null`` times the largest, or the top k."""
    before = operator.products
    rounding = 1e2 * torch.finfo(operator.dtype).eps
    tolerance, null = max(tolerance, rounding), max(null, rounding)
    subspace, scale = _invariant(operator, null, seed, progress, before)
    if k is not None and subspace.size < k:  # the null space has the rest
        _make_room(subspace, k - subspace.size)
        subspace.include(
            random_block(operator.like, k - subspace.size, seed - 1 if seed else 2**31)
        )
    values, rotation = subspace.ritz()
    kept = values.abs() > null * scale if k is None else torch.arange(len(values)) < k
    after = values[~kept][:guard] if k is not None else values[:0]
    vectors = subspace.combine(rotation[:, kept]).to(operator.dtype)
    images = subspace.images(values[kept], rotation[:, kept], vectors)
    return checked_eigenpairs(
        operator,
        vectors,
        images=computed_images(operator, vectors, images, tolerance * scale),
        tolerance=tolerance,
        method="range",
        products_before=before,
        next_values=after,
        next_residuals=torch.zeros_like(after),
        rest=_rest(values[~kept], subspace, null * scale),
    )


def _make_room(subspace: Subspace, columns: int) -> None:
    if subspace.size + columns > subspace.capacity:
        room = max(2 * subspace.capacity, subspace.size + columns)
        subspace.grow_to(min(subspace.operator.size, room))


def _invariant(
    operator: SymmetricOperator,
    null: float,
    seed: int,
    progress: Progress | None,
    before: int,
) -> tuple[Subspace, float]:
    """A space that A maps into itself, none but null vectors outside, and the norm of A."""
    operator.expect(8 * _BLOCK)
    subspace = Subspace(operator, min(operator.size, 8 * _BLOCK), None)
    rounding = 4 * torch.finfo(operator.dtype).eps
    # An eigenvector has a part of 1/sqrt(p) in a random vector; products carry rounding.
    unseen = max(0.1 * null / operator.size**0.5, rounding)
    # Small eigenvalues lie close together: only small residuals tell their vectors apart.
    mapped = max(1e-3 * null, rounding)
    scale = 0.0
    while subspace.size < operator.size:
        _make_room(subspace, _BLOCK)
        added = subspace.include(random_block(operator.like, _BLOCK, seed + subspace.size))
        images = subspace.last_images(added)
        scale = max(scale, _norm(images))
        if subspace.size > added and _norm(images[subspace.size - added :]) <= unseen * scale:
            break
        while subspace.coupling_norm > mapped * scale:
            _make_room(subspace, _BLOCK)
            added = subspace.advance(_BLOCK)
            scale = max(scale, _norm(subspace.last_images(added)))
            if progress is not None:
                progress(subspace.size, operator.size, operator.products - before)
            if not added:
                break
    return subspace, scale


def _norm(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, 2)) if matrix.numel() else 0.0


def _rest(left: Tensor, subspace: Subspace, null: float) -> tuple[float, float] | None:
    """Where the eigenvalues lie that are not returned: those left out, and the null space."""
    outside = [-null, null] if subspace.size < subspace.operator.size else []
    bounds = [float(v) for v in left] + outside
    return (min(bounds), max(bounds)) if bounds else None
