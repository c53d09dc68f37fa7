"""ResNet-18 (11.2 million parameters): the whole analysis, margins included."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import torch

import eigenboundary as eb
from benchmarks.rivals import plain_product

_IMAGES, _K, _TOLERANCE = 500, 5, 1e-3
_MEMORY, _MINUTES = 12 * 10**9, 20
_AT_ONCE = 50


def resnet18() -> dict[str, object]:
    """Top 5 of 500 images of CIFAR-10; on a GPU, where there is one, 5,000 images."""
    on_gpu = torch.cuda.is_available()
    images = 10 * _IMAGES if on_gpu else _IMAGES
    directory = Path(os.environ["EIGENBOUNDARY_DATA"]) / "cifar10"
    x, y = (t[:images] for t in eb.datasets.load("cifar10", directory=directory).train)
    model = eb.networks.build("resnet18", seed=0)
    eb.training.train(model, (x, y), epochs=5, learning_rate=0.02, batch_size=50)
    model.eval()
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
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    residual = _residual(model, x, y, analysis)
    sections = analysis.sections
    smallest = analysis.smallest_margin
    limit = 120 if on_gpu else 60 * _MINUTES
    return {
        "ours_s": seconds,
        "limit_s": limit,
        "peak_mb": int(peak[1]) * 1024 / 1e6 if peak else None,
        "memory_limit_mb": _MEMORY / 1e6,
        "parameters": analysis.n_parameters,
        "images": images,
        "accuracy": analysis.accuracy,
        "device": analysis.provenance.device,
        **{f"{name}_s": spent for name, spent in analysis.provenance.seconds.items()},
        "products": analysis.provenance.products,
        "how": analysis.provenance.computed,
        "eigenvalues": [round(float(value), 4) for value in analysis.eigenvalues],
        "worst_residual": float(analysis.residuals.max()),
        "residual_by_plain_torch": residual,
        "largest_mean_alignment": float(abs(analysis.training_alignment).mean(0).max()),
        "margins": None if sections is None else [float(s.margin) for s in sections],
        "smallest_margin": None if smallest is None else smallest.value,
        "notes": list(analysis.notes),
        "reference_ok": bool(
            seconds <= limit
            and analysis.converged.all()
            and residual <= 2 * _TOLERANCE
            and sections is not None
        ),
        "threads": torch.get_num_threads(),
    }


def _residual(
    model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, analysis: eb.Analysis
) -> float:
    """Of the largest pair, by products of plain torch, a few images at a time."""
    vector = torch.tensor(analysis.eigenvectors[:, 0])
    image = torch.zeros_like(vector)
    for rows in torch.arange(len(x)).split(_AT_ONCE):
        image += len(rows) / len(x) * plain_product(model, (x[rows], y[rows]))(vector)
    return float((image - float(analysis.eigenvalues[0]) * vector).norm() / analysis.eigenvalues[0])
