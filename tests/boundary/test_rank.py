from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import eigenboundary as eb
from eigenboundary.boundary.rank import boundary_alignment, gradient_kernel, lengths_of
from tests.boundary.test_distance import random_network
from tests.references import Golden, flat_gradient


def unit_gradients(model: nn.Module, found: eb.BoundaryPoints) -> np.ndarray:
    """∇θ(f_a − f_b), each of length one, a backward pass a point."""
    rows = []
    for point, (a, b) in zip(found.points, found.classes, strict=True):
        outputs = model(torch.tensor(point)[None])[0]
        rows.append(flat_gradient(outputs[a] - outputs[b], model).numpy())
    gradients = np.stack(rows)
    return gradients / np.linalg.norm(gradients, axis=1, keepdims=True)


def points_of(model: nn.Module, seed: int, n: int = 60) -> tuple[eb.Problem, eb.BoundaryPoints]:
    x = torch.randn(80, 2, generator=torch.Generator().manual_seed(seed)).double()
    problem = eb.Problem(model, (x, torch.arange(80) % 3))
    return problem, eb.boundary_points(problem, n=n)


def several_classes(seed: int) -> nn.Module | None:
    model = random_network(seed, 2, 3)
    x = torch.randn(80, 2, generator=torch.Generator().manual_seed(seed)).double()
    return model if len(model(x).argmax(1).unique()) > 1 else None


@given(st.integers(0, 10_000))
def test_the_rank_is_that_of_the_dense_mean_of_unit_gradients(seed: int) -> None:
    model = several_classes(seed)
    if model is None:
        return
    problem, points = points_of(model, seed)
    found = eb.boundary_rank(problem, points=points)
    gradients = unit_gradients(model, points)
    shares = np.linalg.svd(gradients, compute_uv=False) ** 2 / len(gradients)
    expected = np.exp(-(shares * np.log(shares.clip(1e-300))).sum())
    np.testing.assert_allclose(found.rank, expected, rtol=1e-6)
    np.testing.assert_allclose(found.best[: len(shares)], np.cumsum(shares), atol=1e-8)
    assert found.rank_interval[0] <= found.rank <= found.rank_interval[1]


@given(st.integers(0, 10_000))
def test_directions_hold_what_they_hold_and_no_more_than_the_best(seed: int) -> None:
    model = several_classes(seed)
    if model is None:
        return
    problem, points = points_of(model, seed)
    pairs = eb.top_eigenpairs(eb.HessianOperator(problem), 6)
    lengths = lengths_of(gradient_kernel(problem, points))
    cosines = boundary_alignment(problem, points, pairs.vectors, lengths)
    expected = unit_gradients(model, points) @ pairs.vectors.numpy()
    np.testing.assert_allclose(cosines.numpy(), expected, atol=1e-10)
    held = cosines.square().mean(0).cumsum(0).numpy()
    assert (held <= eb.boundary_rank(problem, points=points).best[:6] + 1e-9).all()


def test_intervals_from_few_points_hold_the_rank_of_many(gauss_adversarial: Golden) -> None:
    problem = eb.Problem(gauss_adversarial.model(), gauss_adversarial.data)
    points = eb.boundary_points(problem, n=600)
    many = eb.boundary_rank(problem, points=points).rank
    held = 0
    for seed in range(20):
        some = np.random.default_rng(seed).permutation(len(points))[:60]
        few = eb.BoundaryPoints(
            points.points[some], points.classes[some], points.gap[some], points.pairs[some]
        )
        low, high = eb.boundary_rank(problem, points=few).rank_interval
        held += low <= many <= high
    assert held >= 18


def test_the_rank_orders_two_starts_of_the_paper(
    gauss_normal: Golden, gauss_adversarial: Golden
) -> None:
    plain, robust = (
        eb.boundary_rank(g.model(), g.data, points=eb.boundary_points(g.model(), g.data, n=200))
        for g in (gauss_normal, gauss_adversarial)
    )
    assert plain.rank_interval[1] < robust.rank_interval[0]


def test_points_without_a_gradient_are_left_out_and_counted() -> None:
    class Dead(nn.Module):
        """The boundary x1 = 0; left of x2 = 0 no parameter has a derivative."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            bump = (self.weight * x[:, [1]].relu()).sum(1) * x[:, 0]
            return torch.stack([x[:, 0] + bump, torch.zeros_like(bump)], dim=1)

    x = torch.randn(80, 2, generator=torch.Generator().manual_seed(0)).double()
    model = Dead()
    points = eb.boundary_points(model, (x, (x[:, 0] > 0).long()), n=40)
    x0 = points.points.copy()
    x0[:, 0] = 1e-9
    moved = eb.BoundaryPoints(x0, points.classes, points.gap, points.pairs)
    found = eb.boundary_rank(model, (x, (x[:, 0] > 0).long()), points=moved)
    assert found.n_vanished == (x0[:, 1] <= 0).sum() > 0
    np.testing.assert_allclose(found.rank, 1.0)
    problem = eb.Problem(model, (x, (x[:, 0] > 0).long()))
    lengths = lengths_of(gradient_kernel(problem, moved))
    cosines = boundary_alignment(problem, moved, torch.eye(2).double(), lengths)
    expected = torch.where(lengths > 0, 0.5, 0.0).double()
    torch.testing.assert_close(cosines.square(), expected.unsqueeze(1).expand(-1, 2))


def test_points_must_be_boundary_points() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(eb.InvalidInputError, match="points"):
        eb.boundary_rank(model, (torch.randn(9, 2), torch.arange(9) % 2), points=torch.randn(3, 2))


def test_intervals_of_two_hundred_points_hold_the_rank_of_a_thousand() -> None:
    held = 0
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(200, 2, generator=generator, dtype=torch.float64)
        y = ((torch.atan2(x[:, 1], x[:, 0]) + x.norm(dim=1)).floor() % 3).long()
        torch.manual_seed(seed)
        layers = [nn.Linear(2, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3)]
        model = nn.Sequential(*layers).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(300):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        few, many = (
            eb.boundary_rank(model, (x, y), points=eb.boundary_points(model, (x, y), n=n))
            for n in (200, 1000)
        )
        held += few.rank_interval[0] <= many.rank <= few.rank_interval[1]
    assert held == 6
