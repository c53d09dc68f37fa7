r"""Crossings of straight segments with the decision boundary, for many segments at once.

A bracket :math:`[t_0, t_1]` of the segment :math:`x(t) = (1 - t)\,x_0 + t\,x_1` is kept whose ends
are predicted as different classes: a at the lower end, where it never changes, and some b at the
upper one, which may change as further classes are met between. The bracket is narrowed by the
Illinois rule for the root of :math:`f_a - f_b` (Dowell & Jarratt 1971), with a bisection now and
then, so that it always shrinks, until the difference is at the outputs' rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from eigenboundary.boundary.search.input_gradients import differences, outputs_at
from eigenboundary.boundary.search.norms import column
from eigenboundary.problem.network import Network

_MOST_STEPS = 64
# The first steps bisect, to get away from the corners of a network; then every third does.
_BISECTED_FIRST = 3


@dataclass(frozen=True)
class Crossings:
    """One point of the decision boundary on each of m segments: points (m, ...), the rest (m,)."""

    points: Tensor
    #: The class predicted at the segment's start, and the one behind the crossing.
    own: Tensor
    other: Tensor
    #: Remaining difference of the two leading outputs.
    gap: Tensor
    #: The larger difference of these two outputs at the segment's ends.
    scale: Tensor
    #: Whether the prediction changes on the segment and the two classes lead at the point.
    leads: Tensor
    #: Whether, in addition, the two outputs are equal to the tolerance.
    found: Tensor

    @property
    def classes(self) -> Tensor:
        """The two leading classes, smaller one first, shape (m, 2)."""
        return torch.stack([self.own, self.other], dim=1).sort(dim=1).values


def resolve_tolerance(tolerance: float | None, dtype: torch.dtype) -> float:
    """Return the difference of outputs that counts as zero, relative to a segment's ends."""
    return float(torch.finfo(dtype).eps ** 0.5) if tolerance is None else float(tolerance)


def along(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """Return the points at t, shape (m,), of segments, shape (m, ...)."""
    return start + column(t, start) * (end - start)


def leading_two(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the leading classes (m, 2), their outputs' difference, and whether others are below.

    Where the two outputs are equal, the class that is predicted comes first.
    """
    predicted = outputs.argmax(-1, keepdim=True)
    rest = outputs.scatter(-1, predicted, -torch.inf)
    second = rest.argmax(-1, keepdim=True)
    values = outputs.gather(-1, torch.cat([predicted, second], dim=-1))
    third = rest.scatter(-1, second, -torch.inf).amax(-1)
    return torch.cat([predicted, second], -1), values[:, 0] - values[:, 1], third < values[:, 1]


def gap_of_leaders(outputs: Tensor, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gap of the two leading classes, and whether these two are they, above others."""
    classes, gap, above = leading_two(outputs)
    pair = torch.stack([own, other], dim=1)
    return gap, (classes.sort(1).values == pair.sort(1).values).all(1) & above


def find_crossings(
    network: Network, start: Tensor, end: Tensor, tolerance: float | None = None
) -> Crossings:
    """Find one crossing on each segment (m, ...) whose ends are predicted as different classes.

    ``found`` is false for a segment without a change of the predicted class.
    """
    ends = outputs_at(network, start), outputs_at(network, end)
    bracket = _Bracket(*ends)
    for step in range(_MOST_STEPS):
        rows = bracket.unfinished().nonzero().squeeze(1)
        if not len(rows):
            break
        bisect = step < _BISECTED_FIRST or step % 3 == 2
        t = bracket.midpoint(rows) if bisect else bracket.regula_falsi(rows)
        bracket.narrow(rows, t, outputs_at(network, along(start[rows], end[rows], t)))
    t, outputs = bracket.nearer_end()
    own, other = bracket.own, bracket.other
    scale = torch.stack([differences(f, own, other).abs() for f in ends]).amax(0)
    gap, lead = gap_of_leaders(outputs, own, other)
    leads = bracket.changes & lead
    small = gap <= resolve_tolerance(tolerance, gap.dtype) * scale
    return Crossings(along(start, end, t), own, other, gap, scale, leads, leads & small)


class _Bracket:
    """The brackets of all segments: their ends, the outputs there, and the Illinois weights."""

    def __init__(self, at_start: Tensor, at_end: Tensor) -> None:
        self.own, self.other = at_start.argmax(-1), at_end.argmax(-1)
        self.changes = self.own != self.other
        self.low = at_start.new_zeros(len(at_start))
        self.high = at_start.new_ones(len(at_start))
        self.outputs_low, self.outputs_high = at_start.clone(), at_end.clone()
        self.weights = at_start.new_ones(len(at_start), 2)

    def unfinished(self) -> Tensor:
        eps = torch.finfo(self.low.dtype).eps
        rounding = 8 * eps * self.outputs_low.abs().amax(-1)
        low, high = self._values(slice(None))
        left = torch.minimum(low.abs(), high.abs())
        return self.changes & (left > rounding) & (self.high - self.low > eps * self.high)

    def midpoint(self, rows: Tensor) -> Tensor:
        return (self.low[rows] + self.high[rows]) / 2

    def regula_falsi(self, rows: Tensor) -> Tensor:
        low, high = self._values(rows)
        at_low, at_high = low * self.weights[rows, 0], high * self.weights[rows, 1]
        share = at_low / (at_low - at_high)
        width = self.high[rows] - self.low[rows]
        # Never the ends themselves: evaluated once more, they would not narrow the bracket.
        return self.low[rows] + share.nan_to_num(0.5).clamp(1e-3, 1 - 1e-3) * width

    def narrow(self, rows: Tensor, t: Tensor, outputs: Tensor) -> None:
        predicted = outputs.argmax(-1)
        below = predicted == self.own[rows]
        low, high = rows[below], rows[~below]
        self.low[low], self.outputs_low[low] = t[below], outputs[below]
        self.high[high], self.outputs_high[high] = t[~below], outputs[~below]
        changed = self.other[high] != predicted[~below]
        self.other[high] = predicted[~below]
        # Illinois: an end that stays twice counts half, so that the other one moves too.
        self.weights[low, 1] *= 0.5
        self.weights[low, 0] = 1
        self.weights[high, 0] *= 0.5
        self.weights[high, 1] = 1
        self.weights[high[changed]] = 1

    def nearer_end(self) -> tuple[Tensor, Tensor]:
        low, high = self._values(slice(None))
        lower = low.abs() < high.abs()
        outputs = torch.where(lower.unsqueeze(1), self.outputs_low, self.outputs_high)
        return torch.where(lower, self.low, self.high), outputs

    def _values(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        own, other = self.own[rows], self.other[rows]
        low = differences(self.outputs_low[rows], own, other)
        return low, differences(self.outputs_high[rows], own, other)
