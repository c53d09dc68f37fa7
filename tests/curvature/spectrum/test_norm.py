from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import eigenboundary as eb


@given(st.integers(1, 60), st.integers(0, 10_000))
def test_the_norm_is_that_of_the_dense_matrix(size: int, seed: int) -> None:
    matrix = torch.randn(size, size, generator=torch.Generator().manual_seed(seed)).double()
    matrix = matrix + matrix.T
    norm, residual = eb.spectral_norm(eb.MatrixOperator(matrix))
    expected = float(torch.linalg.matrix_norm(matrix, 2))
    assert abs(norm - expected) <= residual + 1e-9 * expected
    assert residual < 0.01 * expected


@pytest.mark.parametrize("size", [1, 40])
def test_the_norm_of_zero_is_zero(size: int) -> None:
    assert eb.spectral_norm(eb.MatrixOperator(torch.zeros(size, size))) == (0.0, 0.0)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_hessian_is_gauss_newton_plus_functional(loss: str, dtype: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 9), nn.Tanh(), nn.Linear(9, 3))
    problem = eb.Problem(model, (torch.randn(30, 2), torch.arange(30) % 3), loss, dtype=dtype)
    rest = eb.FunctionalHessianOperator(problem)
    rest.expect(10**9)
    hessian, gauss_newton, functional = (
        operator.to_dense().double().numpy()
        for operator in (eb.HessianOperator(problem), eb.GaussNewtonOperator(problem), rest)
    )
    allowed = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(hessian, gauss_newton + functional, atol=allowed)
    assert "linearized" in str(rest.record)  # the traced product is the same as the plain one


@pytest.mark.parametrize(
    ("operator", "seed", "name"),
    [(3, 0, "operator"), (eb.MatrixOperator(torch.eye(3)), -1, "seed")],
)
def test_what_is_no_operator_or_seed_is_named(operator: object, seed: int, name: str) -> None:
    with pytest.raises(eb.InvalidInputError, match=name):
        eb.spectral_norm(operator, seed=seed)


def test_a_linear_network_has_no_functional_hessian() -> None:
    problem = eb.Problem(nn.Linear(4, 3), (torch.randn(30, 4), torch.arange(30) % 3))
    assert eb.spectral_norm(eb.FunctionalHessianOperator(problem)) == (0.0, 0.0)
