"""The class-pair table of real networks against a count by definition, sharing no code with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import eigenboundary as eb
from eigenboundary.experiments import train_experiment

_SAMPLES = 500
_POINTS = 500
_NETWORKS = {"mnist-normal": ("mnist", 10), "cifar10-lenet5": ("cifar10", 20)}


def class_pairs() -> dict[str, object]:
    """MNIST 0, 1, 7 and CIFAR-10, top 10 and 20 eigenvectors: the largest difference of a cell.

    In points, of which there are ``points``: zero where the tables are the same. ``two_sided``:
    points at which another eigenvector leads on the one side of the boundary than on the other.
    """
    return {name: _compared(name, *wanted) for name, wanted in _NETWORKS.items()}


def lacking() -> str:
    """What this machine lacks to run it; empty if nothing."""
    if "EIGENBOUNDARY_DATA" not in os.environ:
        return "EIGENBOUNDARY_DATA must name the folder with mnist/ and cifar10/; it is not set."
    return ""


def _compared(name: str, data: str, k: int) -> dict[str, object]:
    directory = Path(os.environ["EIGENBOUNDARY_DATA"]) / data
    (network,) = train_experiment(
        name,
        [0],
        folder=os.environ.get("EIGENBOUNDARY_NETWORKS"),
        overrides={"directory": str(directory)},
    )
    x, y = network.data.train
    step = max(1, len(x) // _SAMPLES)
    samples = x[::step][:_SAMPLES].double(), y[::step][:_SAMPLES]
    model = network.model.eval().double()
    analysis = eb.analyze(model, samples, k=k)
    sections = eb.boundary_sections(analysis, n_points=_POINTS)
    points = sections.points.points
    direct, two_sided = counted(model, points, np.array(analysis.eigenvectors))
    table = np.zeros_like(direct)
    for pair, row in sections.class_pairs.iterrows():
        table[tuple(int(c) for c in str(pair).split(" | "))] = row.to_numpy() * len(points)
    return {
        "points": len(points),
        "pairs": len(sections.class_pairs),
        "largest_difference": float(np.abs(table - direct).max()),
        "two_sided": two_sided,
        "unexplained": float(direct[..., -1].sum() / len(points)),
        "unexplained_in_table": sections.unexplained,
        "v_1_leads": float(direct[..., 0].sum() / len(points)),
    }


def counted(model: Any, points: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, int]:
    """Points by their two leading classes and the eigenvector that leads, (C, C, k + 1).

    The last column counts those at which all together have less than half of the squared
    alignment, the mean over both classes. Gradients are taken point by point.
    """
    parameters = list(model.parameters())
    unit = torch.as_tensor(vectors / np.linalg.norm(vectors, axis=0))
    found, two_sided = None, 0
    for x in torch.as_tensor(points):
        outputs = model(x.unsqueeze(0))
        sides = {}
        for label in outputs[0].topk(2).indices:
            loss = cross_entropy(outputs, label.unsqueeze(0))
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
            g = torch.cat([gradient.flatten() for gradient in gradients])
            sides[int(label)] = ((g / g.norm()) @ unit).square()
        if found is None:
            found = np.zeros((outputs.shape[1], outputs.shape[1], unit.shape[1] + 1))
        a, b = sorted(sides)
        found[a, b, _leader((sides[a] + sides[b]) / 2)] += 1
        two_sided += _leader(sides[a]) != _leader(sides[b])
    assert found is not None
    return found, two_sided


def _leader(squared: torch.Tensor) -> int:
    return int(squared.argmax()) if squared.sum() >= 0.5 else -1
