r"""The complexity of the boundary, counted in eigenvectors, each number with its interval.

With :math:`A_i(x_s)` the alignment of training sample s with eigenvector i, and
:math:`q_i = \mathrm{mean}_s A_i(x_s)^2`, which sums to one over all p eigenvectors:

===========================  =========================================================
:math:`m_i`                  mean (or maximum) over s of :math:`|A_i(x_s)|`
:math:`G_\theta`             :math:`\frac1p \#\{i : m_i > \varepsilon\}`
effective number             :math:`\exp(-\sum_i q_i \ln q_i)`
participation number         :math:`1 / \sum_i q_i^2`
mass outside                 :math:`\bar r = \mathrm{mean}_s (1 - \sum_{i\le k} A_i(x_s)^2)`
===========================  =========================================================

Only k of the p eigenvectors are known, so each number is an interval. By Jensen's inequality
:math:`m_i > \varepsilon` needs :math:`q_i > \varepsilon^2`, and the unknown :math:`q_i` sum to
:math:`\bar r`: fewer than :math:`\bar r/\varepsilon^2` of them can count (for the maximum, fewer
than :math:`n \bar r/\varepsilon^2`). An eigenvector that is known only roughly widens the interval:
alignments are taken as :math:`|A| \pm \delta` (:mod:`eigenboundary.alignment.error_bounds`), and
a vector with a large δ is counted among the unknown ones. Any choice of known vectors gives a valid
interval; the best of several is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, gammaln

from eigenboundary.runtime.arguments import check_choice
from eigenboundary.runtime.errors import InvalidInputError

Array = NDArray[np.float64]
Statistic = Literal["mean", "max"]

_UNRESOLVED = 0.1
_POWERS = 12


@dataclass(frozen=True)
class Generalization:
    """The generalization measure G_θ at one ε.

    Attributes
    ----------
    value : float
        Share of the p eigenvectors counted among those computed.
    interval : (float, float)
        Interval that holds the G_θ of all p eigenvectors.
    count : int
        ``p * value``.
    epsilon : float
    statistic : {"mean", "max"}
    """

    value: float
    interval: tuple[float, float]
    count: int
    epsilon: float
    statistic: str


def random_alignment(n_parameters: int) -> float:
    r"""Compute the mean :math:`|\cos|` of a fixed and a uniformly random direction in p dimensions.

    :math:`\Gamma(p/2) / (\sqrt\pi\, \Gamma((p+1)/2)) \approx \sqrt{2/(\pi p)}`.

    Examples
    --------
    >>> round(random_alignment(10_703), 6), round((2 / 3.141592653589793 / 10_703) ** 0.5, 6)
    (0.007713, 0.007712)
    """
    half = n_parameters / 2
    return math.exp(gammaln(half) - gammaln(half + 0.5)) / math.sqrt(math.pi)


@dataclass(frozen=True)
class Complexity:
    r"""Complexity numbers of a boundary from the alignments with k of p eigenvectors.

    Parameters
    ----------
    alignment : array, shape (n, k)
        :math:`A_i(x_s)`.
    n_parameters : int
        p.
    alignment_errors : array, shape (n, k) or (k,)
        Bound on the difference of each :math:`|A_i(x_s)|` from that of a true eigenvector.
    """

    alignment: Array = field(repr=False)
    n_parameters: int
    alignment_errors: Array = field(repr=False)

    def aligned(self, statistic: Statistic = "mean") -> Array:
        """Compute the statistic m_i of each computed eigenvector, shape (k,)."""
        return _statistic(np.abs(self.alignment), statistic)

    @property
    def mass(self) -> Array:
        """Mean squared alignment q_i of each computed eigenvector, shape (k,)."""
        return np.square(self.alignment).mean(0)

    @property
    def mass_outside(self) -> float:
        """Mean squared alignment outside the computed eigenvectors, in [0, 1]."""
        return float(min(1.0, max(0.0, 1.0 - self.mass.sum())))

    @property
    def sample_mass_outside(self) -> Array:
        """Squared alignment outside the computed eigenvectors for each sample, shape (n,)."""
        return np.clip(1.0 - np.square(self.alignment).sum(1), 0.0, 1.0)

    def generalization(
        self, epsilon: float | Literal["random"] = 1e-3, statistic: Statistic = "mean"
    ) -> Generalization:
        r"""Compute the generalization measure :math:`G_\theta` and the interval that holds it.

        Parameters
        ----------
        epsilon : float or "random"
            Threshold on m_i; "random" takes the value that a random direction would reach,
            :func:`random_alignment`.
        statistic : {"mean", "max"}
            m_i is the mean over samples, as in the paper's text, or the maximum, as in its
            plotting code.

        Raises
        ------
        InvalidInputError
            If an argument is not as described.

        Examples
        --------
        >>> import numpy as np
        >>> complexity = Complexity(np.eye(3)[:, :2], n_parameters=10, alignment_errors=np.zeros(2))
        >>> complexity.generalization(0.1)
        Generalization(value=0.2, interval=(0.2, 1.0), count=2, epsilon=0.1, statistic='mean')
        """
        check_choice(statistic, "statistic", ("mean", "max"))
        p = self.n_parameters
        threshold = random_alignment(p) if epsilon == "random" else epsilon
        if not isinstance(threshold, Real) or not 0 < float(threshold) < 1:
            wanted = "be a number between 0 and 1, or 'random'"
            raise InvalidInputError("epsilon", wanted, repr(epsilon))
        threshold = float(threshold)
        count = int((self.aligned(statistic) > threshold).sum())
        low, high = self._narrowest(partial(self._count_bounds, threshold, statistic), count)
        return Generalization(count / p, (low / p, high / p), count, threshold, statistic)

    def _known_sets(self) -> list[NDArray[np.bool_]]:
        """Return sets of vectors to count as known; a large error may cost more than it brings."""
        errors = np.sqrt(np.square(np.atleast_2d(self.alignment_errors)).mean(0))
        return [errors < _UNRESOLVED * 10.0**-power for power in range(_POWERS)]

    def _count_bounds(
        self, threshold: float, statistic: Statistic, known: NDArray[np.bool_]
    ) -> tuple[int, int]:
        """Bound how many of all p eigenvectors count."""
        low, high = self._bounds(known)
        rest = np.clip(1.0 - np.square(low).sum(1), 0, 1).mean()
        rest *= len(self.alignment) if statistic == "max" else 1
        # Fewer than this many of the others count (or so many, where rounding cannot tell).
        fewer = float(rest) / threshold**2
        others = math.ceil(fewer * (1 + 1e-12)) - 1 if fewer > 0 else 0
        others = min(others, self.n_parameters - int(known.sum()))
        counts = [int((_statistic(sizes, statistic) > threshold).sum()) for sizes in (low, high)]
        return counts[0], counts[1] + others

    @property
    def effective_number(self) -> float:
        """exp(entropy of q), with the mass outside counted as one more eigenvector.

        The value is the lower end of what the computed eigenvectors allow.
        """
        return math.exp(_entropy(self.mass) + _entropy(np.array([self.mass_outside])))

    @property
    def effective_number_interval(self) -> tuple[float, float]:
        """Interval that holds exp(entropy of q) over all p eigenvectors."""
        return self._narrowest(self._entropy_bounds, self.effective_number)

    def _entropy_bounds(self, known: NDArray[np.bool_]) -> tuple[float, float]:
        low, high, rest, others = self._mass_bounds(known)
        smallest, largest = _entropy_range(low, high)
        smallest += min(_entropy(rest[:1]), _entropy(rest[1:]))
        if others:
            spread = [r * math.log(others / r) if r > 0 else 0.0 for r in rest]
            # r ln(others / r) peaks at others / e.
            peak = others / math.e
            largest += peak if rest[0] < peak < rest[1] else max(spread)
        return math.exp(smallest), math.exp(largest)

    def _narrowest(
        self, bounds: Callable[[NDArray[np.bool_]], tuple[float, float]], number: float
    ) -> tuple[float, float]:
        """Return the best bounds of several sets of known vectors, around the number itself."""
        lows, highs = zip(*(bounds(known) for known in self._known_sets()), strict=True)
        return min(max(lows), number), max(min(*highs, float(self.n_parameters)), number)

    @property
    def participation_number(self) -> float:
        """1 / Σq², with the mass outside counted as one more eigenvector."""
        return 1.0 / float(np.square(self.mass).sum() + self.mass_outside**2)

    @property
    def participation_number_interval(self) -> tuple[float, float]:
        """Interval that holds 1 / Σq² over all p eigenvectors."""
        return self._narrowest(self._participation_bounds, self.participation_number)

    def _participation_bounds(self, known: NDArray[np.bool_]) -> tuple[float, float]:
        low, high, rest, others = self._mass_bounds(known)
        most = np.square(high).sum() + rest[1] ** 2
        least = np.square(low).sum() + (rest[0] ** 2 / others if others else 0.0)
        return 1.0 / float(most), math.inf if least <= 0 else 1.0 / float(least)

    def _bounds(self, known: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Return |A| of the known vectors less and plus its errors."""
        size, error = np.abs(self.alignment), self.alignment_errors
        return np.clip(size - error, 0, 1)[:, known], np.clip(size + error, 0, 1)[:, known]

    def _mass_bounds(self, known: NDArray[np.bool_]) -> tuple[Array, Array, Array, int]:
        """Bound q of the known vectors and the mass of the rest; return the number of the rest."""
        low, high = (np.square(sizes) for sizes in self._bounds(known))
        rest = [np.clip(1.0 - squared.sum(1), 0, 1).mean() for squared in (high, low)]
        return low.mean(0), high.mean(0), np.array(rest), self.n_parameters - int(known.sum())


def _statistic(sizes: Array, statistic: Statistic) -> Array:
    return sizes.max(0) if statistic == "max" else sizes.mean(0)


def _entropy(masses: Array) -> float:
    return float(entr(masses[masses > 0]).sum())


def _entropy_range(low: Array, high: Array) -> tuple[float, float]:
    """Return the least and largest -Σ q ln q for q between bounds; the term peaks at 1/e."""
    ends = np.stack([entr(low), entr(high)])
    largest = np.where((low < 1 / math.e) & (high > 1 / math.e), 1 / math.e, ends.max(0))
    return float(ends.min(0).sum()), float(largest.sum())
