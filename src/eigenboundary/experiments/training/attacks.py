r"""Inputs perturbed against the network that is trained on them (adversarial training).

Training that is robust within a radius r minimises the loss at the worst inputs around the
samples (Madry et al. 2018, arXiv:1706.06083, eq. 2.1),

.. math:: \min_\theta \frac1n \sum_s \max_{\|x - x_s\| \le r} \ell(f_\theta(x), y_s),

with the inner maximum by projected gradient ascent (PGD) from a random start in the ball,

.. math:: x^{(t+1)} = P\bigl(x^{(t)} + \eta\,u^{(t)}\bigr),

where :math:`u` is the direction of steepest ascent of the loss in the norm, and P projects onto
the ball, and onto the box where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eigenboundary.boundary.search.norms import Geometry, as_box, as_norm, column
from eigenboundary.runtime.arguments import check_integer, check_number
from eigenboundary.runtime.errors import InvalidInputError

_STEPS = 10
# The length of all steps together, over the radius. Madry et al. take 2.5 for their attack with
# 100 steps, so that the ball's far side is reached from any start.
_REACH = 2.5


@dataclass(frozen=True)
class Attack:
    """Projected gradient ascent around an input."""

    radius: float  # of the ball
    steps: int
    step_size: float  # the length of a step, before the projection
    geometry: Geometry  # the ball's norm, and the box that inputs stay in

    def check_inputs(self, x: Tensor) -> None:
        """Raise an error for integer inputs and for inputs outside the box."""
        if not x.is_floating_point():
            wanted = "hold floating-point inputs where attack_radius is given"
            raise InvalidInputError("data", wanted, str(x.dtype).removeprefix("torch."))
        box = self.geometry.box
        if box is not None and not bool(((x >= box[0]) & (x <= box[1])).all()):
            wanted = f"lie in the attack_box from {box[0]:g} to {box[1]:g}"
            got = f"entries from {float(x.min()):g} to {float(x.max()):g}"
            raise InvalidInputError("data", wanted, got)

    def nearest_allowed(self, points: Tensor, x: Tensor) -> Tensor:
        """Project points (m, ...) onto the balls around x, and onto the box."""
        moved = points - x
        if math.isinf(self.geometry.norm):
            moved = moved.clamp(-self.radius, self.radius)
        else:
            length = self.geometry.length(moved)
            moved = moved * column(self.radius / length.clamp(min=self.radius), moved)
        # x is in the box, so clamping an entry brings it nearer to x and stays in the ball.
        return self.geometry.inside(x + moved)


def as_attack(radius: Any, steps: Any, step_size: Any, norm: Any, box: Any) -> Attack | None:
    """Return the attack that a plan's settings describe; None where there is no radius."""
    if radius is None:
        settings = {"steps": steps, "step_size": step_size, "norm": norm, "box": box}
        for name, value in settings.items():
            if value is not None:
                wanted = "be left out unless attack_radius is given"
                raise InvalidInputError(f"attack_{name}", wanted, repr(value))
        return None
    check_number(radius, "attack_radius", above=0)
    check_integer(steps, "attack_steps", optional=True)
    check_number(step_size, "attack_step_size", above=0, optional=True)
    steps = _STEPS if steps is None else int(steps)
    step_size = _REACH * radius / steps if step_size is None else step_size
    try:
        geometry = Geometry(as_norm(2 if norm is None else norm), as_box(box))
    except InvalidInputError as error:
        raise error.renamed(f"attack_{error.name}") from None
    return Attack(float(radius), steps, float(step_size), geometry)


def random_start(attack: Attack, x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw inputs evenly from the balls around x (b, ...), and project them onto the box.

    Examples
    --------
    >>> attack = as_attack(0.5, None, None, None, None)
    >>> x = torch.zeros(100, 2)
    >>> start = random_start(attack, x, torch.Generator().manual_seed(0))
    >>> bool(start.norm(dim=1).max() <= 0.5), bool(start.norm(dim=1).max() > 0.45)
    (True, True)
    """
    if math.isinf(attack.geometry.norm):
        moved = 2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1
    else:
        normal = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        moved, _ = attack.geometry.steepest(normal)
        share = torch.rand(len(x), generator=generator, dtype=x.dtype)
        moved = moved * column(share ** (1 / x[0].numel()), x)
    return attack.nearest_allowed(x + attack.radius * moved.to(x.device), x)


def perturbed(
    attack: Attack, x: Tensor, start: Tensor, gradient: Callable[[Tensor], Tensor]
) -> Tensor:
    """Find inputs in the balls around x (m, ...), and in the box, at which a loss is large.

    The ascent begins at ``start`` (m, ...); ``gradient`` maps inputs to the gradients of their
    losses, up to a positive factor.

    Examples
    --------
    The loss grows along the first axis:

    >>> attack = as_attack(0.5, 4, None, None, None)
    >>> x = torch.zeros(1, 2)
    >>> perturbed(attack, x, x, lambda points: torch.tensor([[3.0, 0.0]]))
    tensor([[0.5000, 0.0000]])
    """
    points = start
    for _ in range(attack.steps):
        direction, _ = attack.geometry.steepest(gradient(points))
        points = attack.nearest_allowed(points + attack.step_size * direction, x)
    return points
