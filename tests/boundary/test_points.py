from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import eigenboundary as eb
from eigenboundary.boundary import points as points_module
from eigenboundary.boundary import project_to_boundary
from tests.boundary.test_distance import linear, random_network, top_two
from tests.references import Golden

Blobs = tuple[np.ndarray, np.ndarray]


def stripes() -> nn.Linear:
    """Classes 0, 1, 2 from left to right on the line, meeting at -0.5 and 0.5."""
    return linear(np.array([[-1.0], [0.0], [1.0]]), np.array([0.0, 0.5, 0.0]))


def test_points_of_the_reference_networks_lie_on_the_boundary(golden: Golden) -> None:
    found = eb.boundary_points(golden.model(), golden.data, dtype="float64")
    assert len(found) > 800
    outputs = golden.model().double()(torch.tensor(found.points)).detach().numpy()
    leading, gap = top_two(outputs)
    np.testing.assert_array_equal(leading, found.classes)
    np.testing.assert_allclose(gap, found.gap, atol=1e-12)
    assert gap.max() < 1e-12 * np.abs(outputs).max()
    predicted = golden["logits"].argmax(1)
    occurring = {tuple(p) for p in np.sort(predicted[found.pairs], axis=1).tolist()}
    assert all(a != b for a, b in occurring)


def test_float32_points_are_on_the_boundary_to_its_rounding(golden: Golden) -> None:
    found = eb.boundary_points(golden.model(), golden.data)
    assert found.points.dtype == np.float32
    assert found.gap.max() < 1e-6 * np.abs(golden["logits"]).max()


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 5))
def test_points_of_random_networks_have_two_equal_leading_outputs(
    seed: int, dimension: int, classes: int
) -> None:
    model = random_network(seed, dimension, classes)
    x = torch.randn(80, dimension, generator=torch.Generator().manual_seed(seed)).double()
    predicted = model(x).argmax(1)
    if len(predicted.unique()) < 2:
        return
    found = eb.boundary_points(model, (x, torch.arange(80) % classes), n=60, seed=seed)
    assert len(found) > 0
    outputs = model(torch.tensor(found.points)).detach().numpy()
    leading, gap = top_two(outputs)
    np.testing.assert_array_equal(leading, found.classes)
    assert gap.max() < 1e-10
    # On the segment between the two samples it names.
    ends = x.numpy()[found.pairs]
    lengths = [np.linalg.norm(found.points - ends[:, side], axis=1) for side in (0, 1)]
    np.testing.assert_allclose(sum(lengths), np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1))
    assert (predicted.numpy()[found.pairs[:, 0]] != predicted.numpy()[found.pairs[:, 1]]).all()


def test_a_class_that_lies_between_two_others_is_not_jumped_over() -> None:
    x = torch.tensor([[-3.0], [-2.0], [2.0], [3.0]]).double()
    found = eb.boundary_points(stripes(), (x, torch.tensor([0, 0, 2, 2])), n=50)
    assert {tuple(pair) for pair in found.classes.tolist()} <= {(0, 1), (1, 2)}
    expected = np.where(found.classes[:, :1] == 0, -0.5, 0.5)
    np.testing.assert_allclose(found.points, expected, atol=1e-12)


def test_points_closer_than_the_spacing_are_thinned(gauss_normal: Golden) -> None:
    found = eb.boundary_points(gauss_normal.model(), gauss_normal.data, n=3000, spacing=0.01)
    distances = torch.pdist(torch.tensor(found.points).double())
    assert 100 < len(found) < 3000
    assert distances.min() > 0.005 * distances.median()
    every = eb.boundary_points(gauss_normal.model(), gauss_normal.data, n=3000, spacing=0)
    assert len(every) == 3000


def test_rare_classes_have_their_share_of_the_boundary() -> None:
    x = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)).double()
    x[:3] += torch.tensor([20.0, 0.0])
    weight = np.array([[0.0, -1.0], [0.0, 1.0], [1.0, 0.0]])
    model = linear(weight, np.array([0.0, 0.0, -10.0]))
    predicted = model(x).argmax(1)
    assert (predicted == 2).sum() == 3
    found = eb.boundary_points(model, (x, predicted), n=400)
    assert (found.classes == 2).any(1).sum() > 50


def test_the_same_seed_gives_the_same_points_in_any_batch_size(gauss_normal: Golden) -> None:
    model, data = gauss_normal.model().double(), gauss_normal.data
    first = eb.boundary_points(model, data, n=100, seed=3)
    again = eb.boundary_points(model, data, n=100, seed=3, batch_size=7)
    np.testing.assert_allclose(again.points, first.points, atol=1e-12)
    other = eb.boundary_points(model, data, n=100, seed=4)
    assert not np.array_equal(other.points, first.points)


def test_a_problem_brings_its_own_samples(small_model: nn.Module, blobs: Blobs) -> None:
    problem = eb.Problem(small_model, blobs)
    expected = eb.boundary_points(small_model, blobs, n=40)
    np.testing.assert_array_equal(eb.boundary_points(problem, n=40).points, expected.points)
    analysis = eb.analyze(problem, k=2, grid=0)
    np.testing.assert_array_equal(eb.boundary_points(analysis, n=40).points, expected.points)


def test_images_keep_their_shape() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    x = 3 * torch.randn(40, 1, 6, 6)
    found = eb.boundary_points(model, (x, torch.arange(40) % 3), n=20)
    assert found.points.shape == (20, 1, 6, 6)
    assert found.gap.max() < 1e-5
    projected = project_to_boundary(model, x)
    assert projected.points.shape == x.shape
    assert projected.converged.all()
    _, gap = top_two(model(torch.tensor(projected.points)).detach().numpy())
    assert gap.max() < 1e-5


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_the_projection_on_a_hyperplane_is_the_nearest_point(seed: int, dimension: int) -> None:
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(2, dimension)), rng.normal(size=2)
    x = rng.normal(size=(5, dimension))
    w, b = weight[0] - weight[1], bias[0] - bias[1]
    expected = x - ((x @ w + b) / (w @ w))[:, None] * w
    found = project_to_boundary(linear(weight, bias), x)
    assert found.converged.all()
    np.testing.assert_allclose(found.points, expected, atol=1e-9 * max(1, np.abs(expected).max()))
    np.testing.assert_allclose(found.distance, np.linalg.norm(expected - x, axis=1), atol=1e-9)


def test_points_of_the_boundary_stay_when_projected(golden: Golden) -> None:
    points = eb.boundary_points(golden.model(), golden.data, n=200, dtype="float64").points
    found = project_to_boundary(golden.model(), points, dtype="float64")
    assert found.converged.all()
    assert found.distance.max() < 1e-9


def test_random_inputs_are_projected_onto_the_boundary(golden: Golden) -> None:
    x = np.random.default_rng(0).uniform(-4, 4, size=(300, 2))
    found = project_to_boundary(golden.model().double(), x)
    assert found.converged.mean() > 0.95
    done = found.converged
    outputs = golden.model().double()(torch.tensor(found.points)).detach().numpy()
    leading, gap = top_two(outputs[done])
    np.testing.assert_array_equal(leading, found.classes[done])
    assert gap.max() < 1e-10 * np.abs(outputs).max()
    np.testing.assert_array_equal(found.points[~done], x[~done])


def test_a_network_without_a_boundary_is_said_not_to_converge() -> None:
    model = linear(np.zeros((2, 3)), np.array([1.0, 0.0]))
    found = project_to_boundary(model, np.ones((2, 3)))
    assert not found.converged.any()


def test_the_model_is_left_exactly_as_it_was(small_model: nn.Module, blobs: Blobs) -> None:
    model = nn.Sequential(small_model, nn.Dropout(0.5)).double().train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    eb.boundary_points(model, blobs, n=20)
    eb.boundary_distance(model, blobs[0][:3])
    project_to_boundary(model, blobs[0][:3])
    assert model.training
    assert torch.equal(torch.get_rng_state(), random_state)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    for parameter in model.parameters():
        assert parameter.requires_grad
        assert torch.equal(parameter.grad, torch.ones_like(parameter))


def test_inputs_by_the_thousand_are_drawn_from_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eigenboundary.boundary.arguments._POOL", 10)
    monkeypatch.setattr(points_module, "_DIFFERENCE_BYTES", 32)
    x = torch.randn(101, 2, generator=torch.Generator().manual_seed(0)).double()
    found = eb.boundary_points(linear(np.eye(2), np.zeros(2)), (x, x.argmax(1)), n=20)
    assert set(found.pairs.flatten().tolist()) <= set(range(0, 101, 11))
    np.testing.assert_allclose(found.points[:, 0], found.points[:, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be an integer of at least 1"),
        ({"seed": -1}, "seed must be an integer"),
        ({"tolerance": 2}, "tolerance must be a number between 0 and 1"),
        ({"spacing": -0.1}, "spacing must be a number of at least 0 and below 1"),
        ({"spacing": "wide"}, "spacing must be a number of at least 0 and below 1"),
        ({"data": None}, "data must be given for a model that is a torch.nn.Module"),
        ({"model": "net"}, "model must be a torch.nn.Module"),
        ({"data": (np.ones((4, 2)), np.arange(4) % 2)}, "data must hold samples that the model"),
    ],
)
def test_unusable_arguments_are_refused(
    small_model: nn.Module, blobs: Blobs, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(eb.InvalidInputError, match=message):
        eb.boundary_points(**{"model": small_model, "data": blobs, **arguments})


def test_a_problem_refuses_options_of_the_model(small_model: nn.Module, blobs: Blobs) -> None:
    problem = eb.Problem(small_model, blobs)
    with pytest.raises(eb.InvalidInputError, match=r"dtype must be left out .* Problem"):
        eb.boundary_points(problem, dtype="float32")
    with pytest.raises(eb.InvalidInputError, match=r"data must be given .* got None"):
        eb.boundary_points(small_model)


def test_inputs_that_are_no_points_of_a_space_are_refused() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    tokens = torch.randint(0, 5, (20, 2), generator=torch.Generator().manual_seed(0))
    with pytest.raises(eb.InvalidInputError, match="data must hold floating-point inputs"):
        eb.boundary_points(model, (tokens, torch.arange(20) % 2))
