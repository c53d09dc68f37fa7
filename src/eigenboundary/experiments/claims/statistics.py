"""Effects over seeds: their bootstrap interval, and the verdict it gives on a claim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap

from eigenboundary.runtime.errors import InvalidInputError

Verdict = Literal["supported", "not supported", "undecided"]

_RESAMPLES = 9999
#: With fewer seeds an interval has no meaning.
LEAST_SEEDS = 3


@dataclass(frozen=True)
class Threshold:
    """The threshold that an effect must pass for its claim to hold."""

    value: float
    side: Literal["above", "below"]  # where the claim puts the effect

    def __str__(self) -> str:
        return f"{'>' if self.side == 'above' else '<'} {self.value:g}"


def bootstrap_interval(effects: ArrayLike) -> tuple[float, float]:
    """Compute the 95 % percentile bootstrap interval of the mean effect over seeds.

    Parameters
    ----------
    effects : array, shape (n_seeds,)

    Returns
    -------
    (float, float)
        (-inf, inf) for fewer than three seeds.

    Raises
    ------
    InvalidInputError
        If an effect is not finite.

    Examples
    --------
    >>> bootstrap_interval([1.0, 1.0, 1.0, 1.0])
    (1.0, 1.0)
    """
    values = np.asarray(effects, dtype=np.float64).ravel()
    if not len(values) or not np.isfinite(values).all():
        raise InvalidInputError("effects", "be finite numbers, at least one", repr(effects))
    if len(values) < LEAST_SEEDS:
        return -np.inf, np.inf
    if np.ptp(values) == 0:  # nothing to resample
        return float(values[0]), float(values[0])
    how = {"n_resamples": _RESAMPLES, "random_state": np.random.default_rng(0)}
    found = bootstrap((values,), np.mean, confidence_level=0.95, method="percentile", **how)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def verdict(interval: tuple[float, float], threshold: Threshold) -> Verdict:
    """Return "supported" if the whole interval lies on the claim's side of the threshold.

    Examples
    --------
    >>> above_half = Threshold(0.5, "above")
    >>> verdict((0.6, 0.9), above_half), verdict((0.1, 0.4), above_half)
    ('supported', 'not supported')
    >>> verdict((0.4, 0.6), above_half)
    'undecided'
    """
    sign = 1 if threshold.side == "above" else -1
    low, high = sorted(sign * end for end in interval)
    if low > sign * threshold.value:
        return "supported"
    return "not supported" if high <= sign * threshold.value else "undecided"
