"""Refined margins of images against minimal-norm attacks of another library (the extra `bench`).

FMN (Pintor et al. 2021, arXiv:2102.12827) and DDN (Rony et al. 2019, arXiv:1811.09600), both with
1,000 steps, the longest their papers use; foolbox's defaults are 100. Their step lengths are meant
for pixels from 0 to 1, so they see images and networks scaled to that, and no gradients of weights
are computed for them. All keep to the range of the pixels, and so does ours.
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
    problem = eb.Problem(model, network.data.train)
    model.requires_grad_(False)
    predicted = model(x).argmax(1)
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
    for label, theirs in (("best", best), ("FMN", columns["FMN"]), ("DDN", columns["DDN"])):
        no_larger = columns["ours"] <= theirs * (1 + _ROUNDING)
        result[f"no_larger_than_{label}"] = float(no_larger.mean())
    ratio = columns["ours"] / best
    result["within_a_percent_of_best"] = float((ratio <= 1.01).mean())
    result["median_best"] = float(np.median(best))
    result["ours_over_best_median"] = float(np.nanmedian(ratio))
    result["ours_over_best_95"] = float(np.nanquantile(ratio, 0.95))
    return result


def _rivals() -> dict[str, Any]:
    from foolbox import attacks as library

    class FMN(library.L2FMNAttack):
        """With the projection of its paper: foolbox 3.3.4 divides the radius by itself."""

        def project(self, x: Any, x0: Any, epsilon: Any) -> Any:
            length = (x - x0).flatten(1).norms.l2(axis=-1).maximum(1e-12)
            share = (epsilon / length).minimum(1)
            return x0 + (x - x0) * share.reshape((-1,) + (1,) * (x.ndim - 1))

    return {"FMN": FMN(steps=_STEPS), "DDN": library.DDNAttack(steps=_STEPS)}


class _Unit(torch.nn.Module):
    """A network as one of inputs from 0 to 1."""

    def __init__(self, model: torch.nn.Module, box: tuple[float, float]) -> None:
        super().__init__()
        self.model, self.low, self.width = model, box[0], box[1] - box[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(self.low + self.width * x)


def _attacked(
    model: torch.nn.Module,
    x: torch.Tensor,
    predicted: torch.Tensor,
    attack: Any,
    box: tuple[float, float],
) -> np.ndarray:
    """Distances of the points an attack found, where the network does predict otherwise there."""
    import foolbox

    unit = _Unit(model, box).eval()
    wrapped = foolbox.PyTorchModel(unit, bounds=(0, 1), device="cpu")
    scaled = ((x - box[0]) / (box[1] - box[0])).clamp(0, 1)
    criterion = foolbox.criteria.Misclassification(predicted)
    _, found, _ = attack(wrapped, scaled, criterion, epsilons=None)
    points = box[0] + (box[1] - box[0]) * found
    distance = (points - x).flatten(1).double().norm(dim=1)
    there = model(points).argmax(1) != predicted
    return torch.where(there, distance, torch.inf).detach().numpy()
