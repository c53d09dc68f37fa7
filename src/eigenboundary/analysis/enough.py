"""How many eigenvectors an analysis computes where their number is chosen by what is asked.

Eigenvectors are enough where the outliers are all among them, and where they hold 90 % of the unit
gradients at points of the boundary, or of the reinforcing gradients where there are no points. More
are computed until then, or until that takes too much work or memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eigenboundary.curvature.operators.base import SymmetricOperator
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.formats import percent

#: Eigenvectors to begin with.
FIRST = 10
_HELD = 0.9
_MOST = 160
# Floating-point operations for all products, and those of a product in forward passes.
_FLOPS, _PASSES = 2e13, 10
# Memory for eigenvectors and for the basis that they are found in, of about four vectors each.
_BYTES, _COPIES = 2**30, 4


def wanted_number(
    k: int, held: float, best: Sequence[float] | NDArray[np.float64], outliers: int
) -> int:
    """Return how many eigenvectors to compute next, k if k are enough.

    ``held`` is the share that k of them hold, ``best`` the most that any i directions could hold,
    and ``outliers`` the number of outliers known.
    """
    if held >= _HELD and outliers <= k:
        return k
    # No fewer directions than these can hold enough.
    least = next((i for i, share in enumerate(best, start=1) if share >= _HELD), k)
    return max(2 * k, least, outliers)


def affordable_number(problem: Problem, operator: SymmetricOperator, k: int) -> int:
    """Return how many eigenvectors can be computed next, after k of them took all products yet."""
    flops = _PASSES * max(problem.signature.flops, 1) * problem.n_samples
    by_work = int(k * (_FLOPS / flops / max(operator.products, 1) - 1))
    vector = operator.size * 8
    by_memory = operator.memory.at_most(_BYTES) // (_COPIES * vector)
    return min(_MOST, operator.size, by_work, by_memory)


def what_is_missing(k: int, held: float, outliers: int) -> list[str]:
    """Return what k eigenvectors do not tell, as sentences."""
    advice = "; k= asks for more"
    said = []
    if held < _HELD:
        share = f"{percent(held)} of the boundary's gradients, less than {percent(_HELD)}"
        said.append(f"The {k} eigenvectors computed hold {share}{advice}.")
    if outliers > k:
        said.append(f"Eigenvectors of {k} of at least {outliers} outliers were computed{advice}.")
    return said
