r"""The narrowest place of a network's margin.

All samples' distances from the boundary are searched for where that is affordable. Otherwise the
samples most aligned with the top eigenvectors, which are taken to sit at the narrow places of the
boundary (arXiv:2306.07104), and the smallest of their distances is an upper bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from eigenboundary.boundary.arguments import references_for
from eigenboundary.boundary.sample_margins import SampleMargins
from eigenboundary.boundary.search.nearest import nearest_boundary
from eigenboundary.boundary.search.norms import Geometry
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.interrupts import safe_point

Array = NDArray[np.float64]

# Floating-point operations that examining all samples may take, and those that examining any
# number may; and the forward passes of a sample, a backward pass counted as two.
_FLOPS_OF_ALL, _FLOPS, _PASSES = 1e11, 2e13, 3 * 600
_SHARE_EXAMINED = 0.12
_EXAMINED_A_VECTOR = 20
# Samples drawn at random that are examined beside those that eigenvectors point at.
_DRAWN = 100


@dataclass(frozen=True, eq=False)
class SmallestMargin:
    """The smallest distance of a training sample from the boundary that was found.

    Attributes
    ----------
    value : float
        Smallest distance among the samples examined, and so an upper bound on that of all samples;
        NaN where no search converged.
    sample_index : int
        The training sample.
    boundary_point : array
        Its nearest point of the boundary.
    classes : (int, int)
        The two classes that meet there, smaller one first.
    n_examined, n_samples : int
        Number of samples whose distances were searched for, and of all samples.
    converged : bool
        Whether the sample's search converged, and no search that did not converge came nearer.
    lower_estimate : float
        Distance of the sample for the linearised network: an estimate, no bound.
    examined : array of int, shape (n_examined,)
        The samples, in the order of the eigenvectors, then those drawn at random.
    distances : array, shape (n_examined,)
        Distances of these samples; NaN where the search did not converge.
    drawn : array of bool, shape (n_examined,)
        Which of these samples were drawn at random, whatever their alignment.
    """

    value: float
    sample_index: int
    boundary_point: Annotated[NDArray[Any], "..."] = field(repr=False)
    classes: tuple[int, int]
    n_examined: int
    n_samples: int
    converged: bool
    lower_estimate: float
    examined: Annotated[NDArray[np.int64], "e"] = field(repr=False)
    distances: Annotated[NDArray[Any], "e"] = field(repr=False)
    drawn: Annotated[NDArray[np.bool_], "e"] = field(repr=False)

    @property
    def complete(self) -> bool:
        """Whether all samples were examined."""
        return self.n_examined == self.n_samples

    @property
    def sample_margins(self) -> SampleMargins | None:
        """Distances of the samples drawn at random; None where none was, or no search converged."""
        known = self.drawn & ~np.isnan(self.distances)
        return SampleMargins(self.examined[known], self.distances[known]) if known.any() else None


def usually_examined(n: int, k: int) -> int:
    """Return how many of n samples k eigenvectors point at."""
    return min(n, max(2, min(int(_SHARE_EXAMINED * n), _EXAMINED_A_VECTOR * k)))


def most_examined(n: int, k: int, flops: int) -> int:
    """Return how many of n samples to examine with k eigenvectors by default.

    ``flops`` are the operations of a forward pass.
    """
    of_one = _PASSES * max(flops, 1)
    if n * of_one <= _FLOPS_OF_ALL:
        return n
    return min(usually_examined(n, k), max(2, int(_FLOPS / of_one)))


def candidates(cosines: Array, budget: int) -> NDArray[np.int64]:
    r"""Return the first ``budget`` of the samples that eigenvectors point at by cosines (n, k).

    Two orders take turns: the samples most aligned with each eigenvector on each side, rank after
    rank, and the samples with the most of :math:`\sum_{i \le k} A_i^2`, whose gradients lie the
    most in the span of the eigenvectors.
    """
    falling = np.argsort(-cosines, axis=0, kind="stable")
    rising = np.argsort(cosines, axis=0, kind="stable")
    by_section = np.stack([falling, rising], axis=2).reshape(-1)  # rank, eigenvector, side
    by_mass = np.argsort(-np.square(cosines).sum(1), kind="stable")
    in_turn = np.stack([pd.unique(by_section), by_mass], axis=1).reshape(-1)
    return np.asarray(pd.unique(in_turn)[:budget], dtype=np.int64)


def smallest_of(
    problem: Problem,
    cosines: Array,
    geometry: Geometry,
    budget: int,
    seed: int,
    *,
    draw: bool = False,
) -> SmallestMargin:
    """Search for the smallest margin among the samples that eigenvectors point at.

    With ``draw``, half as many samples more are drawn at random, 100 at most.
    """
    safe_point()
    n = problem.n_samples
    examined = candidates(cosines, budget)
    drawn = np.random.default_rng(seed).permutation(n)
    if budget < n:
        drawn = drawn[: min(_DRAWN, -(-budget // 2)) if draw else 0]
    examined = np.asarray(pd.unique(np.concatenate([examined, drawn])), dtype=np.int64)
    x = problem.samples.inputs_at(torch.from_numpy(examined))
    references = references_for(problem, None, x, geometry)
    found = nearest_boundary(problem.network, x, references, 8, seed, geometry)
    settled = np.where(found.converged, found.value, math.inf)
    row = int(settled.argmin())
    any_settled = bool(found.converged[row])
    return SmallestMargin(
        value=float(settled[row]) if any_settled else math.nan,
        sample_index=int(examined[row]),
        boundary_point=found.point[row],
        classes=(int(found.classes[row, 0]), int(found.classes[row, 1])),
        n_examined=len(examined),
        n_samples=n,
        converged=any_settled and bool((found.value >= settled[row]).all()),
        lower_estimate=float(found.lower_estimate[row]),
        examined=examined,
        distances=np.where(found.converged, found.value, math.nan),
        drawn=np.isin(examined, drawn),
    )
