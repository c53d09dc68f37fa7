"""How often intervals hold the truth: 200 small networks, each number against a dense reference.

Curvature in float32 with ten eigenpairs is held against all eigenpairs of the dense float64
Hessian; the rank of 200 points against that of 1,000, the area of 2,000 segments near the samples
against that of 60,000 near fresh ones.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed
from torch import nn

import eigenboundary as eb
from eigenboundary.experiments.threads import one_thread

_NETWORKS, _SAMPLES, _FRESH = 200, 200, 6000


def _task(n: int, generator: torch.Generator, waves: float) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    angle = torch.atan2(x[:, 1], x[:, 0])
    return x, ((waves * angle / 3.1416 + x.norm(dim=1)).floor() % 3).long()


def _held(seed: int) -> dict[str, bool]:
    """Which intervals of one network hold the truth."""
    with one_thread():
        generator = torch.Generator().manual_seed(seed)
        waves = float(torch.randint(1, 4, (), generator=generator))
        data = _task(_SAMPLES, generator, waves)
        torch.manual_seed(seed)
        activation = (nn.ReLU, nn.Tanh, nn.GELU)[seed % 3]
        layers = [nn.Linear(2, 12), activation(), nn.Linear(12, 12), activation()]
        model = nn.Sequential(*layers, nn.Linear(12, 3)).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(400):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(data[0]), data[1]).backward()
            optimizer.step()
        exact = eb.analyze(model, data, k="all", grid=0, dtype="float64", method="dense")
        found = eb.analyze(model, data, k=10, grid=0, dtype="float32", method="krylov")
        truth, numbers = exact.complexity, found.complexity
        dense, own = exact.boundary_complexity, found.boundary_complexity
        assert dense is not None
        assert own is not None
        many = eb.boundary_rank(model, data, points=eb.boundary_points(model, data, n=1000))
        fresh = _task(_FRESH, generator, waves)
        area = eb.boundary_area(model, fresh, segments=60_000).value
        pairs: dict[str, tuple[float, Any]] = {
            "boundary dimension": (dense.dimension, own.dimension_interval),
            "boundary count": (dense.count, own.count_interval),
            "outliers": (exact.outliers, found.outlier_count.interval),
            "effective number": (truth.effective_number, numbers.effective_number_interval),
            "participation number": (
                truth.participation_number,
                numbers.participation_number_interval,
            ),
            "G at 1e-2": (
                truth.generalization(1e-2).value,
                numbers.generalization(1e-2).interval,
            ),
            "boundary rank": (many.rank, own.rank_interval),
            "boundary area": (area, found.boundary_area.interval),  # type: ignore[union-attr]
        }
        return {name: bool(low <= value <= high) for name, (value, (low, high)) in pairs.items()}


def intervals(processes: int = 2) -> dict[str, object]:
    """Shares of networks whose intervals hold the truth."""
    done = Parallel(n_jobs=processes)(delayed(_held)(seed) for seed in range(_NETWORKS))
    shares = pd.DataFrame(done).mean()
    return {"networks": _NETWORKS, **{str(name): float(share) for name, share in shares.items()}}
