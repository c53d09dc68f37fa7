from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import eigenboundary as eb
from eigenboundary.alignment.complexity import random_alignment
from tests.cases import random_problem


def alignments(n: int, p: int, decay: float, seed: int) -> np.ndarray:
    """Unit rows: the alignments of n gradients with all p eigenvectors."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, p)) * np.exp(-decay * np.arange(p))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def measured(cosines: np.ndarray, epsilon: float, statistic: str) -> float:
    m = np.abs(cosines).mean(0) if statistic == "mean" else np.abs(cosines).max(0)
    return float((m > epsilon).mean())


def numbers(cosines: np.ndarray) -> tuple[float, float]:
    q = np.square(cosines).mean(0)
    q = q[q > 0]
    return math.exp(-(q * np.log(q)).sum()), 1 / np.square(q).sum()


@given(
    st.integers(1, 20),
    st.integers(2, 60),
    st.floats(0, 2),
    st.integers(0, 1000),
    st.sampled_from([1e-3, 1e-2, 0.1, 0.5]),
    st.data(),
)
def test_every_interval_holds_the_number_of_all_eigenvectors(
    n: int, p: int, decay: float, seed: int, epsilon: float, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, p))
    whole = alignments(n, p, decay, seed)
    complexity = eb.Complexity(whole[:, :k], p, np.zeros(k))
    for statistic in ("mean", "max"):
        g = complexity.generalization(epsilon, statistic)
        assert g.interval[0] <= measured(whole, epsilon, statistic) <= g.interval[1]
        assert g.interval[0] <= g.value <= g.interval[1]
    for interval, number in zip(
        (complexity.effective_number_interval, complexity.participation_number_interval),
        numbers(whole),
        strict=True,
    ):
        assert interval[0] * (1 - 1e-9) <= number <= interval[1] * (1 + 1e-9)


@given(st.integers(1, 20), st.integers(3, 40), st.integers(0, 1000), st.floats(0, 0.3), st.data())
def test_intervals_hold_for_eigenvectors_that_are_only_nearly_right(
    n: int, p: int, seed: int, error: float, data: st.DataObject
) -> None:
    k = data.draw(st.integers(2, p))
    whole = alignments(n, p, 0.3, seed)
    angle = 2 * math.asin(error / 2)  # rotates two eigenvectors by a distance of `error`
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    computed = whole.copy()
    computed[:, :2] = whole[:, :2] @ rotation
    errors = np.zeros(k)
    errors[:2] = error + 1e-12
    complexity = eb.Complexity(computed[:, :k], p, errors)
    for epsilon in (1e-3, 0.05, 0.2):
        for statistic in ("mean", "max"):
            low, high = complexity.generalization(epsilon, statistic).interval
            assert low <= measured(whole, epsilon, statistic) <= high
    for interval, number in zip(
        (complexity.effective_number_interval, complexity.participation_number_interval),
        numbers(whole),
        strict=True,
    ):
        assert interval[0] * (1 - 1e-9) <= number <= interval[1] * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_intervals_of_a_real_network_hold_its_true_numbers_for_every_k(
    seed: int, curvature: str
) -> None:
    model, x, y = random_problem(seed, [2, 6, 3], nn.Tanh)
    whole = eb.analyze(model, (x, y), k=39, curvature=curvature, method="dense", grid=0)
    truth = whole.complexity
    assert truth.mass_outside < 1e-12
    for k in range(1, 39):
        part = eb.analyze(model, (x, y), k=k, curvature=curvature, grid=0).complexity
        for epsilon in (1e-3, 1e-2, "random"):
            for statistic in ("mean", "max"):
                g = part.generalization(epsilon, statistic)
                assert g.interval[0] <= truth.generalization(epsilon, statistic).value
                assert truth.generalization(epsilon, statistic).value <= g.interval[1]


def test_with_all_eigenvectors_the_intervals_close() -> None:
    whole = alignments(12, 30, 0.2, 0)
    complexity = eb.Complexity(whole, 30, np.zeros(30))
    g = complexity.generalization(1e-2)
    assert g.interval == (g.value, g.value)
    assert complexity.mass_outside == pytest.approx(0, abs=1e-12)
    expected = numbers(whole)
    for number in (complexity.effective_number, *complexity.effective_number_interval):
        assert number == pytest.approx(expected[0], rel=1e-9)
    for number in (complexity.participation_number, *complexity.participation_number_interval):
        assert number == pytest.approx(expected[1], rel=1e-9)


def test_the_bound_on_unseen_eigenvectors_is_jensens() -> None:
    cosines = np.full((4, 1), math.sqrt(0.96005))
    complexity = eb.Complexity(cosines, 10_000, np.zeros(1))
    # A mass of 0.03995 outside: fewer than 0.03995 / 0.01² = 399.5 further eigenvectors.
    assert complexity.generalization(0.01).interval == (1 / 10_000, 400 / 10_000)
    # For the maximum each of the four samples may spend it elsewhere.
    assert complexity.generalization(0.01, "max").interval == (
        1 / 10_000,
        1598 / 10_000 + 1 / 10_000,
    )


def test_statistics_and_masses_are_those_of_the_definition() -> None:
    cosines = np.array([[0.6, -0.8], [0.0, 0.5]])
    complexity = eb.Complexity(cosines, 5, np.zeros(2))
    np.testing.assert_allclose(complexity.aligned("mean"), [0.3, 0.65])
    np.testing.assert_allclose(complexity.aligned("max"), [0.6, 0.8])
    np.testing.assert_allclose(complexity.mass, [0.18, 0.445])
    assert complexity.mass_outside == pytest.approx(0.375)
    np.testing.assert_allclose(complexity.sample_mass_outside, [0.0, 0.75], atol=1e-12)


@pytest.mark.parametrize("p", [2, 3, 10, 1000])
def test_random_alignment_is_the_mean_cosine_of_random_directions(p: int) -> None:
    v = np.random.default_rng(0).normal(size=(40_000, p))
    cosines = np.abs(v[:, 0]) / np.linalg.norm(v, axis=1)
    spread = cosines.std() / math.sqrt(len(cosines))
    assert random_alignment(p) == pytest.approx(cosines.mean(), abs=5 * spread)
    if p == 2:
        assert random_alignment(p) == pytest.approx(2 / math.pi)


@pytest.mark.parametrize("epsilon", [0, -1, 1.5, "small", None])
def test_a_threshold_that_is_none_is_refused(epsilon: object) -> None:
    complexity = eb.Complexity(np.eye(2), 2, np.zeros(2))
    with pytest.raises(eb.InvalidInputError, match="epsilon must be"):
        complexity.generalization(epsilon)  # type: ignore[arg-type]


def test_an_unknown_statistic_is_refused() -> None:
    complexity = eb.Complexity(np.eye(2), 2, np.zeros(2))
    with pytest.raises(eb.InvalidInputError, match="statistic must be one of 'mean', 'max'"):
        complexity.generalization(0.1, "median")  # type: ignore[arg-type]


def test_a_vector_without_mass_costs_nothing_however_badly_it_is_known() -> None:
    alignment = np.zeros((4, 3))
    alignment[:, 0], alignment[:, 1] = 1.0, 1e-9
    complexity = eb.Complexity(alignment, 50, np.array([0.0, 0.09, 0.05]))
    assert complexity.generalization(1e-2).interval == (1 / 50, 1 / 50)
    assert complexity.effective_number_interval == pytest.approx((1, 1))
    assert complexity.participation_number_interval == pytest.approx((1, 1))
    # One that is known to have mass is not left out for its error.
    alignment[:, 0], alignment[:, 1] = 0.8, 0.6
    known = eb.Complexity(alignment, 50, np.array([0.0, 0.09, 0.05])).generalization(1e-2)
    assert known.interval[0] == 2 / 50
