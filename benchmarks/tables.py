"""The documentation's table of benchmarks, made from what they printed."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

_DOCS = Path(__file__).parents[1] / "docs"
_KEPT, _TABLE = _DOCS / "performance.json", _DOCS / "performance.md"
_ABOUT = """# Performance

Made by `make bench`, or for one row by `python -m benchmarks NAME --write`. Every row is one run on
one machine, the rivals in the same run; seconds are medians. *Right* says whether the results were
those of the reference, within what was asked for. All numbers of a run are in `performance.json`.

*Aim* is the ratio, or the seconds, that were set out to be reached.

| benchmark | ours, s | best rival, s | ratio | aim | right | threads | load |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
#: By hand, from the runs above and from trials beside them.
_LIMITS = """
## What limits them

Measured on two cores of a Xeon with AVX-512, float32 unless said.

- **product**: two thirds of a LeNet-5 product are the convolutions of 3, 6 and 16 channels, which
  oneDNN computes at 25 to 70 % of the rate of large matrix products: alone they take three times
  the floor. Channels last, unfolded inputs with one matrix product, and one convolution in place
  of the sum of two were no faster; sums fused into the operations before them save 4 %.
- **solvers-lenet5**: our 38 products are 28 that find the pairs, a few steps more and 8 that
  rule out that one was missed, which no rival does; the best rival takes 28, each 2.4 times as
  dear. Tracing and checking the product takes half a second of three. Starting from the
  Gauss-Newton eigenvectors of 50, 100 or 250 images takes 52 to 54 products instead of 38: the
  last of the ten hardly agree (cosines of 0.15 to 0.4), and a start of ten vectors costs ten
  products, after which the Krylov space has to grow anew.
- **solvers-gauss**, **paper**: a product of these 150 samples takes 0.6 to 1 ms, most of it the
  time of calling some hundred operations, and a step of Lanczos with full reorthogonalisation in
  float64 as long again. 35 of 80 products rule out missed pairs; the rival stops at a number of
  steps that it is given. Blocks of 2, 4 and 8 vectors were slower: they need 98, 143 and 182
  products instead of 80. 500 times the authors' way would be 0.13 s for 229 products.
- **exact-g**: the 1,223 eigenvectors that are not null take 1,409 products in float64 (half of the
  time) and as much in projections of vectors of 10,703 entries; 100 times is 0.6 s.
- **The CNN of MNIST 0, 1, 7** (p = 7,203, 450 samples, float64): an interval of G_θ closed within
  60 s is out of reach. A product takes 0.11 s (0.026 s at the floor), so that 60 s hold 550 of
  them; after 1,289 converged pairs the interval at ε = 1e-2 is still 0.046 to 0.061, and the dense
  matrix takes 7,203 products.
- **resnet18**: a product is 15 s, 10 of them the floor; 41 products, some 15 of which rule out
  missed pairs, take 730 s. Margins take 370 s: 750 gradients for each of 20 samples.
- Nothing here was measured on a GPU.
"""
#: What was set out to be reached, by benchmark.
_AIMS = {
    "exact-g": "100, 5 s",
    "main-job": "2 s",
    "paper": "500",
    "product": "2 × floor",
    "resnet18": "1200 s",
    "solvers-gauss": "3",
    "solvers-lenet5": "3",
    "solvers-resnet20": "3",
    "two-processes": "1.6",
}


def keep(result: dict[str, Any]) -> None:
    """Add one benchmark's result to those kept, and make the table anew."""
    kept: dict[str, Any] = json.loads(_KEPT.read_text()) if _KEPT.exists() else {}
    result = dict(result)
    name = result.pop("benchmark")
    kept[name] = {"machine": machine(), "result": result}
    _KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    rows = "".join(_row(each, kept[each]) for each in sorted(kept))
    _TABLE.write_text(_ABOUT + rows + _LIMITS)


def machine() -> dict[str, Any]:
    """Where it ran, and what else was running there."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count())),
        "load": round(os.getloadavg()[0], 1),
    }


def _row(name: str, kept: dict[str, Any]) -> str:
    result, where = kept["result"], kept["machine"]
    cells = [_number(result.get(key)) for key in ("ours_s", "best_rival_s", "ratio")]
    right = {True: "yes", False: "no"}.get(result.get("reference_ok"), "")
    cells += [_AIMS.get(name, ""), right, str(where["threads"]), str(where["load"])]
    return f"| {name} | {' | '.join(cells)} |\n"


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else ""
