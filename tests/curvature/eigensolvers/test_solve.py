from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import eigenboundary as eb
from eigenboundary.curvature.operators.base import SymmetricOperator
from tests.cases import random_problem


def symmetric(eigenvalues: np.ndarray, seed: int = 0) -> eb.MatrixOperator:
    """A matrix with these eigenvalues and random eigenvectors."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(len(eigenvalues), len(eigenvalues))))[0]
    matrix = (basis * eigenvalues) @ basis.T
    return eb.MatrixOperator((matrix + matrix.T) / 2)


def wanted(operator: eb.MatrixOperator, k: int, which: str) -> np.ndarray:
    values = np.linalg.eigvalsh(operator.matrix.numpy())[::-1]
    ends = {"largest": values[:k], "smallest": values[-k:]}
    return ends.get(which, np.concatenate([values[:k], values[-k:]]))


def assert_eigenpairs(operator: eb.MatrixOperator, pairs: eb.Eigenpairs, expected: np.ndarray):
    """Values as expected, vectors orthonormal, and the residuals what they are said to be."""
    matrix, vectors = operator.matrix.numpy(), pairs.vectors.numpy()
    scale = max(np.abs(np.linalg.eigvalsh(matrix)).max(), 1e-300)
    np.testing.assert_allclose(pairs.values.numpy(), expected, atol=1e-7 * scale)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(expected)), atol=1e-8)
    norms = np.linalg.norm(matrix @ vectors - vectors * pairs.values.numpy(), axis=0)
    np.testing.assert_allclose(
        norms / pairs.scale, pairs.residuals.numpy(), atol=1e-12 * scale / pairs.scale
    )


@st.composite
def clustered(draw: st.DrawFn) -> np.ndarray:
    """A few centres, each repeated, spread by anything from nothing to one hundredth."""
    centres = draw(
        st.lists(st.sampled_from([3.0, 2.0, 1.0, 0.5, 0.0, -1.0, -4.0]), min_size=1, max_size=5)
    )
    repeats = draw(st.lists(st.integers(1, 25), min_size=len(centres), max_size=len(centres)))
    spread = draw(st.sampled_from([0.0, 1e-9, 1e-6, 1e-4, 1e-2]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    values = np.repeat(centres, repeats)
    return values + spread * rng.normal(size=len(values))


@settings(max_examples=60)
@given(
    clustered(),
    st.integers(1, 12),
    st.sampled_from(["largest", "smallest", "both"]),
    st.integers(0, 1000),
)
# A start that has nearly converged: its residual must be told, however small.
@example(np.array([1.0000000001257303, 0.9999999998678951]), 1, "largest", 0)
def test_krylov_misses_no_eigenvalue_of_a_clustered_spectrum(
    eigenvalues: np.ndarray, k: int, which: str, seed: int
) -> None:
    size = len(eigenvalues)
    k = min(k, size if which != "both" else max(1, size // 2))
    if which == "both" and size == 1:
        which = "largest"
    operator = symmetric(eigenvalues, seed)
    pairs = eb.top_eigenpairs(operator, k, method="krylov", which=which, tolerance=1e-9, seed=seed)
    assert pairs.converged.all()
    assert_eigenpairs(operator, pairs, wanted(operator, k, which))


@pytest.mark.parametrize("copies", [2, 5, 9, 17])
@pytest.mark.parametrize("seed", range(4))
def test_krylov_finds_every_copy_of_a_repeated_eigenvalue_in_a_large_matrix(
    copies: int, seed: int
) -> None:
    bulk = np.linspace(-1, 1, 600)
    operator = symmetric(np.concatenate([[5.0], np.full(copies, 3.0), [2.0, 1.5], bulk]), seed)
    pairs = eb.top_eigenpairs(operator, copies + 3, method="krylov", seed=seed)
    assert pairs.converged.all()
    assert_eigenpairs(operator, pairs, wanted(operator, copies + 3, "largest"))


@pytest.mark.parametrize("copies", [5, 8, 12])
@pytest.mark.parametrize("distance", [1e-2, 1e-4])
def test_krylov_finds_every_copy_next_to_a_dense_bulk(copies: int, distance: float) -> None:
    bulk = np.linspace(0, 1 - distance, 1000)
    eigenvalues = np.concatenate([np.linspace(3, 2, 5), np.ones(copies), bulk[::-1]])
    operator = eb.MatrixOperator(torch.diag(torch.tensor(eigenvalues)))
    pairs = eb.top_eigenpairs(operator, copies + 5, method="krylov")
    assert pairs.converged.all()
    np.testing.assert_allclose(pairs.values, eigenvalues[: copies + 5], atol=1e-9)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200])
def test_eigenvalues_of_any_size_are_found(scale: float) -> None:
    eigenvalues = torch.arange(500, dtype=torch.float64) * scale
    pairs = eb.top_eigenpairs(eb.MatrixOperator(torch.diag(eigenvalues)), 3, method="krylov")
    assert pairs.converged.all()
    np.testing.assert_allclose(pairs.values, eigenvalues.flip(0)[:3], rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_range_finder_stops_at_the_rank(dtype: torch.dtype) -> None:
    operator = eb.MatrixOperator(torch.diag(torch.tensor([3.0, 2.0] + [0.0] * 1500, dtype=dtype)))
    assert eb.top_eigenpairs(operator, None, method="range").values.tolist() == pytest.approx(
        [3, 2]
    )
    assert operator.products < 500
    padded = eb.top_eigenpairs(operator, 5, method="range")
    assert padded.values.tolist() == pytest.approx([3, 2, 0, 0, 0], abs=1e-6)
    assert padded.converged.all()


def test_a_zero_matrix_has_no_eigenpair_that_is_not_null() -> None:
    operator = eb.MatrixOperator(torch.zeros(500, 500))
    assert eb.top_eigenpairs(operator, None, method="range").values.shape == (0,)
    assert eb.top_eigenpairs(operator, 3, method="krylov").values.tolist() == [0, 0, 0]


@pytest.mark.parametrize("which", ["largest", "smallest", "both"])
@pytest.mark.parametrize("method", ["dense", "krylov"])
def test_every_method_finds_the_same_pairs(which: str, method: str) -> None:
    operator = symmetric(np.random.default_rng(0).normal(size=80))
    pairs = eb.top_eigenpairs(operator, 6, method=method, which=which)
    assert pairs.method == method
    assert_eigenpairs(operator, pairs, wanted(operator, 6, which))


def test_the_range_finder_finds_all_that_is_not_null() -> None:
    eigenvalues = np.concatenate([np.geomspace(1, 1e-6, 150), -np.geomspace(0.5, 1e-5, 50)])
    operator = symmetric(np.concatenate([eigenvalues, np.zeros(500)]))
    pairs = eb.top_eigenpairs(operator, None, method="range")
    assert len(pairs.values) == 200
    assert_eigenpairs(operator, pairs, np.sort(eigenvalues)[::-1])


def test_guard_values_estimate_the_eigenvalues_that_follow() -> None:
    operator = symmetric(np.geomspace(1, 1e-3, 500))
    pairs = eb.top_eigenpairs(operator, 5, method="krylov", guard=8)
    assert len(pairs.next_values) == 8
    np.testing.assert_allclose(pairs.next_values, wanted(operator, 13, "largest")[5:], rtol=1e-3)


def test_dear_products_of_a_matrix_of_low_rank_still_give_all_that_is_asked() -> None:
    low = symmetric(np.r_[5.0, 4.0, 3.0, 2.0, 1.0, np.zeros(595)])
    low.flops = 10**15
    pairs = eb.top_eigenpairs(low, 40, method="krylov")
    assert pairs.converged.all()
    np.testing.assert_allclose(pairs.values[:6], [5, 4, 3, 2, 1, 0], atol=1e-8)


def test_guard_values_are_fewer_where_products_are_dear_and_those_given_are_right() -> None:
    spectrum = np.r_[100.0, 90.0, 80.0, 40 * 0.7 ** np.arange(900)]
    cheap, dear = symmetric(spectrum), symmetric(spectrum)
    dear.flops = 3 * 10**12
    usual, fewer = (eb.top_eigenpairs(a, 3, tolerance=1e-3, guard=15) for a in (cheap, dear))
    assert len(usual.next_values) == 15
    assert 1 <= len(fewer.next_values) < 15
    assert fewer.products < usual.products
    assert fewer.converged.all()
    np.testing.assert_allclose(fewer.values, spectrum[:3], rtol=1e-4)
    np.testing.assert_allclose(fewer.next_values, spectrum[3:][: len(fewer.next_values)], rtol=1e-3)
    dearest = symmetric(spectrum)
    dearest.flops = 10**14
    least = eb.top_eigenpairs(dearest, 3, tolerance=1e-3, guard=15)
    assert least.converged.all()
    assert least.products <= fewer.products


def test_too_few_products_leave_pairs_said_to_be_unconverged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    operator = symmetric(np.linspace(0, 1, 700))
    pairs = eb.top_eigenpairs(operator, 10, method="krylov", max_products=90)
    assert not pairs.converged.all()
    assert pairs.outcome is eb.Outcome.BUDGET_SPENT
    assert "not converged" in pairs.message
    assert "not certified to the tolerance" in caplog.text
    images = operator.matrix @ pairs.vectors
    norms = (images - pairs.vectors * pairs.values).norm(dim=0) / pairs.scale
    np.testing.assert_allclose(norms, pairs.residuals, atol=1e-12)
    assert not pairs.converged.any()  # none was checked for a missed neighbour


class Interrupting(SymmetricOperator):
    """Raises as Ctrl-C would, once, after so many products."""

    def __init__(self, matrix: torch.Tensor, after: int) -> None:
        super().__init__(len(matrix), matrix.dtype, matrix.device)
        self.matrix, self.after = matrix, after

    def _product(self, block: torch.Tensor) -> torch.Tensor:
        if self.after and self.products > self.after:
            self.after = 0
            raise KeyboardInterrupt
        return self.matrix @ block


def test_an_interrupted_search_returns_what_it_has_and_can_be_taken_up_again() -> None:
    matrix = symmetric(np.geomspace(1, 1e-2, 600)).matrix
    pairs = eb.top_eigenpairs(Interrupting(matrix, after=100), 6, method="krylov")
    assert pairs.outcome is eb.Outcome.INTERRUPTED
    assert not pairs.converged.any()
    assert pairs.residuals.max() < 1
    fresh = eb.top_eigenpairs(eb.MatrixOperator(matrix), 6, method="krylov")
    resumed = eb.top_eigenpairs(eb.MatrixOperator(matrix), 6, method="krylov", start=pairs.vectors)
    assert resumed.converged.all()
    np.testing.assert_allclose(resumed.values, fresh.values, rtol=1e-9)


def test_a_warm_start_from_the_answer_costs_little() -> None:
    operator = symmetric(np.geomspace(1, 1e-3, 800))
    cold = eb.top_eigenpairs(operator, 8, method="krylov")
    warm = eb.top_eigenpairs(operator, 8, method="krylov", start=cold.vectors)
    assert warm.products < 0.6 * cold.products
    np.testing.assert_allclose(warm.values, cold.values, rtol=1e-9)


def test_the_same_seed_gives_the_same_numbers() -> None:
    operator = symmetric(np.geomspace(1, 1e-3, 450))
    first, second = (eb.top_eigenpairs(operator, 5, seed=3) for _ in range(2))
    assert torch.equal(first.vectors, second.vectors)


def test_vector_errors_bound_the_distance_to_the_true_eigenvectors() -> None:
    operator = symmetric(np.concatenate([[1.0, 1.0 - 1e-4, 0.7], np.linspace(-0.3, 0.3, 500)]))
    exact = np.linalg.eigh(operator.matrix.numpy())[1][:, ::-1][:, :3]
    pairs = eb.top_eigenpairs(operator, 3, method="krylov", tolerance=1e-7, guard=3)
    vectors = pairs.vectors.numpy()
    distance = np.linalg.norm(vectors - exact * np.sign((vectors * exact).sum(0)), axis=0)
    assert (distance <= pairs.vector_errors.numpy() + 1e-12).all()
    assert pairs.vector_errors.max() < 0.1


def test_vectors_within_a_repeated_eigenvalue_are_said_to_be_unresolved() -> None:
    operator = symmetric(np.array([2.0, 1.0, 1.0, *np.linspace(-0.5, 0.5, 500)]))
    errors = eb.top_eigenpairs(operator, 3, method="krylov", guard=2).vector_errors
    assert errors[0] < 1e-6
    assert (errors[1:] == 1).all()


@given(st.integers(0, 10_000), st.lists(st.integers(2, 5), min_size=2, max_size=4))
def test_gram_equals_dense_for_gauss_newton(seed: int, widths: list[int]) -> None:
    model, x, y = random_problem(seed, widths, nn.Tanh)
    operator = eb.GaussNewtonOperator(eb.Problem(model, (x, y)))
    k = operator.size
    gram = eb.top_eigenpairs(operator, k, method="gram")
    dense = eb.top_eigenpairs(operator, k, method="dense")
    scale = float(dense.values[0])
    np.testing.assert_allclose(gram.values, dense.values, atol=1e-9 * scale)
    matrix = operator.to_dense()
    torch.testing.assert_close(
        (gram.vectors * gram.values) @ gram.vectors.T, matrix, rtol=0, atol=1e-9 * scale
    )
    identity = torch.eye(k, dtype=torch.float64)
    torch.testing.assert_close(gram.vectors.T @ gram.vectors, identity, rtol=0, atol=1e-9)
    leading = eb.top_eigenpairs(operator, 1, method="gram")
    assert leading.residuals.max() <= 1e-12


def test_gram_in_small_blocks_is_gram_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = random_problem(0, [2, 5, 3], nn.Tanh)
    operator = eb.GaussNewtonOperator(eb.Problem(model, (x, y)))
    whole = eb.top_eigenpairs(operator, 5, method="gram")
    monkeypatch.setattr("eigenboundary.curvature.eigensolvers.gram._BLOCK_BYTES", 1)
    parts = eb.top_eigenpairs(operator, 5, method="gram")
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-12)
    np.testing.assert_allclose(parts.vectors, whole.vectors, atol=1e-10)


@pytest.mark.parametrize(
    ("p", "k", "kind", "method"),
    [(300, 5, "matrix", "dense"), (900, 5, "matrix", "krylov"), (900, None, "matrix", "range")],
)
def test_the_entry_point_says_what_it_chose_and_why(
    p: int, k: int | None, kind: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    eigenvalues = np.concatenate([np.arange(1.0, 31.0), np.zeros(p - 30)])
    pairs = eb.top_eigenpairs(symmetric(eigenvalues), k)
    assert pairs.method == method
    assert pairs.reason
    assert f"solver: {method}" in caplog.text


def test_gauss_newton_of_few_samples_goes_through_gram() -> None:
    model, x, y = random_problem(0, [5, 80, 3], nn.Tanh)
    pairs = eb.top_eigenpairs(eb.GaussNewtonOperator(eb.Problem(model, (x, y))), 4)
    assert (pairs.method, bool(pairs.converged.all())) == ("gram", True)


@pytest.mark.parametrize(
    ("k", "options", "message"),
    [
        (0, {}, "k must be an integer of at least 1 or 'all'; got 0"),
        (2.5, {}, "k must be"),
        (True, {}, "k must be"),
        (9, {}, "k must be at most p = 8, the matrix' size; got 9"),
        (2, {"which": "middle"}, "which must be"),
        (2, {"method": "magic"}, "method must be"),
        (2, {"method": "gram"}, "GaussNewtonOperator"),
        (2, {"tolerance": 0}, "tolerance must be"),
        (2, {"tolerance": 2.0}, "tolerance must be"),
        (None, {"method": "krylov"}, "k must be given"),
        (2, {"method": "range", "which": "smallest"}, "which must be 'largest'"),
    ],
)
def test_unusable_arguments_are_refused(
    k: int | None, options: dict[str, object], message: str
) -> None:
    operator = eb.MatrixOperator(torch.eye(8))
    with pytest.raises(eb.InvalidInputError, match=message):
        eb.top_eigenpairs(operator, k, **options)  # type: ignore[arg-type]


def test_gram_refuses_a_loss_that_is_not_convex() -> None:
    model, x, y = random_problem(0, [2, 4, 3], nn.Tanh)
    problem = eb.Problem(model, (x, y), loss=lambda f, _: f.sin().sum(1))
    with pytest.raises(eb.InvalidInputError, match="convex"):
        eb.top_eigenpairs(eb.GaussNewtonOperator(problem), 2, method="gram")


def test_leading_pairs_are_eigenpairs_and_end_the_search_when_they_are_enough() -> None:
    eigenvalues = np.concatenate([np.geomspace(1, 1e-12, 300), -np.geomspace(0.5, 1e-12, 200)])
    operator = symmetric(eigenvalues)
    looks: list[int] = []

    def enough(leading: eb.curvature.LeadingPairs) -> bool:
        vectors = leading.basis @ leading.coefficients
        residuals = operator.matrix @ vectors - vectors * leading.values
        assert (residuals.norm(dim=0) <= leading.norms + 1e-13).all()
        assert leading.rest is not None
        low, high = leading.rest
        others = np.sort(np.abs(eigenvalues))[::-1][len(leading.values) :]
        assert low <= -others[0] * (1 - 1e-9)
        assert others[0] * (1 - 1e-9) <= high
        looks.append(len(leading.values))
        return len(leading.values) >= 40

    pairs = eb.top_eigenpairs(operator, None, method="range", enough=enough)
    assert 40 <= len(pairs.values) == looks[-1] < 500
    assert pairs.converged.all()
    order = np.sort(np.abs(eigenvalues))[::-1][: len(pairs.values)]
    np.testing.assert_allclose(np.sort(np.abs(pairs.values.numpy()))[::-1], order, atol=1e-9)


def test_a_start_is_taken_into_the_range() -> None:
    operator = symmetric(np.concatenate([np.geomspace(1, 0.1, 20), np.zeros(480)]))
    free = eb.top_eigenpairs(operator, None, method="range")
    again = eb.top_eigenpairs(operator, None, method="range", start=free.vectors)
    assert len(again.values) == 20
    np.testing.assert_allclose(again.values, free.values, atol=1e-12)
