from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eigenboundary.curvature import linalg


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
