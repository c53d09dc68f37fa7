"""The training loop, alone and for many networks at once, and the starts of the regimes."""

from __future__ import annotations

import copy
import logging
import signal

import pytest
import torch
from torch import nn

import eigenboundary as eb
from eigenboundary.experiments.networks import build
from eigenboundary.experiments.training import ensembles as steps
from eigenboundary.experiments.training import (
    evaluate,
    parameter_norm,
    permuted_labels,
    run,
    scaled_to_norm,
    train,
    train_many,
)
from eigenboundary.runtime import version


def network(seed: int = 0) -> nn.Module:
    return build("fnn", seed=seed, inputs=2, classes=3, hidden=(8, 8))


def blobs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return eb.datasets.load("gaussian_blobs", seed=seed).train


class WithDropout(nn.Module):
    """A network that no trace can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class Branching(nn.Linear):
    """A network that decides by its data what it computes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (2.0 if float(x.sum()) > 0 else 1.0)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.double().flatten() for tensor in model.state_dict().values()])


# --------------------------------------------------------------------------------- the loop alone


SGD, Adam = torch.optim.SGD, torch.optim.Adam
MultiStep, Cosine = torch.optim.lr_scheduler.MultiStepLR, torch.optim.lr_scheduler.CosineAnnealingLR


@pytest.mark.parametrize(
    ("settings", "optimizer", "schedule"),
    [
        ({}, lambda p: SGD(p, lr=0.05), None),
        (
            {"momentum": 0.9, "weight_decay": 1e-2},
            lambda p: SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-2),
            None,
        ),
        (
            {"optimizer": "adam", "weight_decay": 1e-2},
            lambda p: Adam(p, lr=0.05, weight_decay=1e-2),
            None,
        ),
        (
            {"schedule": "multistep", "milestones": [4, 2], "gamma": 0.5},
            lambda p: SGD(p, lr=0.05),
            lambda o: MultiStep(o, [2, 4], gamma=0.5),
        ),
        ({"schedule": "cosine"}, lambda p: SGD(p, lr=0.05), lambda o: Cosine(o, 6)),
        ({"batch_size": None}, lambda p: SGD(p, lr=0.05), None),
        ({"batch_size": 7}, lambda p: SGD(p, lr=0.05), None),
        ({"loss": "mse"}, lambda p: SGD(p, lr=0.05), None),
    ],
)
def test_training_takes_the_steps_that_torch_takes(settings, optimizer, schedule):
    x, y = blobs()
    ours, theirs = network(), network()
    train(ours, (x, y), epochs=6, learning_rate=0.05, seed=5, **settings)

    stepper = optimizer(theirs.parameters())
    scheduler = None if schedule is None else schedule(stepper)
    size = settings.get("batch_size", 64) or len(x)
    order = torch.Generator().manual_seed(5)
    for _ in range(6):
        for rows in torch.randperm(len(x), generator=order).split(size):
            outputs = theirs(x[rows])
            if settings.get("loss") == "mse":
                loss = nn.functional.mse_loss(outputs, nn.functional.one_hot(y[rows], 3).float())
            else:
                loss = nn.functional.cross_entropy(outputs, y[rows])
            stepper.zero_grad()
            loss.backward()
            stepper.step()
        if scheduler is not None:
            scheduler.step()
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-4, atol=1e-6)


def test_training_is_repeatable_and_says_what_evaluation_finds():
    results = []
    for _ in range(2):
        model = network()
        results.append(train(model, blobs(), epochs=20, learning_rate=0.1, seed=4))
        assert (results[-1].loss, results[-1].accuracy) == evaluate(model, blobs())
        assert all(p.grad is None for p in model.parameters())
    assert results[0].loss == results[1].loss
    assert results[0].epochs == 20


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.1), ("adam", 0.01)])
def test_training_stops_once_its_targets_are_reached(optimizer, rate):
    seen = []
    result = train(
        network(),
        blobs(1),
        epochs=2000,
        learning_rate=rate,
        optimizer=optimizer,
        target_accuracy=0.95,
        target_loss=0.3,
        progress=lambda *at: seen.append(at),
    )
    assert result.epochs < 2000
    assert result.accuracy >= 0.95
    assert result.loss <= 0.3
    assert seen[-1] == (result.epochs, 2000)


def test_training_leaves_the_modes_and_the_random_state_as_they_were():
    for training in (False, True):
        model = WithDropout().train(training)
        model.net[1].train(not training)
        modes = [module.training for module in model.modules()]
        state = torch.get_rng_state()
        train(model, blobs(), epochs=2, learning_rate=0.01)
        assert [module.training for module in model.modules()] == modes
        assert torch.equal(state, torch.get_rng_state())


def test_training_that_diverges_is_told(caplog):
    result = train(network(), blobs(), epochs=5, learning_rate=1e30)
    assert result.loss != result.loss
    assert "training diverged (the loss is not finite) for 1 of 1 network(s)" in caplog.text


def test_labels_may_be_of_any_integer_type():
    x, y = blobs()
    plain, short = network(), network()
    for model, labels in ((plain, y), (short, y.to(torch.uint8))):
        train(model, (x, labels), epochs=2, learning_rate=0.1)
    assert torch.equal(weights(plain), weights(short))


def test_log_probabilities_train_with_nll_as_logits_with_cross_entropy():
    logits, log_probabilities = network(), nn.Sequential(network(), nn.LogSoftmax(-1))
    train(logits, blobs(), epochs=10, learning_rate=0.1)
    train(log_probabilities, blobs(), epochs=10, learning_rate=0.1, loss="nll")
    torch.testing.assert_close(weights(logits), weights(log_probabilities))


def test_a_loss_of_ones_own_is_trained_on():
    own = nn.CrossEntropyLoss(reduction="none")
    one, other = network(), network()
    train(one, blobs(), epochs=5, learning_rate=0.1, loss=own)
    train(other, blobs(), epochs=5, learning_rate=0.1)
    torch.testing.assert_close(weights(one), weights(other), rtol=1e-4, atol=1e-6)


def test_checkpoints_hold_the_weights_after_their_epochs():
    start = network()
    model = copy.deepcopy(start)
    result = train(model, blobs(), epochs=8, learning_rate=0.1, checkpoints=[0, 3, 8])
    assert list(result.checkpoints) == [0, 3, 8]
    three = network()
    train(three, blobs(), epochs=3, learning_rate=0.1)
    for state, wanted in zip(result.checkpoints.values(), (start, three, model), strict=True):
        for name, tensor in wanted.state_dict().items():
            torch.testing.assert_close(state[name], tensor)


def test_a_network_whose_gradient_cannot_be_traced_is_trained_as_it_is(caplog):
    caplog.set_level(logging.INFO)
    train(Branching(2, 3), blobs(), epochs=2, learning_rate=0.1)
    assert "trained as it is" in caplog.text


# ------------------------------------------------------------------------------ many at once


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_network_trained_among_others_ends_as_it_would_alone(optimizer):
    settings = {"epochs": 12, "learning_rate": 0.02, "optimizer": optimizer}
    alone = [network(s) for s in range(4)]
    for seed, model in enumerate(alone):
        train(model, blobs(seed), seed=seed, **settings)
    together = [network(s) for s in range(4)]
    train_many(together, [blobs(s) for s in range(4)], seeds=range(4), **settings)
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(weights(one), weights(other), rtol=1e-4, atol=1e-6)


def test_convolutions_are_trained_at_once_too():
    data = eb.datasets.load("digits").train
    alone = build("digits_cnn")
    train(alone, data, epochs=2, learning_rate=0.05)
    together = [build("digits_cnn"), build("digits_cnn", seed=1)]
    train_many(together, [data, data], seeds=[0, 1], epochs=2, learning_rate=0.05)
    torch.testing.assert_close(weights(alone), weights(together[0]), rtol=1e-3, atol=1e-5)


def test_each_network_stops_at_its_own_target():
    models = [network(s) for s in range(5)]
    settings = {"epochs": 1000, "learning_rate": 0.05, "target_accuracy": 0.97}
    results = train_many(models, [blobs(s) for s in range(5)], seeds=range(5), **settings)
    assert len({result.epochs for result in results}) > 1
    for seed, (model, result) in enumerate(zip(models, results, strict=True)):
        assert evaluate(model, blobs(seed)) == (result.loss, result.accuracy)
        assert result.accuracy >= 0.97
        alone = network(seed)
        assert train(alone, blobs(seed), seed=seed, **settings).epochs == result.epochs


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.05), ("adam", 0.005)])
def test_networks_that_go_on_without_the_finished_ones_end_as_they_would_alone(optimizer, rate):
    # The first two are given labels that they learn at once; the last two go on to the end.
    x, y = blobs(0)
    data = [(x, torch.zeros_like(y))] * 2 + [(x, permuted_labels(y, seed=s)) for s in (1, 2)]
    settings = {"learning_rate": rate, "optimizer": optimizer, "target_accuracy": 1.0}
    together = [network(s) for s in range(4)]
    results = train_many(together, data, seeds=range(4), epochs=60, **settings)
    assert [result.epochs == 60 for result in results] == [False, False, True, True]
    for seed, model in enumerate(together):
        alone = network(seed)
        train(alone, data[seed], seed=seed, epochs=60, **settings)
        torch.testing.assert_close(weights(model), weights(alone), rtol=1e-3, atol=1e-5)


def test_networks_with_batch_normalisation_are_trained_one_after_the_other():
    torch.manual_seed(0)
    start = WithDropout()
    alone, together = copy.deepcopy(start), [copy.deepcopy(start), copy.deepcopy(start)]
    train(alone, blobs(), epochs=3, learning_rate=0.1, seed=2)
    train_many(together, [blobs()] * 2, seeds=[2, 3], epochs=3, learning_rate=0.1)
    assert torch.equal(weights(alone), weights(together[0]))
    assert not torch.equal(weights(alone), weights(together[1]))


def test_networks_that_differ_in_more_than_weights_are_trained_each_as_it_is():
    def pair():
        return [network(), build("fnn", inputs=2, classes=3, hidden=(8, 8), activation="tanh")]

    alone, together = pair(), pair()
    settings = {"epochs": 5, "learning_rate": 0.1}
    for seed, model in enumerate(alone):
        train(model, blobs(seed), seed=seed, **settings)
    train_many(together, [blobs(0), blobs(1)], seeds=[0, 1], **settings)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(weights(one), weights(other))


def test_networks_that_no_trace_can_hold_are_trained_one_after_the_other():
    torch.manual_seed(0)
    start = Branching(2, 3)
    alone, together = copy.deepcopy(start), [copy.deepcopy(start), copy.deepcopy(start)]
    train(alone, blobs(), epochs=3, learning_rate=0.1, seed=1)
    train_many(together, [blobs()] * 2, seeds=[0, 1], epochs=3, learning_rate=0.1)
    assert torch.equal(weights(alone), weights(together[1]))


# ---------------------------------------------------------------------------------- interruptions


def interrupted_at(epoch: int):
    def progress(at: int, _: int) -> None:
        if at == epoch:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("make", [network, WithDropout])
def test_an_interrupted_run_goes_on_and_ends_at_the_same_weights(tmp_path, make, optimizer):
    torch.manual_seed(1)
    start = make()
    settings = {
        "epochs": 45,
        "learning_rate": 0.02,
        "optimizer": optimizer,
        "schedule": "multistep",
        "milestones": [10, 30],
        "checkpoints": [5, 40],
    }
    whole, parts = copy.deepcopy(start), copy.deepcopy(start)
    expected = train(whole, blobs(), **settings)
    file = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(parts, blobs(), state_file=file, progress=interrupted_at(20), **settings)
    again = copy.deepcopy(start)
    result = train(again, blobs(), state_file=file, **settings)
    assert torch.equal(weights(whole), weights(again))
    assert not file.exists()
    assert result.epochs == expected.epochs
    for epoch in (5, 40):
        for name, tensor in expected.checkpoints[epoch].items():
            assert torch.equal(tensor, result.checkpoints[epoch][name])


def test_an_interrupted_run_of_many_keeps_those_that_had_finished(tmp_path):
    settings = {"epochs": 400, "learning_rate": 0.05, "target_accuracy": 0.97}
    data, file = [blobs(s) for s in range(4)], tmp_path / "run.safetensors"
    whole = [network(s) for s in range(4)]
    expected = train_many(whole, data, seeds=range(4), **settings)
    middle = sorted(result.epochs for result in expected)[1]
    with pytest.raises(KeyboardInterrupt):
        train_many(
            [network(s) for s in range(4)],
            data,
            seeds=range(4),
            state_file=file,
            progress=interrupted_at(middle + 10),
            **settings,
        )
    again = [network(s) for s in range(4)]
    results = train_many(again, data, seeds=range(4), state_file=file, **settings)
    assert [r.epochs for r in results] == [r.epochs for r in expected]
    for one, other in zip(whole, again, strict=True):
        assert torch.equal(weights(one), weights(other))


@pytest.mark.parametrize("schedule", [{"schedule": "cosine"}, {"milestones": [8, 17, 25]}])
@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.05), ("adam", 0.01)])
@pytest.mark.parametrize("easy", [1, 3, 4])
def test_an_interrupted_ensemble_that_shrinks_ends_at_the_same_weights(
    tmp_path, schedule, optimizer, rate, easy
):
    # The easy ones learn at once, and leave the others, or the one that is left, to go on.
    x, y = blobs(0)
    data = [(x, torch.zeros_like(y))] * easy + [
        (x, permuted_labels(y, seed=s)) for s in range(5 - easy)
    ]
    settings = {"epochs": 30, "learning_rate": rate, "optimizer": optimizer} | schedule
    settings |= {"target_accuracy": 1.0, "checkpoints": [0, 5, 15, 30]}
    settings |= {"momentum": 0.9 if optimizer == "sgd" else 0.0}
    settings.setdefault("schedule", "multistep")
    whole = [network(s) for s in range(5)]
    expected = train_many(whole, data, seeds=range(5), **settings)
    assert [result.epochs == 30 for result in expected] == [False] * easy + [True] * (5 - easy)
    file = tmp_path / "run.safetensors"
    for epoch in (10, 20):
        with pytest.raises(KeyboardInterrupt):
            train_many(
                [network(s) for s in range(5)],
                data,
                seeds=range(5),
                state_file=file,
                progress=interrupted_at(epoch),
                **settings,
            )
    again = [network(s) for s in range(5)]
    results = train_many(again, data, seeds=range(5), state_file=file, **settings)
    assert [r.epochs for r in results] == [r.epochs for r in expected]
    for one, other in zip(whole, again, strict=True):
        assert torch.equal(weights(one), weights(other))
    for result, wanted in zip(results, expected, strict=True):
        assert list(result.checkpoints) == list(wanted.checkpoints)
        for epoch, state in wanted.checkpoints.items():
            assert all(torch.equal(t, result.checkpoints[epoch][n]) for n, t in state.items())


def test_an_interrupt_within_an_epoch_leaves_the_last_whole_one(tmp_path, monkeypatch):
    settings = {"epochs": 9, "learning_rate": 0.1, "optimizer": "adam"}
    whole, parts = network(), network()
    train(whole, blobs(), **settings)
    file, calls = tmp_path / "run.safetensors", []
    original = steps.TracedEnsemble.compute_gradients

    def interrupted(ensemble, x, y):
        calls.append(1)
        if len(calls) == 15:  # one to verify the trace, four whole epochs of three, two of three
            raise KeyboardInterrupt
        original(ensemble, x, y)

    with monkeypatch.context() as patch:
        patch.setattr(run, "_SAVE_SECONDS", 0.0)
        patch.setattr(steps.TracedEnsemble, "compute_gradients", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(parts, blobs(), state_file=file, **settings)
    assert torch.equal(weights(parts), weights(network()))
    calls.clear()
    monkeypatch.setattr(
        steps.TracedEnsemble, "compute_gradients", lambda *a: (calls.append(1), original(*a))
    )
    train(parts, blobs(), state_file=file, **settings)
    assert torch.equal(weights(whole), weights(parts))
    assert len(calls) == 1 + 3 * 5


def test_an_interrupt_after_the_last_epoch_leaves_the_last_state(tmp_path, monkeypatch):
    file, original = tmp_path / "run.safetensors", run.evaluate
    # Where tests run in the background, the shell has Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted(*given):
        signal.raise_signal(signal.SIGINT)
        return original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(run, "_SAVE_SECONDS", 0.0)
        patch.setattr(run, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(network(), blobs(), epochs=10, learning_rate=0.1, state_file=file)
    signal.signal(signal.SIGINT, before)
    seen, whole, again = [], network(), network()
    train(again, blobs(), epochs=10, learning_rate=0.1, state_file=file, progress=seen.append)
    train(whole, blobs(), epochs=10, learning_rate=0.1)
    assert not seen
    assert torch.equal(weights(whole), weights(again))


def test_an_interrupted_model_can_be_given_again_as_it_is(tmp_path):
    torch.manual_seed(0)
    start = WithDropout()
    model, whole = copy.deepcopy(start), copy.deepcopy(start)
    settings = {"epochs": 30, "learning_rate": 0.1}
    train(whole, blobs(), **settings)
    file = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(model, blobs(), state_file=file, progress=interrupted_at(10), **settings)
    assert torch.equal(weights(model), weights(start))
    train(model, blobs(), state_file=file, **settings)
    assert torch.equal(weights(model), weights(whole))


def test_networks_trained_one_after_the_other_are_not_trained_again_once_finished(tmp_path):
    torch.manual_seed(0)
    start = WithDropout()
    settings = {"epochs": 20, "learning_rate": 0.1, "seeds": [0, 1, 2]}
    whole, again = ([copy.deepcopy(start) for _ in range(3)] for _ in range(2))
    expected = train_many(whole, [blobs()] * 3, **settings)
    seen = []

    def stop(at, _):
        seen.append(at)
        if len(seen) == 5:
            raise KeyboardInterrupt

    file = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_many(again, [blobs()] * 3, state_file=file, progress=stop, **settings)
    assert seen == [10, 20, 10, 20, 10]
    results = train_many(again, [blobs()] * 3, state_file=file, progress=stop, **settings)
    assert seen[5:] == [20]
    assert [(r.loss, r.epochs) for r in results] == [(r.loss, r.epochs) for r in expected]
    for one, other in zip(whole, again, strict=True):
        assert torch.equal(weights(one), weights(other))
    assert not list(tmp_path.iterdir())


def test_a_run_on_a_loss_of_ones_own_is_known_again_in_another_process(tmp_path):
    def make():
        def squared(outputs, labels):
            return (outputs - nn.functional.one_hot(labels, 3)).square().mean(-1)

        return squared

    settings = {"epochs": 20, "learning_rate": 0.1, "state_file": tmp_path / "run.safetensors"}
    with pytest.raises(KeyboardInterrupt):
        train(network(), blobs(), loss=make(), progress=interrupted_at(10), **settings)
    seen = []
    train(network(), blobs(), loss=make(), progress=lambda at, _: seen.append(at), **settings)
    assert seen == [20]


def test_a_state_by_other_code_is_refused(tmp_path, monkeypatch):
    settings = {"epochs": 20, "learning_rate": 0.1, "state_file": tmp_path / "run.safetensors"}
    with pytest.raises(KeyboardInterrupt):
        train(network(), blobs(), progress=interrupted_at(10), **settings)
    monkeypatch.setattr(version, "TRAINING_ALGORITHM", -1)
    with pytest.raises(eb.InvalidInputError, match="was made by another version's code"):
        train(network(), blobs(), **settings)


def test_a_state_of_another_run_or_kind_is_refused(tmp_path):
    file = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(
            network(),
            blobs(),
            epochs=30,
            learning_rate=0.1,
            state_file=file,
            progress=interrupted_at(10),
        )
    with pytest.raises(eb.InvalidInputError, match=r"^state_file must .* learning_rate 0\.1, not"):
        train(network(), blobs(), epochs=30, learning_rate=0.2, state_file=file)
    with pytest.raises(eb.InvalidInputError, match="was made from other samples or weights"):
        train(network(1), blobs(), epochs=30, learning_rate=0.1, state_file=file)
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(eb.InvalidInputError, match="is damaged"):
        train(network(), blobs(), epochs=30, learning_rate=0.1, state_file=file)
    with pytest.raises(eb.InvalidInputError, match="state_file must be in an existing folder"):
        train(network(), blobs(), epochs=30, learning_rate=0.1, state_file=tmp_path / "no" / "f")


# ------------------------------------------------------------------------------------------ starts


def test_permuted_labels_are_the_same_labels_in_another_order():
    _, y = blobs()
    one, same, other = (
        permuted_labels(y, seed=1),
        permuted_labels(y, seed=1),
        permuted_labels(y, seed=2),
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(one.bincount(), y.bincount())
    assert float((one == y).double().mean()) < 0.6


def test_scaling_to_a_norm_scales_all_parameters_alike():
    model = network()
    before = weights(model)
    scaled = scaled_to_norm(model, 50.0)
    assert parameter_norm(scaled) == pytest.approx(50.0)
    ratio = weights(scaled) / before
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-6, atol=0)
    assert torch.equal(weights(model), before)
    assert parameter_norm(model) == pytest.approx(float(before.norm()))


def test_a_norm_that_cannot_be_had_is_refused():
    with pytest.raises(eb.InvalidInputError, match="norm must be a number above 0; got 0"):
        scaled_to_norm(network(), 0)
    nothing = network()
    for parameter in nothing.parameters():
        nn.init.zeros_(parameter)
    with pytest.raises(eb.InvalidInputError, match="not all zero"):
        scaled_to_norm(nothing, 1.0)
    with pytest.raises(eb.InvalidInputError, match="norm must be a number above 0; got '3'"):
        scaled_to_norm(network(), "3")
    with pytest.raises(
        eb.InvalidInputError, match=r"y must be a tensor of labels \(n,\); got list"
    ):
        permuted_labels([0, 1])


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": 0}, "epochs must be greater than or equal to 1; got 0."),
        ({"learning_rate": -1.0}, "learning_rate must be greater than 0; got -1.0."),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number; got nan."),
        ({"batch_size": 0}, "batch_size must be greater than or equal to 1; got 0."),
        ({"optimizer": "lbfgs"}, "optimizer must be 'sgd' or 'adam'; got 'lbfgs'."),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum must be 0 for optimizer 'adam'"),
        ({"schedule": "step"}, "schedule must be 'constant', 'multistep' or 'cosine'"),
        ({"milestones": [3]}, "milestones must be left out unless schedule is 'multistep'"),
        ({"schedule": "multistep", "milestones": [0]}, "milestones must be epochs from 1 to 9"),
        ({"schedule": "multistep"}, "milestones must be given for schedule 'multistep'; got ()."),
        ({"checkpoints": [True]}, "checkpoints.0 must be a valid integer; got True."),
        ({"momentum": 1.0}, "momentum must be less than 1; got 1.0."),
        ({"target_accuracy": 100}, "target_accuracy must be less than or equal to 1; got 100"),
        ({"checkpoints": [10]}, "checkpoints must be epochs from 0 to 9; got (10,)."),
        ({"loss": "hinge"}, "loss must be one of 'cross_entropy', 'nll', 'mse' or a callable"),
        ({"loss": 3}, "loss must be a name or a callable"),
        ({"target_loss": -1}, "target_loss must be greater than or equal to 0; got -1."),
        ({"weight_decay": -1}, "weight_decay must be greater than or equal to 0; got -1."),
        ({"patience": 3}, "settings must hold only epochs, learning_rate"),
    ],
)
def test_a_bad_setting_is_refused_in_one_sentence(settings, sentence):
    with pytest.raises(eb.InvalidInputError) as error:
        train(network(), blobs(), **({"epochs": 9, "learning_rate": 0.1} | settings))
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("models", "data", "seeds", "sentence"),
    [
        ([], [], [], "models, data and seeds must be as many, at least one; got 0, 0 and 0."),
        ([network()], [blobs()], [0, 1], "got 1, 1 and 2."),
        ([network(), nn.Linear(2, 3)], [blobs()] * 2, [0, 1], "models must be of one architecture"),
        (
            [network(), network().double()],
            [blobs()] * 2,
            [0, 1],
            "models must be of one architecture",
        ),
        ([network()], [(blobs()[0], blobs()[1][:3])], [0], "data must be of one shape"),
        ([network()], [blobs()], [-1], "seed must be"),
        ([network()], [blobs()], 3, "seeds must be a sequence; got int."),
        (
            [network(), network(1)],
            [blobs()[:1]] * 2,
            [0, 1],
            "pairs (x, y) of tensors; got (Tensor)",
        ),
        (
            [network(), network(1)],
            [blobs(), (blobs()[0][:9], blobs()[1][:9])],
            [0, 1],
            "of one shape and type of inputs; got (150, 2) of float32, (9, 2) of float32.",
        ),
    ],
)
def test_models_and_data_that_do_not_fit_are_refused(models, data, seeds, sentence):
    with pytest.raises(eb.InvalidInputError) as error:
        train_many(models, data, seeds=seeds, epochs=1, learning_rate=0.1)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


X, Y = eb.datasets.load("gaussian_blobs").train


@pytest.mark.parametrize(
    ("model", "pair", "sentence"),
    [
        (None, (X, Y.float()), "data must have integer labels; got float32."),
        (None, (X, Y > 0), "data must have integer labels; got bool."),
        (None, (X, Y[:, None]), "labels (n,) of at least one sample; got (150, 2) and (150, 1)."),
        (None, (X[:0], Y[:0]), "of at least one sample; got (0, 2) and (0,)."),
        (None, (X, Y + 1), "data must have labels from 0 to 2, as many as the model has outputs; "),
        (None, (X, Y - 1), "got -1 to 1."),
        (None, (X * torch.nan, Y), "data must be finite; 150 input(s) hold NaN or inf."),
        (None, (X.double(), Y), "model must take inputs (2, 2) of float64, as data has; it raised"),
        (None, (X[:, :1], Y), "model must take inputs (2, 1) of float32, as data has; it raised"),
        (None, (X.numpy(), Y.numpy()), "data must be pairs (x, y) of tensors; got (ndarray, "),
        (None, X, "data must be pairs (x, y) of tensors; got Tensor."),
        (None, (X.to("meta"), Y.to("meta")), "data must be on the model's device, cpu; got meta."),
        (None, (X, Y.to("meta")), "inputs and labels on one device; got cpu and meta."),
        (network().requires_grad_(False), (X, Y), "model must have at least one parameter that"),
        (nn.Linear(2, 1), (X, Y), "of at least two classes; got (2, 1) for 2 samples."),
        (nn.LSTM(2, 3), (X, Y), "of at least two classes; got tuple for 2 samples."),
        ("fnn", (X, Y), "model must be a torch.nn.Module instance; got str."),
    ],
)
def test_a_model_and_data_that_cannot_be_trained_on_are_refused(model, pair, sentence):
    with pytest.raises(eb.InvalidInputError) as error:
        train(network() if model is None else model, pair, epochs=1, learning_rate=0.1)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_that_are_no_numbers_and_one_model_twice_are_refused():
    model = network()
    with pytest.raises(eb.InvalidInputError, match="models must be different objects"):
        train_many([model, model], [blobs()] * 2, seeds=[0, 1], epochs=1, learning_rate=0.1)
    nn.init.constant_(model[0].weight, torch.nan)
    with pytest.raises(eb.InvalidInputError, match="model must have finite weights"):
        train(model, blobs(), epochs=1, learning_rate=0.1)


def test_a_loss_that_does_not_fit_is_refused_before_training():
    with pytest.raises(eb.InvalidInputError, match="must give log-probabilities for loss 'nll'"):
        train(network(), blobs(), epochs=1, learning_rate=0.1, loss="nll")
    with pytest.raises(eb.InvalidInputError, match="loss must give a number for each of the outp"):
        train(network(), blobs(), epochs=1, learning_rate=0.1, loss=lambda outputs, labels: 3)
