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
_FEW = 16


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
    error = _product_error(model, x, y)
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
        "product_error": error,
        "largest_mean_alignment": float(abs(analysis.training_alignment).mean(0).max()),
        "margins": None if sections is None else [float(s.margin) for s in sections],
        "smallest_margin": None if smallest is None else smallest.value,
        "notes": list(analysis.notes),
        "reference_ok": bool(
            seconds <= limit and analysis.converged.all() and error <= 1e-3 and sections is not None
        ),
        "threads": torch.get_num_threads(),
    }


def _product_error(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Relative difference of a product over a few images from that of plain torch."""
    operator = eb.HessianOperator(eb.Problem(model, (x[:_FEW], y[:_FEW])))
    vector = torch.randn(operator.size, generator=torch.Generator().manual_seed(0))
    expected = plain_product(model, (x[:_FEW], y[:_FEW]))(vector)
    return float((operator @ vector - expected).norm() / expected.norm())
