r"""The narrowest place of a network's margin, found without a search over all samples.

The samples most aligned with the top eigenvectors are taken to sit at the narrow places of the
boundary (arXiv:2306.07104); only their distances are searched for.
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
from eigenboundary.boundary.search.nearest import nearest_boundary
from eigenboundary.boundary.search.norms import Geometry
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.interrupts import safe_point

Array = NDArray[np.float64]

_SHARE_EXAMINED = 0.12
_EXAMINED_A_VECTOR = 20


@dataclass(frozen=True, eq=False)
class SmallestMargin:
    """The smallest distance of a training sample from the boundary that was found.

    Attributes
    ----------
    value : float
        An upper bound on the smallest margin of all samples; NaN where no search converged.
    sample_index : int
        The training sample.
    boundary_point : array
        Its nearest point of the boundary.
    classes : (int, int)
        The two classes that meet there, smaller one first.
    n_examined : int
        Number of samples whose distances were searched for.
    converged : bool
        Whether the sample's search converged, and no search that did not converge came nearer.
    lower_estimate : float
        Distance of the sample for the linearised network: an estimate, no bound.
    examined : array of int, shape (n_examined,)
        The samples, in the order of the eigenvectors.
    distances : array, shape (n_examined,)
        Distances of these samples; NaN where the search did not converge.
    """

    value: float
    sample_index: int
    boundary_point: Annotated[NDArray[Any], "..."] = field(repr=False)
    classes: tuple[int, int]
    n_examined: int
    converged: bool
    lower_estimate: float
    examined: Annotated[NDArray[np.int64], "e"] = field(repr=False)
    distances: Annotated[NDArray[Any], "e"] = field(repr=False)


def most_examined(n: int, k: int) -> int:
    """Return how many of n samples to examine with k eigenvectors by default."""
    return min(n, max(2, min(int(_SHARE_EXAMINED * n), _EXAMINED_A_VECTOR * k)))


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
    problem: Problem, cosines: Array, geometry: Geometry, budget: int, seed: int
) -> SmallestMargin:
    """Search for the smallest margin among the samples that eigenvectors point at."""
    safe_point()
    examined = candidates(cosines, budget)
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
        converged=any_settled and bool((found.value >= settled[row]).all()),
        lower_estimate=float(found.lower_estimate[row]),
        examined=examined,
        distances=np.where(found.converged, found.value, math.nan),
    )
