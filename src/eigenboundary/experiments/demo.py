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

    The analyses lie in the folder as ``<name>.safetensors`` and are returned by their titles. What
    an earlier run with this seed left is used again unless ``overwrite`` is set; its stage is then
    "saved". Something else under these names is an error.
    """
    check_seed(seed)
    archive = Archive(folder, overwrite=overwrite)
    algorithms = f"training {TRAINING_ALGORITHM}, analysis {ANALYSIS_ALGORITHM}"
    splits, files = {}, {}
    for run in RUNS:
        splits[run.name] = datasets.load(run.dataset, seed=seed)
        settings = {**vars(run), "seed": seed, "controls": _CONTROLS}
        key = Key(settings, fingerprint("", splits[run.name].train), algorithms)
        files[run.name] = f"{run.name}.safetensors", key
    kept, results = archive.find(files, strict=True), {}
    with one_thread():
        for run in RUNS:
            report = partial(progress or (lambda *_: None), run)
            if run.name in kept:
                results[run.title] = load(kept[run.name].path)
            else:
                results[run.title] = _train_and_analyze(run, splits[run.name], seed, report)
                archive.write_saved(*files[run.name], results[run.title].save)
            report("saved" if run.name in kept else "done", 1, 1)
    return results


def _train_and_analyze(
    run: DemoRun, split: DataSplit, seed: int, report: Callable[[str, int, int], None]
) -> Analysis:
    model = networks.build(run.network, seed=seed, **run.network_options)
    settings: dict[str, Any] = {**run.training_options, "target_accuracy": 1.0, "seed": seed}
    trained = train(model, split.train, **settings, progress=partial(report, "training"))
    options: dict[str, Any] = {"controls": _CONTROLS, "margins": True}
    options |= {"dtype": "float64", "seed": seed, "test_data": split.test}
    analysis = analyze(model, split.train, **options, progress=report)
    # An interrupted analysis is not finished: the next run has to compute it again.
    analysis.provenance.outcome.raise_if_interrupted()
    duration = f"Trained for {trained.epochs} epochs in {trained.seconds:.1f} s"
    note = f"{duration}; test accuracy on {len(split.test[1])} samples."
    return replace(analysis, notes=(*analysis.notes, note))
