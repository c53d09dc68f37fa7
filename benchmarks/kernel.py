"""How close the Gauss–Newton matrix at the standard confidence is to the kernel on the boundary.

Over the tasks of the benchmark of complexity: the share of the unit gradients at points of the
boundary that the eigenvectors of G_T above L hold, beside the most that as many directions could
hold, and beside as many eigenvectors of three rivals.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Memory, Parallel, delayed
from scipy.special import entr
from scipy.stats import kendalltau
from torch import nn

import eigenboundary as eb
from benchmarks.boundary_tasks import Task, tasks
from benchmarks.complexity import CACHE, Setting, trained
from eigenboundary.boundary.rank import boundary_gradients
from eigenboundary.experiments.threads import one_thread

#: Raised where a number is added or computed otherwise.
_VERSION = 1
_ACTIVATIONS = ("relu", "tanh")
_POINTS = 200


class _Scaled(nn.Module):
    """A network with a factor on its outputs."""

    def __init__(self, model: nn.Module, factor: float) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * self.model(x)


def _row(task: Task, activation: str, version: int) -> dict[str, float]:
    with one_thread():
        model, x, y = trained(task, Setting(activation, width=30, n=200, seed=task.seed))
        own = model(x).argmax(1)
        problem = eb.Problem(model, (x, y))
        gradients = boundary_gradients(problem, _POINTS, seed=0)
        if gradients is None:
            return {}
        found = eb.boundary_complexity(problem, points=_POINTS)
        k = max(1, found.count)
        sharp = eb.Problem(_Scaled(model, found.temperature), (x, own))
        flat = eb.Problem(_Scaled(model, 1e-3), (x, own))  # Λ is the same for all samples
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(problem.n_parameters, k, generator=generator, dtype=torch.float64)
        matrices = {
            "G_T": eb.GaussNewtonOperator(sharp),
            "kernel of all samples": eb.GaussNewtonOperator(flat),
            "Hessian": eb.HessianOperator(problem),
        }
        held = {"random directions": gradients.held_by(problem, torch.linalg.qr(drawn).Q)[-1]}
        for name, operator in matrices.items():
            vectors = eb.top_eigenpairs(operator, k, method="dense").vectors
            held[name] = gradients.held_by(problem, vectors)[-1]
        values = found.levels[0].eigenvalues
        return {
            **{f"held by {name}": float(share) for name, share in held.items()},
            "most": float(found.best_of_all[:k][-1]),
            "count": k,
            "effective number of G_T": float(np.exp(entr(values / values.sum()).sum())),
            "rank": found.rank,
        }


def kernel(processes: int = 2) -> dict[str, object]:
    """Medians over networks, and how the two spectra go together."""
    kept = Memory(CACHE / "kernel", verbose=0).cache(_row)
    jobs: list[Any] = [(task, name) for name in _ACTIVATIONS for task in tasks()]
    done = Parallel(n_jobs=processes)(delayed(kept)(*job, _VERSION) for job in jobs)
    table = pd.DataFrame(done).dropna()
    shares = [name for name in table if name.startswith("held")]
    quartiles = table[[*shares, "most", "count"]].quantile([0.25, 0.5, 0.75])
    spectra = table[["effective number of G_T", "rank"]].to_numpy()
    return {
        "networks": len(table),
        **{str(name): quartiles[name].round(3).tolist() for name in quartiles},
        "τ of effective number and rank": round(float(kendalltau(*spectra.T).statistic), 3),
        "G_T above the kernel of all samples": float(
            (table["held by G_T"] > table["held by kernel of all samples"]).mean()
        ),
    }
