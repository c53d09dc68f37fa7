"""Train and analyse three small networks on the spot: the demo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from eigenboundary.analysis.loading import load
from eigenboundary.analysis.pipeline import analyze
from eigenboundary.analysis.result import Analysis
from eigenboundary.experiments import datasets, networks
from eigenboundary.experiments.archive import Archive, Key, fingerprint
from eigenboundary.experiments.datasets import DataSplit
from eigenboundary.experiments.threads import one_thread
from eigenboundary.experiments.training import train
from eigenboundary.runtime.arguments import check_seed
from eigenboundary.runtime.version import ANALYSIS_ALGORITHM, TRAINING_ALGORITHM

_EIGENPAIRS = 20
_CONTROLS = ("lowest", "random_directions")


@dataclass(frozen=True)
class DemoRun:
    """One network on one data set; the analysis is saved under the run's name."""

    name: str
    title: str
    dataset: str
    network: str
    network_options: dict[str, Any] = field(default_factory=dict)
    training_options: dict[str, Any] = field(default_factory=dict)


RUNS: tuple[DemoRun, ...] = (
    DemoRun(
        *("iris", "Iris (4-30-30-3)", "iris", "fnn"),
        {"inputs": 4, "classes": 3, "hidden": (30, 30)},
        {"epochs": 3000, "learning_rate": 0.1, "target_loss": 1e-2},
    ),
    DemoRun(
        *("digits", "Digits 0, 1, 7 (CNN)", "digits", "digits_cnn"),
        {"classes": 3},
        {"epochs": 500, "learning_rate": 3e-3, "optimizer": "adam", "target_loss": 2e-3},
    ),
    DemoRun(
        *("blobs", "Gaussians (2-100-100-3)", "gaussian_blobs", "fnn"),
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
    overwrite: bool = False,
    progress: DemoProgress | None = None,
) -> dict[str, Analysis]:
    """Train and analyse the networks of :data:`RUNS`, keeping each result as soon as it is there.

    Parameters
    ----------
    folder : path
        Folder for the analyses, ``<name>.safetensors`` each; made where missing.
    seed : int
        Seed of the data, the networks and their training.
    overwrite : bool
        Compute anew what an earlier run with this seed left in the folder.
    progress : callable, optional
        Called as ``progress(run, stage, done, total)``; the stage is "saved" where an earlier
        result is used again.

    Returns
    -------
    dict of Analysis
        By the title of the run.

    Raises
    ------
    InvalidInputError
        If the folder cannot be written to, or holds something else under these names: another
        analysis, or the demo of another seed.
    KeyboardInterrupt
        On Ctrl-C; finished results are in the folder.
    """
    check_seed(seed)
    archive = Archive(folder, overwrite=overwrite)
    splits = {run.name: datasets.load(run.dataset, seed=seed) for run in RUNS}
    algorithms = f"training {TRAINING_ALGORITHM}, analysis {ANALYSIS_ALGORITHM}"
    files = {}
    for run in RUNS:
        settings = {**vars(run), "seed": seed, "k": _EIGENPAIRS, "controls": _CONTROLS}
        key = Key(settings, fingerprint("", splits[run.name].train), algorithms)
        files[run.name] = f"{run.name}.safetensors", key
    kept, results = archive.find(files, strict=True), {}
    with one_thread():
        for run in RUNS:
            report = partial(progress or (lambda *_: None), run)
            if run.name in kept:
                results[run.title] = load(kept[run.name].path)
                report("saved", 1, 1)
                continue
            results[run.title] = _train_and_analyze(run, splits[run.name], seed, report)
            archive.write_saved(*files[run.name], results[run.title].save)
            report("done", 1, 1)
    return results


def _train_and_analyze(
    run: DemoRun, split: DataSplit, seed: int, report: Callable[[str, int, int], None]
) -> Analysis:
    model = networks.build(run.network, seed=seed, **run.network_options)
    trained = train(
        model,
        split.train,
        **run.training_options,
        target_accuracy=1.0,
        seed=seed,
        progress=partial(report, "training"),
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
    # An interrupted analysis is not finished: the next run has to compute it again.
    analysis.provenance.outcome.raise_if_interrupted()
    note = (
        f"Trained for {trained.epochs} epochs in {trained.seconds:.1f} s; test accuracy on "
        f"{len(split.test[1])} samples."
    )
    return replace(analysis, notes=(*analysis.notes, note))
