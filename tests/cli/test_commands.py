"""The command line: what it prints, writes, refuses, and its exit codes."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import eigenboundary as eb
from eigenboundary.analysis import pipeline
from eigenboundary.cli import app
from eigenboundary.cli import main as command_line
from eigenboundary.cli.tabular import load_csv, load_npz
from eigenboundary.report.words import interval
from eigenboundary.runtime.formats import format_number, percent

MODEL = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3))

ready = build()

class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = build()
    def forward(self, x):
        return {"logits": self.net(x)}

def logits(output):
    return output["logits"]

def broken():
    return {}["layers"]

def number():
    return 3

def wide():
    return nn.Sequential(nn.Linear(2, 7), nn.ReLU(), nn.Linear(7, 3))

def fan(shift=0.0):
    model = nn.Linear(2, 3)
    model.weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    model.bias.data = torch.tensor([0.0, -1.0 + shift, -4.0 + shift])
    return model

def shifted_fan():
    return fan(0.3)

def data():
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(30) % 3

def smooth(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels, reduction="none", label_smoothing=0.1)
"""


COMMAND = (sys.executable, "-c", "from eigenboundary.cli import main; main()")


def filled(folder, monkeypatch):
    """Make a folder the current one, with a model and its data."""
    (folder / "toy_model.py").write_text(MODEL)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 2)).astype(np.float32), np.arange(30) % 3
    np.savez(folder / "train.npz", x=x + y[:, None], y=y)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a model and its data."""
    yield filled(tmp_path, monkeypatch)
    sys.modules.pop("toy_model", None)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def analyze(*arguments, model="toy_model:build", data="train.npz", k=3):
    return run("analyze", model, "--data", data, "--k", k, *arguments)


@pytest.fixture
def nothing_computed(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("computed something")

    monkeypatch.setattr(pipeline, "analyze", fail)


def saved_summary(path):
    """As JSON has it, with lists for tuples."""
    return json.loads(json.dumps(eb.load(path).summary()))


def error_of(result, code=2):
    """The one line on stderr, after `Error: `."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    return lines[0].removeprefix("Error: ")


# --------------------------------------------------------------------------------------- results


def test_json_is_one_object_on_stdout_equal_to_the_saved_analysis(folder):
    result = analyze("--json", "--save", "run.safetensors")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == saved_summary("run.safetensors")
    assert result.stdout.count("\n") == 1
    assert result.stderr == "Saved to run.safetensors\n"


def test_the_command_finds_what_the_library_finds(folder):
    summary = json.loads(analyze("--json", "--dtype", "float64").stdout)
    sys.path.insert(0, str(folder))
    try:
        from toy_model import build
    finally:
        sys.path.remove(str(folder))
    stored = np.load("train.npz")
    direct = eb.analyze(build(), (stored["x"], stored["y"]), k=3, dtype="float64")
    assert summary["eigenvalues"] == pytest.approx(direct.eigenvalues.tolist(), rel=1e-10)
    assert summary["provenance"]["dtype"] == "float64"


def test_the_tables_show_the_numbers_of_the_analysis(folder):
    result = analyze("--save", "run.safetensors")
    found = eb.load("run.safetensors")
    for value in found.eigenvalues:
        assert format_number(value, 4) in result.stdout
    assert interval(found.complexity.effective_number_interval) in result.stdout
    assert percent(found.complexity.mass_outside) in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_show_prints_what_analyze_printed(folder):
    printed = analyze("--save", "run.safetensors").stdout
    assert run("show", "run.safetensors").stdout == printed
    shown = run("show", "run.safetensors", "--json").stdout
    assert json.loads(shown) == saved_summary("run.safetensors")


def test_all_eigenpairs_can_be_asked_for(folder):
    assert len(json.loads(analyze("--json", k="all").stdout)["eigenvalues"]) > 10


def test_pairs_that_did_not_converge_give_exit_code_three_and_are_marked(folder):
    result = analyze(
        "--method", "krylov", "--max-products", 3, "--save", "run.safetensors", "--tolerance", 1e-9
    )
    assert result.exit_code == 3
    assert result.stderr.startswith("Warning: ")
    assert "not converged" in result.stdout
    assert not eb.load("run.safetensors").converged.all()


def test_a_saved_analysis_is_taken_up_again(folder):
    options = ("--method", "krylov", "--dtype", "float64")
    analyze(*options, "--save", "first.safetensors")
    fresh = json.loads(analyze(*options, "--json").stdout)
    resumed = json.loads(analyze(*options, "--json", "--resume", "first.safetensors").stdout)
    assert resumed["eigenvalues"] == pytest.approx(fresh["eigenvalues"], rel=1e-8)
    assert resumed["provenance"]["products"] <= fresh["provenance"]["products"]


def test_an_interrupt_keeps_what_was_found_and_gives_exit_code_130(folder, monkeypatch):
    products = []
    apply = eb.HessianOperator.__matmul__

    def interrupted(self, block):
        products.append(1)
        if len(products) == 25:
            raise KeyboardInterrupt
        return apply(self, block)

    monkeypatch.setattr(eb.HessianOperator, "__matmul__", interrupted)
    result = analyze("--method", "krylov", "--save", "run.safetensors")
    assert result.exit_code == 130
    assert eb.load("run.safetensors").provenance.outcome is eb.Outcome.INTERRUPTED


def test_an_interrupt_before_anything_was_found_says_so(folder, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "analyze", interrupt)
    result = analyze()
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


def test_a_bug_keeps_its_traceback(folder, monkeypatch):
    def bug(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(pipeline, "analyze", bug)
    assert isinstance(analyze().exception, ZeroDivisionError)


def test_options_reach_the_analysis(folder):
    result = analyze(
        "--json", "--curvature", "gauss_newton", "--parameters", "2.*", "--seed", 5,
        "--batch-size", 7, "--method", "dense", "--save", "run.safetensors",
        "--control", "random_directions", "--control", "lowest",
    )  # fmt: skip
    summary = json.loads(result.stdout)
    assert (summary["curvature"], summary["n_parameters"]) == ("gauss_newton", 18)
    assert (summary["provenance"]["solver"], summary["provenance"]["seed"]) == ("dense", 5)
    found = eb.load("run.safetensors")
    assert found.parameter_names == ("2.weight", "2.bias")
    assert set(found.controls) == {"random_directions", "lowest"}


def test_a_memory_limit_is_kept_or_refused(folder):
    assert json.loads(analyze("--json", "--memory-limit", "8 GB").stdout)["n_parameters"] == 33
    refused = analyze("--memory-limit", "lots")
    assert refused.exit_code == 2
    assert "--memory-limit must be a number of bytes or text like '2 GB'" in refused.stderr


def test_verbose_says_what_is_done_and_quiet_says_nothing(folder):
    assert "Info: solver: " in analyze("-v").stderr
    assert analyze("-q", "--save", "run.safetensors").stderr == ""


# ------------------------------------------------------------------------- models and functions


@pytest.mark.parametrize("model", ["toy_model:ready", "toy_model:build"])
def test_a_module_and_a_function_that_builds_it_are_the_same(folder, model):
    assert json.loads(analyze("--json", model=model).stdout)["n_parameters"] == 33


def test_a_class_an_output_hook_a_loss_and_data_can_be_named(folder):
    result = analyze(
        "--json", "--output-hook", "toy_model:logits", "--loss", "toy_model:smooth",
        model="toy_model:Pair", data="toy_model:data",
    )  # fmt: skip
    summary = json.loads(result.stdout)
    assert (summary["loss"], summary["n_samples"]) == ("smooth", 30)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            "toy_model",
            "MODULE:FUNCTION must be given as module:function, e.g. my_model:build; got "
            "'toy_model'.",
        ),
        (
            "toy_modle:build",
            "MODULE:FUNCTION must name a module in the current folder or an installed one; there "
            "is no 'toy_modle'.",
        ),
        (
            "toy_model.py:build",
            "MODULE:FUNCTION must name a module in the current folder or an installed one; there "
            "is no 'toy_model.py' (without the .py: 'toy_model').",
        ),
        (
            "toy_model:biuld",
            "MODULE:FUNCTION must name something in 'toy_model'; it has no 'biuld' (there is "
            "'build').",
        ),
        (
            "toy_model:broken",
            "MODULE:FUNCTION must work when called without arguments; 'toy_model:broken' raised "
            "KeyError: 'layers' (toy_model.py:22).",
        ),
        (
            "toy_model:number",
            "MODULE:FUNCTION must return a torch.nn.Module; 'toy_model:number' returned an int.",
        ),
        (
            "toy_model:__name__",
            "MODULE:FUNCTION must be a function or a torch.nn.Module; 'toy_model:__name__' is a "
            "str.",
        ),
    ],
)
def test_a_model_that_cannot_be_had_is_one_sentence(folder, model, sentence):
    assert error_of(analyze(model=model)) == sentence


def test_a_module_that_fails_to_import_is_one_sentence(folder):
    (folder / "bad_import.py").write_text("import not_a_package\n")
    (folder / "bad_syntax.py").write_text("def f(:\n")
    (folder / "exits.py").write_text("raise SystemExit(1)\n")
    assert "'bad_import' itself imports 'not_a_package', which is not installed." in error_of(
        analyze(model="bad_import:f")
    )
    assert "'bad_syntax' has a SyntaxError: " in error_of(analyze(model="bad_syntax:f"))
    assert "'exits' raised SystemExit: 1 (exits.py:1)." in error_of(analyze(model="exits:f"))


def test_verbose_shows_where_a_factory_failed(folder):
    result = analyze("-v", model="toy_model:broken")
    assert "Traceback" in result.stderr
    assert 'return {}["layers"]' in result.stderr


# --------------------------------------------------------------------------------------- weights


@pytest.fixture
def state():
    layers = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    return layers.state_dict()


def fingerprint(*arguments):
    return json.loads(analyze("--json", *arguments).stdout)["provenance"]["fingerprint"]


def test_weights_are_read_from_either_format_nested_or_wrapped(folder, state):
    save_file(state, "w.safetensors")
    torch.save(state, "plain.pt")
    torch.save({"epoch": 3, "model_state_dict": state}, "checkpoint.pt")
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, "parallel.pt")
    found = {
        fingerprint("--weights", name)
        for name in ("w.safetensors", "plain.pt", "checkpoint.pt", "parallel.pt")
    }
    assert len(found) == 1
    assert found != {fingerprint()}


def test_weights_of_another_network_are_one_sentence(folder, state):
    save_file(state, "w.safetensors")
    assert error_of(analyze("--weights", "w.safetensors", model="toy_model:wide")) == (
        "--weights must fit the model; 'w.safetensors': 0.weight has shape (5, 2) where the "
        "model's has (7, 2), 0.bias has shape (5,) where the model's has (7,), 2.weight has shape "
        "(3, 5) where the model's has (3, 7)."
    )
    save_file({"0.weight": state["0.weight"], "head": state["2.bias"]}, "other.safetensors")
    assert error_of(analyze("--weights", "other.safetensors")) == (
        "--weights must fit the model; 'other.safetensors': lacks 0.bias, 2.weight, 2.bias, has "
        "head that the model has not."
    )


def test_weights_that_are_missing_damaged_or_pickled_code_are_one_sentence(folder, state):
    assert error_of(analyze("--weights", "none.pt")) == (
        "--weights must be an existing file; 'none.pt' is none."
    )
    save_file(state, "cut.safetensors")
    cut = folder / "cut.safetensors"
    cut.write_bytes(cut.read_bytes()[:-20])
    torch.save(state, "cut.pt")
    (folder / "cut.pt").write_bytes((folder / "cut.pt").read_bytes()[:300])
    torch.save(torch.nn.Linear(2, 3), "whole.pt")
    torch.save([1, 2], "list.pt")
    for name, said in {
        "cut.safetensors": "must be a .safetensors file with a state dict; 'cut.safetensors'",
        "cut.pt": "must be a file of torch.save with a state dict; 'cut.pt' cannot be read",
        "whole.pt": "(it holds more than tensors; save model.state_dict() alone).",
        "list.pt": "(it holds a list with other things than tensors).",
    }.items():
        assert said in error_of(analyze("--weights", name))


# ------------------------------------------------------------------------------------------ data


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("none.npz", "--data must be an existing file; 'none.npz' is none."),
        ("toy", "--data must be a .npz file, a .csv file or module:function; got 'toy'."),
    ],
)
def test_data_that_do_not_exist_are_one_sentence(folder, data, sentence):
    assert error_of(analyze(data=data)) == sentence


def test_a_truncated_npz_is_one_sentence(folder):
    cut = folder / "train.npz"
    cut.write_bytes(cut.read_bytes()[:200])
    assert error_of(analyze()).startswith(
        "--data must be a file that numpy.savez wrote; 'train.npz' is not, or is damaged ("
    )


def test_an_npz_with_pickled_objects_is_refused(folder):
    np.savez("objects.npz", x=np.array([{}, {}], dtype=object), y=np.arange(2))
    assert error_of(analyze(data="objects.npz")).endswith("(it holds Python objects).")
    (folder / "text.npz").write_text("x,y\n1,2\n")
    assert error_of(analyze(data="text.npz")).endswith("(it is no archive of arrays).")


def test_an_npz_with_other_arrays_says_what_it_holds(folder):
    np.savez("other.npz", images=np.zeros((3, 2)), targets=np.zeros(3))
    assert error_of(analyze(data="other.npz")) == (
        "--data must hold arrays x and y (or X and y, or x_train and y_train); 'other.npz' holds "
        "images, targets."
    )


@pytest.mark.parametrize("names", [("x", "y"), ("X", "y"), ("x_train", "y_train")])
def test_an_npz_may_name_its_arrays_in_the_usual_ways(folder, names):
    np.savez("named.npz", **dict(zip(names, (np.eye(3), np.arange(3)), strict=True)))
    x, y = load_npz(folder / "named.npz").data
    assert x.tolist() == np.eye(3).tolist()
    assert y.tolist() == [0, 1, 2]


def test_labels_out_of_range_are_one_sentence(folder):
    stored = np.load("train.npz")
    np.savez("ones.npz", x=stored["x"], y=stored["y"] + 1)
    assert error_of(analyze(data="ones.npz")) == (
        "--data must hold labels from 0 to 2, for the model's 3 outputs; got labels from 1 to 3."
    )


def test_a_csv_with_words_for_labels_is_analysed_and_the_numbering_said(folder):
    stored = np.load("train.npz")
    words = np.array(["apple", "banana", "cherry"])[stored["y"]]
    rows = [f"{a},{b},{word}" for (a, b), word in zip(stored["x"].tolist(), words, strict=True)]
    (folder / "fruit.csv").write_text("\n".join(["length,width,fruit", *rows]))
    result = analyze("--json", data="fruit.csv")
    assert result.stderr == (
        "Warning: labels are words and were numbered in sorted order: apple = 0, banana = 1, "
        "cherry = 2\n"
    )
    expected = json.loads(analyze("--json").stdout)
    assert json.loads(result.stdout)["eigenvalues"] == pytest.approx(
        expected["eigenvalues"], rel=1e-4
    )


@pytest.mark.parametrize(
    ("text", "features", "labels"),
    [
        ("1.5,2,0\n3,4,1\n", [[1.5, 2], [3, 4]], [0, 1]),
        ("a,b,c\n1,2,1\n3,4,0\n", [[1, 2], [3, 4]], [1, 0]),
        ("Target,a,b\n1,2,3\n0,5,6\n", [[2, 3], [5, 6]], [1, 0]),
        (" a , class\n1, no\n3, yes\n", [[1], [3]], [0, 1]),
        (",a,y\n0,7,1\n1,8,0\n", [[7], [8]], [1, 0]),
        ("1,2,x\n3,4,w\n", [[1, 2], [3, 4]], [1, 0]),
    ],
    ids=["no header", "header", "named label", "spaces", "row numbers", "words, no header"],
)
def test_a_csv_is_read_with_or_without_a_header(tmp_path, text, features, labels):
    path = tmp_path / "t.csv"
    path.write_text(text)
    x, y = load_csv(path).data
    assert x.tolist() == features
    assert y.tolist() == labels
    assert y.dtype == np.int64


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as one (No columns to parse from file)."),
        ("a,b\n1,2\n1,2,3\n", "cannot be read as one (Error tokenizing data."),
        ("1\n2\n", "has 2 rows of 1 columns."),
        ("a,b,y\nred,1,0\nblue,2,1\n", "has others in column a."),
        ("a,y\n1,0\n2,\n", "has 1 rows without one in column y."),
    ],
)
def test_a_csv_that_is_no_table_of_samples_is_one_sentence(folder, text, said):
    (folder / "t.csv").write_text(text)
    assert said in error_of(analyze(data="t.csv"))


def test_a_csv_with_holes_is_refused_by_the_analysis(folder):
    (folder / "t.csv").write_text("a,b,y\n1,,0\n2,3,1\n")
    assert error_of(analyze(data="t.csv")) == ("--data must be finite; 1 input(s) hold NaN or inf.")


# --------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("option", ["--save", "--report"])
def test_an_output_that_exists_is_not_overwritten_and_nothing_computed(
    folder, option, nothing_computed
):
    (folder / "mine").write_text("mine")
    assert error_of(analyze(option, "mine")) == (
        f"{option} must be a new file unless --force is given; 'mine' exists."
    )
    assert (folder / "mine").read_text() == "mine"


def test_outputs_that_cannot_be_written_are_found_before_computing(folder, nothing_computed):
    assert error_of(analyze("--save", "no/run.safetensors")) == (
        "--save must be in an existing folder; 'no' does not exist."
    )
    assert error_of(analyze("--report", folder, "--force")) == (
        f"--report must be a file; {str(folder)!r} is a folder."
    )
    assert error_of(analyze("--save", "a", "--report", "./a")) == (
        "--save and --report must be two files; got 'a' for both."
    )
    assert error_of(analyze("--save", "train.npz", "--force")) == (
        "--save must not be one of the files that are read; got 'train.npz'."
    )


def test_force_overwrites(folder):
    (folder / "run.safetensors").write_text("old")
    assert analyze("--save", "run.safetensors", "--force").exit_code == 0
    assert eb.load("run.safetensors").k == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--k", "many"), "--k must be an integer of at least 1, 'all' or 'auto'; got 'many'."),
        (("--k", "0"), "--k must be an integer of at least 1, 'all' or 'auto'; got '0'."),
        (("--k", "34"), "--k must be at most p = 33, the matrix' size; got 34."),
        (
            ("--curvature", "fisher"),
            "--curvature must be one of 'hessian', 'gauss_newton'; got 'fisher'.",
        ),
        (("--dtype", "float16"), "--dtype must be float32 or float64; got 'float16'."),
        (("--tolerance", "2"), "--tolerance must be a number between 0 and 1; got 2.0."),
        (
            ("--parameters", "head.*"),
            "--parameters must match a trainable parameter by name; 'head.*' matches none of "
            "0.weight, 0.bias, 2.weight, 2.bias.",
        ),
        (
            ("--resume", "none.safetensors"),
            "--resume must be an existing analysis file; 'none.safetensors' is none.",
        ),
    ],
)
def test_a_bad_option_is_one_sentence(folder, options, sentence):
    assert error_of(analyze(*options)) == sentence


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("analyze", "m:f", "--colour", "red"), "No such option: --colour"),
        (("analyze", "m:f"), "Missing option '--data'"),
        (("analyze", "m:f", "--data", "d.npz", "--seed", "-1"), "Invalid value for '--seed'"),
        (("analyse",), "No such command 'analyse'"),
    ],
)
def test_arguments_that_cannot_be_read_are_one_line_and_exit_code_two(
    monkeypatch, capsys, arguments, said
):
    monkeypatch.setattr(sys, "argv", ["eigenboundary", *arguments])
    with pytest.raises(SystemExit) as ended:
        command_line()
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("Error: ")
    assert said in line
    assert line.count("\n") == 1


def test_a_failing_output_hook_is_not_blamed_on_the_model(folder):
    text = error_of(analyze("--output-hook", "toy_model:logits"))
    assert text.startswith("--output-hook must turn what the model returns, a (8, 3) tensor, into")


def test_weights_of_another_kind_of_number_are_refused(folder):
    shapes = {"0.weight": (5, 2), "0.bias": (5,), "2.weight": (3, 5), "2.bias": (3,)}
    state = {name: torch.ones(shape, dtype=torch.int32) for name, shape in shapes.items()}
    save_file(state, "int.safetensors")
    assert "0.weight holds int32 where the model's holds float32" in error_of(
        analyze("--weights", "int.safetensors")
    )


def test_show_refuses_a_truncated_or_missing_analysis(folder):
    analyze("--save", "run.safetensors")
    whole = (folder / "run.safetensors").read_bytes()
    (folder / "run.safetensors").write_bytes(whole[: len(whole) // 2])
    assert error_of(run("show", "run.safetensors")).startswith(
        "RUN must be a file written by Analysis.save; 'run.safetensors' is not, or is damaged ("
    )
    assert error_of(run("show", "none")) == (
        "RUN must be an existing analysis file; 'none' is none."
    )


# ------------------------------------------------------------------------------ report and demo


@pytest.fixture
def written_reports(monkeypatch):
    """Stands in for the report's writer, which has its own tests."""
    written = {}

    def write_report(analyses, path, *, title=None, overwrite=False):
        written[str(path)] = (dict(analyses), overwrite)

    monkeypatch.setattr("eigenboundary.cli.commands.write_report", write_report)
    return written


def test_reports_are_made_from_the_analysis_or_the_saved_file(folder, written_reports):
    analyze("--save", "run.safetensors", "--report", "a.html")
    result = run("show", "run.safetensors", "--report", "b.html")
    assert result.stderr == "Report: b.html\n"
    (a, _), (b, _) = written_reports["a.html"], written_reports["b.html"]
    assert a["run"].summary() == b["b"].summary()


def test_the_demo_prints_one_row_a_network_and_makes_one_report(
    tmp_path, monkeypatch, written_reports
):
    from dataclasses import replace

    from eigenboundary.experiments import demo

    quick = {"epochs": 10, "learning_rate": 0.1}
    runs = tuple(
        replace(r, training_options=quick, network_options={**r.network_options, "hidden": (6,)})
        for r in demo.RUNS
        if r.name != "digits"
    )
    monkeypatch.setattr(demo, "RUNS", runs)
    monkeypatch.setattr(demo, "_CONTROLS", ())
    without_margins = partial(demo.analyze, grid=10)
    monkeypatch.setattr(demo, "analyze", lambda *a, margins, **k: without_margins(*a, **k))
    monkeypatch.chdir(tmp_path)
    result = run("demo", "--output", "out")
    assert result.exit_code == 0, result.output
    (analyses, overwrite) = written_reports["out/report.html"]
    assert list(analyses) == [r.title for r in runs]
    assert overwrite
    for analysis in analyses.values():
        assert format_number(analysis.eigenvalues[0]) in result.stdout
        assert percent(analysis.complexity.mass_outside) in result.stdout
    assert "Report: out/report.html" in result.stderr
    again = run("demo", "--output", "out")
    assert "Taken from an earlier run" in again.stderr
    assert again.stdout == result.stdout


def test_the_demo_keeps_a_report_that_is_not_its_own(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    assert error_of(run("demo", "--output", tmp_path)).startswith(
        "--output must be an empty folder or an earlier demo's unless --force is given; "
    )
    assert (tmp_path / "report.html").read_text() == "mine"


# ------------------------------------------------------------------------------------- processes


def test_help_names_the_commands_and_exit_codes():
    result = run("--help")
    assert result.exit_code == 0
    for word in ("demo", "analyze", "show", "130"):
        assert word in result.stdout
    flat = re.sub(r"\s+", " ", run("analyze", "--help").stdout)
    assert "3 the analysis is complete, but some eigenpairs did not converge" in flat


def test_the_installed_command_prints_json_alone_even_where_warnings_are_said(folder):
    np.savez("words.npz", x=np.load("train.npz")["x"], y=np.array(["a", "b", "c"] * 10))
    done = subprocess.run(
        [*COMMAND, "analyze", "toy_model:build", "--data", "words.npz", "--k", "2", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["eigenvalues"]) == 2
    assert done.stderr.startswith("Warning: labels are words")


def test_the_command_prints_where_the_terminal_has_no_greek(folder, monkeypatch):
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    arguments = ["analyze", "toy_model:build", "--data", "train.npz", "--k", "2"]
    monkeypatch.setattr(sys, "argv", ["eigenboundary", *arguments])
    with pytest.raises(SystemExit) as ended:
        command_line()
    assert not ended.value.code
    sys.stdout.flush()
    assert b"effective number" in printed.getvalue()
    assert b"?" in printed.getvalue()


@pytest.fixture(scope="module")
def saved_runs(tmp_path_factory):
    """A folder with analyses of two networks on the same samples, with margins."""
    options = ("--margins", "--test-data", "train.npz", "--save")
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = filled(tmp_path_factory.mktemp("runs"), monkeypatch)
        one = analyze(*options, "one.safetensors", model="toy_model:fan")
        assert one.exit_code == 0, one.output
        two = analyze(*options, "two.safetensors", model="toy_model:shifted_fan")
        assert two.exit_code == 0, two.output
    sys.modules.pop("toy_model", None)
    return folder


@pytest.fixture
def two_runs(saved_runs, folder, monkeypatch):
    """The current folder with the two analyses in it; pictures are coarse."""
    monkeypatch.setattr("eigenboundary.report.pictures.PNG_DPI", 20)
    for name in ("one.safetensors", "two.safetensors"):
        shutil.copy(saved_runs / name, folder)
    return folder


def test_margins_and_test_accuracy_are_shown_saved_and_reported(two_runs):
    shown = run("show", "one.safetensors", "--report", "one.html")
    analysis = eb.load("one.safetensors")
    assert format_number(analysis.smallest_margin.value, 4) in shown.stdout
    for section in analysis.sections:
        assert format_number(section.margin, 4) in shown.stdout
    assert analysis.test_accuracy == analysis.accuracy
    page = (two_runs / "one.html").read_text()
    assert "Sections of the boundary" in page
    assert f"#{analysis.sections[0].sample_index}" in page
    found = json.loads(run("show", "one.safetensors", "--json").stdout)
    assert found["smallest_margin"]["value"] == analysis.smallest_margin.value
    assert [row["i"] for row in found["sections"]] == [1, 2, 3]


def test_pictures_are_written_to_a_folder_that_is_new_or_forced(two_runs):
    (two_runs / "drawn").mkdir()
    (two_runs / "drawn" / "spectrum.pdf").write_text("old")
    assert error_of(run("show", "one.safetensors", "--pictures", "drawn")).startswith(
        "--pictures must be a new or empty folder, or overwriting be allowed; 'drawn' holds files"
    )
    shown = run("show", "one.safetensors", "--pictures", "drawn", "--force")
    assert shown.exit_code == 0, shown.output
    made = {path.name for path in (two_runs / "drawn").iterdir()}
    assert {"class-pairs.png", "class-pairs.pdf", "margins.png", "spectrum.pdf"} <= made
    assert f"Pictures: {len(made)} files in drawn" in shown.stderr
    assert (two_runs / "drawn" / "spectrum.pdf").read_bytes().startswith(b"%PDF")
    assert error_of(run("show", "one.safetensors", "--pictures", "one.safetensors")) == (
        "--pictures must be a folder; 'one.safetensors' is a file."
    )
    analysed = analyze("--pictures", "also", model="toy_model:fan")
    assert analysed.exit_code == 0, analysed.output
    assert (two_runs / "also" / "spectrum.png").exists()


def test_compare_says_which_is_better_and_why(two_runs):
    result = run("compare", "one.safetensors", "b=two.safetensors", "--report", "c.html")
    expected = eb.compare({"one": eb.load("one.safetensors"), "b": eb.load("two.safetensors")})
    assert result.exit_code == 0, result.output
    assert expected.verdict in result.stdout
    assert expected.verdict in (two_runs / "c.html").read_text()
    found = json.loads(run("compare", "one.safetensors", "b=two.safetensors", "--json").stdout)
    assert found["best"] == expected.best
    assert found["front"] == list(expected.front)
    assert found["reasons"] == list(expected.reasons)
    assert found["differences"] == expected.differences.to_dict(orient="records")
    assert found["networks"]["b"]["smallest_margin"] == pytest.approx(
        expected.table.loc["b", "smallest_margin"]
    )
    drawn = run("compare", "one.safetensors", "two.safetensors", "--picture", "c.png")
    assert drawn.exit_code == 0, drawn.output
    assert (two_runs / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("one.safetensors",), "RUN must be given at least twice; got 'one.safetensors'."),
        (("one.safetensors", "one.safetensors"), "'one' came twice"),
        (("one.safetensors", "no.safetensors"), "RUN must be an existing analysis file"),
        (("one.safetensors", "two.safetensors", "--picture", "c.gif"), "--picture must end in"),
        (("one.safetensors", "two.safetensors", "--picture", "one.safetensors"), "must end in"),
        (("one.safetensors", "two.safetensors", "--report", "one.safetensors"), "exists"),
    ],
)
def test_compare_refuses_what_it_cannot_use(two_runs, arguments, said):
    result = run("compare", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr.replace("\n", " ")


def test_margins_outside_the_box_and_unreadable_test_data_are_named(folder):
    boxed = analyze("--margins", "--box", 0, 1, model="toy_model:fan")
    assert "--data must lie in the box" in boxed.stderr
    assert "predicts class 1 for all 30" in analyze("--margins").stderr
    assert "--test-data must be an existing file" in analyze("--test-data", "no.npz").stderr
