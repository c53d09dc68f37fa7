from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eigenboundary as eb
from eigenboundary.alignment import error_bounds as perturbation
from eigenboundary.alignment.error_bounds import alignment_errors
from eigenboundary.curvature.eigensolvers.eigenpairs import Eigenpairs, checked_eigenpairs
from tests.curvature.eigensolvers.test_solve import symmetric


def nearly(operator: eb.MatrixOperator, k: int, error: float, seed: int) -> Eigenpairs:
    """Ritz pairs in a space that holds the first k eigenvectors only nearly."""
    values, vectors = np.linalg.eigh(operator.matrix.numpy())
    noise = np.random.default_rng(seed).normal(size=(operator.size, k))
    noise *= error / np.sqrt(operator.size)
    basis = np.linalg.qr(vectors[:, ::-1][:, :k] + noise)[0]
    rotation = np.linalg.eigh(basis.T @ operator.matrix.numpy() @ basis)[1]
    rest = (float(values[0]), float(values[-k - 1])) if k < operator.size else None
    return checked_eigenpairs(
        operator,
        torch.tensor(basis @ rotation),
        tolerance=1.0,
        method="krylov",
        products_before=0,
        rest=rest,
    )


def unit_gradients(p: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(7, p)) * np.exp(-0.1 * np.arange(p))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(
    st.integers(0, 1000),
    st.sampled_from([1e-9, 1e-5, 1e-3, 1e-2, 0.1]),
    st.sampled_from([0.0, 1e-6, 1e-2]),
    st.data(),
)
def test_the_bound_holds_for_vectors_that_are_only_nearly_right(
    seed: int, error: float, distance: float, data: st.DataObject
) -> None:
    p = 30
    values = np.linspace(2, -0.5, p)
    values[1] = values[0] - distance  # a pair that is close, or cannot be told apart
    operator = symmetric(values, seed)
    k = data.draw(st.integers(1, p))
    pairs = nearly(operator, k, error, seed)
    exact = np.linalg.eigh(operator.matrix.numpy())[1][:, ::-1][:, :k]
    gradients = unit_gradients(p, seed)
    computed = gradients @ pairs.vectors.numpy()
    bound = alignment_errors(pairs, computed)
    # Of a repeated eigenvalue every basis of its space is one of eigenvectors.
    single = slice(2 if distance == 0 else 0, k)
    difference = np.abs(np.abs(computed) - np.abs(gradients @ exact))
    assert (difference <= bound + 1e-12)[:, single].all()
    assert ((bound > 0) & (bound <= 1)).all()


def test_the_bound_is_of_the_size_of_the_difference() -> None:
    operator = symmetric(np.linspace(2, -0.5, 30))
    pairs = nearly(operator, 20, 1e-6, 0)
    gradients = unit_gradients(30, 0)
    computed = gradients @ pairs.vectors.numpy()
    exact = gradients @ np.linalg.eigh(operator.matrix.numpy())[1][:, ::-1][:, :20]
    difference = np.abs(np.abs(computed) - np.abs(exact)).max()
    assert 1e-8 < difference < alignment_errors(pairs, computed).max() < 100 * difference


def test_a_mixture_of_vectors_without_alignment_changes_none() -> None:
    pairs = Eigenpairs(
        values=torch.tensor([1.0, 1e-6, 1e-6, 1e-6], dtype=torch.float64),
        vectors=torch.eye(10, 4, dtype=torch.float64),
        residuals=torch.full((4,), 1e-12, dtype=torch.float64),
        converged=torch.ones(4, dtype=torch.bool),
        tolerance=1e-10,
        scale=1.0,
        method="krylov",
        products=0,
        rest=(-1e-9, 1e-9),
    )
    alignment = np.array([[1.0, 1e-5, 2e-5, 0.0]])
    assert pairs.vector_errors[1:].min() == 1
    assert alignment_errors(pairs, alignment)[:, 1:].max() < 4e-5


def test_rows_at_a_time_are_all_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = symmetric(np.linspace(2, -0.5, 30))
    pairs = nearly(operator, 20, 1e-3, 1)
    alignment = unit_gradients(30, 1) @ pairs.vectors.numpy()
    whole = alignment_errors(pairs, alignment)
    monkeypatch.setattr(perturbation, "_ROWS", 7)
    np.testing.assert_allclose(alignment_errors(pairs, alignment), whole, rtol=1e-12)
