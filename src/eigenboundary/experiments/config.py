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
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from eigenboundary.experiments import datasets, networks
from eigenboundary.experiments.datasets import DATASETS
from eigenboundary.experiments.networks import NETWORKS
from eigenboundary.experiments.training import TrainingPlan
from eigenboundary.experiments.training.regimes import REGIMES
from eigenboundary.runtime.arguments import check_choice
from eigenboundary.runtime.errors import InvalidInputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


_FOLDER = "configs"
_TABLES = ("dataset", "network", "start", "training")
_TEXTS = ("title", "description")
# Regimes that take their start from another network.
_WITH_PARENT = ("adversarial", "large_norm", "wide_margin")


@dataclass(frozen=True)
class ExperimentConfig:
    """One way to train a network.

    Attributes
    ----------
    name : str
        The file's, without its suffix.
    title, description : str
    dataset, network : dict
        ``name`` and options.
    regime : {"normal", "random_labels", "adversarial", "large_norm", "wide_margin"}
    parent : str or None
        The configuration whose network training starts from, or whose norm it takes.
    training : dict
        The attributes of a :class:`~eigenboundary.experiments.training.TrainingPlan`.
    folder : Path or None
        Where the file is, and where a parent is looked for first; None for those shipped.
    """

    name: str
    title: str
    description: str
    dataset: dict[str, Any]
    network: dict[str, Any]
    regime: str
    parent: str | None
    training: dict[str, Any]
    folder: Path | None = field(default=None, compare=False)

    @property
    def plan(self) -> TrainingPlan:
        """The training settings."""
        return TrainingPlan(**self.training)

    @property
    def loss(self) -> str:
        """The loss trained on, and so the one whose curvature is asked for."""
        return str(self.training.get("loss", "cross_entropy"))


def config_names() -> tuple[str, ...]:
    """The configurations that are shipped.

    Examples
    --------
    >>> "blobs-normal" in config_names()
    True
    """
    folder = resources.files("eigenboundary.experiments") / _FOLDER
    names = (Path(entry.name) for entry in folder.iterdir())
    return tuple(sorted(path.stem for path in names if path.suffix == ".toml"))


def load_config(name: str | Path, *, beside: Path | None = None) -> ExperimentConfig:
    """A shipped configuration by its name, or one in a .toml file.

    Parameters
    ----------
    name : str or path
        The name of a shipped configuration, or the path of a file with the suffix .toml.
    beside : path, optional
        A folder whose files are looked at first.

    Raises
    ------
    InvalidInputError
        If there is none, or it is not as described in :mod:`eigenboundary.experiments.config`.

    Examples
    --------
    >>> load_config("blobs-normal").network["hidden"]
    [100, 100]
    """
    path = Path(name)
    if path.suffix != ".toml" and beside is not None and (beside / f"{name}.toml").is_file():
        path = beside / f"{name}.toml"
    if path.suffix == ".toml":
        if not path.is_file():
            raise InvalidInputError(
                "config", "be an existing file", because=f"{str(name)!r} is none"
            )
        return parse_config(_text(path), path.stem, path.absolute().parent)
    names = config_names()
    if str(name) not in names:
        raise InvalidInputError(
            "config", f"be a .toml file or one of {', '.join(names)}", repr(str(name))
        )
    shipped = resources.files("eigenboundary.experiments") / _FOLDER / f"{name}.toml"
    return parse_config(shipped.read_text(encoding="utf-8"), str(name))


def lineage(
    config: ExperimentConfig, overrides: dict[str, Any] | None = None
) -> tuple[ExperimentConfig, ...]:
    """The configuration, the one it starts from, the one that one starts from, and so on.

    ``overrides`` replace options of the data set; of a parent's, those that it takes.

    Raises
    ------
    InvalidInputError
        If one does not exist, or they go round in a circle.

    Examples
    --------
    >>> [config.name for config in lineage(load_config("blobs-adversarial"))]
    ['blobs-adversarial', 'blobs-random-labels']
    """
    family = [replace(config, dataset=config.dataset | (overrides or {}))]
    while (parent := family[-1].parent) is not None:
        following = load_config(parent, beside=family[-1].folder)
        path = [*(earlier.name for earlier in family), following.name]
        if following.name in path[:-1]:
            raise InvalidInputError(
                f"config {config.name!r}: start.from",
                "end at a random start",
                f"{' from '.join(path)}",
            )
        takes = inspect.signature(DATASETS[following.dataset["name"]]).parameters
        shared = {key: value for key, value in (overrides or {}).items() if key in takes}
        family.append(replace(following, dataset=following.dataset | shared))
    return tuple(family)


def parse_config(text: str, name: str, folder: Path | None = None) -> ExperimentConfig:
    """A configuration from its text; every mistake is one sentence that names its place."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"config {name!r}", "be valid TOML", because=f"{error}") from None
    _check_keys(table, (*_TABLES, *_TEXTS), f"config {name!r}")
    for key in _TEXTS:
        if not isinstance(table.setdefault(key, ""), str):
            raise InvalidInputError(f"config {name!r}: {key}", "be text", repr(table[key]))
    for key in _TABLES:
        if not isinstance(table.setdefault(key, {}), dict):
            raise InvalidInputError(f"config {name!r}: {key}", "be a table", repr(table[key]))
    _in(name, check_choice, table["dataset"].get("name"), "dataset.name", tuple(DATASETS))
    _in(name, check_choice, table["network"].get("name"), "network.name", tuple(NETWORKS))
    for key, check in (("dataset", datasets.check_options), ("network", _check_network)):
        options = {option: value for option, value in table[key].items() if option != "name"}
        _in(name, check, table[key]["name"], options)
    _check_keys(table["start"], ("regime", "from"), f"config {name!r}: start")
    regime = table["start"].get("regime", "normal")
    parent = table["start"].get("from")
    _in(name, check_choice, regime, "start.regime", REGIMES)
    if (parent is not None) != (regime in _WITH_PARENT) or not isinstance(parent, str | None):
        wanted = "name a configuration" if regime in _WITH_PARENT else "be left out"
        raise InvalidInputError(
            f"config {name!r}: start.from", f"{wanted} for regime {regime!r}", repr(parent)
        )
    unknown = set(table["training"]) - set(TrainingPlan.__dataclass_fields__)
    if unknown or not {"epochs", "learning_rate"} <= set(table["training"]):
        raise InvalidInputError(
            f"config {name!r}: training",
            "have epochs and learning_rate, and else only "
            f"{', '.join(TrainingPlan.__dataclass_fields__)}",
            f"{', '.join(table['training'])}",
        )
    _in(name, TrainingPlan, **table["training"])
    return ExperimentConfig(
        name=name,
        title=table["title"] or name,
        description=table["description"],
        dataset=table["dataset"],
        network=table["network"],
        regime=regime,
        parent=parent,
        training=table["training"],
        folder=folder,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInputError(
            "config", "be a file that can be read", because=f"{str(path)!r} cannot ({reason})"
        ) from None


def _check_network(name: str, options: dict[str, Any]) -> None:
    if "seed" in options:
        raise InvalidInputError("network.seed", "be left out: the seed is the experiment's")
    networks.check_options(name, options, complete=False)


def _in(name: str, check: Any, *given: Any, **options: Any) -> None:
    """Run a check; its sentence begins with the configuration's name."""
    try:
        check(*given, **options)
    except InvalidInputError as error:
        raise error.renamed(f"config {name!r}: {error.name}") from None


def _check_keys(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = [key for key in table if key not in known]
    if unknown:
        raise InvalidInputError(
            f"{where}", f"have only {', '.join(known)}", f"{', '.join(unknown)}"
        )
