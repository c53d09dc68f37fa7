r"""Thick-restart block Krylov iteration for the ends of the spectrum.

The Lanczos iteration with full reorthogonalisation, whose restarts keep all that was learnt (Wu &
Simon 2000). The subspace grows by the residuals of the leading pairs that have not converged. The
residuals of the result are computed from products; where they exceed the iteration's own, they are
taken into the subspace and the iteration goes on.

A Krylov space can miss copies of a repeated eigenvalue. Once the pairs have converged, a second
iteration with a fresh random start therefore looks for more
(:mod:`eigenboundary.curvature.eigensolvers.missed`), and what it finds above the smallest returned
eigenvalue is taken into the subspace.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from eigenboundary.curvature.eigensolvers.eigenpairs import (
    RESULT_COPIES,
    Eigenpairs,
    checked_eigenpairs,
)
from eigenboundary.curvature.eigensolvers.missed import missed_pairs
from eigenboundary.curvature.eigensolvers.outcome import CONVERGED, Ending, Outcome
from eigenboundary.curvature.eigensolvers.subspace import Plan, Subspace, kept_in_double
from eigenboundary.curvature.operators.base import SymmetricOperator
from eigenboundary.runtime.linalg import column_norms, random_block

_log = logging.getLogger(__name__)

#: Called after each step with (pairs converged, pairs wanted, products so far).
Progress = Callable[[int, int, int], None]

_BASIS_BYTES = 2**29
_GUARD_TOLERANCE = 1e-3
# Limit on the work for guards alone: floating-point operations, or a share of earlier products.
_GUARD_FLOPS, _GUARD_SHARE, _LEAST_GUARD = 1e13, 0.5, 2
_PATIENCE = 4
_LOOK_EVERY = 16
_BLOCK = 1
# The basis, the basis of a search for missed pairs, and known vectors of their complement.
_BASES = 3


def krylov_eigenpairs(
    operator: SymmetricOperator,
    k: int,
    *,
    which: str,
    tolerance: float,
    guard: int,
    max_products: int | None,
    start: Tensor | None,
    seed: int,
    progress: Progress | None,
) -> Eigenpairs:
    """Compute eigenpairs at one end of the spectrum, or both, by products alone.

    An interrupt (Ctrl-C) ends the iteration; the pairs come back as they are, marked as not
    converged.
    """
    before = operator.products
    plan = _plan(operator, k, which, tolerance, guard, max_products)
    operator.expect(2 * plan.least(operator.size))  # no search has needed fewer
    first = random_block(operator.like, plan.block, seed)
    if start is not None:
        if operator.memory.free is not None and plan.capacity_limit < operator.size:
            start = start[:, : plan.capacity_limit - 3 * plan.block]
        first = torch.cat([start.to(first), first], dim=1)
    capacity = min(operator.size, max(plan.capacity, first.shape[1] + 2 * plan.block))
    subspace = Subspace(operator, capacity, None)
    search = _Search(subspace, plan, seed, before, progress)
    try:
        subspace.include(first)
        # A start that has converged leaves no residual to follow.
        subspace.drop(1e-4 * tolerance * plan.scale(subspace.ritz()[0]))
        return search.run()
    except KeyboardInterrupt:
        if subspace.size < plan.least(operator.size):
            raise
        _log.warning("interrupted: returning the eigenpairs found so far")
        search.certified = 0
        return search.result(Ending(Outcome.INTERRUPTED))[0]


def _plan(
    operator: SymmetricOperator,
    k: int,
    which: str,
    tolerance: float,
    guard: int,
    max_products: int | None,
) -> Plan:
    size, itemsize = operator.size, operator.dtype.itemsize
    k = min(k, size)
    affordable = max(_LEAST_GUARD, int(_GUARD_FLOPS / max(operator.flops, 1)))
    guard = min(guard, size - k, affordable) if which == "largest" else 0
    returned = k * (2 if which == "both" else 1)
    wanted = returned + guard
    block = min(_BLOCK, size)
    least = wanted + 3 * block
    usual = 2 * wanted + 20
    capacity = min(size, max(usual, 60))
    limit = min(size, max(capacity, _BASIS_BYTES // (2 * itemsize * size)))
    vector = size * (8 if kept_in_double(operator, capacity) else itemsize)
    room = operator.memory.room(vector)
    if room is not None:
        results = RESULT_COPIES * returned
        # With less room than this a restart leaves too little to go on with.
        least = min(size, max(least, wanted + wanted // 2 + 10))
        # Results that are kept between products save more than a longer basis.
        shared = min(max(usual, room // (2 * _BASES)), room // _BASES, room - results)
        limit = min(limit, max(least, shared))
        needed = max(_BASES * limit, limit + results)
        operator.memory.plan(needed, vector, f"{k} eigenpairs of {size:,} parameters")
    capacity = min(limit, max(capacity, least))
    products = max_products if max_products is not None else 200 * (wanted + 10)
    return Plan(k, which, tolerance, guard, block, capacity, limit, products)


@dataclass
class _Search:
    """An iteration that ends when its pairs have converged and none is missing between them."""

    subspace: Subspace
    plan: Plan
    seed: int
    before: int
    progress: Progress | None
    certified: int = 0

    def run(self) -> Eigenpairs:
        """Iterate until the residuals, computed from products, are within the tolerance."""
        worst = math.inf
        while True:
            ending = self._converge()
            pairs, left = self.result(ending)
            if ending is not CONVERGED or not left.shape[1]:
                return pairs
            largest = float(pairs.residuals.max())
            if largest > 0.5 * worst:  # rounding, which no further step removes
                return replace(pairs, **_stagnated(largest)._asdict())
            worst = largest
            self._make_room(left.shape[1])
            self.subspace.include(left)

    def result(self, ending: Ending) -> tuple[Eigenpairs, Tensor]:
        """Return the pairs, and the residuals (p, j) that exceed the tolerance."""
        subspace, plan, operator = self.subspace, self.plan, self.subspace.operator
        values, coefficients = subspace.ritz()
        wanted, guards = plan.wanted(subspace.size), plan.guards(subspace.size)
        vectors = subspace.combine(coefficients[:, wanted]).to(operator.dtype)
        images = subspace.images(values[wanted], coefficients[:, wanted], vectors)
        scale = plan.scale(values) or 1.0
        images = computed_images(operator, vectors, images, plan.tolerance * scale)
        norms = subspace.residual_norms(coefficients[:, guards])
        known = norms <= _GUARD_TOLERANCE * values[guards].abs()
        known |= torch.tensor(operator.flops * self._used <= _GUARD_FLOPS)
        known = known.long().cumprod(0).bool()
        trusted = len(wanted) if ending is CONVERGED else self.certified
        pairs = checked_eigenpairs(
            operator,
            vectors,
            tolerance=plan.tolerance,
            method="krylov",
            products_before=self.before,
            scale=scale,
            ending=ending,
            trusted=torch.arange(len(wanted)) < trusted,
            next_values=values[guards][known],
            next_residuals=norms[known] / scale,
            rest=_rest(plan, values, guards[known], norms[known], operator.size),
            images=images,
        )
        residuals = images - vectors * values[wanted].to(vectors)
        return pairs, residuals[:, column_norms(residuals) > plan.tolerance * scale]

    @property
    def _used(self) -> int:
        return self.subspace.operator.products - self.before

    def _converge(self) -> Ending:
        """Iterate until the pairs have converged and none is missing."""
        ending = self._iterate()
        while ending is CONVERGED and not self.certified:
            missed, settled = self._missed(self.plan.k)
            if missed is None and settled:
                self.certified = self.plan.k
                break
            if missed is not None:
                _log.info("further eigenvalues were found in the complement; going on")
                self._make_room(missed.shape[1])
            if missed is None or not self.subspace.include(missed):
                return Ending(Outcome.NOT_CERTIFIED)
            ending = self._iterate()
        if ending.outcome is Outcome.STAGNATED and self.plan.which == "largest":
            # The leading pairs may have converged, with none missing between them.
            leading = min(int(self._unconverged(*self.subspace.ritz())[0][0]), self.plan.k)
            missed, settled = self._missed(leading) if leading else (None, False)
            if missed is None and settled:
                self.certified = leading
        return ending

    def _missed(self, k: int) -> tuple[Tensor | None, bool]:
        return missed_pairs(self.subspace, self.plan, k, self.seed + self._used, self.before)

    def _iterate(self) -> Ending:
        """Grow and restart until the wanted pairs have converged."""
        subspace, plan, operator = self.subspace, self.plan, self.subspace.operator
        best, waited, most = math.inf, 0, math.inf
        while True:
            values, coefficients = subspace.ritz()
            open_pairs, worst = self._unconverged(values, coefficients)
            used = self._used
            if self.progress is not None:
                total = len(plan.wanted(subspace.size)) + len(plan.guards(subspace.size))
                self.progress(total - len(open_pairs), total, used)
            enough = subspace.size >= plan.least(operator.size)
            settled = worst <= plan.tolerance and enough
            if most == math.inf and settled:
                most = used + max(_GUARD_FLOPS / max(operator.flops, 1), _GUARD_SHARE * used)
            if not len(open_pairs) or (settled and used >= most):
                return CONVERGED
            if used >= plan.max_products and enough:
                details = f"{used} products with {len(open_pairs)} pairs not converged"
                return Ending(Outcome.BUDGET_SPENT, f"stopped after {details}")
            # A basis with room for the whole space is filled up instead: then it is exact.
            if subspace.size + plan.block > subspace.capacity < operator.size:
                waited = 0 if worst < 0.5 * best else waited + 1
                if worst > 0.1 * best and subspace.capacity < plan.capacity_limit:
                    subspace.grow_to(min(2 * subspace.capacity, plan.capacity_limit))
                elif waited >= _PATIENCE:
                    return _stagnated(worst)
                if subspace.size + plan.block > subspace.capacity < operator.size:
                    kept = plan.kept(subspace.size)
                    subspace.restart(values[kept], coefficients[:, kept])
                    values, coefficients = subspace.ritz()
                    open_pairs, _ = self._unconverged(values, coefficients)
                best = min(best, worst)
            if not self._grow(coefficients[:, open_pairs]):
                full = subspace.size >= operator.size
                return CONVERGED if full else Ending(Outcome.BREAKDOWN)

    def _grow(self, open_pairs: Tensor) -> int:
        """Take a few blocks of the frontier into the basis."""
        subspace, block = self.subspace, self.plan.block
        # The more Ritz pairs there are, the more it costs to look at them.
        end = min(subspace.capacity, subspace.size + max(block, subspace.size // _LOOK_EVERY))
        before = subspace.size
        while subspace.size < end:
            if not subspace.frontier.shape[1]:
                # The basis is invariant: all other eigenvectors lie in its complement.
                seed = self.seed + 7919 * subspace.size
                added = subspace.include(random_block(subspace.operator.like, block, seed))
            else:
                if subspace.frontier.shape[1] > block:
                    new = subspace.size - len(open_pairs)
                    subspace.turn(torch.nn.functional.pad(open_pairs, (0, 0, 0, new)))
                added = subspace.advance(block)
            if not added:
                break
        return subspace.size - before

    def _unconverged(self, values: Tensor, coefficients: Tensor) -> tuple[Tensor, float]:
        """Return the indices of the pairs to work on, and the worst wanted relative residual."""
        size, dimension = self.subspace.size, self.subspace.operator.size
        wanted, guards = self.plan.wanted(size), self.plan.guards(size)
        watched = torch.cat([wanted, guards])
        norms = self.subspace.residual_norms(coefficients[:, watched])
        scale = self.plan.scale(values) or 1.0
        within = norms <= self.plan.tolerance * scale
        loose = norms <= _GUARD_TOLERANCE * values[watched].abs()
        within[len(wanted) :] |= loose[len(wanted) :]
        if size == dimension:
            within[:] = True
        worst = float(norms[: len(wanted)].max() / scale)
        open_pairs = watched[~within]
        if size < self.plan.least(dimension) and not len(open_pairs):
            open_pairs = watched[-1:]
        return open_pairs, worst

    def _make_room(self, columns: int) -> None:
        subspace, columns = self.subspace, columns + self.plan.block
        if subspace.size + columns > subspace.capacity:
            values, coefficients = subspace.ritz()
            kept = self.plan.kept(subspace.size)
            if len(kept) + columns > subspace.capacity:
                wider = subspace.capacity + 2 * self.plan.block
                subspace.grow_to(min(subspace.operator.size, wider))
            else:
                subspace.restart(values[kept], coefficients[:, kept])


def _stagnated(residual: float) -> Ending:
    return Ending(Outcome.STAGNATED, f"stagnated at a relative residual of {residual:.1e}")


def computed_images(
    operator: SymmetricOperator, vectors: Tensor, images: Tensor, size: float
) -> Tensor:
    """Return the given images if one product confirms them, else products with all vectors.

    The product is with a random combination of the vectors. The images come from earlier products
    and differ from fresh ones by rounding alone, which matters where a tenth of the residual
    ``size`` is not much larger than that.
    """
    rounding = 100 * torch.finfo(operator.dtype).eps
    if vectors.shape[1] and size >= rounding * float(column_norms(images).max()):
        mixture = random_block((vectors.shape[1], vectors.dtype, vectors.device), 1, 0)
        difference = operator @ (vectors @ mixture) - images @ mixture
        if float(column_norms(difference)) <= 0.1 * size:
            return images
    return operator @ vectors


def _rest(
    plan: Plan, values: Tensor, guards: Tensor, errors: Tensor, size: int
) -> tuple[float, float] | None:
    """Return the interval of the eigenvalues not returned, as far as the Ritz values tell."""
    if len(plan.wanted(size)) >= size:
        return None
    known = min(plan.k, len(values))
    high = float(values[known - 1]) if plan.which != "smallest" else math.inf
    low = float(values[-known]) if plan.which != "largest" else -math.inf
    if len(guards):
        high = min(high, float(values[guards[0]] + errors[0]))
    return low, high
