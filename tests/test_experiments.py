"""The data sets, networks, training loop and demo."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import eigenboundary as eb
from eigenboundary.errors import InvalidInputError
from eigenboundary.experiments import RUNS, build, demo, load, run_demo, train
from eigenboundary.experiments.training import evaluate

NAMES = ("gaussian_blobs", "iris", "digits")


@pytest.fixture
def quick_runs(monkeypatch):
    """The demo's runs, trained for a moment and with few eigenpairs."""
    runs = tuple(
        dataclasses.replace(
            run,
            network="digits_cnn" if run.dataset == "digits" else "fnn",
            network_options={"classes": 3}
            if run.dataset == "digits"
            else {**run.network_options, "hidden": (6,)},
            training_options={"epochs": 10, "learning_rate": 0.1},
        )
        for run in RUNS
    )
    monkeypatch.setattr(demo, "RUNS", runs)
    monkeypatch.setattr(demo, "_EIGENPAIRS", 3)
    monkeypatch.setattr(demo, "_CONTROLS", ("random_directions",))
    return runs


# ------------------------------------------------------------------------------------- data sets


@pytest.mark.parametrize("name", NAMES)
def test_splits_hold_half_a_fifth_and_three_tenths_of_each_class(name):
    split = load(name)
    counts = torch.stack(
        [y.bincount() for _, y in (split.train, split.validation, split.test)]
    ).double()
    shares = counts / counts.sum(0)
    wanted = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)[:, None].expand(3, 3)
    torch.testing.assert_close(shares, wanted, atol=0.01, rtol=0)
    assert len(split.class_names) == 3


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_a_split_have_no_sample_in_common_and_miss_none(name):
    split = load(name, seed=3)
    rows = torch.cat([x.flatten(1) for x, _ in (split.train, split.validation, split.test)])
    again = load(name, seed=3)
    assert torch.equal(split.train[0], again.train[0])
    # Iris has three flowers with the measures of another; the other sets are all different.
    duplicates = 3 if name == "iris" else 0
    assert len(rows.unique(dim=0)) >= len(rows) - duplicates
    assert len(rows) == {"gaussian_blobs": 300, "iris": 150, "digits": 539}[name]


def test_another_seed_gives_another_split():
    assert not torch.equal(load("iris", 0).train[0], load("iris", 1).train[0])


def test_blobs_have_the_means_and_deviations_of_the_paper():
    split = load("gaussian_blobs", seed=1)
    x, y = (
        torch.cat(parts) for parts in zip(split.train, split.validation, split.test, strict=True)
    )
    for label, (mean, deviation) in enumerate(
        [((2, -1), (0.5, 0.5)), ((-2, 0), (0.5, 1)), ((0, 2), (0.5, 0.5))]
    ):
        points = x[y == label].double()
        np.testing.assert_allclose(points.mean(0), mean, atol=0.4)
        np.testing.assert_allclose(points.std(0), deviation, rtol=0.25)


def test_iris_is_standardised_over_its_training_part_alone():
    x, _ = load("iris").train
    torch.testing.assert_close(x.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0), torch.ones(4), atol=1e-5, rtol=0)


def test_digits_are_images_between_zero_and_one_relabelled_in_order():
    x, y = load("digits").train
    assert x.shape[1:] == (1, 8, 8)
    assert (float(x.min()), float(x.max())) == (0.0, 1.0)
    zeros = x[y == 0].mean(0)[0]
    assert float(zeros[3:5, 3:5].mean()) < 0.2  # a zero is empty in the middle, 1 and 7 are not
    assert float(x[y == 1].mean(0)[0, 3:5, 3:5].mean()) > 0.5


def test_digits_take_other_classes():
    assert load("digits", classes=(3, 8)).class_names == ("3", "8")


def test_an_unknown_data_set_is_named_with_those_there_are():
    with pytest.raises(InvalidInputError) as error:
        load("cifar")
    assert str(error.value) == (
        "name must be one of 'gaussian_blobs', 'iris', 'digits'; got 'cifar'."
    )


def test_an_option_a_data_set_does_not_take_is_named():
    with pytest.raises(InvalidInputError, match="data set 'iris' takes; got classes"):
        load("iris", classes=(1, 2))


def test_digits_without_two_known_classes_are_refused():
    with pytest.raises(InvalidInputError, match=r"different digits from 0 to 9; got \(3, 3\)"):
        load("digits", classes=(3, 3))


# -------------------------------------------------------------------------------------- networks


def test_networks_of_one_seed_are_equal_and_leave_the_random_state_alone():
    state = torch.get_rng_state()
    one, same, other = (build("fnn", seed=s, inputs=2, classes=3) for s in (0, 0, 1))
    assert torch.equal(one[0].weight, same[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)
    assert torch.equal(state, torch.get_rng_state())


def test_the_paper_network_has_10703_parameters():
    model = build("fnn", inputs=2, classes=3, hidden=(100, 100))
    assert sum(p.numel() for p in model.parameters()) == 10_703


def test_an_unknown_network_or_option_is_named():
    with pytest.raises(InvalidInputError, match=r"^name must be one of 'fnn', 'digits_cnn'; got"):
        build("transformer")
    with pytest.raises(InvalidInputError, match="network 'fnn' takes; got depth"):
        build("fnn", depth=3)


# -------------------------------------------------------------------------------------- training


def test_training_is_repeatable_and_says_what_evaluation_finds():
    split = load("gaussian_blobs")
    results = []
    for _ in range(2):
        model = build("fnn", inputs=2, classes=3, hidden=(8,))
        results.append(train(model, split.train, epochs=20, learning_rate=0.1, seed=4))
        loss, accuracy = evaluate(model, split.train)
        assert (results[-1].loss, results[-1].accuracy) == (loss, accuracy)
        assert all(p.grad is None for p in model.parameters())
    assert results[0].loss == results[1].loss
    assert results[0].epochs == 20


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.1), ("adam", 0.01)])
def test_training_stops_once_its_targets_are_reached(optimizer, rate):
    model = build("fnn", inputs=2, classes=3, hidden=(8,))
    seen = []
    result = train(
        model,
        load("gaussian_blobs", 1).train,
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


def test_training_leaves_the_mode_of_the_model_as_it_was():
    model = build("digits_cnn").eval()
    train(model, load("digits").train, epochs=1, learning_rate=0.01)
    assert not model.training


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"epochs": 0}, "epochs must be an integer of at least 1; got 0."),
        ({"learning_rate": -1.0}, "learning_rate must be above 0; got -1.0."),
        ({"optimizer": "lbfgs"}, "optimizer must be one of 'sgd', 'adam'; got 'lbfgs'."),
    ],
)
def test_a_bad_training_option_is_refused(option, sentence):
    options = {"epochs": 1, "learning_rate": 0.1, **option}
    with pytest.raises(InvalidInputError) as error:
        train(build("digits_cnn"), load("digits").train, **options)
    assert str(error.value) == sentence


# ------------------------------------------------------------------------------------------ demo


def test_the_demo_saves_each_run_and_takes_it_up_again(quick_runs, tmp_path):
    first = run_demo(tmp_path / "demo")
    files = {run.title: tmp_path / "demo" / f"{run.name}.safetensors" for run in quick_runs}
    written = {title: path.stat().st_mtime_ns for title, path in files.items()}
    stages = []
    second = run_demo(tmp_path / "demo", progress=lambda run, stage, *_: stages.append(stage))
    assert stages == ["saved"] * 3
    assert list(first) == list(second) == [run.title for run in quick_runs]
    for title in first:
        assert first[title].summary() == second[title].summary()
        assert files[title].stat().st_mtime_ns == written[title]
        assert set(first[title].controls) == {"random_directions"}


def test_another_seeds_demo_is_overwritten_only_by_force(quick_runs, tmp_path):
    run_demo(tmp_path, seed=0)
    before = (tmp_path / "iris.safetensors").read_bytes()
    with pytest.raises(InvalidInputError, match=r"demo of seed 1 unless .* is of seed 0"):
        run_demo(tmp_path, seed=1)
    assert (tmp_path / "iris.safetensors").read_bytes() == before
    stages = set()
    analyses = run_demo(
        tmp_path, seed=1, force=True, progress=lambda run, stage, *_: stages.add(stage)
    )
    assert "saved" not in stages
    assert {a.provenance.seed for a in analyses.values()} == {1}


def test_an_analysis_that_is_not_the_demos_is_not_taken_for_it(quick_runs, tmp_path):
    x, y = load("iris").train
    eb.analyze(build("fnn", inputs=4, classes=3), (x, y), k=3).save(tmp_path / "iris.safetensors")
    with pytest.raises(InvalidInputError, match="is another analysis"):
        run_demo(tmp_path)


def test_what_was_finished_before_an_interrupt_is_kept(quick_runs, tmp_path):
    def interrupt(run, stage, *_):
        if run.name == "digits" and stage == "training":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["iris.safetensors"]
    seen = []
    run_demo(tmp_path, progress=lambda run, stage, *_: seen.append((run.name, stage)))
    assert [name for name, stage in seen if stage == "saved"] == ["iris"]


def test_an_analysis_that_was_interrupted_is_not_saved_as_finished(quick_runs, tmp_path):
    def interrupt(run, stage, done, total):
        if stage == "eigenpairs" and run.name == "blobs" and (done, total) != (0, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path, progress=interrupt)
    assert not (tmp_path / "blobs.safetensors").exists()


def test_the_demo_does_not_overwrite_a_file_that_is_not_its_own(quick_runs, tmp_path):
    mine = tmp_path / "digits.safetensors"
    mine.write_bytes(b"something of the user's")
    with pytest.raises(InvalidInputError, match="folder must hold none but the demo's own digits"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]
    assert mine.read_bytes() == b"something of the user's"


def test_the_demo_leaves_the_number_of_threads_alone(quick_runs, tmp_path):
    threads = torch.get_num_threads()
    run_demo(tmp_path)
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_the_demo_networks_all_learn_their_data_and_converge(tmp_path):
    for analysis in run_demo(tmp_path, seed=1).values():
        assert analysis.accuracy == 1.0
        assert analysis.loss_value < 0.02
        assert analysis.converged.all()
