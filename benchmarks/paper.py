"""The paper's job the authors' way, written from the definitions, and ours.

The dense Hessian is differentiated row by row, taken apart with ``torch.linalg.eigh``, and each
sample's gradient, by a backward pass of its own, is dotted with all eigenvectors. All of that takes
minutes; by default a stated part of it is measured and scaled, and the output says so.
``EIGENBOUNDARY_FULL=1`` measures all of it.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cosine_similarity, cross_entropy

import eigenboundary as eb
from benchmarks.jobs import gauss_normal
from benchmarks.solvers import REPEATS, measured

_FULL = os.environ.get("EIGENBOUNDARY_FULL") == "1"
#: Parts that are measured: of the rows, of p (for the cubic decomposition), of the samples.
_ROWS, _SIDE, _SAMPLES = (1, 1, 1) if _FULL else (100, 5, 30)
#: Eigenvectors that are dotted one by one.
_DOTS = 1 if _FULL else 20


def _flat(value: torch.Tensor, model: torch.nn.Module, **options: Any) -> torch.Tensor:
    pieces = torch.autograd.grad(value, list(model.parameters()), **options)
    return torch.cat([piece.reshape(-1) for piece in pieces])


def _authors_way(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, object]:
    """Seconds of each step, scaled to the whole."""
    gradient = _flat(cross_entropy(model(x), y), model, create_graph=True)
    p = len(gradient)
    began = time.perf_counter()
    rows = [_flat(gradient[i], model, retain_graph=True) for i in range(0, p, _ROWS)]
    hessian = (time.perf_counter() - began) * p / len(rows)

    side = -(-p // _SIDE)
    matrix = torch.stack(rows) if _FULL else torch.randn(side, side)
    matrix = matrix + matrix.T
    began = time.perf_counter()
    torch.linalg.eigh(matrix)
    decomposition = (time.perf_counter() - began) * (p / side) ** 3

    vectors = torch.randn(p, p)  # as good as eigenvectors for the clock
    at_once = one_by_one = 0.0
    chosen = range(0, len(x), _SAMPLES)
    for s in chosen:
        began = time.perf_counter()
        outputs = model(x[s : s + 1])
        g = _flat(cross_entropy(outputs, outputs.argmax(1)), model)
        backward = time.perf_counter() - began
        began = time.perf_counter()
        (vectors @ g) / (vectors.norm(dim=1) * g.norm())
        at_once += backward + time.perf_counter() - began
        began = time.perf_counter()
        for vector in vectors[::_DOTS]:
            float(cosine_similarity(vector, g, dim=0))
        one_by_one += backward + (time.perf_counter() - began) * _DOTS
    scale = len(x) / len(chosen)
    return {
        "hessian_s": hessian,
        "decomposition_s": decomposition,
        "alignments_s": scale * at_once,
        "alignments_one_by_one_s": scale * one_by_one,
        "authors_way_s": hessian + decomposition + scale * at_once,
        "authors_way_one_by_one_s": hessian + decomposition + scale * one_by_one,
        "measured_part": "all of it"
        if _FULL
        else (
            f"1/{_ROWS} of the Hessian's rows; the decomposition of a matrix of side p/{_SIDE}, "
            f"times {_SIDE}³; 1/{_SAMPLES} of the samples (one by one: 1/{_DOTS} of the vectors)"
        ),
    }


def paper() -> dict[str, object]:
    """Top 25 eigenvectors to a relative residual of 1e-4, the alignment of all samples, and G_θ."""
    model, (x, y), reference = gauss_normal()

    def job(tolerance: float | None = 1e-4) -> eb.Analysis:
        analysis = eb.analyze(model, (x, y), k=25, tolerance=tolerance, grid=0)
        analysis.complexity.generalization(1e-2)
        return analysis

    first, _, _ = measured(job, 1)
    wall, processor, analysis = measured(job, REPEATS)
    by_default, _, _ = measured(lambda: job(None), REPEATS)
    error = np.abs(analysis.eigenvalues / reference["eigenvalues"][:25] - 1).max()
    there = np.abs(analysis.training_alignment[:, :10])
    difference = np.abs(there - np.abs(reference["alignment_top50"][:, :10])).max()
    ok = bool(error < 1e-3 and difference < 1e-3 and analysis.converged.all())
    return _against(
        model,
        (x, y),
        {
            "ours_s": wall,
            "ours_cpu_s": processor,
            "ours_first_s": first,
            "ours_to_1e-6_s": by_default,
            "products": analysis.provenance.products,
            "eigenvalue_error": float(error),
            "alignment_difference": float(difference),
            "reference_ok": ok,
        },
    )


def exact_g() -> dict[str, object]:
    """The exact G_θ at ε = 1e-3 and 1e-2, in float64: all eigenvectors that are not null."""
    model, (x, y), reference = gauss_normal()

    def job() -> eb.Analysis:
        analysis = eb.analyze(model, (x, y), k=None, dtype="float64", grid=0)
        analysis.complexity.generalization(1e-3)
        return analysis

    wall, processor, analysis = measured(job, REPEATS)
    found = {e: analysis.complexity.generalization(e) for e in (1e-3, 1e-2)}
    counts = {e: int((reference["m_mean"] > e).sum()) for e in found}
    return _against(
        model,
        (x, y),
        {
            "ours_s": wall,
            "ours_cpu_s": processor,
            "eigenpairs": analysis.k,
            **{f"count_at_{e:g}": g.count for e, g in found.items()},
            **{f"interval_width_at_{e:g}": np.ptp(g.interval) for e, g in found.items()},
            "reference_ok": all(
                g.count == counts[e] and g.interval == (g.value, g.value) for e, g in found.items()
            ),
        },
    )


def _against(model: torch.nn.Module, data: Any, ours: dict[str, Any]) -> dict[str, object]:
    baseline = _authors_way(model, torch.tensor(data[0]), torch.tensor(data[1]).long())
    seconds, one_by_one = baseline["authors_way_s"], baseline["authors_way_one_by_one_s"]
    return {
        **ours,
        "best_rival_s": seconds,
        "ratio": seconds / ours["ours_s"],
        "ratio_one_by_one": one_by_one / ours["ours_s"],
        **baseline,
    }
