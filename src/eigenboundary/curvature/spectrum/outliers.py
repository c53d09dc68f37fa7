r"""The number of eigenvalues that stand apart from the bulk.

The rule is the edge-distribution estimator of Onatski (2010, *Determining the number of factors
from empirical distribution of eigenvalues*). Near the edge of a bulk the sorted eigenvalues
follow :math:`\lambda_j \approx a - b\,(j-1)^{2/3}`. The slope b is fitted to five eigenvalues
just below the presumed edge, and outliers end at the last gap of at least

.. math:: \delta = 2 |b|

and at least 5 % of the eigenvalue below it: gaps within a Hessian's bulk are smaller. The edge is
then presumed below these outliers, and the fit is repeated until the count stays the same. Five
eigenvalues that fall by more than 30 % of the first, and by more than half the gap above, are no
bulk: the eigenvalues do not reach its edge, and the count is only a lower bound. The rule sees the
twenty largest eigenvalues first, and ten more as long as they do not reach the edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_FITTED = 5
_ROUNDS = 20
_FIRST, _FURTHER = 20, 10
_LEAST_RELATIVE_GAP = 0.05
_BULK_FALL, _GAP_FALL = 0.3, 0.5


@dataclass(frozen=True)
class OutlierCount:
    """The number of outliers, with its threshold.

    Attributes
    ----------
    count : int
        A lower bound where ``resolved`` is False.
    threshold : float
        δ, the smallest gap that counts.
    resolved : bool
        False if the known eigenvalues do not reach a bulk.
    """

    count: int
    threshold: float
    resolved: bool


def count_outliers(eigenvalues: ArrayLike, *, noise: float = 0.0) -> OutlierCount:
    r"""Count the largest eigenvalues that stand apart from the bulk.

    Parameters
    ----------
    eigenvalues : array, shape (K,)
        The K largest eigenvalues, at least five more than the outliers.
    noise : float
        Size up to which gaps are rounding (e.g. the largest residual).

    Returns
    -------
    OutlierCount

    Examples
    --------
    >>> import numpy as np
    >>> bulk = 1 - 0.01 * np.arange(20.0) ** (2 / 3)
    >>> count_outliers([9.0, 4.0, *bulk]).count
    2
    """
    values = np.sort(np.asarray(eigenvalues, dtype=np.float64))[::-1]
    known = min(_FIRST, len(values))
    found = _count(values[:known], noise)
    while not found.resolved and known < len(values):
        known = min(known + _FURTHER, len(values))
        found = _count(values[:known], noise)
    return found


def _count(values: NDArray[np.float64], noise: float) -> OutlierCount:
    most = len(values) - _FITTED
    if most < 1:
        return OutlierCount(0, float("nan"), resolved=False)
    gaps = values[:most] - values[1 : most + 1]
    apart = gaps > _LEAST_RELATIVE_GAP * np.abs(values[1 : most + 1])
    least = max(noise, 1e-12 * float(np.abs(values).max()))
    count, threshold = most, least
    tried: set[int] = set()
    for _ in range(_ROUNDS):
        tried.add(count)
        order = np.arange(count, count + _FITTED) ** (2 / 3)
        slope = np.polyfit(order, values[count : count + _FITTED], 1)[0]
        threshold = max(2 * abs(float(slope)), least)
        beyond = np.flatnonzero((gaps > threshold) & apart)
        count = int(beyond[-1]) + 1 if len(beyond) else 0
        if count in tried:
            break
    first, last = values[count], values[count + _FITTED - 1]
    step = values[count - 1] - first if count else 0.0
    flat = first - last <= max(_BULK_FALL * abs(first), _GAP_FALL * step, least)
    return OutlierCount(count, threshold, resolved=bool(flat and count < most))
