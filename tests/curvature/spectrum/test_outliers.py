from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import eigenboundary as eb
from tests.references import Golden

sizes = arrays(np.float64, st.integers(1, 30), elements=st.floats(-1, 10))


@given(sizes, st.floats(0, 10), st.floats(0, 1))
def test_the_interval_holds_every_count_within_the_uncertainty(
    values: np.ndarray, threshold: float, uncertainty: float
) -> None:
    values = np.sort(values)[::-1]
    found = eb.count_outliers(values, threshold, size=1000, uncertainty=uncertainty)
    assert found.count == (values > threshold).sum()
    rng = np.random.default_rng(0)
    for _ in range(20):
        moved = values + 0.999 * uncertainty * rng.uniform(-1, 1, len(values))
        assert found.interval[0] <= (moved > threshold).sum() <= found.interval[1]


@given(sizes, st.floats(0, 10))
def test_jitter_of_a_hundredth_moves_only_what_lies_within_a_hundredth(
    values: np.ndarray, threshold: float
) -> None:
    values = np.sort(np.abs(values))[::-1]
    rng = np.random.default_rng(0)
    moved = values * (1 + 0.01 * rng.uniform(-1, 1, len(values)))
    before = eb.count_outliers(values, threshold, size=1000).count
    after = eb.count_outliers(np.sort(moved)[::-1], threshold, size=1000).count
    near = (np.abs(values - threshold) <= 0.01 * values).sum()
    assert abs(after - before) <= near


def test_a_count_of_all_known_eigenvalues_is_a_lower_bound() -> None:
    found = eb.count_outliers([5.0, 4.0], 1.0, size=10)
    assert (found.count, found.interval, found.resolved) == (2, (2, 10), False)
    whole = eb.count_outliers([5.0, 4.0], 1.0, size=2)
    assert (whole.count, whole.interval, whole.resolved) == (2, (2, 2), True)


def test_every_outlier_of_a_network_is_a_direction_of_the_gauss_newton_matrix(
    golden: Golden,
) -> None:
    problem = eb.Problem(golden.model().double(), golden.data, dtype="float64")
    pairs = eb.top_eigenpairs(eb.HessianOperator(problem), 20)
    norm, residual = eb.spectral_norm(eb.FunctionalHessianOperator(problem))
    found = eb.count_outliers(pairs.values, norm, size=problem.n_parameters, uncertainty=residual)
    gauss_newton = eb.GaussNewtonOperator(problem)
    along = (pairs.vectors * (gauss_newton @ pairs.vectors)).sum(0)
    assert (along[: found.interval[0]] > 0).all()
    ends = eb.top_eigenpairs(
        eb.FunctionalHessianOperator(problem), 1, which="both", tolerance=1e-3
    ).values
    assert abs(float(ends.abs().max()) - norm) <= residual + 1e-3 * norm


@pytest.mark.parametrize(
    ("values", "threshold", "name"),
    [
        ([1.0, float("nan")], 1.0, "eigenvalues"),
        (["a"], 1.0, "eigenvalues"),
        ([1.0], -1.0, "threshold"),
    ],
)
def test_values_that_are_no_numbers_are_refused(
    values: list[float], threshold: float, name: str
) -> None:
    with pytest.raises(eb.InvalidInputError, match=name):
        eb.count_outliers(values, threshold, size=3)
