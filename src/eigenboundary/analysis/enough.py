"""How many eigenvectors an analysis computes where their number is chosen by what is asked.

Eigenvectors are enough where the outliers are all among them, and where they hold 90 % of the unit
gradients at points of the boundary, or of the reinforcing gradients where there are no points. More
are computed until then, or until no more can be had: for work, memory, their number, because all
others are null, or because twice as many hold hardly more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eigenboundary.curvature.operators.base import SymmetricOperator
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.formats import percent

Array = NDArray[np.float64]

#: Eigenvectors to begin with.
FIRST = 10
_HELD = 0.9
_MOST = 160
# Part of what is missing that more eigenvectors have to hold, for still more to be computed.
_GAIN = 0.1
# Floating-point operations for all products, and those of a product in forward passes.
_FLOPS, _PASSES = 2e13, 10
# Memory for eigenvectors and for the basis that they are found in, of about four vectors each.
_BYTES, _COPIES = 2**30, 4


def enough_of(shares: Array, outliers: int) -> int:
    """Return how many eigenvectors are enough; more than there are where all are too few.

    ``shares`` (k,) are those that the first i eigenvectors hold; ``outliers`` is the number of
    outliers known.
    """
    return max(FIRST, outliers, int((shares < _HELD).sum()) + 1)


def wanted_number(shares: Array, best: Array, outliers: int) -> int:
    """Return how many eigenvectors to compute next, no more than there are if they are enough.

    ``best`` are the most that any i directions could hold.
    """
    k = len(shares)
    if shares[-1] >= _HELD and outliers <= k:
        return k
    # No fewer directions than these can hold enough.
    least = int((best < _HELD).sum()) + 1 if len(best) else k
    return max(2 * k, least, outliers)


def hardly_more(before: float, after: float) -> bool:
    """Tell whether more eigenvectors hold so little more that still more would not be enough."""
    return after < _HELD and after - before < _GAIN * (_HELD - before)


def affordable_number(problem: Problem, operator: SymmetricOperator, k: int, products: int) -> int:
    """Return how many eigenvectors can be computed, after k of them took so many products."""
    flops = _PASSES * max(problem.signature.flops, 1) * problem.n_samples
    by_work = int(k * (_FLOPS / flops / max(products, 1) - 1))
    by_memory = operator.memory.at_most(_BYTES) // (_COPIES * operator.size * 8)
    return min(_MOST, operator.size, by_work, by_memory)


def what_is_missing(shares: Array, of_what: str, outliers: int) -> list[str]:
    """Return what eigenvectors do not tell, as sentences."""
    k, said = len(shares), []
    if shares[-1] < _HELD:
        share = f"{percent(shares[-1])} of {of_what} gradients, less than {percent(_HELD)}"
        said.append(f"The {k} eigenvectors computed hold {share}.")
    if outliers > k:
        said.append(f"Eigenvectors of {k} of at least {outliers} outliers were computed.")
    return said
