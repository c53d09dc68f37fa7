"""Train what a configuration describes, for one seed or many, and keep the networks on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eigenboundary.experiments import archive as kept
from eigenboundary.experiments.archive import TrainedNetwork
from eigenboundary.experiments.config import ExperimentConfig, lineage, load_config
from eigenboundary.experiments.starts import Start, prepare, started
from eigenboundary.experiments.training import TrainingResult, train_many
from eigenboundary.experiments.training.checkpoint import OtherRunError
from eigenboundary.runtime.arguments import check_seed
from eigenboundary.runtime.errors import InvalidInputError

#: Called with (config, epoch, epochs).
ExperimentProgress = Callable[[ExperimentConfig, int, int], None]


def train_experiment(
    config: ExperimentConfig | str | Path,
    seeds: Sequence[int] = (0,),
    *,
    folder: str | Path | None = None,
    force: bool = False,
    overrides: dict[str, Any] | None = None,
    progress: ExperimentProgress | None = None,
) -> list[TrainedNetwork]:
    """Train a configuration's network for some seeds, and first those it starts from.

    Parameters
    ----------
    config : ExperimentConfig, or what :func:`load_config` takes
    seeds : sequence of int
    folder : path, optional
        Networks are kept here, one ``<name>-<seed>.safetensors`` each, and taken from here where
        an earlier run left them. An interrupted training is taken up where it stopped. A network
        that was trained by another version's code or on other samples is trained again, with a
        warning in the log; the earlier one goes to the folder ``superseded`` in this one.
    force : bool
        Train anew, from the start, what the folder holds finished or interrupted.
    overrides : dict, optional
        Options of the data set that replace the configuration's, e.g. ``directory``; also those
        of the configurations it starts from, where their data sets take them.
    progress : callable, optional
        Called as ``progress(config, epoch, epochs)``.

    Returns
    -------
    list of TrainedNetwork
        One a seed.

    Raises
    ------
    InvalidInputError
        If the configuration or a file in the folder is not as it should be.
    KeyboardInterrupt
        On Ctrl-C; with a folder, the same call goes on from there.
    """
    if not isinstance(config, ExperimentConfig):
        config = load_config(config)
    _check_seeds(seeds)
    family = lineage(config, overrides)
    starts = {seed: prepare(family, seed) for seed in seeds}
    place = None if folder is None else kept.made_folder(folder)
    found = {}
    if place is not None and not force:
        found = kept.read_networks(family, starts, place)
    missing = {seed: start for seed, start in starts.items() if seed not in found}
    if missing:
        parents: list[TrainedNetwork] = []
        if len(family) > 1:
            parents = train_experiment(
                family[1],
                list(missing),
                folder=place,
                force=force,
                overrides=overrides,
                progress=progress,
            )
        if place is not None and force:
            kept.forget_state(config, list(missing), place)
        for trained in _train(family[0], missing, parents, place, progress):
            found[trained.seed] = trained
            if place is not None:
                kept.save_network(trained, family, starts[trained.seed], place, overwrite=force)
    return [found[seed] for seed in seeds]


def _train(
    config: ExperimentConfig,
    starts: dict[int, Start],
    parents: list[TrainedNetwork],
    folder: Path | None,
    progress: ExperimentProgress | None,
) -> list[TrainedNetwork]:
    seeds = list(starts)
    models = [start.model for start in starts.values()]
    if parents:
        pairs = zip(models, parents, strict=True)
        models = [started(config, model, parent.model) for model, parent in pairs]

    def run() -> list[TrainingResult]:
        return train_many(
            models,
            [start.data.train for start in starts.values()],
            seeds=seeds,
            state_file=None if folder is None else kept.state_file(config, seeds, folder),
            progress=None if progress is None else lambda at, of: progress(config, at, of),
            **config.training,
        )

    try:
        results = run()
    except OtherRunError:
        assert folder is not None
        kept.supersede_state(config, seeds, folder)
        results = run()
    return [
        TrainedNetwork(config, seed, model, start.data, result)
        for seed, model, start, result in zip(seeds, models, starts.values(), results, strict=True)
    ]


def _check_seeds(seeds: Any) -> None:
    if not isinstance(seeds, Sequence) or not seeds or len(set(seeds)) < len(seeds):
        raise InvalidInputError("seeds", "be different integers, at least one", repr(seeds))
    for seed in seeds:
        check_seed(seed)
