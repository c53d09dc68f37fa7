r"""The complexity of the decision boundary: how many directions of θ move it independently.

With :math:`G_T` the Gauss–Newton matrix at the standard confidence of level L
(:mod:`~eigenboundary.boundary.standard_confidence`), the count and the dimension are

.. math:: N_L = \#\{i : \lambda_i(G_T) > L\}, \qquad d_L = \mathrm{tr}\, G_T (G_T + L)^{-1}.

A unit step along an eigenvector of :math:`\lambda_i > L` raises the loss of the network's own
predictions, which is L, by more than half of it, to second order; :math:`d_L` counts the same
smoothly (the effective dimension of MacKay 1992 and Maddox, Benton & Wilson 2020, with a scale that
T fixes). The eigenvalues of :math:`G_T` other than zero are those of the matrix

.. math:: M = \tfrac1n R K R^T, \qquad K = J J^T, \quad R_s^T R_s = \Lambda_s,

with K the tangent kernel (:mod:`~eigenboundary.curvature.operators.tangent_kernel`) of the C - 1
contrasts between the outputs of each sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.boundary.rank import (
    BoundaryGradients,
    BoundaryRank,
    boundary_gradients,
    rank_of,
)
from eigenboundary.boundary.standard_confidence import contrasts, curvature_roots, temperature
from eigenboundary.curvature.operators.tangent_kernel import (
    KEPT_BYTES,
    formed_parameters,
    tangent_kernel,
)
from eigenboundary.problem.problem import Model, Problem, as_problem
from eigenboundary.runtime.arguments import (
    check_integer,
    check_number,
    check_seed,
    finite_columns,
)
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.linalg import eigvalsh, inner
from eigenboundary.runtime.precision import full_precision

Array = NDArray[np.float64]

#: Levels L at which complexity is computed unless others are asked for, first the one to show.
LEVELS = (0.03, 0.1, 0.01)
LEVEL = LEVELS[0]
#: Points of the boundary at which gradients are compared.
POINTS = 200
# Rows of a matrix to decompose.
_MOST_ROWS = 1500
_LEAST_SAMPLES = 20
# Largest error of inner products of directions that are taken to be orthonormal.
_NOT_ORTHONORMAL = 1e-3
# Rounding of an eigenvalue of M relative to the largest, in units of the precision's.
_ROUNDING = 20


@dataclass(frozen=True, eq=False)
class ComplexityAtLevel:
    """Count and dimension of a boundary at one level.

    Attributes
    ----------
    level : float
        L.
    temperature : float
        T.
    eigenvalues : array, shape (r,)
        Eigenvalues of G_T, largest first, without those that are zero because n (C - 1) < p.
    uncertainty : float
        Distance from the true eigenvalues that rounding may cause.
    """

    level: float
    temperature: float
    eigenvalues: Annotated[Array, "eigenvalues"] = field(repr=False)
    uncertainty: float

    def __post_init__(self) -> None:
        self.eigenvalues.setflags(write=False)

    @property
    def count(self) -> int:
        """N_L."""
        return int((self.eigenvalues > self.level).sum())

    @property
    def count_interval(self) -> tuple[int, int]:
        """Interval that holds N_L for every matrix within the uncertainty."""
        low, high = (
            int((self.eigenvalues > self.level + shift).sum())
            for shift in (self.uncertainty, -self.uncertainty)
        )
        return low, high

    @property
    def dimension(self) -> float:
        """d_L."""
        return self._dimension(0.0)

    @property
    def dimension_interval(self) -> tuple[float, float]:
        """Interval that holds d_L for every matrix within the uncertainty."""
        return self._dimension(-self.uncertainty), self._dimension(self.uncertainty)

    def _dimension(self, shift: float) -> float:
        moved = np.clip(self.eigenvalues + shift, 0.0, None)
        return float((moved / (moved + self.level)).sum())


@dataclass(frozen=True, eq=False)
class BoundaryComplexity:
    """The complexity of a decision boundary.

    Attributes
    ----------
    levels : tuple of ComplexityAtLevel
        The first is the one that :attr:`count` and :attr:`dimension` are at.
    n_samples : int
        Samples that count and dimension were computed from.
    spread : BoundaryRank or None
        How the gradients at points of the boundary spread over θ; None where no points were found.
    encoded : array, shape (k,)
        Share of these gradients' mass that the first i of k eigenvectors hold, i = 1, …, k; empty
        without eigenvectors or points.
    """

    levels: tuple[ComplexityAtLevel, ...]
    n_samples: int
    spread: BoundaryRank | None = None
    encoded: Annotated[Array, "encoded"] = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        self.encoded.setflags(write=False)

    @property
    def best(self) -> Array:
        """Most that any i directions could hold, beside :attr:`encoded`, shape (k,)."""
        return self.best_of_all[: len(self.encoded)]

    @property
    def best_of_all(self) -> Array:
        """Most that any i directions could hold, up to as many as there are points."""
        return np.zeros(0) if self.spread is None else self.spread.best

    @property
    def rank(self) -> float:
        """Boundary rank; NaN where no points were found."""
        return math.nan if self.spread is None else self.spread.rank

    @property
    def rank_interval(self) -> tuple[float, float]:
        """Interval that holds the boundary rank."""
        return (1.0, math.inf) if self.spread is None else self.spread.rank_interval

    @property
    def level(self) -> float:
        """The level L of :attr:`count` and :attr:`dimension`."""
        return self.levels[0].level

    @property
    def temperature(self) -> float:
        """The factor T on the outputs at this level."""
        return self.levels[0].temperature

    @property
    def count(self) -> int:
        """N_L, the number of eigenvalues of G_T above L."""
        return self.levels[0].count

    @property
    def count_interval(self) -> tuple[int, int]:
        """Interval that holds N_L."""
        return self.levels[0].count_interval

    @property
    def dimension(self) -> float:
        """d_L, the effective dimension."""
        return self.levels[0].dimension

    @property
    def dimension_interval(self) -> tuple[float, float]:
        """Interval that holds d_L."""
        return self.levels[0].dimension_interval

    def at(self, level: float) -> ComplexityAtLevel:
        """Return count and dimension at another level that was computed.

        Raises
        ------
        InvalidInputError
            If the level was not computed.
        """
        check_number(level, "level", above=0)
        for held in self.levels:
            if math.isclose(held.level, level, rel_tol=1e-9):
                return held
        known = ", ".join(f"{held.level:g}" for held in self.levels)
        raise InvalidInputError(
            "level",
            f"be among {known} (boundary_complexity(…, levels=) computes others)",
            f"{level:g}",
        )


@full_precision()
def boundary_complexity(
    model: Model,
    data: Any = None,
    *,
    level: float = LEVEL,
    levels: Sequence[float] = LEVELS,
    vectors: Any = None,
    points: int = POINTS,
    samples: int | None = None,
    seed: int = 0,
    **options: Any,
) -> BoundaryComplexity:
    r"""Count the directions of θ that move the decision boundary, at the standard confidence.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        It is left exactly as it was. For numbers that rescaling a ReLU network's layers does not
        change, pass ``layer_normalized(model, data)``.
    data : (x, y), Dataset or DataLoader
        Samples of a module; left out for what has its own. Labels are not used.
    level : float
        L, the cross-entropy of the network's own predictions at which confidence is fixed.
    levels : sequence of float
        Further levels to compute.
    vectors : Tensor or array, shape (p, k), optional
        Orthonormal directions, such as eigenvectors, whose share in the boundary is asked for.
    points : int
        Points of the boundary to find, 0 for none.
    samples : int, optional
        Samples to compute count and dimension from, evenly spaced; default: all, or as many as
        give a matrix of 1,500 rows and gradients of 1 GiB.
    seed : int
        Seed of the points.
    **options
        Options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    BoundaryComplexity

    Raises
    ------
    InvalidInputError
        If an argument is not as described, or no factor on the outputs gives a level.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> model = torch.nn.Linear(2, 2)
    >>> model.weight.data, model.bias.data = torch.eye(2), torch.zeros(2)
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    >>> found = eb.boundary_complexity(model, (x, x.argmax(1)))
    >>> found.count, round(found.dimension, 1)
    (3, 2.7)
    """
    check_number(level, "level", above=0)
    if not isinstance(levels, Sequence) or isinstance(levels, str):
        raise InvalidInputError("levels", "be a sequence of numbers", repr(levels))
    for each in levels:
        check_number(each, "levels", above=0)
    wanted = [level, *(each for each in levels if each != level)]
    check_integer(points, "points", 0)
    check_seed(seed)
    check_integer(samples, "samples", 2, optional=True)
    problem = as_problem(model, data, **options)
    directions = None if vectors is None else _orthonormal(vectors, problem)
    found, gradients = complexity_and_gradients(problem, wanted, samples, points, seed)
    if gradients is None or directions is None:
        return found
    return replace(found, encoded=gradients.held_by(problem, directions))


def complexity_and_gradients(
    problem: Problem,
    levels: Sequence[float] = LEVELS,
    samples: int | None = None,
    points: int = POINTS,
    seed: int = 0,
) -> tuple[BoundaryComplexity, BoundaryGradients | None]:
    """Return the complexity without the directions' share, and the gradients that tell it."""
    most = _affordable_samples(problem) if samples is None else samples
    outputs, kernel = _outputs_and_kernel(problem, most)
    rounding = _ROUNDING * torch.finfo(problem.dtype).eps
    found = tuple(_at_level(outputs, kernel, level, rounding) for level in levels)
    gradients = boundary_gradients(problem, points, seed)
    spread = None if gradients is None else rank_of(gradients.kernel, seed)
    return BoundaryComplexity(found, len(outputs), spread), gradients


def _orthonormal(vectors: Any, problem: Problem) -> Tensor:
    """Return orthonormal directions as columns (p, k), ready to compute with."""
    size = problem.n_parameters
    wanted = f"be finite orthonormal directions of shape ({size}, k)"
    found = finite_columns(vectors, "vectors", size, wanted).to(problem.device, problem.dtype)
    products = inner(found, found)
    error = float((products - torch.eye(len(products)).to(products)).abs().max())
    if error > _NOT_ORTHONORMAL:
        because = f"inner products differ from those of orthonormal directions by {error:.2g}"
        raise InvalidInputError("vectors", wanted, because=because)
    return found


def _affordable_samples(problem: Problem) -> int:
    """Return how many samples' kernel to compute and decompose."""
    network = problem.network
    x, cotangents = _inputs_and_contrasts(problem, 2)
    formed = network.dtype.itemsize * max(1, formed_parameters(network, x, cotangents))
    rows = min(_MOST_ROWS, network.memory.at_most(KEPT_BYTES) // formed)
    most = max(1, min(problem.n_samples, rows // cotangents.shape[1]))
    if most < min(_LEAST_SAMPLES, problem.n_samples):
        raise InvalidInputError(
            "samples",
            "be given for a network of this size",
            because=f"the gradients of {most} samples alone take {KEPT_BYTES >> 20} MB",
        )
    return most


def _outputs_and_kernel(problem: Problem, samples: int) -> tuple[Tensor, Tensor]:
    """Compute outputs (n, C) and the tangent kernel of their contrasts, float64."""
    x, cotangents = _inputs_and_contrasts(problem, samples)
    kernel = tangent_kernel(problem.network, x, cotangents)
    return problem.network.predict(x).double().cpu(), kernel


def _inputs_and_contrasts(problem: Problem, samples: int) -> tuple[Tensor, Tensor]:
    """Return up to as many inputs, evenly spaced, and the contrasts of each, (n, C - 1, C)."""
    x = problem.network.to_compute(problem.samples.some_inputs(samples)[0])
    basis = contrasts(problem.n_classes).T.to(x.device, problem.dtype)
    return x, basis.expand(len(x), *basis.shape)


def _at_level(outputs: Tensor, kernel: Tensor, level: float, rounding: float) -> ComplexityAtLevel:
    factor = temperature(outputs, level)
    roots = curvature_roots(outputs, factor)
    n, r, _ = roots.shape
    left = torch.einsum("sab,sbtc->satc", roots, kernel.view(n, r, n, r))
    matrix = torch.einsum("satc,tdc->satd", left, roots).reshape(n * r, n * r) / n
    matrix = (matrix + matrix.T) / 2
    # Rows that fall in size keep the digits of small eigenvalues, where few samples weigh much.
    order = matrix.diagonal().argsort(descending=True)
    values = eigvalsh(matrix[order][:, order]).clamp_min(0).numpy()
    return ComplexityAtLevel(level, factor, values, rounding * float(values[0]))
