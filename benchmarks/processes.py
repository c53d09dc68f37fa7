"""A product with LeNet-5's Hessian by two processes against one, with a thread each."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist

import eigenboundary as eb
from benchmarks.rivals import Data
from benchmarks.solvers import lacking_cifar10, lenet5

_IMAGES = 1000
_ROUNDS, _PRODUCTS = 7, 8
_EIGENPAIRS = 5


def _network() -> tuple[torch.nn.Module, Data]:
    """The trained LeNet-5 where its images are at hand, else an untrained one on random images."""
    if not lacking_cifar10():
        return lenet5()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_IMAGES, 3, 32, 32, generator=generator)
    return eb.networks.build("lenet5", seed=0).eval(), (x, torch.arange(_IMAGES) % 10)


def two_processes() -> dict[str, object]:
    """Both in turn, in the same two processes, so that whatever else the machine does meets both.

    ``ratio_cpu`` is that of the processor's seconds a process: what the ratio would be if each had
    a core to itself.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(_network(), folder / "network.pt")
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.processes", str(rank), name],
                env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        said = [process.communicate()[1] for process in started]
        if any(process.returncode for process in started):
            raise RuntimeError("\n".join(said))
        found = [torch.load(folder / f"{rank}.pt") for rank in range(2)]
    first = found[0]
    expected = first["products"][0]
    difference = max(float((f["products"][1] - expected).norm()) for f in found)
    error = float((first["values"][1] - first["values"][0]).abs().max() / first["values"][0][0])
    rounds = [statistics.median(a) / statistics.median(b) for a, b in first["seconds"]]
    alone, together = (_median(found[0]["seconds"], which) for which in range(2))
    cpu = max(_median(f["cpu"], 1) for f in found)
    return {
        "ours_s": together,
        "best_rival_s": alone,
        "ratio": alone / together,
        "limit": 1.6,
        "ratio_by_round": rounds,
        "ours_cpu_s": cpu,
        "best_rival_cpu_s": _median(first["cpu"], 0),
        "ratio_cpu": _median(first["cpu"], 0) / cpu,
        "threads": 1,
        "network": "untrained" if lacking_cifar10() else "trained",
        "how": first["how"],
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "product_difference": difference / float(expected.norm()),
        "eigenvalue_difference": error,
        "reference_ok": difference < 1e-4 * float(expected.norm()) and error < 1e-5,
    }


def _median(rounds: list[tuple[list[float], list[float]]], which: int) -> float:
    return statistics.median(second for one in rounds for second in one[which])


def _timed(operator: eb.HessianOperator, vector: torch.Tensor) -> tuple[list[float], list[float]]:
    """Wall and processor's seconds of several products."""
    wall, cpu = [], []
    for _ in range(_PRODUCTS):
        began, before = time.perf_counter(), time.process_time()
        operator @ vector
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - before)
    return wall, cpu


def _process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    model, data = torch.load(folder / "network.pt", weights_only=False)
    alone = eb.HessianOperator(eb.Problem(model, data))
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    together = eb.HessianOperator(eb.Problem(model, data))
    vector = torch.randn(alone.size, generator=torch.Generator().manual_seed(0))
    for operator in (alone, together):
        while operator.record.route != "linearized":
            operator @ vector
    seconds, cpu = [], []
    for _ in range(_ROUNDS):
        dist.barrier()
        one = _timed(alone, vector) if rank == 0 else ([], [])
        dist.barrier()
        two = _timed(together, vector)
        seconds.append((one[0], two[0]))
        cpu.append((one[1], two[1]))
    found = {
        "seconds": seconds,
        "cpu": cpu,
        "products": [operator @ vector for operator in (alone, together)],
        "values": [eb.top_eigenpairs(op, _EIGENPAIRS).values for op in (alone, together)],
        "how": str(together.record),
    }
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    _process(int(sys.argv[1]), Path(sys.argv[2]))
