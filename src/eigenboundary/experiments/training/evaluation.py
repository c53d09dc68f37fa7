"""Evaluate a network's loss and accuracy on some samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from eigenboundary.experiments.training.plan import TrainingPlan


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Set the model to eval mode, and give each module its mode back afterwards."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield model.eval()
    finally:
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def evaluate(
    model: nn.Module, data: tuple[Tensor, Tensor], loss: Any = "cross_entropy"
) -> tuple[float, float]:
    """Evaluate the mean loss and the accuracy of a model, in eval mode."""
    x, y = data
    with eval_mode(model):
        outputs = model(x)
    return loss_and_accuracy(TrainingPlan(epochs=1, learning_rate=1.0, loss=loss), outputs, y)


def loss_and_accuracy(plan: TrainingPlan, outputs: Tensor, y: Tensor) -> tuple[float, float]:
    """Compute the mean loss and the accuracy of outputs (n, C)."""
    accuracy = float((outputs.argmax(-1) == y).double().mean())
    return float(plan.mean_loss(outputs, y)), accuracy
