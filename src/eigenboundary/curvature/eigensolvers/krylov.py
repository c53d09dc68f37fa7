r"""Thick-restart block Krylov iteration for the ends of the spectrum.

The Lanczos iteration with full reorthogonalisation, whose restarts keep all that was learnt (Wu &
Simon 2000). It grows by the directions of the residuals of the leading pairs that have not
converged. The residuals of what is returned are computed from products, and where those are larger
than the iteration had it, they are taken into the subspace too, and it goes on.

A Krylov space can miss copies of a repeated eigenvalue. So once the pairs have converged, a
second iteration with a fresh random start looks for more, and what it finds above the smallest
returned eigenvalue is taken up (:mod:`eigenboundary.curvature.eigensolvers.missed`).
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
# Spent on guards alone: so many floating-point operations, or this share of the products before.
_GUARD_FLOPS, _GUARD_SHARE, _LEAST_GUARD = 1e13, 0.5, 2
_PATIENCE = 4
_LOOK_EVERY = 16
_BLOCK = 1
# The basis, that of a search for missed pairs, and what is known of their complement.
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
    """Eigenpairs at one end of the spectrum, or both, by products alone.

    An interrupt (Ctrl-C) ends the iteration; the pairs come back as they are, marked as not
    converged.
    """
    before = operator.products
    plan = _plan(operator, k, which, tolerance, guard, max_products)
    operator.expect(2 * plan.least(operator.size))  # fewer have not been seen to do
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
        # Of a start that has converged there is nothing left to follow.
        subspace.drop(1e-2 * tolerance * plan.scale(subspace.ritz()[0]))
        return search.run()
    except KeyboardInterrupt:
        if subspace.size < plan.least(operator.size):
            raise
        _log.warning("interrupted: returning the eigenpairs found so far")
        return _result(subspace, plan, before, Ending(Outcome.INTERRUPTED), 0)[0]


@dataclass
class _Search:
    """An iteration, and the looking for what it missed, until what it found stands."""

    subspace: Subspace
    plan: Plan
    seed: int
    before: int
    progress: Progress | None
    certified: int = 0

    def run(self) -> Eigenpairs:
        """Pairs whose residuals, computed from products, are within the tolerance if possible."""
        worst = math.inf
        while True:
            ending = self._converge()
            pairs, left = _result(self.subspace, self.plan, self.before, ending, self.certified)
            if ending is not CONVERGED or not left.shape[1]:
                return pairs
            largest = float(pairs.residuals.max())
            if largest > 0.5 * worst:  # rounding, which no further step takes away
                return replace(pairs, **_stagnated(largest)._asdict())
            worst = largest
            _make_room(self.subspace, self.plan, left.shape[1])
            self.subspace.include(left)

    def _converge(self) -> Ending:
        """Iterate until the pairs have converged and none is missing, or it has to end."""
        subspace, plan = self.subspace, self.plan
        ending = _iterate(subspace, plan, self.before, self.seed, self.progress)
        while ending is CONVERGED and not self.certified:
            missed, settled = self._missed(plan.k)
            if missed is None and settled:
                self.certified = plan.k
                break
            if missed is not None:
                _log.info("further eigenvalues were found in the complement; going on")
                _make_room(subspace, plan, missed.shape[1])
            if missed is None or not subspace.include(missed):
                return Ending(Outcome.NOT_CERTIFIED)
            ending = _iterate(subspace, plan, self.before, self.seed, self.progress)
        if ending.outcome is Outcome.STAGNATED:
            self.certified = self._leading()
        return ending

    def _missed(self, k: int) -> tuple[Tensor | None, bool]:
        seed = self.seed + self.subspace.operator.products - self.before
        return missed_pairs(self.subspace, self.plan, k, seed, self.before)

    def _leading(self) -> int:
        """How many leading pairs have converged with none missing between them."""
        if self.plan.which != "largest":
            return 0
        open_pairs, _ = _unconverged(self.subspace, self.plan, *self.subspace.ritz())
        leading = min(int(open_pairs[0]), self.plan.k)
        if not leading:
            return 0
        missed, settled = self._missed(leading)
        return leading if settled and missed is None else 0


def _plan(
    operator: SymmetricOperator,
    k: int,
    which: str,
    tolerance: float,
    guard: int,
    max_products: int | None,
) -> Plan:
    size = operator.size
    itemsize = torch.finfo(operator.dtype).bits // 8
    k = min(k, size)
    affordable = max(_LEAST_GUARD, int(_GUARD_FLOPS / max(operator.flops, 1)))
    guard = min(guard, size - k, affordable) if which == "largest" else 0
    wanted = k * (2 if which == "both" else 1) + guard
    block = min(_BLOCK, size)
    least = wanted + 3 * block
    usual = 2 * wanted + 20
    capacity = min(size, max(usual, 60))
    limit = min(size, max(capacity, _BASIS_BYTES // (2 * itemsize * size)))
    results = RESULT_COPIES * k * (2 if which == "both" else 1)
    vector = size * (8 if kept_in_double(operator, capacity) else itemsize)
    room = operator.memory.room(vector)
    if room is not None:
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


def _iterate(
    subspace: Subspace, plan: Plan, before: int, seed: int, progress: Progress | None
) -> Ending:
    """Grow and restart until the wanted pairs have converged, or it has to end."""
    operator = subspace.operator
    best, waited, most = math.inf, 0, math.inf
    while True:
        values, coefficients = subspace.ritz()
        open_pairs, worst = _unconverged(subspace, plan, values, coefficients)
        used = operator.products - before
        if progress is not None:
            total = len(plan.wanted(subspace.size)) + len(plan.guards(subspace.size))
            progress(total - len(open_pairs), total, used)
        settled = worst <= plan.tolerance and subspace.size >= plan.least(operator.size)
        if most == math.inf and settled:
            most = used + max(_GUARD_FLOPS / max(operator.flops, 1), _GUARD_SHARE * used)
        if not len(open_pairs) or (settled and used >= most):
            return CONVERGED
        if used >= plan.max_products and subspace.size >= plan.least(operator.size):
            details = f"stopped after {used} products with {len(open_pairs)} pairs not converged"
            return Ending(Outcome.BUDGET_SPENT, details)
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
                open_pairs, _ = _unconverged(subspace, plan, values, coefficients)
            best = min(best, worst)
        if not _grow(subspace, plan, coefficients[:, open_pairs], seed):
            return CONVERGED if subspace.size >= operator.size else Ending(Outcome.BREAKDOWN)


def _stagnated(residual: float) -> Ending:
    return Ending(Outcome.STAGNATED, f"stagnated at a relative residual of {residual:.1e}")


def _grow(subspace: Subspace, plan: Plan, open_pairs: Tensor, seed: int) -> int:
    """Take a few blocks of the frontier into the basis."""
    # Looking at all Ritz pairs costs more, the more there are.
    end = min(subspace.capacity, subspace.size + max(plan.block, subspace.size // _LOOK_EVERY))
    grown = 0
    while subspace.size < end:
        if not subspace.frontier.shape[1]:
            # The basis is invariant: whatever else there is lies in its complement.
            fresh = random_block(subspace.operator.like, plan.block, seed + 7919 * subspace.size)
            added = subspace.include(fresh)
        else:
            if subspace.frontier.shape[1] > plan.block:
                new = subspace.size - len(open_pairs)
                subspace.turn(torch.nn.functional.pad(open_pairs, (0, 0, 0, new)))
            added = subspace.advance(plan.block)
        if not added:
            break
        grown += added
    return grown


def _unconverged(
    subspace: Subspace, plan: Plan, values: Tensor, coefficients: Tensor
) -> tuple[Tensor, float]:
    """Indices of the pairs to work on, and the worst wanted pair's relative residual."""
    size, dimension = subspace.size, subspace.operator.size
    enough = plan.least(dimension)
    wanted, guards = plan.wanted(size), plan.guards(size)
    watched = torch.cat([wanted, guards])
    norms = subspace.residual_norms(coefficients[:, watched])
    scale = plan.scale(values) or 1.0
    within = norms <= plan.tolerance * scale
    loose = norms <= _GUARD_TOLERANCE * values[watched].abs()
    within[len(wanted) :] |= loose[len(wanted) :]
    if size == dimension:
        within[:] = True
    worst = float(norms[: len(wanted)].max() / scale)
    open_pairs = watched[~within]
    if size < enough and not len(open_pairs):
        open_pairs = watched[-1:]
    return open_pairs, worst


def _make_room(subspace: Subspace, plan: Plan, columns: int) -> None:
    if subspace.size + columns + plan.block > subspace.capacity:
        values, coefficients = subspace.ritz()
        kept = plan.kept(subspace.size)
        if len(kept) + columns + plan.block > subspace.capacity:
            subspace.grow_to(min(subspace.operator.size, subspace.capacity + 2 * plan.block))
        else:
            subspace.restart(values[kept], coefficients[:, kept])


def _result(
    subspace: Subspace, plan: Plan, before: int, ending: Ending, certified: int
) -> tuple[Eigenpairs, Tensor]:
    """The pairs, and the residuals (p, j) of those that are not within the tolerance."""
    operator = subspace.operator
    values, coefficients = subspace.ritz()
    wanted, guards = plan.wanted(subspace.size), plan.guards(subspace.size)
    vectors = subspace.combine(coefficients[:, wanted]).to(operator.dtype)
    images = subspace.images(values[wanted], coefficients[:, wanted], vectors)
    scale = plan.scale(values) or 1.0
    images = computed_images(operator, vectors, images, plan.tolerance * scale)
    norms = subspace.residual_norms(coefficients[:, guards])
    known = norms <= _GUARD_TOLERANCE * values[guards].abs()
    known |= torch.tensor(operator.flops * (operator.products - before) <= _GUARD_FLOPS)
    known = known.long().cumprod(0).bool()
    pairs = checked_eigenpairs(
        operator,
        vectors,
        tolerance=plan.tolerance,
        method="krylov",
        products_before=before,
        scale=scale,
        ending=ending,
        trusted=torch.arange(len(wanted)) < (len(wanted) if ending is CONVERGED else certified),
        next_values=values[guards][known],
        next_residuals=norms[known] / scale,
        rest=_rest(plan, values, guards[known], norms[known], operator.size),
        images=images,
    )
    residuals = images - vectors * values[wanted].to(vectors)
    return pairs, residuals[:, column_norms(residuals) > plan.tolerance * scale]


def computed_images(
    operator: SymmetricOperator, vectors: Tensor, images: Tensor, size: float
) -> Tensor:
    """The given images, if a product shows that they are those, or else products with all.

    The product is with a random combination of the vectors. The images come from products that were
    computed; only rounding may have come between, which matters where little more is asked for: to
    a tenth of the residual, ``size``.
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
    """Where the eigenvalues lie that are not returned, as far as the Ritz values tell."""
    if len(plan.wanted(size)) >= size:
        return None
    known = min(plan.k, len(values))
    high = float(values[known - 1]) if plan.which != "smallest" else math.inf
    low = float(values[-known]) if plan.which != "largest" else -math.inf
    if len(guards):
        high = min(high, float(values[guards[0]] + errors[0]))
    return low, high
