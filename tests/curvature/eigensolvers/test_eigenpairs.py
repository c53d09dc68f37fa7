from __future__ import annotations

import numpy as np
import torch

import eigenboundary as eb


def test_first_pairs_count_the_others_among_the_rest_of_the_spectrum() -> None:
    values = torch.tensor([5.0, 4.0, 4.0 - 1e-12, 1.0, 0.5], dtype=torch.float64)
    pairs = eb.top_eigenpairs(eb.MatrixOperator(torch.diag(values)), 5, method="dense")
    two = pairs.first(2)
    np.testing.assert_allclose(two.values, [5.0, 4.0])
    np.testing.assert_allclose(two.all_values, values)
    assert two.vectors.shape == (5, 2)
    assert two.rest is not None
    assert two.rest[0] == 0.5
    assert two.rest[1] >= 4.0 - 1e-12
    # The second vector cannot be told from the third, which is left out.
    assert two.vector_errors[0] < 1e-9
    assert two.vector_errors[1] > 1e-4
    assert pairs.first(5) is pairs
