"""What a configuration's training starts from: its data, its network, its parent's network."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from eigenboundary.experiments import datasets, networks
from eigenboundary.experiments.config import ExperimentConfig
from eigenboundary.experiments.datasets import DataSplit
from eigenboundary.experiments.training import parameter_norm, permuted_labels, scaled_to_norm
from eigenboundary.experiments.training.arguments import check_given
from eigenboundary.experiments.training.checkpoint import fingerprint
from eigenboundary.runtime.errors import InvalidInputError


@dataclass(frozen=True)
class Start:
    """A network before its training.

    Attributes
    ----------
    data : DataSplit
        With the labels to train on.
    model : torch.nn.Module
        With random weights.
    fingerprint : str
        A hash of the samples to train on and the random weights, the parents' included.
    """

    data: DataSplit
    model: nn.Module
    fingerprint: str


def prepare(lineage: Sequence[ExperimentConfig], seed: int) -> Start:
    """The start of the first configuration; the others are those that it starts from.

    Raises
    ------
    InvalidInputError
        If one of them cannot be trained, or has a network that another cannot start from.
    """
    config, *parents = lineage
    parent = prepare(parents, seed) if parents else None
    data = _data(config, seed)
    try:
        model = _network(config, seed, data)
        check_given([model], [data.train], [seed], config.plan)
    except InvalidInputError as error:
        raise error.renamed(f"config {config.name!r}: {error.name}") from None
    if parent is not None:
        started(config, copy.deepcopy(model), parent.model)
    weights = list(model.state_dict().values())
    before = None if parent is None else parent.fingerprint
    return Start(data, model, fingerprint(before, [*data.train, *weights]))


def started(config: ExperimentConfig, model: nn.Module, parent: nn.Module) -> nn.Module:
    """The network that training starts from.

    Raises
    ------
    InvalidInputError
        If the parent's network is another than the model.
    """
    if config.regime == "large_norm":
        return scaled_to_norm(model, parameter_norm(parent))
    reason = None if str(model) == str(parent) else "its layers differ"
    try:
        model.load_state_dict(parent.state_dict())
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
    if reason is not None:
        raise InvalidInputError(
            f"config {config.name!r}: start.from",
            "name a configuration of the same network",
            because=f"{config.parent!r} has another ({reason})",
        )
    return model


def _data(config: ExperimentConfig, seed: int) -> DataSplit:
    options = {key: value for key, value in config.dataset.items() if key != "name"}
    split = datasets.load(config.dataset["name"], seed, **options)
    if config.regime == "random_labels":
        x, y = split.train
        return replace(split, train=(x, permuted_labels(y, seed)))
    return split


def _network(config: ExperimentConfig, seed: int, split: DataSplit) -> nn.Module:
    options = {key: value for key, value in config.network.items() if key != "name"}
    options.setdefault("classes", len(split.class_names))
    if config.network["name"] == "fnn":
        options.setdefault("inputs", split.train[0][0].numel())
    return networks.build(config.network["name"], seed=seed, **options)
