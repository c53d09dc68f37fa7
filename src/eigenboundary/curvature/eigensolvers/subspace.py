r"""A growing Krylov subspace, and the plan of an iteration in it.

With an orthonormal basis Q, :math:`T = Q^T A Q` and an orthonormal block F orthogonal to Q, the
*frontier*,

.. math:: A Q = Q T + F C.

The residual of a Ritz pair (θ, Qs) is :math:`A Q s - \theta Q s = F C s`. Its norm is that of the
short vector Cs, so no image AQ is stored. Taking F into the basis costs one product a column; the
part of AF orthogonal to the basis is the next frontier.
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

# A basis up to this size is stored in float64, which saves converting it in every sum.
_SMALL_BASIS_BYTES = 2**26


def kept_in_double(operator: SymmetricOperator, capacity: int) -> bool:
    """Tell whether a basis of so many vectors is stored in float64."""
    return 8 * operator.size * capacity <= operator.memory.at_any_time(_SMALL_BASIS_BYTES)


class Subspace:
    """An orthonormal basis Q, the projected matrix T = QᵀAQ, the frontier F and its coupling C.

    Parameters
    ----------
    operator : SymmetricOperator
    capacity : int
        Largest number of basis vectors.
    avoid : Tensor, optional
        Orthonormal columns; A is then projected onto their orthogonal complement.
    """

    def __init__(self, operator: SymmetricOperator, capacity: int, avoid: Tensor | None) -> None:
        self.operator, self.avoid = operator, avoid
        self.size = 0
        self.dtype = torch.float64 if kept_in_double(operator, capacity) else operator.dtype
        self.capacity = capacity
        # Each vector is contiguous in memory, as products want it.
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
        rows = self._rows.new_empty(capacity, self._rows.shape[1])
        projected = self._projected.new_zeros(capacity, capacity)
        rows[: self.size] = self._rows[: self.size]
        projected[: self.size, : self.size] = self.projected
        self._rows, self._projected, self.capacity = rows, projected, capacity

    def include(self, block: Tensor) -> int:
        """Take the new directions of ``block`` into the basis, and return their number."""
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
        """Take the first columns of the frontier into the basis, and return their number."""
        chosen = self.frontier[:, : min(columns, self.capacity - self.size)]
        count = chosen.shape[1]
        if not count:
            return 0
        image = (self.operator @ chosen).to(self.dtype)
        if self.avoid is not None:
            image, _ = remainder(image, [self.avoid])
        start, end = self.size, self.size + count
        self._rows[start:end] = chosen.T
        # A is symmetric: the image's parts in the basis are those of the basis' images in it.
        cross, left = self._coupling[:count].T, image
        # Coefficients in all but the last basis vectors may be zero.
        known = cross.abs().amax(1).nonzero()
        if len(known):
            first = int(known[0])
            left = image - (cross[first:].T.to(image) @ self._rows[first : self.size]).T
        left, (corner, kept) = remainder(left, [self._rows[start:end].T, self.frontier[:, count:]])
        self.size = end
        self._projected[:start, start:end] = cross
        self._projected[start:end, :start] = cross.T
        self._projected[start:end, start:end] = (corner + corner.T) / 2
        self._renew(left, kept, image)
        return count

    def _renew(self, left: Tensor, kept: Tensor, image: Tensor) -> None:
        """Join the rest of the frontier and the new part of the image to the next frontier."""
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
        """Order the frontier by its columns' shares of these Ritz vectors' residuals."""
        self._rotate(torch.linalg.svd(self._coupling @ coefficients)[0])

    def drop(self, below: float) -> None:
        """Drop directions of the frontier in which no residual is longer than this."""
        rotation, sizes, _ = torch.linalg.svd(self._coupling, full_matrices=False)
        self._rotate(rotation[:, sizes > below])

    def _rotate(self, rotation: Tensor) -> None:
        self.frontier = mixed(self.frontier, rotation)
        self._coupling = rotation.T @ self._coupling

    def ritz(self) -> tuple[Tensor, Tensor]:
        """Return the Ritz values, descending, and their coefficients (columns)."""
        return eigh(self.projected)

    def combine(self, coefficients: Tensor) -> Tensor:
        """Return vectors of the subspace by their coefficients."""
        return mixed(self.vectors, coefficients)

    def coupled(self, coefficients: Tensor) -> Tensor:
        """Return residuals of Ritz vectors in the basis F, (f, k)."""
        return self._coupling @ coefficients

    def residual_norms(self, coefficients: Tensor) -> Tensor:
        r"""Return norms :math:`\|A q - \theta q\|` of Ritz vectors, for the projected A."""
        return torch.linalg.vector_norm(self.coupled(coefficients), dim=0)

    def last_images(self, count: int) -> Tensor:
        """Return images of the last basis vectors in coordinates of Q and F, (size + f, count)."""
        start = self.size - count
        return torch.cat([self.projected[:, start:], self._coupling[:, start:]])

    @property
    def coupling_norm(self) -> float:
        """Largest residual of a unit vector of the subspace."""
        coupling = self._coupling
        return float(torch.linalg.matrix_norm(coupling, 2)) if coupling.numel() else 0.0

    def images(self, values: Tensor, coefficients: Tensor, vectors: Tensor) -> Tensor:
        """Return images of Ritz vectors that :meth:`combine` gave."""
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
    """The wanted pairs, and the sizes that a basis may have."""

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
        """Return the number of basis vectors below which there are too few Ritz pairs."""
        return min(dimension, self.k * (2 if self.which == "both" else 1) + self.guard)

    def kept(self, size: int) -> Tensor:
        """Return the Ritz vectors that survive a restart: the wanted ones and as many again."""
        room = size // 2 if self.which != "both" else size // 4
        count = max(self.k + self.guard + self.block, min(room, size - 2 * self.block))
        return ends(size, min(count, size), self.which)

    def scale(self, values: Tensor) -> float:
        return residual_scale(values, self.which)
