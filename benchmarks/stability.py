"""Does a number stay what it is while what should not matter changes: loss, samples, width.

Networks of one task differ in the loss that their training was stopped at (checkpoints of one
training), in the number of samples, or in their width. A number is told by its largest value over
its smallest, less one, beside the same of the true length of the boundary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Memory, Parallel, delayed
from torch import nn

import eigenboundary as eb
from benchmarks.boundary_tasks import Task
from benchmarks.complexity import CACHE, Setting, train_to, trained, truth
from eigenboundary.experiments.threads import one_thread

#: Raised where a number is added or computed otherwise.
_VERSION = 1
_TASKS = (
    Task("stripes", 4, seed=1),
    Task("checkerboard", 3, seed=2),
    Task("cells", 6, seed=3),
    Task("polygon", 5, seed=4),
    Task("star", 5, seed=5),
    Task("rings", 3, seed=6),
)
_LOSSES = (0.1, 0.01, 0.001, 0.0001)
_SAMPLES = (200, 400, 800, 2000)
_WIDTHS = (20, 50, 100, 200)


def _numbers(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    area = eb.boundary_area(model, (x, y))
    found = eb.boundary_complexity(model, (x, y), points=100)
    return {
        "length": truth(model)["length"],
        "area": area.value,
        "area's half-width": (area.interval[1] - area.interval[0]) / 2 / area.value,
        "dimension": found.dimension,
        "count": found.count,
        "rank": found.rank,
    }


def _of_losses(task: Task, version: int) -> list[dict[str, Any]]:
    """One training, looked at each time its loss falls by ten."""
    with one_thread():
        setting = Setting("relu", loss=_LOSSES[0], seed=task.seed)
        model, x, y = trained(task, setting)
        rows = []
        for loss in _LOSSES:
            going_on = copy.deepcopy(model).float().train()
            train_to(going_on, x.float(), y, loss)
            model = going_on.eval().double()
            rows.append({"varied": "loss", "value": loss, **_numbers(model, x, y)})
        return rows


def _of_setting(task: Task, varied: str, value: float, version: int) -> list[dict[str, Any]]:
    with one_thread():
        setting = replace(Setting("relu", seed=task.seed), **{varied: int(value)})
        return [{"varied": varied, "value": value, **_numbers(*trained(task, setting))}]


def _jobs() -> Iterator[Any]:
    kept = Memory(CACHE / "stability", verbose=0)
    of_losses, of_setting = kept.cache(_of_losses), kept.cache(_of_setting)
    for task in _TASKS:
        yield delayed(of_losses)(task, _VERSION)
        yield from (delayed(of_setting)(task, "n", n, _VERSION) for n in _SAMPLES)
        yield from (delayed(of_setting)(task, "width", w, _VERSION) for w in _WIDTHS)


def stability(processes: int = 2) -> dict[str, object]:
    """By how much each number varies: medians over tasks, and the most."""
    jobs = list(_jobs())
    done = Parallel(n_jobs=processes)(jobs)
    each = len(jobs) // len(_TASKS)
    rows = [{"task": i // each, **row} for i, part in enumerate(done) for row in part]
    table = pd.DataFrame(rows)
    names = ["length", "area", "dimension", "count", "rank"]
    spread = table.groupby(["varied", "task"])[names].agg(lambda v: v.max() / v.min() - 1)
    per_length = table[names[1:]].div(table["length"], axis=0).join(table[["varied", "task"]])
    beside = per_length.groupby(["varied", "task"]).agg(lambda v: v.max() / v.min() - 1)
    result: dict[str, object] = {}
    for varied in ("loss", "n", "width"):
        for name in names:
            values = spread.loc[varied][name]
            result[f"{varied}: {name}"] = {
                "median": round(float(values.median()), 2),
                "most": round(float(values.max()), 2),
            }
            if name in beside:
                result[f"{varied}: {name}"]["median, by length"] = round(  # type: ignore[index]
                    float(beside.loc[varied][name].median()), 2
                )
    result["area's half-width, median"] = round(float(np.median(table["area's half-width"])), 2)
    return result
