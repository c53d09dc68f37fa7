"""Loss and outputs at many points of parameter space at once, streamed over the data."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eigenboundary.problem.module import check_model, unwrapped
from eigenboundary.problem.network import Network, Tree
from eigenboundary.problem.problem import Model, Problem, as_problem
from eigenboundary.runtime.arguments import check_shape
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.interrupts import safe_point
from eigenboundary.runtime.linalg import column_norms
from eigenboundary.runtime.precision import full_precision

Array = NDArray[np.float64]

# More points at once leave too few samples a chunk to be worth it.
_MOST_POINTS = 64
_POINT_ENTRIES = 2**25


@dataclass(frozen=True)
class LandscapeValues:
    """The training loss at m points of parameter space.

    Attributes
    ----------
    loss : array, shape (m,)
        Not finite where the outputs overflow.
    accuracy : array, shape (m,)
        Share of training samples predicted as labelled.
    """

    loss: Array = field(repr=False)
    accuracy: Array = field(repr=False)


@full_precision()
def loss_at(model: Model, thetas: Any, *, data: Any = None, **options: Any) -> LandscapeValues:
    """Compute the training loss and accuracy at any points of parameter space.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
    thetas : array or Tensor, shape (m, p) or (p,)
        Flat parameter vectors, in the order of ``problem.network.theta``.
    data, **options
        Samples and options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    LandscapeValues

    Raises
    ------
    InvalidInputError
        If the shape does not fit or a number is not finite.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> problem = eb.Problem(torch.nn.Linear(2, 3), (torch.randn(9, 2), torch.arange(9) % 3))
    >>> loss_at(problem, torch.zeros(4, 9)).loss.round(6).tolist()  # ln 3
    [1.098612, 1.098612, 1.098612, 1.098612]
    """
    problem = as_problem(model, data, **options)
    points = as_numbers(thetas, "thetas").to(problem.device, problem.dtype)
    points = points.unsqueeze(0) if points.ndim == 1 else points
    check_shape(points, "thetas", ("m", problem.n_parameters))
    _check_finite(points, "thetas")
    return values_at(problem, points.split(_points_at_once(problem)))


@torch.no_grad()
def values_at(problem: Problem, blocks: Iterable[Tensor]) -> LandscapeValues:
    """Compute loss and accuracy at blocks of points (m, p), with one pass over the data each."""
    losses, hits = [], []
    for points in blocks:
        like = torch.empty(2, len(points), dtype=torch.float64, device=problem.device)
        sums = problem.processes.sum(functools.partial(_own_sums, problem, points), like)
        loss, hit = sums / problem.n_samples
        losses.append(loss)
        hits.append(hit)
    return LandscapeValues(torch.cat(losses).cpu().numpy(), torch.cat(hits).cpu().numpy())


def _own_sums(problem: Problem, points: Tensor) -> Tensor:
    """Sum loss and hits at each point (m, p) over this process' samples: (2, m)."""
    sums = torch.zeros(2, len(points), dtype=torch.float64, device=problem.device)
    for x, y in problem.samples.own_batches(problem.network.samples_per_chunk(len(points))):
        safe_point()
        outputs = outputs_at(problem.network, points, x)
        rows, labels = outputs.flatten(0, 1), y.repeat(len(points))
        values = problem.loss.per_sample(rows, labels).reshape(len(points), -1)
        sums[0] += values.double().sum(1)
        sums[1] += (outputs.argmax(-1) == y).sum(1)
    return sums


def blocks_of(problem: Problem, coefficients: Array, vectors: Tensor) -> Iterator[Tensor]:
    """Yield the points ``coefficients @ vectors``, (m, r) times (r, p), a few at a time.

    A row of coefficients with a single one gives that vector exactly.
    """
    weights = torch.as_tensor(coefficients).to(problem.device, problem.dtype)
    for rows in weights.split(_points_at_once(problem)):
        yield rows @ vectors


def outputs_at(network: Network, points: Tensor, x: Tensor) -> Tensor:
    """Compute the outputs (m, n, C) of a batch at m points (m, p) of parameter space."""

    def outputs(tree: Tree) -> Tensor:
        return network.outputs(tree, x)

    trees = network.unflatten(points)
    if len(points) > 1:
        try:
            return torch.vmap(outputs)(trees)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError):
            pass  # an operation has no batching rule: one point at a time
    return torch.stack([outputs({n: t[i] for n, t in trees.items()}) for i in range(len(points))])


def _points_at_once(problem: Problem) -> int:
    return max(1, min(_MOST_POINTS, _POINT_ENTRIES // problem.n_parameters))


def as_steps(
    value: Any, name: str = "steps", *, within: tuple[float, float] | None = None
) -> Array:
    """Return coordinates along a line: finite, at least one, perhaps within limits."""
    steps = as_numbers(value, name).cpu().double().numpy()
    finite = np.isfinite(steps).all()
    if steps.ndim != 1 or not len(steps) or not finite:
        came = f"shape {steps.shape}{'' if finite else ' with NaN or inf'}"
        raise InvalidInputError(name, "be a sequence of at least one finite number", came)
    if within is not None and not (within[0] <= steps.min() and steps.max() <= within[1]):
        came = f"numbers from {steps.min():g} to {steps.max():g}"
        raise InvalidInputError(name, f"be between {within[0]:g} and {within[1]:g}", came)
    return steps


def as_direction(problem: Problem, value: Any, name: str) -> Tensor:
    """Return a direction in parameter space as a unit vector, shape (p,)."""
    vector = _as_vector(problem, value, name)
    norm = column_norms(vector.unsqueeze(1))
    if not float(norm) > 0:
        raise InvalidInputError(name, "not be zero", "a vector of length 0")
    # Divided in float64: the norm of a tiny vector may be zero in its own precision.
    return (vector / norm).to(problem.dtype)


def as_point(problem: Problem, value: Any, name: str) -> Tensor:
    """Return the point (p,) of parameter space of a flat vector, a network or its state dict."""
    if isinstance(value, nn.Module):
        check_model(value)
        value = unwrapped(value).state_dict()
    if not isinstance(value, Mapping):
        return _as_vector(problem, value, name)
    for key, tensor in problem.network.module.state_dict().items():
        came = value.get(key)
        if not isinstance(came, Tensor) or came.shape != tensor.shape:
            shape = str(tuple(came.shape)) if isinstance(came, Tensor) else "none"
            own = f"{key!r} of shape {tuple(tensor.shape)}"
            wanted = f"be a network of the problem's architecture, with {own}"
            raise InvalidInputError(name, wanted, shape)
        fixed = key not in problem.parameter_names and not key.endswith("num_batches_tracked")
        if fixed and not torch.allclose(came.to(tensor), tensor, equal_nan=True):
            wanted = "differ from the problem's network in θ alone"
            remedy = "to leave it as the problem has it, pass the flat vector θ"
            because = f"{key!r}, which is not part of θ, differs ({remedy})"
            raise InvalidInputError(name, wanted, because=because)
    tree = {n: value[n].detach().to(problem.device, problem.dtype) for n in problem.parameter_names}
    point = problem.network.flatten(tree, leading=0)
    _check_finite(point, name)
    return point if problem.network.units is None else point / problem.network.scales


def _as_vector(problem: Problem, value: Any, name: str) -> Tensor:
    vector = as_numbers(value, name)
    check_shape(vector, name, (problem.n_parameters,))
    vector = vector.to(problem.device, problem.dtype)
    _check_finite(vector, name)
    return vector


def as_numbers(value: Any, name: str) -> Tensor:
    """Return an array or tensor of real numbers as a tensor."""
    try:
        tensor = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError):
        wanted = "be a numeric array or tensor"
        raise InvalidInputError(name, wanted, type(value).__name__) from None
    if tensor.is_complex() or tensor.dtype == torch.bool:
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise InvalidInputError(name, "hold real numbers", dtype)
    return tensor


def _check_finite(tensor: Tensor, name: str) -> None:
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise InvalidInputError(name, "be finite", because=f"{bad} entries are NaN or inf")
