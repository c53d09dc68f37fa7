"""Every number that could measure how complex a network's boundary is, and its trivial rivals."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import entr
from torch import Tensor, nn

import eigenboundary as eb
from benchmarks.gap_rule import gap_rule
from eigenboundary.boundary.complexity import BoundaryComplexity
from eigenboundary.boundary.rank import BoundaryRank

#: Raised where a number is added or computed otherwise: kept rows are then computed again.
VERSION = 3

LEVELS = (0.1, 0.3, 0.03, 0.01)
_EIGENPAIRS, _TOP = 30, 10
# Rows of the Gram matrix, and points of the boundary, at most.
_GRAM_ROWS, _POINTS, _DISTANCES = 800, 200, 200
_SEGMENTS, _ALONG, _NOISY = 400, 200, 20
# Distances of samples that count as near, in units of the inputs' root-mean-square spread.
_NEAR = 0.1
_RESOLUTIONS = (0.01, 0.003)


def numbers_of(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> dict[str, float]:
    """All numbers of one network, from its samples alone; the network is in eval mode."""
    found: dict[str, float] = {}
    whole = eb.Problem(model, (x, y))
    some = max(50, min(len(x), _GRAM_ROWS // (whole.n_classes - 1)))
    problem = eb.Problem(model, (x[:some], y[:some]))
    found |= {"loss": whole.loss_value, "accuracy": whole.accuracy}
    found["norm"] = float(problem.network.theta.norm())
    analysis = eb.analyze(problem, k=min(_EIGENPAIRS, problem.n_parameters), grid=0, tolerance=1e-5)
    found |= _of_curvature(analysis)
    vectors = analysis.eigenvectors[:, :_TOP]
    for kind, coordinates in _coordinates(problem).items():
        complexity = eb.boundary_complexity(
            coordinates,
            level=LEVELS[0],
            levels=LEVELS,
            vectors=vectors if kind == "plain" else None,
            points=_POINTS,
            seed=seed,
        )
        found |= _of_standard_confidence(complexity, kind)
        if complexity.spread is not None:
            found |= _of_points(complexity.spread, kind)
        if len(complexity.encoded):
            found |= {"encoded": complexity.encoded[-1], "best encoded": complexity.best[-1]}
            shares = np.diff(complexity.encoded, prepend=0.0) / complexity.encoded[-1]
            found["effective number, boundary"] = float(np.exp(entr(shares).sum()))
    return found | _of_geometry(model, whole, x, seed)


def _coordinates(problem: eb.Problem) -> dict[str, eb.Problem]:
    network = problem.network
    singular = {
        name: tensor.norm() / min(tensor.flatten(1).shape if tensor.ndim > 1 else (1,)) ** 0.5
        for name, tensor in network.parameters.items()
    }
    units = {name: torch.where(unit > 0, unit, 1.0) for name, unit in singular.items()}
    return {
        "plain": problem,
        "layer": eb.layer_normalized(problem),
        "singular": eb.Problem.of(network.in_units(units), problem.loss, problem.samples),
    }


def _of_standard_confidence(complexity: BoundaryComplexity, kind: str) -> dict[str, float]:
    found = {f"T {kind}": complexity.temperature}
    for level in LEVELS:
        at_level = complexity.at(level)
        found[f"N {kind} {level}"] = at_level.count
        found[f"d {kind} {level}"] = at_level.dimension
        share = at_level.eigenvalues / at_level.eigenvalues.sum()
        found[f"entropy {kind} {level}"] = float(np.exp(entr(share).sum()))
    return found


def _of_curvature(analysis: eb.Analysis) -> dict[str, float]:
    """What was computed from the Hessian before: outliers, alignments, complexity."""
    values, few = analysis.eigenvalues, analysis.complexity
    norm = analysis.outlier_count.threshold
    return {
        "largest eigenvalue": float(values[0]),
        "gap rule": gap_rule(values),
        "N_F": analysis.outliers,
        "F / largest": norm / float(values[0]),
        "effective number": few.effective_number,
        "mass outside": 1 - float(few.mass[:_TOP].sum()),
        "G 1e-3": few.generalization(1e-3).value,
        "G 1e-2": few.generalization(1e-2).value,
    }


def _of_points(rank: BoundaryRank, kind: str) -> dict[str, float]:
    """The rank, and other ways to count the directions that hold the boundary's gradients."""
    half = float(np.sqrt(rank.shares).sum() ** 2)
    found = {f"rank {kind}": rank.rank, f"rank of order ½ {kind}": half}
    for c in _RESOLUTIONS:
        found[f"gradients above {c} {kind}"] = float((rank.shares / (rank.shares + c)).sum())
    return found


def _of_geometry(model: nn.Module, problem: eb.Problem, x: Tensor, seed: int) -> dict[str, float]:
    """What inputs alone tell: distances, flips by noise, crossings of segments between samples."""
    distances = eb.boundary_distance(problem, x[:_DISTANCES], seed=seed).value
    near = _NEAR * float(x.flatten(1).var(0).mean().sqrt())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        own = model(x).argmax(1)
        noise = torch.randn(_NOISY, *x.shape, generator=generator, dtype=x.dtype)
        flips = [float((model(x + near * each).argmax(1) != own).float().mean()) for each in noise]
        start, end = torch.randint(len(x), (2, _SEGMENTS), generator=generator)
        along = torch.linspace(0, 1, _ALONG, dtype=x.dtype)
        classes = torch.stack([model(torch.lerp(x[start], x[end], t)).argmax(1) for t in along])
        changes = (classes[1:] != classes[:-1]).float().sum(0)
        length = (x[end] - x[start]).flatten(1).norm(dim=1)
    return {
        "median margin": float(np.median(distances)),
        "5 % margin": float(np.quantile(distances, 0.05)),
        "area": eb.boundary_area(problem, seed=seed).value,
        "volume": float((distances < near).mean()),
        "flips": float(np.mean(flips)),
        "crossings": float(changes.mean()),
        "crossings a length": float(changes.sum() / length.sum()),
    }
