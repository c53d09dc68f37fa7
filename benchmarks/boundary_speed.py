"""What the measures of the boundary cost: area, rank of 1,000 points, dimension; by p on a picture.

Each network is measured in a process of its own. Multilayer networks from p = 1e4 to 1e7 show the
growth; LeNet-5 and ResNet-18 take images of random pixels, which cost what others do, and of
ResNet-18 the area alone is measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import eigenboundary as eb
from benchmarks.fresh import json_of_fresh_process, peak_bytes
from eigenboundary.boundary.area import affordable_segments

_INPUTS, _CLASSES = 20, 3
#: Widths of 20-w-w-3 networks, of p = 1e4, 1e5, 1e6 and 1e7 parameters.
_WIDTHS = (88, 304, 988, 3150)
_SAMPLES, _POINTS = 1000, 1000
_PICTURE = Path(__file__).parents[1] / "docs" / "images" / "growth-boundary.png"


def boundary_speed() -> dict[str, object]:
    """Seconds and memory of each measure, by network."""
    result = {name: json_of_fresh_process("benchmarks.boundary_speed", name) for name in _NAMES}
    _draw([result[name] for name in _NAMES[: len(_WIDTHS)]])
    return dict(result)


_NAMES = (*(f"fnn-{width}" for width in _WIDTHS), "lenet5", "resnet18")


def _network(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    if name.startswith("fnn"):
        width = int(name.removeprefix("fnn-"))
        model = eb.networks.build("fnn", inputs=_INPUTS, classes=_CLASSES, hidden=(width, width))
        return model, torch.randn(_SAMPLES, _INPUTS, generator=generator)
    return eb.networks.build(name), torch.randn(_SAMPLES, 3, 32, 32, generator=generator)


def _one(name: str) -> dict[str, Any]:
    model, x = _network(name)
    model.eval()
    with torch.no_grad():
        y = model(x).argmax(1)
    problem = eb.Problem(model, (x, y))
    before = peak_bytes()
    found: dict[str, Any] = {"parameters": problem.n_parameters}

    def timed(what: str, job: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        try:
            result = job()
        except eb.InvalidInputError as error:  # too large
            found[what] = f"refused: {error.because or error.wanted}"
            return None
        found[what] = round(time.perf_counter() - began, 2)
        return result

    segments = affordable_segments(problem)
    found["segments"] = segments
    timed("area_s", lambda: eb.boundary_area(problem, segments=segments))
    if name == "resnet18":  # points of its boundary take a quarter of an hour, kernels more
        found["memory_mb"] = round((peak_bytes() - before) / 2**20)
        return found
    points = timed("points_s", lambda: eb.boundary_points(problem, n=_POINTS))
    timed("rank_s", lambda: eb.boundary_rank(problem, points=points))
    dimension = timed("dimension_s", lambda: eb.boundary_complexity(problem, levels=(), points=0))
    found["dimension_of"] = None if dimension is None else dimension.n_samples
    found["memory_mb"] = round((peak_bytes() - before) / 2**20)
    return found


def _draw(rows: list[dict[str, Any]]) -> None:
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
    sizes = [row["parameters"] for row in rows]
    for label, name in (
        ("area", "area_s"),
        ("rank of 1,000 points", "rank_s"),
        ("dimension of 500 samples", "dimension_s"),
    ):
        ax.loglog(sizes, [row[name] for row in rows], "o-", label=label)
    ax.set_xlabel("parameters p")
    ax.set_ylabel("seconds")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(_PICTURE, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1])))
