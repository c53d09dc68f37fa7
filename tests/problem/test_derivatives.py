from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import eigenboundary as eb
from eigenboundary.problem import derivatives
from tests.references import dense_hessian, flat_gradient

ALL = {
    "hessian_product",
    "pushforward",
    "pullback",
    "squared_alignment_slopes",
    "summed_pullback",
}


@pytest.fixture(params=[False, True], ids=["vectorised", "reverse-only"])
def problem(
    request: pytest.FixtureRequest, small_model: nn.Module, blobs: tuple[np.ndarray, np.ndarray]
) -> eb.Problem:
    result = eb.Problem(small_model, blobs)
    if request.param:
        result.network.reverse_only.update(ALL)
    return result


@pytest.fixture
def jacobian(small_model: nn.Module, blobs: tuple[np.ndarray, np.ndarray]) -> torch.Tensor:
    outputs = small_model(torch.tensor(blobs[0]))
    rows = [[flat_gradient(entry, small_model) for entry in row] for row in outputs]
    return torch.stack([torch.stack(row) for row in rows])


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def test_pushforward_is_the_jacobian_times_the_vectors(
    problem: eb.Problem, jacobian: torch.Tensor, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    vectors = random(39, 4)
    outputs, tangents = derivatives.pushforward(problem.network, torch.tensor(blobs[0]), vectors)
    torch.testing.assert_close(tangents, torch.einsum("ncp,pk->knc", jacobian, vectors))
    torch.testing.assert_close(outputs, problem.network.predict(torch.tensor(blobs[0])))


def test_pullback_is_each_samples_transposed_jacobian_times_the_cotangents(
    problem: eb.Problem, jacobian: torch.Tensor, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    cotangents = random(30, 2, 3)
    pulled = derivatives.pullback(problem.network, torch.tensor(blobs[0]), cotangents)
    torch.testing.assert_close(pulled, torch.einsum("ncp,nrc->nrp", jacobian, cotangents))


def test_slopes_of_squared_alignments_are_those_of_differences(
    problem: eb.Problem, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    x, directions = torch.tensor(blobs[0])[:5], random(39, 5)
    directions /= directions.norm(dim=0)

    def squares(moved: torch.Tensor) -> torch.Tensor:
        return eb.alignments(problem, moved, directions).diagonal().square()

    slopes, values = derivatives.squared_alignment_slopes(
        problem.network, problem.loss, x, directions
    )
    torch.testing.assert_close(values, squares(x))
    for axis in range(2):
        step = 1e-5 * torch.eye(2, dtype=torch.float64)[axis]
        difference = (squares(x + step) - squares(x - step)) / 2e-5
        torch.testing.assert_close(slopes[:, axis], difference, rtol=1e-5, atol=1e-8)


def test_summed_pullback_is_the_sum_over_samples(
    problem: eb.Problem, jacobian: torch.Tensor, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    cotangents = random(4, 30, 3)
    pulled = derivatives.summed_pullback(problem.network, torch.tensor(blobs[0]), cotangents)
    torch.testing.assert_close(pulled, torch.einsum("ncp,knc->pk", jacobian, cotangents))


def test_hessian_product_is_the_dense_hessian_times_the_vectors(
    problem: eb.Problem, small_model: nn.Module, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = torch.tensor(blobs[0]), torch.tensor(blobs[1])
    vectors = random(39, 4)
    expected = dense_hessian(small_model, x, y) @ vectors * len(x)
    torch.testing.assert_close(
        derivatives.hessian_product(problem.network, problem.loss, x, y, vectors), expected
    )


class OnlyBackward(torch.autograd.Function):
    """tanh with a differentiable backward pass, but no forward mode and no batching rule."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return gradient * (1 - x.tanh() ** 2)


class BackwardOnlyNet(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.first, _, self.second = model.children()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(OnlyBackward.apply(self.first(x)))


def test_a_network_without_forward_mode_gives_the_same_analysis(
    small_model: nn.Module, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    expected = eb.analyze(small_model, blobs, k=5, grid=0)
    analysis = eb.analyze(BackwardOnlyNet(small_model), blobs, k=5, grid=0)
    np.testing.assert_allclose(analysis.eigenvalues, expected.eigenvalues, rtol=1e-10)
    np.testing.assert_allclose(
        np.abs(analysis.training_alignment), np.abs(expected.training_alignment), atol=1e-8
    )


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x).mean(1))


def test_attention_has_its_second_derivatives() -> None:
    torch.manual_seed(0)
    model = Attention().double().eval()
    x, y = random(12, 3, 4), torch.arange(12) % 2
    problem = eb.Problem(model, (x, y))
    # Fused kernels have no second derivative, so the reference does without them, too.
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        expected = dense_hessian(model.train(), x, y)
    torch.testing.assert_close(eb.HessianOperator(problem).to_dense(), expected)
    assert not problem.network.reverse_only


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_are_right_where_a_caller_has_switched_them_off(off, count: int) -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).double()
    problem = eb.Problem(model, (x, torch.arange(5) % 3))
    vectors = torch.eye(problem.n_parameters).double()[:, :3]
    expected = eb.alignments(problem, x[:count], vectors)
    assert expected.abs().max() > 1e-3
    product = eb.HessianOperator(problem) @ vectors
    with off():
        torch.testing.assert_close(eb.alignments(problem, x[:count], vectors), expected)
        operator = eb.HessianOperator(problem)
        for _ in range(3):  # by each of its routes
            torch.testing.assert_close(operator @ vectors, product)
            operator.expect(10)
