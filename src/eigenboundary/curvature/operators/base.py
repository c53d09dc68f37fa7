"""The symmetric operator that every eigensolver sees, and a matrix as one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.memory import Memory
from eigenboundary.runtime.precision import full_precision

_T = TypeVar("_T")
# More vectors at once leave too few samples a chunk to be worth it.
_MOST_VECTORS = 64
# The vectors that are multiplied at once.
_BLOCK_BYTES = 2**28


class SymmetricOperator(ABC):
    """A symmetric p×p matrix A, known by its products.

    Attributes
    ----------
    size : int
        p.
    dtype, device
        Of the vectors it is applied to.
    products, expected : int
        Matrix-vector products computed so far, and how many it will be at least.
    memory : Memory
        What may be held at once.
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
        """What vectors that it can be applied to are like."""
        return self.size, self.dtype, self.device

    @abstractmethod
    def _product(self, block: Tensor) -> Tensor:
        """The product with a (p, k) block."""

    @full_precision()
    def __matmul__(self, vectors: Any) -> Tensor:
        """``A @ v`` for one vector (p,) or a block (p, k)."""
        block = torch.as_tensor(vectors).to(self.device, self.dtype)
        if block.ndim not in (1, 2) or block.shape[0] != self.size:
            raise InvalidInputError(
                "vectors", f"have shape ({self.size},) or ({self.size}, k)", f"{tuple(block.shape)}"
            )
        # One vector after the other in memory: what splits it into parameters then copies nothing.
        columns = (block.unsqueeze(1) if block.ndim == 1 else block).T.contiguous().T
        self.products += columns.shape[1]
        step = self.block_limit
        parts = [self._product(columns[:, i : i + step]) for i in range(0, columns.shape[1], step)]
        result = torch.cat(parts, dim=1) if parts else columns.clone()
        return result.squeeze(1) if block.ndim == 1 else result

    def expect(self, products: int) -> None:
        """Say that at least so many products are going to be asked for."""
        self.expected = self.products + products

    def led(self, job: Callable[[], _T]) -> _T:
        """The value of a job that takes decisions on products; see :meth:`Processes.led`."""
        return job()

    @property
    def block_limit(self) -> int:
        """Most vectors to multiply at once."""
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
        """The p×p matrix itself, symmetrised: p products."""
        dense = torch.empty(self.size, self.size, dtype=self.dtype, device=self.device)
        for start, columns in self._identity_blocks():
            dense[:, start : start + columns.shape[1]] = columns
        return (dense + dense.T) / 2

    def trace(self) -> float:
        """tr A exactly, by p products; no p×p matrix is stored."""
        return sum(
            float(columns[start : start + columns.shape[1]].double().trace())
            for start, columns in self._identity_blocks()
        )


class FactoredOperator(SymmetricOperator):
    """A positive semi-definite matrix known by a factor, :math:`A = F^T F`."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """Number of rows of F."""

    @abstractmethod
    def factor_blocks(self, block_bytes: int) -> list[Callable[[], Tensor]]:
        """Functions that compute blocks of rows of F in float64, of at most so many bytes each."""


class MatrixOperator(SymmetricOperator):
    """A symmetric matrix that is there, as an operator.

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
            raise InvalidInputError("matrix", "have shape (p, p)", f"{tuple(self.matrix.shape)}")
        if not self.matrix.is_floating_point() or not torch.isfinite(self.matrix).all():
            raise InvalidInputError("matrix", "be real and finite")
        if not torch.allclose(self.matrix, self.matrix.T, rtol=1e-5, atol=1e-8):
            raise InvalidInputError(
                "matrix", "be symmetric", because="it differs from its transpose"
            )
        super().__init__(len(self.matrix), self.matrix.dtype, self.matrix.device)

    def _product(self, block: Tensor) -> Tensor:
        return self.matrix @ block
