"""The documentation's table of benchmarks, made from what they printed."""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path
from typing import Any

_DOCS = Path(__file__).parents[1] / "docs"
_KEPT, _TABLE = _DOCS / "performance.json", _DOCS / "performance.md"
_ABOUT = """# Performance

Made by `make bench`, or for one row by `python -m benchmarks NAME --write`. Every row is one run on
one machine, the rivals in the same run; seconds are medians. *Right* says whether the results were
those of the reference, within what was asked for. All numbers of a run are in `performance.json`.

*Aim* is the ratio, or the seconds, that were set out to be reached.

| benchmark | ours, s | best rival, s | ratio | aim | right | threads | load | processor |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""
#: By hand, from the runs above and from trials beside them.
_LIMITS = """
Peak memory and seconds of 500 samples as p grows, and of p = 10⁴ as n grows:

![Seconds and memory against p](images/growth-parameters.png)
![Seconds and memory against n](images/growth-samples.png)

Products are linear in n·p, and memory in p times the 60 to 120 vectors that top 5 takes of a
large network, and what Python holds.

## What limits them

Tried on two cores, in float32 unless said: at first of a Xeon with AVX-512 and AMX (350 GFLOP/s in
large matrix products), at last of an AMD EPYC (200 to 230).

- **product** takes 1.9 to 2.0 times its floor on the EPYC and 4.7 times on the Xeon, whose matrix
  products, and so the floor, are faster while convolutions are not: two thirds of a LeNet-5 product
  are convolutions of 3, 6 and 16 channels, which oneDNN computes there at 25 to 70 % of the rate of
  large matrix products, so that they alone take three times the floor. Channels last, unfolded
  inputs in one matrix product, one convolution in place of the sum of two, and `torch.compile` (28
  s to compile, 0.081 s a product where the trace took 0.076) were hardly faster or slower; sums
  fused into the operations before them save 4 %.
- **solvers-lenet5**: of 34 or 35 products 23 find the pairs and 9 or 10 rule out that one was
  missed, which no rival does; the best rival takes 28 products, each 2.4 to 4 times as dear.
  Tracing and checking the product takes half a second. A start from the Gauss-Newton eigenvectors
  of 50, 100 or 250 images takes 52 to 54 products: ten for the start, and the last of them hardly
  agree (cosines of 0.15 to 0.4).
- **solvers-gauss**, **paper**: a product of these 150 samples takes about 1 ms, most of it the time
  of calling some hundred operations, and a step of Lanczos, reorthogonalised in float64, as long
  again. 28 of 73 products rule out missed pairs; the rival stops at a number of steps that it is
  given. Blocks of 2, 4 and 8 vectors take more products (98, 143 and 182 where single ones took 82)
  and are no faster. 500 times the authors' way would be 0.12 s for the 219 products.
- **exact-g**: the 1,223 eigenvectors that are not null take 1,409 products in float64, about half
  of the time, and as much in projections of vectors of 10,703 entries. 100 times is 0.6 s.
- **The CNN of MNIST 0, 1 and 7** (p = 7,203, 450 samples, float64), whose interval of G_θ was to be
  closed within 60 s: a product takes 0.11 s (0.03 s at the floor), so that 60 s hold 550 of them.
  After 1,289 converged pairs the interval at ε = 1e-2 is 0.046 to 0.061, and the dense matrix takes
  7,203 products.
- **resnet18**: a product takes 12 s on the EPYC, and 15 to 17 s on the Xeon, where 10 s are the
  floor. Margins take 750 gradients for each of 20 samples.
- **memory**: data that do not fit are read from the disk in every product: 117 s at 900 MB, 42 s
  without a limit.
- **solvers-resnet20**: 32 of 53 products find the pairs, 20 rule out that one was missed and 1
  checks. With all 32 chunks kept, in 3.8 GB, a product takes 2.3 s, which is its floor (4.9·10¹¹
  operations at 220 GFLOP/s); one of the best rival takes 4.2 s, and it needs 34. Three times its
  speed would be 47 s, or 20 products at the floor.
- Nothing here was measured on a GPU.
"""
#: What was set out to be reached, by benchmark.
_AIMS = {
    "exact-g": "100, 5 s",
    "main-job": "2 s",
    "memory": "1.2 × limit",
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
    _TABLE.write_text(_ABOUT + rows + _peaks(kept) + _LIMITS)


def machine() -> dict[str, Any]:
    """Where it ran, and what else was running there."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count())),
        "load": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*:\s*(.+)", about.read_text()) if about.exists() else None
    return named[1].strip() if named else platform.processor() or platform.machine()


def _peaks(kept: dict[str, Any]) -> str:
    """What the benchmark of memory limits found, in a sentence."""
    if "memory" not in kept:
        return ""
    result, key = kept["memory"]["result"], "peak_mb_at_"
    limits = [name.removeprefix(key) for name in result if name.startswith(key)]
    peaks = [f"{result[key + limit]:,.0f} MB under {limit.replace('_', ' ')}" for limit in limits]
    return (
        f"\nPeaks of `memory`, with {result['data_mb']:,.0f} MB of data in a file: "
        f"{', '.join(peaks)}, and {result['peak_mb_unlimited']:,.0f} MB without a limit.\n"
    )


def _row(name: str, kept: dict[str, Any]) -> str:
    result, where = kept["result"], kept["machine"]
    cells = [_number(result.get(key)) for key in ("ours_s", "best_rival_s", "ratio")]
    right = {True: "yes", False: "no"}.get(result.get("reference_ok"), "")
    cells += [_AIMS.get(name, ""), right, str(where["threads"]), str(where["load"])]
    cells.append(where["processor"])
    return f"| {name} | {' | '.join(cells)} |\n"


def _number(value: Any) -> str:
    if not isinstance(value, int | float):
        return ""
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
