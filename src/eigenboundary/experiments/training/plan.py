"""What a training run is asked to do: epochs, optimizer, schedule, loss and when to stop."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eigenboundary.experiments.training.attacks import Attack, as_attack
from eigenboundary.problem.losses import PerSampleLoss, as_loss, log_odds_against
from eigenboundary.runtime.arguments import check_choice, check_positive_integer
from eigenboundary.runtime.errors import InvalidInputError

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "multistep", "cosine")
_LOSSES = ("cross_entropy", "nll", "mse")


@dataclass(frozen=True)
class TrainingPlan:
    """The settings of a training run, checked when they are made.

    Attributes
    ----------
    epochs : int
        At most so many.
    learning_rate : float
    batch_size : int or None
        None for all samples at once.
    optimizer : {"sgd", "adam"}
    momentum : float
        Of SGD.
    weight_decay : float
    schedule : {"constant", "multistep", "cosine"}
        How the learning rate changes: "multistep" multiplies it by ``gamma`` after each epoch in
        ``milestones``, "cosine" lets it fall to zero over ``epochs``.
    milestones : sequence of int
    gamma : float
    loss : {"cross_entropy", "nll", "mse"} or callable
        As for :class:`~eigenboundary.Problem`.
    target_accuracy, target_loss : float, optional
        Stop before the last epoch once all targets that are given are reached on the training
        samples; looked at every tenth epoch.
    checkpoints : sequence of int
        Epochs after which the weights are kept; 0 is the start.
    attack_radius : float, optional
        Train adversarially: each batch is perturbed against the network, within this distance of
        the samples, before the step; see :mod:`eigenboundary.experiments.training.attacks`.
        Targets are still of the samples themselves.
    attack_steps : int, optional
        Of the perturbation; default: 10.
    attack_step_size : float, optional
        Default: 2.5 times the radius, divided by the steps.
    attack_norm : {2, inf}, optional
        Of the distance; default: 2.
    attack_box : (low, high), optional
        Range that every entry of a perturbed input stays in, e.g. (0, 1) for pixels.

    Raises
    ------
    InvalidInputError
        If a setting is not as described.

    Examples
    --------
    >>> TrainingPlan(epochs=10, learning_rate=0.1, optimizer="adam").optimizer
    'adam'
    """

    epochs: int
    learning_rate: float
    batch_size: int | None = 64
    optimizer: str = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "constant"
    milestones: Sequence[int] = ()
    gamma: float = 0.1
    loss: str | PerSampleLoss = "cross_entropy"
    target_accuracy: float | None = None
    target_loss: float | None = None
    checkpoints: Sequence[int] = ()
    attack_radius: float | None = None
    attack_steps: int | None = None
    attack_step_size: float | None = None
    attack_norm: float | None = None
    attack_box: Sequence[float] | None = None

    def __post_init__(self) -> None:
        check_positive_integer(self.epochs, "epochs")
        check_positive_integer(self.batch_size, "batch_size", optional=True)
        check_choice(self.optimizer, "optimizer", OPTIMIZERS)
        check_choice(self.schedule, "schedule", SCHEDULES)
        _check_number(self.learning_rate, "learning_rate", above=0)
        _check_number(self.gamma, "gamma", above=0)
        _check_number(self.weight_decay, "weight_decay", least=0)
        _check_number(self.momentum, "momentum", least=0)
        if self.momentum >= 1:
            raise InvalidInputError("momentum", "be below 1", repr(self.momentum))
        if self.momentum and self.optimizer != "sgd":
            raise InvalidInputError(
                "momentum", f"be 0 for optimizer {self.optimizer!r}", repr(self.momentum)
            )
        if self.target_accuracy is not None:
            _check_number(self.target_accuracy, "target_accuracy", least=0)
            if self.target_accuracy > 1:
                raise InvalidInputError(
                    "target_accuracy", "be at most 1", repr(self.target_accuracy)
                )
        if self.target_loss is not None:
            _check_number(self.target_loss, "target_loss", least=0)
        if self.milestones and self.schedule != "multistep":
            raise InvalidInputError(
                "milestones",
                "be left out unless schedule is 'multistep'",
                f"{self.milestones!r} with {self.schedule!r}",
            )
        for name, least in (("milestones", 1), ("checkpoints", 0)):
            epochs = getattr(self, name)
            if not isinstance(epochs, list | tuple) or not all(
                type(e) is int and least <= e <= self.epochs for e in epochs
            ):
                raise InvalidInputError(
                    name, f"be epochs from {least} to {self.epochs}", repr(epochs)
                )
            object.__setattr__(self, name, tuple(epochs))
        if self.schedule == "multistep" and not self.milestones:
            raise InvalidInputError(
                "milestones", "be given for schedule 'multistep'", repr(self.milestones)
            )
        if isinstance(self.loss, str):
            check_choice(self.loss, "loss", _LOSSES)
        elif not callable(self.loss):
            raise InvalidInputError(
                "loss", "be a name or a callable (outputs, labels) -> (n,)", repr(self.loss)
            )
        attack = self.attack  # making it checks its settings
        if attack is not None:
            object.__setattr__(self, "attack_box", attack.geometry.box)

    @property
    def attack(self) -> Attack | None:
        """How batches are perturbed; None where they are not."""
        return as_attack(
            self.attack_radius,
            self.attack_steps,
            self.attack_step_size,
            self.attack_norm,
            self.attack_box,
        )

    @property
    def mean_loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The mean loss of a batch, (outputs (n, C), labels (n,)) -> ()."""
        if self.loss == "cross_entropy":
            return _cross_entropy
        if self.loss == "nll":
            return _negative_log_likelihood
        per_sample = as_loss(self.loss).per_sample
        return lambda outputs, labels: per_sample(outputs, labels).mean()

    @property
    def attacked_loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """What a perturbation ascends, the mean over a batch.

        It is the loss, or the log-odds against the label where the loss is a growing function of
        them: the directions are the same, but do not underflow for confident samples.
        """
        loss = as_loss(self.loss)
        per_sample = log_odds_against if loss.log_space else loss.per_sample
        return lambda outputs, labels: per_sample(outputs, labels).mean()

    def make_optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """The optimizer of some parameters."""
        if self.optimizer == "adam":
            return torch.optim.Adam(
                parameters, lr=self.learning_rate, weight_decay=self.weight_decay
            )
        return torch.optim.SGD(
            parameters,
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )

    def make_scheduler(
        self, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler | None:
        """The learning rate's schedule, stepped once an epoch; None where it is constant."""
        if self.schedule == "multistep":
            return torch.optim.lr_scheduler.MultiStepLR(
                optimizer, list(self.milestones), gamma=self.gamma
            )
        if self.schedule == "cosine":
            return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
        return None


# The textbook forms: what counts while training is speed. `losses` has those whose derivatives
# stay accurate for confident networks.


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return _negative_log_likelihood(outputs.log_softmax(-1), labels)


def _negative_log_likelihood(outputs: Tensor, labels: Tensor) -> Tensor:
    return -outputs.gather(-1, labels.unsqueeze(-1)).mean()


def _check_number(
    value: Any, name: str, *, above: float | None = None, least: float | None = None
) -> None:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if above is not None and not (real and above < value < float("inf")):
        raise InvalidInputError(name, f"be a number above {above:g}", repr(value))
    if least is not None and not (real and least <= value < float("inf")):
        raise InvalidInputError(name, f"be a number of at least {least:g}", repr(value))
