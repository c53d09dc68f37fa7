from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eigenboundary as eb
from tests.curvature.eigensolvers.test_solve import symmetric

SPECTRA = {
    "quadratic decay": 1 / np.arange(1.0, 121) ** 2,
    "geometric decay": 0.9 ** np.arange(120),
    "flat": np.linspace(0.8, 1.2, 120),
    "indefinite": np.linspace(-1, 1.1, 120),
    "outliers and a bulk": np.concatenate([[9.0, 8.0, 7.0], np.linspace(-0.01, 0.02, 117)]),
    "of low rank": np.concatenate([np.arange(1.0, 8), np.zeros(113)]),
}


def random_vectors(p: int, m: int, seed: int) -> np.ndarray:
    """The columns drawn one after the other, of length the root of p."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(p, dtype=torch.float64, generator=generator).numpy() for _ in range(m)]
    return np.stack([v * np.sqrt(p) / np.linalg.norm(v) for v in drawn], axis=1)


def xtrace_by_definition(matrix: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """Each leave-one-out estimate from its own QR, term by term as the paper's text has them."""
    p, m = omega.shape
    estimates = []
    for i in range(m):
        q = np.linalg.qr(matrix @ np.delete(omega, i, axis=1))[0]
        outside = omega[:, i] - q @ (q.T @ omega[:, i])
        outside *= np.sqrt(p - m + 1) / np.linalg.norm(outside)
        estimates.append(np.trace(q.T @ matrix @ q) + outside @ matrix @ outside)
    return np.array(estimates)


@given(st.integers(0, 1000), st.integers(2, 12), st.sampled_from(list(SPECTRA)[:5]))
def test_the_estimate_is_xtrace_by_its_definition(seed: int, m: int, kind: str) -> None:
    operator = symmetric(SPECTRA[kind][:: 120 // 40], seed)
    found = eb.estimate_trace(operator, products=2 * m, seed=seed)
    omega = random_vectors(operator.size, m, seed)
    expected = xtrace_by_definition(operator.matrix.numpy(), omega).mean()
    assert found.value == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert found.products == 2 * m == operator.products


@given(st.integers(0, 1000), st.integers(2, 7))
def test_the_error_is_the_jackknife_of_the_estimate(seed: int, m: int) -> None:
    operator = symmetric(SPECTRA["outliers and a bulk"][::4], seed)
    found = eb.estimate_trace(operator, products=2 * m, seed=seed)
    omega = random_vectors(operator.size, m, seed)
    without = np.array(
        [
            xtrace_by_definition(operator.matrix.numpy(), np.delete(omega, j, axis=1)).mean()
            for j in range(m)
        ]
    )
    expected = np.linalg.norm(without - without.mean())
    assert found.error == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", SPECTRA)
def test_the_trace_is_within_three_errors_for_nearly_all_seeds(
    kind: str, dtype: torch.dtype
) -> None:
    matrix = torch.diag(torch.tensor(SPECTRA[kind])).to(dtype)
    operator, expected = eb.MatrixOperator(matrix), float(SPECTRA[kind].sum())
    found = [eb.estimate_trace(operator, products=24, seed=seed) for seed in range(50)]
    off = np.array([abs(t.value - expected) / t.error for t in found])
    assert (off <= 3).sum() >= 49
    assert (off <= 2).sum() >= 43
    # No worse than Hutchinson's, whose variance with as many products is known.
    hutchinson = np.sqrt(2 * (SPECTRA[kind] ** 2).sum() / 24)
    assert np.median([t.error for t in found]) < 2 * hutchinson + 1e-5 * abs(expected)


def test_known_eigenpairs_leave_only_the_rest_to_be_estimated() -> None:
    operator = symmetric(SPECTRA["outliers and a bulk"])
    pairs = eb.top_eigenpairs(operator, 3)
    plain, deflated = (
        np.array(
            [eb.estimate_trace(operator, products=8, eigenpairs=e, seed=s).value for s in range(30)]
        )
        for e in (None, pairs)
    )
    expected = SPECTRA["outliers and a bulk"].sum()
    assert np.abs(deflated - expected).max() < 0.3
    assert np.abs(deflated - expected).mean() < 0.5 * np.abs(plain - expected).mean()


def test_bad_eigenpairs_do_not_bias_the_trace() -> None:
    operator = symmetric(SPECTRA["quadratic decay"])
    rough = torch.linalg.qr(
        torch.randn(120, 3, generator=torch.Generator().manual_seed(0)).double()
    )[0]
    from eigenboundary.curvature.eigensolvers.eigenpairs import checked_eigenpairs

    pairs = checked_eigenpairs(
        operator, rough, tolerance=1e-6, method="given", products_before=operator.products
    )
    found = [eb.estimate_trace(operator, products=40, eigenpairs=pairs, seed=s) for s in range(20)]
    off = [abs(t.value - SPECTRA["quadratic decay"].sum()) / t.error for t in found]
    assert max(off) < 3


def test_the_trace_is_exact_with_p_products() -> None:
    operator = symmetric(SPECTRA["indefinite"])
    found = eb.estimate_trace(operator, products=120)
    assert found.value == pytest.approx(SPECTRA["indefinite"].sum(), rel=1e-12)
    assert (found.error, found.products) == (0.0, 120)


def test_a_zero_matrix_has_no_trace() -> None:
    found = eb.estimate_trace(eb.MatrixOperator(torch.zeros(50, 50)), products=10)
    assert (found.value, found.error) == (0.0, 0.0)


def test_all_of_a_spectrum_may_be_known() -> None:
    operator = symmetric(np.array([3.0, 2.0, 1.0, 0.5, -1.0]))
    pairs = eb.top_eigenpairs(operator, 5)
    found = eb.estimate_trace(operator, products=4, eigenpairs=pairs)
    assert found.value == pytest.approx(5.5)
    assert found.error < 1e-12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"products": 3}, "products must be an integer of at least 4; got 3"),
        ({"products": 0}, "products must be"),
        ({"seed": -1}, "seed must be"),
        ({"eigenpairs": 3}, "eigenpairs must be Eigenpairs; got int"),
    ],
)
def test_unusable_arguments_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(eb.InvalidInputError, match=message):
        eb.estimate_trace(eb.MatrixOperator(torch.eye(8)), **options)  # type: ignore[arg-type]


def test_eigenpairs_of_another_matrix_are_refused() -> None:
    pairs = eb.top_eigenpairs(eb.MatrixOperator(torch.eye(5)), 2)
    for estimate in (eb.estimate_trace, eb.spectral_density):
        with pytest.raises(eb.InvalidInputError, match="vectors of p = 8 entries; got 5"):
            estimate(eb.MatrixOperator(torch.eye(8)), eigenpairs=pairs)
        with pytest.raises(eb.InvalidInputError, match="operator must be a SymmetricOperator"):
            estimate(torch.eye(8))  # type: ignore[arg-type]
