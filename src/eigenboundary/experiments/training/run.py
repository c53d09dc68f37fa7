"""A training run between two epochs: its networks, and the state that goes to disk."""

from __future__ import annotations

import copy
import logging
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from eigenboundary.experiments.archive import Archive, Key, Stored, fingerprint
from eigenboundary.experiments.training.attacks import Attack, perturbed, random_start
from eigenboundary.experiments.training.ensembles import Ensemble, State, make_ensemble
from eigenboundary.experiments.training.evaluation import evaluate, loss_and_accuracy
from eigenboundary.experiments.training.plan import TrainingPlan
from eigenboundary.runtime import version
from eigenboundary.runtime.interrupts import safe_point

_log = logging.getLogger(__name__)

Pair = tuple[Tensor, Tensor]
#: Called with (epoch, epochs).
TrainingProgress = Callable[[int, int], None]

# Epochs between looks at all training samples, and seconds between states written to disk.
_LOOK = 10
_SAVE_SECONDS = 20.0


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of training one network.

    Attributes
    ----------
    loss, accuracy : float
        Over all training samples, in eval mode.
    epochs : int
    seconds : float
        Seconds of the whole run, of all networks where several were trained at once.
    checkpoints : dict of int to state dict
        Weights after the epochs the plan asked for.
    """

    loss: float
    accuracy: float
    epochs: int
    seconds: float
    checkpoints: dict[int, State] = field(default_factory=dict, repr=False)


class TrainingRun:
    """A training run between two epochs; the models get their weights when it has finished."""

    def __init__(
        self,
        models: Sequence[nn.Module],
        data: Sequence[Pair],
        seeds: Sequence[int],
        plan: TrainingPlan,
        path: Path | None,
    ) -> None:
        self.models, self.plan, self.attack = list(models), plan, plan.attack
        self.archive = None if path is None else Archive(path.parent, argument="state_file")
        self.file = "" if path is None else path.name
        # An interrupt leaves the models at their start, from which the run can be taken up.
        self.in_training = copy.deepcopy(self.models)
        self.x = torch.stack([x for x, _ in data])
        self.y = torch.stack([y.long() for _, y in data])
        weights = [tensor for model in models for tensor in model.state_dict().values()]
        self.key = Key(
            {**plan.record, "seeds": [*map(int, seeds)]},
            fingerprint("", [self.x, self.y, *weights]),
            f"training {version.TRAINING_ALGORITHM}",
        )
        first = (slice(None), slice(plan.batch_size))
        batch = self.x[first], self.y[first]
        self.ensemble: Ensemble = make_ensemble(self.in_training, plan.mean_loss, *batch)
        self.optimizer = plan.make_optimizer(list(self.ensemble.parameters.values()))
        self.scheduler = plan.make_scheduler(self.optimizer)
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self.epoch, self.seconds = 0, 0.0
        self.between_epochs = True
        #: The networks that the ensemble still has, in its order.
        self.active = list(range(len(models)))
        #: By network that has reached its targets: the epoch, and its weights then.
        self.finished: dict[int, tuple[int, State]] = {}
        self.checkpoints: dict[int, dict[int, State]] = {}
        if self.archive is not None and (state := self.archive.read(self.file, self.key)):
            self._restore(state)

    def finish(self, progress: TrainingProgress | None) -> list[TrainingResult]:
        """Train from the present epoch to the last."""
        began = time.perf_counter() - self.seconds
        last_saved = time.perf_counter()
        self._keep_checkpoint()
        try:
            while self.epoch < self.plan.epochs and len(self.finished) < len(self.models):
                self.between_epochs = False
                self._train_one_epoch()
                self.between_epochs = True
                self.seconds = time.perf_counter() - began
                if self.epoch % _LOOK == 0 or self.epoch == self.plan.epochs:
                    self._look()
                    if progress is not None:
                        progress(self.epoch, self.plan.epochs)
                safe_point()
                if time.perf_counter() - last_saved > _SAVE_SECONDS:
                    self.save()
                    last_saved = time.perf_counter()
        except KeyboardInterrupt:
            if self.between_epochs:  # else some of an epoch's steps would be taken twice
                self.save()
            raise
        return self._results()

    def _train_one_epoch(self) -> None:
        n, members = self.x.shape[1], torch.tensor(self.active, device="cpu").unsqueeze(1)
        generators = [self.generators[member] for member in self.active]
        orders = torch.stack([torch.randperm(n, generator=g, device="cpu") for g in generators])
        for rows in orders.split(self.plan.batch_size or n, dim=1):
            x, y = self.x[members, rows], self.y[members, rows]
            if self.attack is not None:
                x = self._perturbed(self.attack, x, y)
            self.ensemble.compute_gradients(x, y)
            self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        self.epoch += 1
        self._keep_checkpoint()

    def _perturbed(self, attack: Attack, x: Tensor, y: Tensor) -> Tensor:
        """Perturb a batch (S, b, ...) against the networks, from random starts of their own."""
        loss = self.plan.attacked_loss
        pairs = zip(x, (self.generators[member] for member in self.active), strict=True)
        start = torch.cat([random_start(attack, inputs, g) for inputs, g in pairs])

        def gradient(points: Tensor) -> Tensor:
            return self.ensemble.input_gradients(points.reshape(x.shape), y, loss).flatten(0, 1)

        return perturbed(attack, x.flatten(0, 1), start, gradient).reshape(x.shape)

    def _keep_checkpoint(self) -> None:
        if self.epoch in self.plan.checkpoints:
            self.checkpoints[self.epoch] = {
                member: self.ensemble.state(position)
                for position, member in enumerate(self.active)
                if member not in self.finished
            }

    def _look(self) -> None:
        """Record the networks that have reached the targets."""
        plan = self.plan
        if plan.target_accuracy is None and plan.target_loss is None:
            return
        outputs = self.ensemble.outputs(self.x[self.active])
        for position, member in enumerate(self.active):
            if member in self.finished:
                continue
            loss, accuracy = loss_and_accuracy(plan, outputs[position], self.y[member])
            accurate = plan.target_accuracy is None or accuracy >= plan.target_accuracy
            if accurate and (plan.target_loss is None or loss <= plan.target_loss):
                self.finished[member] = self.epoch, self.ensemble.state(position)
        # Go on without the finished networks, once they are half of the ensemble.
        going_on = [i for i, member in enumerate(self.active) if member not in self.finished]
        if going_on and 2 * len(going_on) <= len(self.active):
            self.ensemble.keep(going_on, self.optimizer)
            self.active = [self.active[position] for position in going_on]

    def _results(self) -> list[TrainingResult]:
        results = []
        for member, model in enumerate(self.models):
            if member not in self.finished:
                position = self.active.index(member)
                self.finished[member] = self.epoch, self.ensemble.state(position)
            epoch, state = self.finished[member]
            model.load_state_dict(state)
            kept = {e: states[member] for e, states in self.checkpoints.items() if member in states}
            loss, accuracy = evaluate(model, (self.x[member], self.y[member]), self.plan.loss)
            results.append(TrainingResult(loss, accuracy, epoch, self.seconds, kept))
        diverged = [i for i, result in enumerate(results) if not math.isfinite(result.loss)]
        if diverged:
            message = "training diverged (the loss is not finite) for %d of %d network(s)"
            message += "; a smaller learning_rate may help"
            _log.warning(message, len(diverged), len(results))
        return results

    def save(self) -> None:
        """Write the state to disk, if there is a place for it."""
        if self.archive is None:
            return
        optimizer = self.optimizer.state_dict()["state"]
        random_states = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            random_states["cuda"] = torch.cuda.get_rng_state(self._device)
        tensors = {
            "parameters": self.ensemble.parameters,
            # Networks with buffers are trained by themselves.
            "buffers": dict(self.in_training[0].named_buffers()),
            "optimizer": {
                index: {n: torch.as_tensor(v) for n, v in entries.items() if v is not None}
                for index, entries in optimizer.items()
            },
            "generators": {i: g.get_state() for i, g in enumerate(self.generators)},
            "random_states": random_states,
            "finished": {member: state for member, (_, state) in self.finished.items()},
            "checkpoints": self.checkpoints,
        }
        values = {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "active": self.active,
            "finished": {member: epoch for member, (epoch, _) in self.finished.items()},
        }
        self.archive.write(self.file, self.key, tensors, values)

    @property
    def _device(self) -> torch.device:
        return next(iter(self.ensemble.parameters.values())).device

    def _restore(self, stored: Stored) -> None:
        tensors, values = stored.tensors(), stored.values

        def on_device(state: State) -> State:
            return {n: t.to(self._device) for n, t in state.items()}

        self.active = list(values["active"])
        self.ensemble.keep(self.active, self.optimizer)
        with torch.no_grad():
            for name, parameter in self.ensemble.parameters.items():
                parameter.copy_(tensors["parameters"][name])
        for name, buffer in self.in_training[0].named_buffers():
            buffer.copy_(tensors["buffers"][name])
        optimizer = self.optimizer.state_dict()
        entries = {int(index): state for index, state in tensors.get("optimizer", {}).items()}
        self.optimizer.load_state_dict(optimizer | {"state": entries})
        self.epoch, self.seconds = int(values["epoch"]), float(values["seconds"])
        if self.scheduler is not None:
            with warnings.catch_warnings():  # the schedule steps before the optimizer's first step
                warnings.simplefilter("ignore")
                for _ in range(self.epoch):
                    self.scheduler.step()
        for member, generator in enumerate(self.generators):
            generator.set_state(tensors["generators"][str(member)])
        torch.set_rng_state(tensors["random_states"]["cpu"])
        if "cuda" in tensors["random_states"] and self._device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random_states"]["cuda"], self._device)
        self.finished = {
            int(member): (int(epoch), on_device(tensors["finished"][member]))
            for member, epoch in values["finished"].items()
        }
        for epoch, states in sorted(
            tensors.get("checkpoints", {}).items(), key=lambda e: int(e[0])
        ):
            self.checkpoints[int(epoch)] = {int(m): on_device(s) for m, s in states.items()}
