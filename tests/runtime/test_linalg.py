from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eigenboundary.runtime import linalg
from eigenboundary.runtime.errors import InvalidInputError


@pytest.mark.parametrize("rows", [3, 4096, 8192, 100_003])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_of_uneven_columns_are_right_to_rounding(rows: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(rows)
    block = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    block *= torch.rand(rows, 1, generator=generator, dtype=torch.float64) ** 6
    block = block.to(dtype)
    for layout in (block, block.T.contiguous().T):
        norms = linalg.column_norms(layout)
        assert norms.dtype == torch.float64
        exact = block.double().square().sum(0).sqrt()
        torch.testing.assert_close(norms, exact, rtol=2e-6, atol=0)


def test_norms_of_millions_of_entries_do_not_drift() -> None:
    generator = torch.Generator().manual_seed(0)
    column = torch.randn(3_000_000, 1, generator=generator)
    column *= torch.rand(column.shape, generator=generator) ** 4
    torch.testing.assert_close(
        linalg.column_norms(column), column.double().norm(dim=0), rtol=1e-6, atol=0
    )


@given(st.integers(-37, 37), st.sampled_from([5, 8192 + 5]))
def test_norms_neither_underflow_nor_overflow(exponent: int, rows: int) -> None:
    block = torch.full((rows, 2), 10.0**exponent)
    expected = block[0, 0].double() * rows**0.5
    torch.testing.assert_close(linalg.column_norms(block), expected.expand(2), rtol=3e-6, atol=0)


def test_a_zero_column_among_others_has_norm_zero() -> None:
    block = torch.zeros(9000, 2)
    block[:, 1] = 2.0
    assert linalg.column_norms(block).tolist() == pytest.approx([0, 2 * 9000**0.5])


@given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 1000))
def test_eigenpairs_of_matrices_with_zero_rows_are_right_in_any_precision(
    size: int, dead: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(size, size, generator=generator, dtype=torch.float64)
    factor[:dead] = 0
    matrix = (factor @ factor.T).float()
    values, vectors = linalg.eigh(matrix)
    assert values.dtype == vectors.dtype == torch.float64
    expected = torch.from_numpy(np.linalg.eigvalsh(matrix.double().numpy())).flip(0)
    scale = float(expected[0]) + 1e-300
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-13 * scale)
    torch.testing.assert_close(linalg.eigvalsh(matrix), expected, rtol=0, atol=1e-13 * scale)
    torch.testing.assert_close(
        vectors * values @ vectors.T, matrix.double(), rtol=0, atol=1e-12 * scale
    )
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(size).double())


@pytest.mark.parametrize("failure", ["raises", "gives NaN"])
def test_a_failure_of_divide_and_conquer_is_mended(
    failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if failure == "raises":
            raise torch.linalg.LinAlgError("the algorithm failed to converge")
        return matrix[..., 0] * torch.nan, matrix * torch.nan

    factor = torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    matrices = factor + factor.mT
    expected = torch.linalg.eigvalsh(matrices).flip(-1)
    monkeypatch.setattr(torch.linalg, "eigh", fails)
    monkeypatch.setattr(torch.linalg, "eigvalsh", lambda matrix: fails(matrix)[0])
    values, vectors = linalg.eigh(matrices)
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(vectors * values.unsqueeze(-2) @ vectors.mT, matrices)
    torch.testing.assert_close(linalg.eigvalsh(matrices[0]), expected[0])


@pytest.mark.parametrize("decompose", [linalg.eigh, linalg.eigvalsh])
def test_a_matrix_with_nan_is_refused(decompose: Callable[[torch.Tensor], object]) -> None:
    with pytest.raises(InvalidInputError, match="curvature must be finite"):
        decompose(torch.tensor([[1.0, torch.nan], [torch.nan, 1.0]]))
