r"""How the distances of samples from the boundary are distributed.

The volume of the boundary at a distance ε is the density of data beside it,

.. math:: V_\varepsilon = P(d(x) < \varepsilon) / 2 \varepsilon.

Intervals are over the draw of the samples and assume nothing of the distribution: those of
quantiles come from order statistics (Conover 1999), those of shares are Wilson's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, quantile_test

from eigenboundary.runtime.arguments import check_number
from eigenboundary.runtime.errors import InvalidInputError

_CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class SampleMargins:
    """Distances of training samples, drawn at random, from the boundary.

    Attributes
    ----------
    samples : array of int, shape (m,)
        The samples, those whose search did not converge left out.
    distances : array, shape (m,)
    """

    samples: Annotated[NDArray[np.int64], "m"] = field(repr=False)
    distances: Annotated[NDArray[Any], "m"] = field(repr=False)

    def __post_init__(self) -> None:
        if not len(self.distances):
            raise InvalidInputError("distances", "hold at least one number", "none")

    @property
    def median(self) -> float:
        """Median margin."""
        return self.quantile(0.5)

    @property
    def median_interval(self) -> tuple[float, float]:
        """95 % interval of the median margin."""
        return self.quantile_interval(0.5)

    def quantile(self, share: float) -> float:
        """Return the distance below which a share of the samples lies.

        Raises
        ------
        InvalidInputError
            If the share is not between 0 and 1.
        """
        check_number(share, "share", above=0, below=1)
        return float(np.quantile(self.distances, share))

    def quantile_interval(self, share: float) -> tuple[float, float]:
        """Return the 95 % interval of a quantile; an end that few samples cannot tell is open.

        Raises
        ------
        InvalidInputError
            If the share is not between 0 and 1.
        """
        check_number(share, "share", above=0, below=1)
        found = quantile_test(self.distances, p=share).confidence_interval(_CONFIDENCE)
        low, high = (float(end) for end in (found.low, found.high))
        return 0.0 if math.isnan(low) else low, math.inf if math.isnan(high) else high

    def volume(self, epsilon: float) -> float:
        """Return the share of samples nearer than ε, over 2 ε.

        Raises
        ------
        InvalidInputError
            If ``epsilon`` is not a number above 0.
        """
        return self._near(epsilon) / len(self.distances) / (2 * epsilon)

    def volume_interval(self, epsilon: float) -> tuple[float, float]:
        """Return the 95 % interval of the volume.

        Raises
        ------
        InvalidInputError
            If ``epsilon`` is not a number above 0.
        """
        near = binomtest(self._near(epsilon), len(self.distances))
        found = near.proportion_ci(_CONFIDENCE, method="wilson")
        return float(found.low) / (2 * epsilon), float(found.high) / (2 * epsilon)

    def _near(self, epsilon: float) -> int:
        check_number(epsilon, "epsilon", above=0)
        return int((self.distances < epsilon).sum())
