"""The experiments' networks."""

from __future__ import annotations

import pytest
import torch

import eigenboundary as eb
from eigenboundary.networks import NETWORKS, build

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
        ("fnn", {"inputs": 1, "classes": 2, "log_softmax": "no"}, "true or false; got 'no'."),
        ("digits_cnn", {"channels": (1, 2, 3)}, "channels must be two integers"),
        ("digits_cnn", {"channels": 3}, "channels must be a sequence of integers; got 3."),
    ],
)
def test_an_unknown_network_or_option_is_named(name, options, sentence):
    with pytest.raises(eb.InvalidInputError) as error:
        build(name, **options)
    assert sentence in str(error.value)
