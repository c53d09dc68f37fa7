r"""The spectrum's distribution, by stochastic Lanczos quadrature.

A uniformly random unit vector u weighs the eigenvalues by :math:`|\langle u, v_i\rangle|^2`, each
with a mean of 1/p, so that

.. math:: N(t) = \#\{i : \lambda_i \le t\} = p\; \mathrm{E}_u\, \mu_u((-\infty, t]),
          \qquad \mu_u = \sum_i |\langle u, v_i\rangle|^2\, \delta_{\lambda_i}.

j steps of Lanczos from u give the tridiagonal T whose eigenvalues and squared first components are
the nodes and weights of a Gauss quadrature for :math:`\mu_u` (Ubaru, Chen & Saad 2017; of Hessians,
Ghorbani, Krishnan & Xiao 2019). Two errors are left, and both are bounded:

* That of the quadrature. All measures with the moments that T knows have between L(t) and
  L(t) + w(t) at or below t, where w(t) is the weight of t itself and L(t) that of the nodes below
  it in the quadrature that has a node at t, Gauss–Radau (Chebyshev, Markov and Stieltjes; Chen,
  Trogdon & Ubaru 2021).
* That of so few probes. The share of c among d eigenvalues in a random unit vector has the variance
  :math:`2c(d-c)/(d^2(d+2))`, which is turned into an interval for c (a score interval).

Known eigenpairs are counted as they are, and the probes are drawn in their complement.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh_tridiagonal
from scipy.special import ndtri
from torch import Tensor

from eigenboundary.curvature.eigensolvers.eigenpairs import Eigenpairs
from eigenboundary.curvature.operators.base import SymmetricOperator
from eigenboundary.curvature.spectrum.trace import check_deflation, random_directions
from eigenboundary.runtime.arguments import (
    check_positive_integer,
    check_progress,
    check_seed,
    check_tolerance,
)
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.linalg import column_norms, inner
from eigenboundary.runtime.precision import full_precision

Array = NDArray[np.float64]

#: Lanczos vectors of all probes that run together.
_BASIS_BYTES = 2**29


@dataclass(frozen=True)
class Band:
    """Numbers with their intervals, arrays of the shape that was asked for.

    Attributes
    ----------
    value, low, high : array
    """

    value: Array
    low: Array
    high: Array


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """How the eigenvalues of a matrix are distributed.

    Attributes
    ----------
    size : int
        p, the number of eigenvalues.
    known : array, shape (k,)
        Eigenvalues that were given, counted exactly.
    diagonals, offdiagonals : array, shape (m, j)
        Of each probe's tridiagonal matrix; the last entry of ``offdiagonals`` is the coupling to
        the step that was not made, zero where there is none left.
    uncertainty : float
        Eigenvalues are told apart down to this distance: rounding, and the residuals of known
        eigenpairs. Intervals allow for it.
    products : int
        Matrix-vector products used.
    """

    size: int
    known: Annotated[Array, "known"]
    diagonals: Annotated[Array, "probes", "steps"]
    offdiagonals: Annotated[Array, "probes", "steps"]
    uncertainty: float
    products: int

    def __post_init__(self) -> None:
        for held in (self.known, self.diagonals, self.offdiagonals):
            held.setflags(write=False)

    @cached_property
    def _quadratures(self) -> tuple[Array, Array]:
        if not self.diagonals.size:
            return self.diagonals, self.diagonals
        pairs = [
            _nodes_and_weights(diagonal, offdiagonal[:-1])
            for diagonal, offdiagonal in zip(self.diagonals, self.offdiagonals, strict=True)
        ]
        return np.stack([nodes for nodes, _ in pairs]), np.stack([weights for _, weights in pairs])

    @property
    def nodes(self) -> Array:
        """Nodes of each probe's quadrature, ascending, shape (m, j)."""
        return self._quadratures[0]

    @property
    def weights(self) -> Array:
        """Their weights, which sum to one for each probe, shape (m, j)."""
        return self._quadratures[1]

    @property
    def unknown(self) -> int:
        """Eigenvalues that are not among the known ones."""
        return self.size - len(self.known)

    def count_above(self, t: ArrayLike, *, confidence: float = 0.95) -> Band:
        """How many eigenvalues exceed t.

        Parameters
        ----------
        t : float or array
        confidence : float
            Probability with which each interval holds the number.

        Returns
        -------
        Band
            The bounds are whole numbers, the value is not.

        Raises
        ------
        InvalidInputError
            If t is not finite, or ``confidence`` not between 0 and 1.
        """
        thresholds = np.asarray(t, dtype=np.float64)
        if not np.isfinite(thresholds).all():
            raise InvalidInputError("t", "be finite", repr(t))
        check_tolerance(confidence, "confidence")
        z = float(ndtri(0.5 + 0.5 * confidence))
        columns = [self._above(float(entry), z) for entry in thresholds.reshape(-1)]
        rows = np.array(columns).reshape(-1, 3).T
        return Band(*(row.reshape(thresholds.shape) for row in rows))

    def cumulative(self, t: ArrayLike, *, confidence: float = 0.95) -> Band:
        """Share of the p eigenvalues that are at most t; see :meth:`count_above`."""
        above = self.count_above(t, confidence=confidence)
        return Band(*(1 - count / self.size for count in (above.value, above.high, above.low)))

    def density(self, grid: ArrayLike, width: float) -> Array:
        """The density smoothed by a Gaussian, for pictures; its integral is one.

        Parameters
        ----------
        grid : array
            Where to evaluate it.
        width : float
            Standard deviation of the Gaussian.
        """
        if not width > 0:
            raise InvalidInputError("width", "be above 0", repr(width))
        at = np.asarray(grid, dtype=np.float64)[..., None]

        def smoothed(nodes: Array, weights: Array) -> Array:
            bells = np.exp(-0.5 * ((at - nodes) / width) ** 2) / (np.sqrt(2 * np.pi) * width)
            return np.asarray(bells @ weights)

        each = self.unknown / max(self.size * len(self.weights), 1)
        return smoothed(self.nodes.ravel(), each * self.weights.ravel()) + smoothed(
            self.known, np.full(len(self.known), 1 / self.size)
        )

    def moment(self, order: int) -> tuple[float, float]:
        r"""Mean of :math:`\lambda^{order}` over the spectrum, and its standard error over probes.

        The quadrature adds no error up to an order of 2j - 1.
        """
        check_positive_integer(order, "order")
        known = float((self.known**order).sum())
        if not self.unknown:
            return known / self.size, 0.0
        each = self.unknown * (self.weights * self.nodes**order).sum(1)
        error = float(each.std(ddof=1)) / len(each) ** 0.5
        return (known + float(each.mean())) / self.size, error / self.size

    def _above(self, t: float, z: float) -> tuple[float, float, float]:
        shift = self.uncertainty
        value, low, high = (int((self.known > t + s).sum()) for s in (0.0, shift, -shift))
        d, m = self.unknown, len(self.diagonals)
        if not d:
            return float(value), float(low), float(high)
        most = d * (1 - np.mean([self._below(i, t - shift)[0] for i in range(m)]))
        least = d * (1 - np.mean([sum(self._below(i, t + shift)) for i in range(m)]))
        middle = d * float((self.weights * (self.nodes > t)).sum(1).mean())
        below, above = _score(least, d, m, z)[0], _score(most, d, m, z)[1]
        low, high = _whole(low + below, high + above)
        return min(max(value + middle, low), high), low, high

    def _below(self, probe: int, t: float) -> tuple[float, float]:
        """Weight below t, and at t, of the probe's quadrature that has a node at t."""
        diagonal, offdiagonal = self.diagonals[probe], self.offdiagonals[probe]
        size = max(np.abs(diagonal).max(), np.abs(offdiagonal).max(), abs(t), 1e-300)
        pivot = _last_pivot(diagonal, offdiagonal[:-1], t, size)
        last = t + offdiagonal[-1] * (offdiagonal[-1] / pivot)
        nodes, weights = _nodes_and_weights(np.append(diagonal, last), offdiagonal)
        here = int(np.abs(nodes - t).argmin())
        return float(weights[:here].sum()), float(weights[here])


def _nodes_and_weights(diagonal: Array, offdiagonal: Array) -> tuple[Array, Array]:
    if len(diagonal) == 1:
        return diagonal.copy(), np.ones(1)
    nodes, vectors = eigh_tridiagonal(diagonal, offdiagonal)
    return nodes, vectors[0] ** 2


def _last_pivot(diagonal: Array, offdiagonal: Array, t: float, size: float) -> float:
    """The last pivot of T - t, kept from zero by rounding's size."""
    tiny = np.finfo(np.float64).eps * size
    pivot = 1.0
    for i, entry in enumerate(diagonal):
        coupled = offdiagonal[i - 1] * (offdiagonal[i - 1] / pivot) if i else 0.0
        pivot = float(entry - t - coupled)
        if abs(pivot) < tiny:
            pivot = tiny
    return pivot


def _whole(low: float, high: float) -> tuple[int, int]:
    """The whole numbers of an interval; those around it where it holds none."""
    inner_low, inner_high = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    if inner_low > inner_high:
        return inner_high, inner_low
    return inner_low, inner_high


def _score(count: float, d: int, probes: int, z: float) -> tuple[float, float]:
    r"""All c with :math:`(\hat c - c)^2 \le z^2\, 2c(d-c)/((d+2) m)`, as an interval."""
    spread = 2 * z * z / ((d + 2) * probes)
    count = min(max(count, 0.0), float(d))
    half = count + 0.5 * spread * d
    root = math.sqrt(max(half * half - (1 + spread) * count * count, 0.0))
    return max((half - root) / (1 + spread), 0.0), min((half + root) / (1 + spread), d)


@full_precision()
def spectral_density(
    operator: SymmetricOperator,
    *,
    probes: int = 10,
    steps: int = 60,
    eigenpairs: Eigenpairs | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SpectralDensity:
    """The distribution of a symmetric operator's eigenvalues, by stochastic Lanczos quadrature.

    Parameters
    ----------
    operator : SymmetricOperator
    probes : int
        Random vectors, at least 2. More of them narrow the intervals of counts.
    steps : int
        Of Lanczos, from each. More of them resolve the spectrum more finely.
    eigenpairs : Eigenpairs, optional
        Known eigenpairs of the operator; they are counted exactly.
    seed : int
    progress : callable, optional
        Called as ``progress(done, total)`` with numbers of products.

    Returns
    -------
    SpectralDensity

    Raises
    ------
    InvalidInputError
        If an argument is not as described.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> matrix = eb.MatrixOperator(torch.diag(torch.linspace(0, 1, 1000).double()))
    >>> band = eb.spectral_density(matrix, probes=8, steps=30).count_above(0.75)
    >>> bool(band.low < 250 < band.high), bool(band.high - band.low < 120)
    (True, True)
    """
    if not isinstance(operator, SymmetricOperator):
        raise InvalidInputError("operator", "be a SymmetricOperator", type(operator).__name__)
    check_positive_integer(probes, "probes")
    check_positive_integer(steps, "steps")
    if probes < 2:
        raise InvalidInputError("probes", "be at least 2", f"{probes}")
    check_seed(seed)
    check_progress(progress)
    known = check_deflation(eigenpairs, operator)
    before = operator.products
    steps = min(steps, operator.size - known.shape[1])
    itemsize = torch.finfo(operator.dtype).bits // 8
    basis_bytes = operator.memory.at_any_time(_BASIS_BYTES)
    together = max(1, basis_bytes // (itemsize * operator.size * max(steps, 1)))
    found = []
    for start in range(0, probes, together):
        count = min(together, probes - start)

        def report(step: int, start: int = start, count: int = count) -> None:
            if progress is not None:
                progress(start * steps + step * count, probes * steps)

        block = random_directions(operator, count, known, seed, start)
        found.append(_lanczos(operator, block, known, steps, report))
    diagonals, offdiagonals = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    values = np.zeros(0) if eigenpairs is None else eigenpairs.values.double().cpu().numpy().copy()
    largest = np.abs(np.concatenate([values, diagonals.ravel(), offdiagonals.ravel()])).max()
    residuals = 0.0
    if eigenpairs is not None:
        residuals = float(eigenpairs.residuals.double().norm()) * eigenpairs.scale
    return SpectralDensity(
        operator.size,
        values,
        diagonals,
        offdiagonals,
        _rounding(operator.dtype) * float(largest) + residuals,
        operator.products - before,
    )


def _rounding(dtype: torch.dtype) -> float:
    """Rounding of a Ritz value relative to the matrix' norm."""
    return 20 * torch.finfo(dtype).eps


def _lanczos(
    operator: SymmetricOperator,
    block: Tensor,
    known: Tensor,
    steps: int,
    report: Callable[[int], Any],
) -> tuple[Tensor, Tensor]:
    """Diagonals and off-diagonals (b, steps), float64, of Lanczos from each of b columns.

    Each column has a basis of its own, fully reorthogonalised; all share the operator's products.
    """
    count = block.shape[1]
    diagonals = torch.zeros(count, steps, dtype=torch.float64)
    offdiagonals = torch.zeros_like(diagonals)
    bases = torch.empty(count, steps, operator.size, dtype=block.dtype, device=block.device)
    running = list(range(count))
    block = block / column_norms(block).to(block.dtype)
    for step in range(steps):
        image = operator @ block
        if known.shape[1]:
            image = image - known @ inner(known, image).to(image.dtype)
        for column, probe in enumerate(running):
            bases[probe, step] = block[:, column]
            basis, left = bases[probe, : step + 1].T, image[:, [column]]
            coefficients = inner(basis, left)
            diagonals[probe, step] = coefficients[-1, 0]
            left = left - basis @ coefficients.to(left.dtype)
            image[:, [column]] = left - basis @ inner(basis, left).to(left.dtype)
        lengths = column_norms(image).cpu()
        offdiagonals[running, step] = lengths
        size = torch.maximum(diagonals.abs().amax(1), offdiagonals.amax(1))[running]
        last = step + 1 + known.shape[1] == operator.size
        going = lengths > (torch.inf if last else _rounding(operator.dtype) * size)
        # What is left of the others is rounding: their quadratures are exact.
        offdiagonals[[p for p, on in zip(running, going, strict=True) if not on], step] = 0.0
        running = [p for p, on in zip(running, going, strict=True) if on]
        if not running:
            break
        kept = going.to(image.device)
        block = image[:, kept] / lengths[going].to(image)
        if known.shape[1]:
            block = block - known @ inner(known, block).to(block.dtype)
        report(step + 1)
    return diagonals, offdiagonals
