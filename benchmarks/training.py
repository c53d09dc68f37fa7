"""Training: many networks at once, labels that say nothing, and what ten seeds lead to."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

import eigenboundary as eb
from benchmarks.jobs import gauss_normal, timed
from eigenboundary.experiments import load_config, train_experiment
from eigenboundary.experiments.training import train, train_many

_SEEDS = 10


def _blobs(seeds: int) -> tuple[list[torch.nn.Module], list[tuple[torch.Tensor, torch.Tensor]]]:
    models = [
        eb.networks.build("fnn", seed=s, inputs=2, classes=3, hidden=(100, 100))
        for s in range(seeds)
    ]
    return models, [eb.datasets.load("gaussian_blobs", seed=s).train for s in range(seeds)]


def _plain_loop(model: torch.nn.Module, data: Any, epochs: int, learning_rate: float) -> None:
    """As a tutorial writes it, with a data loader."""
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*data), batch_size=64, shuffle=True
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()


def training() -> dict[str, object]:
    """Twenty networks of `blobs-normal` at once, against four one by one."""
    plan = dict(load_config("blobs-normal").training)
    models, data = _blobs(20)
    at_once, _ = timed(lambda: train_many(models, data, seeds=range(20), **plan))
    alone, _ = _blobs(4)
    one_by_one = 0.0
    for seed, model in enumerate(alone):
        one_by_one += timed(lambda m=model, s=seed: train(m, data[s], seed=s, **plan))[0]
    loop = _blobs(1)[0][0]
    plain, _ = timed(lambda: _plain_loop(loop, data[0], plan["epochs"] // 10, 0.02))
    # A step's rounding grows over the epochs; over a tenth of them it cannot hide a mistake.
    short = plan | {"epochs": plan["epochs"] // 10}
    twenty, few = _blobs(20)[0], _blobs(4)[0]
    train_many(twenty, data, seeds=range(20), **short)
    for seed, model in enumerate(few):
        train(model, data[seed], seed=seed, **short)
    difference = max(
        float((p - q).detach().abs().max())
        for one, other in zip(few, twenty, strict=False)
        for p, q in zip(one.parameters(), other.parameters(), strict=True)
    )
    return {
        "ours_s": at_once,
        "four_one_by_one_s": one_by_one,
        "ratio": one_by_one / at_once,
        "loader_loop_one_s": 10 * plain,
        "largest_difference_in_weights": difference,
        "reference_ok": difference < 1e-4,
    }


def random_labels() -> dict[str, object]:
    """Labels in random order, learnt to the last one."""
    began = time.perf_counter()
    (trained,) = train_experiment("blobs-random-labels")
    seconds = time.perf_counter() - began
    return {
        "ours_s": seconds,
        "limit_s": 60.0,
        "epochs": trained.result.epochs,
        "reference_ok": trained.result.accuracy == 1.0,
    }


def seeds() -> dict[str, object]:
    """Ten networks of `blobs-normal`: median and range of what the reference network has.

    Each on data of its own, then all on the reference network's data: the loss at the end, and
    with it the curvature, depends most on how close the nearest samples of two classes lie.
    """
    model, data, _ = gauss_normal()
    reference = _numbers(model, data)
    own = [(n.model, n.data.train) for n in train_experiment("blobs-normal", range(_SEEDS))]
    same = (torch.tensor(data[0]), torch.tensor(data[1]))
    models = _blobs(_SEEDS)[0]
    plan = dict(load_config("blobs-normal").training)
    train_many(models, [same] * _SEEDS, seeds=range(_SEEDS), **plan)
    result: dict[str, object] = {}
    for where, networks in (("own data", own), ("its data", [(m, same) for m in models])):
        rows = [_numbers(*network) for network in networks]
        for name, value in reference.items():
            found = np.array([row[name] for row in rows])
            inside = bool(found.min() <= value <= found.max())
            result[f"{name}, {where}"] = (
                f"median {np.median(found):.4g}, range [{found.min():.4g}, {found.max():.4g}]; "
                f"the reference network {value:.4g} {'inside' if inside else 'OUTSIDE'}"
            )
    return result


def _numbers(model: torch.nn.Module, data: Any) -> dict[str, float]:
    analysis = eb.analyze(model, data, k=None, dtype="float64", grid=0)
    return {
        "λ_1": float(analysis.eigenvalues[0]),
        "outliers": float(analysis.outliers),
        "N_eff": analysis.complexity.effective_number,
        "G_θ(1e-3)": analysis.complexity.generalization(1e-3).value,
        "loss": analysis.loss_value,
    }
