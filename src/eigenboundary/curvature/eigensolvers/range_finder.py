r"""All numerically non-null eigenpairs, or as many as are needed, from one growing subspace.

A block Krylov space with a random start grows until its frontier is rounding. The image of a fresh
random block then tells whether the space lacks anything; an image larger than rounding makes it
grow on (Halko, Martinsson & Tropp 2011, sec. 4.3 on what a random block fails to see).
Rayleigh–Ritz in the space gives every eigenpair outside the numerical null space, without further
products.

Where not all pairs are needed, the caller looks at the leading pairs from time to time and says
when they are enough. By then no eigenvalue is missed that is repeated no more often than the block
is wide.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from eigenboundary.curvature.eigensolvers.eigenpairs import (
    RESULT_COPIES,
    Eigenpairs,
    checked_eigenpairs,
)
from eigenboundary.curvature.eigensolvers.krylov import Progress, computed_images
from eigenboundary.curvature.eigensolvers.outcome import CONVERGED, Ending, Outcome
from eigenboundary.curvature.eigensolvers.subspace import Subspace, kept_in_double
from eigenboundary.curvature.operators.base import SymmetricOperator
from eigenboundary.runtime.linalg import random_block

_log = logging.getLogger(__name__)

_BLOCK = 64
# Factor by which the space grows from one look at the leading pairs to the next.
_LOOK = 1.2


@dataclass(frozen=True)
class LeadingPairs:
    """The Ritz pairs of largest size in a growing subspace, by their coordinates in its basis.

    Attributes
    ----------
    basis : Tensor, shape (p, m)
        Orthonormal; columns are added to it from one look to the next.
    coefficients : Tensor of float64, shape (m, k)
    values, norms : Tensor of float64, shape (k,)
        Ritz values, descending, and bounds on the norms of their residuals, rounding included.
    rest : (float, float) or None
        Interval that holds all other eigenvalues, as far as is known.
    """

    basis: Tensor
    coefficients: Tensor
    values: Tensor
    norms: Tensor
    rest: tuple[float, float] | None


#: Whether the leading pairs are enough.
Enough = Callable[[LeadingPairs], bool]


def range_eigenpairs(
    operator: SymmetricOperator,
    k: int | None,
    *,
    tolerance: float,
    null: float,
    guard: int,
    seed: int,
    progress: Progress | None,
    start: Tensor | None,
    max_products: int | None,
    enough: Enough | None,
) -> Eigenpairs:
    """Compute the top k eigenpairs, or all whose eigenvalue exceeds ``null`` times the largest.

    It ends early when ``enough`` says so, and after ``max_products`` or Ctrl-C with the pairs that
    have converged, but at least one.
    """
    before = operator.products
    growth = _Growth(operator, tolerance, null, start, seed)
    ending = growth.run(progress, max_products, enough)
    if k is not None:
        growth.fill(k)
    found, after = growth.leading(k)
    subspace, weights = growth.subspace, found.coefficients
    vectors = subspace.combine(weights).to(operator.dtype)
    images = subspace.images(found.values, weights, vectors)
    size = growth.tolerance * growth.scale
    return checked_eigenpairs(
        operator,
        vectors,
        images=computed_images(operator, vectors, images, size),
        tolerance=growth.tolerance,
        method="range",
        products_before=before,
        ending=ending,
        trusted=k is None or growth.complete,
        next_values=after[:guard],
        rest=found.rest,
    )


class _Growth:
    """A subspace that grows until A maps it into itself and only null vectors lie outside.

    Pairs have converged with residuals of ``tolerance`` times the norm of A, and eigenvalues are
    null up to ``null`` times the norm; both are at least rounding.
    """

    def __init__(
        self,
        operator: SymmetricOperator,
        tolerance: float,
        null: float,
        start: Tensor | None,
        seed: int,
    ) -> None:
        rounding = torch.finfo(operator.dtype).eps
        self.operator, self.seed, self.scale, self.complete = operator, seed, 0.0, False
        self.tolerance, self.null = max(tolerance, 1e2 * rounding), max(null, 1e2 * rounding)
        # A random vector has a part of 1/sqrt(p) in an eigenvector; products carry rounding.
        self._unseen = max(0.1 * self.null / operator.size**0.5, 4 * rounding)
        # Small eigenvalues are close together: only small residuals tell their vectors apart.
        self._mapped = max(1e-3 * self.null, 4 * rounding)
        self._most = _most(operator)
        self.subspace = Subspace(operator, min(self._most, 8 * _BLOCK), None)
        self._start, self._before, self._looked = start, operator.products, 0

    def run(
        self, progress: Progress | None, max_products: int | None, enough: Enough | None
    ) -> Ending:
        """Grow until only null vectors lie outside, or an earlier end."""
        self.operator.expect(8 * _BLOCK)
        subspace = self.subspace
        try:
            while subspace.size < self.operator.size:
                if self._full(_BLOCK):
                    return self._too_large()
                if not self._found_more():
                    break
                while subspace.coupling_norm > self._mapped * self.scale:
                    used = self.operator.products - self._before
                    if progress is not None:
                        progress(subspace.size, self.operator.size, used)
                    if enough is not None and self._suffices(enough):
                        return CONVERGED
                    if max_products is not None and used >= max_products:
                        return Ending(Outcome.BUDGET_SPENT, f"stopped after {used} products")
                    if self._full(_BLOCK):
                        return self._too_large()
                    self._make_room(_BLOCK)
                    if not self._see(subspace.advance(_BLOCK)):
                        break
        except KeyboardInterrupt:
            if not self.subspace.size:
                raise
            _log.warning("interrupted: returning the eigenpairs found so far")
            return Ending(Outcome.INTERRUPTED)
        self.complete = True
        return CONVERGED

    def fill(self, k: int) -> None:
        """Include vectors of the null space if there are fewer than k others."""
        missing = min(k, self._most) - self.subspace.size
        if missing > 0:
            self._make_room(missing)
            seed = self.seed - 1 if self.seed else 2**31
            self.subspace.include(random_block(self.operator.like, missing, seed))

    def leading(self, k: int | None = None) -> tuple[LeadingPairs, Tensor]:
        """Return the top k pairs and the values that follow, or all known non-null pairs."""
        values, coefficients = self.subspace.ritz()
        sizes, norms = values.abs(), self.subspace.residual_norms(coefficients)
        if k is not None:
            kept = torch.arange(len(values)) < k
        elif self.complete:
            kept = sizes > self.null * self.scale
        else:
            unknown = sizes[norms > self.tolerance * self.scale]
            kept = sizes > (float(unknown.max()) if len(unknown) else 0.0)
        rest = self._rest(values[~kept], norms[~kept])
        if not kept.any() and len(values) and not self.complete:
            # The largest pair, of which little is known yet.
            kept, rest = sizes >= sizes.max(), (-math.inf, math.inf)
        hidden = 10 * torch.finfo(self.operator.dtype).eps * self.scale
        found = LeadingPairs(
            self.subspace.vectors, coefficients[:, kept], values[kept], norms[kept] + hidden, rest
        )
        return found, values[~kept] if k is not None else values[:0]

    def _found_more(self) -> bool:
        """Include a random block, and return whether its image had a part outside the space."""
        subspace = self.subspace
        block = random_block(self.operator.like, _BLOCK, self.seed + subspace.size)
        if self._start is not None and not subspace.size:
            known = self._start
            if self._most < self.operator.size:
                known = known[:, : self._most - _BLOCK]
            block = torch.cat([known.to(block), block], dim=1)
        self._make_room(block.shape[1])
        added = subspace.include(block)
        self._see(added)
        outside = subspace.last_images(added)[subspace.size - added :]
        return subspace.size == added or _norm(outside) > self._unseen * self.scale

    def _see(self, added: int) -> int:
        self.scale = max(self.scale, _norm(self.subspace.last_images(added)))
        return added

    def _suffices(self, enough: Enough) -> bool:
        if self.subspace.size < _LOOK * self._looked:
            return False
        self._looked = self.subspace.size
        found, _ = self.leading()
        return enough(found)

    def _make_room(self, columns: int) -> None:
        subspace = self.subspace
        if subspace.size + columns > subspace.capacity:
            room = max(2 * subspace.capacity, subspace.size + columns)
            subspace.grow_to(min(self._most, room))

    def _full(self, columns: int) -> bool:
        """Tell whether a memory limit leaves no room for so many more vectors."""
        return self.subspace.size + columns > self._most < self.operator.size

    def _too_large(self) -> Ending:
        details = f"memory_limit holds no more than {self.subspace.size} of its vectors"
        return Ending(Outcome.OUT_OF_MEMORY, details)

    def _rest(self, values: Tensor, norms: Tensor) -> tuple[float, float] | None:
        """Return an interval of the eigenvalues outside the leading pairs."""
        null = self.null * self.scale
        bounds = [-null, null] if self.subspace.size < self.operator.size else []
        if self.complete:
            bounds += values.tolist()
        elif len(values):
            largest = float((values.abs() + norms).max())
            bounds += [-largest, largest]
        return (min(bounds), max(bounds)) if bounds else None


def _most(operator: SymmetricOperator) -> int:
    """Return the number of basis vectors that fit in memory beside the eigenvectors."""
    double = kept_in_double(operator, min(operator.size, 8 * _BLOCK))
    vector = operator.size * (8 if double else operator.dtype.itemsize)
    room = operator.memory.room(vector)
    if room is None:
        return operator.size
    copies = 1 + RESULT_COPIES
    most = min(operator.size, max(room // copies, 4 * _BLOCK))
    operator.memory.plan(most * copies, vector, f"all eigenpairs of {operator.size:,} parameters")
    return most


def _norm(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, 2)) if matrix.numel() else 0.0
