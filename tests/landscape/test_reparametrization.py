"""Other weights for the same function, and the numbers that do not notice."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import eigenboundary as eb
from eigenboundary.landscape.reparametrization import layer_parameters, random_alphas, reparametrize
from tests.references import Golden, flat_gradient


class Functional(nn.Module):
    """Layers in the order they are registered, activations as functions."""

    def __init__(self, activation=torch.relu):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(2, 6), nn.Linear(6, 5), nn.Linear(5, 3)
        self.activation = activation

    def forward(self, x):
        return self.fc3(self.activation(self.fc2(self.activation(self.fc1(x)))))


class Residual(Functional):
    def __init__(self):
        super().__init__()
        self.fc2 = nn.Linear(6, 6)
        self.fc3 = nn.Linear(6, 3)

    def forward(self, x):
        hidden = torch.relu(self.fc1(x))
        return self.fc3(hidden + torch.relu(self.fc2(hidden)))


class Swapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Linear(2, 3), nn.Linear(2, 2)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


class ImageNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).flatten(1))


def filled(model: nn.Module, seed: int = 0) -> nn.Module:
    """Double precision weights of order one, biases too."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(draw / fan_in**0.5)
    return model


def fnn(widths=(2, 6, 5, 3), activation=nn.ReLU, bias=True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b, bias=bias), activation()]
    return nn.Sequential(*layers[:-1])


def cnn() -> nn.Sequential:
    features = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.LeakyReLU(0.1), nn.MaxPool2d(2), nn.Dropout(0.5)
    )
    head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 9, 3))
    return nn.Sequential(features, nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), head)


def data(*shape: int, n: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    return x, torch.arange(n) % 3


NETWORKS = {
    "fully connected": (lambda: fnn(), (2,)),
    "convolutional": (cnn, (1, 6, 6)),
    "without biases": (lambda: fnn(bias=False), (2,)),
}


# ---------------------------------------------------------------------------- the function


@given(
    st.integers(0, 10_000),
    st.lists(st.integers(1, 8), min_size=1, max_size=5),
    st.sampled_from([nn.ReLU, nn.LeakyReLU, nn.Identity]),
    st.booleans(),
)
def test_predictions_of_any_relu_network_are_unchanged_to_rounding(seed, widths, activation, bias):
    model = filled(fnn((3, *widths, 4), activation, bias), seed)
    other = reparametrize(model, random_alphas(len(widths) + 1, 1e-3, 1e3, seed=seed))
    x = data(3)[0]
    before, after = model(x), other(x)
    assert (after - before).abs().max() <= 1e-12 * (1 + before.abs().max())


def test_weights_are_scaled_by_the_factor_and_biases_by_the_product_so_far():
    model = filled(fnn())
    other = reparametrize(model, [4.0, 0.5, 0.5])
    for layer, alpha, product in ((0, 4.0, 4.0), (2, 0.5, 2.0), (4, 0.5, 1.0)):
        assert torch.equal(other[layer].weight, alpha * model[layer].weight)
        assert torch.equal(other[layer].bias, product * model[layer].bias)


def test_the_model_itself_is_left_alone():
    model = filled(fnn()).train()
    before = copy.deepcopy(model.state_dict())
    other = reparametrize(model, [4.0, 0.5, 0.5])
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert other.training
    assert all(p.requires_grad for p in other.parameters())


def test_a_convolutional_network_needs_no_inputs_to_be_reparametrised():
    model = filled(cnn()).eval()
    other = reparametrize(model, [5.0, 0.01, 20.0])
    x = data(1, 6, 6)[0]
    torch.testing.assert_close(other(x), model(x), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(other[1].weight, model[1].weight)


def test_a_softmax_after_the_last_layer_is_no_obstacle():
    model = filled(nn.Sequential(fnn(), nn.LogSoftmax(dim=1)))
    x = data(2)[0]
    torch.testing.assert_close(reparametrize(model, [9.0, 1 / 3, 1 / 3])(x), model(x))


def test_a_network_with_functional_activations_is_tried_out():
    model = filled(Functional())
    x = data(2)[0]
    torch.testing.assert_close(reparametrize(model, [8.0, 1.0, 0.125])(x), model(x))


def test_an_own_network_of_images_is_tried_out_on_the_inputs_given():
    model = filled(ImageNet())
    x = data(1, 8, 8)[0]
    torch.testing.assert_close(reparametrize(model, [8.0, 0.125], x=x.numpy())(x), model(x))


def test_the_reference_network_keeps_its_predictions_in_single_precision(gauss_normal: Golden):
    model = gauss_normal.model()
    x = torch.tensor(gauss_normal["x"])
    other = reparametrize(model, random_alphas(3, seed=3))
    torch.testing.assert_close(other(x), model(x), rtol=2e-5, atol=2e-5)


def test_factors_in_single_precision_have_product_one_to_their_rounding():
    model = filled(fnn())
    alphas = torch.tensor(random_alphas(3, seed=1), dtype=torch.float32)
    x = data(2)[0]
    torch.testing.assert_close(reparametrize(model, alphas)(x), model(x), rtol=1e-13, atol=1e-13)


def test_parameters_outside_of_theta_are_scaled_as_well():
    model = filled(fnn())
    model[0].weight.requires_grad_(False)
    other = reparametrize(model, [4.0, 0.5, 0.5])
    assert torch.equal(other[0].weight, 4 * model[0].weight)
    assert not other[0].weight.requires_grad


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (fnn(activation=nn.Sigmoid), "outputs of this Sequential changed"),
        (fnn(activation=nn.Tanh), "outputs of this Sequential changed"),
        (fnn(activation=nn.ReLU6), "outputs of this Sequential changed"),
        (nn.Sequential(nn.Linear(2, 4), nn.Softmax(1), nn.Linear(4, 3)), "positively homogeneous"),
        (Functional(torch.sigmoid), "outputs of this Functional changed"),
        (Residual(), "outputs of this Residual changed"),
        (Swapped(), "one after the other in the order they are registered"),
        (
            nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)),
            "'1' is a BatchNorm1d",
        ),
        (
            nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 3)),
            "'1' is a BatchNorm1d with statistics",
        ),
        (nn.LayerNorm(3), "'the model' is a LayerNorm"),
        (nn.Sequential(nn.ReLU()), "must have a Linear or convolution layer"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)), "ParametrizedLinear"),
        (ImageNet(), "x must be given"),
        (nn.LSTM(2, 3), "LSTM with weight_ih_l0"),
        ("network", "model must be a torch.nn.Module"),
    ],
)
def test_a_network_that_would_change_is_refused(model, message):
    n_layers = sum(isinstance(m, nn.Linear) for m in getattr(model, "modules", list)())
    alphas = {1: [1.0], 2: [4.0, 0.25], 3: [4.0, 0.5, 0.5]}.get(n_layers, [4.0, 0.25])
    alphas = [4.0, 0.25] if isinstance(model, ImageNet) else alphas
    with pytest.raises(eb.InvalidInputError, match=message):
        reparametrize(model, alphas)


def test_tied_weights_are_refused():
    shared = nn.Linear(2, 2)
    with pytest.raises(eb.InvalidInputError, match=r"'2.weight' is '0.weight' again"):
        reparametrize(nn.Sequential(shared, nn.ReLU(), shared), [2.0, 0.5])
    other = nn.Linear(2, 2)
    other.weight = shared.weight
    with pytest.raises(eb.InvalidInputError, match="must not share weights"):
        reparametrize(nn.Sequential(shared, nn.ReLU(), other), [2.0, 0.5])


def test_a_hook_between_layers_is_noticed():
    model = filled(fnn())
    model[1].register_forward_hook(lambda module, args, output: output + 1)
    with pytest.raises(eb.InvalidInputError, match="changed by a factor"):
        reparametrize(model, [4.0, 0.5, 0.5])


def test_a_change_too_small_for_the_factors_given_is_still_noticed():
    with pytest.raises(eb.InvalidInputError, match="changed"):
        reparametrize(fnn(activation=nn.Tanh), [1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("alphas", "message"),
    [
        ([1.0, 1.0], "alphas must be 3 numbers, one a layer; got shape"),
        ([2.0, 2.0, 2.0], "alphas must have product 1; got .* with product 8"),
        ([-1.0, -1.0, 1.0], "alphas must be positive and finite"),
        ([np.nan, 1.0, 1.0], "alphas must be positive and finite"),
        (["a", "b", "c"], "alphas must be 3 numbers"),
        ([[1.0], [1.0, 1.0], 1.0], "alphas must be 3 numbers"),
        (torch.ones(3, dtype=torch.bfloat16), "alphas must be 3 numbers"),
        ([1e200, 1e-200, 1.0], "alphas must leave the weights in the range of float32"),
        ([1e-60, 1e60, 1.0], "alphas must leave the weights in the range of float32"),
    ],
)
def test_factors_that_do_not_fit_are_refused(alphas, message):
    with pytest.raises(eb.InvalidInputError, match=message):
        reparametrize(fnn(), alphas)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ("abc", "x must be a numeric array or tensor; got str"),
        (np.ones(3), "x must be a batch"),
        (np.ones((4, 1, 3, 3)), "x must be inputs that the model"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x, message):
    with pytest.raises(eb.InvalidInputError, match=message):
        reparametrize(ImageNet(), [2.0, 0.5], x=x)


def test_layers_are_listed_in_the_order_they_are_registered():
    assert layer_parameters(cnn()) == (
        ("0.0.weight", "0.0.bias"),
        ("1.weight", "1.bias"),
        ("3.1.weight", "3.1.bias"),
    )
    assert layer_parameters(nn.Linear(2, 3, bias=False)) == (("weight", None),)


@given(st.integers(1, 40), st.floats(0.01, 0.9), st.floats(1.1, 100), st.integers(0, 999))
def test_random_factors_stay_within_their_limits_and_have_product_one(n, low, high, seed):
    alphas = random_alphas(n, low, high, seed=seed)
    assert alphas.shape == (n,)
    assert (alphas >= low * (1 - 1e-12)).all()
    assert (alphas <= high * (1 + 1e-12)).all()
    assert abs(np.log(alphas).sum()) < 1e-12
    np.testing.assert_array_equal(alphas, random_alphas(n, low, high, seed=seed))


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (1.0, 2.0, "low must be a number between 0 and 1; got 1.0"),
        (0.0, 2.0, "low must be a number between 0 and 1; got 0.0"),
        (0.5, 1.0, "high must be a number above 1; got 1.0"),
        (0.5, np.inf, "high must be a number above 1; got inf"),
        ("a", 2.0, "low must be a number between 0 and 1; got 'a'"),
    ],
)
def test_limits_of_random_factors_must_be_around_one(low, high, message):
    with pytest.raises(eb.InvalidInputError, match=message):
        random_alphas(3, low, high)


# ------------------------------------------------------------------- invariant coordinates


def numbers(problem: eb.Problem, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Spectra, and squared alignments with the leading eigenvectors."""
    found = {}
    for operator in (eb.HessianOperator, eb.GaussNewtonOperator):
        values, vectors = torch.linalg.eigh(operator(problem).to_dense())
        found[operator.name] = values
        leading = vectors[:, -3:]
        found[f"{operator.name} alignment"] = eb.alignments(problem, x, leading).abs()
    return found


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(3))
def test_spectra_and_alignments_are_invariant_in_layer_normalised_coordinates(name, seed):
    make, shape = NETWORKS[name]
    model, (x, y) = filled(make(), seed), data(*shape)
    other = reparametrize(model, random_alphas(3, 0.01, 100.0, seed=seed))
    plain = [numbers(eb.Problem(net, (x, y)), x) for net in (model, other)]
    ours = [numbers(eb.layer_normalized(eb.Problem(net, (x, y))), x) for net in (model, other)]
    for key, expected in ours[0].items():
        torch.testing.assert_close(ours[1][key], expected, rtol=1e-10, atol=1e-10)
        assert not torch.allclose(plain[1][key], plain[0][key], rtol=1e-2, atol=1e-4)


def test_the_hessian_in_the_new_coordinates_is_the_old_one_between_diagonals():
    model, pair = filled(fnn()), data(2)
    problem = eb.Problem(model, pair)
    normalized = eb.layer_normalized(problem)
    d = torch.cat([p.norm().expand(p.numel()) for p in model.parameters()]).detach()
    torch.testing.assert_close(normalized.network.scales, d)
    torch.testing.assert_close(normalized.network.theta * d, problem.network.theta)
    for operator in (eb.HessianOperator, eb.GaussNewtonOperator):
        torch.testing.assert_close(
            operator(normalized).to_dense(), d[:, None] * operator(problem).to_dense() * d
        )


def test_alignment_in_the_new_coordinates_is_the_cosine_with_the_scaled_gradient():
    model, (x, y) = filled(fnn()), data(2)
    normalized = eb.layer_normalized(eb.Problem(model, (x, y)))
    u = torch.linalg.qr(torch.randn(normalized.n_parameters, 4, dtype=torch.float64))[0]
    rows = []
    for sample in x:
        outputs = model(sample.unsqueeze(0))
        g = flat_gradient(nn.functional.cross_entropy(outputs, outputs.argmax(1)), model)
        scaled = normalized.network.scales * g
        rows.append(scaled @ u / scaled.norm())
    torch.testing.assert_close(eb.alignments(normalized, x, u), torch.stack(rows))


def test_the_problem_and_its_predictions_are_the_same_in_both_coordinates():
    model, (x, y) = filled(fnn()), data(2)
    problem = eb.Problem(model, (x, y))
    theta = problem.network.theta.clone()
    normalized = eb.layer_normalized(problem)
    torch.testing.assert_close(normalized.network.predict(x), problem.network.predict(x))
    assert normalized.loss_value == problem.loss_value
    assert normalized.network.fingerprint() == problem.network.fingerprint()
    assert torch.equal(problem.network.theta, theta)


def test_a_tensor_of_zeros_keeps_its_scale():
    model = filled(fnn())
    nn.init.zeros_(model[0].bias)
    normalized = eb.layer_normalized(eb.Problem(model, data(2)))
    assert torch.equal(normalized.network.scales[12:18], torch.ones(6, dtype=torch.float64))
    assert torch.isfinite(eb.HessianOperator(normalized).to_dense()).all()


def test_factors_of_single_units_change_the_curvature_in_layer_normalised_coordinates():
    model = filled(fnn())
    other = copy.deepcopy(model)
    factors = torch.linspace(0.1, 3, 6, dtype=torch.float64)
    with torch.no_grad():
        other[0].weight.mul_(factors[:, None])
        other[0].bias.mul_(factors)
        other[2].weight.div_(factors)
    x, y = data(2)
    torch.testing.assert_close(other(x), model(x))
    traces = [
        eb.HessianOperator(eb.layer_normalized(eb.Problem(net, (x, y)))).trace()
        for net in (model, other)
    ]
    assert traces[1] != pytest.approx(traces[0], rel=0.01)


def test_only_the_parameters_of_theta_are_measured_anew():
    model = filled(fnn())
    problem = eb.layer_normalized(eb.Problem(model, data(2), parameters="4.*"))
    assert problem.network.scales.shape == (18,)
    torch.testing.assert_close(problem.network.predict(data(2)[0]), model(data(2)[0]).detach())


def test_what_is_no_problem_cannot_be_normalised():
    with pytest.raises(eb.InvalidInputError, match=r"model must be a torch\.nn\.Module, a Problem"):
        eb.layer_normalized("net")
    with pytest.raises(eb.InvalidInputError, match="data must be given for a model that is a"):
        eb.layer_normalized(fnn())
    normalized = eb.layer_normalized(eb.Problem(filled(fnn()), data(2)))
    with pytest.raises(eb.InvalidInputError, match="layer-normalised already"):
        eb.layer_normalized(normalized)
