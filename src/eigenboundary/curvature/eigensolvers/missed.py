r"""A check that no eigenvalue is missing among those that an iteration found.

A Krylov space can miss copies of a repeated eigenvalue. Two searches with fresh random starts find
them:

* :func:`_certified` counts the eigenvalues above τ. Let Q be the iteration's basis,
  :math:`T = Q^T A Q`, :math:`R = AQ - QT`, and μ < τ a bound on A between vectors orthogonal to Q.
  By the inertia of the Schur complement at most as many eigenvalues of A exceed τ as there are
  positive ones of :math:`T - \tau + R^T R / (\tau - \mu)`. R is known, and a few steps of Lanczos
  tell how unlikely it is that A exceeds μ there (:func:`_growth`).
* :func:`_search` iterates in the complement of the converged pairs. It serves spectra without a
  gap, where the count is not conclusive.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eigenboundary.curvature.eigensolvers.subspace import Plan, Subspace
from eigenboundary.runtime.linalg import eigvalsh, random_block

_COUNT_STEPS, _LEAST_STEPS = 80, 5
_CHECK_BASIS = 400
_CHECK_RESIDUAL = 1e-2
_MISS_PROBABILITY = 1e-6


def missed_pairs(
    subspace: Subspace, plan: Plan, k: int, seed: int, before: int
) -> tuple[Tensor | None, bool]:
    """Search the complement of the k converged pairs for eigenvalues that belong among them.

    Return the vectors found, or None, and whether the search came to an end.
    """
    values, coefficients = subspace.ritz()
    known = subspace.combine(coefficients[:, _well_known(subspace, plan, values, coefficients)])
    slack = 10 * plan.tolerance * (plan.scale(values) or 1.0)
    for sign in (1.0, -1.0):
        if plan.which == ("smallest" if sign > 0 else "largest"):
            continue
        threshold = sign * float(values[k - 1 if sign > 0 else -k])
        certified, found = _certified(
            subspace, sign, threshold + slack, min(_COUNT_STEPS, plan.capacity_limit), seed
        )
        if found is not None:
            return found, True
        if certified:
            continue
        found, settled = _search(subspace, known, sign, threshold, slack, plan, seed, before)
        if found is not None or not settled:
            return found, settled
    return None, True


def _certified(
    subspace: Subspace, sign: float, threshold: float, limit: int, seed: int
) -> tuple[bool, Tensor | None]:
    """Certify that sign·A has no eigenvalue above ``threshold`` outside the subspace.

    Return whether that is certain after ``limit`` products, and the vectors found there, if any.
    """
    operator = subspace.operator
    room = operator.size - subspace.size
    if room <= 0:
        return True, None
    largest_bound = _conclusive_bound(subspace, sign, threshold)
    rounding = _rounding(subspace)
    search = Subspace(operator, min(room, limit), subspace.vectors)
    search.include(random_block(operator.like, 1, seed))
    enough = _enough_growth(room)
    growth = 0.0
    while search.size:
        theta, weights = search.ritz()
        best = int((sign * theta).argmax())
        if float(sign * theta[best]) > threshold:
            return False, search.combine(weights[:, [best]])
        before, growth = growth, _growth(search, sign, largest_bound, rounding)
        if growth >= enough:
            return True, None
        # Usually the growth slows down; the other search settles the remaining cases.
        most = growth + (limit - search.size) * (growth - before)
        if not growth or (search.size >= _LEAST_STEPS and most < enough):
            return False, None
        if not search.advance(1):
            return search.size < search.capacity, None  # the start reaches no more
    return True, None


def _rounding(subspace: Subspace) -> float:
    """Return the size of a product's rounding."""
    return 4 * torch.finfo(subspace.operator.dtype).eps * float(subspace.ritz()[0].abs().max())


def _conclusive_bound(subspace: Subspace, sign: float, threshold: float) -> float:
    """Return the largest μ with which the count above the threshold is conclusive."""
    values, coefficients = subspace.ritz()
    size = float(values.abs().max()) or 1.0
    residuals = subspace.coupled(coefficients) / size
    shifted = torch.diag((sign * values - threshold) / size)
    coupling = residuals.T @ residuals
    known = int((shifted.diagonal() > 0).sum())

    def conclusive(distance: float) -> bool:
        return int((eigvalsh(shifted + coupling / distance) > 0).sum()) <= known

    near, far = 0.0, 4.0  # distances below the threshold; A reaches from -size to size or so
    if not conclusive(far):
        return -math.inf
    for _ in range(40):
        middle = (near + far) / 2
        near, far = (near, middle) if conclusive(middle) else (middle, far)
    return threshold - far * size


def _enough_growth(size: int) -> float:
    """Return the :func:`_growth` that makes a miss in so many dimensions improbable enough."""
    return math.log(math.sqrt(2 * size / math.pi) / _MISS_PROBABILITY)


def _growth(search: Subspace, sign: float, bound: float, rounding: float) -> float:
    r"""Bound the start's part in any eigenvector beyond a bound; return -log of it.

    Lanczos vectors are :math:`q_{i+1} = p_i(A) r` with the unit start r and polynomials
    :math:`p_i` from the recurrence of T. The start's part in an eigenvector u of eigenvalue λ is

    .. math:: |\langle r, u\rangle|^2 \le \Big(\sum_{i=0}^{j} p_i(\lambda)^2\Big)^{-1},

    the Christoffel function: the polynomial :math:`q = \sum_i p_i(\lambda)\, p_i` has
    :math:`q(\lambda) \langle r, u\rangle = \langle q(A) r, u\rangle`, and the vectors are
    orthonormal. Above the largest Ritz value the sum grows with λ. A random r in n dimensions has
    :math:`|\langle r, u\rangle| \le t` with probability at most :math:`t\sqrt{2n/\pi}`.

    The result is half the logarithm of the sum at the bound, for couplings larger by ``rounding``;
    0 where a Ritz value reaches the bound within rounding.
    """
    if float((sign * search.ritz()[0]).max()) >= bound - 4 * rounding:
        return 0.0
    diagonal = (sign * search.projected.diagonal()).tolist()
    couplings = [*search.projected.diagonal(1).abs().tolist(), search.coupling_norm]
    before, now, last, total, scale = 0.0, 1.0, 0.0, 1.0, 0.0
    for entry, coupling in zip(diagonal, couplings, strict=True):
        coupling = max(coupling + rounding, 1e-300)
        before, now, last = now, ((bound - entry) * now - last * before) / coupling, coupling
        total += now * now
        if total > 1e100:
            size = math.sqrt(total)
            before, now, total, scale = before / size, now / size, 1.0, scale + math.log(size)
    return scale + 0.5 * math.log(total)


def _search(
    subspace: Subspace,
    known: Tensor,
    sign: float,
    threshold: float,
    slack: float,
    plan: Plan,
    seed: int,
    before: int,
) -> tuple[Tensor | None, bool]:
    """Search for an eigenvalue of sign·A above ``threshold``, orthogonally to known vectors.

    It ends when one above by more than ``slack`` is unlikely to be missed, or when the largest Ritz
    pair has converged below and its value no longer moves.
    """
    operator, rounding = subspace.operator, _rounding(subspace)
    room = operator.size - known.shape[1]
    if room <= 0:
        return None, True
    capacity = max(4, min(_CHECK_BASIS, plan.capacity_limit))
    search = Subspace(operator, min(room, capacity), known)
    search.include(random_block(operator.like, 1, seed))
    enough = _enough_growth(room)
    restarted, previous = False, -math.inf
    while True:
        theta, weights = search.ritz()
        order = torch.arange(search.size) if sign > 0 else torch.arange(search.size).flip(0)
        ordered = sign * theta[order]
        above = int((ordered > threshold + slack).sum())
        if above:
            return search.combine(weights[:, order[:above]]), True
        off = float(search.residual_norms(weights[:, order[:1]]))
        # A random vector of many entries has a small residual, but its Ritz value still moves.
        small = max(slack / 10, _CHECK_RESIDUAL * (threshold - float(ordered[0])))
        if off <= small and float(ordered[0]) - previous <= small:
            return None, True
        previous = float(ordered[0])
        if not restarted and _growth(search, sign, threshold + slack, rounding) >= enough:
            return None, True
        if operator.products - before >= 2 * plan.max_products:
            return None, False
        if search.size + 1 > search.capacity < room:
            half = order[: search.size // 2]
            search.restart(theta[half], weights[:, half])
            restarted = True
        if not search.advance(1):
            return None, True


def _well_known(subspace: Subspace, plan: Plan, values: Tensor, coefficients: Tensor) -> Tensor:
    """Return the Ritz pairs accurate enough to be split off: the wanted ones and some more.

    Splitting a pair off with a residual ρ lowers the other eigenvalues by about ρ² over the
    distance, which could hide a missed one.
    """
    wanted = plan.wanted(subspace.size)
    norms = subspace.residual_norms(coefficients)
    distance = (values.unsqueeze(1) - values[wanted].unsqueeze(0)).abs().amin(1)
    known = norms <= 1e-3 * distance
    known[wanted] = True
    return known.nonzero().squeeze(1)
