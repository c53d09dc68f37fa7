"""Adversarial training: the perturbation, and the networks that it trains."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

import eigenboundary as eb
from eigenboundary.experiments import config_names, load_config, parse_config
from eigenboundary.experiments.networks import build
from eigenboundary.experiments.training import TrainingPlan, train, train_many
from eigenboundary.experiments.training.attacks import as_attack, perturbed, random_start
from eigenboundary.experiments.training.ensembles import PlainNetwork, TracedEnsemble
from tests.experiments.training.test_training import WithDropout

INF = math.inf


def network(seed: int = 0) -> nn.Module:
    return build("fnn", seed=seed, inputs=2, classes=3, hidden=(8, 8))


def blobs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return eb.datasets.load("gaussian_blobs", seed=seed).train


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = eb.datasets.load("digits").train
    return x[:96], y[:96]


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.double().flatten() for tensor in model.state_dict().values()])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loss_gradient(model: nn.Module, y: torch.Tensor):
    """A sample's loss differentiated in its input, by plain autograd."""

    def gradient(points: torch.Tensor) -> torch.Tensor:
        inputs = points.clone().requires_grad_()
        nn.functional.cross_entropy(model(inputs), y, reduction="sum").backward()
        return inputs.grad

    return gradient


# ------------------------------------------------------------------------------- the perturbation


@pytest.mark.parametrize("norm", [2, INF])
@pytest.mark.parametrize("box", [None, (0.0, 1.0)])
def test_a_perturbed_input_stays_in_the_ball_and_in_the_box(norm, box):
    x, y = digits()
    attack = as_attack(0.4, 7, 0.3, norm, box)
    model = build("digits_cnn")
    start = random_start(attack, x, generator())
    found = perturbed(attack, x, start, loss_gradient(model, y))
    for points in (start, found):
        lengths = torch.linalg.vector_norm((points - x).flatten(1), norm, dim=1)
        assert float(lengths.max()) <= 0.4 * (1 + 1e-6)
        assert float(lengths.min()) > 0
        outside = bool((points < 0).any() or (points > 1).any())
        assert outside == (box is None)


@pytest.mark.parametrize(
    ("norm", "dual", "steps", "rtol"), [(2, 2, 10, 0.06), (2, 2, 2000, 1e-4), (INF, 1, 10, 1e-9)]
)
def test_the_worst_case_of_a_linear_classifier_is_reached(norm, dual, steps, rtol):
    # max over ‖δ‖ ≤ r of ⟨w, x + δ⟩ is ⟨w, x⟩ + r‖w‖_*, with the dual norm. In the Euclidean
    # ball the ascent slides along the sphere, so it gets nearer with every step.
    torch.manual_seed(0)
    model = nn.Linear(5, 2).double()
    x = torch.randn(40, 5, dtype=torch.float64)
    y = torch.randint(0, 2, (40,))
    attack = as_attack(0.3, steps, 0.075, norm, None)
    found = perturbed(attack, x, random_start(attack, x, generator()), loss_gradient(model, y))
    w = (model.weight[0] - model.weight[1]).detach()
    towards = torch.where(y == 0, -1.0, 1.0)  # of the difference f_0 - f_1
    before, after = ((model(z)[:, 0] - model(z)[:, 1]).detach() * towards for z in (x, found))
    expected = 0.3 * torch.linalg.vector_norm(w, dual)
    torch.testing.assert_close(after - before, expected.expand(40), rtol=rtol, atol=0)
    assert float((after - before).max()) <= float(expected) * (1 + 1e-9)


def test_the_worst_case_of_a_linear_classifier_in_a_box_is_reached():
    # In the box every entry goes as far as the radius and the box' side let it.
    torch.manual_seed(1)
    model = nn.Linear(6, 2).double()
    x = torch.rand(30, 6, dtype=torch.float64)
    y = torch.randint(0, 2, (30,))
    attack = as_attack(0.25, None, None, INF, [0, 1])
    found = perturbed(attack, x, random_start(attack, x, generator()), loss_gradient(model, y))
    w = (model.weight[1] - model.weight[0]).detach()
    up = torch.where(y == 0, 1.0, -1.0).unsqueeze(1) * w > 0
    expected = torch.where(up, (x + 0.25).clamp(max=1), (x - 0.25).clamp(min=0))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("loss", ["cross_entropy", "nll"])
@pytest.mark.parametrize("plain", [True, False])
def test_the_ascent_against_a_confident_network_goes_where_the_worst_case_is(plain, loss):
    # In float32 the gradient of the loss itself is zero for the first sample, and for the second
    # it lacks the entry of the label: 1 - p rounds to zero.
    model = nn.Linear(2, 2)
    model.weight.data, model.bias.data = torch.eye(2), torch.zeros(2)
    x, y = torch.tensor([[[200.0, 0.0], [60.0, 0.0], [1.0, 0.0]]]), torch.tensor([[0, 0, 0]])
    plan = TrainingPlan(epochs=1, learning_rate=0.1, loss=loss, attack_radius=0.5)
    make = PlainNetwork(model, plan.mean_loss) if plain else TracedEnsemble([model], plan.mean_loss)
    slope = make.input_gradients(x, y, plan.attacked_loss)[0]
    expected = torch.tensor([-1.0, 1.0]).expand(3, 2) / 3
    torch.testing.assert_close(slope, expected)


def test_a_loss_of_ones_own_is_ascended_as_it_is():
    plan = TrainingPlan(epochs=1, learning_rate=0.1, loss="mse", attack_radius=0.5)
    outputs, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    assert torch.equal(plan.attacked_loss(outputs, y), plan.mean_loss(outputs, y))


def test_no_gradient_is_no_step():
    attack = as_attack(0.5, 3, None, 2, None)
    x = torch.randn(4, 3)
    assert torch.equal(perturbed(attack, x, x, torch.zeros_like), x)


@pytest.mark.parametrize(
    ("norm", "dimension", "inside"), [(2, 2, 0.25), (2, 3, 0.125), (INF, 2, 0.25), (INF, 3, 0.125)]
)
def test_random_starts_fill_the_ball_evenly(norm, dimension, inside):
    # The ball of half the radius has 2^-d of the volume.
    x = torch.full((20_000, dimension), 3.0)
    attack = as_attack(2.0, None, None, norm, None)
    moved = random_start(attack, x, generator()) - x
    lengths = torch.linalg.vector_norm(moved, norm, dim=1)
    assert float((lengths < 1).double().mean()) == pytest.approx(inside, abs=0.01)
    assert float(moved.mean(0).abs().max()) < 0.05


def test_the_steps_of_the_default_reach_the_far_side_of_the_ball():
    attack = as_attack(0.8, 4, None, None, None)
    assert attack.step_size == pytest.approx(2.5 * 0.8 / 4)
    assert as_attack(0.8, None, None, None, None).steps == 10


# ------------------------------------------------------------------------------------ the training


@pytest.mark.parametrize("norm", [2, INF])
def test_adversarial_training_takes_the_steps_of_a_plain_loop(norm):
    x, y = blobs()
    ours, theirs = network(), network()
    radius, steps = 0.3, 3
    settings = {"attack_radius": radius, "attack_steps": steps, "attack_norm": norm}
    train(ours, (x, y), epochs=3, learning_rate=0.05, seed=5, **settings)

    random, optimizer = generator(5), torch.optim.SGD(theirs.parameters(), lr=0.05)
    attack = as_attack(radius, steps, None, norm, None)
    step = 2.5 * radius / steps
    for _ in range(3):
        for rows in torch.randperm(len(x), generator=random).split(64):
            points = random_start(attack, x[rows], random)
            for _ in range(steps):
                slope = loss_gradient(theirs, y[rows])(points)
                if norm == 2:
                    points = points + step * slope / slope.norm(dim=1, keepdim=True)
                    moved = points - x[rows]
                    moved = moved * (radius / moved.norm(dim=1, keepdim=True)).clamp(max=1)
                else:
                    points = points + step * slope.sign()
                    moved = (points - x[rows]).clamp(-radius, radius)
                points = x[rows] + moved
            optimizer.zero_grad()
            nn.functional.cross_entropy(theirs(points), y[rows]).backward()
            optimizer.step()
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-3, atol=1e-5)
    plain = network()
    train(plain, (x, y), epochs=3, learning_rate=0.05, seed=5)
    assert float((weights(plain) - weights(ours)).abs().max()) > 1e-3


def test_a_network_trained_adversarially_among_others_ends_as_it_would_alone():
    settings = {"epochs": 8, "learning_rate": 0.02, "attack_radius": 0.4, "attack_steps": 3}
    alone = [network(s) for s in range(3)]
    for seed, model in enumerate(alone):
        train(model, blobs(seed), seed=seed, **settings)
    together = [network(s) for s in range(3)]
    train_many(together, [blobs(s) for s in range(3)], seeds=range(3), **settings)
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(weights(one), weights(other), rtol=1e-3, atol=1e-5)


def test_convolutions_are_trained_adversarially_at_once_too():
    settings = {"epochs": 2, "learning_rate": 0.05, "attack_radius": 0.1, "attack_steps": 2}
    settings |= {"attack_norm": INF, "attack_box": (0, 1)}
    alone = build("digits_cnn")
    train(alone, digits(), **settings)
    together = [build("digits_cnn"), build("digits_cnn", seed=1)]
    train_many(together, [digits()] * 2, seeds=[0, 1], **settings)
    torch.testing.assert_close(weights(alone), weights(together[0]), rtol=1e-3, atol=1e-4)


def test_networks_that_go_on_without_the_finished_ones_keep_their_random_starts():
    # The first two have one label to learn and are done at the first look.
    x, y = blobs(0)
    data = [(x, torch.zeros_like(y))] * 2 + [(x, y)]
    settings = {"learning_rate": 0.05, "target_accuracy": 1.0, "epochs": 30, "attack_radius": 0.3}
    settings |= {"attack_steps": 2}
    together = [network(s) for s in range(3)]
    results = train_many(together, data, seeds=range(3), **settings)
    assert [result.epochs == 30 for result in results] == [False, False, True]
    alone = network(2)
    train(alone, data[2], seed=2, **settings)
    torch.testing.assert_close(weights(together[2]), weights(alone), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("make", [lambda: [network(0), network(1)], lambda: [WithDropout()]])
def test_an_interrupted_adversarial_run_goes_on_and_ends_at_the_same_weights(tmp_path, make):
    torch.manual_seed(1)
    start = make()
    seeds, data = range(len(start)), [blobs(s) for s in range(len(start))]
    settings = {"epochs": 25, "learning_rate": 0.02, "attack_radius": 0.3, "attack_steps": 2}
    whole = copy.deepcopy(start)
    train_many(whole, data, seeds=seeds, **settings)

    def stop(at: int, _: int) -> None:
        if at == 10:
            raise KeyboardInterrupt

    file = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_many(
            copy.deepcopy(start), data, seeds=seeds, state_file=file, progress=stop, **settings
        )
    again = copy.deepcopy(start)
    train_many(again, data, seeds=seeds, state_file=file, **settings)
    for one, other in zip(whole, again, strict=True):
        assert torch.equal(weights(one), weights(other))


def test_batch_statistics_are_of_the_perturbed_batch_and_not_of_the_ascent():
    # The ascent is against the network in eval mode, so its passes leave no trace in the averages.
    torch.manual_seed(2)
    start = WithDropout()
    once = copy.deepcopy(start)
    train(once, blobs(), epochs=1, learning_rate=0.01, attack_radius=0.1, attack_steps=4)
    assert int(once.net[1].num_batches_tracked) == 3


def test_adversarial_training_widens_the_margins_of_a_linear_classifier():
    # Two classes on either side of x_0 = 0, told apart by a small x_1 too: without perturbations
    # the boundary leans on it; within the radius it is worth nothing.
    torch.manual_seed(0)
    side = torch.arange(200) % 2
    x = torch.stack([torch.where(side == 0, -1.0, 1.0), torch.where(side == 0, -0.1, 0.1)], dim=1)
    x = x * (1 + 0.1 * torch.rand(200, 2))
    normal, robust = nn.Linear(2, 2), nn.Linear(2, 2)
    for model in (normal, robust):
        nn.init.zeros_(model.bias)
        model.weight.data = torch.tensor([[0.0, -20.0], [0.0, 20.0]])
    settings = {"epochs": 100, "learning_rate": 0.05}
    train(normal, (x, side), **settings)
    train(robust, (x, side), attack_radius=0.5, attack_steps=3, **settings)
    margins = [eb.boundary_distance(model, x).value.min() for model in (normal, robust)]
    assert margins[1] > 2 * margins[0]


# --------------------------------------------------------------------------------- configurations


@pytest.mark.parametrize("name", ["blobs", "digits"])
def test_a_robust_configuration_is_the_normal_one_with_an_attack(name):
    normal, robust = load_config(f"{name}-normal"), load_config(f"{name}-robust")
    assert (normal.dataset, normal.network) == (robust.dataset, robust.network)
    plans = (dict(config.training) for config in (robust, normal))
    one, other = ({k: v for k, v in p.items() if not k.startswith("attack_")} for p in plans)
    assert one == other
    assert robust.training.attack is not None
    assert normal.training.attack is None


def test_every_robust_configuration_of_images_keeps_to_the_range_of_their_pixels():
    boxes = {}
    for name in config_names():
        config = load_config(name)
        if config.training.attack is not None:
            boxes[name] = config.training.attack.geometry.box
    assert boxes == {
        "blobs-robust": None,
        "digits-robust": (0.0, 1.0),
        "mnist-robust": (0.0, 255.0),
    }


def test_the_attack_of_a_file_may_be_of_the_maximum_norm():
    text = """
    [dataset]
    name = "digits"
    [network]
    name = "digits_cnn"
    [training]
    epochs = 1
    learning_rate = 0.1
    attack_radius = 0.1
    attack_norm = inf
    attack_box = [0, 1]
    """
    attack = parse_config(text, "mine").training.attack
    assert attack is not None
    assert (attack.geometry.norm, attack.geometry.box) == (INF, (0.0, 1.0))


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"attack_radius": 0}, "attack_radius must be a number above 0; got 0."),
        ({"attack_radius": "wide"}, "attack_radius must be a number above 0; got 'wide'."),
        ({"attack_radius": INF}, "attack_radius must be a number above 0; got inf."),
        (
            {"attack_steps": 5},
            "attack_steps must be left out unless attack_radius is given; got 5.",
        ),
        (
            {"attack_box": (0, 1)},
            "attack_box must be left out unless attack_radius is given; got (0, 1).",
        ),
        (
            {"attack_radius": 1, "attack_steps": 0},
            "attack_steps must be an integer of at least 1; got 0.",
        ),
        (
            {"attack_radius": 1, "attack_step_size": -1.0},
            "attack_step_size must be a number above 0; got -1.0.",
        ),
        ({"attack_radius": 1, "attack_norm": 1}, "attack_norm must be 2 or inf; got 1."),
        (
            {"attack_radius": 1, "attack_box": (1, 0)},
            "attack_box must be a pair (low, high) of numbers with low < high; got (1, 0).",
        ),
    ],
)
def test_a_bad_attack_is_refused_in_one_sentence(settings, sentence):
    with pytest.raises(eb.InvalidInputError) as error:
        TrainingPlan(epochs=1, learning_rate=0.1, **settings)
    assert str(error.value) == sentence


def test_inputs_that_cannot_be_perturbed_are_refused():
    x, y = digits()
    with pytest.raises(eb.InvalidInputError) as error:
        train(
            build("digits_cnn"),
            (x * 255, y),
            epochs=1,
            learning_rate=0.1,
            attack_radius=1,
            attack_box=(0, 1),
        )
    assert str(error.value) == (
        "data must lie in the attack_box from 0 to 1; got entries from 0 to 255."
    )
    with pytest.raises(eb.InvalidInputError) as error:
        train(
            nn.Embedding(9, 3),
            (torch.tensor([1, 2]), torch.tensor([0, 1])),
            epochs=1,
            learning_rate=0.1,
            attack_radius=1,
        )
    assert str(error.value) == (
        "data must hold floating-point inputs where attack_radius is given; got int64."
    )
