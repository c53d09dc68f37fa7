"""The commands' options: their names, types and help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from eigenboundary.runtime.errors import InvalidInputError

Force = Annotated[bool, typer.Option("--force", help="Overwrite output files that exist.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")
]
Report = Annotated[
    Path | None, typer.Option(help="Write a self-contained HTML report here.", metavar="HTML")
]
Pictures = Annotated[
    Path | None,
    typer.Option(help="Write the report's pictures here, as PNG and PDF.", metavar="DIR"),
]
Seed = Annotated[int, typer.Option(help="Of everything random.", min=0)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what is being done.")]

Model = Annotated[
    str,
    typer.Argument(
        help="The trained network: a function that returns it, or the module itself. "
        "Looked for in the current folder first.",
        metavar="MODULE:FUNCTION",
    ),
]
Data = Annotated[
    str,
    typer.Option(
        help="Its training samples: .npz with x and y, .csv with the label in a column "
        "'label', 'target', 'y' or 'class' or else the last one, or MODULE:FUNCTION "
        "returning a Dataset, a DataLoader or (x, y).",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="State dict to load: .safetensors, or one that torch.save wrote."),
]
Eigenpairs = Annotated[
    str, typer.Option("--k", "-k", help="Eigenpairs to compute, or 'all'.", metavar="INTEGER")
]
Curvature = Annotated[str, typer.Option(help="'hessian' or 'gauss_newton'.")]
LossName = Annotated[
    str,
    typer.Option(
        help="'cross_entropy' (of logits), 'nll' (of log-probabilities), 'mse', or "
        "MODULE:FUNCTION mapping (outputs, labels) to one loss a sample."
    ),
]
OutputHook = Annotated[
    str | None,
    typer.Option(
        help="Turns what the model returns into its (n, C) outputs.",
        metavar="MODULE:FUNCTION",
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        help="Only parameters with names like this, e.g. 'head.*'; may be repeated.",
        metavar="PATTERN",
    ),
]
Dtype = Annotated[str | None, typer.Option(help="'float32' or 'float64'; default: the model's.")]
Device = Annotated[str | None, typer.Option(help="E.g. 'cuda'; default: the model's.")]
BatchSize = Annotated[
    int | None, typer.Option(help="Most samples at once; default: by memory.", min=1)
]
MemoryLimit = Annotated[
    str | None,
    typer.Option(help="Most memory to use in all, e.g. '2 GB'.", metavar="SIZE"),
]
Method = Annotated[str, typer.Option(help="'auto', 'dense', 'gram', 'krylov' or 'range'.")]
Tolerance = Annotated[float | None, typer.Option(help="Relative residual an eigenpair must reach.")]
MaxProducts = Annotated[
    int | None, typer.Option(help="Products with the matrix after which to stop.", min=1)
]
ComplexityTolerance = Annotated[
    float | None,
    typer.Option(help="Find as many eigenpairs as make the interval of G_θ no wider than this."),
]
Epsilon = Annotated[
    float | None, typer.Option(help="ε of that G_θ; default: 0.001. An alignment above it counts.")
]
Controls = Annotated[
    list[str] | None,
    typer.Option(
        help="Compare with 'lowest', 'random_eigenvectors' or 'random_directions'; may be "
        "repeated.",
        metavar="KIND",
    ),
]
Margins = Annotated[
    bool,
    typer.Option(
        "--margins",
        help="Also find which section of the boundary each eigenvector encodes, and its margin.",
    ),
]
Bulk = Annotated[
    bool,
    typer.Option("--bulk", help="Also estimate the trace and the distribution of all eigenvalues."),
]
Box = Annotated[
    tuple[float, float] | None,
    typer.Option(help="Range that entries of inputs stay in, e.g. 0 1.", metavar="LOW HIGH"),
]
TestData = Annotated[
    str | None,
    typer.Option(help="Samples not trained on, given like --data; their accuracy is noted."),
]
Resume = Annotated[
    Path | None,
    typer.Option(help="Start from the eigenvectors of this saved analysis.", metavar="RUN"),
]
Save = Annotated[
    Path | None,
    typer.Option(help="Save the analysis here (a .safetensors file).", metavar="RUN"),
]

#: Options that give the library's arguments.
_OPTIONS = {
    "analyses": "RUN",
    "box": "--box",
    "batch_size": "--batch-size",
    "complexity_tolerance": "--complexity-tolerance",
    "config": "CONFIG",
    "controls": "--control",
    "curvature": "--curvature",
    "data": "--data",
    "device": "--device",
    "directory": "--directory",
    "dtype": "--dtype",
    "epsilon": "--epsilon",
    "folder": "--output",
    "k": "--k",
    "loss": "--loss",
    "max_products": "--max-products",
    "memory_limit": "--memory-limit",
    "method": "--method",
    "output": "--output-hook",
    "parameters": "--parameters",
    "seed": "--seed",
    "start": "--resume",
    "test_data": "--test-data",
    "tolerance": "--tolerance",
}


@contextmanager
def arguments_named_as_options() -> Iterator[None]:
    """The library's sentences begin with the argument's name; here it is an option's."""
    try:
        yield
    except InvalidInputError as error:
        raise error.renamed(_OPTIONS.get(error.name, error.name)) from error
