"""A training loop on tensors: no data loader, which would take most of the time on small data."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eigenboundary import checks
from eigenboundary.errors import InvalidInputError

__all__ = ["OPTIMIZERS", "TrainingResult", "evaluate", "train"]

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
}

# Epochs between looks at the loss of all training samples.
_LOOK = 10


@dataclass(frozen=True)
class TrainingResult:
    """How a training run ended.

    Attributes
    ----------
    loss, accuracy : float
        Over all training samples, in eval mode.
    epochs : int
    seconds : float
    """

    loss: float
    accuracy: float
    epochs: int
    seconds: float


def train(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int = 64,
    optimizer: str = "sgd",
    seed: int = 0,
    target_accuracy: float | None = None,
    target_loss: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingResult:
    """Train a classifier in place on its cross-entropy.

    Parameters
    ----------
    model : torch.nn.Module
    data : (x, y)
        Inputs (n, ...) and int64 labels (n,).
    epochs : int
        At most so many.
    learning_rate : float
    batch_size : int
    optimizer : {"sgd", "adam"}
    seed : int
        Of the order of the samples.
    target_accuracy, target_loss : float, optional
        Stop before the last epoch once all targets that are given are reached.
    progress : callable, optional
        Called as ``progress(epoch, epochs)`` every tenth epoch.

    Returns
    -------
    TrainingResult

    Raises
    ------
    InvalidInputError
        If an argument is not as described.

    Examples
    --------
    >>> from eigenboundary.experiments import build, load
    >>> model = build("fnn", inputs=2, classes=3, hidden=(8,))
    >>> data = load("gaussian_blobs").train
    >>> train(model, data, epochs=200, learning_rate=0.1, target_accuracy=0.9).accuracy >= 0.9
    True
    """
    _check(epochs, learning_rate, batch_size, optimizer, seed)
    x, y = data
    stepper = OPTIMIZERS[optimizer](model.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    stops_early = target_accuracy is not None or target_loss is not None
    began = time.perf_counter()
    was_training = model.training
    model.train()
    epoch = 0
    for epoch in range(1, epochs + 1):
        for rows in torch.randperm(len(x), generator=generator).split(batch_size):
            stepper.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            stepper.step()
        if epoch % _LOOK == 0:
            if progress is not None:
                progress(epoch, epochs)
            if stops_early and _reached(evaluate(model, data), target_accuracy, target_loss):
                break
    model.zero_grad(set_to_none=True)
    loss, accuracy = evaluate(model, data)
    model.train(was_training)
    return TrainingResult(loss, accuracy, epoch, time.perf_counter() - began)


@torch.no_grad()
def evaluate(model: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Cross-entropy and accuracy of a model, in eval mode."""
    x, y = data
    was_training = model.training
    outputs = model.eval()(x)
    model.train(was_training)
    loss = float(nn.functional.cross_entropy(outputs, y))
    return loss, float((outputs.argmax(-1) == y).double().mean())


def _reached(
    found: tuple[float, float], target_accuracy: float | None, target_loss: float | None
) -> bool:
    loss, accuracy = found
    return (target_accuracy is None or accuracy >= target_accuracy) and (
        target_loss is None or loss <= target_loss
    )


def _check(epochs: int, learning_rate: float, batch_size: int, optimizer: str, seed: int) -> None:
    checks.check_positive_integer(epochs, "epochs")
    checks.check_positive_integer(batch_size, "batch_size")
    checks.check_choice(optimizer, "optimizer", tuple(OPTIMIZERS))
    checks.check_seed(seed)
    if not learning_rate > 0:
        raise InvalidInputError(f"learning_rate must be above 0; got {learning_rate!r}.")
