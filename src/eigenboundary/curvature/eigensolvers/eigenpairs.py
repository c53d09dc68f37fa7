"""Eigenpairs with their residuals: what every solver returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from eigenboundary.curvature.eigensolvers.outcome import CONVERGED, Ending, Outcome
from eigenboundary.curvature.operators.base import SymmetricOperator
from eigenboundary.runtime.linalg import column_norms, column_products, fix_signs

#: How many matrices like the eigenvectors there are at once while they are checked.
RESULT_COPIES = 6


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
        What the residuals were asked to reach, and the norm they are relative to.
    next_values : Tensor of float64, shape (g,)
        Estimates of the eigenvalues that follow the k returned, for telling the bulk.
    next_residuals : Tensor of float64, shape (g,)
    rest : (float, float) or None
        An interval that holds the eigenvalues not returned, as far as is known; None if all were.
    method, reason : str
        The solver, and why it was chosen.
    products : int
        Matrix-vector products used.
    outcome : Outcome
        How the search ended.
    details : str
        The outcome in numbers, where there are some.
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
    next_values: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    next_residuals: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    rest: tuple[float, float] | None = None

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
        r"""Bounds on :math:`\|A v_i - \lambda_i v_i\|`, with what rounding may hide, shape (k,)."""
        return (self.residuals + 10 * torch.finfo(self.vectors.dtype).eps) * self.scale

    @property
    def rest_gaps(self) -> Tensor:
        """Distance of each eigenvalue from those that are not returned, shape (k,)."""
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
    """Distance of each value from an interval; none if it is empty, negative inside."""
    if rest is None:
        return torch.full_like(values, math.inf)
    low, high = rest
    return torch.maximum(values - high, low - values)


def residual_scale(values: Tensor, which: str) -> float:
    r"""What residuals are relative to: :math:`|\lambda_1|`, or the norm where that is no measure.

    ``values`` are descending. A largest eigenvalue near zero, or another end of the spectrum,
    leaves the spectral norm.
    """
    top, norm = abs(float(values[0])), float(values.abs().max())
    relative = math.sqrt(torch.finfo(torch.float64).eps)
    return top if which == "largest" and top > relative * norm else norm


def default_tolerance(dtype: torch.dtype) -> float:
    """Relative residual asked for where the caller names none."""
    return 1e-10 if dtype == torch.float64 else 1e-6


def checked_eigenpairs(
    operator: SymmetricOperator,
    vectors: Tensor,
    *,
    tolerance: float,
    method: str,
    products_before: int,
    scale: float | None = None,
    ending: Ending = CONVERGED,
    trusted: bool | Tensor = True,
    next_values: Tensor | None = None,
    next_residuals: Tensor | None = None,
    rest: tuple[float, float] | None = None,
    images: Tensor | None = None,
) -> Eigenpairs:
    r"""Rayleigh quotients and residuals of given unit vectors.

    They come from fresh products, or from the products' ``images`` where the caller has them.

    ``rest`` holds the eigenvalues not returned; ``scale`` replaces :math:`|\lambda_1|` where the
    largest eigenvalue is not among the vectors; pairs that are not ``trusted`` are
    marked as not converged.
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
    empty = torch.zeros(0, dtype=torch.float64)
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
        next_values=empty if next_values is None else next_values.cpu(),
        next_residuals=empty if next_residuals is None else next_residuals.cpu(),
        rest=rest,
    )
