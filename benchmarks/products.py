"""One product with LeNet-5's Hessian against its floating-point operations and other ways."""

from __future__ import annotations

import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

import eigenboundary as eb
from benchmarks import rivals
from benchmarks.solvers import REPEATS, lenet5, measured

_SIZE = 1024
_BLOCK = 4


def _rate() -> float:
    """Operations a second in products of large float32 matrices: the median of several."""
    a, b = torch.randn(_SIZE, _SIZE), torch.randn(_SIZE, _SIZE)
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * _SIZE**3 / statistics.median(seconds)


def product() -> dict[str, object]:
    """The floor is what the operations of one product take at the rate of matrix products.

    They are those of the traced product alone; ``gflop_recomputed`` counts what a product computed
    anew takes, the forward and backward pass of the gradient included.
    """
    model, data = lenet5()
    problem = eb.Problem(model, data)
    operator = eb.HessianOperator(problem)
    vector = torch.randn(operator.size, generator=torch.Generator().manual_seed(0))
    block = torch.randn(operator.size, _BLOCK, generator=torch.Generator().manual_seed(1))
    with FlopCounterMode(display=False) as anew:
        eb.HessianOperator(problem) @ vector
    recomputed, _, _ = measured(lambda: eb.HessianOperator(problem) @ vector, REPEATS)
    for _ in range(3):  # until the operator has traced it
        operator @ block
    with FlopCounterMode(display=False) as counter:
        ours = operator @ vector
    before = _rate()
    wall, processor, _ = measured(lambda: operator @ vector, 3 * REPEATS)
    of_block, _, _ = measured(lambda: operator @ block, 3 * REPEATS)
    rate = (before + _rate()) / 2
    floor = counter.get_total_flops() / rate
    plain = rivals.plain_product(model, data)
    expected = plain(vector)
    others = {"kept_double_backward": measured(lambda: plain(vector), REPEATS)[0]}
    if rivals.installed("curvlinops"):
        other = rivals.curvlinops_operator(model, data)
        others["curvlinops"] = measured(lambda: other @ vector, REPEATS)[0]
    if rivals.installed("hessian_eigenthings"):
        import hessian_eigenthings as library

        loss = library.supervised_loss(torch.nn.CrossEntropyLoss())
        third = library.HessianOperator(model, [data], loss)
        others["hessian_eigenthings"] = measured(lambda: third.matvec(vector), REPEATS)[0]
    error = float((ours - expected).norm() / expected.norm())
    return {
        "ours_s": wall,
        "ours_cpu_s": processor,
        f"ours_in_blocks_of_{_BLOCK}_s": of_block / _BLOCK,
        "ours_recomputed_s": recomputed,
        "how": str(operator.record),
        "gflop": counter.get_total_flops() / 1e9,
        "gflop_recomputed": anew.get_total_flops() / 1e9,
        "matrix_product_gflop_s": rate / 1e9,
        "floor_s": floor,
        "over_floor": wall / floor,
        f"over_floor_in_blocks_of_{_BLOCK}": of_block / _BLOCK / floor,
        **{f"{name}_s": seconds for name, seconds in others.items()},
        "best_rival_s": min(others.values()),
        "ratio": min(others.values()) / wall,
        "difference": error,
        "reference_ok": error < 1e-4,
        "threads": torch.get_num_threads(),
    }
