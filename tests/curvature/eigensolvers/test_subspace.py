"""The relation that everything rests on: A Q = Q T + F C."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eigenboundary as eb
from eigenboundary.curvature.eigensolvers.subspace import Subspace
from eigenboundary.runtime.linalg import inner


def symmetric(size: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return (matrix + matrix.T).to(dtype)


def assert_relation(subspace: Subspace, matrix: torch.Tensor, atol: float) -> None:
    q, f = subspace.vectors.double(), subspace.frontier.double()
    both = torch.cat([q, f], dim=1)
    torch.testing.assert_close(both.T @ both, torch.eye(both.shape[1]).double(), atol=atol, rtol=0)
    image = matrix.double() @ q
    if subspace.avoid is not None:
        avoid = subspace.avoid.double()
        torch.testing.assert_close(
            avoid.T @ both, torch.zeros(avoid.shape[1], both.shape[1]).double(), atol=atol, rtol=0
        )
        image = image - avoid @ (avoid.T @ image)
    everything = torch.eye(subspace.size).double()
    expected = q @ subspace.projected + f @ subspace.coupled(everything)
    torch.testing.assert_close(image, expected, atol=atol * float(matrix.norm()), rtol=0)


@given(
    st.integers(0, 1000),
    st.lists(st.sampled_from(["advance", "include", "turn", "restart", "grow"]), max_size=8),
    st.sampled_from([torch.float64, torch.float32]),
    st.booleans(),
)
def test_the_relation_holds_after_any_steps(
    seed: int, steps: list[str], dtype: torch.dtype, avoiding: bool
) -> None:
    matrix = symmetric(30, seed, dtype)
    generator = torch.Generator().manual_seed(seed + 1)
    avoid = torch.linalg.qr(torch.randn(30, 3, generator=generator).double())[0]
    subspace = Subspace(eb.MatrixOperator(matrix), 12, avoid if avoiding else None)
    subspace.include(torch.randn(30, 2, generator=generator))
    atol = 1e-12 if dtype == torch.float64 else 2e-5
    for step in steps:
        values, coefficients = subspace.ritz()
        if step == "advance":
            subspace.advance(1)
        elif step == "include":
            subspace.include(torch.randn(30, 1, generator=generator))
        elif step == "turn":
            subspace.turn(coefficients[:, :2])
        elif step == "restart":
            subspace.restart(values[:2], coefficients[:, :2])
        else:
            subspace.grow_to(subspace.capacity + 1)
        assert_relation(subspace, matrix, atol)


def test_residuals_and_images_of_ritz_vectors_are_the_matrix_own() -> None:
    matrix = symmetric(40, 3)
    subspace = Subspace(eb.MatrixOperator(matrix), 10, None)
    subspace.include(torch.randn(40, 2, generator=torch.Generator().manual_seed(0)))
    while subspace.size < 9 and subspace.advance(9 - subspace.size):
        pass
    values, coefficients = subspace.ritz()
    vectors = subspace.combine(coefficients)
    torch.testing.assert_close(subspace.images(values, coefficients, vectors), matrix @ vectors)
    norms = (matrix @ vectors - vectors * values).norm(dim=0)
    torch.testing.assert_close(subspace.residual_norms(coefficients), norms)


def test_an_invariant_subspace_has_no_frontier_and_the_whole_space_is_not_left() -> None:
    subspace = Subspace(eb.MatrixOperator(torch.diag(torch.arange(6.0).double())), 6, None)
    assert subspace.include(torch.eye(6).double()[:, :2]) == 2
    assert subspace.frontier.shape[1] == 0
    assert subspace.advance(1) == 0
    assert subspace.include(torch.eye(6).double()[:, 1:2]) == 0
    assert subspace.include(torch.eye(6).double()) == 4
    assert subspace.size == 6


def test_a_turned_frontier_has_first_what_the_open_pairs_need() -> None:
    matrix = symmetric(30, 5)
    subspace = Subspace(eb.MatrixOperator(matrix), 12, None)
    subspace.include(torch.randn(30, 4, generator=torch.Generator().manual_seed(2)))
    values, coefficients = subspace.ritz()
    subspace.turn(coefficients[:, :1])
    residual = matrix @ subspace.combine(coefficients[:, :1])
    residual = residual - values[0] * subspace.combine(coefficients[:, :1])
    cosine = float((subspace.frontier[:, 0] @ residual[:, 0]) / residual.norm())
    assert abs(cosine) == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inner_products_of_long_vectors_keep_the_digits_of_small_ones(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    left = (torch.randn(3, 300_001, generator=generator) + 1).T
    right = (torch.randn(2, 300_001, generator=generator) + 1).T.to(dtype)
    exact = left.double().T @ right.double()
    scale = left.norm(dim=0).unsqueeze(1) * right.norm(dim=0)
    assert float(((inner(left, right) - exact) / scale).abs().max()) < 2e-8
    assert inner(left[:, :0], right).shape == (0, 2)
