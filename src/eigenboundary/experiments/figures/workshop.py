"""Networks and analyses for the figures, each made once and kept in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

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
from eigenboundary.runtime.errors import InvalidInputError

#: What a figure's time is spent on.
PARTS = ("training", "analysis", "drawing")
#: Called with (figure, what is being done, done, total).
FigureProgress = Callable[[str, str, int, int], None]


class Workshop:
    """Networks and analyses of one seed, kept in a folder, with the seconds each part took.

    Networks lie in ``networks/``, analyses in ``analyses/``. What is there is used again, so an
    interrupted reproduction goes on where it stopped. :func:`reproduce` describes the parameters;
    ``figure`` is the figure in progress, and ``seconds`` holds the seconds since :meth:`restart`.
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
        check_integer(resolution, "resolution")
        if resolution < 2:
            raise InvalidInputError("resolution", "be at least 2", f"{resolution}")
        self.folder, self.seed, self.resolution = Path(folder), seed, resolution
        self.directory, self.configs, self.progress = directory, configs, progress
        self.restart("")
        self._networks: dict[tuple[str, int], TrainedNetwork] = {}
        self._analyses: dict[str, Analysis] = {}
        Archive(folder)  # checks the folder by its own name
        self._network_archive = Archive(self.folder / "networks", overwrite=overwrite)
        self._analysis_archive = Archive(self.folder / "analyses", overwrite=overwrite)

    # ----------------------------------------------------------------------------- the time

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

    # ----------------------------------------------------------------- networks and analyses

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
            algorithm = f"analysis {version.ANALYSIS_ALGORITHM}"
            key = network.derived_key(algorithm, samples, k=k, grid=points, seed=self.seed)
            with self.timed("analysis"):
                kept = self._analysis_archive.find({file: (file, key)}, strict=False)
                if file in kept:
                    self._analyses[file] = load(kept[file].path, network.model)
                else:
                    made = self._analyze(network, k, samples, points)
                    self._analysis_archive.write_saved(file, key, made.save)
                    self._analyses[file] = made
        return self._analyses[file]

    def _analyze(
        self, network: TrainedNetwork, k: int | None, samples: Pair, points: int
    ) -> Analysis:
        title = network.config.title
        analysis = analyze(
            network.model,
            samples,
            k=k,
            loss=network.config.training.loss,
            dtype="float64",
            seed=self.seed,
            grid=points,
            progress=lambda stage, done, total: self.report(f"{stage} of {title}", done, total),
        )
        # An interrupted analysis is not finished: the next run has to compute it again.
        analysis.provenance.outcome.raise_if_interrupted()
        return analysis
