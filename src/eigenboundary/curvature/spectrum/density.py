r"""The distribution of the spectrum, by stochastic Lanczos quadrature.

A uniformly random unit vector u gives the eigenvalues the weights
:math:`|\langle u, v_i\rangle|^2`, each with a mean of 1/p, so that

.. math:: N(t) = \#\{i : \lambda_i \le t\} = p\; \mathrm{E}_u\, \mu_u((-\infty, t]),
          \qquad \mu_u = \sum_i |\langle u, v_i\rangle|^2\, \delta_{\lambda_i}.

j steps of Lanczos from u give the tridiagonal T whose eigenvalues and squared first components are
the nodes and weights of a Gauss quadrature for :math:`\mu_u` (Ubaru, Chen & Saad 2017; applied to
Hessians by Ghorbani, Krishnan & Xiao 2019). Two errors remain, and both are bounded:

* Quadrature. Every measure with the moments of T has between L(t) and L(t) + w(t) at or below t:
  in the Gauss–Radau quadrature with a node at t, w(t) is the weight of t and L(t) the weight of the
  nodes below it (Chebyshev, Markov and Stieltjes; Chen, Trogdon & Ubaru 2021).
* Few probes. The share of c among d eigenvalues in a random unit vector has the variance
  :math:`2c(d-c)/(d^2(d+2))`, which gives a score interval for c.

Known eigenpairs are counted exactly, and the probes are drawn in their complement.
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
from eigenboundary.curvature.operators.base import SymmetricOperator, check_operator
from eigenboundary.curvature.spectrum.trace import check_deflation, random_directions
from eigenboundary.runtime.arguments import (
    check_integer,
    check_number,
    check_progress,
    check_seed,
    finite_array,
)
from eigenboundary.runtime.linalg import column_norms, inner
from eigenboundary.runtime.precision import full_precision

Array = NDArray[np.float64]

# Bytes of the Lanczos vectors of all probes that run together.
_BASIS_BYTES = 2**29


@dataclass(frozen=True)
class Band:
    """Numbers with their intervals, arrays of the requested shape.

    Attributes
    ----------
    value, low, high : array
    """

    value: Array
    low: Array
    high: Array


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """The distribution of a matrix' eigenvalues.

    Attributes
    ----------
    size : int
        p, the number of eigenvalues.
    known : array, shape (k,)
        Known eigenvalues, counted exactly.
    diagonals, offdiagonals : array, shape (m, j)
        Entries of each probe's tridiagonal matrix; the last entry of ``offdiagonals`` is the
        coupling to the next step, zero if there is none.
    uncertainty : float
        Distance below which eigenvalues are not distinguished: rounding, and the residuals of known
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
        pairs = map(_nodes_and_weights, self.diagonals, self.offdiagonals[:, :-1])
        nodes, weights = (np.stack(part) for part in zip(*pairs, strict=True))
        return nodes, weights

    @property
    def nodes(self) -> Array:
        """Nodes of each probe's quadrature, ascending, shape (m, j)."""
        return self._quadratures[0]

    @property
    def weights(self) -> Array:
        """Weights of the nodes, which sum to one for each probe, shape (m, j)."""
        return self._quadratures[1]

    @property
    def unknown(self) -> int:
        """Eigenvalues that are not among the known ones."""
        return self.size - len(self.known)

    def count_above(self, t: ArrayLike, *, confidence: float = 0.95) -> Band:
        """Estimate the number of eigenvalues above t.

        Parameters
        ----------
        t : float or array
        confidence : float
            Probability that an interval holds the number.

        Returns
        -------
        Band
            The bounds are whole numbers, the value is not.

        Raises
        ------
        InvalidInputError
            If t is not finite, or ``confidence`` not between 0 and 1.
        """
        thresholds = finite_array(t, "t")
        check_number(confidence, "confidence", above=0, below=1)
        z = float(ndtri(0.5 + 0.5 * confidence))
        columns = [self._above(float(entry), z) for entry in thresholds.reshape(-1)]
        rows = np.array(columns).reshape(-1, 3).T
        return Band(*(row.reshape(thresholds.shape) for row in rows))

    def cumulative(self, t: ArrayLike, *, confidence: float = 0.95) -> Band:
        """Estimate the share of eigenvalues that are at most t; see :meth:`count_above`."""
        above = self.count_above(t, confidence=confidence)
        return Band(*(1 - count / self.size for count in (above.value, above.high, above.low)))

    def density(self, grid: ArrayLike, width: float) -> Array:
        """Return the density smoothed by a Gaussian, for pictures; its integral is one.

        Parameters
        ----------
        grid : array
            Points of evaluation.
        width : float
            Standard deviation of the Gaussian.
        """
        check_number(width, "width", above=0)
        at = np.asarray(grid, dtype=np.float64)[..., None]

        def smoothed(nodes: Array, weights: Array) -> Array:
            bells = np.exp(-0.5 * ((at - nodes) / width) ** 2) / (np.sqrt(2 * np.pi) * width)
            return np.asarray(bells @ weights)

        each = self.unknown / max(self.size * len(self.weights), 1)
        return smoothed(self.nodes.ravel(), each * self.weights.ravel()) + smoothed(
            self.known, np.full(len(self.known), 1 / self.size)
        )

    def moment(self, order: int) -> tuple[float, float]:
        r"""Estimate the mean of :math:`\lambda^{order}` and its standard error over probes.

        The quadrature is exact up to an order of 2j - 1.
        """
        check_integer(order, "order")
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
        """Return the weights below t and at t of the probe's quadrature with a node at t."""
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
    """Return the last pivot of T - t, at least rounding in size."""
    tiny = np.finfo(np.float64).eps * size
    pivot = 1.0
    for i, entry in enumerate(diagonal):
        coupled = offdiagonal[i - 1] * (offdiagonal[i - 1] / pivot) if i else 0.0
        pivot = float(entry - t - coupled)
        if abs(pivot) < tiny:
            pivot = tiny
    return pivot


def _whole(low: float, high: float) -> tuple[int, int]:
    """Return the whole numbers of an interval, or around an interval without any."""
    inner_low, inner_high = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    if inner_low > inner_high:
        return inner_high, inner_low
    return inner_low, inner_high


def _score(count: float, d: int, probes: int, z: float) -> tuple[float, float]:
    r"""Return the interval of c with :math:`(\hat c - c)^2 \le z^2\, 2c(d-c)/((d+2) m)`."""
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
    """Estimate the distribution of an operator's eigenvalues by stochastic Lanczos quadrature.

    Parameters
    ----------
    operator : SymmetricOperator
    probes : int
        Random vectors, at least 2. More probes narrow the intervals of counts.
    steps : int
        Lanczos steps from each probe. More steps resolve the spectrum more finely.
    eigenpairs : Eigenpairs, optional
        Known eigenpairs of the operator, counted exactly.
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
    check_operator(operator)
    check_integer(probes, "probes", 2)
    check_integer(steps, "steps")
    check_seed(seed)
    check_progress(progress)
    known = check_deflation(eigenpairs, operator)
    before = operator.products
    steps = min(steps, operator.size - known.shape[1])
    basis_bytes = operator.memory.at_any_time(_BASIS_BYTES)
    together = max(1, basis_bytes // (operator.dtype.itemsize * operator.size * max(steps, 1)))
    found = []
    for start in range(0, probes, together):
        count = min(together, probes - start)

        def report(step: int, start: int = start, count: int = count) -> None:
            if progress is not None:
                progress(start * steps + step * count, probes * steps)

        block = random_directions(operator, count, known, seed, start)
        found.append(_lanczos(operator, block, known, steps, report))
    diagonals, offdiagonals = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    values, residuals = np.zeros(0), 0.0
    if eigenpairs is not None:
        values = eigenpairs.values.double().cpu().numpy().copy()
        residuals = float(eigenpairs.residuals.double().norm()) * eigenpairs.scale
    largest = np.abs(np.concatenate([values, diagonals.ravel(), offdiagonals.ravel()])).max()
    uncertainty = _rounding(operator.dtype) * float(largest) + residuals
    products = operator.products - before
    return SpectralDensity(operator.size, values, diagonals, offdiagonals, uncertainty, products)


def _rounding(dtype: torch.dtype) -> float:
    """Return the rounding of a Ritz value relative to the matrix' norm."""
    return 20 * torch.finfo(dtype).eps


def _lanczos(
    operator: SymmetricOperator,
    block: Tensor,
    known: Tensor,
    steps: int,
    report: Callable[[int], Any],
) -> tuple[Tensor, Tensor]:
    """Run Lanczos from each of b columns, with a basis each; return the entries of T (b, steps)."""
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
        # The other remainders are rounding: their quadratures are exact.
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
