"""The commands."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from eigenboundary.cli import options, terminal
from eigenboundary.cli.launcher import is_first
from eigenboundary.runtime.version import __version__

EXIT_CODES = (
    "Exit codes: 0 success; 2 a mistake in what was given; 3 finished, but some eigenpairs did "
    "not converge; 130 interrupted."
)

app = typer.Typer(
    help="What the Hessian of a classifier's loss knows about its decision boundary.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


#: What typer raises for arguments it cannot read; the class itself is not public.
_UsageError: Any = typer.BadParameter.__mro__[1]


def main() -> None:
    """Entry point of the `eigenboundary` command."""
    terminal.tolerate_encoding()
    if is_first():
        sys.exit(_run())
    # The first says everything, the exit code included: launchers end all when one has failed.
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        _run()


def _run() -> Any:
    try:
        return app(prog_name="eigenboundary", standalone_mode=False)
    except _UsageError as error:
        message = error.format_message().replace("\n", " ").rstrip(".")
        if message and is_first():  # without one no command was given: the help has been printed
            command = getattr(error.ctx, "command_path", "eigenboundary")
            typer.echo(f"Error: {message} ({command} --help lists what it takes).", err=True)
        return terminal.FAILED
    except (typer.Abort, KeyboardInterrupt):
        if is_first():
            typer.echo("Interrupted.", err=True)
        return terminal.INTERRUPTED


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"eigenboundary {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command(epilog=EXIT_CODES)
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results.", metavar="DIR")
    ] = Path("eigenboundary-demo"),
    seed: options.Seed = 1,
    force: Annotated[
        bool, typer.Option("--force", help="Compute again what the folder already holds.")
    ] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train three small networks, analyse them, and compare them in DIR/report.html.

    Takes about a minute. What is finished stays in the folder: after Ctrl-C the same command goes
    on from there.
    """
    with terminal.session(quiet=quiet, verbose=verbose) as shell:
        from eigenboundary.cli import commands

        commands.demo(shell, output, seed=seed, force=force)


@app.command(epilog=EXIT_CODES)
def analyze(
    model: options.Model,
    data: options.Data,
    weights: options.Weights = None,
    k: options.Eigenpairs = "10",
    curvature: options.Curvature = "hessian",
    loss: options.LossName = "cross_entropy",
    output_hook: options.OutputHook = None,
    parameters: options.Parameters = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = None,
    memory_limit: options.MemoryLimit = None,
    method: options.Method = "auto",
    tolerance: options.Tolerance = None,
    max_products: options.MaxProducts = None,
    complexity_tolerance: options.ComplexityTolerance = None,
    epsilon: options.Epsilon = None,
    control: options.Controls = None,
    margins: options.Margins = False,
    bulk: options.Bulk = False,
    box: options.Box = None,
    test_data: options.TestData = None,
    resume: options.Resume = None,
    save: options.Save = None,
    report: options.Report = None,
    pictures: options.Pictures = None,
    as_json: options.AsJson = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Analyse a trained classifier on its training samples.

    [dim]eigenboundary analyze my_model:build --data train.npz --weights model.safetensors[/dim]
    """
    settings: dict[str, Any] = {
        "curvature": curvature,
        "parameters": parameters or None,
        "dtype": dtype,
        "device": device,
        "seed": seed,
        "batch_size": batch_size,
        "memory_limit": memory_limit,
        "method": method,
        "tolerance": tolerance,
        "max_products": max_products,
        "complexity_tolerance": complexity_tolerance,
        "epsilon": epsilon,
        "controls": tuple(control or ()),
        "margins": margins,
        "bulk": bulk,
        "box": box,
    }
    with terminal.session(quiet=quiet, verbose=verbose, divided=True) as shell:
        from eigenboundary.cli import commands

        request = commands.Request(
            model, data, test_data, weights, k, loss, output_hook, resume, settings
        )
        outputs = commands.Outputs(save, report, as_json, force, pictures=pictures)
        commands.analyze(shell, request, outputs)


@app.command("list", epilog=EXIT_CODES)
def list_configs(as_json: options.AsJson = False) -> None:
    """List the experiments that `train` knows by name."""
    with terminal.session() as shell:
        from eigenboundary.cli import experiments

        experiments.list_configs(shell, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def train(
    config: Annotated[
        str,
        typer.Argument(
            help="An experiment's name (see `list`), or a .toml file of your own.",
            metavar="CONFIG",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the networks.", metavar="DIR")
    ] = Path("eigenboundary-networks"),
    seed: Annotated[int, typer.Option(help="The first seed.", min=0)] = 0,
    seeds: Annotated[
        int, typer.Option(help="Train so many, with seeds that follow, at once.", min=1)
    ] = 1,
    directory: Annotated[
        Path | None,
        typer.Option(help="Where the files of MNIST or CIFAR-10 are.", metavar="DIR"),
    ] = None,
    as_json: options.AsJson = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Train anew what the folder already holds, finished or interrupted."
        ),
    ] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train an experiment's network, and first those it starts from.

    What is finished stays in the folder; after Ctrl-C the same command goes on from there.
    """
    with terminal.session(quiet=quiet, verbose=verbose) as shell:
        from eigenboundary.cli import experiments

        experiments.train(
            shell,
            config,
            output,
            seeds=list(range(seed, seed + seeds)),
            directory=directory,
            as_json=as_json,
            force=force,
        )


@app.command(epilog=EXIT_CODES)
def claims(
    seeds: Annotated[int, typer.Option(help="Networks of each kind.", min=1)] = 10,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for what is found.", metavar="DIR")
    ] = Path("eigenboundary-claims"),
    jobs: Annotated[
        int, typer.Option(help="Processes that measure; default: one a core.", min=1)
    ] = os.cpu_count() or 1,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Put the paper's claims to the test, over many seeds.

    Takes tens of minutes. What is finished stays in the folder; after Ctrl-C the same command goes
    on from there.
    """
    with terminal.session(quiet=quiet, verbose=verbose) as shell:
        from eigenboundary.cli import claims as command

        command.claims(shell, output, seeds=seeds, jobs=jobs, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def reproduce(
    figures: Annotated[
        list[str],
        typer.Argument(
            help="fig1 … fig6, appendix, all, or a part of the appendix by its name.",
            metavar="FIGURE",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the figures.", metavar="DIR")
    ] = Path("eigenboundary-figures"),
    seed: options.Seed = 1,
    directory: Annotated[
        Path | None, typer.Option(help="Where the files of MNIST are.", metavar="DIR")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Make again what the folder already holds.")
    ] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Make the paper's figures anew: train, analyse, draw; PNG and PDF.

    All of them take about ten minutes, with MNIST longer. What is finished stays in the folder;
    after Ctrl-C the same command goes on from there.
    """
    with terminal.session(quiet=quiet, verbose=verbose) as shell:
        from eigenboundary.cli import figures as command

        command.reproduce(shell, figures, output, seed=seed, directory=directory, force=force)


@app.command(epilog=EXIT_CODES)
def show(
    run: Annotated[
        Path,
        typer.Argument(help="A saved analysis.", metavar="RUN.safetensors", show_default=False),
    ],
    report: options.Report = None,
    pictures: options.Pictures = None,
    as_json: options.AsJson = False,
    force: options.Force = False,
) -> None:
    """Print a saved analysis, or make the report or the pictures from it."""
    with terminal.session() as shell:
        from eigenboundary.cli import commands

        outputs = commands.Outputs(None, report, as_json, force, pictures=pictures)
        commands.show(shell, run, outputs)


@app.command(epilog=EXIT_CODES)
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Saved analyses, at least two; NAME=FILE gives one another name than its file's.",
            metavar="RUN",
            show_default=False,
        ),
    ],
    report: options.Report = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Draw the comparison (.png, .pdf or .svg).", metavar="FILE"),
    ] = None,
    as_json: options.AsJson = False,
    force: options.Force = False,
) -> None:
    """Compare saved analyses of trained networks, and recommend one, with reasons.

    The simple boundary is preferred, then the wide margin: save analyses with --margins.
    """
    with terminal.session() as shell:
        from eigenboundary.cli import commands

        outputs = commands.Outputs(None, report, as_json, force, picture)
        commands.compare(shell, runs, outputs)
