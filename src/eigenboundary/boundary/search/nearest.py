r"""The distance of inputs from the decision boundary.

The distance of an input x that is predicted as class a is

.. math:: d(x) = \min_y \|y - x\| \quad \text{such that} \quad f_a(y) = \max_{j \neq a} f_j(y).

No search finds the minimum for certain: what is found is a crossing, and so an upper bound. In up
to ten dimensions it comes from several starts (:mod:`~eigenboundary.boundary.search.starts`), each
refined (:mod:`~eigenboundary.boundary.search.refinement`), and from looking around within the
smallest distance found; in more dimensions from annealed walks
(:mod:`~eigenboundary.boundary.search.annealing`), the best of whose points is refined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.boundary.search.annealing import anneal
from eigenboundary.boundary.search.crossings import (
    along,
    gap_of_leaders,
    leading_two,
    resolve_tolerance,
)
from eigenboundary.boundary.search.descent import output_rounding
from eigenboundary.boundary.search.input_gradients import differences, outputs_at
from eigenboundary.boundary.search.norms import Geometry, column
from eigenboundary.boundary.search.rays import (
    Candidates,
    Origins,
    first_crossings,
    nearest_column,
    stacked,
)
from eigenboundary.boundary.search.refinement import refine
from eigenboundary.boundary.search.starts import (
    LOW_DIMENSION,
    Pool,
    linearized_distances,
    look_around,
    start_crossings,
)
from eigenboundary.problem.network import Network
from eigenboundary.runtime.interrupts import safe_point

# Numbers of all starts of a block of inputs.
_NUMBERS = 2**22
# Starts of an input that are refined by a few steps, and those of them refined to the end.
_KEPT_STARTS, _FIRST_STEPS = 6, 5
_KEPT_TO_THE_END, _MOST_STEPS = 2, 60
_RIVALS = 10
_LOOKS_AROUND = 3
# Looks at the segment from the input to the point found, for a crossing nearer than that.
_LOOKS = 64


@dataclass(frozen=True)
class BoundaryDistance:
    """Distances of inputs from the decision boundary: upper bounds, each with its point.

    Attributes
    ----------
    value : array, shape (m,)
        Distance to the point; infinite where no boundary was found.
    point : array, shape (m, ...)
        On the boundary: the predicted class changes there, and at no nearer place seen on the way
        from the input. NaN where none was found.
    classes : array of int, shape (m, 2)
        The two classes that lead at the point, smaller one first.
    lower_estimate : array, shape (m,)
        Distance of the linearised network, the smallest over the ten largest other outputs. It is
        the distance itself for a linear network, and an estimate, no bound, for others.
    converged : array of bool, shape (m,)
        Whether the refinement ended by itself and the point was verified.
    """

    value: NDArray[Any] = field(repr=False)
    point: NDArray[Any] = field(repr=False)
    classes: NDArray[np.int64] = field(repr=False)
    lower_estimate: NDArray[Any] = field(repr=False)
    converged: NDArray[np.bool_] = field(repr=False)


def nearest_boundary(
    network: Network,
    x: Tensor,
    pool: Pool,
    n_starts: int,
    seed: int,
    geometry: Geometry,
    tolerance: float | None = None,
    ends: Tensor | None = None,
) -> BoundaryDistance:
    """Search for the boundary nearest to inputs (m, ...), a block of them at a time.

    There are ``n_starts`` inputs of the pool to start towards, and further ``ends`` (m, e, ...);
    see :func:`~eigenboundary.boundary_distance`.
    """
    if ends is None:
        ends = x.new_zeros(len(x), 0, *x.shape[1:])
    generator = torch.Generator().manual_seed(int(seed))
    search = _Search(network, pool, n_starts, geometry, tolerance, generator)
    starts = n_starts + search.n_rivals + ends.shape[1] + 1
    step = max(1, _NUMBERS // (starts * max(1, x[0].numel() if len(x) else 1)))
    parts = (slice(row, row + step) for row in range(0, len(x), step))
    blocks = [search.block(x[part], ends[part]) for part in parts]
    if not blocks:
        none = x.new_zeros(0)
        blocks = [(none, x, torch.zeros(0, 2, dtype=torch.int64), none, none.bool())]
    return BoundaryDistance(*(torch.cat(part).cpu().numpy() for part in zip(*blocks, strict=True)))


@dataclass(frozen=True, eq=False)
class _Search:
    """The search for the boundary nearest to inputs."""

    network: Network
    pool: Pool
    n_starts: int
    geometry: Geometry
    tolerance: float | None
    generator: torch.Generator

    @property
    def n_rivals(self) -> int:
        return min(_RIVALS, self.network.signature.n_classes - 1)

    def block(self, x: Tensor, ends: Tensor) -> tuple[Tensor, ...]:
        """Return the fields of a BoundaryDistance for a block of inputs."""
        safe_point()
        outputs = outputs_at(self.network, x)
        own = outputs.argmax(-1)
        origins = Origins(self.network, self.geometry, x, own)
        rivals = outputs.topk(self.n_rivals + 1, dim=-1).indices
        own_last = (rivals == own.unsqueeze(1)).int().argsort(dim=1, stable=True)
        rivals = rivals.gather(1, own_last)[:, : self.n_rivals]
        linear = linearized_distances(origins, rivals)
        lower = linear.amin(1)
        rivals = rivals.gather(1, linear.argsort(1))
        nearest = self._by_walks if x[0].numel() > LOW_DIMENSION else self._by_starts
        found, converged = nearest(origins, rivals, lower, ends)
        self._check_the_way(origins, found)
        verified = self._verified(origins, found)
        classes, gap, _ = leading_two(outputs)
        on_it = gap <= output_rounding(self.network, x, classes)  # x is on the boundary itself
        found.points[on_it], found.distance[on_it] = x[on_it], 0
        found.other[on_it] = classes[on_it, 1]
        points = found.points.masked_fill(column(found.distance.isinf(), x), math.nan)
        pairs = torch.stack([own, found.other], dim=1).sort(dim=1).values
        return found.distance, points, pairs, lower, on_it | (converged & verified)

    def _by_starts(
        self, origins: Origins, rivals: Tensor, lower: Tensor, ends: Tensor
    ) -> tuple[Candidates, Tensor]:
        """Search in few dimensions: from several starts, and around what they lead to."""
        best, converged = self._refined(origins, self._starts(origins, rivals, self.pool, ends))
        rows = torch.arange(len(lower), device=lower.device)
        for _ in range(_LOOKS_AROUND):
            some, radius = origins[rows], best.distance[rows]
            radius = torch.where(radius.isinf(), self._extent(some.x, lower[rows]), radius)
            seen = look_around(some, radius, self.generator)
            if not seen:
                break
            better, finished = self._refined(some, seen)
            nearer = better.distance < best.distance[rows]
            converged[rows[nearer]] = finished[nearer]
            best.replace(rows, better)
            rows = rows[nearer]
            if not len(rows):
                break
        return best, converged

    def _by_walks(
        self, origins: Origins, rivals: Tensor, lower: Tensor, ends: Tensor
    ) -> tuple[Candidates, Tensor]:
        """Search in many dimensions: by annealed walks."""
        none, extent = rivals[:, :0], self._extent(origins.x, lower)
        best = Candidates(origins.x.clone(), origins.own.clone(), torch.full_like(lower, math.inf))
        if ends.shape[1]:
            best, _ = nearest_column(stacked(self._starts(origins, none, None, ends)))
        anneal(origins, rivals, best, extent, self.generator)
        missing = best.distance.isinf().nonzero().squeeze(1)
        if len(missing):  # where the gradient vanishes, samples still tell where to look
            starts = self._starts(origins[missing], none[missing], self.pool, ends[missing, :0])
            if starts:
                best.replace(missing, nearest_column(stacked(starts))[0])
        return best, refine(origins, best, _MOST_STEPS)

    def _starts(
        self, origins: Origins, rivals: Tensor, pool: Pool | None, ends: Tensor
    ) -> list[Candidates]:
        return start_crossings(origins, rivals, pool, self.n_starts, self.generator, ends)

    def _refined(self, origins: Origins, starts: list[Candidates]) -> tuple[Candidates, Tensor]:
        """Refine the nearest few starts of each input, the best few to the end; return the best."""
        many = stacked(starts)
        for kept, n_steps in ((_KEPT_STARTS, _FIRST_STEPS), (_KEPT_TO_THE_END, _MOST_STEPS)):
            few = min(kept, many.distance.shape[1])
            columns = many.distance.topk(few, dim=1, largest=False).indices
            rows = torch.arange(len(columns), device=columns.device).unsqueeze(1)
            rows = rows.expand_as(columns)
            flat = many[rows, columns].map(lambda values: values.flatten(0, 1))
            converged = refine(origins[rows.flatten()], flat, n_steps).reshape(columns.shape)
            many = flat.map(lambda values: values.reshape(*rows.shape, *values.shape[1:]))  # noqa: B023
        best, column_of = nearest_column(many)
        return best, converged.gather(1, column_of.unsqueeze(1)).squeeze(1)

    def _extent(self, x: Tensor, lower: Tensor) -> Tensor:
        """Return how far to look where no boundary has been met."""
        everything = torch.cat([x, self.pool.x]).flatten(1)
        spread = everything.amax(0) - everything.amin(0)
        if self.geometry.box is not None:
            spread = torch.full_like(spread, self.geometry.box[1] - self.geometry.box[0])
        size = self.geometry.length(spread.unsqueeze(0))
        return torch.maximum(2 * size, 10 * lower.nan_to_num(posinf=0))

    def _check_the_way(self, origins: Origins, found: Candidates) -> None:
        """Replace points, in place, by clearly nearer crossings on the segments to them."""
        rows = found.distance.isfinite().nonzero().squeeze(1)
        if len(rows):
            nearer = first_crossings(origins[rows], found.points[rows], _LOOKS)
            clearly = nearer.distance < (1 - 1 / _LOOKS) * found.distance[rows]
            found.replace(rows[clearly], nearer[clearly])

    def _verified(self, origins: Origins, found: Candidates) -> Tensor:
        """Check that the prediction changes at the point, and two equal classes lead there."""
        x, own = origins.x, origins.own
        share = torch.full_like(found.distance, torch.finfo(x.dtype).eps ** 0.5)
        points = torch.where(column(found.distance.isfinite(), x), found.points, x)
        before, behind, at_points, at_start = (
            outputs_at(self.network, places)
            for places in (along(x, points, 1 - share), along(x, points, 1 + share), points, x)
        )
        changes = (before.argmax(-1) == own) & (behind.argmax(-1) != own)
        gap, lead = gap_of_leaders(at_points, own, found.other)
        scale = differences(at_start, own, found.other).abs()
        small = gap <= resolve_tolerance(self.tolerance, x.dtype) * scale
        small |= gap <= output_rounding(self.network, points, leading_two(at_points)[0])
        return changes & lead & small & found.distance.isfinite()
