"""What a search for the boundary is asked about: a problem, and inputs in a continuum."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from eigenboundary.boundary.search.input_gradients import outputs_at
from eigenboundary.boundary.search.norms import Geometry
from eigenboundary.boundary.search.starts import Pool
from eigenboundary.problem.problem import Model, Problem, as_problem, problem_at
from eigenboundary.runtime.errors import InvalidInputError

# Training samples between which, or towards which, the boundary is looked for.
_POOL = 5000


def problem_with_pool(model: Model, data: Any, **options: Any) -> tuple[Problem, Pool]:
    """Return the problem, and up to 5,000 of its training samples, evenly spaced.

    Raises
    ------
    InvalidInputError
        If there are no samples, or none between which a boundary can be looked for.
    """
    problem = as_problem(model, data, **options)
    x, indices = problem.samples.some_inputs(_POOL)
    _check_continuous(problem, x, "data")
    x = problem.network.to_compute(x)
    predictions = outputs_at(problem.network, x).argmax(-1)
    if len(predictions.unique()) < 2:
        raise _one_class(int(predictions[0]), len(x))
    return problem, Pool(x, predictions, indices.to(x.device))


def check_has_boundary(problem: Problem, geometry: Geometry) -> None:
    """Check that margins of a problem's training samples can be looked for.

    Raises
    ------
    InvalidInputError
        If its inputs are not floating-point numbers, some lie outside the box, or all samples are
        predicted as one class.
    """
    if not problem.signature.floating_inputs:
        raise _not_continuous("data", _kind(problem))
    if len(problem.predictions.unique()) < 2:
        raise _one_class(int(problem.predictions[0]), problem.n_samples)
    if geometry.box is not None:
        for x, _ in problem.samples.batches(_POOL):
            geometry.check_inside(x, "data")


def problem_with_inputs(
    model: Model, x: Any, name: str = "x", **options: Any
) -> tuple[Problem, Tensor]:
    """Return the problem, and inputs ready to compute with; no labels are needed.

    Raises
    ------
    InvalidInputError
        If the inputs do not fit the network, or are not floating-point numbers.
    """
    if isinstance(model, nn.Module):
        if isinstance(x, Mapping):
            raise _not_continuous(name, f"a {type(x).__name__}")
        model = _with_parameters(model)
    problem, inputs = problem_at(model, x, name, floating=True, **options)
    _check_continuous(problem, inputs, name)
    return problem, problem.network.to_compute(inputs)


def _kind(problem: Problem) -> str:
    """What inputs are, other than numbers in a continuum."""
    layout = problem.signature.layout
    several = layout is not None and layout.several
    return f"several tensors an input, {layout}" if several else "integers"


def _check_continuous(problem: Problem, x: Tensor, name: str) -> None:
    if not x.is_floating_point():
        raise _not_continuous(name, _kind(problem))


def _one_class(label: int, n: int) -> InvalidInputError:
    return InvalidInputError(
        "data",
        "hold samples that the model predicts as different classes",
        because=f"it predicts class {label} for all {n}",
    )


def _not_continuous(name: str, came: str) -> InvalidInputError:
    return InvalidInputError(
        name, "hold floating-point inputs, between which a boundary can be looked for", came
    )


def _with_parameters(model: nn.Module) -> nn.Module:
    """The model itself, or, where all its parameters are frozen, a copy with none frozen."""
    if any(p.requires_grad for p in model.parameters()):
        return model
    thawed = copy.deepcopy(model)
    for parameter in thawed.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return thawed
