"""A product with LeNet-5's Hessian by two processes against one, with a thread each."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import eigenboundary as eb
from benchmarks.rivals import Data
from benchmarks.solvers import lacking_cifar10, lenet5

_IMAGES = 1000
_PRODUCTS = 25
_ROUNDS = 5
_EIGENPAIRS = 5


def _network() -> tuple[torch.nn.Module, Data]:
    """The trained LeNet-5 where its images are at hand, else an untrained one on random images."""
    if not lacking_cifar10():
        return lenet5()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_IMAGES, 3, 32, 32, generator=generator)
    return eb.networks.build("lenet5", seed=0).eval(), (x, torch.arange(_IMAGES) % 10)


def _measured(problem: eb.Problem) -> dict[str, Any]:
    """Seconds a product once it has been traced, one such product, and the top eigenvalues."""
    operator = eb.HessianOperator(problem)
    vector = torch.randn(operator.size, generator=torch.Generator().manual_seed(0))
    while operator.record.route != "linearized":
        operator @ vector
    seconds = []
    for _ in range(_PRODUCTS):
        began = time.perf_counter()
        product = operator @ vector
        seconds.append(time.perf_counter() - began)
    values = eb.top_eigenpairs(operator, _EIGENPAIRS).values
    return {"seconds": seconds, "product": product, "values": values, "how": str(operator.record)}


def two_processes() -> dict[str, object]:
    """Rounds of both in turn, so that whatever else the machine does meets both."""
    one, two = [], []
    with tempfile.TemporaryDirectory() as name:
        torch.save(_network(), Path(name) / "network.pt")
        for i in range(_ROUNDS):
            one.append(_run(Path(name), 1, i))
            two.append(_run(Path(name), 2, i))
    expected, ours = one[0], two[0]
    difference = float((ours["product"] - expected["product"]).norm() / expected["product"].norm())
    error = float((ours["values"] - expected["values"]).abs().max() / expected["values"][0])
    together, alone = statistics.median(_medians(two)), statistics.median(_medians(one))
    return {
        "ours_s": together,
        "best_rival_s": alone,
        "ratio": alone / together,
        "limit": 1.6,
        "ratios": [a / b for a, b in zip(_medians(one), _medians(two), strict=True)],
        "fastest_ratio": _fastest(one) / _fastest(two),
        "threads": 1,
        "network": "untrained" if lacking_cifar10() else "trained",
        "how": ours["how"],
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "product_difference": difference,
        "eigenvalue_difference": error,
        "reference_ok": difference < 1e-4 and error < 1e-5,
    }


def _medians(found: list[dict[str, Any]]) -> list[float]:
    return [statistics.median(one["seconds"]) for one in found]


def _fastest(found: list[dict[str, Any]]) -> float:
    return min(min(one["seconds"]) for one in found)


def _run(folder: Path, count: int, number: int) -> dict[str, Any]:
    """What the first of so many processes measures."""
    meeting = folder / f"meeting-{count}-{number}"
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.processes", str(rank), str(count), str(meeting)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate()[1] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError("\n".join(said))
    return torch.load(meeting.with_suffix(".pt"))


def _process(rank: int, count: int, meeting: Path) -> None:
    torch.set_num_threads(1)
    if count > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=count
        )
    model, data = torch.load(meeting.parent / "network.pt", weights_only=False)
    found = _measured(eb.Problem(model, data))
    if rank == 0:
        torch.save(found, meeting.with_suffix(".pt"))
    if count > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    _process(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
