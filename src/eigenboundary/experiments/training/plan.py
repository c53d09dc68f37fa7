"""The settings of a training run: epochs, optimizer, schedule, loss and targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, Strict, field_validator, model_validator
from torch import Tensor, nn

from eigenboundary.experiments.checked import Settings
from eigenboundary.experiments.training.attacks import Attack, as_attack
from eigenboundary.problem.losses import as_loss, log_odds_against
from eigenboundary.runtime.errors import InvalidInputError

_Count = Annotated[int, Field(ge=1)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# Any sequence of epochs.
_Epochs = Annotated[tuple[Annotated[int, Strict()], ...], Strict(False)]


class TrainingPlan(Settings):
    """The settings of a training run, checked when they are made.

    Attributes
    ----------
    epochs : int
        The largest number of epochs.
    learning_rate : float
    batch_size : int or None
        None for all samples at once.
    optimizer : {"sgd", "adam"}
    momentum : float
        Momentum of SGD.
    weight_decay : float
    schedule : {"constant", "multistep", "cosine"}
        How the learning rate changes: "multistep" multiplies it by ``gamma`` after each epoch in
        ``milestones``, "cosine" lets it fall to zero over ``epochs``.
    milestones : sequence of int
    gamma : float
    loss : {"cross_entropy", "nll", "mse"} or callable
        As for :class:`~eigenboundary.Problem`.
    target_accuracy, target_loss : float, optional
        Stop before the last epoch once all given targets are reached on the training samples,
        checked every tenth epoch.
    checkpoints : sequence of int
        Epochs after which the weights are kept; 0 is the start.
    attack_radius : float, optional
        Train adversarially: each batch is perturbed against the network, within this distance of
        the samples, before the step; see :mod:`eigenboundary.experiments.training.attacks`.
        Targets still refer to the samples themselves.
    attack_steps : int, optional
        Steps of the perturbation; default: 10.
    attack_step_size : float, optional
        Default: 2.5 times the radius, divided by the steps.
    attack_norm : {2, inf}, optional
        Norm of the distance; default: 2.
    attack_box : (low, high), optional
        Range of every entry of a perturbed input, e.g. (0, 1) for pixels.

    Raises
    ------
    InvalidInputError
        If a setting is not as described.

    Examples
    --------
    >>> TrainingPlan(epochs=10, learning_rate=0.1, optimizer="adam").optimizer
    'adam'
    """

    epochs: _Count
    learning_rate: _Positive
    batch_size: _Count | None = 64
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: _NotNegative = 0.0
    schedule: Literal["constant", "multistep", "cosine"] = "constant"
    milestones: _Epochs = ()
    gamma: _Positive = 0.1
    loss: Any = "cross_entropy"
    target_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    target_loss: _NotNegative | None = None
    checkpoints: _Epochs = ()
    attack_radius: Any = None
    attack_steps: Any = None
    attack_step_size: Any = None
    attack_norm: Any = None
    attack_box: Any = None

    @field_validator("loss")
    @classmethod
    def _check_loss(cls, loss: Any) -> Any:
        as_loss(loss)
        return loss

    @model_validator(mode="after")
    def _check_together(self) -> TrainingPlan:
        if self.momentum and self.optimizer != "sgd":
            wanted = f"be 0 for optimizer {self.optimizer!r}"
            raise InvalidInputError("momentum", wanted, repr(self.momentum))
        if bool(self.milestones) != (self.schedule == "multistep"):
            given = "left out unless schedule is" if self.milestones else "given for schedule"
            raise InvalidInputError("milestones", f"be {given} 'multistep'", repr(self.milestones))
        for name, least in (("milestones", 1), ("checkpoints", 0)):
            epochs = getattr(self, name)
            if not all(least <= epoch <= self.epochs for epoch in epochs):
                wanted = f"be epochs from {least} to {self.epochs}"
                raise InvalidInputError(name, wanted, repr(epochs))
        if self.attack is not None:  # making it checks its settings
            object.__setattr__(self, "attack_box", self.attack.geometry.box)
        return self

    @property
    def record(self) -> dict[str, Any]:
        """The settings as plain values, a loss by the name that every process has for it."""
        loss = self.loss
        if isinstance(loss, nn.Module):
            loss = repr(loss)
        elif not isinstance(loss, str):
            kind = loss if hasattr(loss, "__qualname__") else type(loss)
            loss = f"{kind.__module__}.{kind.__qualname__}"
        return self.model_dump() | {"loss": loss}

    @property
    def attack(self) -> Attack | None:
        """The attack that perturbs batches; None where there is none."""
        names = ("radius", "steps", "step_size", "norm", "box")
        return as_attack(*(getattr(self, f"attack_{name}") for name in names))

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
        """The mean over a batch of what a perturbation ascends.

        This is the loss, or the log-odds against the label where the loss is a growing function of
        them: the directions are equal, but do not underflow for confident samples.
        """
        loss = as_loss(self.loss)
        per_sample = log_odds_against if loss.log_space else loss.per_sample
        return lambda outputs, labels: per_sample(outputs, labels).mean()

    def make_optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """Make the optimizer of some parameters."""
        common: dict[str, Any] = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, **common)
        return torch.optim.SGD(parameters, momentum=self.momentum, **common)

    def make_scheduler(
        self, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler | None:
        """Make the learning rate's schedule, stepped once an epoch; None where it is constant."""
        schedulers = torch.optim.lr_scheduler
        if self.schedule == "multistep":
            return schedulers.MultiStepLR(optimizer, list(self.milestones), gamma=self.gamma)
        if self.schedule == "cosine":
            return schedulers.CosineAnnealingLR(optimizer, self.epochs)
        return None


# The textbook forms, for speed. The module of losses has forms whose derivatives stay accurate for
# confident networks.


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return _negative_log_likelihood(outputs.log_softmax(-1), labels)


def _negative_log_likelihood(outputs: Tensor, labels: Tensor) -> Tensor:
    return -outputs.gather(-1, labels.unsqueeze(-1)).mean()
