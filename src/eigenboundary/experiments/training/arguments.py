"""Checks of the models, data and seeds of a training run, before its first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eigenboundary.experiments.training.evaluation import eval_mode
from eigenboundary.experiments.training.plan import TrainingPlan
from eigenboundary.problem.module import (
    check_finite_inputs,
    check_finite_parameters,
    check_model,
    select_parameters,
)
from eigenboundary.runtime.arguments import check_seed
from eigenboundary.runtime.errors import InvalidInputError, first_line

# Samples that the model is tried on.
_TRIAL = 2


def check_given(models: Any, data: Any, seeds: Any, plan: TrainingPlan) -> None:
    """Check that the models, data and seeds fit together and can be trained on."""
    for name, given in (("models", models), ("data", data), ("seeds", seeds)):
        if not isinstance(given, Sequence | nn.ModuleList):
            raise InvalidInputError(name, "be a sequence", type(given).__name__)
    if not models or len({len(models), len(data), len(seeds)}) > 1:
        got = f"{len(models)}, {len(data)} and {len(seeds)}"
        raise InvalidInputError("models, data and seeds", "be as many, at least one", got)
    for seed in seeds:
        check_seed(seed)
    _check_models(models)
    for pair in data:
        _check_pair(pair)
    sizes = {(tuple(x.shape), x.dtype) for x, _ in data}
    if len(sizes) > 1:
        got = ", ".join(f"{shape} of {_short(dtype)}" for shape, dtype in sorted(sizes, key=str))
        raise InvalidInputError("data", "be of one shape and type of inputs", got)
    for model, (x, y) in zip(models, data, strict=True):
        _check_fit(model, x, y, plan)


def _check_models(models: Sequence[nn.Module]) -> None:
    for model in models:
        check_model(model)
        select_parameters(model, None)
        check_finite_parameters(model)
    if len({id(model) for model in models}) < len(models):
        raise InvalidInputError("models", "be different objects", "the same one twice")
    kinds = [[(n, p.shape, p.dtype, p.device) for n, p in m.named_parameters()] for m in models]
    if any(kind != kinds[0] for kind in kinds):
        wanted = "be of one architecture, dtype and device"
        raise InvalidInputError("models", wanted, because="their parameters differ")


def _check_pair(pair: Any) -> None:
    parts = pair if isinstance(pair, tuple | list) else ()
    if len(parts) != 2 or not all(isinstance(part, Tensor) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        came = f"({kinds})" if kinds else type(pair).__name__
        raise InvalidInputError("data", "be pairs (x, y) of tensors", came)
    x, y = parts
    if x.ndim == 0 or y.ndim != 1 or len(x) != len(y) or not len(x):
        wanted = "be of one shape, inputs (n, ...) and labels (n,) of at least one sample"
        raise InvalidInputError("data", wanted, f"{tuple(x.shape)} and {tuple(y.shape)}")
    if y.dtype.is_floating_point or y.dtype.is_complex or y.dtype == torch.bool:
        raise InvalidInputError("data", "have integer labels", _short(y.dtype))
    if y.device != x.device:
        wanted = "have inputs and labels on one device"
        raise InvalidInputError("data", wanted, f"{x.device} and {y.device}")


def _check_fit(model: nn.Module, x: Tensor, y: Tensor, plan: TrainingPlan) -> None:
    """Try the model and the loss on a few samples."""
    parameter = next(model.parameters())
    if x.device != parameter.device:
        raise InvalidInputError(
            "data", f"be on the model's device, {parameter.device}", f"{x.device}"
        )
    check_finite_inputs(x, "data")
    if plan.attack is not None:
        plan.attack.check_inputs(x)
    trial = x[:_TRIAL]
    try:
        with torch.no_grad(), eval_mode(model):
            outputs = model(trial)
    except Exception as error:
        wanted = f"take inputs {tuple(trial.shape)} of {_short(x.dtype)}, as data has"
        because = f"it raised {type(error).__name__}: {first_line(error)}"
        raise InvalidInputError("model", wanted, because=because) from error
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or outputs.shape[1] < 2:
        came = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        wanted = "give outputs (n, C) of at least two classes"
        raise InvalidInputError("model", wanted, f"{came} for {len(trial)} samples")
    classes = outputs.shape[1]
    if int(y.min()) < 0 or int(y.max()) >= classes:
        wanted = f"have labels from 0 to {classes - 1}, as many as the model has outputs"
        raise InvalidInputError("data", wanted, f"{int(y.min())} to {int(y.max())}")
    totals = outputs.double().logsumexp(-1)
    if plan.loss == "nll" and not torch.allclose(totals, torch.zeros_like(totals), atol=1e-2):
        because = f"its exponentials add up to {float(totals[0].exp()):.3g}, not 1"
        raise InvalidInputError("model", "give log-probabilities for loss 'nll'", because=because)
    try:
        loss = plan.mean_loss(outputs, y[:_TRIAL].long())
        problem = "NaN" if bool(loss.isnan().any()) else None
    except Exception as error:
        problem = f"{type(error).__name__}: {first_line(error)}"
    if problem is not None:
        wanted = "give a number for each of the outputs and labels"
        raise InvalidInputError("loss", wanted, problem)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
