"""Distances in many dimensions, against exact ones of networks small enough to enumerate."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

import eigenboundary as eb
from eigenboundary.boundary.search import annealing
from eigenboundary.boundary.search.input_gradients import depth_gradient
from eigenboundary.boundary.search.norms import Geometry

DIMENSION, HIDDEN = 12, 5
Box = tuple[float, float] | None


def small_network(seed: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(DIMENSION, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2)).double()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).double()
    return model


def nearest_in_a_region(x, normal, offset, inner, outer, norm: float, box: Box) -> float:
    """Distance of x from {y : normal·y + offset = 0, inner y + outer >= 0} in the box."""
    low, high = box or (None, None)
    if math.isinf(norm):  # least t with |y - x| <= t
        eye, one = np.eye(len(x)), np.ones((len(x), 1))
        upper = np.vstack(
            [
                np.hstack([eye, -one]),
                np.hstack([-eye, -one]),
                np.hstack([-inner, 0 * outer[:, None]]),
            ]
        )
        found = linprog(
            np.append(np.zeros(len(x)), 1.0),
            A_ub=upper,
            b_ub=np.concatenate([x, -x, outer]),
            A_eq=np.append(normal, 0.0)[None],
            b_eq=[-offset],
            bounds=[(low, high)] * len(x) + [(0, None)],
        )
        return float(found.fun) if found.status == 0 else math.inf
    constraints = [
        {"type": "eq", "fun": lambda y: normal @ y + offset, "jac": lambda y: normal},
        {"type": "ineq", "fun": lambda y: inner @ y + outer, "jac": lambda y: inner},
    ]
    found = minimize(
        lambda y: ((y - x) ** 2).sum(),
        x,
        jac=lambda y: 2 * (y - x),
        bounds=[(low, high)] * len(x),
        constraints=constraints,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    feasible = abs(normal @ found.x + offset) < 1e-8 and (inner @ found.x + outer).min() > -1e-8
    return float(np.linalg.norm(found.x - x)) if feasible else math.inf


def exact_distance(model: nn.Sequential, x: np.ndarray, norm: float, box: Box = None) -> float:
    """The least over all patterns of active units: in each the network is linear."""
    first, last = model[0], model[2]
    weight, bias = first.weight.detach().numpy(), first.bias.detach().numpy()
    difference = (last.weight[0] - last.weight[1]).detach().numpy()
    shift = float((last.bias[0] - last.bias[1]).detach())
    distances = []
    for pattern in itertools.product((0.0, 1.0), repeat=HIDDEN):
        active = np.array(pattern)
        normal = (difference * active) @ weight
        offset = float((difference * active) @ bias) + shift
        side = 2 * active - 1
        distances.append(
            nearest_in_a_region(x, normal, offset, side[:, None] * weight, side * bias, norm, box)
        )
    return min(distances)


@pytest.mark.parametrize(("norm", "box"), [(2, None), (2, (-1.0, 1.0)), (math.inf, None)])
def test_distances_in_many_dimensions_are_the_exact_ones(norm: float, box: Box) -> None:
    rng = np.random.default_rng(5)
    ratios = []
    for seed in range(4):
        model = small_network(seed)
        x = rng.uniform(-1, 1, size=(3, DIMENSION))
        found = eb.boundary_distance(model, x, norm=norm, box=box, seed=seed)
        exact = np.array([exact_distance(model, row, norm, box) for row in x])
        reached = np.isfinite(exact)
        np.testing.assert_array_equal(np.isfinite(found.value), reached)
        assert (found.value[reached] >= exact[reached] * (1 - 1e-6)).all()
        ratios += list(found.value[reached] / exact[reached])
    # A local search: the nearest of all nearly always, and never far off.
    assert np.mean(np.array(ratios) <= 1 + 1e-3) >= 0.9
    assert max(ratios) < (1.1 if norm == 2 else 1.25)


def test_points_found_in_a_box_lie_in_it_and_on_the_boundary() -> None:
    model = small_network(1)
    x = np.random.default_rng(0).uniform(-1, 1, size=(6, DIMENSION))
    found = eb.boundary_distance(model, x, box=(-1, 1))
    known = found.point[np.isfinite(found.value)]
    assert np.abs(known).max() <= 1
    outputs = model(torch.tensor(known)).detach().numpy()
    np.testing.assert_allclose(outputs[:, 0], outputs[:, 1], atol=1e-9)


class Steps(nn.Module):
    """Flat but for a strip: classes change at 0 along the first entry, gradients are 0 beyond 1."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        value = self.slope * x[:, 0].clamp(-1, 1)
        return torch.stack([value, -value], dim=1)


def test_where_gradients_vanish_the_boundary_is_found_towards_samples(monkeypatch) -> None:
    monkeypatch.setattr(annealing, "_WALKS", ())  # noise would find it
    x = np.zeros((2, DIMENSION))
    x[:, 0] = [-3.0, 4.0]
    found = eb.boundary_distance(Steps(), x)
    np.testing.assert_allclose(found.value, [3, 4], rtol=1e-6)
    assert np.isinf(found.lower_estimate).all()


def test_walks_that_start_again_and_go_on_come_nearer(monkeypatch) -> None:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Linear(40, 200), nn.ReLU(), nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 3)
    ).double()
    for parameter in model.parameters():
        fan_in = parameter.shape[-1] if parameter.ndim > 1 else 1
        parameter.data = torch.randn(parameter.shape, generator=generator).double() / fan_in**0.5
    x = np.random.default_rng(0).uniform(-2, 2, size=(12, 40))
    found = eb.boundary_distance(model, x, box=(-2, 2))
    monkeypatch.setattr(annealing, "_WALKS", ())
    without = eb.boundary_distance(model, x, box=(-2, 2))
    assert found.converged.all()
    assert (found.value <= without.value * (1 + 1e-5)).all()
    assert np.mean(found.value < 0.999 * without.value) >= 0.2
    assert (found.value / without.value).min() < 0.99


@pytest.mark.parametrize("dimension", [3, DIMENSION])
def test_one_input_and_no_other_to_start_towards_is_enough(dimension: int) -> None:
    model = nn.Linear(dimension, 2).double()
    model.weight.data = torch.eye(2, dimension, dtype=torch.float64)
    model.bias.data.zero_()
    x = np.zeros((1, dimension))
    x[0, 0] = 1.0
    found = eb.boundary_distance(model, x)
    np.testing.assert_allclose(found.value, 0.5**0.5)


def test_a_flat_place_from_which_no_boundary_is_met_has_none(monkeypatch) -> None:
    monkeypatch.setattr(annealing, "_WALKS", ())
    found = eb.boundary_distance(Steps(), np.full((1, DIMENSION), 4.0))
    assert np.isinf(found.value).all()
    assert not found.converged.any()


def test_a_search_in_many_dimensions_is_repeated_by_its_seed() -> None:
    model, x = small_network(2), np.random.default_rng(1).normal(size=(5, DIMENSION))
    first, again = (eb.boundary_distance(model, x, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.point, again.point)


@pytest.mark.parametrize("target", [None, 2])
def test_the_gradient_of_the_depth_is_that_of_finite_differences(target: int | None) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 4)).double()
    problem = eb.Problem(model, (torch.eye(3, 4).double(), torch.arange(3)), batch_size=2)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).double()
    own = torch.tensor([0, 1, 3, 1, 0])
    other = None if target is None else torch.full_like(own, target)

    def value(at: Tensor) -> tuple[np.ndarray, np.ndarray]:
        outputs = model(at).detach().numpy()
        rows = np.arange(len(outputs))
        mine = outputs[rows, own]
        rest = outputs.copy()
        rest[rows, own] = -np.inf
        depth = rest.max(1) - mine
        return depth, depth if target is None else outputs[:, target] - mine

    depth, towards, gradient = depth_gradient(problem.network, x, own, other)
    np.testing.assert_allclose(depth, value(x)[0])
    np.testing.assert_allclose(towards, value(x)[1])
    for entry in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[entry] = 1e-6
        slope = (value(x + step)[1] - value(x - step)[1]) / 2e-6
        np.testing.assert_allclose(gradient[:, entry], slope, atol=1e-7)


@pytest.mark.parametrize("norm", [2.0, math.inf])
def test_inputs_are_moved_to_the_sphere_and_gradients_kept_in_the_box(norm: float) -> None:
    geometry = Geometry(norm, (0.0, 1.0))
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(6, 3, 2, generator=generator) for _ in range(2))
    radius = torch.linspace(0.05, 0.2, 6)
    moved = geometry.onto_sphere(x, y, radius)
    torch.testing.assert_close(geometry.length(moved - x), radius)
    aligned = torch.nn.functional.cosine_similarity(
        (moved - x).flatten(1), (y - x).flatten(1), dim=1
    )
    assert (aligned > (0.999999 if norm == 2 else 0.3)).all()
    gradient = torch.tensor([[1.0, -1.0, 1.0, -1.0, 2.0]])
    sides = torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.5]])
    kept = geometry.not_outwards(sides, gradient)
    assert kept.tolist() == [[0.0, -1.0, 1.0, 0.0, 2.0]]
    direction, rate = geometry.direction(gradient)
    dual = torch.linalg.vector_norm(gradient, 2 if norm == 2 else 1)
    torch.testing.assert_close(rate, dual.reshape(1))
    size = direction.norm() if norm == 2 else direction.abs().mean()
    torch.testing.assert_close(size, torch.tensor(1.0))


def test_only_large_networks_get_fewer_walks() -> None:
    counts = [annealing.affordable_walks(flops) for flops in (0, 10**6, 10**8, 10**9, 10**12)]
    assert counts[:3] == [len(annealing._WALKS)] * 3
    assert counts[3] < counts[2]
    assert counts[4] == annealing._LEAST_WALKS
