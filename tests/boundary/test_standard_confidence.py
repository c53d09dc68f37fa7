from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eigenboundary as eb
from eigenboundary.boundary.standard_confidence import contrasts, curvature_roots, temperature


def random_outputs(seed: int, classes: int, size: float) -> torch.Tensor:
    return size * torch.randn(40, classes, generator=torch.Generator().manual_seed(seed)).double()


@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(1e-6, 1e6), st.floats(1e-4, 0.5))
def test_the_loss_of_own_predictions_is_the_level(
    seed: int, classes: int, size: float, level: float
) -> None:
    outputs = random_outputs(seed, classes, size)
    factor = temperature(outputs, level)
    loss = torch.nn.functional.cross_entropy(factor * outputs, outputs.argmax(1))
    assert math.isclose(float(loss), level, rel_tol=1e-9)


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_a_factor_on_the_outputs_divides_the_temperature(seed: int, factor: float) -> None:
    outputs = random_outputs(seed, 3, 1.0)
    found = temperature(factor * outputs, 0.03)
    assert math.isclose(factor * found, temperature(outputs, 0.03), rel_tol=1e-10)


@pytest.mark.parametrize(
    ("outputs", "level", "words"),
    [
        (torch.zeros(4, 3), 0.1, "some factor"),
        (torch.tensor([[1.0, 1.0], [1.0, 0.0]]), 0.03, "ties alone give 0.347"),
        (torch.randn(4, 2), 0.7, "below log C = 0.693"),
        (torch.randn(4, 2), 0.0, "above 0"),
        (torch.randn(4, 2), float("nan"), "level"),
    ],
)
def test_a_level_that_no_factor_gives_is_refused(
    outputs: torch.Tensor, level: float, words: str
) -> None:
    with pytest.raises(eb.InvalidInputError, match=words) as caught:
        temperature(outputs, level)
    assert caught.value.name == "level"


@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(1e-2, 1e2))
def test_roots_give_the_curvature_of_the_cross_entropy(
    seed: int, classes: int, factor: float
) -> None:
    outputs = random_outputs(seed, classes, 1.0)
    p = torch.softmax(factor * outputs, 1)
    curvature = factor**2 * (torch.diag_embed(p) - p[:, :, None] * p[:, None, :])
    basis = contrasts(classes)
    roots = curvature_roots(outputs, factor)
    whole = basis @ roots.mT @ roots @ basis.T
    torch.testing.assert_close(whole, curvature, rtol=0, atol=1e-13 * factor**2)


def test_the_curvature_of_sure_predictions_keeps_its_digits() -> None:
    outputs = torch.tensor([[50.0, 0.0]], dtype=torch.float64)
    curvature = float(curvature_roots(outputs, 1.0).square().sum())
    np.testing.assert_allclose(curvature, 2 * math.exp(-50), rtol=1e-12)
