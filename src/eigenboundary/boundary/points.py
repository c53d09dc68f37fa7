r"""Points of the decision boundary: inputs where the two largest outputs are equal.

They are looked for on segments between training samples that the network predicts as different
classes (see :mod:`~eigenboundary.boundary.search.crossings`), and so lie where the data are, in any
input dimension.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.boundary.arguments import problem_with_pool
from eigenboundary.boundary.search.crossings import find_crossings
from eigenboundary.boundary.search.starts import Pool
from eigenboundary.problem.problem import Model
from eigenboundary.runtime.arguments import check_integer, check_number, check_seed, check_tolerance
from eigenboundary.runtime.interrupts import safe_point
from eigenboundary.runtime.memory import Memory
from eigenboundary.runtime.precision import full_precision

_log = logging.getLogger(__name__)

# Partners drawn for a sample; the nearest of the first one, two, ... of them is taken.
_PARTNERS = 8
_ROUNDS = 8
# Bytes of differences of inputs held at once when distances are computed.
_DIFFERENCE_BYTES = 2**26
# New points compared with one another at once.
_BLOCK = 512
_REFERENCE_PAIRS = 1000


@dataclass(frozen=True)
class BoundaryPoints:
    """Points of the decision boundary, each checked.

    Attributes
    ----------
    points : array, shape (m, ...)
    classes : array of int, shape (m, 2)
        The two leading classes, smaller one first.
    gap : array, shape (m,)
        Remaining difference of the two leading outputs.
    pairs : array of int, shape (m, 2)
        Indices of the training samples that the point was found between.
    """

    points: Annotated[NDArray[Any], "m", "..."] = field(repr=False)
    classes: Annotated[NDArray[np.int64], "m", 2] = field(repr=False)
    gap: Annotated[NDArray[Any], "m"] = field(repr=False)
    pairs: Annotated[NDArray[np.int64], "m", 2] = field(repr=False)

    def __len__(self) -> int:
        """Return the number m of points."""
        return len(self.points)


@full_precision()
def boundary_points(
    model: Model,
    data: Any = None,
    n: int = 1000,
    *,
    seed: int = 0,
    tolerance: float | None = None,
    spacing: float = 1e-3,
    **options: Any,
) -> BoundaryPoints:
    r"""Find points where the two largest outputs of a network are equal, near its data.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        It is left exactly as it was.
    data : (x, y), Dataset or DataLoader
        Samples of a module; left out for what has its own.
    n : int
        Most points to find.
    seed : int
        Seed of the pairs of samples that are drawn.
    tolerance : float, optional
        Largest difference of the two leading outputs, relative to their difference at the ends of
        the segment a point was found on; default: the square root of the machine epsilon. Usually
        the difference is at the outputs' rounding.
    spacing : float
        Share of the points' median distance below which only one of several points is kept; 0
        keeps all.
    **options
        Options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    BoundaryPoints
        Fewer than n where segments between samples meet no more boundary at that spacing.

    Raises
    ------
    InvalidInputError
        If an argument is not as described, or all samples are predicted as one class.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> model = torch.nn.Linear(2, 2)
    >>> model.weight.data, model.bias.data = torch.eye(2), torch.zeros(2)
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    >>> found = eb.boundary_points(model, (x, x.argmax(1)), n=50)
    >>> found.points.shape, bool(abs(found.points[:, 0] - found.points[:, 1]).max() < 1e-5)
    ((50, 2), True)
    """
    check_integer(n, "n")
    check_seed(seed)
    check_tolerance(tolerance)
    check_number(spacing, "spacing", at_least=0, below=1)
    problem, pool = problem_with_pool(model, data, seed=seed, **options)
    network, generator = problem.network, torch.Generator().manual_seed(int(seed))
    kept = _Kept(n, spacing)
    for _ in range(_ROUNDS):
        safe_point()
        pairs = _draw_pairs(pool, 2 * (n - len(kept)) + 16, generator, network.memory)
        crossings = find_crossings(network, pool.x[pairs[:, 0]], pool.x[pairs[:, 1]], tolerance)
        found = crossings.found
        columns = (crossings.points, crossings.classes, crossings.gap, pool.indices[pairs])
        fresh = kept.add(*(column[found] for column in columns))
        # Further rounds are worth it only while they find boundary that is not yet covered.
        if len(kept) >= n or fresh < 0.02 * n:
            break
    if len(kept) < n:
        _log.info("%d of %d boundary points found at spacing %g", len(kept), n, spacing)
    parts = zip(*kept.rows, strict=True)
    return BoundaryPoints(*(torch.cat(column).cpu().numpy() for column in parts))


def _draw_pairs(pool: Pool, m: int, generator: torch.Generator, memory: Memory) -> Tensor:
    """Draw rows of samples (m, 2) of different predicted class, nearer ones preferred."""
    # Half of the pairs draw two classes with equal chances, so that rare classes have their share.
    labels = pool.predictions.cpu()
    order = labels.argsort(stable=True)
    present, counts = labels.unique(return_counts=True)
    starts = counts.cumsum(0) - counts
    by_class = torch.arange(m) % 2 == 0
    first_class = torch.randint(len(present), (m,), generator=generator)
    drawn = torch.randint(len(labels), (m,), generator=generator)
    row_class = torch.searchsorted(present, labels[drawn])
    first_class = torch.where(by_class, first_class, row_class)
    second_class = torch.randint(len(present) - 1, (m,), generator=generator)
    second_class += second_class >= first_class

    def rows_of(classes: Tensor, k: int) -> Tensor:
        share = torch.rand(m, k, generator=generator, dtype=torch.float64)
        offset = (share * counts[classes].unsqueeze(1)).long()
        return order[starts[classes].unsqueeze(1) + offset]

    first = torch.where(by_class, rows_of(first_class, 1).squeeze(1), drawn)
    of_pair = rows_of(second_class, _PARTNERS)
    # From all samples that are not of the first's class, which lies in one stretch of the order.
    share = torch.rand(m, _PARTNERS, generator=generator, dtype=torch.float64)
    others = len(labels) - counts[first_class].unsqueeze(1)
    offset = (share * others).long()
    offset += counts[first_class].unsqueeze(1) * (offset >= starts[first_class].unsqueeze(1))
    candidates = torch.where(by_class.unsqueeze(1), of_pair, order[offset])
    considered = torch.randint(_PARTNERS, (m, 1), generator=generator)
    first, candidates = first.to(pool.x.device), candidates.to(pool.x.device)
    distances = _distances(pool.x, first, candidates, memory)
    left_out = torch.arange(_PARTNERS) > considered
    nearest = distances.masked_fill(left_out.to(distances.device), torch.inf).argmin(1)
    return torch.cat([first.unsqueeze(1), candidates.gather(1, nearest.unsqueeze(1))], dim=1)


def _distances(x: Tensor, first: Tensor, candidates: Tensor, memory: Memory) -> Tensor:
    """Compute the distances of inputs from their candidates (m, c), a few of them at a time."""
    flat = x.flatten(1)
    row_bytes = flat.element_size() * candidates.shape[1] * max(1, flat.shape[1])
    step = max(1, memory.at_most(_DIFFERENCE_BYTES) // row_bytes)
    blocks = []
    for rows, partners in zip(first.split(step), candidates.split(step), strict=True):
        difference = flat[partners] - flat[rows].unsqueeze(1)
        blocks.append(torch.linalg.vector_norm(difference, dim=2))
    return torch.cat(blocks)


class _Kept:
    """The points kept so far, no two of them closer than the spacing."""

    def __init__(self, n: int, spacing: float) -> None:
        self.n, self.spacing = n, spacing
        self.radius: float | None = None
        self.rows: list[tuple[Tensor, ...]] = []

    def __len__(self) -> int:
        return sum(len(points) for points, *_ in self.rows)

    def add(self, points: Tensor, *others: Tensor) -> int:
        """Keep the points that are far enough from all others; return how many these are."""
        if self.radius is None and len(points) > 1:
            some = points[:_REFERENCE_PAIRS].flatten(1).double()
            self.radius = self.spacing * float(torch.pdist(some).median())
        before = len(self)
        for rows in range(0, len(points), _BLOCK):
            block = slice(rows, rows + _BLOCK)
            far = self._far(points[block])[: max(0, self.n - len(self))]
            self.rows.append(tuple(values[block][far] for values in (points, *others)))
        if not self.rows:  # none at all: empty ones, of the right shapes
            self.rows.append((points, *others))
        return len(self) - before

    def _far(self, points: Tensor) -> Tensor:
        """Return the rows to keep, in order."""
        if not self.radius:
            return torch.arange(len(points), device=points.device)
        flat = points.flatten(1).double()
        near = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
        for earlier, *_ in self.rows:
            if len(earlier):
                near |= (torch.cdist(flat, earlier.flatten(1).double()) < self.radius).any(1)
        rows = (~near).nonzero().squeeze(1)
        close = (torch.cdist(flat[rows], flat[rows]) < self.radius).cpu().numpy()
        alive = np.ones(len(rows), dtype=bool)
        for row in range(len(rows)):
            if alive[row]:
                alive[row + 1 :] &= ~close[row, row + 1 :]
        return rows[torch.from_numpy(alive).to(rows.device)]
