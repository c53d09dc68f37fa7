"""Refined margins of images against minimal-norm attacks of another library (the extra `bench`).

FMN (Pintor et al. 2021, arXiv:2102.12827) and DDN (Rony et al. 2019, arXiv:1811.09600), both with
1,000 steps, the longest their papers use; foolbox's defaults are 100. Both keep to the range of the
pixels, and so does ours.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

import eigenboundary as eb
from benchmarks.jobs import timed
from eigenboundary.experiments import train_experiment

_SAMPLES = 200
_STEPS = 1000
# Distances of the same float32 point differ by this much with the order of summation.
_ROUNDING = 1e-4
_NETWORKS = {"mnist-normal": "mnist", "cifar10-lenet5": "cifar10"}


def attacks() -> dict[str, object]:
    """L2 margins of 200 samples: ours, and two attacks'; the share where ours is no larger."""
    return {name: _compared(name, _folder(data)) for name, data in _NETWORKS.items()}


def lacking() -> str:
    """What this machine lacks to run it; empty if nothing."""
    if importlib.util.find_spec("foolbox") is None:
        return "foolbox must be installed: pip install -e .[bench]."
    if "EIGENBOUNDARY_DATA" not in os.environ:
        return "EIGENBOUNDARY_DATA must name the folder with mnist/ and cifar10/; it is not set."
    return ""


def _folder(data: str) -> Path:
    return Path(os.environ["EIGENBOUNDARY_DATA"]) / data


def _compared(name: str, directory: Path) -> dict[str, object]:
    (network,) = train_experiment(name, [0], overrides={"directory": str(directory)})
    x, y = (tensor[:_SAMPLES] for tensor in network.data.train)
    model = network.model.eval()
    box = (float(network.data.train[0].min()), float(network.data.train[0].max()))
    predicted = model(x).argmax(1)
    problem = eb.Problem(model, network.data.train)
    seconds, ours = timed(lambda: eb.boundary_distance(problem, x, box=box))
    columns = {"ours": np.where(ours.converged, ours.value, np.nan)}
    times = {"ours": seconds}
    for label, attack in _rivals().items():
        times[label], columns[label] = timed(
            lambda a=attack: _attacked(model, x, predicted, a, box)
        )
    best = np.fmin(columns["FMN"], columns["DDN"])
    result: dict[str, Any] = {"samples": len(x), "accuracy": float((predicted == y).float().mean())}
    for label, values in columns.items():
        result[f"median_{label}"] = float(np.nanmedian(values))
        result[f"found_{label}"] = float(np.isfinite(values).mean())
        result[f"seconds_{label}"] = times[label]
    result["ours_no_larger"] = float((columns["ours"] <= best * (1 + _ROUNDING)).mean())
    ratio = columns["ours"] / best
    result["ours_over_best_median"] = float(np.nanmedian(ratio))
    result["ours_over_best_95"] = float(np.nanquantile(ratio, 0.95))
    return result


def _rivals() -> dict[str, Any]:
    from foolbox import attacks as library

    return {
        "FMN": library.L2FMNAttack(steps=_STEPS),
        "DDN": library.DDNAttack(steps=_STEPS),
    }


def _attacked(
    model: torch.nn.Module, x: torch.Tensor, predicted: torch.Tensor, attack: Any, box: Any
) -> np.ndarray:
    """Distances of the points an attack found, where the network does predict otherwise there."""
    import foolbox

    wrapped = foolbox.PyTorchModel(model, bounds=box, device="cpu")
    _, points, _ = attack(wrapped, x, foolbox.criteria.Misclassification(predicted), epsilons=None)
    distance = (points - x).flatten(1).double().norm(dim=1)
    there = model(points).argmax(1) != predicted
    return torch.where(there, distance, torch.inf).detach().numpy()
