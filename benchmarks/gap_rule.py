"""The gap rule by which the package counted outliers before: a rival in benchmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FITTED = 5
_ROUNDS = 20
_LEAST_RELATIVE_GAP = 0.05


def gap_rule(values: NDArray[np.float64]) -> int:
    """Eigenvalues before the last gap that is wide for the edge of a bulk (Onatski 2010)."""
    most = len(values) - _FITTED
    if most < 1:
        return 0
    gaps = values[:most] - values[1 : most + 1]
    apart = gaps > _LEAST_RELATIVE_GAP * np.abs(values[1 : most + 1])
    count, tried = most, set()
    for _ in range(_ROUNDS):
        tried.add(count)
        order = np.arange(count, count + _FITTED) ** (2 / 3)
        slope = np.polyfit(order, values[count : count + _FITTED], 1)[0]
        beyond = np.flatnonzero((gaps > 2 * abs(float(slope))) & apart)
        count = int(beyond[-1]) + 1 if len(beyond) else 0
        if count in tried:
            break
    return count
