"""A training loop on tensors, for one network or for many of one architecture at once.

It has no data loader, which on small data would take most of the time. Samples are shuffled by a
generator for each network, so that a network trained among others sees the batches that it would
see alone.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from eigenboundary.experiments.training.arguments import check_given
from eigenboundary.experiments.training.ensembles import CannotBeTrainedAtOnceError
from eigenboundary.experiments.training.plan import TrainingPlan
from eigenboundary.experiments.training.run import (
    Pair,
    TrainingProgress,
    TrainingResult,
    TrainingRun,
)
from eigenboundary.runtime.files import new_file
from eigenboundary.runtime.interrupts import deferred_interrupts
from eigenboundary.runtime.random_state import preserved_random_state


def train(
    model: nn.Module,
    data: Pair,
    *,
    seed: int = 0,
    progress: TrainingProgress | None = None,
    state_file: str | Path | None = None,
    **settings: Any,
) -> TrainingResult:
    """Train a classifier in place.

    Parameters
    ----------
    model : torch.nn.Module
    data : (x, y)
        Inputs (n, ...) and integer labels (n,), tensors on the model's device.
    seed : int
        Seed of the samples' order and of all other randomness.
    progress : callable, optional
        Called as ``progress(epoch, epochs)`` every tenth epoch.
    state_file : path, optional
        File for the run's state while it lasts: an interrupted run, called again with the model
        it began with, goes on from there and ends at the same weights. The file is removed at the
        end.
    **settings
        The attributes of :class:`TrainingPlan`.

    Returns
    -------
    TrainingResult

    Raises
    ------
    InvalidInputError
        If an argument is not as described, or the state is of another run.
    KeyboardInterrupt
        On Ctrl-C, between two epochs; the state is written before, and the model is as it was.
        A second Ctrl-C does not wait for the epoch's end: the state is then the last one written.

    Examples
    --------
    >>> import eigenboundary as eb
    >>> model = eb.networks.build("fnn", inputs=2, classes=3, hidden=(8,))
    >>> data = eb.datasets.load("gaussian_blobs").train
    >>> train(model, data, epochs=200, learning_rate=0.1, target_accuracy=0.9).accuracy >= 0.9
    True
    """
    return train_many(
        [model], [data], seeds=[seed], progress=progress, state_file=state_file, **settings
    )[0]


def train_many(
    models: Sequence[nn.Module],
    data: Sequence[Pair],
    *,
    seeds: Sequence[int],
    progress: TrainingProgress | None = None,
    state_file: str | Path | None = None,
    **settings: Any,
) -> list[TrainingResult]:
    """Train classifiers of one architecture in place, all at once where they can be.

    Each is trained as :func:`train` would train it alone, to rounding. Networks with batch
    normalisation, dropout or frozen parameters, and those that differ in more than their weights,
    are trained one after the other.

    Parameters
    ----------
    models : sequence of torch.nn.Module
    data : sequence of (x, y)
        One pair a model, all of one shape.
    seeds : sequence of int
        One a model.
    progress, state_file, **settings
        See :func:`train`.

    Returns
    -------
    list of TrainingResult

    Raises
    ------
    InvalidInputError
        If an argument is not as described.
    """
    plan = TrainingPlan(**settings)
    check_given(models, data, seeds, plan)
    path = None
    if state_file is not None:
        path = new_file(state_file, overwrite=True, name="state_file")
    with contextlib.suppress(CannotBeTrainedAtOnceError):
        return _finish((models, data, seeds), plan, path, progress)
    # One after the other; each keeps its state, so that an interrupt loses no finished network.
    trained, results = copy.deepcopy(list(models)), []
    paths = [path and path.with_name(f"{path.stem}-{i}{path.suffix}") for i in range(len(models))]
    for model, pair, seed, place in zip(trained, data, seeds, paths, strict=True):
        results += _finish(([model], [pair], [seed]), plan, place, progress, keep_state=True)
    for model, with_weights in zip(models, trained, strict=True):
        model.load_state_dict(with_weights.state_dict())
    for place in filter(None, paths):
        place.unlink(missing_ok=True)
    return results


def _finish(
    given: tuple[Sequence[nn.Module], Sequence[Pair], Sequence[int]],
    plan: TrainingPlan,
    path: Path | None,
    progress: TrainingProgress | None,
    keep_state: bool = False,
) -> list[TrainingResult]:
    """Begin or resume a run of models on their data with their seeds, and finish it."""
    with preserved_random_state(given[-1][0]), deferred_interrupts():
        run = TrainingRun(*given, plan, path)
        results = run.finish(progress)
        if keep_state:
            run.save()
    # Only now: leaving the block raises a Ctrl-C that came meanwhile, which loses the results.
    if path is not None and not keep_state:
        path.unlink(missing_ok=True)
    return results
