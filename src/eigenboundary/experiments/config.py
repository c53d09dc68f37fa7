"""Experiments as data: small TOML files, checked when they are read.

A configuration names its data, its network, how it is trained, and where training starts::

    title = "Gaussian blobs, adversarial initialization"
    description = "Fitted to random labels first, then to the true ones."

    [dataset]
    name = "gaussian_blobs"

    [network]
    name = "fnn"
    hidden = [100, 100]

    [start]
    regime = "adversarial"
    from = "blobs-random-labels"

    [training]
    epochs = 2000
    learning_rate = 0.02

`dataset` and `network` take the options of :func:`eigenboundary.experiments.datasets.load` and
:func:`eigenboundary.experiments.networks.build`, `training` the attributes of
:class:`eigenboundary.experiments.training.TrainingPlan`.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from eigenboundary.experiments import datasets, networks
from eigenboundary.experiments.checked import Settings
from eigenboundary.experiments.datasets import DATASETS
from eigenboundary.experiments.networks import NETWORKS
from eigenboundary.experiments.training import TrainingPlan
from eigenboundary.runtime.arguments import check_choice
from eigenboundary.runtime.errors import InvalidInputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SHIPPED = Path(__file__).parent / "configs"


class StartSettings(Settings):
    """Where training starts: the regime, and the configuration it starts from."""

    regime: Literal["normal", "random_labels", "adversarial", "large_norm", "wide_margin"] = (
        "normal"
    )
    parent: str | None = Field(default=None, alias="from")

    @model_validator(mode="after")
    def _check_parent(self) -> StartSettings:
        alone = self.regime in ("normal", "random_labels")
        if alone != (self.parent is None):
            wanted = f"{'be left out' if alone else 'name a configuration'} for regime"
            raise InvalidInputError("from", f"{wanted} {self.regime!r}", repr(self.parent))
        return self


class _Tables(Settings):
    """The tables of a configuration's file."""

    title: str = ""
    description: str = ""
    dataset: dict[str, Any]
    network: dict[str, Any]
    start: StartSettings = StartSettings()
    training: TrainingPlan

    @field_validator("dataset", "network")
    @classmethod
    def _check_options(cls, table: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        dataset = info.field_name == "dataset"
        check_choice(table.get("name"), "name", tuple(DATASETS if dataset else NETWORKS))
        options = {option: value for option, value in table.items() if option != "name"}
        if dataset:
            datasets.check_options(table["name"], options)
        elif "seed" in table:
            raise InvalidInputError("seed", "be left out: the seed is the experiment's")
        else:
            networks.check_options(table["name"], options, complete=False)
        return table


class ExperimentConfig(_Tables):
    """One way to train a network.

    Attributes
    ----------
    name : str
        The file's, without its suffix.
    title, description : str
    dataset, network : dict
        ``name`` and options.
    start : StartSettings
        ``regime``, one of "normal", "random_labels", "adversarial", "large_norm" and
        "wide_margin", and ``parent``, the configuration whose network training starts from, or
        whose norm it takes.
    training : TrainingPlan
    folder : Path or None
        Where the file is, and where a parent is looked for first; None for a shipped one.
    """

    name: str
    folder: Path | None = None


def config_names() -> tuple[str, ...]:
    """Return the names of the shipped configurations.

    Examples
    --------
    >>> "blobs-normal" in config_names()
    True
    """
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.toml")))


def load_config(name: str | Path, *, beside: Path | None = None) -> ExperimentConfig:
    """Load a shipped configuration by its name, or one in a .toml file.

    Parameters
    ----------
    name : str or path
        The name of a shipped configuration, or the path of a file with the suffix .toml.
    beside : path, optional
        A folder whose files take the place of shipped ones.

    Raises
    ------
    InvalidInputError
        If there is no such configuration, or it is not as described in
        :mod:`eigenboundary.experiments.config`.

    Examples
    --------
    >>> load_config("blobs-normal").network["hidden"]
    [100, 100]
    """
    path = Path(name)
    if path.suffix != ".toml" and beside is not None and (beside / f"{name}.toml").is_file():
        path = beside / f"{name}.toml"
    if shipped := path.suffix != ".toml":
        if str(name) not in config_names():
            wanted = f"be a .toml file or one of {', '.join(config_names())}"
            raise InvalidInputError("config", wanted, repr(str(name)))
        path = _SHIPPED / f"{name}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        wanted, because = "be a file that can be read", f"{str(path)!r} cannot ({reason})"
        raise InvalidInputError("config", wanted, because=because) from None
    return parse_config(text, path.stem, None if shipped else path.absolute().parent)


def lineage(
    config: ExperimentConfig, overrides: dict[str, Any] | None = None
) -> tuple[ExperimentConfig, ...]:
    """Return the configuration, the one it starts from, the one that one starts from, and so on.

    ``overrides`` replace options of the data set; a parent's data set takes those that it has.

    Examples
    --------
    >>> [config.name for config in lineage(load_config("blobs-adversarial"))]
    ['blobs-adversarial', 'blobs-random-labels']
    """
    given = overrides or {}
    family = [config.model_copy(update={"dataset": config.dataset | given})]
    while (parent := family[-1].start.parent) is not None:
        following = load_config(parent, beside=family[-1].folder)
        path = [*(earlier.name for earlier in family), following.name]
        if following.name in path[:-1]:
            place = f"config {config.name!r}: start.from"
            raise InvalidInputError(place, "end at a random start", " from ".join(path))
        takes = inspect.signature(DATASETS[following.dataset["name"]]).parameters
        shared = {key: value for key, value in given.items() if key in takes}
        family.append(following.model_copy(update={"dataset": following.dataset | shared}))
    return tuple(family)


def parse_config(text: str, name: str, folder: Path | None = None) -> ExperimentConfig:
    """Parse a configuration; every mistake is one sentence that names its place."""
    place = f"config {name!r}"
    try:
        tables = _Tables(**tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(place, "be valid TOML", because=f"{error}") from None
    except InvalidInputError as error:
        whole = error.name == "settings"
        raise error.renamed(place if whole else f"{place}: {error.name}") from None
    values = dict(tables) | {"title": tables.title or name}
    return ExperimentConfig(**values, name=name, folder=folder)
