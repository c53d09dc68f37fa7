"""What the figures are made from: networks and analyses, each made once and kept in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eigenboundary.analysis.loading import load
from eigenboundary.analysis.pipeline import analyze
from eigenboundary.analysis.result import Analysis
from eigenboundary.experiments.archive import TrainedNetwork, forget
from eigenboundary.experiments.config import ExperimentConfig, lineage, load_config
from eigenboundary.experiments.datasets.split import Pair
from eigenboundary.experiments.train import train_experiment
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime import version
from eigenboundary.runtime.arguments import check_positive_integer, check_seed
from eigenboundary.runtime.errors import InvalidInputError

#: What a figure's time is spent on.
PARTS = ("training", "analysis", "drawing")
#: Called with (figure, what is being done, done, total).
FigureProgress = Callable[[str, str, int, int], None]

_RESOLUTION = 120
# Among the versions of an analysis: tells outdated results from current ones.
_ALGORITHM = "eigenboundary algorithm"


class Workshop:
    """Networks and analyses of one seed, kept in a folder, with the seconds each part took.

    Networks lie in ``networks/``, analyses in ``analyses/``. What is there is taken, so an
    interrupted reproduction goes on where it stopped.

    Parameters
    ----------
    folder : path
        Made where missing.
    seed : int
        Of the data, the networks, their training and the analyses.
    directory : path, optional
        Where the files of MNIST are.
    configs : path, optional
        A folder whose configurations take the place of shipped ones of the same name.
    resolution : int
        Points a side of pictures of the plane.
    force : bool
        Make everything anew, once.
    progress : callable, optional
        Called as ``progress(figure, stage, done, total)``.

    Attributes
    ----------
    figure : str
        What is worked on, for the progress report.
    seconds : dict of float
        Spent since :meth:`restart`, by part.

    Raises
    ------
    InvalidInputError
        If the folder cannot be written to, or the seed or the resolution is none.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        seed: int = 0,
        directory: str | Path | None = None,
        configs: Path | None = None,
        resolution: int = _RESOLUTION,
        force: bool = False,
        progress: FigureProgress | None = None,
    ) -> None:
        check_seed(seed)
        check_positive_integer(resolution, "resolution")
        if resolution < 2:
            raise InvalidInputError("resolution", "be at least 2", f"{resolution}")
        self.folder, self.seed = Path(folder), seed
        self.directory = None if directory is None else Path(directory)
        self.configs, self.resolution = configs, resolution
        self.force, self.progress = force, progress
        self.figure = ""
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._networks: dict[tuple[str, int], TrainedNetwork] = {}
        self._analyses: dict[str, Analysis] = {}
        self._forgotten: set[tuple[str, int]] = set()
        try:
            (self.folder / "analyses").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInputError(
                "folder", "be one that can be written to", f"{str(folder)!r} ({error.strerror})"
            ) from None

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
        """Say how far the present figure has come."""
        if self.progress is not None:
            self.progress(self.figure, stage, done, total)

    # ------------------------------------------------------------------------- the networks

    def network(self, name: str) -> TrainedNetwork:
        """The network of a configuration, trained where it is not there yet."""
        return self.networks(name, [self.seed])[0]

    def networks(self, name: str, seeds: Sequence[int]) -> list[TrainedNetwork]:
        """The same for several seeds, which are trained at once."""
        missing = [seed for seed in seeds if (name, seed) not in self._networks]
        if missing:
            config = load_config(name, beside=self.configs)
            if self.force:
                self._forget(config, missing)
            with self.timed("training"):
                trained = train_experiment(
                    config,
                    missing,
                    folder=self.folder / "networks",
                    overrides=self._overrides(config),
                    progress=lambda of, at, epochs: self.report(f"training {of.title}", at, epochs),
                )
            self._networks |= {(name, network.seed): network for network in trained}
        return [self._networks[name, seed] for seed in seeds]

    def _overrides(self, config: ExperimentConfig) -> dict[str, Any] | None:
        if config.dataset["name"] != "mnist" or self.directory is None:
            return None
        return {"directory": str(self.directory)}

    def _forget(self, config: ExperimentConfig, seeds: Sequence[int]) -> None:
        """Remove what was trained before, also what training starts from, but only once."""
        for earlier in lineage(config):
            new = [seed for seed in seeds if (earlier.name, seed) not in self._forgotten]
            forget(earlier, new, self.folder / "networks")
            self._forgotten |= {(earlier.name, seed) for seed in new}

    # ------------------------------------------------------------------------- the analyses

    def problem(self, network: TrainedNetwork, dtype: str = "float64") -> Problem:
        """A network's training loss."""
        return Problem(network.model, network.data.train, network.config.loss, dtype=dtype)

    def analysis(
        self,
        network: TrainedNetwork,
        k: int | None = 10,
        *,
        name: str = "",
        data: Pair | None = None,
        grid: bool = True,
    ) -> Analysis:
        """A network's analysis, in float64, computed where it is not there yet.

        Parameters
        ----------
        network : TrainedNetwork
        k : int or None
            As in :func:`~eigenboundary.analyze`.
        name : str
            Tells this analysis from others of the network with other data or another model.
        data : (Tensor, Tensor), optional
            Other samples than those trained on.
        grid : bool
            Whether the analysis has the plane, where inputs have two features.
        """
        size = "all" if k is None else str(k)
        file = "-".join([network.config.name, str(network.seed), *filter(None, [name]), size])
        path = self.folder / "analyses" / f"{file}.safetensors"
        if file in self._analyses:
            return self._analyses[file]
        samples = network.data.train if data is None else data
        points = self.resolution if grid and samples[0].shape[1:] == (2,) else 0
        with self.timed("analysis"):
            found = self._kept(path, network, samples, points)
            if found is None:
                found = self._analyze(network, k, samples, points)
                found.save(path, overwrite=True)
        self._analyses[file] = found
        return found

    def _kept(
        self, path: Path, network: TrainedNetwork, samples: Pair, points: int
    ) -> Analysis | None:
        """What an earlier run left, if it is of this network and data, by this code."""
        if self.force or not path.exists():
            return None
        try:
            analysis = load(path, network.model)
        except InvalidInputError:  # damaged, or of a network that has since been trained anew
            return None
        drawn = 0 if analysis.grid is None else len(analysis.grid.first)
        fits = (
            np.array_equal(analysis.labels, samples[1].numpy())
            and analysis.provenance.versions.get(_ALGORITHM) == str(version.ANALYSIS_ALGORITHM)
            and analysis.provenance.seed == self.seed
            and drawn == points
        )
        return analysis if fits else None

    def _analyze(
        self, network: TrainedNetwork, k: int | None, samples: Pair, points: int
    ) -> Analysis:
        title = network.config.title
        analysis = analyze(
            network.model,
            samples,
            k=k,
            loss=network.config.loss,
            dtype="float64",
            seed=self.seed,
            grid=points,
            progress=lambda stage, done, total: self.report(f"{stage} of {title}", done, total),
        )
        # An interrupted analysis is no finished one: the next run has to compute it again.
        analysis.provenance.outcome.raise_if_interrupted()
        made_by = analysis.provenance
        versions = made_by.versions | {_ALGORITHM: str(version.ANALYSIS_ALGORITHM)}
        return replace(analysis, provenance=replace(made_by, versions=versions))
