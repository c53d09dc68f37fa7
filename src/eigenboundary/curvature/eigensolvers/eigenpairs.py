"""Eigenpairs with their residuals, the result of every solver."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from eigenboundary.curvature.eigensolvers.outcome import CONVERGED, Ending, Outcome
from eigenboundary.curvature.operators.base import SymmetricOperator
from eigenboundary.runtime.linalg import column_norms, column_products, fix_signs

#: Matrices of the eigenvectors' size that exist at once while they are checked.
RESULT_COPIES = 6
_NO_VALUES = torch.zeros(0, dtype=torch.float64)


@dataclass(frozen=True)
class Eigenpairs:
    r"""Eigenpairs of a symmetric operator, largest eigenvalue first.

    Attributes
    ----------
    values : Tensor of float64, shape (k,)
        Descending.
    vectors : Tensor, shape (p, k)
        Orthonormal columns; the largest entry of each is positive.
    residuals : Tensor of float64, shape (k,)
        :math:`\|A v_i - \lambda_i v_i\| / |\lambda_1|`, from products with the returned vectors.
    converged : Tensor of bool, shape (k,)
        Whether the residual is within ``tolerance`` and, for a solver that iterates, no larger
        eigenvalue was found to be missing.
    tolerance, scale : float
        The residual asked for, and the norm that residuals are relative to.
    next_values : Tensor of float64, shape (g,)
        Estimates of the eigenvalues that follow the k returned, among which the outliers may end.
    next_residuals : Tensor of float64, shape (g,)
        Their relative residuals.
    rest : (float, float) or None
        An interval that holds the eigenvalues not returned, as far as is known; None if there are
        none.
    method, reason : str
        The solver, and why it was chosen.
    products : int
        Matrix-vector products used.
    outcome : Outcome
        How the search ended.
    details : str
        The outcome in numbers, if any.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: Tensor
    tolerance: float
    scale: float
    method: str
    products: int
    reason: str = ""
    outcome: Outcome = Outcome.CONVERGED
    details: str = ""
    next_values: Tensor = _NO_VALUES
    next_residuals: Tensor = _NO_VALUES
    rest: tuple[float, float] | None = None

    def first(self, k: int) -> Eigenpairs:
        """Return the first k pairs; the eigenvalues of the others become estimates."""
        after = self.values[k:]
        if not len(after):
            return self
        bounds = [float(after.min()), float((after + self.residual_norms[k:]).max())]
        bounds += [] if self.rest is None else self.rest
        return replace(
            self,
            values=self.values[:k],
            vectors=self.vectors[:, :k],
            residuals=self.residuals[:k],
            converged=self.converged[:k],
            next_values=torch.cat([after, self.next_values]),
            next_residuals=torch.cat([self.residuals[k:], self.next_residuals]),
            rest=(min(bounds), max(bounds)),
        )

    @property
    def message(self) -> str:
        """Why the search ended early, or the pairs are inaccurate; empty if they converged."""
        return self.details or self.outcome.text

    @property
    def all_values(self) -> Tensor:
        """The eigenvalues and the estimates that follow them, descending."""
        return torch.cat([self.values, self.next_values])

    @property
    def residual_norms(self) -> Tensor:
        r"""Bounds on :math:`\|A v_i - \lambda_i v_i\|`, rounding included, shape (k,)."""
        return (self.residuals + 10 * torch.finfo(self.vectors.dtype).eps) * self.scale

    @property
    def rest_gaps(self) -> Tensor:
        """Distance of each eigenvalue from the interval ``rest``, shape (k,)."""
        return rest_gaps(self.values, self.rest)

    @property
    def vector_errors(self) -> Tensor:
        r"""Bound on the distance of each vector from a true eigenvector, shape (k,), at most 1.

        :math:`\|\tilde v - v\| \le \sqrt2\,\rho / \mathrm{gap}` for a residual norm ρ and the
        distance gap to the nearest other eigenvalue (Davis & Kahan 1970).
        """
        values, norms, gaps = self.values, self.residual_norms, self.rest_gaps
        if len(values) > 1:
            between = values[:-1] - values[1:]
            gaps[:-1] = torch.minimum(gaps[:-1], between - norms[1:])
            gaps[1:] = torch.minimum(gaps[1:], between - norms[:-1])
        errors = math.sqrt(2) * norms / gaps.clamp_min(1e-300)
        return torch.where(gaps > 2 * norms, errors, 1.0).clamp_max(1.0)


def rest_gaps(values: Tensor, rest: tuple[float, float] | None) -> Tensor:
    """Return each value's distance from an interval: negative inside, infinite without one."""
    if rest is None:
        return torch.full_like(values, math.inf)
    low, high = rest
    return torch.maximum(values - high, low - values)


def residual_scale(values: Tensor, which: str) -> float:
    r"""Return the scale of residuals for descending values: :math:`|\lambda_1|` or the norm.

    The spectral norm replaces an eigenvalue :math:`\lambda_1` near zero, and serves for other ends
    of the spectrum.
    """
    top, norm = abs(float(values[0])), float(values.abs().max())
    relative = math.sqrt(torch.finfo(torch.float64).eps)
    return top if which == "largest" and top > relative * norm else norm


def checked_eigenpairs(
    operator: SymmetricOperator,
    vectors: Tensor,
    *,
    tolerance: float,
    method: str,
    products_before: int,
    next_values: Tensor = _NO_VALUES,
    next_residuals: Tensor | None = None,
    rest: tuple[float, float] | None = None,
    scale: float | None = None,
    ending: Ending = CONVERGED,
    trusted: bool | Tensor = True,
    images: Tensor | None = None,
) -> Eigenpairs:
    r"""Return the Rayleigh quotients and residuals of given unit vectors.

    They are computed from ``images``, by default fresh products. ``scale`` replaces
    :math:`|\lambda_1|` where the largest eigenvalue is not among the vectors. Pairs that are not
    ``trusted`` are marked as not converged. ``next_residuals`` are by default zero.
    """
    if images is None:
        images = operator @ vectors
    values = column_products(vectors, images)
    order = values.argsort(descending=True, stable=True)
    if not torch.equal(order, torch.arange(len(order), device=order.device)):
        values, vectors, images = values[order], vectors[:, order], images[:, order]
    norms = column_norms(torch.addcmul(images, vectors, values.to(vectors.dtype), value=-1))
    reference = (abs(float(values[0])) if len(values) else 0.0) if scale is None else scale
    residuals = norms / reference if reference > 0 else norms
    within = (residuals <= tolerance).cpu()
    if ending.outcome is Outcome.CONVERGED and not within.all():
        ending = Ending(Outcome.INACCURATE, f"largest residual {float(residuals.max()):.1e}")
    if next_residuals is None:
        next_residuals = torch.zeros_like(next_values)
    return Eigenpairs(
        values=values.cpu(),
        vectors=fix_signs(vectors),
        residuals=residuals.cpu(),
        converged=within & trusted,
        tolerance=tolerance,
        scale=reference if reference > 0 else 1.0,
        method=method,
        products=operator.products - products_before,
        outcome=ending.outcome,
        details=ending.details,
        next_values=next_values.cpu(),
        next_residuals=next_residuals.cpu(),
        rest=rest,
    )
