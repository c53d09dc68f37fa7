r"""The directions of θ in which the boundary's points can be moved, and how many there are.

At a boundary point x between classes a and b, the unit gradient

.. math:: \hat g(x) = \frac{\nabla_\theta (f_a - f_b)(x)}{\|\nabla_\theta (f_a - f_b)(x)\|}

is the direction of θ that moves the boundary at x most. The eigenvalues
:math:`\mu_1 \ge \mu_2 \ge \dots` of :math:`\mathrm{mean}_x\, \hat g \hat g^T` over points of the
boundary sum to one, and the boundary rank is their effective number (Roy & Vetterli 2007),

.. math:: \exp\Bigl(-\sum_i \mu_i \ln \mu_i\Bigr).

It needs neither the Hessian nor a threshold. For orthonormal directions :math:`v_1, \dots, v_k` the
share of the gradients' mass that the first i hold is
:math:`\sum_{j \le i} \mathrm{mean}_x \langle \hat g, v_j\rangle^2`. By Schur–Horn it is at most
:math:`\mu_1 + \dots + \mu_i`, and the effective number of the shares in any basis is at least the
rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr, ndtri
from torch import Tensor

from eigenboundary.boundary.points import BoundaryPoints, boundary_points
from eigenboundary.curvature.operators.tangent_kernel import tangent_kernel
from eigenboundary.problem.derivatives import pushforward
from eigenboundary.problem.problem import Model, Problem, as_problem
from eigenboundary.runtime.arguments import check_instance, check_seed
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.interrupts import safe_point
from eigenboundary.runtime.linalg import eigvalsh
from eigenboundary.runtime.precision import full_precision

Array = NDArray[np.float64]

# Halves of the points from which the interval is computed.
_HALVES = 40
_CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class BoundaryRank:
    """The effective number of directions of θ that move a boundary.

    Attributes
    ----------
    rank : float
    rank_interval : (float, float)
        95 % interval over the draw of points, the bias of a finite number of points included.
    shares : array, shape (m,)
        Shares μ of the gradients' mass in the best directions, largest first.
    n_points : int
        Points m whose gradient does not vanish.
    n_vanished : int
        Points whose gradient does.
    """

    rank: float
    rank_interval: tuple[float, float]
    shares: Annotated[Array, "n_points"] = field(repr=False)
    n_points: int
    n_vanished: int

    def __post_init__(self) -> None:
        self.shares.setflags(write=False)

    @property
    def best(self) -> Array:
        """Largest share that any i directions can hold, for i = 1, …, m, shape (m,)."""
        return np.minimum(np.cumsum(self.shares), 1.0)


@full_precision()
def boundary_rank(
    model: Model,
    data: Any = None,
    *,
    points: BoundaryPoints | None = None,
    seed: int = 0,
    **options: Any,
) -> BoundaryRank:
    r"""Count the directions of θ in which the points of the boundary can be moved.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        It is left exactly as it was.
    data : (x, y), Dataset or DataLoader
        Samples of a module; left out for what has its own. Labels are not used.
    points : BoundaryPoints, optional
        Points of the boundary; default: 1,000, by :func:`~eigenboundary.boundary_points`.
    seed : int
        Seed of the points and of the halves that the interval is computed from.
    **options
        Options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    BoundaryRank

    Raises
    ------
    InvalidInputError
        If an argument is not as described, there is no boundary, or no gradient is left.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> model = torch.nn.Linear(2, 2)
    >>> model.weight.data, model.bias.data = torch.eye(2), torch.zeros(2)
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    >>> found = eb.boundary_rank(model, (x, x.argmax(1)))
    >>> round(found.rank, 1), len(found.best[found.best < 0.999])  # on the line, of (x, x, 1)
    (1.9, 1)
    """
    check_seed(seed)
    if points is not None:
        check_instance(points, "points", BoundaryPoints)
    problem = as_problem(model, data, **options)
    if points is None:
        points = boundary_points(problem, seed=seed)
    if not len(points):
        raise InvalidInputError("points", "hold at least one point", "0")
    return rank_of(gradient_kernel(problem, points), seed)


def gradient_kernel(problem: Problem, points: BoundaryPoints) -> Tensor:
    """Compute inner products of the gradients of f_a - f_b at points of the boundary, (m, m)."""
    return tangent_kernel(problem.network, *_rows(problem, points))


def lengths_of(kernel: Tensor) -> Tensor:
    """Return the lengths of gradients with these inner products, (m,)."""
    return kernel.diagonal().clamp_min(0).sqrt()


def rank_of(kernel: Tensor, seed: int) -> BoundaryRank:
    """Compute the rank of gradients with these inner products."""
    lengths = lengths_of(kernel)
    there = lengths > 0
    if not there.any():
        raise InvalidInputError(
            "points", "have a gradient that does not vanish", f"{len(kernel)} points without"
        )
    cosines = (kernel / lengths.unsqueeze(1) / lengths)[there][:, there]
    return _rank_of(cosines, int((~there).sum()), seed)


@dataclass(frozen=True, eq=False)
class BoundaryGradients:
    """Gradients of f_a - f_b at points of the boundary, by their inner products (m, m)."""

    points: BoundaryPoints
    kernel: Tensor

    def held_by(self, problem: Problem, vectors: Tensor) -> Array:
        """Return the share of unit gradients that the first i of k directions hold, (k,)."""
        lengths = lengths_of(self.kernel)
        cosines = boundary_alignment(problem, self.points, vectors, lengths)
        held = cosines.square().sum(0).cumsum(0) / max(1, int((lengths > 0).sum()))
        shares: Array = held.clamp_max(1).cpu().numpy()
        return shares


def boundary_gradients(problem: Problem, n: int, seed: int) -> BoundaryGradients | None:
    """Compute gradients at n points of the boundary; None where all vanish or there is none."""
    if not n:
        return None
    try:
        points = boundary_points(problem, n=n, seed=seed)
    except InvalidInputError:  # no boundary can be looked for between the samples
        return None
    if not len(points):
        return None
    kernel = gradient_kernel(problem, points)
    return BoundaryGradients(points, kernel) if (kernel.diagonal() > 0).any() else None


@full_precision()
def boundary_alignment(
    problem: Problem, points: BoundaryPoints, vectors: Tensor, lengths: Tensor
) -> Tensor:
    r"""Compute :math:`\langle \hat g(x), v_i\rangle` at points of the boundary, (m, k), float64.

    ``lengths`` are those of the gradients; one that vanishes has alignment 0.
    """
    network, (x, cotangents) = problem.network, _rows(problem, points)
    directions = vectors.to(network.device, network.dtype)
    found = []
    for rows in network.chunks(len(x), network.samples_per_chunk(directions.shape[1])):
        safe_point()
        _, tangents = pushforward(network, x[rows], directions)
        found.append(torch.einsum("knc,nc->nk", tangents, cotangents[rows, 0]).double())
    length = lengths.to(directions.device).unsqueeze(1)
    return torch.where(length > 0, torch.cat(found) / length, 0.0)


def _rows(problem: Problem, points: BoundaryPoints) -> tuple[Tensor, Tensor]:
    """Return points, ready to compute with, and the cotangent e_a - e_b of each, (m, 1, C)."""
    network = problem.network
    x = network.to_compute(network.prepare(points.points, "points"))
    classes = torch.from_numpy(points.classes).to(network.device)
    one_hot = torch.nn.functional.one_hot(classes, problem.n_classes).to(network.dtype)
    return x, one_hot[:, [0]] - one_hot[:, [1]]


def _rank_of(cosines: Tensor, vanished: int, seed: int) -> BoundaryRank:
    """Return the rank of unit gradients with these inner products, and its interval.

    The rank of m points is too small, by a bias that falls like 1/m for few directions and like
    1/√m for many. Halves of the points, drawn without repeats, show both errors: they scatter
    around their mean as the rank does over draws of m points, and their mean lies below the rank by
    b where the bias is b, or b/(√2 − 1) where it falls slowly; the interval takes the latter.
    """
    m = len(cosines)
    shares = _shares(cosines)
    rank = _effective_number(shares)
    if m < 4:
        return BoundaryRank(rank, (1.0, float("inf")), shares, m, vanished)
    rng = np.random.default_rng(seed)
    halves = np.array(
        [_effective_number(_shares(cosines[half][:, half])) for half in _halves(m, rng)]
    )
    spread = float(ndtri(0.5 + 0.5 * _CONFIDENCE) * halves.std(ddof=1))
    bias = max(0.0, rank - float(halves.mean())) / (math.sqrt(2) - 1)
    interval = (max(1.0, rank - spread), rank + bias + spread)
    return BoundaryRank(rank, interval, shares, m, vanished)


def _halves(m: int, rng: np.random.Generator) -> Iterator[Tensor]:
    for _ in range(_HALVES):
        yield torch.from_numpy(rng.permutation(m)[: m // 2])


def _shares(cosines: Tensor) -> Array:
    """Return the eigenvalues of the mean of unit gradients' outer products, largest first."""
    shares: Array = (eigvalsh(cosines) / len(cosines)).clamp_min(0).numpy()
    return shares


def _effective_number(shares: Array) -> float:
    return float(np.exp(entr(shares / shares.sum()).sum()))
