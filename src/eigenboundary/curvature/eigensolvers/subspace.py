r"""A growing Krylov subspace, and what an iteration in it aims at.

With an orthonormal basis Q, :math:`T = Q^T A Q` and an orthonormal block F outside of Q, the
*frontier*,

.. math:: A Q = Q T + F C.

The residual of a Ritz pair (θ, Qs) is :math:`A Q s - \theta Q s = F C s`, so its norm is that of
the short vector Cs, and no image AQ has to be kept. Taking F into the basis costs a product a
column; what is left of AF outside of the basis is the next frontier.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eigenboundary.curvature.eigensolvers.dense import ends
from eigenboundary.curvature.eigensolvers.eigenpairs import residual_scale
from eigenboundary.curvature.operators.base import SymmetricOperator
from eigenboundary.runtime.linalg import (
    column_norms,
    eigh,
    inner,
    mixed,
    orthonormal_extension,
    remainder,
)

# A basis up to this size is kept in float64, which saves converting it in every sum.
_SMALL_BASIS_BYTES = 2**26


def kept_in_double(operator: SymmetricOperator, capacity: int) -> bool:
    """Whether a basis of so many vectors is kept in float64."""
    return 8 * operator.size * capacity <= operator.memory.at_any_time(_SMALL_BASIS_BYTES)


class Subspace:
    """An orthonormal basis Q, the projected matrix T = QᵀAQ, the frontier F and its coupling C.

    Parameters
    ----------
    operator : SymmetricOperator
    capacity : int
        Most vectors of the basis.
    avoid : Tensor, optional
        Orthonormal columns; A is then projected onto what is orthogonal to them.
    """

    def __init__(self, operator: SymmetricOperator, capacity: int, avoid: Tensor | None) -> None:
        self.operator, self.avoid = operator, avoid
        self.size = 0
        double = kept_in_double(operator, capacity)
        self.dtype = torch.float64 if double else operator.dtype
        self.capacity = capacity
        # One vector after the other in memory, as products want them.
        self._rows = torch.empty(capacity, operator.size, dtype=self.dtype, device=operator.device)
        self._projected = torch.zeros(capacity, capacity, dtype=torch.float64)
        self.frontier = self._rows.new_empty(operator.size, 0)
        self._coupling = torch.zeros(0, 0, dtype=torch.float64)

    @property
    def vectors(self) -> Tensor:
        return self._rows[: self.size].T

    @property
    def projected(self) -> Tensor:
        return self._projected[: self.size, : self.size]

    def grow_to(self, capacity: int) -> None:
        rows = torch.empty(
            capacity, self._rows.shape[1], dtype=self.dtype, device=self._rows.device
        )
        projected = torch.zeros(capacity, capacity, dtype=torch.float64)
        rows[: self.size] = self._rows[: self.size]
        projected[: self.size, : self.size] = self.projected
        self._rows, self._projected, self.capacity = rows, projected, capacity

    def include(self, block: Tensor) -> int:
        """Take what is new in ``block`` into the basis; returns how many directions that were."""
        block = orthonormal_extension(block.to(self.dtype), self._bases(self.vectors))
        block = block[:, : self.capacity - self.size]
        if not block.shape[1]:
            return 0
        others = orthonormal_extension(self.frontier, self._bases(self.vectors, block))
        turned = torch.cat([block, others], dim=1)
        self._coupling = inner(turned, self.frontier).cpu() @ self._coupling
        self.frontier = turned
        return self.advance(block.shape[1])

    def advance(self, columns: int) -> int:
        """Take the first columns of the frontier into the basis; returns how many there were."""
        chosen = self.frontier[:, : min(columns, self.capacity - self.size)]
        count = chosen.shape[1]
        if not count:
            return 0
        image = (self.operator @ chosen).to(self.dtype)
        if self.avoid is not None:
            image, _ = remainder(image, [self.avoid])
        start, end = self.size, self.size + count
        self._rows[start:end] = chosen.T
        # A is symmetric: what the image has of the basis is what the basis' images had of it.
        cross = self._coupling[:count].T
        left = self._without(image, cross)
        left, (corner, kept) = remainder(left, [self._rows[start:end].T, self.frontier[:, count:]])
        self.size = end
        self._projected[:start, start:end] = cross
        self._projected[start:end, :start] = cross.T
        self._projected[start:end, start:end] = (corner + corner.T) / 2
        self._renew(left, kept, image)
        return count

    def _without(self, block: Tensor, parts: Tensor) -> Tensor:
        """The block less its parts in the basis; those in all but the last vectors may be zero."""
        known = parts.abs().amax(1).nonzero()
        if not len(known):
            return block
        first = int(known[0])
        return block - (parts[first:].T.to(block) @ self._rows[first : self.size]).T

    def _renew(self, left: Tensor, kept: Tensor, image: Tensor) -> None:
        """The frontier after a step: what it had left, and what is left of the image."""
        count, old = left.shape[1], self.frontier[:, left.shape[1] :]
        shares = column_norms(left) / column_norms(image).clamp_min(1e-300)
        large = left[:, shares > 4 * torch.finfo(self.operator.dtype).eps]
        new = orthonormal_extension(large, self._bases(self.vectors, old))
        above = torch.cat([self._coupling[count:], kept], dim=1)
        below = torch.zeros(new.shape[1], self.size, dtype=torch.float64)
        below[:, self.size - count :] = inner(new, left).cpu()
        self.frontier = torch.cat([old, new], dim=1)
        self._coupling = torch.cat([above, below])

    def _bases(self, *bases: Tensor) -> list[Tensor]:
        return [*bases] if self.avoid is None else [self.avoid, *bases]

    def turn(self, coefficients: Tensor) -> None:
        """Order the frontier by how much of these Ritz vectors' residuals its columns hold."""
        rotation = torch.linalg.svd(self._coupling @ coefficients)[0]
        self.frontier = mixed(self.frontier, rotation)
        self._coupling = rotation.T @ self._coupling

    def drop(self, below: float) -> None:
        """Leave out of the frontier what no residual has more than this length of."""
        rotation, sizes, _ = torch.linalg.svd(self._coupling, full_matrices=False)
        rotation = rotation[:, sizes > below]
        self.frontier = mixed(self.frontier, rotation)
        self._coupling = rotation.T @ self._coupling

    def ritz(self) -> tuple[Tensor, Tensor]:
        """Ritz values, descending, and their coefficients (columns)."""
        return eigh(self.projected)

    def combine(self, coefficients: Tensor) -> Tensor:
        """Vectors of the subspace."""
        return mixed(self.vectors, coefficients)

    def coupled(self, coefficients: Tensor) -> Tensor:
        """Residuals of Ritz vectors in the basis F, (f, k)."""
        return self._coupling @ coefficients

    def residual_norms(self, coefficients: Tensor) -> Tensor:
        r"""Norms :math:`\|A q - \theta q\|` of Ritz vectors (outside of what is avoided)."""
        return torch.linalg.vector_norm(self.coupled(coefficients), dim=0)

    def last_images(self, count: int) -> Tensor:
        """Images of the last basis vectors by their coordinates in Q and F, (size + f, count)."""
        start = self.size - count
        return torch.cat([self.projected[:, start:], self._coupling[:, start:]])

    @property
    def coupling_norm(self) -> float:
        """Largest residual of a vector of the subspace."""
        coupling = self._coupling
        return float(torch.linalg.matrix_norm(coupling, 2)) if coupling.numel() else 0.0

    def images(self, values: Tensor, coefficients: Tensor, vectors: Tensor) -> Tensor:
        """Images of Ritz vectors, which :meth:`combine` gave."""
        residuals = mixed(self.frontier, self.coupled(coefficients))
        return residuals.to(vectors.dtype).addcmul_(vectors, values.to(vectors))

    def restart(self, values: Tensor, coefficients: Tensor) -> None:
        """Shrink the basis to the given Ritz vectors."""
        vectors = self.combine(coefficients)
        self.size = coefficients.shape[1]
        self._rows[: self.size] = vectors.T
        self._projected[: self.size, : self.size] = torch.diag(values)
        self._coupling = self._coupling @ coefficients


@dataclass(frozen=True)
class Plan:
    """What is wanted, and how large a basis may become."""

    k: int
    which: str
    tolerance: float
    guard: int
    block: int
    capacity: int
    capacity_limit: int
    max_products: int

    def wanted(self, size: int) -> Tensor:
        return ends(size, min(self.k, size), self.which)

    def guards(self, size: int) -> Tensor:
        if self.which != "largest":
            return torch.arange(0)
        return torch.arange(min(self.k, size), min(self.k + self.guard, size))

    def least(self, dimension: int) -> int:
        """Basis vectors without which there are too few Ritz pairs."""
        return min(dimension, self.k * (2 if self.which == "both" else 1) + self.guard)

    def kept(self, size: int) -> Tensor:
        """Ritz vectors that survive a restart: the wanted ones and as many again."""
        room = size // 2 if self.which != "both" else size // 4
        count = max(self.k + self.guard + self.block, min(room, size - 2 * self.block))
        return ends(size, min(count, size), self.which)

    def scale(self, values: Tensor) -> float:
        return residual_scale(values, self.which)
