from __future__ import annotations

import pytest
import torch
from torch import nn

import eigenboundary as eb
from eigenboundary.curvature.operators import products
from eigenboundary.curvature.operators.hessian import ProblemOperator
from tests.cases import CASES, DENSE, KINDS, Branching, ReverseOnly, a_case
from tests.references import dense_hessian


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing pays from the second product on."""
    monkeypatch.setattr(products, "_WORK_PER_OPERATION", 1e-9)


def warmed(operator: ProblemOperator) -> ProblemOperator:
    operator @ torch.ones(operator.size)
    return operator


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("at_once")
def test_linearized_recomputed_and_double_backward_products_are_the_dense_matrix(
    case: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x, y = a_case(case)
    problem = eb.Problem(model, (x, y))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = DENSE[kind](model, x, y)
    linearized = warmed(KINDS[kind](problem))
    torch.testing.assert_close(linearized.to_dense(), expected)
    torch.testing.assert_close(linearized.to_dense(), expected)  # nothing was written into
    assert linearized.record.route == "linearized"
    one = torch.stack([linearized @ row for row in torch.eye(linearized.size)[:3].double()])
    torch.testing.assert_close(one, expected[:3])
    monkeypatch.setattr(products, "_WORK_PER_OPERATION", 1e99)
    recomputed = warmed(KINDS[kind](problem, kept_bytes=0))
    torch.testing.assert_close(recomputed.to_dense(), expected)
    assert str(recomputed.record) == "recomputed (too few products for tracing to pay)"
    problem.network.reverse_only.update(recomputed.derivatives)
    backward = warmed(KINDS[kind](problem, kept_bytes=0))
    torch.testing.assert_close(backward.to_dense(), expected)
    assert (backward.record.route, backward.record.kept) == ("double backward", 0)


@pytest.mark.parametrize("case", CASES)
def test_products_through_kept_graphs_of_the_gradient_are_the_dense_matrix(case: str) -> None:
    model, x, y = a_case(case)
    hessian = warmed(eb.HessianOperator(eb.Problem(model, (x, y), batch_size=4)))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = dense_hessian(model, x, y)
    torch.testing.assert_close(hessian.to_dense(), expected)
    assert hessian.record == products.ProductRecord(
        "double backward", "too few products for tracing to pay", samples=4, chunks=3, kept=3
    )


def test_graphs_are_not_kept_of_data_that_are_streamed_or_do_not_fit() -> None:
    model, x, y = a_case("relu")
    small = warmed(eb.HessianOperator(eb.Problem(model, (x, y)), kept_bytes=1000))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=5)
    streamed = warmed(eb.HessianOperator(eb.Problem(model, loader, cache_bytes=100)))
    for hessian in (small, streamed):
        torch.testing.assert_close(hessian.to_dense(), dense_hessian(model, x, y))
        assert hessian.record.route == "recomputed"


def test_graphs_whose_products_are_wrong_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = a_case("tanh")
    monkeypatch.setattr(products, "kept_hessian_product", lambda *_: lambda block: 1.01 * block)
    hessian = warmed(eb.HessianOperator(eb.Problem(model, (x, y))))
    torch.testing.assert_close(hessian.to_dense(), dense_hessian(model, x, y))
    assert hessian.record.route == "recomputed"


@pytest.mark.parametrize("loss", ["mse", "nll"])
@pytest.mark.usefixtures("at_once")
def test_other_losses_are_linearized_too(loss: str) -> None:
    model, x, y = a_case("tanh")
    if loss == "nll":
        model = nn.Sequential(model, nn.LogSoftmax(dim=1))
    hessian = warmed(eb.HessianOperator(eb.Problem(model, (x, y), loss=loss)))
    torch.testing.assert_close(hessian.to_dense(), dense_hessian(model, x, y, loss))
    assert hessian.record.route == "linearized"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("kept_bytes", "kept"), [(2**30, 3), (1200, 1), (0, 0)], ids=["all", "one", "none"]
)
@pytest.mark.usefixtures("at_once")
def test_chunks_that_are_kept_and_chunks_that_are_not_add_up_to_the_same(
    kept_bytes: int, kept: int, kind: str
) -> None:
    model, x, y = a_case("relu")
    operator = warmed(KINDS[kind](eb.Problem(model, (x, y), batch_size=4), kept_bytes=kept_bytes))
    torch.testing.assert_close(operator.to_dense(), DENSE[kind](model, x, y))
    record = operator.record
    assert (record.samples, record.chunks, record.kept) == (4, 3, kept)  # 4 + 4 + 3 samples
    assert record.kept_bytes <= kept_bytes
    assert (record.kept_bytes > 0) == (kept > 0)
    assert f"{kept} of 3 chunks of 4 samples kept" in str(record)


@pytest.mark.usefixtures("at_once")
def test_streamed_data_are_never_kept() -> None:
    model, x, y = a_case("relu", n=13)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=5)
    hessian = warmed(eb.HessianOperator(eb.Problem(model, loader, cache_bytes=100)))
    torch.testing.assert_close(hessian.to_dense(), dense_hessian(model, x, y))
    record = hessian.record
    assert (record.route, record.samples, record.chunks, record.kept) == ("linearized", 5, 3, 0)


def backed_away(kind: str, model: nn.Module) -> eb.SymmetricOperator:
    """An operator of a network that stands in the way of the fast route; it is the dense matrix."""
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 3
    operator = warmed(KINDS[kind](eb.Problem(model.double(), (x, y))))
    torch.testing.assert_close(operator.to_dense(), DENSE[kind](model, x, y))
    return operator


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("at_once")
def test_a_network_that_cannot_be_traced_is_recomputed(kind: str) -> None:
    torch.manual_seed(0)
    record = backed_away(kind, Branching()).record
    assert record.route == ("double backward" if kind == "hessian" else "recomputed")
    assert record.reason.startswith("tracing failed: ")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("at_once")
def test_a_network_without_forward_mode_is_differentiated_backward_twice(kind: str) -> None:
    torch.manual_seed(0)
    record = backed_away(kind, ReverseOnly()).record
    assert record.route == "double backward"
    assert record.reason == "an operation of the network lacks forward mode"
    assert record.kept == (1 if kind == "hessian" else 0)


@pytest.mark.usefixtures("at_once")
def test_a_trace_whose_products_are_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = a_case("tanh")
    apply = products.LinearMap.apply
    monkeypatch.setattr(
        products.LinearMap, "apply", lambda *a: [1.01 * value for value in apply(*a)]
    )
    hessian = warmed(eb.HessianOperator(eb.Problem(model, (x, y))))
    torch.testing.assert_close(hessian.to_dense(), dense_hessian(model, x, y))
    assert "its products differ from those computed anew" in hessian.record.reason


@pytest.mark.usefixtures("at_once")
def test_what_cannot_be_vectorized_is_applied_to_one_vector_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(function: object) -> None:
        raise RuntimeError("no batching rule")

    monkeypatch.setattr(products, "vmap", refuse)
    model, x, y = a_case("tanh")
    hessian = warmed(eb.HessianOperator(eb.Problem(model, (x, y))))
    torch.testing.assert_close(hessian.to_dense(), dense_hessian(model, x, y))
    assert "one vector at a time" in hessian.record.reason


def test_a_few_products_are_recomputed_and_many_are_linearized() -> None:
    model, x, y = a_case("convolutions")
    problem = eb.Problem(model, (x, y))
    assert not products.pays(problem, 1)
    assert products.pays(problem, 10**9)
    hessian = eb.HessianOperator(problem)
    hessian @ torch.ones(hessian.size)
    assert str(hessian.record) == "recomputed (too few products for tracing to pay)"


def test_a_forward_pass_is_counted_by_hand() -> None:
    model, x, y = a_case("convolutions")
    problem = eb.Problem(model, (x, y))
    assert problem.signature.flops == 2 * (2 * 4 * 4 * 9 + 8 * 3)  # a multiplication and a sum each
    # The pooling gives its maxima, 2 · 4 of them, and where they were.
    assert problem.signature.activations == 2 * 16 + 2 * 16 + 2 * 8 + 3
    assert problem.signature.operations == 4


@pytest.mark.parametrize("kept_bytes", [-1, 1.5, True, "much"])
def test_an_unusable_number_of_bytes_is_refused(kept_bytes: object) -> None:
    model, x, y = a_case("tanh")
    with pytest.raises(eb.InvalidInputError, match="kept_bytes must be an integer of at least 0"):
        eb.HessianOperator(eb.Problem(model, (x, y)), kept_bytes=kept_bytes)  # type: ignore[arg-type]


def after_products(problem: eb.Problem) -> eb.HessianOperator:
    hessian = warmed(eb.HessianOperator(problem))
    hessian @ problem.network.theta
    return hessian


@pytest.mark.usefixtures("at_once")
def test_inputs_that_are_copied_to_be_computed_with_count_among_what_is_kept() -> None:
    model, x, y = a_case("relu")
    held = after_products(eb.Problem(model, (x, y))).record
    copied = after_products(eb.Problem(model, (x.float(), y))).record
    assert copied.kept_bytes == held.kept_bytes + x.numel() * x.itemsize


def test_graphs_of_gradients_count_their_copies_of_the_parameters() -> None:
    model, x, y = a_case("relu")
    problem = eb.Problem(model, (x, y), batch_size=4)
    hessian = after_products(problem)
    assert hessian.record.chunks == 3
    assert hessian._kept is not None
    activations = 8 * 8 * problem.samples.most * problem.signature.activations
    assert hessian._kept.kept_bytes == activations + 2 * 3 * problem.n_parameters * 8
