from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import eigenboundary as eb
from tests.cases import CASES, DENSE, KINDS, a_case, random_problem
from tests.references import dense_gauss_newton, dense_hessian

Blobs = tuple[np.ndarray, np.ndarray]


@given(
    st.integers(0, 10_000),
    st.lists(st.integers(2, 5), min_size=2, max_size=4),
    st.sampled_from([nn.Tanh, nn.ReLU, nn.Sigmoid]),
)
def test_operators_are_their_dense_matrices(
    seed: int, widths: list[int], activation: type[nn.Module]
) -> None:
    model, x, y = random_problem(seed, widths, activation)
    problem = eb.Problem(model, (x, y))
    torch.testing.assert_close(
        eb.HessianOperator(problem).to_dense(), dense_hessian(model, x, y), rtol=1e-8, atol=1e-10
    )
    torch.testing.assert_close(
        eb.GaussNewtonOperator(problem).to_dense(),
        dense_gauss_newton(model, x, y),
        rtol=1e-8,
        atol=1e-10,
    )


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "nll"])
def test_the_hessian_of_each_loss_is_torchs(loss: str) -> None:
    model, x, y = random_problem(0, [2, 4, 3], nn.Tanh)
    if loss == "nll":
        model = nn.Sequential(model, nn.LogSoftmax(dim=1))
    problem = eb.Problem(model, (x, y), loss=loss)
    torch.testing.assert_close(
        eb.HessianOperator(problem).to_dense(), dense_hessian(model, x, y, loss)
    )


def test_a_users_own_loss_is_differentiated() -> None:
    model, x, y = random_problem(0, [2, 4, 3], nn.Tanh)
    own = torch.nn.CrossEntropyLoss(reduction="none")
    ours = eb.HessianOperator(eb.Problem(model, (x, y), loss=own))
    torch.testing.assert_close(ours.to_dense(), dense_hessian(model, x, y))


def test_nll_and_cross_entropy_have_the_same_gauss_newton_matrix() -> None:
    model, x, y = random_problem(0, [2, 4, 3], nn.Tanh)
    logs = nn.Sequential(model, nn.LogSoftmax(dim=1))
    torch.testing.assert_close(
        eb.GaussNewtonOperator(eb.Problem(logs, (x, y), loss="nll")).to_dense(),
        eb.GaussNewtonOperator(eb.Problem(model, (x, y))).to_dense(),
    )


@pytest.mark.parametrize("kind", [eb.HessianOperator, eb.GaussNewtonOperator])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_small_batches_give_the_same_products(kind: type, batch_size: int) -> None:
    model, x, y = random_problem(0, [2, 4, 3], nn.Tanh)
    whole = kind(eb.Problem(model, (x, y)))
    parts = kind(eb.Problem(model, (x, y), batch_size=batch_size))
    torch.testing.assert_close(parts.to_dense(), whole.to_dense())


@pytest.mark.parametrize("block_bytes", [1, 2**20], ids=["a sample at a time", "whole"])
def test_the_gauss_newton_matrix_is_the_square_of_its_factor(block_bytes: int) -> None:
    model, x, y = a_case("tanh")
    operator = eb.GaussNewtonOperator(eb.Problem(model, (x, y)))
    blocks = [block() for block in operator.factor_blocks(block_bytes)]
    factor = torch.cat(blocks)
    assert factor.shape == (operator.rows, operator.size)
    assert len(blocks) == (1 if block_bytes > 1 else len(x))
    torch.testing.assert_close(factor.T @ factor, dense_gauss_newton(model, x, y))


def test_a_vector_and_a_block_multiply_alike() -> None:
    model, x, y = random_problem(0, [2, 4, 3], nn.Tanh)
    hessian = eb.HessianOperator(eb.Problem(model, (x, y)))
    block = torch.randn(hessian.size, 3, dtype=torch.float64)
    torch.testing.assert_close(hessian @ block[:, 1], (hessian @ block)[:, 1])
    torch.testing.assert_close(hessian @ block.numpy(), hessian @ block)
    assert hessian.products == 10


def test_the_trace_is_the_dense_matrix_trace() -> None:
    model, x, y = random_problem(0, [2, 4, 3], nn.Tanh)
    hessian = eb.HessianOperator(eb.Problem(model, (x, y)))
    assert hessian.trace() == pytest.approx(float(dense_hessian(model, x, y).trace()), rel=1e-10)


def test_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(eb.InvalidInputError, match=r"vectors must have shape \(3,\)"):
        eb.MatrixOperator(torch.eye(3)) @ torch.ones(4)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (torch.ones(2, 3), "shape"),
        (torch.tensor([[0.0, 1.0], [0.0, 0.0]]), "symmetric"),
        (torch.full((2, 2), float("nan")), "finite"),
        (torch.eye(2, dtype=torch.int64), "real"),
    ],
)
def test_what_is_no_symmetric_matrix_is_refused(matrix: torch.Tensor, message: str) -> None:
    with pytest.raises(eb.InvalidInputError, match=message):
        eb.MatrixOperator(matrix)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_each_network_has_its_dense_matrix_by_forward_mode(case: str, kind: str) -> None:
    model, x, y = a_case(case)
    problem = eb.Problem(model, (x, y))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = DENSE[kind](model, x, y)
    torch.testing.assert_close(KINDS[kind](problem).to_dense(), expected)
    assert not problem.network.reverse_only


def test_batch_normalisation_is_differentiated_in_eval_mode() -> None:
    model, x, y = a_case("batch normalisation")
    model.train()(x)
    hessian = eb.HessianOperator(eb.Problem(model, (x, y)))
    torch.testing.assert_close(hessian.to_dense(), dense_hessian(model.eval(), x, y))
