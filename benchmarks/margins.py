"""Margins against the truth: the smallest one, the sections', and the stretches they share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.stats import kendalltau

import eigenboundary as eb
from benchmarks.jobs import DATA, timed
from eigenboundary.experiments.claims.statistics import bootstrap_interval
from eigenboundary.experiments.threads import one_thread

_K = 10
_SHARE = 0.12
_SEEDS = 5
#: All data sets of the plane: name and options.
_PLANE_DATA: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian_blobs": ("gaussian_blobs", {}),
    "circles": ("circles", {}),
    "half_moons": ("half_moons", {}),
    "hierarchical": ("hierarchical", {}),
    "hierarchical, two classes": ("hierarchical", {"classes": 2}),
    "checkerboard": ("checkerboard", {}),
    "checkerboard, noisy": ("checkerboard", {"version": "noisy"}),
}


def _references() -> list[Path]:
    """All reference networks at hand: those of EIGENBOUNDARY_REFERENCES, or the tests' own two."""
    folder = Path(os.environ.get("EIGENBOUNDARY_REFERENCES", DATA))
    return sorted(folder.glob("*.npz"))


def _network(arrays: dict[str, np.ndarray]) -> torch.nn.Module:
    layers: list[torch.nn.Module] = []
    for name in ("fc1", "fc2", "fc3"):
        weight, bias = (torch.tensor(arrays[f"param.{name}.{kind}"]) for kind in ("weight", "bias"))
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data, layer.bias.data = weight, bias
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def smallest_margin() -> dict[str, object]:
    """The smallest margin from 12 % of the samples: eigenvectors and two rivals without a Hessian.

    Excess: how far the nearest of the examined samples is above the true smallest margin, by the
    references' own distances. The rivals name samples only; sections have classes and stretches.
    """
    result: dict[str, object] = {}
    for path in _references():
        with np.load(path) as stored:
            arrays = {key: stored[key] for key in stored.files}
        true, data = arrays["true_margin"], (arrays["x"], arrays["y"])
        analysis = eb.analyze(_network(arrays), data, k=_K, dtype="float64", grid=0)
        budget = int(_SHARE * len(true))
        seconds, found = timed(lambda a=analysis, b=budget: eb.smallest_margin(a, budget=b))
        logits = np.sort(arrays["logits"], axis=1)
        orders = {
            "logit_gap": np.argsort(logits[:, -1] - logits[:, -2]),
            "gradient": np.argsort(-analysis.log_gradient_norms),
        }
        sections = eb.boundary_sections(analysis)
        error = [
            np.abs(np.array(s.side_margins) / true[list(s.training_samples)] - 1).max()
            for s in sections[:3]
        ]
        leading = [s for s in sections if s.share > 0]
        result[path.stem] = {
            "examined": found.n_examined,
            "of": len(true),
            "excess": found.value / true.min() - 1,
            **{
                f"excess_{name}": true[order[:budget]].min() / true.min() - 1
                for name, order in orders.items()
            },
            "seconds": seconds,
            "top_3_sections_error": float(max(error)),
            "sections_with_a_share": [
                f"v_{s.eigenvector + 1}: classes {s.classes}, {s.share:.0%}, margin {s.margin:.3g}"
                for s in leading
            ],
        }
    return result


def sections() -> dict[str, object]:
    """In the plane: do top eigenvectors have stretches of their own, in the order of the margin?

    For networks of the normal regime, by data set: mean overlap of the sections of the top three,
    and Kendall's τ of the margin with the eigenvector's index over the top ten; means over seeds
    with bootstrap intervals.
    """
    jobs = Parallel(n_jobs=min(2, os.cpu_count() or 1))
    todo = [(*_PLANE_DATA[name], seed) for name in _PLANE_DATA for seed in range(_SEEDS)]
    found = iter(jobs(delayed(_plane_sections)(*each) for each in todo))
    result: dict[str, object] = {}
    for name in _PLANE_DATA:
        overlaps, orders, accuracies = zip(*(next(found) for _ in range(_SEEDS)), strict=True)
        result[name] = {
            "accuracy": float(np.mean(accuracies)),
            "overlap": float(np.mean(overlaps)),
            "overlap_interval": bootstrap_interval(overlaps, seed=0),
            "order_tau": float(np.mean(orders)),
            "order_interval": bootstrap_interval(orders, seed=0),
            "seeds": _SEEDS,
        }
    return result


def _plane_sections(name: str, options: dict[str, Any], seed: int) -> tuple[float, float, float]:
    """Overlap of the top three sections, τ of margin and index, and the network's accuracy."""
    x, y = eb.datasets.load(name, seed=seed, **options).train
    with one_thread():
        model = eb.networks.build(
            "fnn", seed=seed, inputs=2, classes=int(y.max()) + 1, hidden=(100, 100)
        )
        trained = eb.training.train(
            model, (x, y), epochs=3000, learning_rate=0.1, target_loss=1e-2, seed=seed
        )
        found = eb.boundary_sections(model, (x, y), k=_K, dtype="float64", seed=seed)
    overlap = found.overlap[:3, :3][np.triu_indices(3, 1)].mean()
    margins = [section.margin for section in found]
    order = kendalltau(np.arange(_K), margins, nan_policy="omit").statistic
    return float(overlap), float(order), trained.accuracy
