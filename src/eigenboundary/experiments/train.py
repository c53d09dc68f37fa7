"""Train what a configuration describes, for one seed or many, and keep the networks on disk."""

from __future__ import annotations

import copy
import glob
import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from eigenboundary.experiments import datasets, networks
from eigenboundary.experiments.archive import Archive, Key, OtherResultError, Stored, fingerprint
from eigenboundary.experiments.config import ExperimentConfig, lineage, load_config
from eigenboundary.experiments.datasets import DataSplit
from eigenboundary.experiments.datasets.split import Pair
from eigenboundary.experiments.training import (
    TrainingResult,
    parameter_norm,
    permuted_labels,
    scaled_to_norm,
    train_many,
)
from eigenboundary.experiments.training.arguments import check_given
from eigenboundary.runtime import version
from eigenboundary.runtime.arguments import check_seed
from eigenboundary.runtime.errors import InvalidInputError

_log = logging.getLogger(__name__)

#: Called with (config, epoch, epochs).
ExperimentProgress = Callable[[ExperimentConfig, int, int], None]

_LONGEST_NAME = 200


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network with its configuration, data and training result.

    Attributes
    ----------
    config : ExperimentConfig
    seed : int
        Seed of the data, the labels' permutation, the initial weights and the samples' order.
    model : torch.nn.Module
    data : DataSplit
        With the labels that the network was trained on.
    result : TrainingResult
    key : Key
        The configuration with its parents, the data and the algorithm version.
    """

    config: ExperimentConfig
    seed: int
    model: nn.Module
    data: DataSplit
    result: TrainingResult
    key: Key

    def derived_key(self, algorithm: str, samples: Pair, **configuration: Any) -> Key:
        """Return the key of a result that is computed from this network and some samples."""
        data = fingerprint(self.key.data, [*self.model.state_dict().values(), *samples])
        return Key({"network": self.key.configuration, **configuration}, data, algorithm)


def train_experiment(
    config: ExperimentConfig | str | Path,
    seeds: Sequence[int] = (0,),
    *,
    folder: str | Path | Archive | None = None,
    overwrite: bool = False,
    overrides: dict[str, Any] | None = None,
    progress: ExperimentProgress | None = None,
) -> list[TrainedNetwork]:
    """Train a configuration's network for some seeds, and first the networks it starts from.

    Parameters
    ----------
    config : ExperimentConfig, or what :func:`load_config` takes
    seeds : sequence of int
    folder : path or Archive, optional
        Folder that keeps the networks, one ``<name>-<seed>.safetensors`` each. A network that an
        earlier run left there is used again, and an interrupted training goes on where it stopped.
        A network that another version's code trained, or that was trained on other samples, is
        trained again with a warning in the log; the earlier file moves to ``superseded``.
    overwrite : bool
        Train anew, from the start, what the folder holds finished or interrupted.
    overrides : dict, optional
        Options of the data set that replace the configuration's, e.g. ``directory``; the data sets
        of the configurations it starts from take those that they have.
    progress : callable, optional
        Called as ``progress(config, epoch, epochs)``.

    Returns
    -------
    list of TrainedNetwork
        One a seed.

    Raises
    ------
    InvalidInputError
        If the configuration is not valid, or a file in the folder is damaged or of another
        configuration.
    KeyboardInterrupt
        On Ctrl-C; with a folder, the same call goes on from there.
    """
    archive = folder if isinstance(folder, Archive | None) else Archive(folder, overwrite=overwrite)
    if not isinstance(config, ExperimentConfig):
        config = load_config(config)
    family = lineage(config, overrides)
    starts = {seed: prepare(family, seed) for seed in check_seeds(seeds)}
    return _trained(family, starts, archive, progress)


def check_seeds(seeds: Any) -> Sequence[int]:
    """Return the seeds, if they are different integers."""
    if not isinstance(seeds, Sequence) or not seeds or len(set(seeds)) < len(seeds):
        raise InvalidInputError("seeds", "be different integers, at least one", repr(seeds))
    for seed in seeds:
        check_seed(seed)
    return seeds


def _trained(
    family: Sequence[ExperimentConfig],
    starts: dict[int, Start],
    archive: Archive | None,
    progress: ExperimentProgress | None,
) -> list[TrainedNetwork]:
    config, found = family[0], {}
    if archive is not None:
        wanted = {seed: (network_file(config, seed), start.key) for seed, start in starts.items()}
        kept = archive.find(wanted, strict=True)
        found = {seed: _restored(config, seed, starts[seed], kept[seed]) for seed in kept}
    missing = {seed: start for seed, start in starts.items() if seed not in found}
    if missing:
        models = [start.model for start in missing.values()]
        if len(family) > 1:
            before = {seed: start.parent for seed, start in missing.items() if start.parent}
            parents = _trained(family[1:], before, archive, progress)
            pairs = zip(models, parents, strict=True)
            models = [started(config, model, parent.model) for model, parent in pairs]
        results = _train(config, models, missing, archive, progress)
        for (seed, start), model, result in zip(missing.items(), models, results, strict=True):
            found[seed] = TrainedNetwork(config, seed, model, start.data, result, start.key)
            if archive is not None:
                values = dict(vars(result))
                tensors = {**model.state_dict(), "checkpoints": values.pop("checkpoints")}
                archive.write(network_file(config, seed), start.key, tensors, values)
    return [found[seed] for seed in starts]


def _train(
    config: ExperimentConfig,
    models: list[nn.Module],
    starts: dict[int, Start],
    archive: Archive | None,
    progress: ExperimentProgress | None,
) -> list[TrainingResult]:
    name = state_file(config, list(starts))
    state = None if archive is None else archive.folder / name

    def run() -> list[TrainingResult]:
        return train_many(
            models,
            [start.data.train for start in starts.values()],
            seeds=list(starts),
            state_file=state,
            progress=None if progress is None else lambda at, of: progress(config, at, of),
            **dict(config.training),
        )

    if archive is None or state is None:
        return run()
    # A state, or the states of networks that were trained one after the other.
    states = [name, *(p.name for p in archive.folder.glob(f"{glob.escape(state.stem)}-*"))]
    if archive.overwrite:
        for each in states:
            (archive.folder / each).unlink(missing_ok=True)
    try:
        return run()
    except OtherResultError as error:
        moved = [str(path) for each in states if (path := archive.supersede(each))]
        message = "the interrupted training of %s cannot be taken up and begins anew (%s); %s"
        _log.warning(message, config.name, error.because, f"its state is now {', '.join(moved)}")
        return run()


@dataclass(frozen=True)
class Start:
    """A network before its training."""

    data: DataSplit  # with the labels to train on
    model: nn.Module  # with random weights
    key: Key  # the trained network's
    parent: Start | None  # of the network that this one starts from


def prepare(lineage: Sequence[ExperimentConfig], seed: int) -> Start:
    """Prepare the start of the first configuration and its parents, and check all of them."""
    config, *parents = lineage
    parent = prepare(parents, seed) if parents else None
    data = datasets.load(**config.dataset, seed=seed)
    if config.start.regime == "random_labels":
        x, y = data.train
        data = replace(data, train=(x, permuted_labels(y, seed=seed)))
    options = {"classes": len(data.class_names), **config.network}
    if options["name"] == "fnn":
        options.setdefault("inputs", data.train[0][0].numel())
    try:
        model = networks.build(**options, seed=seed)
        check_given([model], [data.train], [seed], config.training)
    except InvalidInputError as error:
        raise error.renamed(f"config {config.name!r}: {error.name}") from None
    if parent is not None:
        started(config, copy.deepcopy(model), parent.model)
    described = {
        "seed": seed,
        "dataset": {key: value for key, value in config.dataset.items() if key != "directory"},
        "network": config.network,
        "regime": config.start.regime,
        "training": config.training.record,
        "parent": None if parent is None else parent.key.configuration,
    }
    before = "" if parent is None else parent.key.data
    made_from = fingerprint(before, [*data.train, *model.state_dict().values()])
    key = Key(described, made_from, f"training {version.TRAINING_ALGORITHM}")
    return Start(data, model, key, parent)


def started(config: ExperimentConfig, model: nn.Module, parent: nn.Module) -> nn.Module:
    """Return the network that training starts from; the parent's must have its architecture."""
    if config.start.regime == "large_norm":
        return scaled_to_norm(model, parameter_norm(parent))
    reason = None if str(model) == str(parent) else "its layers differ"
    try:
        model.load_state_dict(parent.state_dict())
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
    if reason is not None:
        place, wanted = f"config {config.name!r}: start.from", "name a configuration of the same"
        because = f"{config.start.parent!r} has another ({reason})"
        raise InvalidInputError(place, f"{wanted} network", because=because)
    return model


def network_file(config: ExperimentConfig, seed: int) -> str:
    """Name the file of a trained network."""
    return f"{config.name}-{seed}.safetensors"


def state_file(config: ExperimentConfig, seeds: Iterable[int]) -> str:
    """Name the file that holds the state of a training while it lasts."""
    listed = "-".join(map(str, seeds))
    if len(config.name) + len(listed) > _LONGEST_NAME:
        listed = hashlib.sha256(listed.encode()).hexdigest()[:16]
    return f".{config.name}-seeds-{listed}.state.safetensors"


def _restored(config: ExperimentConfig, seed: int, start: Start, stored: Stored) -> TrainedNetwork:
    tensors = stored.tensors()
    states = {int(epoch): state for epoch, state in tensors.pop("checkpoints", {}).items()}
    start.model.load_state_dict(tensors)
    result = TrainingResult(**stored.values, checkpoints=dict(sorted(states.items())))
    return TrainedNetwork(config, seed, start.model, start.data, result, start.key)
