from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eigenboundary as eb
from eigenboundary.curvature import krylov, missed
from eigenboundary.curvature.krylov import _plan
from eigenboundary.curvature.operators import SymmetricOperator
from eigenboundary.curvature.subspace import Subspace


def spanned(matrix: torch.Tensor, block: torch.Tensor) -> Subspace:
    subspace = Subspace(eb.MatrixOperator(matrix), block.shape[1], None)
    subspace.include(block)
    return subspace


@given(st.integers(0, 10_000), st.floats(0, 0.3), st.sampled_from([1.0, -1.0]))
def test_a_count_that_is_conclusive_is_the_count_of_the_dense_matrix(
    seed: int, noise: float, sign: float
) -> None:
    rng = np.random.default_rng(seed)
    values = np.sort(rng.normal(size=30))[::-1] * np.geomspace(8, 1, 30)
    basis = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    matrix = (basis * values) @ basis.T
    chosen = rng.choice(30, size=8, replace=False)
    block = basis[:, chosen] + noise * rng.normal(size=(30, 8))
    subspace = spanned(torch.tensor((matrix + matrix.T) / 2), torch.tensor(block))
    threshold = float(rng.uniform(-1, 4))
    bound = missed._conclusive_bound(subspace, sign, threshold)
    q = np.linalg.svd(subspace.vectors.numpy(), full_matrices=True)[0][:, 8:]
    outside = np.linalg.eigvalsh(sign * q.T @ matrix @ q).max()
    if outside <= bound:
        ritz = sign * subspace.ritz()[0].numpy()
        assert (sign * values > threshold).sum() == (ritz > threshold).sum()


def test_exact_eigenvectors_are_conclusive_up_to_the_threshold() -> None:
    matrix = torch.diag(torch.tensor([5.0, 4.0, 3.0, 1.0, 0.0], dtype=torch.float64))
    bound = missed._conclusive_bound(spanned(matrix, torch.eye(5).double()[:, :3]), 1.0, 2.0)
    assert bound == pytest.approx(2, abs=1e-6)


@pytest.mark.parametrize("steps", [2, 4, 7])
def test_the_probability_of_a_failure_is_not_exceeded(steps: int) -> None:
    # One eigenvalue above a bulk; how often do so few steps of Lanczos not show it?
    values = torch.cat([torch.tensor([1.5]), torch.linspace(0, 1, 199)]).double()
    failures, allowed = 0, 0.0
    for seed in range(300):
        search = spanned(torch.diag(values), torch.empty(200, 0).double())
        search.grow_to(steps)
        step = torch.randn(200, 1, generator=torch.Generator().manual_seed(seed)).double()
        search.include(step)
        search.advance_to(steps)
        theta, _ = search.ritz()
        # Said of a bound below the eigenvalue, the probability is that of this Ritz value.
        probability = missed._failure(float(theta[0]), 0.0, 1.499, steps, 200)
        allowed += probability / 300
        failures += probability < 0.05 and float(theta[0]) < 1.499
    assert failures <= 0.05 * 300
    assert 0 < allowed <= 1


def test_the_failure_probability_is_the_formula() -> None:
    ratio = (3.0 - 2.0) / (2.0 - -1.0)
    chebyshev = math.cosh(9 * math.acosh(1 + 2 * ratio))
    expected = math.sqrt(2 * 5000 / math.pi / ratio) / chebyshev
    assert missed._failure(2.0, -1.0, 3.0, 10, 5000) == pytest.approx(expected, rel=1e-6)
    assert missed._failure(2.0, -1.0, 2.0, 10, 5000) == 1
    assert missed._failure(2.0, -1.0, 1e9, 500, 5000) < 1e-300


@pytest.mark.parametrize("search", ["count", "iteration"])
def test_one_eigenvalue_among_twenty_thousand_is_missed(
    search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random start of so many entries has next to no part in it, and a tiny residual."""
    diagonal = torch.zeros(20_000)
    diagonal[:4] = torch.tensor([10.0, 9.0, 8.0, 7.0])

    class Diagonal(SymmetricOperator):
        def _product(self, block: torch.Tensor) -> torch.Tensor:
            return diagonal.unsqueeze(1) * block

    operator = Diagonal(len(diagonal), torch.float32, torch.device("cpu"))
    subspace = Subspace(operator, 20, None)
    unit = torch.zeros(len(diagonal), 3)
    unit[[0, 1, 3], [0, 1, 2]] = 1
    subspace.include(unit)
    if search == "iteration":
        monkeypatch.setattr(missed, "_certified", lambda *_: (False, None))
    plan = _plan(operator, 3, "largest", 1e-4, 0, None)
    for seed in range(5):
        found, settled = missed.missed_pairs(subspace, plan, 3, seed, 0)
        assert settled
        assert found is not None
        assert float(found[2].abs().max()) > 0.9


def test_a_search_that_would_take_too_long_is_given_up_for_the_other() -> None:
    eigenvalues = torch.cat([torch.tensor([3.0, 2.0]), 1 - torch.linspace(1e-6, 1, 998)]).double()
    operator = eb.MatrixOperator(torch.diag(eigenvalues))
    subspace = Subspace(operator, 3, None)
    subspace.include(torch.eye(1000).double()[:, :3])
    operator.products = 0
    assert missed._certified(subspace, 1.0, 1.0 - 1e-7, 100, 0) == (False, None)
    assert operator.products < 20


def test_images_are_taken_for_products_only_where_they_are() -> None:
    matrix = torch.diag(torch.arange(40.0, dtype=torch.float64))
    operator, vectors = eb.MatrixOperator(matrix), torch.eye(40).double()[:, :5]
    images = matrix @ vectors
    cases = ((images, 1e-6, 1), (images + 1e-5, 1e-6, 6), (images, 1e-16, 5))
    for said, size, products in cases:
        operator.products = 0
        found = krylov.computed_images(operator, vectors, said, size)
        torch.testing.assert_close(found, images, atol=0, rtol=0)
        assert operator.products == products
