"""Experiments as configurations, and what is trained from them."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import eigenboundary as eb
from eigenboundary.cli import app
from eigenboundary.experiments import (
    config,
    config_names,
    load_config,
    parse_config,
    train_experiment,
)
from eigenboundary.experiments import train as run
from eigenboundary.experiments.training import (
    TrainingPlan,
    parameter_norm,
    permuted_labels,
    scaled_to_norm,
)
from eigenboundary.runtime import version

_DATA = os.environ.get("EIGENBOUNDARY_DATA", Path(__file__).parents[3] / "shared" / "data")
CIFAR = Path(_DATA) / "cifar10"
SMALL = """
title = "Small"
[dataset]
name = "gaussian_blobs"
[network]
name = "fnn"
hidden = [6]
[training]
epochs = 20
learning_rate = 0.05
"""
RANDOM = SMALL + "[start]\nregime = 'random_labels'\n"


def started(regime: str) -> str:
    return SMALL + f"[start]\nregime = '{regime}'\nfrom = 'small-random'\n"


@pytest.fixture
def folder(tmp_path):
    """Configurations of one's own, one of which starts from another."""
    for name, text in {
        "small": SMALL,
        "small-random": RANDOM,
        "small-adversarial": started("adversarial"),
        "small-large": started("large_norm"),
    }.items():
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# --------------------------------------------------------------------------------- configurations


@pytest.mark.parametrize("name", config_names())
def test_every_shipped_configuration_is_valid_and_starts_from_one_that_exists(name):
    config = load_config(name)
    assert config.training.epochs >= 1
    assert config.title
    assert config.description
    assert config.start.parent is None or config.start.parent in config_names()


@pytest.mark.parametrize(
    "name", ["cifar10-lenet5", pytest.param("cifar10-resnet18", marks=pytest.mark.slow)]
)
def test_the_settings_for_photographs_learn_a_few_of_them(name):
    if not CIFAR.is_dir():
        pytest.skip(f"there is no {CIFAR} (set EIGENBOUNDARY_DATA)")
    shipped = load_config(name)
    width = {"width": 16} if name == "cifar10-resnet18" else {}
    shorter = dict(shipped.training) | {"epochs": 20, "milestones": [15], "batch_size": 16}
    few = shipped.model_copy(
        update={
            "dataset": shipped.dataset | {"classes": [0, 6], "per_class": 100},
            "network": shipped.network | width,
            "training": TrainingPlan(**shorter),
        }
    )
    (trained,) = train_experiment(few, overrides={"directory": str(CIFAR)})
    assert len(trained.data.train[1]) == 142
    assert trained.result.loss < 0.5  # from ln 2 = 0.69
    assert trained.result.accuracy > 0.8


def test_a_file_of_ones_own_looks_beside_itself_for_its_start(folder):
    config = load_config(folder / "small-adversarial.toml")
    assert (config.name, config.start.regime, config.start.parent) == (
        "small-adversarial",
        "adversarial",
        "small-random",
    )
    assert load_config(config.start.parent, beside=config.folder).start.regime == "random_labels"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("title = ", "config 'mine' must be valid TOML"),
        (SMALL + "[optimiser]\n", "config 'mine' must hold only title, description, dataset, "),
        ("title = 3\n", "config 'mine': title must be a valid string; got 3."),
        ("dataset = 'blobs'\n", "config 'mine': dataset must be a table; got 'blobs'."),
        (SMALL.replace("gaussian_blobs", "blobs"), "config 'mine': dataset.name must be one of"),
        (SMALL.replace("fnn", "mlp"), "config 'mine': network.name must be one of 'fnn'"),
        (SMALL + "patience = 3\n", "epochs and learning_rate; 'patience' is unknown."),
        (
            SMALL.replace("epochs = 20", ""),
            "config 'mine': training must hold only epochs, learning_rate",
        ),
        (SMALL.replace("20", "-2"), "config 'mine': training.epochs must be greater than or eq"),
        (
            SMALL + "[start]\nregime = 'cold'\n",
            "config 'mine': start.regime must be 'normal', 'ran",
        ),
        (
            SMALL + "[start]\nregime = 'adversarial'\n",
            "config 'mine': start.from must name a configuration for regime 'adversarial'",
        ),
        (
            SMALL + "[start]\nfrom = 'other'\n",
            "config 'mine': start.from must be left out for regime 'normal'; got 'other'.",
        ),
        (
            SMALL + "[start]\nat = 'x'\n",
            "config 'mine': start must hold only regime, from; 'at' is",
        ),
        (
            SMALL.replace("[network]", "size = 3\n[network]"),
            "config 'mine': dataset.options must be ones that data set 'gaussian_blobs' takes",
        ),
        (
            SMALL.replace("[network]", "seed = 3\n[network]"),
            "takes (noise, samples); got seed.",
        ),
        (
            SMALL.replace("hidden", "depth"),
            "config 'mine': network.options must be ones that network 'fnn' takes",
        ),
        (SMALL.replace("hidden = [6]", "seed = 1"), "config 'mine': network.seed must be left"),
        (SMALL.replace("20", "20.0"), "training.epochs must be a valid integer; got 20.0."),
        (SMALL.replace("0.05", "nan"), "training.learning_rate must be a finite number; got nan."),
        (
            SMALL.replace("'gaussian_blobs'", "['a']").replace('"gaussian_blobs"', "['a']"),
            "got ['a']",
        ),
    ],
)
def test_a_mistake_in_a_configuration_is_one_sentence_that_names_its_place(text, sentence):
    with pytest.raises(eb.InvalidInputError) as error:
        parse_config(text, "mine")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_the_example_in_the_documentation_is_a_valid_configuration():
    example = textwrap.dedent(config.__doc__.split("::\n", 1)[1].split("`dataset`")[0])
    assert parse_config(example, "example").start.regime == "adversarial"


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"title = '\xff'")
    with pytest.raises(eb.InvalidInputError, match=r"can be read; .* cannot \(it is not UTF-8\)"):
        load_config(tmp_path / "mine.toml")


def test_configurations_that_start_from_each_other_are_told(folder):
    for one, other in (("a", "b"), ("b", "a")):
        text = started("adversarial").replace("small-random", other)
        (folder / f"{one}.toml").write_text(text)
    with pytest.raises(eb.InvalidInputError, match=r"end at a random start; got a from b from a\."):
        train_experiment(folder / "a.toml")


def test_a_configuration_that_does_not_exist_is_named_with_those_there_are():
    with pytest.raises(eb.InvalidInputError, match=r"a \.toml file or one of blobs-adam"):
        load_config("blobs")
    with pytest.raises(
        eb.InvalidInputError, match=r"'none\.toml' cannot \(No such file or directory\)"
    ):
        load_config("none.toml")


# ---------------------------------------------------------------------------------------- regimes


def test_random_labels_are_permuted_and_the_samples_are_not(folder):
    (trained,) = train_experiment(folder / "small-random.toml", [3])
    x, y = eb.datasets.load("gaussian_blobs", seed=3).train
    assert torch.equal(trained.data.train[0], x)
    assert torch.equal(trained.data.train[1], permuted_labels(y, seed=3))


@pytest.mark.parametrize("regime", ["adversarial", "large"])
def test_a_start_is_the_network_or_the_norm_of_the_parent(folder, monkeypatch, regime):
    (parent,) = train_experiment(folder / "small-random.toml", [1])
    begun = []
    original = run.train_many
    monkeypatch.setattr(
        run,
        "train_many",
        lambda models, *a, **k: (begun.append(_copies(models)), original(models, *a, **k))[1],
    )
    train_experiment(folder / f"small-{regime}.toml", [1])
    start = begun[-1][0]
    if regime == "adversarial":
        assert same(start, parent.model)
    else:
        fresh = eb.networks.build("fnn", seed=1, inputs=2, classes=3, hidden=[6])
        assert same(start, scaled_to_norm(fresh, parameter_norm(parent.model)))


def _copies(models):
    import copy

    return [copy.deepcopy(model) for model in models]


def test_another_seed_is_another_network_on_other_data(folder):
    one, other = train_experiment(folder / "small.toml", [0, 1])
    assert not same(one.model, other.model)
    assert not torch.equal(one.data.train[0], other.data.train[0])


@pytest.mark.parametrize("network", ["[7]", "[6, 6]", "[6]\nactivation = 'tanh'"])
def test_a_start_from_another_architecture_is_refused_before_any_training(
    folder, monkeypatch, network
):
    (folder / "small-random.toml").write_text(RANDOM.replace("[6]", network))
    monkeypatch.setattr(run, "train_many", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(eb.InvalidInputError, match="of the same network; 'small-random' has"):
        train_experiment(folder / "small-adversarial.toml")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("[network]", "noise = -1\n[network]"), "noise must be a number of at least 0"),
        (("hidden = [6]", "hidden = 6"), "config 'small-adversarial': hidden must be a sequence"),
        (
            ("hidden = [6]", "inputs = 3"),
            "config 'small-adversarial': model must take inputs (2, 2)",
        ),
        (("hidden = [6]", "classes = 2"), "config 'small-adversarial': data must have labels from"),
        (('"fnn"\nhidden = [6]', '"cnn"'), "config 'small-adversarial': model must take inputs"),
        (("0.05", "0.05\nloss = 'nll'"), "config 'small-adversarial': model must give log-prob"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_what_it_starts_from_is_trained(
    folder, monkeypatch, change, sentence
):
    (folder / "small-adversarial.toml").write_text(started("adversarial").replace(*change))
    monkeypatch.setattr(run, "train_many", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(eb.InvalidInputError) as error:
        train_experiment(folder / "small-adversarial.toml")
    assert sentence in str(error.value)


@pytest.mark.parametrize("seeds", [3, [], [0, 0], [-1], [0.5], "0"])
def test_seeds_that_are_none_are_refused(folder, seeds):
    with pytest.raises(eb.InvalidInputError, match=r"seeds? must be"):
        train_experiment(folder / "small.toml", seeds)


def test_options_that_replace_those_of_the_data_set_reach_what_training_starts_from(folder):
    (folder / "small-random.toml").write_text(
        RANDOM.replace("gaussian_blobs", "hierarchical").replace("[6]", "[6]\nclasses = 4")
    )
    (folder / "small-large.toml").write_text(started("large_norm") + "")
    asked = []
    trained = train_experiment(
        folder / "small-large.toml",
        overrides={"samples": 60},
        progress=lambda config, *_: asked.append((config.name, config.dataset)),
    )
    assert dict(asked)["small-random"] == {"name": "hierarchical", "samples": 60}
    assert len(trained[0].data.train[1]) == 30


# ---------------------------------------------------------------------------------------- on disk


def test_networks_are_kept_and_taken_from_the_folder(folder, monkeypatch):
    place = folder / "out"
    first = train_experiment(folder / "small-adversarial.toml", [0, 1], folder=place)
    assert sorted(path.name for path in place.iterdir()) == [
        f"small-{kind}-{seed}.safetensors" for kind in ("adversarial", "random") for seed in (0, 1)
    ]
    monkeypatch.setattr(run, "train_many", lambda *a, **k: pytest.fail("trained again"))
    second = train_experiment(folder / "small-adversarial.toml", [0, 1], folder=place)
    for one, other in zip(first, second, strict=True):
        assert same(one.model, other.model)
        assert one.result == other.result


def test_checkpoints_are_kept_too(folder):
    (folder / "small.toml").write_text(SMALL + "checkpoints = [0, 10]\n")
    (first,) = train_experiment(folder / "small.toml", folder=folder / "out")
    (second,) = train_experiment(folder / "small.toml", folder=folder / "out")
    assert list(second.result.checkpoints) == [0, 10]
    for epoch, state in first.result.checkpoints.items():
        for name, tensor in state.items():
            assert torch.equal(tensor, second.result.checkpoints[epoch][name])


def test_a_network_trained_otherwise_is_not_overwritten_unless_forced(folder):
    place = folder / "out"
    (first,) = train_experiment(folder / "small.toml", folder=place)
    (folder / "small.toml").write_text(SMALL.replace("20", "30"))
    with pytest.raises(
        eb.InvalidInputError,
        match=r"small-0\.safetensors' was made with training\.epochs 20, not 30",
    ):
        train_experiment(folder / "small.toml", folder=place)
    (second,) = train_experiment(folder / "small.toml", folder=place, overwrite=True)
    assert (first.result.epochs, second.result.epochs) == (20, 30)


def test_an_interrupted_experiment_goes_on_where_it_stopped(folder):
    def stop(config, epoch, epochs):
        raise KeyboardInterrupt

    place = folder / "out"
    with pytest.raises(KeyboardInterrupt):
        train_experiment(folder / "small.toml", [0, 1], folder=place, progress=stop)
    assert [path.suffixes for path in place.iterdir()] == [[".state", ".safetensors"]]
    seen = []
    train_experiment(
        folder / "small.toml", [0, 1], folder=place, progress=lambda c, at, of: seen.append(at)
    )
    assert seen == [20]
    assert len(list(place.iterdir())) == 2


@pytest.mark.parametrize("changed", ["code", "samples", "weights"])
def test_a_network_by_other_code_or_on_other_samples_is_trained_again_and_kept_aside(
    folder, monkeypatch, caplog, changed
):
    place = folder / "out"
    train_experiment(folder / "small-adversarial.toml", [0, 1], folder=place)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    if changed == "code":
        monkeypatch.setattr(version, "TRAINING_ALGORITHM", -1)
    elif changed == "samples":
        other = eb.datasets.gaussian_blobs
        monkeypatch.setitem(
            eb.datasets.DATASETS, "gaussian_blobs", lambda seed: other(seed=seed, noise=1.1)
        )
    else:
        monkeypatch.setitem(
            eb.networks.NETWORKS, "fnn", lambda **k: scaled_to_norm(eb.networks.fnn(**k), 2.0)
        )
    trained = train_experiment(folder / "small-adversarial.toml", [0, 1], folder=place)
    reason = "by another version's code" if changed == "code" else "from other samples or weights"
    assert len(caplog.records) == 2
    for record, kind in zip(caplog.records, ("adversarial", "random"), strict=True):
        for seed in (0, 1):
            assert f"small-{kind}-{seed}.safetensors' was made {reason}" in record.getMessage()
    aside = {path.name: path.read_bytes() for path in (place / "superseded").iterdir()}
    assert aside == {name.replace(".", "-1."): content for name, content in before.items()}
    caplog.clear()
    monkeypatch.setattr(run, "train_many", lambda *a, **k: pytest.fail("trained again"))
    again = train_experiment(folder / "small-adversarial.toml", [0, 1], folder=place)
    assert not caplog.text
    assert all(same(one.model, other.model) for one, other in zip(trained, again, strict=True))


def test_a_network_is_found_again_where_its_files_have_moved_and_not_where_they_differ(
    folder, monkeypatch, caplog
):
    def from_files(*, seed, directory):
        return eb.datasets.gaussian_blobs(seed=seed, noise=2.0 if directory == "other" else 1.0)

    monkeypatch.setitem(eb.datasets.DATASETS, "gaussian_blobs", from_files)
    for directory in ("here", "there", "other"):
        train_experiment(
            folder / "small.toml", folder=folder / "out", overrides={"directory": directory}
        )
        aside = list((folder / "out").glob("superseded/*"))
        assert len(aside) == (directory == "other")
    assert "was made from other samples or weights" in caplog.text


def test_samples_that_changed_for_the_parent_alone_train_the_child_again_too(folder, monkeypatch):
    (folder / "small-random.toml").write_text(RANDOM.replace("[network]", "noise = 2.0\n[network]"))
    place = folder / "out"
    train_experiment(folder / "small-adversarial.toml", folder=place)
    blobs = eb.datasets.gaussian_blobs
    monkeypatch.setitem(
        eb.datasets.DATASETS,
        "gaussian_blobs",
        lambda seed, noise=1.0: blobs(seed=seed, noise=noise**2),
    )
    train_experiment(folder / "small-adversarial.toml", folder=place)
    assert sorted(path.name for path in (place / "superseded").iterdir()) == [
        "small-adversarial-0-1.safetensors",
        "small-random-0-1.safetensors",
    ]


def test_two_networks_put_aside_do_not_replace_each_other(folder, monkeypatch):
    for code in (1, 2, 3):
        monkeypatch.setattr(version, "TRAINING_ALGORITHM", code)
        train_experiment(folder / "small.toml", folder=folder / "out")
    aside = folder / "out" / "superseded"
    assert sorted(path.name for path in aside.iterdir()) == [
        "small-0-1.safetensors",
        "small-0-2.safetensors",
    ]


def test_an_interrupt_while_training_again_leaves_the_earlier_network_where_it_was(
    folder, monkeypatch
):
    place = folder / "out"
    train_experiment(folder / "small.toml", folder=place)
    before = (place / "small-0.safetensors").read_bytes()
    monkeypatch.setattr(version, "TRAINING_ALGORITHM", -1)
    with pytest.raises(KeyboardInterrupt):
        train_experiment(folder / "small.toml", folder=place, progress=stop_at_once)
    assert (place / "small-0.safetensors").read_bytes() == before


def stop_at_once(*_):
    raise KeyboardInterrupt


def test_a_forced_training_starts_anew_also_what_was_interrupted(folder):
    place, seen = folder / "out", []
    with pytest.raises(KeyboardInterrupt):
        train_experiment(
            folder / "small-adversarial.toml", [0, 1], folder=place, progress=stop_at_once
        )
    assert [path.name for path in place.iterdir()] == [".small-random-seeds-0-1.state.safetensors"]
    train_experiment(
        folder / "small-adversarial.toml",
        [0, 1],
        folder=place,
        overwrite=True,
        progress=lambda config, at, _: seen.append((config.name, at)),
    )
    assert seen == [(name, at) for name in ("small-random", "small-adversarial") for at in (10, 20)]
    assert not list(place.glob(".*"))


@pytest.mark.parametrize("change", ["settings", "code", "damaged"])
def test_an_interrupted_training_that_cannot_go_on_begins_anew_and_says_so(
    folder, monkeypatch, caplog, change
):
    place, seen = folder / "out", []
    with pytest.raises(KeyboardInterrupt):
        train_experiment(folder / "small.toml", [0, 1], folder=place, progress=stop_at_once)
    (state,) = place.iterdir()
    if change == "settings":
        (folder / "small.toml").write_text(SMALL.replace("0.05", "0.06"))
    elif change == "code":
        monkeypatch.setattr(version, "TRAINING_ALGORITHM", -1)
    else:
        state.write_bytes(state.read_bytes()[:100])
    content = state.read_bytes()
    train_experiment(
        folder / "small.toml", [0, 1], folder=place, progress=lambda c, at, of: seen.append(at)
    )
    assert seen == [10, 20]
    assert "the interrupted training of small cannot be taken up" in caplog.text
    (moved,) = (place / "superseded").iterdir()
    assert moved.read_bytes() == content


def test_states_of_many_seeds_have_names_that_a_file_can_have(folder):
    config = load_config(folder / "small.toml")
    one, other = (run.state_file(config, range(n)) for n in (200, 201))
    assert one != other
    assert len(one) < 255


# ----------------------------------------------------------------------------------- command line


def command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_list_names_the_configurations():
    shown = json.loads(command("list", "--json").stdout)
    assert [entry["name"] for entry in shown] == list(config_names())
    assert "blobs-adversarial" in command("list").stdout


def test_train_prints_one_row_a_seed_and_keeps_the_networks(folder, monkeypatch):
    monkeypatch.chdir(folder)
    result = command("train", "small.toml", "--seeds", 2, "--seed", 4, "--json", "-o", "out")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["seed"] for row in rows] == [4, 5]
    assert all((folder / row["file"]).exists() for row in rows)
    table = command("train", "small.toml", "--seeds", 2, "--seed", 4, "-o", "out")
    for row in rows:
        assert f"{row['loss']:.3g}" in table.stdout


def test_train_tells_a_users_mistake_in_one_line(folder):
    result = command("train", "nothing")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: CONFIG must be a .toml file or one of")
    (folder / "file").write_text("")
    result = command("train", folder / "small.toml", "-o", folder / "file")
    assert result.stderr.startswith("Error: --output must be one that can be written to")


def test_a_training_that_diverged_is_valid_json(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "small.toml").write_text(SMALL.replace("0.05", "1e30"))
    result = command("train", "small.toml", "--json")
    (row,) = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(name))
    assert row["loss"] is None
    assert "training diverged" in result.stderr
    assert "–" in command("train", "small.toml").stdout
