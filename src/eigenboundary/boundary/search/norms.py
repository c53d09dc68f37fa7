r"""Lengths, steepest directions and tangent steps in the Euclidean and the maximum norm.

The point of the plane :math:`\{y : \langle g, y - x\rangle = c\}` nearest to x in a norm is
:math:`x + c\,u / \|g\|_*` with :math:`u` of unit norm along which the plane is met soonest and
:math:`\|\cdot\|_*` the dual norm: :math:`u = g/\|g\|_2`, and :math:`u = \mathrm{sign}(g)` with the
dual norm :math:`\|g\|_1` for the maximum norm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eigenboundary.runtime.errors import InvalidInputError

_DOUBLINGS = 40
_BISECTIONS = 60
_STRETCHES = 6


def as_norm(norm: Any) -> float:
    """Return 2 or infinity, or raise an InvalidInputError for any other norm."""
    if isinstance(norm, int | float) and not isinstance(norm, bool) and norm in (2, math.inf):
        return float(norm)
    raise InvalidInputError("norm", "be 2 or inf", repr(norm))


def as_box(box: Any) -> tuple[float, float] | None:
    """Return the lowest and highest value of an entry, or raise an InvalidInputError."""
    if box is None:
        return None
    pair = isinstance(box, Sequence) and len(box) == 2
    if not pair or not all(isinstance(b, int | float) for b in box) or not box[0] < box[1]:
        wanted = "be a pair (low, high) of numbers with low < high"
        raise InvalidInputError("box", wanted, repr(box))
    return float(box[0]), float(box[1])


def column(values: Tensor, like: Tensor) -> Tensor:
    """Shape one number an input, (m,), so that it multiplies inputs (m, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def divisor(values: Tensor) -> Tensor:
    """Replace what is not positive by one, so that it can be divided by."""
    return torch.where(values > 0, values, torch.ones_like(values))


@dataclass(frozen=True)
class Geometry:
    """A norm on inputs, and the box they have to stay in.

    Attributes
    ----------
    norm : float
        2 or infinity.
    box : (low, high), optional
    """

    norm: float = 2.0
    box: tuple[float, float] | None = None

    def length(self, differences: Tensor) -> Tensor:
        """Compute the norms of differences of inputs (m, ...), shape (m,)."""
        return torch.linalg.vector_norm(differences.flatten(1), self.norm, dim=1)

    def steepest(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit directions of steepest ascent (m, ...) and dual norms of gradients (m,)."""
        if math.isinf(self.norm):
            return gradient.sign(), gradient.flatten(1).abs().sum(1)
        rate = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        return gradient / column(divisor(rate), gradient), rate

    def direction(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return directions along gradients (m, ...), of about unit norm, and dual norms (m,).

        Unlike :meth:`steepest`, the directions are proportional to the gradient in the maximum
        norm too, with entries of mean size one.
        """
        if not math.isinf(self.norm):
            return self.steepest(gradient)
        rate = gradient.flatten(1).abs().sum(1)
        return gradient * column(gradient[0].numel() / divisor(rate), gradient), rate

    def onto_sphere(self, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
        """Move inputs y to the radius (m,) around x; in the maximum norm, to within it."""
        moved = y - x
        if math.isinf(self.norm):
            limit = column(radius, moved)
            return x + torch.minimum(torch.maximum(moved, -limit), limit)
        return x + column(radius / divisor(self.length(moved)), x) * moved

    def not_outwards(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Set to zero the entries of gradients that point out of the box at its sides."""
        if self.box is None:
            return gradient
        outwards = ((x >= self.box[1]) & (gradient > 0)) | ((x <= self.box[0]) & (gradient < 0))
        return gradient.masked_fill(outwards, 0)

    def inside(self, x: Tensor) -> Tensor:
        """Return the nearest inputs in the box."""
        return x if self.box is None else x.clamp(*self.box)

    def check_inside(self, x: Tensor, name: str) -> None:
        """Raise an InvalidInputError if some inputs lie outside the box."""
        if self.box is not None and not torch.equal(self.inside(x), x):
            wanted = f"lie in the box from {self.box[0]:g} to {self.box[1]:g}"
            got = f"entries from {float(x.min()):g} to {float(x.max()):g}"
            raise InvalidInputError(name, wanted, got)

    def nearest_on_plane(self, x: Tensor, gradient: Tensor, offset: Tensor) -> Tensor:
        r"""Return the input nearest to x, in the box, with :math:`\langle g, y - x\rangle = c`.

        ``offset`` is c, shape (m,). Where the box does not reach the plane, the result is the
        input of the box that is nearest to the plane.
        """
        direction, rate = self.steepest(gradient)
        step = offset / divisor(rate)
        if self.box is None:
            return x + column(step, x) * direction

        def short(step: Tensor) -> Tensor:
            moved = self.inside(x + column(step, x) * direction) - x
            return (moved * gradient).flatten(1).sum(1).abs() < offset.abs()

        # Entries that stop at the box' side are made up for by a longer step of the others.
        low, high = torch.zeros_like(step), step
        for _ in range(_DOUBLINGS):
            too_short = short(high)
            if not too_short.any():
                break
            high = torch.where(too_short, 2 * high, high)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            too_short = short(middle)
            low, high = torch.where(too_short, middle, low), torch.where(too_short, high, middle)
        return self.inside(x + column(high, x) * direction)

    def as_far_as(self, x: Tensor, direction: Tensor, length: Tensor) -> Tensor:
        """Move inputs by up to a length (m,) along unit directions, within the box.

        Entries stop at the box' side; the others go further to make up for it.
        """
        ends = self.inside(x + column(length, x) * direction)
        if self.box is None:
            return ends
        step = length
        for _ in range(_STRETCHES):
            reached = self.length(ends - x)
            step = step * length / torch.where(reached > 0, reached, length)
            further = self.inside(x + column(step, x) * direction)
            within = self.length(further - x) <= length * (1 + torch.finfo(x.dtype).eps)
            ends = torch.where(column(within, x), further, ends)
        return ends

    def reach(self, x: Tensor, direction: Tensor) -> Tensor:
        """Compute how many times the direction fits between x and the box' side, shape (m,)."""
        if self.box is None:
            return x.new_full((len(x),), math.inf)
        sides = torch.where(direction > 0, self.box[1] - x, self.box[0] - x)
        times = torch.where(direction == 0, math.inf, sides / direction)
        return times.flatten(1).amin(1).clamp(min=0)
