from __future__ import annotations

import numpy as np
import pytest
import torch

import eigenboundary as eb


def low_rank(p: int = 500, rank: int = 100) -> eb.MatrixOperator:
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(p, p)))[0]
    eigenvalues = np.concatenate([np.linspace(2, 1, rank - 1), np.zeros(p - rank), [-1.0]])
    matrix = (basis * eigenvalues) @ basis.T
    return eb.MatrixOperator((matrix + matrix.T) / 2)


@pytest.mark.parametrize("kind", ["lowest", "random_eigenvectors", "random_directions"])
def test_controls_are_orthonormal_and_seeded(kind: str) -> None:
    operator = low_rank()
    vectors = eb.control_vectors(operator, kind, 8, seed=1)
    identity = torch.eye(8, dtype=torch.float64)
    torch.testing.assert_close(vectors.T @ vectors, identity, rtol=0, atol=1e-8)
    torch.testing.assert_close(vectors, eb.control_vectors(operator, kind, 8, seed=1))


def test_lowest_eigenvectors_have_the_lowest_eigenvalues() -> None:
    operator = low_rank()
    vectors = eb.control_vectors(operator, "lowest", 1)
    torch.testing.assert_close(operator.matrix @ vectors, -vectors)


def test_random_eigenvectors_are_eigenvectors_in_the_spectrums_proportion() -> None:
    operator = low_rank()
    vectors = eb.control_vectors(operator, "random_eigenvectors", 200, seed=0)
    values = (vectors * (operator.matrix @ vectors)).sum(0)
    residual = (operator.matrix @ vectors - vectors * values).norm(dim=0)
    assert residual.max() < 1e-9
    # A fifth of the spectrum is not null; 200 draws without replacement from 500.
    assert int((values.abs() > 0.5).sum()) == pytest.approx(40, abs=15)


def test_random_directions_are_no_eigenvectors() -> None:
    operator = low_rank()
    vectors = eb.control_vectors(operator, "random_directions", 5)
    images = operator.matrix @ vectors
    assert (images - vectors * (vectors * images).sum(0)).norm(dim=0).min() > 0.1


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(eb.InvalidInputError, match="kind must be one of 'lowest'"):
        eb.control_vectors(low_rank(), "highest")


@pytest.mark.parametrize("kind", ["lowest", "random_eigenvectors"])
def test_eigenpairs_of_another_precision_are_taken_over(kind: str) -> None:
    matrix = torch.diag(torch.arange(-4.0, 5.0).double())
    pairs = eb.top_eigenpairs(eb.MatrixOperator(matrix), 9)
    single = eb.MatrixOperator(matrix.float())
    vectors = eb.control_vectors(single, kind, 4, eigenpairs=pairs)
    assert (vectors.dtype, vectors.shape) == (torch.float32, (9, 4))
