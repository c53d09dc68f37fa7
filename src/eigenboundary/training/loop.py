"""A training loop on tensors, for one network or for many of one architecture at once.

No data loader: on small data it would take most of the time. Samples are shuffled by a generator
for each network, so that a network trained among others sees the batches it would see alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from eigenboundary import checks
from eigenboundary.data import preserved_random_state
from eigenboundary.errors import InvalidInputError
from eigenboundary.interrupts import deferred_interrupts
from eigenboundary.storage import new_file
from eigenboundary.training.plan import TrainingPlan
from eigenboundary.training.run import Pair, TrainingProgress, TrainingResult, TrainingRun
from eigenboundary.training.steps import is_traceable

__all__ = ["train", "train_many"]


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
        Inputs (n, ...) and int64 labels (n,).
    seed : int
        Of the order of the samples, and of whatever else is random.
    progress : callable, optional
        Called as ``progress(epoch, epochs)`` every tenth epoch.
    state_file : path, optional
        Where the run's state is kept while it lasts: an interrupted run, called again, goes on
        from there and ends at the same weights. The file is removed at the end.
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
        On Ctrl-C, between two epochs; the state is written before.

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
    normalisation, dropout or frozen parameters are trained one after the other.

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
    plan = _plan(settings)
    _check(models, data, seeds)
    if plan.attack is not None:
        for x, _ in data:
            plan.attack.check_inputs(x)
    path = None
    if state_file is not None:
        path = new_file(state_file, overwrite=True, name="state_file")
    if len(models) > 1 and not is_traceable(models[0]):
        return [
            train(m, d, seed=s, progress=progress, state_file=_numbered(path, i), **settings)
            for i, (m, d, s) in enumerate(zip(models, data, seeds, strict=True))
        ]
    was_training = [model.training for model in models]
    with preserved_random_state(seeds[0]), deferred_interrupts():
        try:
            run = TrainingRun(models, data, seeds, plan, path)
            results = run.finish(progress)
        finally:
            for model, mode in zip(models, was_training, strict=True):
                model.train(mode)
                model.zero_grad(set_to_none=True)
    return results


# ----------------------------------------------------------------------------------------- checks


def _plan(settings: dict[str, Any]) -> TrainingPlan:
    try:
        return TrainingPlan(**settings)
    except TypeError as error:
        known = ", ".join(TrainingPlan.__dataclass_fields__)
        raise InvalidInputError(
            f"settings must be among {known}, with epochs and learning_rate; {error}."
        ) from None


def _check(models: Sequence[nn.Module], data: Sequence[Pair], seeds: Sequence[int]) -> None:
    if not models or len({len(models), len(data), len(seeds)}) > 1:
        raise InvalidInputError(
            "models, data and seeds must be as many, at least one; got "
            f"{len(models)}, {len(data)} and {len(seeds)}."
        )
    for seed in seeds:
        checks.check_seed(seed)
    for model in models:
        checks.check_model(model)
    shapes = {tuple((n, p.shape) for n, p in m.named_parameters()) for m in models}
    if len(shapes) > 1:
        raise InvalidInputError("models must be of one architecture; their parameters differ.")
    for pair in data:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidInputError(f"data must be pairs (x, y) of tensors; got {type(pair)}.")
    sizes = {(tuple(x.shape), tuple(y.shape)) for x, y in data}
    if len(sizes) > 1 or any(len(x) != len(y) or not len(x) for x, y in data):
        raise InvalidInputError(
            f"data must be of one shape, with a label a sample; got {sorted(sizes)}."
        )


def _numbered(path: Path | None, index: int) -> Path | None:
    return None if path is None else path.with_name(f"{path.stem}-{index}{path.suffix}")
