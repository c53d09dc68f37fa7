"""The options of the commands: their names, types, help and completion."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

CURVATURES = ("hessian", "gauss_newton")
LOSSES = ("cross_entropy", "nll", "mse")
METHODS = ("auto", "dense", "gram", "krylov", "range")
DTYPES = ("float32", "float64")
CONTROLS = ("lowest", "random_eigenvectors", "random_directions")
FIGURES = (*(f"fig{i}" for i in range(1, 7)), "appendix", "all")
CORES = os.cpu_count() or 1

_CONFIGS = Path(__file__).parents[1] / "experiments" / "configs"


def config_files(incomplete: str) -> list[str]:
    """Complete the name of an experiment, without importing the experiments."""
    return sorted(path.stem for path in _CONFIGS.glob(f"{incomplete}*.toml"))


def _completion(values: tuple[str, ...]) -> dict[str, Any]:
    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return {"autocompletion": complete} if values else {}


def _option(
    help: str, metavar: str | None = None, values: tuple[str, ...] = (), *names: str, **more: Any
) -> Any:
    option: Any = typer.Option
    metavar = "INTEGER" if "min" in more else metavar
    return option(*names, help=help, metavar=metavar, **_completion(values), **more)


def _flag(help: str, *names: str) -> Any:
    return typer.Option(*names, help=help)


def _argument(help: str, metavar: str, **more: Any) -> Any:
    return typer.Argument(help=help, metavar=metavar, show_default=False, **more)


def _or(values: tuple[str, ...]) -> str:
    *first, last = (f"'{value}'" for value in values)
    return f"{', '.join(first)} or {last}"


# ------------------------------------------------------------------------- of several commands

AsJson = Annotated[bool, _flag("Print one JSON object on stdout and nothing else.", "--json")]
Directory = Annotated[Path | None, _option("Folder with the files of MNIST or CIFAR-10.", "DIR")]
Folder = Annotated[Path, _option("Folder for the results.", "DIR", (), "--output", "-o")]
Force = Annotated[bool, _flag("Overwrite files that exist.", "--force")]
Recompute = Annotated[bool, _flag("Compute again what the folder holds.", "--force")]
Pictures = Annotated[Path | None, _option("Write the pictures here, as PNG and PDF.", "DIR")]
Quiet = Annotated[bool, _flag("Print only results and errors.", "--quiet", "-q")]
Report = Annotated[Path | None, _option("Write a self-contained HTML report here.", "HTML")]
Seed = Annotated[int, _option("Seed of all random numbers.", min=0)]
Verbose = Annotated[bool, _flag("Log what is computed.", "--verbose", "-v")]

# ------------------------------------------------------------------------------------- analyze

Model = Annotated[
    str,
    _argument(
        "The trained network, or a function that returns it. The current folder is searched first.",
        "MODULE:FUNCTION",
    ),
]
Data = Annotated[
    str,
    _option(
        "The training samples: .npz with x and y; .csv with the label in the column 'label', "
        "'target', 'y' or 'class', or else in the last one; or MODULE:FUNCTION that returns a "
        "Dataset, a DataLoader or (x, y).",
        "FILE",
    ),
]
Weights = Annotated[
    Path | None, _option("State dict to load: .safetensors, or a file of torch.save.", "FILE")
]
ClassNames = Annotated[
    str | None,
    _option("Names of the classes 0, 1, …; default: the words that the data hold.", "A,B,..."),
]
FeatureNames = Annotated[
    str | None, _option("Names of the features; default: the data's columns.", "A,B,...")
]
Eigenpairs = Annotated[
    str,
    _option(
        "Number of eigenpairs, 'all', or 'auto' for as many as hold the boundary.",
        "INTEGER",
        ("auto", "all"),
        *("--k", "-k"),
    ),
]
Curvature = Annotated[str, _option(f"{_or(CURVATURES)}.", "NAME", CURVATURES)]
LossName = Annotated[
    str,
    _option(
        "'cross_entropy' (of logits), 'nll' (of log-probabilities), 'mse', or MODULE:FUNCTION "
        "that maps (outputs, labels) to one loss a sample.",
        *("NAME", LOSSES),
    ),
]
OutputHook = Annotated[
    str | None,
    _option("Function that maps what the model returns to (n, C) outputs.", "MODULE:FUNCTION"),
]
Parameters = Annotated[
    list[str] | None,
    _option(
        "Analyse only parameters of matching names, e.g. 'head.*'; may be repeated.", "PATTERN"
    ),
]
Dtype = Annotated[str | None, _option(f"{_or(DTYPES)}; default: the model's.", "NAME", DTYPES)]
Device = Annotated[
    str | None, _option("Device, e.g. 'cuda'; default: the model's.", "NAME", ("cpu", "cuda"))
]
BatchSize = Annotated[
    int | None, _option("Most samples in a batch; default: what the memory holds.", min=1)
]
MemoryLimit = Annotated[str | None, _option("Most memory to use, e.g. '2 GB'.", "SIZE")]
Method = Annotated[str, _option(f"Eigensolver: {_or(METHODS)}.", "NAME", METHODS)]
Tolerance = Annotated[float | None, _option("Relative residual of converged pairs.", "NUMBER")]
MaxProducts = Annotated[int | None, _option("Most matrix–vector products.", min=1)]
ComplexityTolerance = Annotated[
    float | None,
    _option("Find as many eigenpairs as bring the interval of G_θ to this width.", "NUMBER"),
]
Epsilon = Annotated[
    float | None,
    _option("ε of that G_θ, the least mean |A| that counts; default: 0.001.", "NUMBER"),
]
Controls = Annotated[
    list[str] | None,
    _option(f"Compare with {_or(CONTROLS)}; may be repeated.", "KIND", CONTROLS, "--control"),
]
Margins = Annotated[
    bool, _flag("Find the boundary's section of each eigenvector, and its margin.", "--margins")
]
Bulk = Annotated[bool, _flag("Estimate the trace and the density of the spectrum.", "--bulk")]
Box = Annotated[
    tuple[float, float] | None, _option("Range of the entries of inputs, e.g. 0 1.", "LOW HIGH")
]
TestData = Annotated[
    str | None,
    _option("Samples not trained on, given like --data, to measure the accuracy on.", "FILE"),
]
Resume = Annotated[Path | None, _option("Start from a saved analysis' eigenvectors.", "RUN")]
Save = Annotated[Path | None, _option("Save the analysis here, as .safetensors.", "RUN")]

# ------------------------------------------------------------------------------ other commands

Config = Annotated[
    str,
    _argument(
        "An experiment (see `list`), or a .toml file.", "CONFIG", autocompletion=config_files
    ),
]
FirstSeed = Annotated[int, _option("The first seed.", min=0)]
TrainedSeeds = Annotated[int, _option("Number of networks, with consecutive seeds.", min=1)]
ClaimSeeds = Annotated[int, _option("Networks of each kind.", min=1)]
Jobs = Annotated[int, _option("Processes that measure.", min=1)]
Figures = Annotated[
    list[str],
    _argument("fig1 … fig6, all, appendix or a part of it.", "FIGURE", **_completion(FIGURES)),
]
Run = Annotated[Path, _argument("A saved analysis.", "RUN")]
Runs = Annotated[
    list[str],
    _argument("Saved analyses, at least two; NAME=FILE shows one under a name of its own.", "RUN"),
]
Picture = Annotated[Path | None, _option("Draw the comparison here (.png, .pdf or .svg).", "FILE")]
