r"""Thick-restart block Krylov iteration for the ends of the spectrum.

A basis Q is kept together with its images AQ, so that every Ritz pair's residual
:math:`\|A q - \theta q\|` is a computed number, not an estimate, and restarts keep all that was
learnt (Wu & Simon 2000). The basis grows by the residuals of the leading pairs that have not
converged, which spans the same space as block Lanczos, with full reorthogonalisation.

A Krylov space can miss copies of a repeated eigenvalue. So once the pairs have converged, a
second iteration with a fresh random start looks for more, and what it finds above the smallest
returned eigenvalue is taken up (:mod:`eigenboundary.curvature.missed`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import torch
from torch import Tensor

from eigenboundary.curvature.eigenpairs import Eigenpairs, checked_eigenpairs
from eigenboundary.curvature.linalg import column_norms, random_block
from eigenboundary.curvature.missed import missed_pairs
from eigenboundary.curvature.operators import SymmetricOperator
from eigenboundary.curvature.subspace import Plan, Subspace

__all__ = ["Progress", "krylov_eigenpairs"]

_log = logging.getLogger(__name__)

#: Called after each step with (pairs converged, pairs wanted, products so far).
Progress = Callable[[int, int, int], None]

_BASIS_BYTES = 2**29
_GUARD_TOLERANCE = 1e-2
_PATIENCE = 4
_STAGNATED = "stagnated"
#: Message of pairs whose search was ended by Ctrl-C.
INTERRUPTED = "interrupted"


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
    first = random_block(_like(operator), plan.block, seed)
    if start is not None:
        first = torch.cat([start.to(first), first], dim=1)
    capacity = min(operator.size, max(plan.capacity, first.shape[1] + 2 * plan.block))
    subspace = Subspace(operator, capacity, None)
    subspace.extend(first)
    certified = 0
    try:
        message = _iterate(subspace, plan, before, seed, progress)
        while not message:
            missed, settled = missed_pairs(subspace, plan, plan.k, seed + operator.products, before)
            if missed is None:
                certified = plan.k if settled else 0
                message = "" if settled else "it could not be ruled out that one was missed"
                break
            _log.info("further eigenvalues were found in the complement; going on")
            _make_room(subspace, plan, missed.shape[1])
            if not subspace.extend(missed):
                message = "it could not be ruled out that one was missed"
                break
            message = _iterate(subspace, plan, before, seed, progress)
        if message.startswith(_STAGNATED):
            certified = _certify_leading(subspace, plan, seed + operator.products, before)
    except KeyboardInterrupt:
        if subspace.size < plan.least(operator.size):
            raise
        _log.warning("interrupted: returning the eigenpairs found so far")
        message = INTERRUPTED
    return _result(subspace, plan, before, message, certified)


def _certify_leading(subspace: Subspace, plan: Plan, seed: int, before: int) -> int:
    """How many leading pairs have converged with none missing between them."""
    if plan.which != "largest":
        return 0
    values, coefficients = subspace.ritz()
    open_pairs, _ = _unconverged(subspace, plan, values, coefficients)
    leading = min(int(open_pairs[0]), plan.k)
    if not leading:
        return 0
    missed, settled = missed_pairs(subspace, plan, leading, seed, before)
    return leading if settled and missed is None else 0


def _like(operator: SymmetricOperator) -> tuple[int, torch.dtype, torch.device]:
    return operator.size, operator.dtype, operator.device


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
    guard = min(guard, size - k) if which == "largest" else 0
    wanted = k * (2 if which == "both" else 1) + guard
    block = min(4, size)
    least = wanted + 3 * block
    capacity = min(size, max(2 * wanted + 20, 60))
    limit = min(size, max(capacity, _BASIS_BYTES // (2 * itemsize * size)))
    products = max_products if max_products is not None else 200 * (wanted + 10)
    return Plan(k, which, tolerance, guard, block, min(size, max(capacity, least)), limit, products)


def _iterate(
    subspace: Subspace, plan: Plan, before: int, seed: int, progress: Progress | None
) -> str:
    """Grow and restart until the wanted pairs have converged; returns why not, or ''."""
    operator = subspace.operator
    best, waited = math.inf, 0
    while True:
        values, coefficients = subspace.ritz()
        open_pairs, worst = _unconverged(subspace, plan, values, coefficients)
        used = operator.products - before
        if progress is not None:
            total = len(plan.wanted(subspace.size)) + len(plan.guards(subspace.size))
            progress(total - len(open_pairs), total, used)
        if not len(open_pairs):
            return ""
        if used >= plan.max_products and subspace.size >= plan.least(operator.size):
            return f"stopped after {used} products with {len(open_pairs)} pairs not converged"
        # A basis with room for the whole space is filled up instead: then it is exact.
        if subspace.size + plan.block > subspace.capacity < operator.size:
            waited = 0 if worst < 0.5 * best else waited + 1
            if worst > 0.1 * best and subspace.capacity < plan.capacity_limit:
                subspace.grow_to(min(2 * subspace.capacity, plan.capacity_limit))
            elif waited >= _PATIENCE:
                return f"{_STAGNATED} at a relative residual of {worst:.1e}"
            if subspace.size + plan.block > subspace.capacity < operator.size:
                kept = plan.kept(subspace.size)
                subspace.restart(values[kept], coefficients[:, kept])
                values, coefficients = subspace.ritz()
                open_pairs, _ = _unconverged(subspace, plan, values, coefficients)
            best = min(best, worst)
        chosen = open_pairs[: plan.block]
        block = subspace.residuals(values[chosen], coefficients[:, chosen])
        if not subspace.extend(block):
            # The basis is invariant: whatever else there is lies in its complement.
            fresh = random_block(_like(operator), plan.block, seed + 7919 * subspace.size)
            if not subspace.extend(fresh):
                return "" if subspace.size >= operator.size else "the basis cannot be extended"


def _unconverged(
    subspace: Subspace, plan: Plan, values: Tensor, coefficients: Tensor
) -> tuple[Tensor, float]:
    """Indices of the pairs to work on, and the worst wanted pair's relative residual."""
    size, dimension = subspace.size, subspace.operator.size
    enough = plan.least(dimension)
    wanted, guards = plan.wanted(size), plan.guards(size)
    watched = torch.cat([wanted, guards])
    norms = column_norms(subspace.residuals(values[watched], coefficients[:, watched])).cpu()
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
    subspace: Subspace, plan: Plan, before: int, message: str, certified: int
) -> Eigenpairs:
    operator = subspace.operator
    values, coefficients = subspace.ritz()
    wanted, guards = plan.wanted(subspace.size), plan.guards(subspace.size)
    vectors, images = subspace.combine(coefficients[:, wanted])
    scale = plan.scale(values) or 1.0
    norms = column_norms(subspace.residuals(values[guards], coefficients[:, guards])) / scale
    return checked_eigenpairs(
        operator,
        vectors,
        tolerance=plan.tolerance,
        method="krylov",
        products_before=before,
        scale=scale,
        message=message,
        trusted=torch.arange(len(wanted)) < (len(wanted) if not message else certified),
        next_values=values[guards],
        next_residuals=norms,
        rest=_rest(plan, values, guards, norms * scale, operator.size),
        images=images if _are_images(operator, vectors, images, plan.tolerance * scale) else None,
    )


def _are_images(operator: SymmetricOperator, vectors: Tensor, images: Tensor, size: float) -> bool:
    """Whether the images are those of fresh products, to a tenth of the residual asked for.

    One product tells, of a random combination of the vectors. Images are sums of products that were
    computed; only rounding may have come between, which matters where little more is asked for.
    """
    if size < 100 * torch.finfo(operator.dtype).eps * float(column_norms(images).max()):
        return False
    mixture = random_block((vectors.shape[1], vectors.dtype, vectors.device), 1, vectors.shape[1])
    difference = operator @ (vectors @ mixture) - images @ mixture
    return float(column_norms(difference)) <= 0.1 * size


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
