"""ResNet-18 (11.2 million parameters): the whole analysis, margins included."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model

import eigenboundary as eb
from benchmarks.fresh import json_of_fresh_process, peak_bytes
from benchmarks.rivals import plain_product

_IMAGES, _K, _TOLERANCE = 500, 5, 1e-3
_MEMORY, _MINUTES = 12 * 10**9, 20
_FEW = 16


def resnet18() -> dict[str, object]:
    """Top 5 of 500 images of CIFAR-10; on a GPU, where there is one, 5,000 images."""
    on_gpu = torch.cuda.is_available()
    images = 10 * _IMAGES if on_gpu else _IMAGES
    model = eb.networks.build("resnet18", seed=0)
    eb.training.train(model, _samples(images), epochs=5, learning_rate=0.02, batch_size=50)
    with tempfile.TemporaryDirectory() as name:
        weights = Path(name) / "resnet18.safetensors"
        save_model(model, str(weights))
        row = json_of_fresh_process("benchmarks.resnet18", str(weights), str(images))
    limit = 120 if on_gpu else 60 * _MINUTES
    row["limit_s"] = limit
    peak_ok = on_gpu or row["peak_mb"] <= _MEMORY / 1e6
    row["reference_ok"] = bool(
        row["ours_s"] <= limit
        and peak_ok
        and row["all_converged"]
        and row["worst_residual"] <= _TOLERANCE
        and row["product_error"] <= 1e-3
        and row["margins"]
    )
    return row


def _samples(images: int) -> tuple[torch.Tensor, torch.Tensor]:
    directory = Path(os.environ["EIGENBOUNDARY_DATA"]) / "cifar10"
    x, y = eb.datasets.load("cifar10", directory=directory).train
    return x[:images], y[:images]


def _analysis(weights: Path, images: int) -> dict[str, object]:
    """In a process of its own: its peak memory is that of nothing else."""
    x, y = _samples(images)
    model = eb.networks.build("resnet18")
    load_model(model, weights)
    model.eval()
    on_gpu = torch.cuda.is_available()
    began = time.perf_counter()
    analysis = eb.analyze(
        model,
        (x, y),
        k=_K,
        tolerance=_TOLERANCE,
        margins=True,
        memory_limit=None if on_gpu else _MEMORY,
        device="cuda" if on_gpu else None,
    )
    seconds = time.perf_counter() - began
    peak = peak_bytes()
    sections, smallest = analysis.sections, analysis.smallest_margin
    return {
        "ours_s": seconds,
        "peak_mb": peak / 1e6,
        "memory_limit_mb": _MEMORY / 1e6,
        "parameters": analysis.n_parameters,
        "images": images,
        "accuracy": analysis.accuracy,
        "device": analysis.provenance.device,
        **{f"{name}_s": spent for name, spent in analysis.provenance.seconds.items()},
        "products": analysis.provenance.products,
        "how": analysis.provenance.computed,
        "eigenvalues": [round(float(value), 4) for value in analysis.eigenvalues],
        "all_converged": bool(analysis.converged.all()),
        "worst_residual": float(analysis.residuals.max()),
        "product_error": _product_error(model, x, y),
        "largest_mean_alignment": float(abs(analysis.training_alignment).mean(0).max()),
        "margins": [] if sections is None else [float(s.margin) for s in sections],
        "smallest_margin": None if smallest is None else smallest.value,
        "notes": list(analysis.notes),
        "threads": torch.get_num_threads(),
    }


def _product_error(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Relative difference of a product over a few images from that of plain torch."""
    operator = eb.HessianOperator(eb.Problem(model, (x[:_FEW], y[:_FEW])))
    vector = torch.randn(operator.size, generator=torch.Generator().manual_seed(0))
    expected = plain_product(model, (x[:_FEW], y[:_FEW]))(vector)
    return float((operator @ vector - expected).norm() / expected.norm())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    print(json.dumps(_analysis(Path(sys.argv[1]), int(sys.argv[2]))))
