"""The loss away from where training ended, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import eigenboundary as eb
from eigenboundary.boundary.motion import boundary_along
from eigenboundary.landscape import (
    LossCurve,
    loss_along,
    loss_at,
    loss_between,
    loss_plane,
    low_loss_curve,
    plane_through,
    points,
)

STEPS = np.linspace(-1.5, 2.0, 9)


def blobs(n: int = 60, d: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = 2 * torch.randn(3, d, generator=generator, dtype=torch.float64)
    return centres[y] + torch.randn(n, d, generator=generator, dtype=torch.float64), y


def network(seed: int, hidden: int = 8) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, 3)).double()


def trained(seed: int, loss=nn.functional.cross_entropy, steps: int = 200) -> nn.Sequential:
    model, (x, y) = network(seed), blobs()
    optimizer = torch.optim.Adam(model.parameters(), 3e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    return model


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def loaded(model: nn.Module, theta: torch.Tensor) -> nn.Module:
    nn.utils.vector_to_parameters(theta.clone(), model.parameters())
    return model


def direction(p: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(p, generator=generator, dtype=torch.float64)


@pytest.fixture
def problem() -> eb.Problem:
    return eb.Problem(network(0), blobs())


@pytest.fixture
def linear() -> eb.Problem:
    """The loss is exactly quadratic in θ."""
    torch.manual_seed(0)
    return eb.Problem(nn.Linear(2, 3).double(), blobs(), loss="mse")


@pytest.fixture(scope="module")
def pair() -> tuple[nn.Sequential, nn.Sequential]:
    return trained(1), trained(2)


# ------------------------------------------------------------------------------- at points


def test_loss_and_accuracy_are_those_of_the_network_with_these_weights(problem):
    x, y = blobs()
    thetas = problem.network.theta + 0.5 * torch.stack(
        [direction(problem.n_parameters, s) for s in (1, 2)]
    )
    values = loss_at(problem, thetas)
    for theta, loss, accuracy in zip(thetas, values.loss, values.accuracy, strict=True):
        outputs = loaded(network(0), theta)(x)
        expected = float(nn.functional.cross_entropy(outputs, y).detach())
        assert loss == pytest.approx(expected, rel=1e-12)
        assert accuracy == float((outputs.argmax(1) == y).double().mean())


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_the_problems_own_point_has_the_problems_own_loss(loss):
    problem = eb.Problem(network(0), blobs(), loss=loss)
    values = loss_at(problem, problem.network.theta)
    assert values.loss == pytest.approx([problem.loss_value], rel=1e-12)
    assert values.accuracy == pytest.approx([problem.accuracy])


def test_chunks_of_points_and_of_samples_do_not_change_the_loss(problem, monkeypatch):
    thetas = torch.stack([direction(problem.n_parameters, s) for s in range(5)])
    whole = loss_at(problem, thetas)
    monkeypatch.setattr(points, "_MOST_POINTS", 2)
    small = loss_at(eb.Problem(network(0), blobs(), batch_size=7), thetas)
    np.testing.assert_allclose(small.loss, whole.loss, rtol=1e-13)
    np.testing.assert_array_equal(small.accuracy, whole.accuracy)


def test_a_network_without_a_batching_rule_is_evaluated_point_by_point():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network(0)

        def forward(self, x):
            outputs = self.net(x)
            return outputs if bool(outputs.sum() > -1e9) else -outputs

    thetas = torch.stack([direction(51, s) for s in range(3)])
    np.testing.assert_allclose(
        loss_at(eb.Problem(Branching(), blobs()), thetas).loss,
        loss_at(eb.Problem(network(0), blobs()), thetas).loss,
    )


def test_a_convolutional_network_is_evaluated_at_many_points():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).double()
    x, y = torch.randn(12, 1, 4, 4).double(), torch.arange(12) % 3
    problem = eb.Problem(model, (x, y))
    values = loss_at(problem, torch.stack([problem.network.theta, 2 * problem.network.theta]))
    doubled = loaded(model, 2 * flat(model))
    expected = float(nn.functional.cross_entropy(doubled(x), y))
    assert values.loss == pytest.approx([problem.loss_value, expected])


def test_a_streamed_dataset_gives_the_same_loss(problem):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*blobs()), batch_size=7)
    streamed = eb.Problem(network(0), loader, cache_bytes=1)
    v = direction(problem.n_parameters)
    np.testing.assert_allclose(
        loss_along(streamed, v, STEPS).loss, loss_along(problem, v, STEPS).loss, rtol=1e-12
    )


# ------------------------------------------------------------------------ lines and planes


def test_a_quadratic_loss_is_a_parabola_along_any_line(linear):
    v = 7 * direction(linear.n_parameters)
    unit = v / v.norm()
    hessian = eb.HessianOperator(linear).to_dense()
    x, y = blobs()
    model = loaded(nn.Linear(2, 3).double(), linear.network.theta)
    targets = nn.functional.one_hot(y).double()
    nn.functional.mse_loss(model(x), targets).backward()
    g = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    expected = (
        linear.loss_value + STEPS * float(g @ unit) + STEPS**2 * float(unit @ hessian @ unit) / 2
    )
    np.testing.assert_allclose(loss_along(linear, v, STEPS).loss, expected, rtol=1e-12)


def test_along_an_eigenvector_the_curvature_is_the_eigenvalue():
    problem = eb.Problem(trained(3, steps=600), blobs())
    pairs = eb.top_eigenpairs(eb.HessianOperator(problem), 2)
    h = 1e-4
    for value, v in zip(pairs.values, pairs.vectors.T, strict=True):
        line = loss_along(problem, v, [-h, 0.0, h])
        curvature = (line.loss[0] - 2 * line.loss[1] + line.loss[2]) / h**2
        assert curvature == pytest.approx(float(value), rel=1e-3)
        assert line.loss[1] == pytest.approx(problem.loss_value, rel=1e-12)


def test_a_direction_in_layer_normalised_coordinates_is_a_direction_there(problem):
    normalized = eb.layer_normalized(problem)
    u = direction(problem.n_parameters)
    scaled = normalized.network.scales * u / u.norm()
    np.testing.assert_allclose(
        loss_along(normalized, u, STEPS).loss,
        loss_along(problem, scaled, STEPS * float(scaled.norm())).loss,
        rtol=1e-12,
    )


def test_a_segment_ends_exactly_at_its_networks(pair):
    problem = eb.Problem(pair[0], blobs())
    between = loss_between(problem, *pair)
    ends = [eb.Problem(model, blobs()) for model in pair]
    assert between.steps[[0, -1]].tolist() == [0, 1]
    assert between.loss[[0, -1]] == pytest.approx([end.loss_value for end in ends], rel=1e-13)
    assert between.accuracy[[0, -1]].tolist() == [end.accuracy for end in ends]


def test_networks_state_dicts_and_flat_vectors_are_the_same_point(pair):
    problem = eb.Problem(network(0), blobs())
    expected = loss_between(problem, *pair).loss
    as_dicts = loss_between(problem, *(model.state_dict() for model in pair))
    as_vectors = loss_between(problem, *(flat(model) for model in pair))
    as_arrays = loss_between(problem, *(flat(model).numpy() for model in pair))
    for other in (as_dicts, as_vectors, as_arrays):
        np.testing.assert_array_equal(other.loss, expected)


def test_networks_are_the_same_points_in_layer_normalised_coordinates(pair):
    problem = eb.Problem(network(0), blobs())
    np.testing.assert_allclose(
        loss_between(eb.layer_normalized(problem), *pair).loss,
        loss_between(problem, *pair).loss,
        rtol=1e-12,
    )


def test_a_convex_loss_has_no_barrier(linear):
    line = loss_between(linear, direction(9, 1), direction(9, 2))
    assert line.barrier == 0
    assert LossCurve(np.arange(3), np.array([1.0, 5.0, 2.0]), np.ones(3)).barrier == 3


@pytest.mark.parametrize(
    ("loss", "barrier"), [((1, np.nan, 2), np.inf), ((1, np.inf, 2), np.inf), ((np.nan, 5, 2), 0)]
)
def test_a_loss_that_overflows_between_the_ends_is_a_barrier_without_limit(loss, barrier):
    assert LossCurve(np.arange(3), np.array(loss, dtype=float), np.ones(3)).barrier == barrier


def test_a_plane_is_spanned_by_the_directions_orthonormalised(linear):
    a, b = 5 * direction(9, 1), direction(9, 2)
    plane = loss_plane(linear, a, b, [-1.0, 0.0, 2.0], [0.0, 1.0])
    gram = plane.axes.T @ plane.axes
    torch.testing.assert_close(gram, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(plane.axes[:, 0], a / a.norm())
    assert float(b @ plane.axes[:, 1]) > 0
    for i, s in enumerate(plane.second):
        for j, t in enumerate(plane.first):
            theta = linear.network.theta + t * plane.axes[:, 0] + s * plane.axes[:, 1]
            assert plane.loss[i, j] == pytest.approx(loss_at(linear, theta).loss[0], rel=1e-12)
    assert plane.loss[0, 1] == pytest.approx(linear.loss_value)


def test_a_quadratic_loss_is_a_paraboloid_on_any_plane(linear):
    grid = np.linspace(-2, 2, 7)
    plane = loss_plane(linear, direction(9, 1), direction(9, 2), grid, origin=direction(9, 3))
    s, t = np.meshgrid(plane.second, plane.first, indexing="ij")
    terms = np.stack([np.ones_like(s), s, t, s * s, s * t, t * t], axis=-1).reshape(-1, 6)
    residual = np.linalg.lstsq(terms, plane.loss.ravel(), rcond=None)[1]
    assert residual < 1e-20


def test_a_plane_through_three_networks_holds_them_at_its_points(problem):
    thetas = [direction(problem.n_parameters, s) for s in range(3)]
    plane = plane_through(problem, *thetas, resolution=6)
    for theta, (s, t) in zip(thetas, plane.points, strict=True):
        torch.testing.assert_close(plane.origin + plane.axes @ torch.tensor([s, t]), theta)
    np.testing.assert_allclose(plane.project(torch.stack(thetas)), plane.points, atol=1e-12)
    assert plane.points[1, 1] == pytest.approx(0, abs=1e-12)
    assert plane.points[2, 1] > 0
    assert plane.first[0] < plane.points[:, 0].min() < plane.points[:, 0].max() < plane.first[-1]
    assert plane.loss.shape == (6, 6)


def test_the_problem_and_its_model_are_left_as_they_were(pair):
    model = network(0)
    problem = eb.Problem(model, blobs())
    theta, before = problem.network.theta.clone(), flat(model)
    low_loss_curve(problem, *pair, iterations=5)
    loss_plane(problem, direction(51, 1), direction(51, 2), [0.0, 1.0])
    assert torch.equal(problem.network.theta, theta)
    assert torch.equal(flat(model), before)
    assert all(not p.requires_grad for p in problem.network.module.parameters())


# ---------------------------------------------------------------------------- Bézier curve


def test_a_trained_curve_passes_below_the_segments_barrier(pair):
    problem = eb.Problem(pair[0], blobs())
    found = low_loss_curve(problem, *pair, iterations=400)
    assert found.segment_barrier > 0.1
    assert found.barrier < 0.3 * found.segment_barrier
    assert found.history.shape == (400,)


def test_a_curve_begins_and_ends_exactly_at_its_networks(pair):
    problem = eb.Problem(pair[0], blobs())
    found = low_loss_curve(problem, *pair, iterations=5, steps=[0.0, 0.3, 1.0])
    points = found.points([0.0, 0.5, 1.0])
    assert torch.equal(points[0], flat(pair[0]))
    assert torch.equal(points[2], flat(pair[1]))
    torch.testing.assert_close(points[1], (found.start + 2 * found.bend + found.end) / 4)
    np.testing.assert_array_equal(found.curve.loss[[0, -1]], found.segment.loss[[0, -1]])
    np.testing.assert_allclose(
        found.curve.loss, loss_at(problem, found.points(found.curve.steps)).loss, rtol=1e-12
    )


def test_an_untrained_bend_is_the_straight_segment(pair):
    problem = eb.Problem(pair[0], blobs())
    found = low_loss_curve(problem, *pair, iterations=1, learning_rate=1e-12)
    np.testing.assert_allclose(found.curve.loss, found.segment.loss, rtol=1e-9)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_on_a_quadratic_loss_the_bend_is_the_one_that_minimises_the_mean(linear, optimizer):
    """∂/∂θ E L(φ(t)) = 0 is a linear equation in the bend."""
    start, end = 3 * direction(9, 1), 3 * direction(9, 2)
    found = low_loss_curve(
        linear, start, end, iterations=3000, learning_rate=0.1, optimizer=optimizer
    )
    # With weights b_i of φ: E[b_1 b_0] = E[b_1 b_2] = 1/10, E[b_1 b_1] = 2/15, E[b_1] = 1/3.
    hessian = eb.HessianOperator(linear).to_dense()
    minimum = linear.network.theta - torch.linalg.pinv(hessian) @ gradient(linear)
    best = (minimum / 3 - (start + end) / 10) * 15 / 2
    found_error = (found.bend - best) @ hessian @ (found.bend - best)
    assert float(found_error) < 1e-2 * float((start - best) @ hessian @ (start - best))
    assert found.curve.loss.mean() < found.segment.loss.mean()


def gradient(problem: eb.Problem) -> torch.Tensor:
    model = loaded(nn.Linear(2, 3).double(), problem.network.theta)
    x, y = blobs()
    nn.functional.mse_loss(model(x), nn.functional.one_hot(y).double()).backward()
    return torch.cat([p.grad.reshape(-1) for p in model.parameters()])


def test_a_seed_gives_the_same_curve_and_another_one_another(pair):
    problem = eb.Problem(pair[0], blobs())
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (
        low_loss_curve(problem, *pair, iterations=20, seed=s).bend for s in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_progress_is_told_after_every_iteration(pair):
    seen = []
    problem = eb.Problem(pair[0], blobs())
    found = low_loss_curve(
        problem, *pair, iterations=4, progress=lambda i, loss: seen.append((i, loss))
    )
    assert seen == list(enumerate(found.history, start=1))


def test_batches_of_samples_train_a_curve_too(pair):
    problem = eb.Problem(pair[0], blobs())
    found = low_loss_curve(problem, *pair, iterations=300, batch_size=32)
    assert found.barrier < 0.5 * found.segment_barrier


# ----------------------------------------------------------------------------- the boundary


def test_frames_are_the_predictions_of_the_networks_along_the_line(problem):
    v = direction(problem.n_parameters)
    motion = boundary_along(problem, v, [-2.0, 0.0, 1.0], resolution=7)
    assert motion.outputs.shape == (3, 7, 7, 3)
    for frame, t in zip(motion.outputs, motion.steps, strict=True):
        model = loaded(network(0), problem.network.theta + t * v / v.norm())
        for i, j in ((0, 0), (2, 5), (6, 1)):
            point = torch.tensor([[motion.x[j], motion.y[i]]])
            np.testing.assert_allclose(frame[i, j], model(point).detach().numpy()[0], rtol=1e-5)
    assert motion.changed[1] == 0


def test_the_plane_shown_is_that_of_an_analysis():
    model, pair = network(0), blobs()
    analysis = eb.analyze(model, pair, k=2, grid=9)
    problem = eb.Problem(model, pair)
    own = boundary_along(problem, analysis.eigenvectors[:, 0], [0.0], resolution=9)
    np.testing.assert_allclose(own.x, analysis.grid.first, rtol=1e-5)
    given = boundary_along(problem, analysis.eigenvectors[:, 0], [0.0], analysis.grid)
    np.testing.assert_allclose(given.outputs[0], analysis.grid.outputs, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(given.predictions[0], analysis.grid.predictions)


# --------------------------------------------------------------------------------- refusals


THETA = torch.ones(51)


class Deeper(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Linear(2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: loss_at("net", THETA), "model must be a torch.nn.Module, .*; got str"),
        (lambda p: loss_at(network(0), THETA), "data must be given for a model that is a torch"),
        (lambda p: loss_at(p, torch.zeros(2, 50)), r"thetas must have shape \(m, 51\)"),
        (lambda p: loss_at(p, torch.zeros(0, 51)), r"thetas must have shape \(m, 51\)"),
        (lambda p: loss_at(p, torch.full((51,), np.nan)), "thetas must be finite; 51 entries"),
        (lambda p: loss_at(p, torch.zeros(51, dtype=torch.bool)), "thetas must hold real numbers"),
        (lambda p: loss_at(p, "abc"), "thetas must be a numeric array"),
        (lambda p: loss_along(p, np.ones(50), STEPS), r"direction must have shape \(51,\)"),
        (lambda p: loss_along(p, np.zeros(51), STEPS), "direction must not be zero"),
        (lambda p: loss_along(p, np.full(51, np.inf), STEPS), "direction must be finite"),
        (lambda p: loss_along(p, np.ones(51), []), "steps must be a sequence"),
        (lambda p: loss_along(p, np.ones(51), [0.0, np.nan]), "steps must be .* with NaN or inf"),
        (lambda p: loss_along(p, np.ones(51), 1.0), "steps must be a sequence"),
        (lambda p: loss_between(p, network(0), network(1), [2.0]), "steps must be between 0 and 1"),
        (lambda p: loss_between(p, network(0), Deeper()), "end must be a network of the problem's"),
        (lambda p: loss_between(p, network(0, 9), network(1)), "start must be a network of the"),
        (lambda p: loss_between(p, {}, network(1)), "start must be .* with '0.weight'"),
        (
            lambda p: loss_plane(p, np.ones(51), -2 * np.ones(51), STEPS),
            "second must add a direction of its own",
        ),
        (lambda p: plane_through(p, THETA, THETA, 2 * THETA), "b must differ from a"),
        (lambda p: plane_through(p, THETA, 2 * THETA, 3 * THETA), "c must add a direction"),
        (lambda p: plane_through(p, *torch.eye(51)[:3], resolution=0), "resolution must be an int"),
        (lambda p: plane_through(p, *torch.eye(51)[:3], margin=-1), "margin must be a number"),
        (lambda p: plane_through(p, *torch.eye(51)[:3], margin="a"), "margin must be a number"),
        (lambda p: low_loss_curve(p, THETA, THETA, optimizer="lbfgs"), "optimizer must be one"),
        (lambda p: low_loss_curve(p, THETA, THETA, learning_rate=0), "learning_rate must be"),
        (lambda p: low_loss_curve(p, THETA, THETA, iterations=0), "iterations must be"),
        (lambda p: low_loss_curve(p, THETA, THETA, seed=-1), "seed must be"),
        (lambda p: boundary_along(p, THETA, [0.0], grid=50), "grid must be a Plane; got int"),
    ],
)
def test_unusable_arguments_are_refused_in_one_sentence(problem, call, message):
    with pytest.raises(eb.InvalidInputError, match=message) as caught:
        call(problem)
    assert str(caught.value).endswith(".")


def test_a_training_that_diverges_is_said(linear):
    with pytest.raises(eb.InvalidInputError, match="learning_rate must be small enough"):
        low_loss_curve(
            linear, *torch.eye(9)[:2], optimizer="sgd", learning_rate=1e200, iterations=50
        )


def test_a_network_whose_statistics_differ_is_refused_and_its_vector_is_not():
    def normalized(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
        model(blobs()[0])
        return model.eval()

    models = [normalized(seed) for seed in range(2)]
    problem = eb.Problem(models[0], blobs())
    with pytest.raises(eb.InvalidInputError, match=r"'1.running_mean', which is not part of θ"):
        loss_between(problem, *models)
    assert loss_between(problem, *(flat(m) for m in models)).loss[0] == problem.loss_value


def test_inputs_that_are_no_points_of_the_plane_have_no_boundary_to_show():
    torch.manual_seed(0)
    problem = eb.Problem(nn.Linear(4, 3).double(), blobs(d=4))
    with pytest.raises(eb.InvalidInputError, match="model must have inputs of two features"):
        boundary_along(problem, np.ones(15), [0.0])
