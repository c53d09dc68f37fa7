"""The benchmarks by their names; run as a module, one of them in this process."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable

from benchmarks import (
    attacks,
    boundary_speed,
    class_pairs,
    complexity,
    growth,
    intervals,
    jobs,
    kernel,
    margins,
    memory,
    minimal_norm,
    orders,
    paper,
    processes,
    products,
    resnet18,
    robustness,
    solvers,
    stability,
    training,
)

JOBS: dict[str, Callable[[], dict[str, object]]] = {
    "main-job": jobs.main_job,
    "grid": jobs.grid,
    "exact": jobs.exact,
    "training": training.training,
    "random-labels": training.random_labels,
    "seeds": training.seeds,
    "smallest-margin": margins.smallest_margin,
    "attacks": attacks.attacks,
    "sections": margins.sections,
    "class-pairs": class_pairs.class_pairs,
    "product": products.product,
    "two-processes": processes.two_processes,
    "solvers-lenet5": solvers.solvers_lenet5,
    "solvers-gauss": solvers.solvers_gauss,
    "solvers-resnet20": solvers.solvers_resnet20,
    "paper": paper.paper,
    "exact-g": paper.exact_g,
    "growth-p": growth.growth_p,
    "growth-n": growth.growth_n,
    "memory": memory.memory,
    "resnet18": resnet18.resnet18,
    "robustness": robustness.robustness,
    "boundary-speed": boundary_speed.boundary_speed,
    "complexity": complexity.complexity,
    "complexity-kernel": kernel.kernel,
    "complexity-intervals": intervals.intervals,
    "complexity-orders": orders.orders,
    "complexity-stability": stability.stability,
}

#: What a machine may lack for one of them, as a function that says it.
LACKING: dict[str, Callable[[], str]] = {
    "attacks": attacks.lacking,
    "class-pairs": class_pairs.lacking,
    "complexity-orders": orders.lacking,
    "product": solvers.lacking_cifar10,
    "resnet18": solvers.lacking_cifar10,
    "solvers-lenet5": solvers.lacking_cifar10,
    "solvers-resnet20": solvers.lacking_cifar10,
    "robustness": minimal_norm.lacking,
}

if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("benchmarks").setLevel(logging.INFO)
    name = sys.argv[1]
    print(json.dumps({"benchmark": name, **JOBS[name]()}))
