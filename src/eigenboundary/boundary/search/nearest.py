r"""How far inputs are from the decision boundary.

The distance of an input x that is predicted as class a is

.. math:: d(x) = \min_y \|y - x\| \quad \text{such that} \quad f_a(y) = \max_{j \neq a} f_j(y).

No search finds the minimum for certain: what is found is a crossing, and so an upper bound. In up
to ten dimensions it comes from several starts (:mod:`~eigenboundary.boundary.search.starts`), each
refined (:mod:`~eigenboundary.boundary.search.refinement`), and from looking around within the
smallest distance found; in more of them from annealed walks
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
from eigenboundary.boundary.search.crossings import along, leading_two, resolve_tolerance
from eigenboundary.boundary.search.descent import output_rounding
from eigenboundary.boundary.search.input_gradients import outputs_at
from eigenboundary.boundary.search.norms import Geometry, column
from eigenboundary.boundary.search.rays import Candidates, first_crossings, nearest_column, stacked
from eigenboundary.boundary.search.refinement import refine
from eigenboundary.boundary.search.starts import (
    LOW_DIMENSION,
    Pool,
    linearized_distances,
    look_around,
    start_crossings,
)
from eigenboundary.problem.network import Network
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.interrupts import safe_point

# Numbers of all starts of a block of inputs.
_NUMBERS = 2**22
# Starts of an input that are refined by a few steps, and those of them refined to the end.
_KEPT_STARTS, _FIRST_STEPS = 6, 5
_KEPT_TO_THE_END, _MOST_STEPS = 2, 60
_SAMPLES = 2000
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
    samples: Pool,
    n_starts: int,
    seed: int,
    geometry: Geometry,
    tolerance: float | None = None,
    ends: Tensor | None = None,
) -> BoundaryDistance:
    """The same for inputs that are ready to compute with.

    Parameters
    ----------
    ends : Tensor, shape (m, e, ...), optional
        Further inputs to start towards, e each.
    """
    search = _Search(network, samples, n_starts, seed, geometry, tolerance)
    return search.result(x, ends)


def references_for(problem: Problem, references: Any, x: Tensor, geometry: Geometry) -> Pool:
    """Return the inputs to start towards: those given, or training samples, or x."""
    network = problem.network
    if references is not None:
        towards = network.to_compute(network.prepare(references, "references"))
    elif problem.has_samples:
        towards = network.to_compute(problem.samples.some_inputs(_SAMPLES)[0])
    else:
        towards = x
    towards = towards[:: max(1, -(-len(towards) // _SAMPLES))]
    towards = towards[(geometry.inside(towards) == towards).flatten(1).all(1)]
    predictions = outputs_at(network, towards).argmax(-1)
    return Pool(towards, predictions, torch.arange(len(towards)))


class _Search:
    """The search for many inputs, a block of them at a time."""

    def __init__(
        self,
        network: Network,
        samples: Pool,
        n_starts: int,
        seed: int,
        geometry: Geometry,
        tolerance: float | None,
    ) -> None:
        self.network, self.samples, self.n_starts = network, samples, n_starts
        self.geometry, self.tolerance = geometry, tolerance
        self.n_rivals = min(_RIVALS, network.signature.n_classes - 1)
        self.generator = torch.Generator().manual_seed(int(seed))

    def result(self, x: Tensor, ends: Tensor | None) -> BoundaryDistance:
        if ends is None:
            ends = x.new_zeros(len(x), 0, *x.shape[1:])
        n_starts = self.n_starts + self.n_rivals + ends.shape[1] + 1
        step = max(1, _NUMBERS // (n_starts * max(1, x[0].numel() if len(x) else 1)))
        parts = (slice(row, row + step) for row in range(0, len(x), step))
        blocks = [self._block(x[part], ends[part]) for part in parts]
        if not blocks:
            blocks = [self._nothing(x)]
        columns = [torch.cat(column).cpu().numpy() for column in zip(*blocks, strict=True)]
        return BoundaryDistance(*columns)

    def _nothing(self, x: Tensor) -> tuple[Tensor, ...]:
        none = x.new_zeros(0)
        return none, x, torch.zeros(0, 2, dtype=torch.int64), none, none.bool()

    def _block(self, x: Tensor, ends: Tensor) -> tuple[Tensor, ...]:
        """The result's columns for a block of inputs."""
        safe_point()
        outputs = outputs_at(self.network, x)
        own = outputs.argmax(-1)
        rivals = outputs.topk(self.n_rivals + 1, dim=-1).indices
        own_last = (rivals == own.unsqueeze(1)).int().argsort(dim=1, stable=True)
        rivals = rivals.gather(1, own_last)[:, : self.n_rivals]
        linear = linearized_distances(self.network, x, rivals, self.geometry)
        lower = linear.amin(1)
        rivals = rivals.gather(1, linear.argsort(1))
        found, converged = self._nearest(x, own, rivals, lower, ends)
        self._check_the_way(x, own, found)
        verified = self._verified(x, own, found)
        classes, gap, _ = leading_two(outputs)
        on_it = gap <= output_rounding(self.network, x, classes)  # x is on the boundary itself
        found.points[on_it], found.distance[on_it] = x[on_it], 0
        found.other[on_it] = classes[on_it, 1]
        missing = found.distance.isinf()
        points = found.points.masked_fill(column(missing, x), math.nan)
        pairs = torch.stack([own, found.other], dim=1).sort(dim=1).values
        return found.distance, points, pairs, lower, on_it | (converged & verified)

    def _nearest(
        self, x: Tensor, own: Tensor, rivals: Tensor, lower: Tensor, ends: Tensor
    ) -> tuple[Candidates, Tensor]:
        if x[0].numel() > LOW_DIMENSION:
            return self._nearest_by_walks(x, own, rivals, lower, ends)
        starts = self._starts(x, own, rivals, self.samples, ends)
        best, converged = self._refined(x, own, starts)
        rows = torch.arange(len(x), device=x.device)
        for _ in range(_LOOKS_AROUND):
            radius = best.distance[rows]
            radius = torch.where(radius.isinf(), self._extent(x[rows], lower[rows]), radius)
            seen = look_around(
                self.network, x[rows], own[rows], radius, self.geometry, self.generator
            )
            if not seen:
                break
            better, finished = self._refined(x[rows], own[rows], seen)
            nearer = better.distance < best.distance[rows]
            converged[rows[nearer]] = finished[nearer]
            best.replace(rows, better)
            rows = rows[nearer]
            if not len(rows):
                break
        return best, converged

    def _nearest_by_walks(
        self, x: Tensor, own: Tensor, rivals: Tensor, lower: Tensor, ends: Tensor
    ) -> tuple[Candidates, Tensor]:
        none, extent = rivals[:, :0], self._extent(x, lower)
        best = Candidates(x.clone(), own.clone(), torch.full_like(lower, math.inf))
        if ends.shape[1]:
            best, _ = nearest_column(stacked(self._starts(x, own, none, None, ends)))
        anneal(self.network, x, own, rivals, best, self.geometry, extent, self.generator)
        missing = best.distance.isinf().nonzero().squeeze(1)
        if len(missing):  # where the gradient vanishes, samples still tell where to look
            starts = self._starts(
                x[missing], own[missing], none[missing], self.samples, ends[missing, :0]
            )
            if starts:
                best.replace(missing, nearest_column(stacked(starts))[0])
        return best, refine(self.network, x, own, best, self.geometry, _MOST_STEPS)

    def _starts(
        self, x: Tensor, own: Tensor, rivals: Tensor, samples: Pool | None, ends: Tensor
    ) -> list[Candidates]:
        return start_crossings(
            self.network,
            x,
            own,
            rivals,
            samples,
            self.n_starts,
            self.geometry,
            self.generator,
            ends,
        )

    def _refined(
        self, x: Tensor, own: Tensor, starts: list[Candidates]
    ) -> tuple[Candidates, Tensor]:
        """The nearest point after the nearest few starts of each input have been refined.

        Most of them are dropped once a few steps have shown which are the most promising.
        """
        many = stacked(starts)
        for kept, n_steps in ((_KEPT_STARTS, _FIRST_STEPS), (_KEPT_TO_THE_END, _MOST_STEPS)):
            few = min(kept, many.distance.shape[1])
            columns = many.distance.topk(few, dim=1, largest=False).indices
            rows = torch.arange(len(x), device=x.device).unsqueeze(1).expand_as(columns)
            points, other = many.points[rows, columns], many.other[rows, columns]
            flat = Candidates(
                points.flatten(0, 1), other.flatten(), many.distance.gather(1, columns).flatten()
            )
            owner = rows.flatten()
            converged = refine(self.network, x[owner], own[owner], flat, self.geometry, n_steps)
            many = Candidates(
                flat.points.reshape(points.shape),
                flat.other.reshape(other.shape),
                flat.distance.reshape(other.shape),
            )
        best, column_of = nearest_column(many)
        return best, converged.reshape(other.shape).gather(1, column_of.unsqueeze(1)).squeeze(1)

    def _extent(self, x: Tensor, lower: Tensor) -> Tensor:
        """How far to look where no boundary has been met."""
        everything = torch.cat([x, self.samples.x]).flatten(1)
        spread = everything.amax(0) - everything.amin(0)
        if self.geometry.box is not None:
            spread = torch.full_like(spread, self.geometry.box[1] - self.geometry.box[0])
        size = self.geometry.length(spread.unsqueeze(0))
        return torch.maximum(2 * size, 10 * lower.nan_to_num(posinf=0))

    def _check_the_way(self, x: Tensor, own: Tensor, found: Candidates) -> None:
        """Where the segment to the point crosses the boundary before, take that crossing."""
        rows = found.distance.isfinite().nonzero().squeeze(1)
        if len(rows):
            nearer = first_crossings(
                self.network, x[rows], own[rows], found.points[rows], self.geometry, _LOOKS
            )
            clearly = nearer.distance < (1 - 1 / _LOOKS) * found.distance[rows]
            found.replace(rows[clearly], nearer[clearly])

    def _verified(self, x: Tensor, own: Tensor, found: Candidates) -> Tensor:
        """Whether the prediction changes at the point, and the two classes are equal and lead."""
        share = torch.full_like(found.distance, torch.finfo(x.dtype).eps ** 0.5)
        points = torch.where(column(found.distance.isfinite(), x), found.points, x)
        before = outputs_at(self.network, along(x, points, 1 - share)).argmax(-1)
        behind = outputs_at(self.network, along(x, points, 1 + share)).argmax(-1)
        outputs, start = outputs_at(self.network, points), outputs_at(self.network, x)
        classes, gap, above = leading_two(outputs)
        pair = torch.stack([own, found.other], dim=1)
        leads = (classes.sort(1).values == pair.sort(1).values).all(1) & above
        scale = start.gather(1, pair).diff(dim=1).squeeze(1).abs()
        small = gap <= resolve_tolerance(self.tolerance, x.dtype) * scale
        small |= gap <= output_rounding(self.network, points, classes)
        return (before == own) & (behind != own) & leads & small & found.distance.isfinite()
