"""The statements of docs/why.md, each shown to hold on random networks."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, jacrev

import eigenboundary as eb
from eigenboundary.boundary.standard_confidence import curvature_roots, temperature
from tests.boundary.test_distance import random_network


def gap(model: nn.Module, theta: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """f_0 - f_1 at inputs (m, 2)."""
    outputs = functional_call(model, theta, (x,))
    return outputs[:, 0] - outputs[:, 1]


@given(st.integers(0, 10_000))
def test_a_small_step_moves_the_boundary_by_its_product_with_the_gradient(seed: int) -> None:
    model = random_network(seed, 2, 2).double()
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(seed)).double()
    own = model(x).argmax(1)
    if own.min() == own.max():
        return
    points = torch.as_tensor(eb.boundary_points(model, (x, own), n=5, seed=seed).points)
    theta = {name: tensor.detach() for name, tensor in model.named_parameters()}
    generator = torch.Generator().manual_seed(seed + 1)
    size = 1e-6
    step = {
        name: torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        for name, tensor in theta.items()
    }
    for point in points:
        normal = jacrev(lambda z: gap(model, theta, z.unsqueeze(0))[0])(point)
        of_theta = jacrev(lambda t, z=point: gap(model, t, z.unsqueeze(0))[0])(theta)
        product = sum(float((of_theta[name] * step[name]).sum()) for name in theta)
        predicted = -product / float(normal.norm())
        if not 1e-3 < abs(predicted) < 1e3 or float(normal.norm()) < 1e-3:
            continue  # too little moves, or the normal is not known
        moved = {name: theta[name] + size * step[name] for name in theta}
        unit, along = normal / normal.norm(), 0.0
        for _ in range(3):  # Newton's method along the normal
            z = point + along * unit
            slope = jacrev(lambda t, m=moved: gap(model, m, t.unsqueeze(0))[0])(z) @ unit
            along -= float(gap(model, moved, z.unsqueeze(0))[0] / slope)
        assert abs(along / size - predicted) <= 1e-2 * abs(predicted) + 1e-3


@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(1e-3, 0.5))
def test_the_samples_weigh_at_most_twice_the_level_in_the_mean(
    seed: int, classes: int, level: float
) -> None:
    outputs = torch.randn(50, classes, generator=torch.Generator().manual_seed(seed)).double()
    factor = temperature(outputs, level)
    weights = curvature_roots(outputs, factor).square().sum((1, 2)) / factor**2
    assert float(weights.mean()) <= 2 * level


@given(st.integers(0, 10_000), st.floats(1e-3, 0.5))
def test_of_two_classes_a_sample_weighs_more_the_nearer_its_outputs_are(
    seed: int, level: float
) -> None:
    outputs = torch.randn(50, 2, generator=torch.Generator().manual_seed(seed)).double()
    factor = temperature(outputs, level)
    weights = curvature_roots(outputs, factor).square().sum((1, 2)).numpy()
    gaps = (outputs[:, 0] - outputs[:, 1]).abs().numpy()
    order = np.argsort(gaps)
    assert (np.diff(weights[order]) <= 1e-12 * weights.max()).all()
    mean = weights.mean() / factor**2 / 2  # p (1 - p)
    assert 0.36 * level <= mean <= level
