"""The demo: three small networks, trained on the spot and analysed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from eigenboundary.analysis.loading import load
from eigenboundary.analysis.pipeline import analyze
from eigenboundary.analysis.result import Analysis
from eigenboundary.experiments import datasets, networks
from eigenboundary.experiments.archive import made_folder
from eigenboundary.experiments.threads import one_thread
from eigenboundary.experiments.training import train
from eigenboundary.runtime.arguments import check_seed
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.version import __version__

_log = logging.getLogger(__name__)

_EIGENPAIRS = 20
# Begins the note by which the demo knows its own results again.
_NOTE = "Trained for"
_CONTROLS = ("lowest", "random_directions")


@dataclass(frozen=True)
class DemoRun:
    """One network on one data set.

    Attributes
    ----------
    name : str
        Also the name of the file the analysis is saved to.
    title : str
    dataset, network : str
    network_options, training_options : dict
    """

    name: str
    title: str
    dataset: str
    network: str
    network_options: dict[str, Any] = field(default_factory=dict)
    training_options: dict[str, Any] = field(default_factory=dict)


RUNS: tuple[DemoRun, ...] = (
    DemoRun(
        "iris",
        "Iris (4-30-30-3)",
        "iris",
        "fnn",
        {"inputs": 4, "classes": 3, "hidden": (30, 30)},
        {"epochs": 3000, "learning_rate": 0.1, "target_loss": 1e-2},
    ),
    DemoRun(
        "digits",
        "Digits 0, 1, 7 (CNN)",
        "digits",
        "digits_cnn",
        {"classes": 3},
        {"epochs": 500, "learning_rate": 3e-3, "optimizer": "adam", "target_loss": 2e-3},
    ),
    DemoRun(
        "blobs",
        "Gaussians (2-100-100-3)",
        "gaussian_blobs",
        "fnn",
        {"inputs": 2, "classes": 3, "hidden": (100, 100)},
        {"epochs": 3000, "learning_rate": 0.02, "target_loss": 5e-4},
    ),
)

#: Called with (run, stage, done, total).
DemoProgress = Callable[[DemoRun, str, int, int], None]


def run_demo(
    folder: str | Path,
    *,
    seed: int = 0,
    force: bool = False,
    progress: DemoProgress | None = None,
) -> dict[str, Analysis]:
    """Train and analyse the networks of :data:`RUNS`, keeping each result as soon as it is there.

    Parameters
    ----------
    folder : path
        Each analysis is saved as ``<name>.safetensors`` in it; it is made where missing.
    seed : int
        Of the data, the networks and their training.
    force : bool
        Compute anew what an earlier run with this seed and version left in the folder.
    progress : callable, optional
        Called as ``progress(run, stage, done, total)``; the stage is "saved" where an earlier
        result is taken.

    Returns
    -------
    dict of Analysis
        By the title of the run.

    Raises
    ------
    InvalidInputError
        If the folder cannot be written to, or holds something else under these names: another
        analysis, or the demo of another seed or version.
    KeyboardInterrupt
        On Ctrl-C; what was finished is in the folder.
    """
    check_seed(seed)
    earlier = {run.name: saved_run(run, folder, seed, force) for run in RUNS}
    target = made_folder(folder)
    results = {}
    with one_thread():
        for run in RUNS:
            analysis = earlier[run.name]
            if analysis is not None and progress is not None:
                progress(run, "saved", 1, 1)
            if analysis is None:
                analysis = _train_and_analyze(run, seed, progress)
                analysis.save(_file(run, target), overwrite=True)
                if progress is not None:
                    progress(run, "done", 1, 1)
            results[run.title] = analysis
    return results


def saved_run(run: DemoRun, folder: str | Path, seed: int, force: bool) -> Analysis | None:
    """The analysis an earlier demo left in the folder, if it is of this seed and version."""
    path = _file(run, Path(folder))
    if force or not path.exists():
        return None
    try:
        analysis = load(path)
    except InvalidInputError:
        raise InvalidInputError(
            "folder",
            f"hold none but the demo's own {path.name}",
            because=f"{str(path)!r} is no analysis",
        ) from None
    if not any(note.startswith(_NOTE) for note in analysis.notes):
        raise InvalidInputError(
            "folder",
            f"hold none but the demo's own {path.name} unless overwriting is forced",
            because=f"{str(path)!r} is another analysis",
        )
    made_by = analysis.provenance
    if (made_by.seed, made_by.versions.get("eigenboundary")) != (seed, __version__):
        raise InvalidInputError(
            "folder",
            f"be empty or hold the demo of seed {seed} unless overwriting is forced",
            because=f"{str(path)!r} is of seed {made_by.seed}, version "
            f"{made_by.versions.get('eigenboundary')}",
        )
    return analysis


def _file(run: DemoRun, folder: Path) -> Path:
    return folder / f"{run.name}.safetensors"


def _train_and_analyze(run: DemoRun, seed: int, progress: DemoProgress | None) -> Analysis:
    def report(stage: str, done: int, total: int) -> None:
        if progress is not None:
            progress(run, stage, done, total)

    split = datasets.load(run.dataset, seed)
    model: nn.Module = networks.build(run.network, seed=seed, **run.network_options)
    trained = train(
        model,
        split.train,
        **run.training_options,
        target_accuracy=1.0,
        seed=seed,
        progress=lambda epoch, epochs: report("training", epoch, epochs),
    )
    analysis = analyze(
        model,
        split.train,
        k=_EIGENPAIRS,
        dtype="float64",
        seed=seed,
        controls=_CONTROLS,
        margins=True,
        test_data=split.test,
        progress=report,
    )
    # An interrupted analysis is no finished one: the next run has to compute it again.
    analysis.provenance.outcome.raise_if_interrupted()
    note = (
        f"{_NOTE} {trained.epochs} epochs in {trained.seconds:.1f} s; test accuracy on "
        f"{len(split.test[1])} samples."
    )
    return replace(analysis, notes=(*analysis.notes, note))
