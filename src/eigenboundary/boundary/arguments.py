"""What a search for the boundary needs of a network: outputs and their gradients in the input."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eigenboundary.boundary.search.input_gradients import outputs_at
from eigenboundary.boundary.search.norms import Geometry
from eigenboundary.boundary.search.starts import Samples, own_inputs
from eigenboundary.problem.classifier import Classifier
from eigenboundary.problem.data import as_source
from eigenboundary.problem.module import check_model, prepare_inputs
from eigenboundary.problem.problem import Problem
from eigenboundary.problem.survey import probe
from eigenboundary.runtime.errors import InvalidInputError

# Training samples between which, or towards which, the boundary is looked for.
_POOL = 5000


@dataclass(frozen=True)
class Options:
    """How to compute with a module; a classifier that is already built has its own."""

    output: Callable[[Any], Tensor] | None = None
    device: str | torch.device | None = None
    dtype: str | torch.dtype | None = None
    batch_size: int | None = None

    def refuse(self, model: Classifier) -> None:
        for name in ("output", "device", "dtype", "batch_size"):
            if getattr(self, name) is not None:
                raise InvalidInputError(
                    name,
                    f"be left out for a model that is a {type(model).__name__}, which has its own",
                    repr(getattr(self, name)),
                )


def classifier_with_samples(
    model: Any, data: Any, options: Options, seed: int
) -> tuple[Classifier, Samples]:
    """The classifier, and up to 5,000 of its training samples, evenly spaced.

    Raises
    ------
    InvalidInputError
        If there are no samples, or none between which a boundary can be looked for.
    """
    if isinstance(model, Classifier):
        options.refuse(model)
        classifier = model
    else:
        check_model(model)
        if data is None:
            raise InvalidInputError(
                "data", "be given for a model that is a torch.nn.Module", "None"
            )
        classifier, data = Problem(model, data, seed=seed, **vars(options)), None
    if data is not None:
        x, indices = _read_inputs(classifier, data, seed)
    else:
        x, indices = own_inputs(classifier, _POOL)
    _check_continuous(classifier, x, "data")
    x = classifier.to_compute(x)
    predictions = outputs_at(classifier, x).argmax(-1)
    if len(predictions.unique()) < 2:
        raise _one_class("data", int(predictions[0]), len(x))
    return classifier, Samples(x, predictions, indices.to(x.device))


def check_has_boundary(problem: Problem, geometry: Geometry) -> None:
    """Whether margins of a problem's training samples can be looked for.

    Raises
    ------
    InvalidInputError
        If its inputs are not floating-point numbers, some lie outside the box, or all samples are
        predicted as one class.
    """
    if not problem.floating_inputs:
        raise _not_continuous("data", _kind(problem))
    if len(problem.predictions.unique()) < 2:
        raise _one_class("data", int(problem.predictions[0]), problem.n_samples)
    if geometry.box is not None:
        for x, _ in problem.batches(_POOL):
            geometry.check_inside(x, "data")


def _kind(classifier: Classifier) -> str:
    """What inputs are, other than numbers in a continuum."""
    several = classifier.layout is not None and classifier.layout.several
    return f"several tensors an input, {classifier.layout}" if several else "integers"


def _one_class(name: str, label: int, n: int) -> InvalidInputError:
    return InvalidInputError(
        name,
        "hold samples that the model predicts as different classes",
        because=f"it predicts class {label} for all {n}",
    )


def classifier_for_inputs(
    model: Any, x: Any, options: Options, name: str = "x"
) -> tuple[Classifier, Tensor]:
    """The classifier, and inputs ready to compute with; no labels are needed."""
    if isinstance(model, Classifier):
        options.refuse(model)
        classifier = model
    else:
        check_model(model)
        classifier = Classifier(_with_parameters(model), **vars(options))
    if not classifier.n_classes:
        inputs = _first_inputs(x, name)
        classifier.input_shape = inputs.shape[1:]
        probe(classifier, inputs)
    inputs = classifier.prepare(x, name)
    _check_continuous(classifier, inputs, name)
    return classifier, classifier.to_compute(inputs)


def _read_inputs(classifier: Classifier, data: Any, seed: int) -> tuple[Tensor, Tensor]:
    source = as_source(data, cache_bytes=2**28, seed=seed)
    x = torch.cat([x for x, _ in source])
    if source.layout is not None and source.layout.several:
        raise _not_continuous("data", f"several tensors an input, {source.layout}")
    if not classifier.n_classes:
        classifier.layout = source.layout
        if not len(x):
            raise InvalidInputError("data", "hold at least one sample", "an empty one")
        classifier.input_shape, classifier.floating_inputs = x.shape[1:], x.is_floating_point()
        probe(classifier, x)
    step = max(1, -(-len(x) // _POOL))
    return classifier.prepare(x[::step], "data"), torch.arange(0, len(x), step)


def _first_inputs(x: Any, name: str) -> Tensor:
    if isinstance(x, Mapping):
        raise _not_continuous(name, f"a {type(x).__name__}")
    shape = torch.as_tensor(x).shape if not isinstance(x, str) else torch.Size()
    if len(shape) < 2 or not shape[0]:
        raise InvalidInputError(
            name, "have shape (n, ...) with at least one input", f"{tuple(shape)}"
        )
    return prepare_inputs(x, shape[1:], True, name)


def _check_continuous(classifier: Classifier, x: Tensor, name: str) -> None:
    if not x.is_floating_point():
        raise _not_continuous(name, _kind(classifier))


def _not_continuous(name: str, came: str) -> InvalidInputError:
    return InvalidInputError(
        name,
        "hold floating-point inputs, between which a boundary can be looked for",
        f"{came}",
    )


def _with_parameters(model: nn.Module) -> nn.Module:
    """The model itself, or, where all its parameters are frozen, a copy with none frozen."""
    if any(p.requires_grad for p in model.parameters()):
        return model
    thawed = copy.deepcopy(model)
    for parameter in thawed.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return thawed
