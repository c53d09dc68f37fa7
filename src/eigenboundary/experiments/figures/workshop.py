"""Networks and analyses for the figures, each made once and kept in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from eigenboundary.analysis.loading import load
from eigenboundary.analysis.pipeline import analyze
from eigenboundary.analysis.result import Analysis
from eigenboundary.experiments.archive import Archive
from eigenboundary.experiments.config import load_config
from eigenboundary.experiments.datasets.split import Pair
from eigenboundary.experiments.train import TrainedNetwork, train_experiment
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime import version
from eigenboundary.runtime.arguments import check_integer, check_seed

#: What a figure's time is spent on.
PARTS = ("training", "analysis", "drawing")
#: Called with (figure, what is being done, done, total).
FigureProgress = Callable[[str, str, int, int], None]


class Workshop:
    """Networks and analyses of one seed, kept in a folder, with the seconds each part took.

    Networks lie in ``networks/``, analyses in ``analyses/``; what is there is used again.
    :func:`reproduce` describes the parameters. ``figure`` is the figure in progress, and
    ``seconds`` holds the seconds since :meth:`restart`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        seed: int = 0,
        directory: str | Path | None = None,
        configs: Path | None = None,
        resolution: int = 120,
        overwrite: bool = False,
        progress: FigureProgress | None = None,
    ) -> None:
        check_seed(seed)
        check_integer(resolution, "resolution", 2)
        self.folder, self.seed, self.resolution = Path(folder), seed, resolution
        self.directory, self.configs, self.progress = directory, configs, progress
        self.restart("")
        self._networks: dict[tuple[str, int], TrainedNetwork] = {}
        self._analyses: dict[str, Analysis] = {}
        Archive(folder)  # checks the folder by its own name
        self._network_archive = Archive(self.folder / "networks", overwrite=overwrite)
        self._analysis_archive = Archive(self.folder / "analyses", overwrite=overwrite)

    def restart(self, figure: str) -> None:
        """Begin another figure, with no seconds spent yet."""
        self.figure = figure
        self.seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count the seconds of a part, less those of parts inside it."""
        began, before = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - before
            self.seconds[part] += time.perf_counter() - began - inside

    def report(self, stage: str, done: int, total: int) -> None:
        """Report how far the present figure has come."""
        if self.progress is not None:
            self.progress(self.figure, stage, done, total)

    def network(self, name: str) -> TrainedNetwork:
        """Return the network of a configuration, trained where it is not there yet."""
        return self.networks(name, [self.seed])[0]

    def networks(self, name: str, seeds: Sequence[int]) -> list[TrainedNetwork]:
        """Return the networks of several seeds, which are trained at once."""
        missing = [seed for seed in seeds if (name, seed) not in self._networks]
        if missing:
            config = load_config(name, beside=self.configs)
            takes_files = config.dataset["name"] == "mnist" and self.directory is not None
            with self.timed("training"):
                trained = train_experiment(
                    config,
                    missing,
                    folder=self._network_archive,
                    overrides={"directory": str(self.directory)} if takes_files else None,
                    progress=lambda of, at, epochs: self.report(f"training {of.title}", at, epochs),
                )
            self._networks |= {(name, network.seed): network for network in trained}
        return [self._networks[name, seed] for seed in seeds]

    def problem(self, network: TrainedNetwork, dtype: str = "float64") -> Problem:
        """Return a network's training loss."""
        return Problem(network.model, network.data.train, network.config.training.loss, dtype=dtype)

    def analysis(
        self,
        network: TrainedNetwork,
        k: int | None = 10,
        *,
        name: str = "",
        data: Pair | None = None,
        grid: bool = True,
    ) -> Analysis:
        """Return a network's analysis in float64, computed where it is not there yet.

        ``name`` tells it from analyses of other ``data`` than the training samples, or of another
        model; ``grid`` asks for the plane, where inputs have two features.
        """
        samples = network.data.train if data is None else data
        points = self.resolution if grid and samples[0].shape[1:] == (2,) else 0
        parts = [network.config.name, str(network.seed), name, "all" if k is None else str(k)]
        file = "-".join(filter(None, [*parts, f"grid{points}" if points else ""])) + ".safetensors"
        if file not in self._analyses:
            settings: dict[str, Any] = {"k": k, "grid": points, "seed": self.seed}
            key = network.derived_key(f"analysis {version.ANALYSIS_ALGORITHM}", samples, **settings)
            settings |= {"loss": network.config.training.loss, "dtype": "float64"}
            title = network.config.title
            with self.timed("analysis"):
                kept = self._analysis_archive.find({file: (file, key)}, strict=False)
                if file in kept:
                    found = load(kept[file].path, network.model)
                else:
                    found = analyze(
                        network.model,
                        samples,
                        **settings,
                        progress=lambda stage, at, of: self.report(f"{stage} of {title}", at, of),
                    )
                    # One that was interrupted is not finished: the next run computes it again.
                    found.provenance.outcome.raise_if_interrupted()
                    self._analysis_archive.write_saved(file, key, found.save)
            self._analyses[file] = replace(found, class_names=network.data.class_names)
        return self._analyses[file]
