"""Names: options in errors, classes and features in tables."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import eigenboundary as eb
from eigenboundary.analysis import pipeline
from eigenboundary.cli import app
from eigenboundary.cli.tabular import from_object, load_csv, load_npz
from eigenboundary.cli.terminal import options_named

MODULE = """
import pandas as pd
import torch
from torch.utils.data import DataLoader

def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))

def single():
    return DataLoader(torch.zeros(12, 2), batch_size=4)

def unlabelled():
    return DataLoader([{"x": torch.zeros(2)} for _ in range(12)], batch_size=4)

def wide():
    return torch.randn(12, 5), torch.arange(12) % 3

def frame():
    x = pd.DataFrame(torch.randn(12, 2).numpy(), columns=["length", "width"])
    kinds = pd.Categorical(["fig", "date", "apple"] * 4, categories=["date", "apple", "fig"])
    return x, pd.Series(kinds, name="fruit")
"""

CSV = "length,width,fruit\n" + "".join(
    f"{i},{i * i % 7},{('apple', 'banana', 'cherry')[i % 3]}\n" for i in range(12)
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a model and a table of fruit."""
    (tmp_path / "toy.py").write_text(MODULE)
    (tmp_path / "fruit.csv").write_text(CSV)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("toy", None)


def analyze(*arguments, data="fruit.csv"):
    command = ["analyze", "toy:build", "--data", data, "--k", "2", *map(str, arguments)]
    return CliRunner().invoke(app, command)


# ------------------------------------------------------------------------------ names of options


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("data", "--data"),
        ("data['x']", "--data['x']"),
        ("data's labels", "--data's labels"),
        ("each batch of test_data", "each batch of --test-data"),
        ("complexity_tolerance", "--complexity-tolerance"),
        ("model", "MODULE:FUNCTION"),
        ("output", "--output-hook"),
        ("path", "--save"),
        ("--k", "--k"),
        ("config 'x': data", "config 'x': data"),
        ("database", "database"),
    ],
)
def test_an_error_names_the_option(name, option):
    with pytest.raises(eb.InvalidInputError) as renamed, options_named(path="--save"):
        raise eb.InvalidInputError(name, "be good", "bad")
    assert str(renamed.value) == f"{option} must be good; got bad."


def test_a_loader_of_wrong_batches_is_the_data_option(folder):
    assert analyze(data="toy:single").stderr.startswith("Error: each batch of --data must be")
    assert analyze(data="toy:unlabelled").stderr.startswith("Error: each batch of --data must be")
    tested = analyze("--test-data", "toy:single")
    assert "Error: each batch of --test-data must be a pair" in tested.stderr


def test_test_data_of_another_width_is_the_test_data_option(folder):
    result = analyze("--test-data", "toy:wide")
    assert result.exit_code == 2
    said = result.stderr.splitlines()[-1]
    assert said == "Error: --test-data must hold inputs of one shape, (2,); got (5,)."


def test_broken_files_are_named_by_the_option_they_were_given_to(folder):
    (folder / "bad.csv").write_text("a,b,y\nred,1,0\n")
    np.savez("bad.npz", a=np.zeros(2))
    for name in ("bad.csv", "bad.npz"):
        assert (
            analyze("--test-data", name)
            .stderr.splitlines()[-1]
            .startswith("Error: --test-data must")
        )
        assert analyze(data=name).stderr.startswith("Error: --data must")


# ------------------------------------------------------------- names of the classes and features


def test_a_csv_gives_the_names_of_its_classes_and_features(folder):
    samples = load_csv(folder / "fruit.csv")
    assert samples.class_names == ("apple", "banana", "cherry")
    assert samples.feature_names == ("length", "width")
    (folder / "numbers.csv").write_text("1,2,0\n3,4,1\n")
    plain = load_csv(folder / "numbers.csv")
    assert (plain.class_names, plain.feature_names) == ((), ())


def test_words_are_numbered_in_the_order_of_known_names(folder):
    names = ("cherry", "banana", "apple")
    samples = load_csv(folder / "fruit.csv", names)
    assert samples.class_names == names
    assert samples.data[1][:3].tolist() == [2, 1, 0]
    with pytest.raises(eb.InvalidInputError, match="only the labels plum; it has 'apple', 'ban"):
        load_csv(folder / "fruit.csv", ("plum",))


def test_an_npz_may_hold_names(folder):
    np.savez(
        "named.npz", x=np.eye(2), y=np.array([1, 0]), class_names=["a", "b"], feature_names=["p"]
    )
    samples = load_npz(folder / "named.npz")
    assert (samples.class_names, samples.feature_names) == (("a", "b"), ("p",))
    np.savez("words.npz", x=np.eye(2), y=np.array(["t", "s"]))
    assert load_npz(folder / "words.npz").class_names == ("s", "t")


def test_pandas_columns_and_categories_are_names():
    x = pd.DataFrame({"p": [1.0, 2.0, 3.0], "q": [0, 1, 0]})
    kinds = pd.Categorical(["b", "a", "b"], categories=["b", "a"])
    samples = from_object((x, pd.Series(kinds)))
    assert (samples.class_names, samples.feature_names) == (("b", "a"), ("p", "q"))
    assert samples.data[0].tolist() == [[1, 0], [2, 1], [3, 0]]
    assert samples.data[1].tolist() == [0, 1, 0]
    loader = object()
    assert from_object(loader).data is loader


def test_test_data_are_numbered_as_the_training_samples(folder):
    """Words that lack a class are not numbered anew."""
    part = [line for line in CSV.splitlines() if not line.endswith("apple")]
    (folder / "test.csv").write_text("\n".join(part))
    whole = json.loads(analyze("--json", "--test-data", "fruit.csv").stdout)
    assert whole["test_accuracy"] == whole["accuracy"]
    labelled = analyze("--save", "run.safetensors", "--test-data", "test.csv")
    assert labelled.exit_code == 0, labelled.output
    found = eb.load("run.safetensors")
    rest = found.labels != 0
    expected = np.mean(found.predictions[rest] == found.labels[rest])
    assert found.test_accuracy == pytest.approx(expected)


@pytest.fixture
def received(monkeypatch):
    """The names that the command hands to an analysis, which takes them."""
    names = {}
    compute = pipeline.analyze

    def recorded(*arguments, class_names=None, feature_names=None, **options):
        names.update(class_names=class_names, feature_names=feature_names)
        return compute(*arguments, **options)

    monkeypatch.setattr(pipeline, "analyze", recorded)
    return names


@pytest.mark.parametrize(
    ("arguments", "data", "classes", "features"),
    [
        ((), "fruit.csv", ("apple", "banana", "cherry"), ("length", "width")),
        ((), "toy:frame", ("date", "apple", "fig"), ("length", "width")),
        (
            ("--class-names", "cherry, banana,apple", "--feature-names", "l,w"),
            "fruit.csv",
            ("cherry", "banana", "apple"),
            ("l", "w"),
        ),
        ((), "plain.npz", None, None),
        (("--class-names", "a,b,c"), "plain.npz", ("a", "b", "c"), None),
    ],
)
def test_names_reach_the_analysis(folder, received, arguments, data, classes, features):
    np.savez("plain.npz", x=np.random.default_rng(0).normal(size=(9, 2)), y=np.arange(9) % 3)
    result = analyze(*arguments, data=data)
    assert result.exit_code == 0, result.output
    assert received == {"class_names": classes, "feature_names": features}


def test_tables_show_the_names_of_the_classes(folder):
    assert analyze("--save", "run.safetensors", "--margins").exit_code == 0
    shown = CliRunner().invoke(app, ["show", "run.safetensors"]).stdout
    found = eb.load("run.safetensors")
    assert found.class_names == ("apple", "banana", "cherry")
    for index in range(found.k):
        assert found.sides(index) in shown
        assert " | ".join(map(found.class_name, found.sections[index].classes)) in shown
    assert any(name in found.sides(0) for name in found.class_names)
