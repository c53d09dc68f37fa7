"""The experiments' networks."""

from __future__ import annotations

import pytest
import torch

import eigenboundary as eb
from eigenboundary.experiments.networks import NETWORKS, ResidualBlock, build

SHAPES = {
    "fnn": (2,),
    "cnn": (1, 28, 28),
    "digits_cnn": (1, 8, 8),
    "lenet5": (3, 32, 32),
    "resnet18": (3, 32, 32),
}


def options(name: str) -> dict[str, int]:
    return {"inputs": 2, "classes": 3} if name == "fnn" else {"classes": 3}


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("fnn", {"inputs": 2, "classes": 3, "hidden": (100, 100)}, 10_703),
        ("fnn", {"inputs": 1, "classes": 2, "hidden": (10,)}, 42),
        ("fnn", {"inputs": 784, "classes": 3, "hidden": (100,)}, 78_803),
        ("cnn", {"classes": 3}, 7_203),
        ("lenet5", {"classes": 10}, 62_006),
        ("resnet18", {"classes": 10}, 11_173_962),
    ],
)
def test_a_network_has_its_published_number_of_parameters(name, options, count):
    assert sum(p.numel() for p in build(name, **options).parameters()) == count


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_one_output_a_class_for_its_inputs(name):
    x = torch.zeros(2, *SHAPES[name])
    assert build(name, **options(name)).eval()(x).shape == (2, 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_one_seed_are_equal_and_leave_the_random_state_alone(name):
    small = {"width": 4} if name == "resnet18" else {}
    state = torch.get_rng_state()
    one, same, other = (
        torch.nn.utils.parameters_to_vector(
            build(name, seed=s, **options(name), **small).parameters()
        )
        for s in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_the_activation_and_log_probabilities_can_be_chosen():
    model = build("fnn", inputs=2, classes=3, hidden=(4,), activation="sigmoid", log_softmax=True)
    assert isinstance(model[1], torch.nn.Sigmoid)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x).exp().sum(1), torch.ones(5))


def test_widths_may_come_from_an_iterator():
    layers = build("fnn", inputs=2, classes=3, hidden=(width for width in (4, 5)))
    assert [layer.out_features for layer in layers[::2]] == [4, 5, 3]


def test_every_layer_of_lenet5_and_the_small_cnns_but_the_last_is_rectified():
    functional = torch.nn.functional
    for name, images in (("lenet5", (3, 32, 32)), ("cnn", (1, 28, 28)), ("digits_cnn", (1, 8, 8))):
        model = build(name, classes=3)
        x = inputs = torch.randn(4, *images, generator=torch.Generator().manual_seed(1))
        layers = [layer for layer in model if list(layer.parameters())]
        for layer in layers:
            x = layer(x.flatten(1) if isinstance(layer, torch.nn.Linear) else x)
            if layer is not layers[-1]:
                x = functional.relu(x)
            if isinstance(layer, torch.nn.Conv2d):
                x = functional.max_pool2d(x, 2)
        torch.testing.assert_close(model(inputs), x)


@pytest.mark.parametrize(("channels", "following", "stride"), [(3, 3, 1), (3, 5, 2)])
def test_a_residual_block_adds_its_input_to_two_convolutions(channels, following, stride):
    functional = torch.nn.functional
    torch.manual_seed(0)
    block = ResidualBlock(channels, following, stride).double().eval()
    for norm in (layer for layer in block.modules() if isinstance(layer, torch.nn.BatchNorm2d)):
        for tensor in (norm.running_mean, norm.weight.data, norm.bias.data):
            tensor.normal_()
        norm.running_var.uniform_(0.5, 2)

    def normalised(x, norm):
        mean, variance, weight, bias = (
            t[:, None, None] for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        return (x - mean) / (variance + norm.eps).sqrt() * weight + bias

    x = torch.randn(2, channels, 8, 8, dtype=torch.float64)
    first, norm, _, second, norm_2 = block.body
    inner = functional.conv2d(x, first.weight, stride=stride, padding=1).double()
    inner = functional.conv2d(normalised(inner, norm).relu(), second.weight, padding=1)
    past = x
    if stride > 1:
        convolution, norm_3 = block.shortcut
        past = normalised(functional.conv2d(x, convolution.weight, stride=stride), norm_3)
    expected = (normalised(inner, norm_2) + past).relu()
    torch.testing.assert_close(block(x), expected)


def test_resnet18_halves_its_images_three_times():
    features = build("resnet18", classes=3, width=4)[:-3]
    assert features.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 32, 4, 4)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("transformer", {}, "name must be one of 'fnn', 'cnn', 'digits_cnn', 'lenet5', 'resnet18'"),
        ("fnn", {"depth": 3}, "options must be ones that network 'fnn' takes, inputs, classes"),
        ("fnn", {}, "missing a required argument: 'inputs'"),
        ("fnn", {"inputs": 0, "classes": 2}, "inputs, classes and hidden must be an integer"),
        ("fnn", {"inputs": 1, "classes": 2, "activation": "gelu"}, "activation must be one of"),
        ("fnn", {"inputs": 1, "classes": 2, "hidden": 5}, "hidden must be a sequence of integers"),
        ("fnn", {"inputs": 1, "classes": 2, "hidden": [5.0]}, "an integer of at least 1; got 5.0."),
        ("fnn", {"inputs": 1, "classes": 2, "log_softmax": "no"}, "True or False; got 'no'."),
        ("digits_cnn", {"channels": (1, 2, 3)}, "channels must be two integers"),
        ("digits_cnn", {"channels": 3}, "channels must be a sequence of integers; got 3."),
    ],
)
def test_an_unknown_network_or_option_is_named(name, options, sentence):
    with pytest.raises(eb.InvalidInputError) as error:
        build(name, **options)
    assert sentence in str(error.value)
