"""A growing subspace with its images, and what an iteration in it aims at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eigenboundary.curvature.direct import ends
from eigenboundary.curvature.eigenpairs import residual_scale
from eigenboundary.curvature.linalg import inner, orthonormal_extension
from eigenboundary.curvature.operators import SymmetricOperator

__all__ = ["Plan", "Subspace"]


class Subspace:
    """An orthonormal basis Q, its images AQ and the projected matrix QᵀAQ."""

    def __init__(self, operator: SymmetricOperator, capacity: int, avoid: Tensor | None) -> None:
        self.operator = operator
        self.avoid = avoid
        self.size = 0
        self._allocate(capacity)

    def _allocate(self, capacity: int) -> None:
        shape, like = (self.operator.size, capacity), self.operator
        vectors = torch.empty(shape, dtype=like.dtype, device=like.device)
        images = torch.empty_like(vectors)
        projected = torch.zeros(capacity, capacity, dtype=torch.float64)
        if self.size:
            vectors[:, : self.size], images[:, : self.size] = self.vectors, self.images
            projected[: self.size, : self.size] = self.projected
        self._vectors, self._images, self._projected = vectors, images, projected
        self.capacity = capacity

    @property
    def vectors(self) -> Tensor:
        return self._vectors[:, : self.size]

    @property
    def images(self) -> Tensor:
        return self._images[:, : self.size]

    @property
    def projected(self) -> Tensor:
        return self._projected[: self.size, : self.size]

    def grow_to(self, capacity: int) -> None:
        self._allocate(capacity)

    def extend(self, block: Tensor) -> int:
        """Add the new directions of ``block``; returns how many there were."""
        bases = [self.vectors] if self.avoid is None else [self.avoid, self.vectors]
        block = orthonormal_extension(block, bases)[:, : self.capacity - self.size]
        if not block.shape[1]:
            return 0
        image = self.operator @ block
        start, self.size = self.size, self.size + block.shape[1]
        self._vectors[:, start : self.size] = block
        self._images[:, start : self.size] = image
        cross = inner(self.vectors, image).cpu()
        self._projected[: self.size, start : self.size] = cross
        self._projected[start : self.size, : self.size] = cross.T
        corner = cross[start:]
        self._projected[start : self.size, start : self.size] = (corner + corner.T) / 2
        return block.shape[1]

    def ritz(self) -> tuple[Tensor, Tensor]:
        """Ritz values, descending, and their coefficients (columns)."""
        values, coefficients = torch.linalg.eigh(self.projected)
        return values.flip(0), coefficients.flip(1)

    def combine(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of the subspace and their images."""
        weights = coefficients.to(self.operator.device, self.operator.dtype)
        return self.vectors @ weights, self.images @ weights

    def residuals(self, values: Tensor, coefficients: Tensor) -> Tensor:
        """Columns ``A q - θ q`` (outside the directions that are avoided)."""
        vectors, images = self.combine(coefficients)
        block = images - vectors * values.to(vectors.device, vectors.dtype)
        if self.avoid is not None:
            block = block - self.avoid @ inner(self.avoid, block).to(block.dtype)
        return block

    def restart(self, values: Tensor, coefficients: Tensor) -> None:
        """Shrink the basis to the given Ritz vectors."""
        vectors, images = self.combine(coefficients)
        self.size = coefficients.shape[1]
        self._vectors[:, : self.size], self._images[:, : self.size] = vectors, images
        self._projected[: self.size, : self.size] = torch.diag(values)


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
