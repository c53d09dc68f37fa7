r"""Eigenpairs of :math:`A = F^T F` from the small Gram matrix :math:`F F^T`.

The non-null eigenpairs of A are those of :math:`K = F F^T = U \,\mathrm{diag}(\lambda)\, U^T`:

.. math:: v_i = F^T u_i / \sqrt{\lambda_i}.

The factor of a Gauss–Newton matrix has nC rows, so K costs (nC)² p operations instead of p³. Only
blocks of F are held at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from eigenboundary.curvature.eigensolvers.eigenpairs import Eigenpairs, checked_eigenpairs
from eigenboundary.curvature.operators.base import FactoredOperator, SymmetricOperator
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.linalg import column_norms, eigh, orthonormal_extension, random_block

# Bytes for the rows of F that are held at once.
_BLOCK_BYTES = 2**28
# Largest Gram matrix to decompose where there is a choice.
_GRAM_ROWS = 3000


def gram_pays(operator: FactoredOperator) -> bool:
    """Tell whether F fits in a few blocks; with many, each is computed too often."""
    # Up to three copies of F, and of the Gram matrix, exist at once.
    bytes_at_once = 24 * operator.rows * max(operator.rows, operator.size)
    return operator.rows <= min(operator.size, _GRAM_ROWS) and (
        bytes_at_once <= operator.memory.at_most(6 * _BLOCK_BYTES)
    )


def gram_eigenpairs(
    operator: SymmetricOperator, k: int | None, *, tolerance: float, guard: int, seed: int
) -> Eigenpairs:
    """Compute the k largest (default: all non-null) eigenpairs of a Gauss–Newton matrix.

    Where k exceeds the rank, orthonormal vectors of the null space follow. An operator without a
    factor, or with a loss that is not convex in the outputs, raises InvalidInputError.
    """
    if not isinstance(operator, FactoredOperator):
        need = "be a GaussNewtonOperator for method 'gram'"
        raise InvalidInputError("operator", need, type(operator).__name__)
    before = operator.products
    tolerance = max(tolerance, 1e2 * torch.finfo(operator.dtype).eps)
    blocks = operator.factor_blocks(operator.memory.at_most(_BLOCK_BYTES) // 2)
    values, coefficients = eigh(_gram_matrix(blocks))
    # The rows of F carry the rounding of their own precision, so no smaller eigenvalue is known.
    rounding = len(values) * torch.finfo(operator.dtype).eps ** 2
    floor = max(rounding, 1e-15 * len(values)) * max(float(values[0]), 0.0)
    rank = min(int((values > floor).sum()), operator.size)
    wanted = rank if k is None else min(k, rank)
    vectors = _orthonormal(_lift(blocks, coefficients[:, :wanted], operator.size))
    vectors = vectors.to(operator.dtype)
    if k is not None and vectors.shape[1] < k:
        # Random orthonormal vectors in the complement of F's row space.
        row_space = _orthonormal(_lift(blocks, coefficients[:, :rank], operator.size))
        drawn = random_block(operator.like, k - vectors.shape[1], seed)
        null = orthonormal_extension(drawn, [row_space.to(operator.dtype)])
        vectors = torch.cat([vectors, null], dim=1)
    follows = float(values[wanted]) if wanted < rank else 0.0
    n_next = min(guard, operator.size - vectors.shape[1])
    after = torch.nn.functional.pad(values.clamp_min(0), (0, n_next))[vectors.shape[1] :][:n_next]
    return checked_eigenpairs(
        operator,
        vectors,
        tolerance=tolerance,
        method="gram",
        products_before=before,
        next_values=after,
        rest=None if vectors.shape[1] == operator.size else (0.0, follows),
    )


def _orthonormal(columns: Tensor) -> Tensor:
    """Return orthonormal columns; the later ones, of smaller eigenvalue, take the rounding."""
    return torch.linalg.qr(columns / column_norms(columns))[0]


def _gram_matrix(blocks: list[Callable[[], Tensor]]) -> Tensor:
    gram: list[list[Tensor]] = []
    for i, block in enumerate(blocks):
        rows = block()
        gram.append([*(blocks[j]() @ rows.T for j in range(i)), rows @ rows.T])
    count = range(len(blocks))
    full = [[gram[j][i] if i <= j else gram[i][j].T for j in count] for i in count]
    return torch.cat([torch.cat(row, dim=1) for row in full])


def _lift(blocks: list[Callable[[], Tensor]], coefficients: Tensor, size: int) -> Tensor:
    """Compute columns ``F^T u`` of that size for each column u of the coefficients."""
    lifted, start = coefficients.new_zeros(size, coefficients.shape[1]), 0
    for block in blocks:
        rows = block()
        lifted += rows.T @ coefficients[start : start + len(rows)]
        start += len(rows)
    return lifted
