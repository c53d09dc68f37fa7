r"""Whether eigenvalues are missing among those that an iteration found.

A Krylov space can miss copies of a repeated eigenvalue. Two searches with fresh random starts tell:

* :func:`_certified` counts the eigenvalues above τ. Let Q be the basis that was found,
  :math:`T = Q^T A Q`, :math:`R = AQ - QT`, and μ < τ a bound on A between vectors orthogonal to Q.
  By the inertia of the Schur complement at most as many eigenvalues of A exceed τ as there are
  positive ones of :math:`T - \tau + R^T R / (\tau - \mu)`. R is known, and a few steps of Lanczos
  give μ with a failure probability (:func:`_failure`).
* :func:`_search` iterates orthogonally to the converged pairs alone. It is for spectra without a
  gap, where the count is of no use.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eigenboundary.curvature.linalg import random_block
from eigenboundary.curvature.operators import SymmetricOperator
from eigenboundary.curvature.subspace import Plan, Subspace

__all__ = ["missed_pairs"]

_COUNT_STEPS = 80
_CHECK_BLOCK = 1
_CHECK_BASIS = 400
_CHECK_RESIDUAL = 1e-2
_MISS_PROBABILITY = 1e-6


def missed_pairs(
    subspace: Subspace, plan: Plan, k: int, seed: int, before: int
) -> tuple[Tensor | None, bool]:
    """Search the complement of the k converged pairs for eigenvalues that belong among them.

    Returns the vectors found, or None, and whether the search came to an end.
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
        found, settled = _search(
            subspace.operator, known, sign, threshold, slack, plan, seed, before
        )
        if found is not None or not settled:
            return found, settled
    return None, True


def _certified(
    subspace: Subspace, sign: float, threshold: float, limit: int, seed: int
) -> tuple[bool, Tensor | None]:
    """Whether sign·A has no more eigenvalues above ``threshold`` than the subspace has Ritz values.

    With it what was found above the threshold outside the subspace, if anything was. Gives up where
    it would take more than ``limit`` products.
    """
    operator = subspace.operator
    room = operator.size - subspace.size
    if room <= 0:
        return True, None
    largest_bound = _conclusive_bound(subspace, sign, threshold)
    search = Subspace(operator, min(room, limit), subspace.vectors)
    search.include(random_block(operator.like, 1, seed))
    lowest = float((sign * subspace.ritz()[0]).min())
    while search.size:
        theta, weights = search.ritz()
        best, worst = int((sign * theta).argmax()), int((sign * theta).argmin())
        highest, lowest = float(sign * theta[best]), min(lowest, float(sign * theta[worst]))
        if highest > threshold:
            return False, search.combine(weights[:, [best]])
        # The lower end is only known from inside.
        off = float(search.residual_norms(weights[:, [worst]]))
        at_best = lowest - 0.1 * (highest - lowest)
        low = min(at_best, lowest - off)
        if _failure(highest, low, largest_bound, search.size, room) <= _MISS_PROBABILITY:
            return True, None
        if _failure(highest, at_best, largest_bound, limit, room) > _MISS_PROBABILITY:
            return False, None
        if not search.advance(1):
            return search.size < search.capacity, None  # all that the start reaches has been seen
    return True, None


def _conclusive_bound(subspace: Subspace, sign: float, threshold: float) -> float:
    """The largest μ with which the count of eigenvalues above the threshold is conclusive."""
    values, coefficients = subspace.ritz()
    size = float(values.abs().max()) or 1.0
    residuals = subspace.coupled(coefficients) / size
    shifted = torch.diag((sign * values - threshold) / size)
    coupling = residuals.T @ residuals
    known = int((shifted.diagonal() > 0).sum())

    def conclusive(distance: float) -> bool:
        return int((torch.linalg.eigvalsh(shifted + coupling / distance) > 0).sum()) <= known

    near, far = 0.0, 4.0  # distances below the threshold; A reaches from -size to size or so
    if not conclusive(far):
        return -math.inf
    for _ in range(40):
        middle = (near + far) / 2
        near, far = (near, middle) if conclusive(middle) else (middle, far)
    return threshold - far * size


def _failure(highest: float, lowest: float, bound: float, steps: int, size: int) -> float:
    r"""Probability that the largest Ritz value is ``highest`` though an eigenvalue exceeds a bound.

    Let r be the unit start of j steps of Lanczos, ν the largest Ritz value, a the smallest
    eigenvalue, and μ > ν the bound. The Ritz value of :math:`q(A) r`, q the Chebyshev polynomial
    of degree j − 1 on [a, ν], is at most ν, so that an eigenvector of eigenvalue λ ≥ μ has

    .. math:: |\langle r, u\rangle|^2 \le \frac{\nu - a}{\mu - \nu}
              T_{j-1}\Big(1 + 2\frac{\mu - \nu}{\nu - a}\Big)^{-2}.

    A random r in n dimensions has :math:`|\langle r, u\rangle| \le t` with probability at most
    :math:`t\sqrt{2n/\pi}`.
    """
    ratio = (bound - highest) / max(highest - lowest, 1e-300)
    if not ratio > 0:
        return 1.0
    # log cosh(z) >= z - log 2, and cosh alone would overflow.
    growth = max(0.0, (steps - 1) * math.acosh(1 + 2 * ratio) - math.log(2))
    return math.exp(min(0.0, 0.5 * math.log(2 * size / (math.pi * ratio)) - growth))


def _search(
    operator: SymmetricOperator,
    known: Tensor,
    sign: float,
    threshold: float,
    slack: float,
    plan: Plan,
    seed: int,
    before: int,
) -> tuple[Tensor | None, bool]:
    r"""Look for an eigenvalue of sign·A above ``threshold``, orthogonal to what is known.

    The largest Ritz value from b random starts and j block steps falls short of the largest
    eigenvalue by more than a fraction ε of the spread with probability at most
    :math:`(1.648 \sqrt{p}\, e^{-\sqrt\varepsilon(2j-1)})^b` (Kuczyński & Woźniakowski 1992). The
    search goes on until that is below 1e-6 for ε the distance to the threshold, or the largest
    Ritz pair itself has converged below it and its value has come to rest.
    """
    room = operator.size - known.shape[1]
    if room <= 0:
        return None, True
    block = min(_CHECK_BLOCK, room)
    capacity = max(4 * block, min(_CHECK_BASIS, plan.capacity_limit))
    search = Subspace(operator, min(room, capacity), known)
    search.include(random_block(operator.like, block, seed))
    step, restarted, previous = 1, False, -math.inf
    while True:
        theta, weights = search.ritz()
        order = torch.arange(search.size) if sign > 0 else torch.arange(search.size).flip(0)
        ordered = sign * theta[order]
        above = int((ordered > threshold + slack).sum())
        if above:
            return search.combine(weights[:, order[:above]]), True
        off = float(search.residual_norms(weights[:, order[:1]]))
        gap = threshold - float(ordered[0])
        spread = threshold - float(ordered[-1])
        # A random vector of many entries has a small residual, but its Ritz value still moves.
        small = max(slack / 10, _CHECK_RESIDUAL * gap)
        if off <= small and float(ordered[0]) - previous <= small:
            return None, True
        previous = float(ordered[0])
        unlikely = _miss_probability(gap / max(spread, 1e-300), step, block, room)
        if not restarted and unlikely < _MISS_PROBABILITY:
            return None, True
        if operator.products - before >= 2 * plan.max_products:
            return None, False
        if search.size + block > search.capacity < room:
            half = order[: search.size // 2]
            search.restart(theta[half], weights[:, half])
            restarted = True
        if not search.advance(block):
            return None, True
        step += 1


def _miss_probability(gap: float, step: int, starts: int, size: int) -> float:
    if gap <= 0:
        return 1.0
    exponent = math.log(1.648) + 0.5 * math.log(size) - math.sqrt(gap) * (2 * step - 1)
    return math.exp(min(0.0, starts * exponent))


def _well_known(subspace: Subspace, plan: Plan, values: Tensor, coefficients: Tensor) -> Tensor:
    """Ritz pairs accurate enough to be split off: the wanted ones and some that follow.

    What is split off with a residual ρ lowers the eigenvalues that are left by about ρ² over the
    distance, so that a missed one could hide.
    """
    wanted = plan.wanted(subspace.size)
    norms = subspace.residual_norms(coefficients)
    distance = (values.unsqueeze(1) - values[wanted].unsqueeze(0)).abs().amin(1)
    known = norms <= 1e-3 * distance
    known[wanted] = True
    return known.nonzero().squeeze(1)
