"""How time and memory grow with the number of parameters and with that of samples.

Each size is measured in a process of its own: one product with the Hessian, and the top
eigenpairs with their residuals. Pictures go to ``docs/images/growth-parameters.png`` and
``docs/images/growth-samples.png``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import eigenboundary as eb
from benchmarks.fresh import json_of_fresh_process, peak_bytes
from benchmarks.solvers import REPEATS, measured

_K, _TOLERANCE = 5, 1e-4
_INPUTS, _CLASSES = 20, 3
#: Widths of 20-w-w-3 networks, of p = 1e4, 1e5, 1e6 and 1e7 parameters; samples beside.
_WIDTHS, _SAMPLES = (88, 304, 988, 3150), 500
_NUMBERS, _WIDTH = (100, 1_000, 10_000, 100_000), 88
_PICTURES = Path(__file__).parents[1] / "docs" / "images"


def growth_p() -> dict[str, object]:
    """p from 1e4 to 1e7, widening one network; 500 samples, top 5."""
    rows = [_row(width, _SAMPLES) for width in _WIDTHS]
    return {"samples": _SAMPLES, **_summary(rows, "parameters")}


def growth_n() -> dict[str, object]:
    """n from 1e2 to 1e5; p = 1e4, top 5."""
    rows = [_row(_WIDTH, n) for n in _NUMBERS]
    return {"parameters": rows[0]["parameters"], **_summary(rows, "samples")}


def _summary(rows: list[dict[str, Any]], by: str) -> dict[str, object]:
    """All rows, and the exponents of the two largest sizes."""
    sizes = np.log([row[by] for row in rows[-2:]])

    def exponent(name: str) -> float:
        return float(np.diff(np.log([row[name] for row in rows[-2:]]))[0] / np.diff(sizes)[0])

    _draw(rows, by)
    return {
        "k": _K,
        **{f"{by}_{row[by]}": row for row in rows},
        "product_exponent": exponent("product_s"),
        "memory_exponent": exponent("memory_mb"),
        "reference_ok": all(row["converged"] for row in rows),
    }


def _row(width: int, n: int) -> dict[str, Any]:
    return json_of_fresh_process("benchmarks.growth", str(width), str(n))


def _one(width: int, n: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % _CLASSES
    centres = 2 * torch.randn(_CLASSES, _INPUTS, generator=generator)
    x = centres[y] + torch.randn(n, _INPUTS, generator=generator)
    model = eb.networks.build("fnn", inputs=_INPUTS, classes=_CLASSES, hidden=(width, width))
    before = peak_bytes()
    operator = eb.HessianOperator(eb.Problem(model, (x, y)))
    began = time.perf_counter()
    pairs = eb.top_eigenpairs(operator, _K, tolerance=_TOLERANCE)
    seconds = time.perf_counter() - began
    memory = (peak_bytes() - before) / 2**20
    vector = torch.randn(operator.size, generator=generator)
    product, processor, _ = measured(lambda: operator @ vector, REPEATS)
    return {
        "parameters": operator.size,
        "samples": n,
        "product_s": product,
        "product_cpu_s": processor,
        "eigenpairs_s": seconds,
        "products": pairs.products,
        "memory_mb": memory,
        "vectors_in_memory": memory * 2**20 / (4 * operator.size),
        "converged": bool(pairs.converged.all()),
        "how": str(operator.record),
    }


def _draw(rows: list[dict[str, Any]], by: str) -> None:
    """Time and memory on logarithmic axes, with lines of slope one to compare."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    sizes = np.array([row[by] for row in rows], dtype=float)
    series = {
        "one product": "product_s",
        f"top {_K} eigenpairs": "eigenpairs_s",
    }
    for label, name in series.items():
        axes[0].loglog(sizes, [row[name] for row in rows], "o-", label=label)
    axes[1].loglog(sizes, [row["memory_mb"] for row in rows], "o-", label="peak memory")
    for ax, last in ((axes[0], rows[-1]["product_s"]), (axes[1], rows[-1]["memory_mb"])):
        ax.loglog(sizes, last * sizes / sizes[-1], ":", color="grey", label="linear")
        ax.set_xlabel({"parameters": "parameters p", "samples": "samples n"}[by])
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("seconds")
    axes[1].set_ylabel("MB")
    figure.savefig(_PICTURES / f"growth-{by}.png", dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    print(json.dumps(_one(int(sys.argv[1]), int(sys.argv[2]))))
