r"""The trace of a matrix too large for p products, by XTrace.

Let :math:`\Omega = [\omega_1 \dots \omega_m]` be random, Q an orthonormal basis of the range of
:math:`A\Omega`, and :math:`Q_{(i)}` a basis of the range without :math:`A\omega_i`. Each i
gives an unbiased estimate

.. math:: t_i = \mathrm{tr}\,(Q_{(i)}^T A Q_{(i)}) + \frac{d_i}{\|\nu_i\|^2}\,\nu_i^T A\, \nu_i,
          \qquad \nu_i = (I - Q_{(i)} Q_{(i)}^T)\,\omega_i,

with :math:`d_i` the dimension of the complement in which :math:`\nu_i` is a uniformly random
direction. Their mean is the estimate, at 2m products (Epperly, Tropp & Webber 2024,
arXiv:2301.07825, algorithm 3.1 with the normalisation of section 2.3). Q captures the large part
of the matrix, so the error falls with the spectrum, faster than one over the square root of m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eigenboundary.curvature.eigensolvers.eigenpairs import Eigenpairs
from eigenboundary.curvature.operators.base import SymmetricOperator, check_operator
from eigenboundary.runtime.arguments import check_integer, check_seed
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.linalg import column_norms, eigvalsh, inner, orthonormal_extension
from eigenboundary.runtime.precision import full_precision

# Below this share the directions that `orthonormal_extension` finds may be rounding.
_DEPENDENT = {torch.float32: 1e-5, torch.float64: 1e-10}


@dataclass(frozen=True)
class TraceEstimate:
    """An estimate of a trace.

    Attributes
    ----------
    value : float
    error : float
        Standard error by a conservative jackknife, and rounding. The trace is within two standard
        errors with a probability of about 90 % or more, and nearly always within three. Zero where
        the trace is exact.
    products : int
        Matrix-vector products used.
    """

    value: float
    error: float
    products: int


@full_precision()
def estimate_trace(
    operator: SymmetricOperator,
    *,
    products: int = 100,
    eigenpairs: Eigenpairs | None = None,
    seed: int = 0,
) -> TraceEstimate:
    """Estimate the trace of a symmetric operator and its standard error, by XTrace.

    Parameters
    ----------
    operator : SymmetricOperator
    products : int
        Matrix-vector products to use, at least 4; from p on the trace is exact.
    eigenpairs : Eigenpairs, optional
        Known eigenpairs of the operator. Only the trace in their complement is estimated. Accurate
        pairs reduce the error, and inaccurate ones do not bias the estimate.
    seed : int

    Returns
    -------
    TraceEstimate

    Raises
    ------
    InvalidInputError
        If there are fewer than 4 products, or the eigenpairs are of another size.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> matrix = eb.MatrixOperator(torch.diag(1 / torch.arange(1.0, 1001.0).double() ** 2))
    >>> estimate = eb.estimate_trace(matrix, products=60)
    >>> abs(estimate.value - 1.6439346) < 3 * estimate.error < 0.02
    True
    """
    check_operator(operator)
    check_integer(products, "products", 4)
    check_seed(seed)
    known = check_deflation(eigenpairs, operator)
    before = operator.products
    if products >= operator.size:
        return TraceEstimate(operator.trace(), 0.0, operator.products - before)
    values = torch.zeros(0) if eigenpairs is None else eigenpairs.values
    sample = _Sample.drawn(operator, products // 2, known, seed)
    rounding = 10 * torch.finfo(operator.dtype).eps * float(values.abs().sum())
    return TraceEstimate(
        float(values.sum()) + float(sample.leave_one_out().mean()),
        math.hypot(sample.jackknife(), sample.rounding + rounding),
        operator.products - before,
    )


@dataclass(frozen=True)
class _Sample:
    """m random vectors and their images, in coordinates of the basis Q of the images' range."""

    dimension: int  # of the complement of the known eigenvectors
    shadow: Tensor  # QᵀΩ, shape (r, m)
    coupled: Tensor  # QᵀAΩ, shape (r, m)
    projected: Tensor  # QᵀAQ, shape (r, r)
    quadratic: Tensor  # ωᵀAω, shape (m,)
    # Unit vectors (r, m), each orthogonal to all images but one; zero where the images are
    # dependent, so that any m - 1 span the range.
    added: Tensor
    rounding: float

    @classmethod
    def drawn(cls, operator: SymmetricOperator, m: int, known: Tensor, seed: int) -> _Sample:
        omega = random_directions(operator, m, known, seed)
        image = operator @ omega
        basis = orthonormal_extension(image, [known])
        quadratic = (omega.double() * image.double()).sum(0).cpu()
        coupled, shadow = inner(basis, image).cpu(), inner(basis, omega).cpu()
        del image, omega
        projected = inner(basis, operator @ basis).cpu()
        projected = (projected + projected.T) / 2
        size = float(eigvalsh(projected).abs().sum()) if len(projected) else 0.0
        eps = torch.finfo(operator.dtype).eps
        dependent = _DEPENDENT[operator.dtype]
        scaled = coupled / column_norms(coupled).clamp_min(1e-300)
        if len(projected) == m and float(torch.linalg.svdvals(scaled)[-1]) > dependent:
            added = torch.linalg.inv(coupled).T
            added, rounding = added / column_norms(added), 10 * eps * size
        else:
            added, rounding = torch.zeros_like(coupled), dependent * size
        dimension = operator.size - known.shape[1]
        return cls(dimension, shadow, coupled, projected, quadratic, added, rounding)

    def leave_one_out(self) -> Tensor:
        """Return the estimates :math:`t_i`, float64 (m,)."""
        return self._estimates([self.added])

    def jackknife(self) -> float:
        r"""Return the standard error of the mean, :math:`\sqrt{\sum_j (T_{(j)} - \bar T)^2}`.

        :math:`T_{(j)}` is the estimate without :math:`\omega_j`. On average the square is at least
        the variance of an estimate from m - 1 vectors (Efron & Stein).
        """
        m = len(self.quadratic)
        without = []
        for j in range(m):
            first = self.added[:, [j]]
            second = self.added - first * (first * self.added).sum(0)
            norms = column_norms(second)
            second = second / torch.where(norms > 1e-8, norms, math.inf)
            others = torch.arange(m) != j
            without.append(self._estimates([first.expand_as(second), second])[others].mean())
        estimates = torch.stack(without)
        return float((estimates - estimates.mean()).norm())

    def _estimates(self, removed: list[Tensor]) -> Tensor:
        """Return the estimates where the range of each i lacks the i-th columns of ``removed``."""
        kept = self.projected.trace().expand(len(self.quadratic))
        inside, left = self.shadow, torch.full_like(self.quadratic, float(len(self.projected)))
        for directions in removed:
            kept = kept - (directions * (self.projected @ directions)).sum(0)
            inside = inside - directions * (directions * self.shadow).sum(0)
            left = left - directions.square().sum(0)
        form = self.quadratic - 2 * (inside * self.coupled).sum(0)
        form = form + (inside * (self.projected @ inside)).sum(0)
        room = self.dimension - left
        squares = (self.dimension - inside.square().sum(0)).clamp_min(1e-300)
        return kept + torch.where(room > 0.5, room / squares * form, 0.0)


def random_directions(
    operator: SymmetricOperator, count: int, known: Tensor, seed: int, start: int = 0
) -> Tensor:
    """Return columns ``start`` to ``start + count`` of a stream of random vectors.

    Each is a uniformly random direction in the complement of ``known``, of dimension d, and of
    length √d. The stream depends on the seed alone.
    """
    generator = torch.Generator().manual_seed(seed)
    columns = torch.empty(count, operator.size, dtype=operator.dtype, device=operator.device)
    for number in range(start + count):
        drawn = torch.randn(operator.size, dtype=torch.float64, generator=generator)
        if number >= start:
            columns[number - start] = drawn.to(operator.device, operator.dtype)
    block = columns.T
    for _ in range(2 if known.shape[1] else 0):
        block = block - known @ inner(known, block).to(block.dtype)
    length = math.sqrt(operator.size - known.shape[1])
    return block * (length / column_norms(block)).to(block.dtype)


def check_deflation(eigenpairs: Eigenpairs | None, operator: SymmetricOperator) -> Tensor:
    """Return the known eigenvectors as columns that fit the operator, (p, 0) if there are none."""
    if eigenpairs is None:
        return torch.empty(operator.size, 0, dtype=operator.dtype, device=operator.device)
    if not isinstance(eigenpairs, Eigenpairs):
        raise InvalidInputError("eigenpairs", "be Eigenpairs", type(eigenpairs).__name__)
    if eigenpairs.vectors.shape[0] != operator.size:
        wanted = f"be of the operator, with vectors of p = {operator.size} entries"
        raise InvalidInputError("eigenpairs", wanted, str(eigenpairs.vectors.shape[0]))
    return eigenpairs.vectors.to(operator.device, operator.dtype)
