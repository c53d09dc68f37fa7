"""Which of two networks is clearly better: the rule of comparisons and of the claims' eighth.

A *quality* is a number with an interval, of which more or less is better. One network is clearly
better in it than another one where the intervals do not overlap; it is better *altogether* where it
is so in at least one quality and clearly worse in none. Intervals that overlap can make a circle of
networks, each better than the next one. The front are the networks that no other one is better
than, directly or by way of others, except for others of a circle with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Numbers = Mapping[str, float]

# Where samples are as dense beside the boundary as a little farther off, the smallest of their
# distances is exponentially distributed: its 2.5 % and 97.5 % quantiles in units of the mean.
_QUANTILES = -math.log(0.975), -math.log(0.025)


@dataclass(frozen=True)
class Quality:
    """A number by which networks are compared; its interval has the suffixes _low and _high."""

    name: str
    text: str
    more_is_better: bool

    def better(self, one: Numbers, other: Numbers) -> int:
        """Return 1 where the first network is clearly better, -1 where the second is, else 0.

        An unknown number, NaN, is neither.
        """
        sign = 1 if self.more_is_better else -1
        if one[f"{self.name}_low"] > other[f"{self.name}_high"]:
            return sign
        return -sign if one[f"{self.name}_high"] < other[f"{self.name}_low"] else 0


HELD_OUT = Quality("test_accuracy", "held-out accuracy", more_is_better=True)
TRAINING = Quality("accuracy", "training accuracy", more_is_better=True)
#: What the boundary itself tells of a network.
BOUNDARY = (
    Quality("boundary_area", "boundary area", more_is_better=False),
    Quality("median_margin", "median margin", more_is_better=True),
    Quality("five_percent_margin", "5 % margin", more_is_better=True),
    Quality("smallest_margin", "smallest margin", more_is_better=True),
)


def better_altogether(one: Numbers, other: Numbers, qualities: Iterable[Quality]) -> bool:
    """Tell whether a network is clearly better in a quality, and clearly worse in none.

    Examples
    --------
    >>> area = BOUNDARY[0]
    >>> simple, complex = (
    ...     {"boundary_area_low": low, "boundary_area_high": low + 0.1} for low in (0.4, 1.2)
    ... )
    >>> better_altogether(simple, complex, [area]), better_altogether(complex, simple, [area])
    (True, False)
    """
    found = [quality.better(one, other) for quality in qualities]
    return max(found, default=0) > 0 and min(found) >= 0


def front_of(numbers: Mapping[str, Numbers], qualities: Sequence[Quality]) -> tuple[str, ...]:
    """Return the networks of the front, at least one, in their order."""
    names = list(numbers)
    better = np.array(
        [[better_altogether(numbers[a], numbers[b], qualities) for b in names] for a in names]
    )
    for _ in names:  # by way of others
        better = better | (better @ better)
    return tuple(name for i, name in enumerate(names) if not (better[:, i] & ~better[i, :]).any())


def with_interval(name: str, value: float, interval: tuple[float, float]) -> dict[str, float]:
    """Return a number with the ends of its interval, by their names."""
    low, high = interval
    return {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}


def of_smallest_margin(value: float, *, certain: bool) -> dict[str, float]:
    """Return the smallest margin with the 95 % interval of its mean over draws of the samples.

    It rests on one sample, so the interval spans a factor of 146. A margin that is an upper bound
    has no lower end.
    """
    ends = value / _QUANTILES[1] if certain else 0 * value, value / _QUANTILES[0]
    return with_interval("smallest_margin", value, ends)


def without(quality: Quality, numbers: Mapping[str, Numbers]) -> list[str]:
    """Return the networks that a quality is not known of."""
    return [name for name, of_name in numbers.items() if math.isnan(of_name[quality.name])]
