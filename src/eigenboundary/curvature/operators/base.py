"""The abstract symmetric operator of every eigensolver, and an explicit matrix as one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from eigenboundary.runtime.arguments import check_instance
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.memory import Memory
from eigenboundary.runtime.precision import full_precision

_T = TypeVar("_T")
# With more vectors at once, chunks have too few samples to be efficient.
_MOST_VECTORS = 64
# Bytes of the vectors that are multiplied at once.
_BLOCK_BYTES = 2**28


class SymmetricOperator(ABC):
    """A symmetric p×p matrix A, known by its products with vectors.

    Attributes
    ----------
    size : int
        p.
    dtype, device
        Type and device of the vectors.
    products, expected : int
        Matrix-vector products computed so far, and the least number expected in all.
    memory : Memory
        The memory that may be used.
    flops : int
        Floating-point operations of a product, as far as they are counted.
    """

    name = "matrix"
    flops = 0

    def __init__(self, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self.size, self.dtype, self.device = size, dtype, device
        self.products = self.expected = 0
        self.memory = Memory()

    @property
    def shape(self) -> tuple[int, int]:
        """``(p, p)``."""
        return self.size, self.size

    @property
    def like(self) -> tuple[int, torch.dtype, torch.device]:
        """Size, type and device of the vectors."""
        return self.size, self.dtype, self.device

    @abstractmethod
    def _product(self, block: Tensor) -> Tensor:
        """Compute the product with a (p, k) block."""

    @full_precision()
    def __matmul__(self, vectors: Any) -> Tensor:
        """Compute ``A @ v`` for one vector (p,) or a block (p, k)."""
        block = torch.as_tensor(vectors).to(self.device, self.dtype)
        if block.ndim not in (1, 2) or block.shape[0] != self.size:
            wanted = f"have shape ({self.size},) or ({self.size}, k)"
            raise InvalidInputError("vectors", wanted, str(tuple(block.shape)))
        # Contiguous vectors are split into parameters without a copy.
        columns = (block.unsqueeze(1) if block.ndim == 1 else block).T.contiguous().T
        self.products += columns.shape[1]
        step = self.block_limit
        parts = [self._product(columns[:, i : i + step]) for i in range(0, columns.shape[1], step)]
        result = torch.cat(parts, dim=1) if parts else columns.clone()
        return result.squeeze(1) if block.ndim == 1 else result

    def expect(self, products: int) -> None:
        """Announce that at least so many further products will be computed."""
        self.expected = self.products + products

    def led(self, job: Callable[[], _T]) -> _T:
        """Return the value of a job that decides by products; see :meth:`Processes.led`."""
        return job()

    @property
    def block_limit(self) -> int:
        """Largest number of vectors to multiply at once."""
        most = self.memory.at_any_time(_BLOCK_BYTES) // 8
        return max(1, min(_MOST_VECTORS, most // self.size))

    def _identity_blocks(self) -> Any:
        step = self.block_limit
        for start in range(0, self.size, step):
            width = min(step, self.size - start)
            block = torch.zeros(self.size, width, dtype=self.dtype, device=self.device)
            block[torch.arange(start, start + width), torch.arange(width)] = 1
            yield start, self @ block

    def to_dense(self) -> Tensor:
        """Return the p×p matrix itself, symmetrised, by p products."""
        dense = torch.empty(self.size, self.size, dtype=self.dtype, device=self.device)
        for start, columns in self._identity_blocks():
            dense[:, start : start + columns.shape[1]] = columns
        return (dense + dense.T) / 2

    def trace(self) -> float:
        """Return tr A exactly, by p products and without a p×p matrix."""
        return sum(
            float(columns[start : start + columns.shape[1]].double().trace())
            for start, columns in self._identity_blocks()
        )


def check_operator(value: Any) -> None:
    """Check that the argument ``operator`` is a SymmetricOperator."""
    hint = ", e.g. HessianOperator(problem) or MatrixOperator(matrix)"
    check_instance(value, "operator", SymmetricOperator, hint=hint)


class FactoredOperator(SymmetricOperator):
    """A positive semi-definite matrix known by a factor, :math:`A = F^T F`."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """Number of rows of F."""

    @abstractmethod
    def factor_blocks(self, block_bytes: int) -> list[Callable[[], Tensor]]:
        """Return functions that compute blocks of rows of F, float64, of at most that size."""


class MatrixOperator(SymmetricOperator):
    """An explicit symmetric matrix as an operator.

    Parameters
    ----------
    matrix : Tensor or array, shape (p, p)

    Examples
    --------
    >>> import torch
    >>> MatrixOperator(torch.diag(torch.tensor([1.0, 2.0]))) @ torch.ones(2)
    tensor([1., 2.])
    """

    def __init__(self, matrix: Any) -> None:
        self.matrix = torch.as_tensor(matrix)
        if self.matrix.ndim != 2 or self.matrix.shape[0] != self.matrix.shape[1]:
            raise InvalidInputError("matrix", "have shape (p, p)", str(tuple(self.matrix.shape)))
        if not self.matrix.is_floating_point() or not torch.isfinite(self.matrix).all():
            raise InvalidInputError("matrix", "be real and finite")
        if not torch.allclose(self.matrix, self.matrix.T, rtol=1e-5, atol=1e-8):
            because = "it differs from its transpose"
            raise InvalidInputError("matrix", "be symmetric", because=because)
        super().__init__(len(self.matrix), self.matrix.dtype, self.matrix.device)

    def _product(self, block: Tensor) -> Tensor:
        return self.matrix @ block
