"""Refined margins of images against two minimal-norm attacks; all keep to the pixels' range."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

import eigenboundary as eb
from benchmarks import minimal_norm
from benchmarks.jobs import timed
from eigenboundary.experiments import train_experiment

_SAMPLES = 200
# Distances of the same float32 point differ by this much with the order of summation.
_ROUNDING = 1e-4
_NETWORKS = {"mnist-normal": "mnist", "cifar10-lenet5": "cifar10"}


def attacks() -> dict[str, object]:
    """L2 margins of 200 samples: ours, and two attacks'; the share where ours is no larger."""
    return {name: _compared(name, _folder(data)) for name, data in _NETWORKS.items()}


def lacking() -> str:
    """What this machine lacks to run it; empty if nothing."""
    if "EIGENBOUNDARY_DATA" not in os.environ:
        return "EIGENBOUNDARY_DATA must name the folder with mnist/ and cifar10/; it is not set."
    return minimal_norm.lacking()


def _folder(data: str) -> Path:
    return Path(os.environ["EIGENBOUNDARY_DATA"]) / data


def _compared(name: str, directory: Path) -> dict[str, object]:
    (network,) = train_experiment(name, [0], overrides={"directory": str(directory)})
    x, y = (tensor[:_SAMPLES] for tensor in network.data.train)
    model = network.model.eval()
    box = (float(network.data.train[0].min()), float(network.data.train[0].max()))
    problem = eb.Problem(model, network.data.train)
    seconds, ours = timed(lambda: eb.boundary_distance(problem, x, box=box))
    columns = {"ours": np.where(ours.converged, ours.value, np.nan)}
    times = {"ours": seconds}
    units = minimal_norm.InUnits(model, box, x.dtype)
    for label, attack in minimal_norm.minimal_norm_attacks().items():
        times[label], columns[label] = timed(lambda a=attack: minimal_norm.attacked(units, x, a))
    best = np.fmin(columns["FMN"], columns["DDN"])
    result: dict[str, Any] = {
        "samples": len(x),
        "accuracy": float((model(x).argmax(1) == y).float().mean()),
    }
    for label, values in columns.items():
        result[f"median_{label}"] = float(np.nanmedian(values))
        result[f"found_{label}"] = float(np.isfinite(values).mean())
        result[f"seconds_{label}"] = times[label]
    for label, theirs in (("best", best), ("FMN", columns["FMN"]), ("DDN", columns["DDN"])):
        no_larger = columns["ours"] <= theirs * (1 + _ROUNDING)
        result[f"no_larger_than_{label}"] = float(no_larger.mean())
    ratio = columns["ours"] / best
    result["within_a_percent_of_best"] = float((ratio <= 1.01).mean())
    result["median_best"] = float(np.median(best))
    result["ours_over_best_median"] = float(np.nanmedian(ratio))
    result["ours_over_best_95"] = float(np.nanquantile(ratio, 0.95))
    return result
