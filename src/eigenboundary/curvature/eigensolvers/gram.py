r"""Direct solvers: the dense matrix, and the Gram (dual) route for Gauss–Newton.

With :math:`\Lambda_s = S_s S_s^T` the Gauss–Newton matrix is :math:`G = F^T F / n`, where the nC
rows of F are :math:`S_s^T J_s`. Its non-null eigenpairs are those of the small Gram matrix
:math:`K = F F^T / n = U \,\mathrm{diag}(\lambda)\, U^T`:

.. math:: v_i = F^T u_i / \sqrt{n \lambda_i}.

K costs (nC)² p instead of p³, and F itself is only ever held in blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from eigenboundary.curvature.eigensolvers.eigenpairs import (
    Eigenpairs,
    checked_eigenpairs,
)
from eigenboundary.curvature.operators.base import SymmetricOperator
from eigenboundary.curvature.operators.hessian import GaussNewtonOperator
from eigenboundary.problem.derivatives import pullback
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.linalg import column_norms, eigh, orthonormal_extension, random_block

# Bytes for the rows of F that are held at once.
_BLOCK_BYTES = 2**28
# Largest Gram matrix to take apart where there is a choice.
_GRAM_ROWS = 3000


def gram_pays(problem: Problem) -> bool:
    """Whether F fits in a few blocks; with many, each is computed too often."""
    rows = problem.n_samples * problem.n_classes
    # Of F there are up to three copies at once, and of the Gram matrix.
    size = 24 * rows * max(rows, problem.n_parameters)
    return rows <= min(problem.n_parameters, _GRAM_ROWS) and (
        size <= problem.network.memory.at_most(6 * _BLOCK_BYTES)
    )


def gram_eigenpairs(
    operator: SymmetricOperator, k: int | None, *, tolerance: float, guard: int, seed: int
) -> Eigenpairs:
    """The k largest (default: all non-null) eigenpairs of a Gauss–Newton matrix.

    Where k exceeds the rank, orthonormal vectors of the null space follow.

    Raises
    ------
    InvalidInputError
        If the operator is no Gauss–Newton matrix, or its loss is not convex in the outputs.
    """
    if not isinstance(operator, GaussNewtonOperator):
        raise InvalidInputError(
            "operator", "be a GaussNewtonOperator for method 'gram'", type(operator).__name__
        )
    before = operator.products
    tolerance = max(tolerance, 1e2 * torch.finfo(operator.dtype).eps)
    problem = operator.problem
    values, coefficients = eigh(_gram_matrix(problem))
    # The rows of F carry their own precision's rounding, so no smaller eigenvalue is known.
    rounding = len(values) * torch.finfo(problem.dtype).eps ** 2
    floor = max(rounding, 1e-15 * len(values)) * max(float(values[0]), 0.0)
    rank = min(int((values > floor).sum()), operator.size)
    wanted = rank if k is None else min(k, rank)
    vectors = _orthonormal(_lift(problem, coefficients[:, :wanted])).to(operator.dtype)
    if k is not None and vectors.shape[1] < k:
        missing = k - vectors.shape[1]
        vectors = torch.cat(
            [vectors, _null_vectors(operator, problem, coefficients[:, :rank], missing, seed)],
            dim=1,
        )
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
        next_residuals=torch.zeros_like(after),
        rest=None if vectors.shape[1] == operator.size else (0.0, follows),
    )


def _orthonormal(columns: Tensor) -> Tensor:
    """Orthonormal columns; rounding is pushed to the later ones, of smaller eigenvalue."""
    return torch.linalg.qr(columns / column_norms(columns))[0]


def _null_vectors(
    operator: SymmetricOperator, problem: Problem, rows: Tensor, count: int, seed: int
) -> Tensor:
    """Random orthonormal vectors of the null space, the complement of F's row space."""
    row_space = _orthonormal(_lift(problem, rows)).to(operator.dtype)
    like = (operator.size, operator.dtype, operator.device)
    return orthonormal_extension(random_block(like, count, seed), [row_space])


def _row_blocks(problem: Problem) -> list[tuple[Tensor, Tensor]]:
    """Training batches small enough for their rows of F to be held twice."""
    itemsize = torch.finfo(problem.dtype).bits // 8
    row_bytes = problem.n_classes * problem.n_parameters * max(itemsize, 8)
    block_bytes = problem.network.memory.at_most(_BLOCK_BYTES)
    return list(problem.samples.batches(max(1, block_bytes // (2 * row_bytes))))


def _factor_rows(problem: Problem, x: Tensor, y: Tensor) -> Tensor:
    r"""Rows :math:`S_s^T J_s / \sqrt n` of F for one batch, float64, shape (bC, p)."""
    outputs = problem.network.evaluate(x)
    squares, basis = eigh(problem.loss.output_hessian(outputs, y))
    if float(squares.min()) < -1e-6 * float(squares.abs().max()):
        raise InvalidInputError(
            "loss",
            "be convex in the outputs for method 'gram'",
            because=f"{problem.loss.name!r} is not (use method 'krylov')",
        )
    roots = basis * squares.clamp_min(0).sqrt().unsqueeze(1)
    # Scaled rows keep the curvature of confident samples above float32's underflow.
    size = roots.abs().amax((1, 2), keepdim=True).clamp_min(1e-300)
    rows = pullback(problem.network, x, (roots / size).transpose(1, 2).to(outputs.dtype))
    return (rows.double() * size).flatten(0, 1) / problem.n_samples**0.5


def _gram_matrix(problem: Problem) -> Tensor:
    blocks = _row_blocks(problem)
    gram: list[list[Tensor]] = []
    for i, (x, y) in enumerate(blocks):
        rows = _factor_rows(problem, x, y)
        left = [_factor_rows(problem, *blocks[j]) @ rows.T for j in range(i)]
        gram.append([*left, rows @ rows.T])
    n_blocks = len(blocks)
    full = [
        [gram[j][i] if i <= j else gram[i][j].T for j in range(n_blocks)] for i in range(n_blocks)
    ]
    return torch.cat([torch.cat(row, dim=1) for row in full])


def _lift(problem: Problem, coefficients: Tensor) -> Tensor:
    """Columns ``F^T u`` for each column u of the coefficients."""
    lifted = torch.zeros(
        problem.n_parameters, coefficients.shape[1], dtype=torch.float64, device=problem.device
    )
    start = 0
    for x, y in _row_blocks(problem):
        rows = _factor_rows(problem, x, y)
        lifted += rows.T @ coefficients[start : start + len(rows)]
        start += len(rows)
    return lifted
