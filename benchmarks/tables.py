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
    _TABLE.write_text(_ABOUT + "".join(_row(each, kept[each]) for each in sorted(kept)))


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
