"""Linear algebra of tall matrices, with sums in float64 for vectors of any precision."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from eigenboundary.runtime.errors import InvalidInputError

_ROWS, _SHORT = 2**12, 2**8
# Entries of a block that are converted to float64 at once.
_ENTRIES = 2**22


def inner(left: Tensor, right: Tensor) -> Tensor:
    """Compute ``left.T @ right`` in float64: (p, a) and (p, b) give (a, b).

    float32 sums over a million entries would lose the digits of small eigenvalues. Sums over a few
    thousand entries do not, and these are added in float64.
    """
    if left.dtype != right.dtype:
        left, right = left.double(), right.double()
    whole = 0 if left.dtype == torch.float64 else left.shape[0] // _ROWS * _ROWS
    # The narrow factor first is twice as fast in float64.
    total = (right[whole:].T @ left[whole:]).T.double()
    if whole:
        one = left[:whole].T.unflatten(1, (-1, _ROWS)).transpose(0, 1)
        other = right[:whole].T.unflatten(1, (-1, _ROWS)).permute(1, 2, 0)
        total += torch.bmm(one, other).double().sum(0)
    return total


def column_norms(block: Tensor) -> Tensor:
    """Compute the Euclidean norm of each column in float64, without underflow or overflow."""
    if block.dtype == torch.float32 and block.shape[0] >= 2 * _ROWS:
        fast = _norms_by_blocks(block)
        if bool(((fast > 1e-12) & (fast < 1e12)).all()):
            return fast
    norms = torch.linalg.vector_norm(block, dim=0, dtype=torch.float64)
    # Only squares of float64 entries can leave the range of float64.
    usual = (norms > 1e-140) & (norms < 1e140)
    if block.dtype == torch.float64 and block.numel() and not usual.all():
        largest = block.abs().amax(0)
        safe = torch.where(largest > 0, largest, torch.ones_like(largest))
        norms = safe * torch.linalg.vector_norm(block / safe, dim=0)
    return norms


def _norms_by_blocks(block: Tensor) -> Tensor:
    """Compute norms of long columns from norms of a few hundred entries in their precision."""
    whole = block.shape[0] // _SHORT * _SHORT
    parts = torch.linalg.vector_norm(block[:whole].T.unflatten(1, (-1, _SHORT)), dim=2)
    rest = torch.linalg.vector_norm(block[whole:], dim=0, dtype=torch.float64)
    return torch.linalg.vector_norm(torch.cat([parts.T.double(), rest.unsqueeze(0)]), dim=0)


def column_products(left: Tensor, right: Tensor) -> Tensor:
    """Compute inner products of the columns of two blocks in float64."""
    step = max(1, _ENTRIES // max(left.shape[0], 1))
    blocks = zip(left.split(step, dim=1), right.split(step, dim=1), strict=True)
    return torch.cat([(one.double() * other.double()).sum(0) for one, other in blocks])


def mixed(block: Tensor, coefficients: Tensor) -> Tensor:
    """Compute combinations ``block @ coefficients`` as contiguous columns."""
    return (coefficients.to(block).T @ block.T).T


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Compute descending eigenvalues and eigenvectors of symmetric (…, m, m) matrices, float64.

    In float32 LAPACK's divide and conquer returns NaN or fails on some finite matrices with many
    zero rows, such as Hessians of networks with dead units. A matrix with NaN or inf raises
    InvalidInputError.
    """
    matrix = _finite_double(matrix)
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        values = vectors = matrix.new_full((), torch.nan)
    if not (_finite(values) and _finite(vectors)):
        values, vectors = _eigh_by_qr(matrix)
    return values.flip(-1), vectors.flip(-1)


def eigvalsh(matrix: Tensor) -> Tensor:
    """Compute descending eigenvalues of a symmetric (m, m) matrix as :func:`eigh`."""
    matrix = _finite_double(matrix)
    try:
        values = torch.linalg.eigvalsh(matrix)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        values = matrix.new_full((), torch.nan)
    return (values if _finite(values) else _eigh_by_qr(matrix)[0]).flip(-1)


def _finite_double(matrix: Tensor) -> Tensor:
    if not _finite(matrix):
        got = "products that hold NaN or inf (dtype='float64' has a larger range)"
        raise InvalidInputError("curvature", "be finite at these weights", got)
    return matrix.double()


def _finite(tensor: Tensor) -> bool:
    """Tell whether all entries are finite; a finite sum, which is fast, settles it."""
    return math.isfinite(tensor.sum()) or bool(tensor.isfinite().all())


def _eigh_by_qr(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Compute ascending eigenvalues and eigenvectors by LAPACK's slower QR iteration."""
    size = matrix.shape[-1]
    matrices = matrix.reshape(-1, size, size).cpu().numpy()
    pairs = [scipy.linalg.eigh(each, driver="ev") for each in matrices]
    values, vectors = (
        torch.from_numpy(np.stack(part)).to(matrix) for part in zip(*pairs, strict=True)
    )
    return values.reshape(matrix.shape[:-1]), vectors.reshape(matrix.shape)


def random_block(like: tuple[int, torch.dtype, torch.device], k: int, seed: int) -> Tensor:
    """Draw standard normal columns, the same on every device for one seed."""
    size, dtype, device = like
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, k, dtype=torch.float64, generator=generator).to(device, dtype)


def remainder(block: Tensor, bases: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return the part of ``block`` orthogonal to orthonormal ``bases``, and its parts in each.

    The parts, (a, b) for a basis (p, a), are on the CPU in float64.
    """
    parts = []
    for basis in bases:
        part = inner(basis, block)
        if basis.shape[1]:
            block = block - (part.to(block.dtype).T @ basis.to(block.dtype).T).T
        parts.append(part.cpu().double())
    return block, parts


def orthonormal_extension(block: Tensor, bases: Sequence[Tensor]) -> Tensor:
    """Return an orthonormal basis of the directions that ``block`` adds to orthonormal ``bases``.

    Directions within rounding are left out, so the result may have fewer columns than ``block``,
    even none.
    """
    norms = column_norms(block)
    # Division in float64: a tiny column's norm may be zero in its own precision.
    block, _ = _orthonormal((block[:, norms > 0] / norms[norms > 0]).to(block.dtype))
    for _ in range(3):  # "twice is enough"; the third follows left-out directions
        block, least = _orthonormal(remainder(block, bases)[0])
        if least > 0.25:
            break
    return block


def _orthonormal(block: Tensor) -> tuple[Tensor, float]:
    """Return an orthonormal basis of the span, and the least squared length in it."""
    tiny = 1e-10 if block.dtype == torch.float64 else 1e-5
    # Symmetric orthonormalisation tells directions from rounding.
    squares, rotation = eigh(inner(block, block).cpu())
    kept = squares > tiny**2
    if not kept.any():
        return block[:, :0], 1.0
    squares = squares[kept]
    return mixed(block, rotation[:, kept] / squares.sqrt()), float(squares[-1])


def fix_signs(vectors: Tensor) -> Tensor:
    """Return columns with the signs that make their largest entries positive."""
    step = max(1, _ENTRIES // max(vectors.shape[0], 1))
    largest = [part.abs().argmax(0, keepdim=True) for part in vectors.split(step, dim=1)]
    return vectors * vectors.gather(0, torch.cat(largest, dim=1)).sign()
