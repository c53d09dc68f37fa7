r"""The area of the decision boundary, weighted by the density of the data.

Two points that are each a small step away from a training sample are joined by a segment. How often
segments meet the boundary tells its area (Crofton's formula): where steps are Gaussian with the
covariance of the data times :math:`\eta^2`, a segment meets

.. math:: \frac{2\eta}{\sqrt\pi} \int_{\partial} p_\eta\, dA

pieces of boundary on average, with area A in units of the data's spread (Mahalanobis) and
:math:`p_\eta` the density of the data, smoothed by the steps. So

.. math:: A_\eta = \frac{\sqrt\pi}{2\eta}\,\mathrm{mean}\,\#\{\text{changes of class}\}.

Steps are :math:`\eta (x_j - x_k) / \sqrt2` for random samples j and k: they have that covariance,
lie in directions in which data differ, and no linear transform of the inputs changes
:math:`A_\eta`. Neither parameters nor confidence enter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.boundary.arguments import problem_with_pool
from eigenboundary.problem.problem import Model, Problem
from eigenboundary.runtime.arguments import check_integer, check_number, check_seed
from eigenboundary.runtime.interrupts import safe_point
from eigenboundary.runtime.precision import full_precision

# Size η of the steps, in spreads of the data; chosen on one half of the benchmark's tasks.
SCALE = 0.3
SEGMENTS = 2000
# Points of a segment whose classes are compared.
_ALONG = 9
# Segments that are held at once.
_AT_ONCE = 512
# Floating-point operations for all segments of an analysis, and fewest segments.
_FLOPS, _FEWEST = 5e12, 100
_NORMAL, _NONE_SEEN = 1.96, 3.69  # of 95 % confidence, both sides


@dataclass(frozen=True, eq=False)
class BoundaryArea:
    """The area of a decision boundary, weighted by the density of the data.

    Attributes
    ----------
    value : float
        Area in units of the data's spread. A plane through the middle of Gaussian data has 0.4.
    interval : (float, float)
        95 % interval over the draw of samples and steps.
    scale : float
        Size η of the steps.
    changes : array of int, shape (m,)
        Changes of class on each segment.
    samples : array of int, shape (m,)
        The sample that each segment is near.
    """

    value: float
    interval: tuple[float, float]
    scale: float
    changes: Annotated[NDArray[np.int64], "m"] = field(repr=False)
    samples: Annotated[NDArray[np.int64], "m"] = field(repr=False)

    def __post_init__(self) -> None:
        self.changes.setflags(write=False)
        self.samples.setflags(write=False)


@full_precision()
def boundary_area(
    model: Model,
    data: Any = None,
    *,
    scale: float = SCALE,
    segments: int = SEGMENTS,
    seed: int = 0,
    **options: Any,
) -> BoundaryArea:
    r"""Estimate the area of the decision boundary where the data are, by crossings of segments.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        It is left exactly as it was.
    data : (x, y), Dataset or DataLoader
        Samples of a module; left out for what has its own. Labels are not used.
    scale : float
        Size η of the steps from samples, in spreads of the data.
    segments : int
        Segments to draw near samples, of which up to 5,000, evenly spaced, are taken; nine inputs
        are evaluated for each.
    seed : int
        Seed of samples and steps.
    **options
        Options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    BoundaryArea

    Raises
    ------
    InvalidInputError
        If an argument is not as described, inputs are not floating-point, or all samples are
        predicted as one class.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> model = torch.nn.Linear(2, 2)
    >>> model.weight.data, model.bias.data = torch.eye(2), torch.zeros(2)
    >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> low, high = eb.boundary_area(model, (x, x.argmax(1))).interval
    >>> low < 0.39 < high  # of a line through the middle of Gaussian data
    True
    """
    check_number(scale, "scale", above=0)
    check_integer(segments, "segments", 2)
    check_seed(seed)
    problem, pool = problem_with_pool(model, data, seed=seed, **options)
    x, generator = pool.x, torch.Generator().manual_seed(int(seed))
    rounds = -(-segments // len(x))
    near = torch.cat([torch.randperm(len(x), generator=generator) for _ in range(rounds)])
    near = near[:segments].to(x.device)
    steps = [_step(len(x), segments, generator).to(x.device) for _ in range(2)]
    changes = []
    for rows in problem.network.chunks(segments, problem.network.inputs_at_most(_AT_ONCE)):
        safe_point()
        start, end = (
            x[near[rows]] + scale / math.sqrt(2) * (x[first[rows]] - x[other[rows]])
            for first, other in steps
        )
        classes = torch.stack(
            [
                problem.network.predict(torch.lerp(start, end, t)).argmax(1)
                for t in torch.linspace(0, 1, _ALONG).tolist()
            ]
        )
        changes.append((classes[1:] != classes[:-1]).sum(0).cpu())
    samples = pool.indices[near].cpu().numpy()
    return _area_of(torch.cat(changes).numpy(), samples, scale)


def affordable_segments(problem: Problem) -> int:
    """Return how many segments to draw in an analysis."""
    by_work = int(_FLOPS / (_ALONG * max(problem.signature.flops, 1)))
    return min(SEGMENTS, max(_FEWEST, by_work))


def _step(n: int, m: int, generator: torch.Generator) -> Tensor:
    """Draw m pairs of different samples of n, shape (2, m)."""
    first = torch.randint(n, (m,), generator=generator)
    other = (first + 1 + torch.randint(n - 1, (m,), generator=generator)) % n
    return torch.stack([first, other])


def _area_of(changes: NDArray[np.int64], samples: NDArray[np.int64], scale: float) -> BoundaryArea:
    unit, m, mean = math.sqrt(math.pi) / (2 * scale), len(changes), float(changes.mean())
    # Segments near one sample are not independent: samples are drawn, then segments.
    of_sample = np.bincount(samples, changes - mean)
    half = _NORMAL * float(np.linalg.norm(of_sample)) / m
    # No crossing near n samples leaves chances up to -log(0.025) / n.
    high = max(mean + half, _NONE_SEEN / len(np.unique(samples)))
    return BoundaryArea(
        unit * mean, (unit * max(0.0, mean - half), unit * high), scale, changes, samples
    )
