"""Measures of one trained network as plain numbers, by which the claims are tested.

Each function takes a :class:`Subject` and returns a dict of numbers; :data:`MEASURES` lists the
configurations of each.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau
from torch import Tensor

from eigenboundary.alignment.complexity import Complexity
from eigenboundary.alignment.error_bounds import alignment_errors
from eigenboundary.alignment.reinforcing_gradients import alignments, training_alignment
from eigenboundary.analysis.qualities import of_smallest_margin, with_interval
from eigenboundary.boundary import (
    BoundaryDistance,
    SampleMargins,
    boundary_area,
    boundary_complexity,
    boundary_distance,
    boundary_points,
)
from eigenboundary.curvature import (
    Eigenpairs,
    FunctionalHessianOperator,
    GaussNewtonOperator,
    HessianOperator,
    top_eigenpairs,
)
from eigenboundary.curvature.spectrum.controls import CONTROLS, control_vectors
from eigenboundary.curvature.spectrum.norm import spectral_norm
from eigenboundary.curvature.spectrum.outliers import count_outliers
from eigenboundary.experiments import datasets
from eigenboundary.experiments.train import TrainedNetwork
from eigenboundary.experiments.training import evaluate
from eigenboundary.experiments.unit_gradients import loss_gradients
from eigenboundary.landscape import layer_normalized, loss_at
from eigenboundary.landscape.reparametrization import layer_parameters, random_alphas, reparametrize
from eigenboundary.problem.problem import Problem

Array = NDArray[np.float64]
Numbers = dict[str, float]

_TOP = 10
_BOUNDARY_POINTS = 300
_DRAWS = 5
_FRESH_SAMPLES = 20_000
_STEPS = (0.01, 0.1, 1.0)
_FRESH_SEED = 10**6
# Samples whose margins are measured.
_MARGIN_SAMPLES = 200


class Subject:
    """A trained network under study; values that several measures need are computed once."""

    def __init__(self, trained: TrainedNetwork) -> None:
        self.trained, self.seed = trained, trained.seed

    @cached_property
    def problem(self) -> Problem:
        """The training loss, in float64."""
        trained, loss = self.trained, self.trained.config.training.loss
        return Problem(trained.model, trained.data.train, loss, dtype="float64", seed=self.seed)

    @cached_property
    def operator(self) -> HessianOperator:
        """The Hessian of the training loss."""
        return HessianOperator(self.problem)

    @cached_property
    def pairs(self) -> Eigenpairs:
        """All non-null eigenpairs of the Hessian."""
        return _eigenpairs(self.operator, None, self.seed)

    @cached_property
    def points(self) -> Tensor:
        """Points on the decision boundary."""
        found = boundary_points(self.problem, n=_BOUNDARY_POINTS, seed=self.seed)
        return torch.as_tensor(found.points)

    @cached_property
    def nearest(self) -> BoundaryDistance:
        """The boundary nearest to the first training samples."""
        x = self.trained.data.train[0][:_MARGIN_SAMPLES].double()
        return boundary_distance(self.problem, x, seed=self.seed)

    @property
    def distances(self) -> Array:
        """Distances of the first training samples to the boundary."""
        return np.asarray(self.nearest.value)

    @cached_property
    def complexity(self) -> Complexity:
        """The complexity numbers from all non-null eigenpairs."""
        return _complexity(self.problem, self.pairs)


def _eigenpairs(operator: HessianOperator, k: int | None, seed: int, guard: int = 0) -> Eigenpairs:
    pairs = top_eigenpairs(operator, k, guard=guard, seed=seed)
    # Pairs that were only half found must not be measured, and kept, as if they were the result.
    pairs.outcome.raise_if_interrupted()
    return pairs


def _complexity(problem: Problem, pairs: Eigenpairs) -> Complexity:
    cosines = training_alignment(problem, pairs.vectors).cosines.cpu().double().numpy()
    return Complexity(cosines, problem.n_parameters, alignment_errors(pairs, cosines))


def _outliers(subject: Subject, pairs: Eigenpairs) -> Numbers:
    """Return the number of outliers, and one where no more are possible, else zero."""
    norm, _ = spectral_norm(FunctionalHessianOperator(subject.problem), seed=subject.seed)
    values = pairs.all_values.cpu().double().numpy()
    found = count_outliers(values, norm, size=subject.problem.n_parameters)
    return {"outliers": found.count, "outliers_resolved": float(found.resolved)}


def _boundary(subject: Subject) -> Numbers:
    """Measure area, dimension, count and rank of the boundary."""
    area = boundary_area(subject.problem, seed=subject.seed)
    found = boundary_complexity(subject.problem, seed=subject.seed)
    return {
        "boundary_area": area.value,
        "boundary_dimension": found.dimension,
        "boundary_count": found.count,
        "boundary_rank": found.rank,
    }


def _mass(problem: Problem, x: Tensor, vectors: Tensor) -> Array:
    """Return the mean squared alignment with each direction."""
    return np.asarray(alignments(problem, x, vectors).double().square().mean(0).cpu().numpy())


def boundary_mass(subject: Subject) -> Numbers:
    """Measure the squared alignment at boundary points, in ten directions of each kind."""
    numbers, pairs, seed = {}, subject.pairs, subject.seed
    for kind in ("top", *CONTROLS):
        vectors = pairs.vectors[:, :_TOP]
        if kind != "top":
            vectors = control_vectors(subject.operator, kind, _TOP, seed=seed, eigenpairs=pairs)
        numbers[kind] = float(_mass(subject.problem, subject.points, vectors).sum())
    return numbers


def complexity(subject: Subject) -> Numbers:
    """Measure complexity from all non-null eigenpairs of the Hessian."""
    pairs, found = subject.pairs, subject.complexity
    measure = found.generalization(1e-3)
    mass = _mass(subject.problem, subject.points, pairs.vectors)
    reached = np.flatnonzero(np.cumsum(mass) >= 0.95)
    return {
        **_boundary(subject),
        **_outliers(subject, pairs),
        "generalization": measure.value,
        "generalization_low": measure.interval[0],
        "generalization_high": measure.interval[1],
        "effective_number": found.effective_number,
        "mass_outside": found.mass_outside,
        # One more than there are, where all that are not null hold less.
        "eigenvectors_for_95": float(reached[0] + 1 if len(reached) else len(mass) + 1),
        "largest_eigenvalue": float(pairs.values[0]),
        "trace": float(pairs.values.sum()),
    }


def outliers(subject: Subject) -> Numbers:
    """Count the outliers, and measure the boundary beside them."""
    pairs = _eigenpairs(subject.operator, _TOP, subject.seed, guard=20)
    return {**_boundary(subject), **_outliers(subject, pairs)}


def reparametrization(subject: Subject) -> Numbers:
    """Measure by how much each number changes when layers pass factors to each other.

    The result is the largest over the smallest value among the network and five reparametrizations
    of it. G_θ and the effective number belong to the Gauss–Newton matrix, all of whose eigenpairs
    are cheap. Its trace equals the Hessian's: the output of a ReLU network is piecewise linear in
    each single parameter, so the difference of the two matrices has a zero diagonal.
    """
    original = copy.deepcopy(subject.trained.model).double()
    layers = len(layer_parameters(original))
    models = [original]
    for draw in range(_DRAWS):
        alphas = random_alphas(layers, 0.1, 10.0, seed=_DRAWS * subject.seed + draw)
        models.append(reparametrize(original, alphas))
    rows: dict[str, list[float]] = {}
    for model in models:
        problem = Subject(replace(subject.trained, model=model)).problem
        for prefix, seen in (("", problem), ("normalized_", layer_normalized(problem))):
            pairs = top_eigenpairs(GaussNewtonOperator(seen), None, method="gram")
            found = _complexity(seen, pairs)
            largest = _eigenpairs(HessianOperator(seen), 1, subject.seed).values[0]
            for name, value in {
                "generalization": found.generalization(1e-2).value,
                "effective_number": found.effective_number,
                "largest_eigenvalue": float(largest),
                "trace": float(pairs.values.sum()),
            }.items():
                rows.setdefault(prefix + name, []).append(value)
    return {name: max(values) / min(values) for name, values in rows.items()}


def margins(subject: Subject) -> Numbers:
    """Measure how eigenvectors and simpler rivals find the samples nearest to the boundary."""
    pairs, distances = _eigenpairs(subject.operator, _TOP, subject.seed), subject.distances
    aligned, n = training_alignment(subject.problem, pairs.vectors), len(distances)
    cosines = aligned.cosines.cpu().double().numpy()[:n]
    outputs = subject.problem.network.predict(subject.trained.data.train[0][:n].double())
    leading = outputs.topk(2, dim=1).values.cpu().numpy()
    # The narrower of the two sides of each section.
    section = [min(distances[c.argmax()], distances[c.argmin()]) for c in cosines.T]
    order = kendalltau(np.arange(len(section)), section).statistic
    chosen = {
        "eigenvector": np.abs(cosines[:, 0]).argmax(),
        "logit_gap": (leading[:, 0] - leading[:, 1]).argmin(),
        "gradient": aligned.log_norms.cpu().numpy()[:n].argmax(),
    }
    nearer = {name: float((distances < distances[row]).mean()) for name, row in chosen.items()}
    ranks = {f"rank_{name}": share for name, share in nearer.items()}
    return {"order": 0.0 if np.isnan(order) else float(order), **ranks}


def loss_change(subject: Subject) -> Numbers:
    """Measure the median relative error of ½ t² Σ λ_i A_i² for steps of length t along g/‖g‖."""
    problem = subject.problem
    directions = loss_gradients(problem, reinforcing=True).T
    curvatures = (directions * (subject.operator @ directions)).sum(0)  # Σ λ_i A_i², all i
    numbers = {}
    for step in _STEPS:
        moved = loss_at(problem, problem.network.theta + step * directions.T)
        measured = torch.as_tensor(np.asarray(moved.loss)) - problem.loss_value
        predicted = 0.5 * step**2 * curvatures.cpu()
        error = (measured - predicted).abs() / measured.abs().clamp_min(1e-300)
        numbers[f"step_{step:g}"] = float(error.median())
    return numbers


def minimum(subject: Subject) -> Numbers:
    """Measure the boundary's area and margins at a minimum, and its accuracy on fresh samples."""
    options = {**subject.trained.config.dataset, "samples": _FRESH_SAMPLES}
    fresh = datasets.load(**options, seed=_FRESH_SEED + subject.seed)
    parts = zip(fresh.train, fresh.validation, fresh.test, strict=True)
    x, y = (torch.cat(tensors) for tensors in parts)
    area = boundary_area(subject.problem, seed=subject.seed)
    known = subject.nearest.converged
    margins = SampleMargins(np.flatnonzero(known), subject.distances[known])
    certain = bool(known.all()) and len(known) == len(subject.trained.data.train[0])
    return {
        **with_interval("boundary_area", area.value, area.interval),
        **with_interval("median_margin", margins.median, margins.median_interval),
        **with_interval(
            "five_percent_margin", margins.quantile(0.05), margins.quantile_interval(0.05)
        ),
        **of_smallest_margin(float(margins.distances.min()), certain=certain),
        "accuracy": evaluate(subject.trained.model, (x, y))[1],
    }


_PLANE = ("blobs-normal", "circles-normal", "half-moons-normal", "checkerboard-normal")
_OTHERS = ("hierarchical-four", "iris-normal", "digits-normal")
_REGIMES = ("blobs-normal", "blobs-large-norm", "blobs-adversarial")
_COUNTED = ("hierarchical-two", "hierarchical-four", "circles-normal", "half-moons-normal")
_STEPPED = ("blobs-normal", "circles-normal", "hierarchical-four")
_MINIMA = ("checkerboard-normal", "checkerboard-wide", "blobs-normal", "blobs-adversarial")
#: Measures by name: the function, and the configurations that are measured.
MEASURES: dict[str, tuple[Callable[[Subject], Numbers], tuple[str, ...]]] = {
    "boundary_mass": (boundary_mass, (*_PLANE, *_OTHERS)),
    "complexity": (complexity, _REGIMES),
    "outliers": (outliers, _COUNTED),
    "reparametrization": (reparametrization, ("blobs-normal",)),
    "margins": (margins, _PLANE),
    "loss_change": (loss_change, _STEPPED),
    "minimum": (minimum, _MINIMA),
}
