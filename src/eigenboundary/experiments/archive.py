"""Trained networks in a folder, one file each, and the states of interrupted trainings.

A network is taken from the folder if its configuration is the same, and if it was trained by the
code of today on the samples and from the random weights of today. If only the code, the samples
or the weights have changed since, as after an upgrade, it is trained again; the earlier one is
kept in the folder `superseded`. If the configuration is another, that is an error.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from eigenboundary.experiments.config import ExperimentConfig
from eigenboundary.experiments.datasets import DataSplit
from eigenboundary.experiments.starts import Start
from eigenboundary.experiments.training import TrainingResult
from eigenboundary.runtime import version
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.files import replaced_when_complete

_log = logging.getLogger(__name__)

_KEY = "eigenboundary-network"
_SUPERSEDED = "superseded"
_LONGEST_NAME = 200


@dataclass(frozen=True)
class TrainedNetwork:
    """A network, and all that made it.

    Attributes
    ----------
    config : ExperimentConfig
    seed : int
        Of the data, the labels' permutation, the initial weights and the order of the samples.
    model : torch.nn.Module
    data : DataSplit
        With the labels that it was trained on.
    result : TrainingResult
    """

    config: ExperimentConfig
    seed: int
    model: nn.Module
    data: DataSplit
    result: TrainingResult


# ----------------------------------------------------------------------------------------- places


def made_folder(folder: str | Path) -> Path:
    """The folder, made where it is missing."""
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(
            "folder", "be one that can be written to", f"{str(folder)!r} ({error.strerror})"
        ) from None
    return place


def network_file(config: ExperimentConfig, seed: int, folder: Path) -> Path:
    """Where a network is kept."""
    return folder / f"{config.name}-{seed}.safetensors"


def state_file(config: ExperimentConfig, seeds: Sequence[int], folder: Path) -> Path:
    """Where the state of a training for these seeds is kept while it lasts."""
    listed = "-".join(map(str, seeds))
    if len(config.name) + len(listed) > _LONGEST_NAME:
        listed = hashlib.sha256(listed.encode()).hexdigest()[:16]
    return folder / f".{config.name}-seeds-{listed}.state.safetensors"


def forget(config: ExperimentConfig, seeds: Sequence[int], folder: Path) -> None:
    """Remove the networks of these seeds, and the state of their training."""
    for seed in seeds:
        network_file(config, seed, folder).unlink(missing_ok=True)
    forget_state(config, seeds, folder)


def forget_state(config: ExperimentConfig, seeds: Sequence[int], folder: Path) -> None:
    """Remove the state of an interrupted training."""
    for path in _states(state_file(config, seeds, folder)):
        path.unlink(missing_ok=True)


def _states(path: Path) -> list[Path]:
    """The state, or the states of networks that were trained one after the other."""
    numbered = (
        found
        for found in path.parent.glob(".*.state-*.safetensors")
        if found.name.startswith(f"{path.stem}-")
    )
    return [path, *numbered]


def supersede_state(config: ExperimentConfig, seeds: Sequence[int], folder: Path) -> None:
    """Move the state of another training out of the way, and say so."""
    for path in _states(state_file(config, seeds, folder)):
        moved = _supersede(path)
        if moved is not None:
            _log.warning(
                "the interrupted training of %s cannot be taken up: its state is damaged, or its "
                "settings, data or code have changed. It begins anew; the state is now %s",
                config.name,
                moved,
            )


def _supersede(path: Path) -> Path | None:
    """Move a file that is to be replaced out of the way; where to, or None if there is none."""
    if not path.exists():
        return None
    place = made_folder(path.parent / _SUPERSEDED)
    name = path.name.lstrip(".").removesuffix(".safetensors")
    number = 1
    while (target := place / f"{name}-{number}.safetensors").exists():
        number += 1
    path.rename(target)
    return target


# --------------------------------------------------------------------------------------- networks


def save_network(
    trained: TrainedNetwork,
    lineage: Sequence[ExperimentConfig],
    start: Start,
    folder: Path,
    *,
    overwrite: bool,
) -> None:
    """Write a network; an earlier one is overwritten, or else moved out of the way."""
    config, result = trained.config, trained.result
    path = network_file(config, trained.seed, folder)
    header = {
        "config": {k: v for k, v in asdict(config).items() if k != "folder"},
        "described": _described(lineage),
        "started_from": start.fingerprint,
        "algorithm": version.TRAINING_ALGORITHM,
        "seed": trained.seed,
        "loss": result.loss,
        "accuracy": result.accuracy,
        "epochs": result.epochs,
        "seconds": result.seconds,
    }
    tensors: dict[str, Tensor] = dict(trained.model.state_dict())
    for epoch, state in result.checkpoints.items():
        tensors |= {f"checkpoint.{epoch}.{name}": tensor for name, tensor in state.items()}
    if not overwrite:
        _supersede(path)
    with replaced_when_complete(path, "folder") as partial:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            partial,
            metadata={_KEY: json.dumps(header)},
        )


def read_networks(
    lineage: Sequence[ExperimentConfig], starts: dict[int, Start], folder: Path
) -> dict[int, TrainedNetwork]:
    """What an earlier run left and today's would make again, by seed.

    Raises
    ------
    InvalidInputError
        If a file in the place of a network is none, or of another configuration.
    """
    config, found, outdated = lineage[0], {}, []
    for seed, start in starts.items():
        path = network_file(config, seed, folder)
        if not path.exists():
            continue
        header, tensors = _read(path)
        if (header.get("described"), header.get("seed")) != (_described(lineage), seed):
            raise InvalidInputError(
                "folder",
                "hold none but this experiment's networks unless overwriting is forced",
                because=f"{str(path)!r} was trained otherwise",
            )
        made_from = header.get("started_from"), header.get("algorithm")
        if made_from == (start.fingerprint, version.TRAINING_ALGORITHM):
            found[seed] = _restored(config, seed, start, header, tensors)
        else:
            outdated.append(seed)
    if outdated:
        _log.warning(
            "%s (seed %s) was trained by another version's code or on other samples: it is trained "
            "again, and the earlier network goes to %s",
            config.name,
            ", ".join(map(str, outdated)),
            folder / _SUPERSEDED,
        )
    return found


def _restored(
    config: ExperimentConfig,
    seed: int,
    start: Start,
    header: dict[str, Any],
    tensors: dict[str, Tensor],
) -> TrainedNetwork:
    kept: dict[int, dict[str, Tensor]] = {}
    for name in [name for name in tensors if name.startswith("checkpoint.")]:
        _, epoch, parameter = name.split(".", 2)
        kept.setdefault(int(epoch), {})[parameter] = tensors.pop(name)
    start.model.load_state_dict(tensors)
    numbers = {key: header[key] for key in ("loss", "accuracy", "epochs", "seconds")}
    result = TrainingResult(**numbers, checkpoints=kept)
    return TrainedNetwork(config, seed, start.model, start.data, result)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as stored:
            header = json.loads((stored.metadata() or {}).get(_KEY, "{}"))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise InvalidInputError(
            "folder",
            "hold undamaged networks",
            because=f"{str(path)!r} is none ({type(error).__name__})",
        ) from None
    return header, tensors


def _described(lineage: Sequence[ExperimentConfig]) -> str:
    """A hash of all that decides the network, its parents' configurations included."""
    parent = _described(lineage[1:]) if len(lineage) > 1 else None
    config = lineage[0]
    dataset = {key: value for key, value in config.dataset.items() if key != "directory"}
    text = json.dumps([dataset, config.network, config.regime, config.training, parent])
    return hashlib.sha256(text.encode()).hexdigest()
