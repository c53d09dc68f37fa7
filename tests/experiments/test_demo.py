"""The networks, training loop and demo."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import eigenboundary as eb
from eigenboundary.experiments import demo
from eigenboundary.experiments.datasets import load
from eigenboundary.experiments.demo import RUNS, run_demo
from eigenboundary.experiments.networks import build
from eigenboundary.runtime.errors import InvalidInputError


def quickly(run, **changes):
    """A run that trains for a moment; margins of images would take most of the time."""
    options = {**run.network_options, "hidden": (6,)}
    return dataclasses.replace(
        run,
        **{
            "network": "fnn",
            "network_options": options,
            "training_options": {"epochs": 10, "learning_rate": 0.1},
            **changes,
        },
    )


@pytest.fixture
def asked(monkeypatch):
    """What is asked of each analysis; none of them searches for margins, which takes long."""
    asked, analyze = [], demo.analyze

    def recorded(*given, **settings):
        asked.append((given, settings))
        return analyze(*given, **settings | {"margins": False, "grid": 10})

    monkeypatch.setattr(demo, "analyze", recorded)
    return asked


@pytest.fixture
def quick_runs(monkeypatch, asked):
    """The demo's runs, trained for a moment, with few eigenpairs and without images."""
    iris, digits, blobs = RUNS
    moons = {"inputs": 2, "classes": 2, "hidden": (6,)}
    runs = (
        quickly(iris),
        quickly(digits, dataset="half_moons", network_options=moons),
        quickly(blobs),
    )
    monkeypatch.setattr(demo, "RUNS", runs)
    monkeypatch.setattr(demo, "_CONTROLS", ("random_directions",))
    return runs


# ------------------------------------------------------------------------------------------ demo


def test_the_demo_saves_each_run_and_takes_it_up_again(quick_runs, tmp_path):
    threads = torch.get_num_threads()
    first = run_demo(tmp_path / "demo")
    assert torch.get_num_threads() == threads
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


def test_the_demo_trains_to_full_accuracy_and_analyses_what_it_trained_on(
    quick_runs, asked, tmp_path, monkeypatch
):
    digits = quickly(RUNS[1], network="digits_cnn", network_options={"classes": 3})
    runs = (quick_runs[0], digits, quick_runs[2])
    monkeypatch.setattr(demo, "RUNS", runs)
    train, trained = demo.train, []
    monkeypatch.setattr(demo, "train", lambda *a, **k: (trained.append(k), train(*a, **k))[1])

    run_demo(tmp_path, seed=2)
    assert [settings["target_accuracy"] for settings in trained] == [1.0] * 3
    for run, (given, settings) in zip(runs, asked, strict=True):
        assert settings["margins"]
        split = load(run.dataset, seed=2)
        for part, tensors in ((split.train, given[1]), (split.test, settings["test_data"])):
            assert all(torch.equal(one, other) for one, other in zip(part, tensors, strict=True))


def test_another_seeds_demo_is_overwritten_only_on_demand(quick_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "RUNS", quick_runs[:1])
    run_demo(tmp_path, seed=0)
    before = (tmp_path / "iris.safetensors").read_bytes()
    with pytest.raises(InvalidInputError, match=r"iris.safetensors' was made with seed 0, not 1"):
        run_demo(tmp_path, seed=1)
    assert (tmp_path / "iris.safetensors").read_bytes() == before
    stages = set()
    analyses = run_demo(
        tmp_path, seed=1, overwrite=True, progress=lambda run, stage, *_: stages.add(stage)
    )
    assert "saved" not in stages
    assert {a.provenance.seed for a in analyses.values()} == {1}


def test_an_analysis_that_is_not_the_demos_is_not_taken_for_it(quick_runs, tmp_path):
    x, y = load("iris").train
    eb.analyze(build("fnn", inputs=4, classes=3), (x, y), k=3).save(tmp_path / "iris.safetensors")
    with pytest.raises(InvalidInputError, match="is another kind of file"):
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
    with pytest.raises(InvalidInputError, match=r"digits.safetensors' is damaged"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]
    assert mine.read_bytes() == b"something of the user's"


@pytest.mark.slow
def test_the_demo_networks_all_learn_their_data_and_converge(tmp_path):
    for analysis in run_demo(tmp_path, seed=1).values():
        assert analysis.accuracy == 1.0
        assert analysis.loss_value < 0.02
        assert analysis.converged.all()
