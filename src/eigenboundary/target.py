r"""How sure G_θ is to be, and whether the eigenpairs that are known by now make it so.

G_θ counts all p eigenvectors, but only those with alignment matter. Once the mass outside the known
ones is less than :math:`\varepsilon^2`, no other can count, and the interval of
:mod:`eigenboundary.complexity` closes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from numbers import Real

import torch

from eigenboundary.alignments import training_alignment
from eigenboundary.complexity import Complexity, Generalization
from eigenboundary.curvature.range_finder import Enough, LeadingPairs
from eigenboundary.errors import InvalidInputError
from eigenboundary.perturbation import mixture_errors
from eigenboundary.problem import Problem

__all__ = ["Target"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """A width that the interval of G_θ at an ε shall have at most.

    Attributes
    ----------
    epsilon : float
    width : float
        Of the interval, as a share of p; 0 for a closed one.
    least : int
        Eigenpairs to find in any case.
    """

    epsilon: float
    width: float
    least: int = 1

    def check(self) -> None:
        """Raise InvalidInputError unless both are numbers in their ranges."""
        for name, value, fits in (
            ("complexity_tolerance", self.width, lambda v: 0 <= v < 1),
            ("epsilon", self.epsilon, lambda v: 0 < v < 1),
        ):
            if not isinstance(value, Real) or isinstance(value, bool) or not fits(float(value)):
                closed = "0 (included)" if name == "complexity_tolerance" else "0"
                raise InvalidInputError(
                    f"{name} must be a number between {closed} and 1; got {value!r}."
                )

    def reached(self, found: Generalization) -> bool:
        """Whether an interval is as narrow as asked."""
        low, high = found.interval
        return high - low <= self.width

    def enough(self, problem: Problem) -> Enough:
        """What a search for eigenpairs asks whether the training samples' G_θ is sure enough."""
        in_basis = torch.zeros(problem.n_samples, 0, dtype=torch.float64)
        rounding = 10 * torch.finfo(problem.dtype).eps

        def asked(leading: LeadingPairs) -> bool:
            nonlocal in_basis
            new = leading.basis[:, in_basis.shape[1] :]
            aligned = training_alignment(problem, new).cosines.double().cpu()
            in_basis = torch.cat([in_basis, aligned], dim=1)
            alignment = (in_basis @ leading.coefficients).numpy()
            errors = mixture_errors(alignment, leading.values, leading.norms, leading.rest)
            complexity = Complexity(alignment, problem.n_parameters, errors + rounding)
            found = complexity.generalization(self.epsilon)
            _log.info("G at %g from %d eigenpairs: %s", self.epsilon, len(errors.T), found.interval)
            return len(leading.values) >= self.least and self.reached(found)

        return asked
