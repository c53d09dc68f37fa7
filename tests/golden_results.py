"""Small results of every algorithm whose results are kept on disk.

``python -m tests.golden_results`` writes them anew, with the versions of today's algorithms.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import eigenboundary as eb
from eigenboundary.experiments import TrainedNetwork, train_experiment
from eigenboundary.experiments.claims.measures import MEASURES, Subject
from eigenboundary.runtime import version

FILE = Path(__file__).parent / "data" / "golden_results.json"

_BLOBS = """
title = "Small"
[dataset]
name = "gaussian_blobs"
[network]
name = "fnn"
hidden = [6]
[training]
epochs = 20
learning_rate = 0.05
"""
_CHECKERBOARD = _BLOBS.replace('"gaussian_blobs"', '"checkerboard"\nversion = "{}"')
_START = "[start]\nregime = '{}'\n"
_CONFIGS = {
    "normal": _BLOBS,
    "adam": _BLOBS + "optimizer = 'adam'\nschedule = 'cosine'\nweight_decay = 0.01\n",
    "stopped": _BLOBS + "target_accuracy = 0.7\nmomentum = 0.9\n",
    "low_loss": _BLOBS + "target_loss = 0.6\nmomentum = 0.9\n",
    "mse": _BLOBS + "loss = 'mse'\nschedule = 'multistep'\nmilestones = [10]\n",
    "robust": _BLOBS + "attack_radius = 0.6\nattack_steps = 3\n",
    "random": _BLOBS + _START.format("random_labels"),
    "adversarial": _BLOBS + _START.format("adversarial") + "from = 'random'\n",
    "large": _BLOBS + _START.format("large_norm") + "from = 'random'\n",
    "noisy": _CHECKERBOARD.format("noisy"),
    "wide": _CHECKERBOARD.format("separable") + _START.format("wide_margin") + "from = 'noisy'\n",
}


def trained_networks() -> dict[str, TrainedNetwork]:
    """One network a regime, and more for the other settings that decide the weights."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in _CONFIGS.items():
            (Path(folder) / f"{name}.toml").write_text(text)
        return {n: train_experiment(Path(folder) / f"{n}.toml")[0] for n in _CONFIGS}


def trained_numbers(network: TrainedNetwork) -> list[float]:
    """Loss, accuracy, epochs and two numbers that all weights have a part in."""
    theta = torch.cat([p.detach().double().flatten() for p in network.model.parameters()])
    probe = torch.randn(len(theta), generator=torch.Generator().manual_seed(0)).double()
    result = network.result
    return [result.loss, result.accuracy, result.epochs, float(theta.norm()), float(theta @ probe)]


def analysed_numbers(network: TrainedNetwork) -> dict[str, Any]:
    """The summary of an analysis with everything in it, less what names this machine."""
    analysis = eb.analyze(
        network.model,
        network.data.train,
        k=5,
        dtype="float64",
        margins=True,
        bulk=True,
        grid=10,
        controls=("lowest", "random_directions"),
    )
    summary = analysis.summary()
    return {key: summary[key] for key in summary if key not in ("provenance", "notes")} | {
        "controls": {name: np.abs(a).mean(0).tolist() for name, a in analysis.controls.items()}
    }


def results() -> dict[str, Any]:
    """Every golden result, by algorithm."""
    networks = trained_networks()
    subject = Subject(networks["normal"])
    return {
        "TRAINING_ALGORITHM": {name: trained_numbers(n) for name, n in networks.items()},
        "ANALYSIS_ALGORITHM": analysed_numbers(networks["normal"]),
        "MEASURES_ALGORITHM": {
            name: {key: float(value) for key, value in measure(subject).items()}
            for name, (measure, _) in MEASURES.items()
        },
    }


if __name__ == "__main__":
    stored = {
        name: {"version": getattr(version, name), "results": found}
        for name, found in results().items()
    }
    FILE.write_text(json.dumps(stored, indent=1) + "\n")
