from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eigenboundary as eb
from eigenboundary.curvature.eigensolvers import krylov, missed
from eigenboundary.curvature.eigensolvers.krylov import _plan
from eigenboundary.curvature.eigensolvers.subspace import Subspace
from eigenboundary.curvature.operators.base import SymmetricOperator


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


def lanczos(matrix: torch.Tensor, start: torch.Tensor, steps: int) -> Subspace:
    search = spanned(matrix, torch.empty(len(matrix), 0).double())
    search.grow_to(steps)
    search.include(start.unsqueeze(1))
    while search.size < steps and search.advance(1):
        pass
    return search


@given(st.integers(0, 10_000), st.integers(1, 8), st.sampled_from([1.0, -1.0]))
def test_a_start_has_no_more_of_an_eigenvector_beyond_the_ritz_values_than_is_said(
    seed: int, steps: int, sign: float
) -> None:
    rng = np.random.default_rng(seed)
    values = np.sort(rng.normal(size=20)) * np.geomspace(1, rng.uniform(1, 50), 20)
    basis = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    start = basis @ (rng.normal(size=20) * np.geomspace(1, rng.choice([1e-1, 1e-6]), 20))
    start /= np.linalg.norm(start)
    matrix = torch.tensor((basis * values) @ basis.T)
    search = lanczos((matrix + matrix.T) / 2, torch.tensor(start), steps)
    highest = float((sign * search.ritz()[0]).max())
    for value, vector in zip(sign * values, basis.T, strict=True):
        if value > highest + 1e-9:
            growth = missed._growth(search, sign, value, 0.0)
            assert abs(vector @ start) <= np.exp(-growth) * (1 + 1e-6)
            assert missed._growth(search, sign, value, 1e-3) < growth


def probability(search: Subspace, size: int) -> float:
    return math.sqrt(2 * size / math.pi) * math.exp(-missed._growth(search, 1.0, 1.499, 0.0))


@pytest.mark.parametrize("steps", [3, 5, 8])
def test_a_failure_is_no_more_likely_than_is_said(steps: int) -> None:
    # One eigenvalue above a bulk; how often do so few steps of Lanczos not show it?
    bulk = torch.linspace(0, 1, 199, dtype=torch.float64)
    with_one = torch.diag(torch.cat([torch.tensor([1.5], dtype=torch.float64), bulk]))
    said_of_missing = []
    for seed in range(300):
        start = torch.randn(200, generator=torch.Generator().manual_seed(seed)).double()
        search = lanczos(with_one, start, steps)
        if float(search.ritz()[0][0]) < 1.499:
            said_of_missing.append(probability(search, 200))
    for level in (0.5, 0.2, 0.05):
        by_chance = 3 * math.sqrt(300 * level * (1 - level))
        assert sum(said <= level for said in said_of_missing) <= level * 300 + by_chance
    # Where there is none it is soon said to be unlikely.
    assert probability(lanczos(torch.diag(bulk), start[1:], 16), 199) < 1e-6


def test_the_growth_is_that_of_the_lanczos_polynomials() -> None:
    # With the recurrence of Chebyshev's polynomials, from degree 0 to the number of steps.
    couplings = torch.full((29,), 0.5, dtype=torch.float64)
    couplings[0] = 0.5**0.5
    matrix = torch.diag(couplings, 1) + torch.diag(couplings, -1)
    for value, steps in ((1.5, 10), (40.0, 29)):
        search = lanczos(matrix, torch.eye(30)[0].double(), steps)
        total = 1 + 2 * sum(math.cosh(i * math.acosh(value)) ** 2 for i in range(1, steps + 1))
        growth = missed._growth(search, 1.0, value, 0.0)
        assert growth == pytest.approx(0.5 * math.log(total), rel=1e-12)
    assert missed._growth(search, 1.0, float(search.ritz()[0][0]), 0.0) == 0
    assert missed._growth(search, 1.0, 1e200, 0.0) > 10_000


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
