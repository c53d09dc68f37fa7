r"""The point of the decision boundary at which an eigenvector's alignment is largest.

.. math:: x_b = \arg\max_x |A_i(x)| \quad \text{such that } x \text{ is on the boundary}

The paper's search (arXiv:2306.07104) climbs over all inputs and may end off the boundary. Here
every step is taken in the boundary's tangent plane, along the alignment's slope or at random, and
projected back onto the boundary; a step that does not lead higher is dropped. The alignment has
kinks where a ReLU network has them, hence the random steps.
"""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor

from eigenboundary.alignment.reinforcing_gradients import alignments
from eigenboundary.boundary.search.crossings import leading_two
from eigenboundary.boundary.search.descent import onto_boundary, output_rounding
from eigenboundary.boundary.search.input_gradients import gap_gradient, outputs_at
from eigenboundary.boundary.search.norms import Geometry, column, divisor
from eigenboundary.problem.derivatives import squared_alignment_slopes
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.errors import InvalidInputError, first_line
from eigenboundary.runtime.interrupts import safe_point

_log = logging.getLogger(__name__)

_STARTS = 4
_ROUNDS = 24
# After so many rounds only the highest start of each eigenvector goes on.
_FIRST_ROUNDS = 6
# Floating-point operations for an eigenvector, and the forward passes of a round for a start.
_MOST_FLOPS, _ROUND_PASSES = 2e12, 360
_LEAST_ROUNDS = 4
_ALONG_SLOPE = (1.0, 0.25)
_AT_RANDOM = 4
# The first moves, as a share of the spread of the boundary's points; the search ends when they
# have shrunk to the last.
_FIRST_MOVE, _LAST_MOVE = 0.1, 1e-4
_GROWTH, _SHRINKING = 1.5, 0.4
# Distance of a point off the boundary, in roundings of its outputs, that makes its class certain.
_SAFE_ROUNDINGS = 4
# Bytes for the gradients, in θ, that slopes hold at once.
_GRADIENT_BYTES = 2**28


def own_alignment(problem: Problem, x: Tensor, directions: Tensor, each: int) -> Tensor:
    """Compute the absolute alignment of ``each`` inputs with each direction, (k * each,)."""
    blocks = zip(x.split(each), directions.unbind(1), strict=True)
    return torch.cat([alignments(problem, block, v).squeeze(1).abs() for block, v in blocks])


def most_aligned(
    problem: Problem,
    directions: Tensor,
    points: Tensor,
    seed: int,
    box: tuple[float, float] | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Find the boundary point with the largest absolute alignment for each direction.

    The search for unit columns (p, k) starts at the most aligned of some boundary points (m, ...),
    and of random shares of them, and stays in the box, by default the range of the points' entries.
    It returns :math:`x_b`, shape (k, ...), and :math:`|A_i(x_b)|`, shape (k,), which is no less
    than at the best of the points.
    """
    generator = torch.Generator().manual_seed(int(seed))
    bounds = box or (float(points.min()), float(points.max()))
    geometry = Geometry(box=bounds) if bounds[0] < bounds[1] else Geometry()
    best, value = _starts(problem, directions, points, generator)
    k = directions.shape[1]
    flat = points.flatten(1)
    spread = (flat - flat.mean(0)).square().sum(1).mean().sqrt()
    move = value.new_full(value.shape, _FIRST_MOVE) * spread
    rounds = affordable_rounds(problem.signature.flops)
    for done in range(rounds):
        safe_point()
        if done == _FIRST_ROUNDS * rounds // _ROUNDS:
            rows = _leaders(value, k)
            best, value, move = best[rows], value[rows], move[rows]
        if bool((move < _LAST_MOVE * spread).all()):
            break
        proposals = _proposals(problem, best, directions, move, geometry, generator)
        highest, chosen = _highest(problem, proposals, directions, geometry)
        better = highest > value
        best = torch.where(column(better, best), chosen, best)
        value = torch.maximum(value, highest)
        move = move * torch.where(better, _GROWTH, _SHRINKING)
    return _on_the_more_aligned_side(problem, best[_leaders(value, k)], directions, geometry)


def affordable_rounds(flops: int) -> int:
    """Return how many rounds to take where a forward pass takes so many operations."""
    return min(_ROUNDS, max(_LEAST_ROUNDS, int(_MOST_FLOPS / (_ROUND_PASSES * max(flops, 1)))))


def _on_the_more_aligned_side(
    problem: Problem, x: Tensor, directions: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """Move points a few roundings off the boundary to the more aligned side; return both."""
    # On the boundary rounding decides which class is predicted, and near a third class the two
    # classes' gradients differ by more than their sign. Where outputs are too flat, points stay.
    classes, gap, normal, rate = _normals(problem, x)
    rounding = output_rounding(problem.network, x, classes)
    length = _SAFE_ROUNDINGS * rounding / rate.clamp(min=torch.finfo(x.dtype).tiny)
    step = column(torch.where(rate > 0, length, torch.zeros_like(rate)), x) * normal
    places = torch.stack([geometry.inside(x + step), geometry.inside(x - step), x], dim=1)
    flat = places.flatten(0, 1)
    aligned = own_alignment(problem, flat, directions, 3).reshape(len(x), 3)
    left = leading_two(outputs_at(problem.network, flat))[1].reshape(len(x), 3)
    astray = left > (gap + 2 * _SAFE_ROUNDINGS * rounding).unsqueeze(1)
    astray[:, 2] = ~astray[:, :2].all(1)
    highest, chosen = aligned.masked_fill(astray, -math.inf).max(1)
    return places[torch.arange(len(x), device=x.device), chosen], highest


def _leaders(value: Tensor, k: int) -> Tensor:
    """Return the row of the largest value in each of k equal shares."""
    first = torch.arange(k, device=value.device) * (len(value) // k)
    return first + value.reshape(k, -1).argmax(1)


def _starts(
    problem: Problem, directions: Tensor, points: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return, for each direction, the most aligned of all points, and of random shares of them."""
    aligned = alignments(problem, points, directions).abs()
    order = torch.randperm(len(points), generator=generator).to(points.device)
    count = min(_STARTS, len(points))
    groups = [order, *order.tensor_split(count - 1)] if count > 1 else [order]
    value = torch.stack([aligned[group].max(0).values for group in groups], dim=1)
    rows = torch.stack([group[aligned[group].argmax(0)] for group in groups], dim=1)
    return points[rows.flatten()], value.flatten()


def _proposals(
    problem: Problem,
    x: Tensor,
    directions: Tensor,
    move: Tensor,
    geometry: Geometry,
    generator: torch.Generator,
) -> Tensor:
    """Return inputs (m, s, ...) a move away from boundary points (m, ...) in the tangent plane."""
    normal = _normals(problem, x)[2]
    owners = directions.repeat_interleave(len(x) // directions.shape[1], dim=1)
    shape = (len(x), _AT_RANDOM, *x.shape[1:])
    steps = list(torch.randn(shape, generator=generator, dtype=torch.float64).to(x).unbind(1))
    lengths = [1.0] * _AT_RANDOM
    try:
        slope = _squared_alignment_slopes(problem, x, owners)[0].nan_to_num()
        steps += [slope] * len(_ALONG_SLOPE)
        lengths += _ALONG_SLOPE
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, NotImplementedError) as error:
        _log.info("x_b is looked for by random steps alone: %s", error)
    moved = []
    for step, length in zip(steps, lengths, strict=True):
        tangent = step - column((step * normal).flatten(1).sum(1), x) * normal
        unit = tangent / column(divisor(geometry.length(tangent)), x)
        moved.append(geometry.inside(x + column(length * move, x) * unit))
    return torch.stack(moved, dim=1)


def _highest(
    problem: Problem, proposals: Tensor, directions: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """Return the largest alignment of each row's proposals, put onto the boundary, and where."""
    m, s = proposals.shape[:2]
    flat, converged = onto_boundary(problem.network, proposals.flatten(0, 1), geometry)
    aligned = own_alignment(problem, flat, directions, len(flat) // directions.shape[1])
    aligned = torch.where(converged, aligned, -math.inf).reshape(m, s)
    highest, chosen = aligned.max(1)
    points = flat.reshape(proposals.shape)
    return highest, points[torch.arange(m, device=flat.device), chosen]


def _normals(problem: Problem, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the leading classes, their gap, unit normals of the boundary, and the gap's slopes."""
    classes, gap, _ = leading_two(outputs_at(problem.network, x))
    gradient = gap_gradient(problem.network, x, classes[:, 0], classes[:, 1])[1]
    return classes, gap, *Geometry().steepest(gradient)


def _squared_alignment_slopes(
    problem: Problem, x: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute each input's squared alignment with its direction, and its slope; slopes first."""
    per_input = torch.finfo(x.dtype).bits // 8 * 3 * problem.n_parameters
    step = max(1, problem.network.memory.at_most(_GRADIENT_BYTES) // per_input)
    network, loss = problem.network, problem.loss
    blocks = zip(x.split(step), directions.split(step, dim=1), strict=True)
    parts = [squared_alignment_slopes(network, loss, some, along) for some, along in blocks]
    return torch.cat([slope for slope, _ in parts]), torch.cat([value for _, value in parts])


def ascend(
    problem: Problem, start: Tensor, directions: Tensor, n_steps: int, learning_rate: float
) -> Tensor:
    """Search as the paper does, by gradient ascent over all inputs; return the best of them."""
    x, best = start.clone(), start.clone()
    highest = start.new_full((len(start),), -1.0)
    optimizer = torch.optim.Adam([x], lr=learning_rate, maximize=True)
    for step in range(n_steps + 1):
        safe_point()
        try:
            slope, value = _squared_alignment_slopes(problem, x, directions)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError) as error:
            wanted = "be True for a network without second derivatives in parameters and inputs"
            because = f"torch says: {first_line(error)}"
            raise InvalidInputError("constrained", wanted, because=because) from error
        better = value > highest
        best[better], highest[better] = x[better], value[better]
        if step < n_steps:
            x.grad = slope.nan_to_num()
            optimizer.step()
    return best
