from __future__ import annotations

from functools import cache

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import eigenboundary as eb
from eigenboundary.boundary import smallest_margin as smallest
from eigenboundary.boundary.search.nearest import BoundaryDistance
from eigenboundary.boundary.smallest_margin import candidates, most_examined, usually_examined
from tests.references import Golden
from tests.shared_analyses import analysis_of


@cache
def smallest_of(golden: Golden, dtype: str) -> eb.SmallestMargin:
    """The smallest margin of an eighth of the samples, by the ten top eigenvectors."""
    budget = int(0.12 * len(golden["true_margin"]))
    return eb.smallest_margin(analysis_of(golden, dtype=dtype), budget=budget)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_narrowest_place_is_found_among_an_eighth_of_the_samples(golden: Golden, dtype) -> None:
    found = smallest_of(golden, dtype)
    true = golden["true_margin"]
    assert found.value == pytest.approx(true.min(), rel=0.01)
    assert found.n_examined <= 0.12 * len(true)
    assert found.converged
    assert true[found.sample_index] == pytest.approx(true.min(), rel=0.01)
    x = torch.as_tensor(found.boundary_point).unsqueeze(0)
    outputs = golden.model().to(x.dtype)(x).detach().numpy()[0]
    assert tuple(sorted(np.argsort(-outputs)[:2])) == found.classes
    offset = golden["x"][found.sample_index] - found.boundary_point
    assert np.linalg.norm(offset) == pytest.approx(found.value, rel=1e-4)


def test_all_samples_are_examined_where_that_is_affordable(golden: Golden) -> None:
    found, true = eb.smallest_margin(analysis_of(golden)), golden["true_margin"]
    assert found.complete
    assert sorted(found.examined) == list(range(len(true)))
    assert found.value == pytest.approx(true.min(), rel=0.01)
    assert found.drawn.all()
    assert found.sample_margins is not None
    assert found.sample_margins.median == pytest.approx(np.median(true), rel=0.01)


def test_an_upper_bound_from_few_samples_says_so(gauss_normal: Golden) -> None:
    found = eb.smallest_margin(analysis_of(gauss_normal), budget=12)
    assert not found.complete
    assert (found.n_examined, found.n_samples) == (12, 150)
    assert found.sample_margins is None  # none of these was drawn at random


def test_every_examined_distance_is_the_samples_own(gauss_normal: Golden) -> None:
    found = eb.smallest_margin(gauss_normal.model(), gauss_normal.data, k=3, budget=12)
    assert found.n_examined == len(found.examined) == len(set(found.examined)) == 12
    np.testing.assert_allclose(
        found.distances, gauss_normal["true_margin"][found.examined], rtol=0.01
    )
    assert found.value == np.nanmin(found.distances)


def test_the_maximum_norm_is_never_longer(gauss_normal: Golden) -> None:
    euclidean = smallest_of(gauss_normal, "float32")
    largest = eb.smallest_margin(analysis_of(gauss_normal, dtype="float32"), norm=float("inf"))
    assert euclidean.value / 2**0.5 <= largest.value <= euclidean.value


@given(
    hnp.arrays(
        np.float64, st.tuples(st.integers(3, 12), st.integers(1, 4)), elements=st.floats(-1, 1)
    )
)
def test_candidates_are_different_samples_and_begin_with_x_t(cosines: np.ndarray) -> None:
    n, k = cosines.shape
    every = candidates(cosines, n)
    assert sorted(every) == list(range(n))
    np.testing.assert_array_equal(candidates(cosines, 2), every[:2])
    assert every[0] == np.argmax(cosines[:, 0])
    if n >= 4 * k:  # half of the turns are the sections', two samples each
        wanted = {*cosines.argmax(0), *cosines.argmin(0)}
        assert wanted <= set(every[: 4 * k])


def test_the_budget_is_a_share_of_the_samples_within_bounds() -> None:
    large = 10**9
    assert most_examined(150, 10, 10**4) == 150
    assert usually_examined(150, 10) == 18
    assert most_examined(150, 10, large) == 11
    assert usually_examined(10_000, 10) == 200
    assert most_examined(10_000, 10, 10**4) == 200
    assert most_examined(10_000, 10, 10**7) == 200
    assert most_examined(5, 10, large) == 2
    assert most_examined(1, 10, large) == 1


@pytest.mark.parametrize(
    ("value", "converged", "margin", "trusted"),
    [
        ([3.0, 2.0, 4.0], [True, True, True], 2.0, True),
        ([3.0, 2.0, 4.0], [True, False, True], 3.0, False),
        ([3.0, 2.0, 4.0], [False, True, False], 2.0, True),
        ([3.0, 2.0, 4.0], [False, False, False], np.nan, False),
    ],
)
def test_a_search_that_did_not_converge_is_no_margin(
    monkeypatch, small_model, blobs, value, converged, margin, trusted
) -> None:
    found = BoundaryDistance(
        np.array(value), np.zeros((3, 2)), np.array([[0, 1]] * 3), np.ones(3), np.array(converged)
    )
    monkeypatch.setattr(smallest, "nearest_boundary", lambda *_: found)
    result = eb.smallest_margin(small_model, blobs, k=2)
    np.testing.assert_equal(result.value, margin)
    assert result.converged == trusted


def test_unusable_arguments_are_refused(small_model: nn.Module, blobs) -> None:
    for arguments, message in (
        ({"budget": 0}, "budget must be an integer of at least 1"),
        ({"norm": "l2"}, "norm must be 2 or inf"),
        ({"box": (-1, 1)}, "data must lie in the box"),
        ({"k": 99}, "k must be"),
    ):
        with pytest.raises(eb.InvalidInputError, match=message):
            eb.smallest_margin(small_model, blobs, **arguments)
