r"""Thick-restart block Krylov iteration for the ends of the spectrum.

A basis Q is kept together with its images AQ, so that every Ritz pair's residual
:math:`\|A q - \theta q\|` is a computed number, not an estimate, and restarts keep all that was
learnt (Wu & Simon 2000). The basis grows by the residuals of the leading pairs that have not
converged, which spans the same space as block Lanczos, with full reorthogonalisation.

A Krylov space can miss copies of a repeated eigenvalue. So once the pairs have converged, a
second iteration with a fresh random start searches their orthogonal complement, and what it
finds above the smallest returned eigenvalue is taken up (:func:`_missed`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from eigenboundary.curvature.direct import ends
from eigenboundary.curvature.eigenpairs import (
    Eigenpairs,
    checked_eigenpairs,
    residual_scale,
)
from eigenboundary.curvature.linalg import (
    column_norms,
    inner,
    orthonormal_extension,
    random_block,
)
from eigenboundary.curvature.operators import SymmetricOperator

__all__ = ["Progress", "krylov_eigenpairs"]

_log = logging.getLogger(__name__)

#: Called after each step with (pairs converged, pairs wanted, products so far).
Progress = Callable[[int, int, int], None]

_BASIS_BYTES = 2**29
_CHECK_BLOCK = 4
_CHECK_BASIS = 400
_CHECK_RESIDUAL = 1e-2
_MISS_PROBABILITY = 1e-6
_GUARD_TOLERANCE = 1e-2
_PATIENCE = 4
_STAGNATED = "stagnated"
#: Message of pairs whose search was ended by Ctrl-C.
INTERRUPTED = "interrupted"


class _Subspace:
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
class _Plan:
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
    subspace = _Subspace(operator, capacity, None)
    subspace.extend(first)
    certified = 0
    try:
        message = _iterate(subspace, plan, before, seed, progress)
        while not message:
            missed, settled = _missed(subspace, plan, plan.k, seed + operator.products, before)
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


def _certify_leading(subspace: _Subspace, plan: _Plan, seed: int, before: int) -> int:
    """How many leading pairs have converged with none missing between them."""
    if plan.which != "largest":
        return 0
    values, coefficients = subspace.ritz()
    open_pairs, _ = _unconverged(subspace, plan, values, coefficients)
    leading = min(int(open_pairs[0]), plan.k)
    if not leading:
        return 0
    missed, settled = _missed(subspace, plan, leading, seed, before)
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
) -> _Plan:
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
    return _Plan(
        k, which, tolerance, guard, block, min(size, max(capacity, least)), limit, products
    )


def _iterate(
    subspace: _Subspace, plan: _Plan, before: int, seed: int, progress: Progress | None
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
    subspace: _Subspace, plan: _Plan, values: Tensor, coefficients: Tensor
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


def _missed(
    subspace: _Subspace, plan: _Plan, k: int, seed: int, before: int
) -> tuple[Tensor | None, bool]:
    """Search the complement of the k converged pairs for eigenvalues that belong among them.

    Returns the vectors found, or None, and whether the search came to an end.
    """
    values, coefficients = subspace.ritz()
    known, _ = subspace.combine(coefficients[:, _well_known(subspace, plan, values, coefficients)])
    slack = 10 * plan.tolerance * (plan.scale(values) or 1.0)
    for sign in (1.0, -1.0):
        if plan.which == ("smallest" if sign > 0 else "largest"):
            continue
        threshold = sign * float(values[k - 1 if sign > 0 else -k])
        found, settled = _search(
            subspace.operator, known, sign, threshold, slack, plan, seed, before
        )
        if found is not None or not settled:
            return found, settled
    return None, True


def _search(
    operator: SymmetricOperator,
    known: Tensor,
    sign: float,
    threshold: float,
    slack: float,
    plan: _Plan,
    seed: int,
    before: int,
) -> tuple[Tensor | None, bool]:
    r"""Look for an eigenvalue of sign·A above ``threshold``, orthogonal to what is known.

    The largest Ritz value from b random starts and j block steps falls short of the largest
    eigenvalue by more than a fraction ε of the spread with probability at most
    :math:`(1.648 \sqrt{p}\, e^{-\sqrt\varepsilon(2j-1)})^b` (Kuczyński & Woźniakowski 1992). The
    search goes on until that is below 1e-6 for ε the distance to the threshold, or the largest
    Ritz pair itself has converged below it.
    """
    room = operator.size - known.shape[1]
    if room <= 0:
        return None, True
    block = min(_CHECK_BLOCK, room)
    capacity = max(4 * block, min(_CHECK_BASIS, plan.capacity_limit))
    search = _Subspace(operator, min(room, capacity), known)
    search.extend(random_block(_like(operator), block, seed))
    step, restarted = 1, False
    while True:
        theta, weights = search.ritz()
        order = torch.arange(search.size) if sign > 0 else torch.arange(search.size).flip(0)
        ordered = sign * theta[order]
        above = int((ordered > threshold + slack).sum())
        if above:
            return search.combine(weights[:, order[:above]])[0], True
        chosen = order[:block]
        residuals = search.residuals(theta[chosen], weights[:, chosen])
        gap = threshold - float(ordered[0])
        spread = threshold - float(ordered[-1])
        if float(column_norms(residuals)[0]) <= max(slack / 10, _CHECK_RESIDUAL * gap):
            return None, True
        unlikely = _miss_probability(gap / max(spread, 1e-300), step, block, room)
        if not restarted and unlikely < _MISS_PROBABILITY:
            return None, True
        if operator.products - before >= 2 * plan.max_products:
            return None, False
        if search.size + block > search.capacity < room:
            half = order[: search.size // 2]
            search.restart(theta[half], weights[:, half])
            restarted = True
        if not search.extend(residuals):
            return None, True
        step += 1


def _miss_probability(gap: float, step: int, starts: int, size: int) -> float:
    if gap <= 0:
        return 1.0
    exponent = math.log(1.648) + 0.5 * math.log(size) - math.sqrt(gap) * (2 * step - 1)
    return math.exp(min(0.0, starts * exponent))


def _well_known(subspace: _Subspace, plan: _Plan, values: Tensor, coefficients: Tensor) -> Tensor:
    """Ritz pairs accurate enough to be split off: the wanted ones and some that follow.

    What is split off with a residual ρ lowers the eigenvalues that are left by about ρ² over the
    distance, so that a missed one could hide.
    """
    wanted = plan.wanted(subspace.size)
    norms = column_norms(subspace.residuals(values, coefficients)).cpu()
    distance = (values.unsqueeze(1) - values[wanted].unsqueeze(0)).abs().amin(1)
    known = norms <= 1e-3 * distance
    known[wanted] = True
    return known.nonzero().squeeze(1)


def _make_room(subspace: _Subspace, plan: _Plan, columns: int) -> None:
    if subspace.size + columns + plan.block > subspace.capacity:
        values, coefficients = subspace.ritz()
        kept = plan.kept(subspace.size)
        if len(kept) + columns + plan.block > subspace.capacity:
            subspace.grow_to(min(subspace.operator.size, subspace.capacity + 2 * plan.block))
        else:
            subspace.restart(values[kept], coefficients[:, kept])


def _result(
    subspace: _Subspace, plan: _Plan, before: int, message: str, certified: int
) -> Eigenpairs:
    operator = subspace.operator
    values, coefficients = subspace.ritz()
    wanted, guards = plan.wanted(subspace.size), plan.guards(subspace.size)
    vectors, _ = subspace.combine(coefficients[:, wanted])
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
    )


def _rest(
    plan: _Plan, values: Tensor, guards: Tensor, errors: Tensor, size: int
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
