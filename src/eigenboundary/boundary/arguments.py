"""The problem that a search for the boundary is asked about, and the inputs it starts from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from eigenboundary.boundary.search.input_gradients import outputs_at
from eigenboundary.boundary.search.norms import Geometry
from eigenboundary.boundary.search.starts import Pool
from eigenboundary.problem.problem import Model, Problem, as_problem, problem_at
from eigenboundary.runtime.errors import InvalidInputError

# Training samples between which the boundary is looked for, and towards which.
_POOL, _REFERENCES = 5000, 2000


def problem_with_pool(model: Model, data: Any, **options: Any) -> tuple[Problem, Pool]:
    """Return the problem, and up to 5,000 of its training samples, evenly spaced.

    Raise an InvalidInputError if no boundary can be looked for between them.
    """
    problem = as_problem(model, data, **options)
    x, indices = problem.samples.some_inputs(_POOL)
    _check_continuous(problem, "data")
    x = problem.network.to_compute(x)
    predictions = outputs_at(problem.network, x).argmax(-1)
    _check_several_classes(predictions)
    return problem, Pool(x, predictions, indices.to(x.device))


def problem_with_inputs(
    model: Model, x: Any, name: str = "x", **options: Any
) -> tuple[Problem, Tensor]:
    """Return the problem, and inputs ready to compute with; no labels are needed.

    Raise an InvalidInputError if the inputs do not fit the network or are not floating-point.
    """
    if isinstance(model, nn.Module):
        if isinstance(x, Mapping):
            raise _not_continuous(name, f"a {type(x).__name__}")
        if not any(p.requires_grad for p in model.parameters()):  # all parameters are frozen
            model = copy.deepcopy(model)
            for parameter in model.parameters():
                parameter.requires_grad_(parameter.is_floating_point())
    problem, inputs = problem_at(model, x, name, floating=True, **options)
    _check_continuous(problem, name)
    return problem, problem.network.to_compute(inputs)


def references_for(problem: Problem, references: Any, x: Tensor, geometry: Geometry) -> Pool:
    """Return the inputs to start towards: those given, or training samples, or x."""
    network = problem.network
    if references is not None:
        towards = network.to_compute(network.prepare(references, "references"))
    elif problem.has_samples:
        towards = network.to_compute(problem.samples.some_inputs(_REFERENCES)[0])
    else:
        towards = x
    towards = towards[:: max(1, -(-len(towards) // _REFERENCES))]
    towards = towards[(geometry.inside(towards) == towards).flatten(1).all(1)]
    predictions = outputs_at(network, towards).argmax(-1)
    return Pool(towards, predictions, torch.arange(len(towards)))


def check_has_boundary(problem: Problem, geometry: Geometry) -> None:
    """Raise an InvalidInputError if margins of the training samples cannot be looked for."""
    _check_continuous(problem, "data")
    _check_several_classes(problem.predictions)
    if geometry.box is not None:
        for x, _ in problem.samples.batches(_POOL):
            geometry.check_inside(x, "data")


def _check_continuous(problem: Problem, name: str) -> None:
    if not problem.signature.floating_inputs:
        layout = problem.signature.layout
        several = layout is not None and layout.several
        came = f"several tensors an input, {layout}" if several else "integers"
        raise _not_continuous(name, came)


def _not_continuous(name: str, came: str) -> InvalidInputError:
    return InvalidInputError(
        name, "hold floating-point inputs, between which a boundary can be looked for", came
    )


def _check_several_classes(predictions: Tensor) -> None:
    if len(predictions.unique()) < 2:
        wanted = "hold samples that the model predicts as different classes"
        because = f"it predicts class {int(predictions[0])} for all {len(predictions)}"
        raise InvalidInputError("data", wanted, because=because)
