r"""A curve of low loss between two networks.

Garipov et al. 2018 (arXiv:1802.10026, sec. 3) train the bend θ of a quadratic Bézier curve

.. math:: \phi(t) = (1 - t)^2\,\theta_0 + 2 t (1 - t)\,\theta + t^2\,\theta_1

so that the loss is low all along it, by stochastic descent on
:math:`\mathbb{E}_{t \sim U(0, 1)} L(\phi(t))` with a new t each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.landscape.points import as_point, as_steps
from eigenboundary.landscape.slices import LossCurve, curve_of, loss_between
from eigenboundary.problem.problem import Model, Problem, as_problem
from eigenboundary.runtime.arguments import check_choice, check_integer, check_number, check_seed
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.interrupts import safe_point
from eigenboundary.runtime.precision import full_precision

Array = NDArray[np.float64]
#: Batches of samples and labels, and the number of samples.
Drawn = tuple[Iterable[tuple[Tensor, Tensor]], int]

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": lambda params, lr: torch.optim.SGD(params, lr=lr, momentum=0.9),
}
# The learning rate is constant for the first half and then falls to this share of itself.
_LAST_RATE = 0.01


@dataclass(frozen=True)
class LowLossCurve:
    """A trained curve between two networks, and the straight segment to compare it with.

    Attributes
    ----------
    start, bend, end : Tensor, shape (p,)
    curve : LossCurve
        Along the curve, t in [0, 1].
    segment : LossCurve
        On the straight line, at the same steps.
    history : array, shape (iterations,)
        Loss of each iteration, at its t.
    """

    start: Tensor = field(repr=False)
    bend: Tensor = field(repr=False)
    end: Tensor = field(repr=False)
    curve: LossCurve = field(repr=False)
    segment: LossCurve = field(repr=False)
    history: Array = field(repr=False)

    @property
    def barrier(self) -> float:
        """Height of the curve's loss above the larger of its ends'."""
        return self.curve.barrier

    @property
    def segment_barrier(self) -> float:
        """Height of the segment's loss above the larger of its ends'."""
        return self.segment.barrier

    @full_precision()
    def points(self, steps: Any) -> Tensor:
        """Compute the parameters φ(t) at steps t, shape (m, p)."""
        weights = torch.as_tensor(_bernstein(as_steps(steps))).to(self.bend)
        return weights @ torch.stack([self.start, self.bend, self.end])


@full_precision()
def low_loss_curve(
    model: Model,
    start: Any,
    end: Any,
    *,
    iterations: int = 1000,
    learning_rate: float = 0.02,
    optimizer: str = "adam",
    batch_size: int | None = None,
    steps: Any = None,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
    data: Any = None,
    **options: Any,
) -> LowLossCurve:
    """Train a curve between two networks on which the loss stays low.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        Gives the data and the loss; its own θ does not matter.
    start, end : array or Tensor of shape (p,), torch.nn.Module or state dict
    iterations : int
        Steps of the optimizer, each at one random t.
    learning_rate : float
        Constant for the first half of the iterations, then falling to a hundredth.
    optimizer : {"adam", "sgd"}
        "sgd" has momentum 0.9.
    batch_size : int, optional
        Samples an iteration, taken in the data's order (shuffle data that are sorted by class);
        default: all.
    steps : array, shape (m,), optional
        Values of t in [0, 1] at which the result is evaluated; default: 41 evenly spaced ones.
    seed : int
        Seed of the draws of t.
    progress : callable, optional
        Called after every iteration with its number, from 1, and its loss.
    data, **options
        Samples and options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    LowLossCurve

    Raises
    ------
    InvalidInputError
        If an argument is not as described, or the training diverges.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> networks = [torch.nn.Linear(2, 3) for _ in range(2)]
    >>> problem = eb.Problem(networks[0], (torch.randn(9, 2), torch.arange(9) % 3))
    >>> found = low_loss_curve(problem, *networks, iterations=50)
    >>> bool(found.curve.loss.mean() < found.segment.loss.mean())
    True
    """
    problem = as_problem(model, data, **options)
    check_integer(iterations, "iterations")
    check_choice(optimizer, "optimizer", tuple(_OPTIMIZERS))
    check_integer(batch_size, "batch_size", optional=True)
    check_seed(seed)
    check_number(learning_rate, "learning_rate", above=0)
    first, last = as_point(problem, start, "start"), as_point(problem, end, "end")
    segment = loss_between(problem, first, last, steps)

    bend = ((first + last) / 2).requires_grad_(True)
    stepper = _OPTIMIZERS[optimizer]([bend], lr=float(learning_rate))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        stepper, lambda i: 1 - (1 - _LAST_RATE) * min(1.0, max(0.0, 2 * i / iterations - 1))
    )
    batches = _batches(problem, batch_size)
    history = np.empty(iterations)
    for i, t in enumerate(np.random.default_rng(seed).uniform(size=iterations)):
        safe_point()
        stepper.zero_grad()
        history[i] = _descend(problem, (first, bend, last), float(t), next(batches))
        if not math.isfinite(history[i]):
            wanted = "be small enough for the training to stay finite"
            came = f"with {learning_rate:g} the loss was {history[i]} at iteration {i + 1}"
            raise InvalidInputError("learning_rate", wanted, because=came)
        stepper.step()
        schedule.step()
        if progress is not None:
            progress(i + 1, float(history[i]))

    bend = bend.detach()
    points = torch.stack([first, bend, last])
    curve = curve_of(problem, segment.steps, _bernstein(segment.steps), points)
    return LowLossCurve(first, bend, last, curve, segment, history)


def _bernstein(t: Any) -> Array:
    """Return the weights of the three points at t, in the last dimension."""
    return np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2], axis=-1)


def _batches(problem: Problem, batch_size: int | None) -> Iterator[Drawn]:
    """Yield the samples of each iteration, a batch or all data in chunks, and their number."""
    while True:
        if batch_size is None:
            chunk = problem.network.samples_per_chunk(1)
            yield problem.samples.batches(chunk), problem.n_samples
        else:
            yield from (([batch], len(batch[0])) for batch in problem.samples.batches(batch_size))


def _descend(problem: Problem, points: tuple[Tensor, ...], t: float, drawn: Drawn) -> float:
    """Return the loss of the samples at one t, and add its gradient to that of the bend."""
    (first, bend, last), (a, b, c), (samples, n) = points, _bernstein(t).tolist(), drawn
    network, total = problem.network, 0.0
    for x, y in samples:
        with torch.enable_grad():
            theta = a * first + b * bend + c * last
            tree = {name: rows[0] for name, rows in network.unflatten(theta.unsqueeze(0)).items()}
            loss = problem.loss.per_sample(network.outputs(tree, x), y).sum() / n
            loss.backward()
        total += float(loss.detach())
    return total
