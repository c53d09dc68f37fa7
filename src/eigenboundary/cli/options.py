"""The options of the commands: their names, types, help and completion."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

CURVATURES = ("hessian", "gauss_newton")
LOSSES = ("cross_entropy", "nll", "mse")
METHODS = ("auto", "dense", "gram", "krylov", "range")
DTYPES = ("float32", "float64")
CONTROLS = ("lowest", "random_eigenvectors", "random_directions")
CORES = os.cpu_count() or 1
FIGURES = (*(f"fig{i}" for i in range(1, 7)), "appendix", "all")


def _among(*values: str) -> Callable[[str], list[str]]:
    """Return the completion of an option with known values."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


def _configs(incomplete: str) -> list[str]:
    """Complete the name of an experiment, without importing the experiments."""
    folder = Path(__file__).parents[1] / "experiments" / "configs"
    return sorted(path.stem for path in folder.glob(f"{incomplete}*.toml"))


def _or(values: tuple[str, ...]) -> str:
    *first, last = (f"'{value}'" for value in values)
    return f"{', '.join(first)} or {last}"


# ------------------------------------------------------------------------- of several commands

AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")
]
Directory = Annotated[
    Path | None,
    typer.Option(help="Folder with the files of MNIST or CIFAR-10.", metavar="DIR"),
]
Folder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the results.", metavar="DIR")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
Recompute = Annotated[
    bool, typer.Option("--force", help="Compute again, and overwrite, what the folder holds.")
]
Pictures = Annotated[
    Path | None,
    typer.Option(help="Write the report's pictures here, as PNG and PDF.", metavar="DIR"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and errors.")]
Report = Annotated[
    Path | None, typer.Option(help="Write a self-contained HTML report here.", metavar="HTML")
]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.", min=0)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what is computed.")]

# ------------------------------------------------------------------------------------- analyze

Model = Annotated[
    str,
    typer.Argument(
        help="The trained network: a function that returns it, or the module itself. The "
        "current folder is searched first.",
        metavar="MODULE:FUNCTION",
        show_default=False,
    ),
]
Data = Annotated[
    str,
    typer.Option(
        help="The training samples: .npz with x and y; .csv with the label in the column "
        "'label', 'target', 'y' or 'class', or else in the last one; or MODULE:FUNCTION that "
        "returns a Dataset, a DataLoader or (x, y).",
        metavar="FILE",
        show_default=False,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="State dict to load: .safetensors, or a file of torch.save.", metavar="FILE"),
]
ClassNames = Annotated[
    str | None,
    typer.Option(
        help="Names of the classes 0, 1, …; default: the words that the data hold.",
        metavar="A,B,...",
    ),
]
FeatureNames = Annotated[
    str | None,
    typer.Option(help="Names of the features; default: the data's columns.", metavar="A,B,..."),
]
Eigenpairs = Annotated[
    str,
    typer.Option(
        "--k",
        "-k",
        help="Number of eigenpairs, or 'all'.",
        metavar="INTEGER",
        autocompletion=_among("all"),
    ),
]
Curvature = Annotated[
    str,
    typer.Option(help=f"{_or(CURVATURES)}.", metavar="NAME", autocompletion=_among(*CURVATURES)),
]
LossName = Annotated[
    str,
    typer.Option(
        help="'cross_entropy' (of logits), 'nll' (of log-probabilities), 'mse', or "
        "MODULE:FUNCTION that maps (outputs, labels) to one loss a sample.",
        metavar="NAME",
        autocompletion=_among(*LOSSES),
    ),
]
OutputHook = Annotated[
    str | None,
    typer.Option(
        help="Function that maps what the model returns to its (n, C) outputs.",
        metavar="MODULE:FUNCTION",
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        help="Analyse only the parameters whose names match, e.g. 'head.*'; may be repeated.",
        metavar="PATTERN",
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help=f"{_or(DTYPES)}; default: the model's.",
        metavar="NAME",
        autocompletion=_among(*DTYPES),
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Device, e.g. 'cuda'; default: the model's.",
        metavar="NAME",
        autocompletion=_among("cpu", "cuda"),
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Most samples in a batch; default: what the memory holds.", min=1),
]
MemoryLimit = Annotated[
    str | None, typer.Option(help="Most memory to use, e.g. '2 GB'.", metavar="SIZE")
]
Method = Annotated[
    str,
    typer.Option(
        help=f"Eigensolver: {_or(METHODS)}.", metavar="NAME", autocompletion=_among(*METHODS)
    ),
]
Tolerance = Annotated[
    float | None, typer.Option(help="Relative residual at which an eigenpair has converged.")
]
MaxProducts = Annotated[int | None, typer.Option(help="Most matrix–vector products.", min=1)]
ComplexityTolerance = Annotated[
    float | None,
    typer.Option(help="Find as many eigenpairs as bring the interval of G_θ to this width."),
]
Epsilon = Annotated[
    float | None,
    typer.Option(help="ε of that G_θ, the least mean |A| that counts; default: 0.001."),
]
Controls = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Compare with the directions {_or(CONTROLS)}; may be repeated.",
        metavar="KIND",
        autocompletion=_among(*CONTROLS),
    ),
]
Margins = Annotated[
    bool,
    typer.Option(
        "--margins",
        help="Find the section of the boundary that each eigenvector encodes, and its margin.",
    ),
]
Bulk = Annotated[
    bool,
    typer.Option("--bulk", help="Estimate the trace and the distribution of all eigenvalues."),
]
Box = Annotated[
    tuple[float, float] | None,
    typer.Option(help="Range of the entries of inputs, e.g. 0 1.", metavar="LOW HIGH"),
]
TestData = Annotated[
    str | None,
    typer.Option(
        help="Samples not trained on, given like --data, to measure the accuracy on.",
        metavar="FILE",
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(help="Start from the eigenvectors of this saved analysis.", metavar="RUN"),
]
Save = Annotated[
    Path | None, typer.Option(help="Save the analysis here, as .safetensors.", metavar="RUN")
]

# ------------------------------------------------------------------------------ other commands

Config = Annotated[
    str,
    typer.Argument(
        help="Name of an experiment (see `list`), or a .toml file.",
        metavar="CONFIG",
        show_default=False,
        autocompletion=_configs,
    ),
]
FirstSeed = Annotated[int, typer.Option("--seed", help="The first seed.", min=0)]
TrainedSeeds = Annotated[
    int, typer.Option("--seeds", help="Number of networks, with consecutive seeds.", min=1)
]
ClaimSeeds = Annotated[int, typer.Option("--seeds", help="Networks of each kind.", min=1)]
Jobs = Annotated[int, typer.Option(help="Processes that measure; default: one a core.", min=1)]
Figures = Annotated[
    list[str],
    typer.Argument(
        help="fig1 … fig6, appendix, all, or a part of the appendix by its name.",
        metavar="FIGURE",
        show_default=False,
        autocompletion=_among(*FIGURES),
    ),
]
Run = Annotated[Path, typer.Argument(help="A saved analysis.", metavar="RUN", show_default=False)]
Runs = Annotated[
    list[str],
    typer.Argument(
        help="Saved analyses, at least two; NAME=FILE shows one under another name than its "
        "file's.",
        metavar="RUN",
        show_default=False,
    ),
]
Picture = Annotated[
    Path | None,
    typer.Option(help="Draw the comparison here (.png, .pdf or .svg).", metavar="FILE"),
]
