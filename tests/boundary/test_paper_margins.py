from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import eigenboundary as eb
from eigenboundary.boundary import paper_margins
from eigenboundary.boundary.paper_margins import SectionMargins
from tests.boundary.test_distance import top_two
from tests.references import Golden, alignment_from_residual, exact_output_residual

Blobs = tuple[np.ndarray, np.ndarray]


def problem_and_vectors(golden: Golden, k: int = 3) -> tuple[eb.Problem, np.ndarray]:
    return eb.Problem(golden.model(), golden.data, dtype="float64"), golden["eigenvectors_top10"][
        :, :k
    ]


@cache
def margins_of(golden: Golden) -> SectionMargins:
    """The paper's margins by the three top eigenvectors, from 300 points of the boundary."""
    return paper_margins(*problem_and_vectors(golden), n_points=300)


def test_samples_are_the_most_aligned_on_each_side(golden: Golden) -> None:
    problem, vectors = problem_and_vectors(golden)
    margins = margins_of(golden)
    cosines = eb.alignments(problem, golden["x"], vectors).numpy()
    np.testing.assert_array_equal(margins.samples[:, 0], cosines.argmax(0))
    np.testing.assert_array_equal(margins.samples[:, 1], cosines.argmin(0))
    np.testing.assert_allclose(
        margins.refined_margin, golden["true_margin"][margins.samples], rtol=0.012
    )


def test_a_constrained_point_is_the_most_aligned_of_the_boundary(golden: Golden) -> None:
    problem, vectors = problem_and_vectors(golden)
    margins = margins_of(golden)
    outputs = golden.model().double()(torch.tensor(margins.boundary_point[:, 0])).detach().numpy()
    leading, gap = top_two(outputs)
    np.testing.assert_array_equal(margins.classes[:, 0], leading)
    assert gap.max() < 1e-11 * np.abs(outputs).max()
    np.testing.assert_allclose(margins.gap[:, 0], gap, atol=1e-11)
    points = eb.boundary_points(problem, n=300)
    reached = np.abs(eb.alignments(problem, points.points, vectors).numpy()).max(0)
    assert (margins.alignment[:, 0] >= reached - 1e-12).all()  # rounding of two ways to compute it
    x_t = golden["x"][margins.samples]
    np.testing.assert_allclose(
        margins.paper_margin, np.linalg.norm(x_t - margins.boundary_point, axis=-1)
    )
    # No point of the boundary is nearer than its nearest one.
    assert (margins.paper_margin >= margins.refined_margin * (1 - 1e-6)).all()


def test_the_unconstrained_search_climbs_and_may_leave_the_boundary(gauss_normal: Golden) -> None:
    problem, vectors = problem_and_vectors(gauss_normal)
    margins = paper_margins(problem, vectors, constrained=False, n_steps=60)
    at_samples = np.abs(eb.alignments(problem, gauss_normal["x"], vectors).numpy())
    start = np.take_along_axis(at_samples.T, margins.samples, axis=1)
    assert (margins.alignment >= start - 1e-9).all()
    assert margins.alignment[0].min() > 0.99
    assert margins.gap.max() > 0.1  # which is why the constrained search is the default
    points = torch.tensor(margins.boundary_point).flatten(0, 1)
    model = gauss_normal.model().double()
    residual = torch.tensor(exact_output_residual(model(points).detach().numpy()))
    expected = alignment_from_residual(model, points, residual, torch.tensor(vectors).double())
    own = expected.abs().reshape(3, 2, 3)[np.arange(3), :, np.arange(3)]
    np.testing.assert_allclose(margins.alignment, own, atol=1e-9)


def test_one_vector_of_any_network_will_do(small_model: nn.Module, blobs: Blobs) -> None:
    problem = eb.Problem(small_model, blobs)
    pairs = eb.top_eigenpairs(eb.HessianOperator(problem), 1)
    margins = paper_margins(problem, pairs.vectors[:, 0], n_points=50)
    assert margins.samples.shape == (1, 2)
    assert margins.boundary_point.shape == (1, 2, 2)
    assert margins.classes.shape == (1, 2, 2)
    again = paper_margins(problem, pairs.vectors[:, 0], n_points=50)
    np.testing.assert_array_equal(again.boundary_point, margins.boundary_point)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "net"}, "model must be a torch.nn.Module, a Problem or an Analysis"),
        ({"vectors": np.ones((4, 2))}, r"vectors must have shape \(39, k\)"),
        ({"n_points": 0}, "n_points must be an integer of at least 1"),
        ({"n_steps": 0}, "n_steps must be an integer of at least 1"),
        ({"learning_rate": 0}, "learning_rate must be a number above 0"),
        ({"seed": None}, "seed must be an integer"),
    ],
)
def test_unusable_arguments_are_refused(
    small_model: nn.Module, blobs: Blobs, arguments: dict[str, object], message: str
) -> None:
    usual = {"model": eb.Problem(small_model, blobs), "vectors": np.eye(39)[:, :2]}
    with pytest.raises(eb.InvalidInputError, match=message):
        paper_margins(**{**usual, **arguments})
