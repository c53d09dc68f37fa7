from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import eigenboundary as eb
from eigenboundary.boundary.search.norms import Geometry
from tests.references import Golden

Blobs = tuple[np.ndarray, np.ndarray]


def linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    model = nn.Linear(weight.shape[1], weight.shape[0]).double()
    model.weight.data, model.bias.data = torch.tensor(weight), torch.tensor(bias)
    return model


def random_network(seed: int, dimension: int, classes: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(dimension, 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, classes)
    ).double()
    for parameter in model.parameters():
        fan_in = parameter.shape[-1] if parameter.ndim > 1 else 1
        parameter.data = torch.randn(parameter.shape, generator=generator).double() / fan_in**0.5
    return model


def top_two(outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The leading classes, smaller one first, and the difference of their outputs."""
    order = np.argsort(outputs, axis=1)[:, -2:]
    leading = np.take_along_axis(outputs, order, axis=1)
    return np.sort(order, axis=1), leading[:, 1] - leading[:, 0]


class Circles(nn.Module):
    """Class 0 outside the circle of radius 2, class 1 inside."""

    def __init__(self) -> None:
        super().__init__()
        self.square = nn.Parameter(torch.tensor(4.0, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        radius = x.square().sum(1)
        return torch.stack([radius, self.square.expand_as(radius)], dim=1)


def assert_on_the_boundary(model: nn.Module, x: np.ndarray, found: eb.boundary.BoundaryDistance):
    """The prediction changes at each point, and the way there is all of the input's own class."""
    start, step = torch.tensor(x), torch.tensor(found.point - x)
    own = model(start).argmax(1)
    behind = model(start + (1 + 1e-6) * step).argmax(1)
    assert (behind != own).all()
    for share in torch.linspace(0, 1 - 1e-6, 200):
        assert (model(start + share * step).argmax(1) == own).all()


def test_distances_in_the_reference_networks_are_the_files(golden: Golden) -> None:
    found = eb.boundary_distance(golden.model(), golden["x"], dtype="float64")
    assert found.converged.all()
    true = golden["true_margin"]
    relative = found.value / true - 1
    # The files' grid sees a crossing at most a little later than there is one.
    assert np.median(np.abs(relative)) < 1e-3
    assert np.mean(np.abs(relative) < 0.01) >= 0.99
    assert relative.max() < 1e-3
    assert_on_the_boundary(golden.model().double(), golden["x"].astype(float), found)
    np.testing.assert_allclose(np.linalg.norm(found.point - golden["x"], axis=1), found.value)


def test_distances_in_float32_are_nearly_the_files(golden: Golden) -> None:
    found = eb.boundary_distance(golden.model(), golden["x"])
    relative = found.value / golden["true_margin"] - 1
    assert found.converged.mean() > 0.98
    assert np.mean(np.abs(relative) < 0.01) >= 0.98
    assert relative.max() < 0.01


@settings(max_examples=10)
@given(
    st.integers(0, 10_000), st.integers(1, 30), st.integers(2, 6), st.sampled_from([2, math.inf])
)
def test_the_distance_of_a_linear_classifier_is_its_closed_form(
    seed: int, dimension: int, classes: int, norm: float
) -> None:
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(classes, dimension)), rng.normal(size=classes)
    x = rng.normal(size=(8, dimension))
    outputs = x @ weight.T + bias
    own = outputs.argmax(1)
    dual = 2 if norm == 2 else 1
    rates = np.linalg.norm(weight[own][:, None] - weight, dual, axis=2)
    gaps = outputs.max(1, keepdims=True) - outputs
    with np.errstate(invalid="ignore"):
        expected = np.nanmin(gaps / rates, axis=1)
    found = eb.boundary_distance(linear(weight, bias), x, norm=norm, seed=seed)
    np.testing.assert_allclose(found.value, expected, rtol=1e-6)
    np.testing.assert_allclose(found.lower_estimate, expected, rtol=1e-9)
    assert found.converged.all()


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.integers(2, 10))
def test_the_distance_from_a_sphere_is_that_of_the_radius(seed: int, dimension: int) -> None:
    x = np.random.default_rng(seed).normal(size=(6, dimension)) * 3 / dimension**0.5
    found = eb.boundary_distance(Circles(), x)
    np.testing.assert_allclose(found.value, np.abs(np.linalg.norm(x, axis=1) - 2), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found.point, axis=1), 2, rtol=1e-9)


def test_the_centre_of_a_circle_where_the_gradient_vanishes_finds_its_boundary() -> None:
    found = eb.boundary_distance(Circles(), np.array([[0.0, 0.0], [3.0, 0.0]]))
    np.testing.assert_allclose(found.value, [2, 1], rtol=1e-6)
    assert np.isinf(found.lower_estimate[0])


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.integers(2, 4), st.sampled_from([2, math.inf]))
def test_no_input_nearer_than_the_distance_is_predicted_otherwise(
    seed: int, classes: int, norm: float
) -> None:
    """Against a polar grid around each input of the plane, where the boundary is not far off."""
    model = random_network(seed, 2, classes)
    x = np.random.default_rng(seed).normal(size=(4, 2))
    found = eb.boundary_distance(model, x, norm=norm, seed=seed)
    some = found.value < 5
    if not some.any():
        return
    kept = eb.boundary.BoundaryDistance(
        found.value[some], found.point[some], found.classes[some], found.lower_estimate, some[some]
    )
    assert_on_the_boundary(model, x[some], kept)
    angles = np.linspace(0, 2 * np.pi, 1440, endpoint=False)
    units = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    units /= np.linalg.norm(units, norm, axis=1, keepdims=True)
    for start, value in zip(x[some], found.value[some], strict=True):
        reach = np.linspace(0.02, 0.99, 50)[:, None, None] * value
        grid = torch.tensor(start + reach * units).reshape(-1, 2)
        own = model(torch.tensor(start).unsqueeze(0)).argmax(1)
        assert (model(grid).argmax(1) == own).all()


@pytest.mark.parametrize("dimension", [3, 4, 6, 10])
@pytest.mark.parametrize("norm", [2, math.inf])
def test_random_inputs_of_the_ball_are_predicted_as_its_centre(dimension: int, norm: float) -> None:
    model = random_network(dimension, dimension, 3)
    x = np.random.default_rng(dimension).normal(size=(10, dimension))
    found = eb.boundary_distance(model, x, norm=norm)
    assert np.isfinite(found.value).all()
    assert found.converged.all()
    generator = torch.Generator().manual_seed(dimension)
    for start, value in zip(x, found.value, strict=True):
        rays = torch.randn(20_000, dimension, generator=generator).double()
        rays /= torch.linalg.vector_norm(rays, norm, dim=1, keepdim=True)
        own = model(torch.tensor(start).unsqueeze(0)).argmax(1)
        assert (model(torch.tensor(start) + 0.97 * value * rays).argmax(1) == own).all()


@pytest.mark.parametrize(("norm", "expected"), [(2, math.hypot(0.1, 0.3)), (math.inf, 0.3)])
def test_the_box_bounds_every_entry(norm: float, expected: float) -> None:
    model = linear(np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([-1.8, 0.0]))
    x = np.array([[0.9, 0.5], [1.0, 1.0]])
    found = eb.boundary_distance(model, x, norm=norm, box=(0, 1))
    assert found.value[0] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(found.point[0], [1.0, 0.8], atol=1e-6)
    free = eb.boundary_distance(model, x, norm=norm)
    assert free.value[0] < found.value[0]
    assert found.value[1] == pytest.approx(free.value[1])


def test_an_input_on_the_boundary_has_distance_zero() -> None:
    model = linear(np.eye(2), np.zeros(2))
    found = eb.boundary_distance(model, np.array([[1.0, 1.0], [0.0, 1.0]]))
    assert found.value[0] == 0
    assert found.converged.all()
    np.testing.assert_array_equal(found.point[0], [1.0, 1.0])


def test_a_network_with_one_prediction_has_no_boundary() -> None:
    model = linear(np.zeros((2, 3)), np.array([1.0, 0.0]))
    found = eb.boundary_distance(model, np.ones((2, 3)))
    assert np.isinf(found.value).all()
    assert np.isnan(found.point).all()
    assert not found.converged.any()


def test_images_frozen_networks_and_problems_will_do() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()
    x = torch.rand(12, 1, 6, 6).double()
    free = eb.boundary_distance(model, x)
    assert free.point.shape == (12, 1, 6, 6)
    assert_on_the_boundary(model, x.numpy(), free)
    boxed = eb.boundary_distance(model, x, box=(0, 1))
    assert (boxed.value >= free.value * (1 - 1e-6)).all()
    met = np.isfinite(boxed.value)
    assert boxed.point[met].min() >= 0
    assert boxed.point[met].max() <= 1
    frozen = eb.boundary_distance(model.requires_grad_(False), x)
    np.testing.assert_array_equal(frozen.value, free.value)
    model.requires_grad_(True)
    problem = eb.Problem(model, (x, torch.arange(12) % 3))
    np.testing.assert_allclose(eb.boundary_distance(problem, x).value, free.value, rtol=1e-6)


def test_blocks_and_batches_do_not_change_the_distance(
    gauss_normal: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = gauss_normal.model().double(), gauss_normal["x"][:20]
    whole = eb.boundary_distance(model, x, references=gauss_normal["x"])
    monkeypatch.setattr("eigenboundary.boundary.search.nearest._NUMBERS", 100)
    parts = eb.boundary_distance(model, x, references=gauss_normal["x"], batch_size=50)
    np.testing.assert_allclose(parts.value, whole.value, rtol=1e-6)


def test_no_inputs_have_no_distances(small_model: nn.Module, blobs: Blobs) -> None:
    found = eb.boundary_distance(eb.Problem(small_model, blobs), blobs[0][:0])
    assert found.value.shape == (0,)
    assert found.point.shape == (0, 2)
    assert found.classes.shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm": 1}, "norm must be 2 or inf"),
        ({"norm": "max"}, "norm must be 2 or inf"),
        ({"n_starts": 0}, "n_starts must be an integer of at least 1"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"tolerance": 0}, "tolerance must be a number between 0 and 1"),
        ({"box": 1}, "box must be a pair"),
        ({"box": (1, 0)}, "box must be a pair"),
        ({"box": (0, 0.1)}, "x must lie in the box from 0 to 0.1"),
        ({"x": np.full((2, 2), np.nan)}, "x must be finite"),
        ({"x": "abc"}, "x must hold numeric arrays or tensors; got str"),
        ({"x": np.ones((3, 5))}, "model must accept the inputs"),
        ({"references": np.ones((3, 5))}, r"references must have shape \(n, 2\)"),
        ({"model": None}, "model must be a torch.nn.Module"),
    ],
)
def test_unusable_arguments_are_refused(
    small_model: nn.Module, blobs: Blobs, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(eb.InvalidInputError, match=message):
        eb.boundary_distance(**{"model": small_model, "x": blobs[0], **arguments})


def test_a_problem_keeps_its_own_precision(small_model: nn.Module, blobs: Blobs) -> None:
    problem = eb.Problem(small_model, blobs, dtype="float32")
    with pytest.raises(eb.InvalidInputError, match=r"device must be left out .* Problem"):
        eb.boundary_distance(problem, blobs[0], device="cpu")
    found = eb.boundary_distance(problem, blobs[0])
    assert found.value.dtype == np.float32


@pytest.mark.parametrize("norm", [2.0, np.inf])
def test_steps_in_a_box_are_as_long_as_it_lets(norm: float) -> None:
    geometry = Geometry(norm, (0.0, 1.0))
    x = torch.rand(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:20, 0] = 0  # at its side
    direction = torch.randn(40, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    direction /= geometry.length(direction).unsqueeze(1)
    length = torch.full((40,), 0.3, dtype=torch.float64)
    ends = geometry.as_far_as(x, direction, length)
    assert (ends >= 0).all()
    assert (ends <= 1).all()
    reached = geometry.length(ends - x)
    assert (reached <= length * (1 + 1e-12)).all()
    simply_clamped = geometry.length((x + 0.3 * direction).clamp(0, 1) - x)
    assert (reached >= simply_clamped - 1e-12).all()
    assert (reached > simply_clamped + 0.01).any() or norm == np.inf
