"""The plane through three inputs of any dimension, from a classifier or its analysis."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.analysis.result import Analysis
from eigenboundary.boundary.arguments import problem_with_inputs
from eigenboundary.boundary.planes import BORDER, Plane, in_box, plane_of_points
from eigenboundary.boundary.search.norms import Geometry, as_box
from eigenboundary.boundary.sections import Section
from eigenboundary.problem.problem import Model, Problem
from eigenboundary.runtime.arguments import check_integer, check_number
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.precision import full_precision


@full_precision()
def input_plane(
    model: Model,
    points: Any,
    vectors: Any = None,
    *,
    resolution: int = 100,
    border: float = BORDER,
    box: tuple[float, float] | None = None,
    **options: Any,
) -> Plane:
    r"""Evaluate predictions and alignments on the plane through three inputs.

    .. math:: x(u, w) = a + u\, e_1 + w\, e_2

    with a the first point, :math:`e_1` pointing to the second, and the third on the side of
    :math:`e_2`. Lengths in the plane are Euclidean distances of inputs.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        The model is left as it was. The loss of a bare module is the cross-entropy.
    points : array or Tensor, shape (3, ...), or Section
        Three inputs that are not in line; a section stands for its :math:`x_t^+`, :math:`x_t^-`
        and :math:`x_b`.
    vectors : array or Tensor, shape (p, k) or (p,), optional
        Directions in parameter space to align with; default: the eigenvectors of an analysis, else
        none.
    resolution : int
        Grid points along each axis, at least two.
    border : float
        Width of the border around the three points, as a share of their larger extent.
    box : (low, high), optional
        Range of the entries of an input, e.g. (0, 1) for pixels; it tells which grid points are
        inputs at all.
    **options
        Options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    Plane

    Raises
    ------
    InvalidInputError
        If an argument is not as described, the points lie in one line, or the analysis was loaded
        without its network.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> model = torch.nn.Linear(5, 2)
    >>> plane = eb.input_plane(model, torch.eye(5)[:3], resolution=20)
    >>> plane.predictions.shape, plane.points.round(3).tolist()
    ((20, 20), [[0.0, 0.0], [1.414, 0.0], [0.707, 1.225]])
    """
    check_integer(resolution, "resolution", 2)
    check_number(border, "border", at_least=0)
    box = as_box(box)
    eigenvector = points.eigenvector if isinstance(points, Section) else None
    inputs = _three_inputs(model, points)
    if isinstance(model, Analysis) and vectors is None:
        vectors = model.eigenvectors
    problem, at = problem_with_inputs(model, inputs, "points", **options)
    if not in_box(at, box).all():
        Geometry(box=box).check_inside(at, "points")
    return plane_of_points(problem, at, vectors, resolution, float(border), box, eigenvector)


def section_samples(model: Any, section: Section) -> NDArray[Any]:
    r"""Return the samples :math:`x_t^+` and :math:`x_t^-` of a section, shape (2, ...).

    The model is the Problem or Analysis in which the section was found. One without these samples
    raises InvalidInputError.
    """
    holder = model.attached if isinstance(model, Analysis) else model
    if isinstance(model, Analysis) and section.samples is not None:
        _check_samples(section, model.n_samples)
        return section.samples
    if isinstance(holder, Problem) and holder.has_samples:
        _check_samples(section, holder.n_samples)
        x = holder.samples.inputs_at(torch.tensor(section.training_samples))
        return np.asarray(x.cpu().numpy())
    if not isinstance(model, Analysis):
        wanted = "be a Problem or an Analysis, which have the samples of a section"
        raise InvalidInputError("model", wanted, type(model).__name__)
    _check_samples(section, model.n_samples)
    rows = [np.flatnonzero(model.input_indices == sample) for sample in section.training_samples]
    if not all(map(len, rows)):
        raise InvalidInputError(
            "model",
            f"have kept samples {section.training_samples[0]} and {section.training_samples[1]}",
            because="this analysis was loaded from a file, which holds "
            f"{len(model.input_indices)} of {model.n_samples}",
        )
    return model.inputs[np.concatenate(rows)].reshape(2, *model.input_shape)


def _check_samples(section: Section, n: int) -> None:
    if max(section.training_samples) >= n:
        got = f"one with sample {max(section.training_samples)}"
        raise InvalidInputError("section", f"be one of the model's, which has {n} samples", got)


def _three_inputs(model: Any, points: Any) -> Tensor:
    if isinstance(points, Section):
        points = [*section_samples(model, points), points.boundary_point]
    try:
        held = [p.detach().cpu() if isinstance(p, Tensor) else np.asarray(p) for p in points]
        shapes = [tuple(p.shape) for p in held]
    except (TypeError, ValueError) as error:
        wanted = "be three inputs or a Section"
        raise InvalidInputError("points", wanted, f"{type(points).__name__} ({error})") from None
    if len(held) != 3 or len(set(shapes)) != 1 or not shapes[0]:
        came = f"{len(held)}" if len(held) != 3 else f"shapes {', '.join(map(str, shapes))}"
        raise InvalidInputError("points", "be three inputs of one shape (3, ...)", came)
    try:
        tensors = [p if isinstance(p, Tensor) else torch.from_numpy(np.array(p)) for p in held]
    except TypeError as error:
        raise InvalidInputError("points", "hold numbers", f"others ({error})") from None
    kind = functools.reduce(torch.promote_types, [tensor.dtype for tensor in tensors])
    return torch.stack([tensor.to(kind) for tensor in tensors])
