"""The commands and their options, as the terminal shows them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from eigenboundary.cli import options
from eigenboundary.cli.process import ExitCode, is_first, tolerate_encoding
from eigenboundary.runtime.version import __version__

_EXIT_CODES = "\b\nExit codes:\n" + "\n".join(f"  {c:<4} {c.meaning}" for c in ExitCode)

app = typer.Typer(
    help="What the Hessian of a classifier's loss knows about its decision boundary.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help is easier to read and three times as fast to print
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: The error of typer for arguments that it cannot read; the class itself is not public.
_UsageError: Any = typer.BadParameter.__mro__[1]


def run() -> Any:
    """Run the command that the arguments name, and return the exit code.

    The first of several processes says everything, the exit code included: launchers end all
    processes when one has failed.
    """
    tolerate_encoding()
    with contextlib.ExitStack() as stack:
        if not is_first():
            nothing = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nothing))
        try:
            code, line = app(prog_name="eigenboundary", standalone_mode=False), ""
        except _UsageError as error:
            message = error.format_message().replace("\n", " ").rstrip(".")
            command = getattr(error.ctx, "command_path", "eigenboundary")
            code, line = ExitCode.MISTAKE, f"{message} ({command} --help lists what it takes)."
            # Without a message no command was given, and the help has been printed.
            line = f"Error: {line}" if message else ""
        except (typer.Abort, KeyboardInterrupt):
            code, line = ExitCode.INTERRUPTED, "Interrupted."
        if line and is_first():
            typer.echo(line, err=True)
        return code if is_first() else ExitCode.SUCCESS


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"eigenboundary {__version__}")
        raise typer.Exit


_Version: Any = typer.Option(
    "--version", callback=_print_version, is_eager=True, help="Print the version."
)


@app.callback()
def _common(version: Annotated[bool, _Version] = False) -> None:
    pass


@app.command(epilog=_EXIT_CODES, short_help="Train, analyse and compare three small networks.")
def demo(
    output: options.Folder = Path("eigenboundary-demo"),
    seed: options.Seed = 1,
    force: options.Recompute = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train three small networks, analyse them, and compare them in DIR/report.html.

    Takes about a minute. Finished results stay in the folder: after Ctrl-C, the same command
    continues there.
    """
    from eigenboundary.cli import commands, terminal

    with terminal.session(quiet=quiet, verbose=verbose) as shell:
        commands.demo(shell, output, seed=seed, force=force)


@app.command(epilog=_EXIT_CODES, short_help="Analyse a trained classifier.")
def analyze(
    ctx: typer.Context,
    model: options.Model,
    data: options.Data,
    weights: options.Weights = None,
    class_names: options.ClassNames = None,
    feature_names: options.FeatureNames = None,
    k: options.Eigenpairs = "auto",
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
    controls: options.Controls = None,
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

    \b
    eigenboundary analyze my_model:build --data train.npz \\
        --weights model.safetensors --report report.html
    """
    from eigenboundary.cli import commands, terminal

    outputs = commands.Outputs(save, report, pictures=pictures, as_json=as_json, force=force)
    with terminal.session(quiet=quiet, verbose=verbose, divided=True) as shell:
        commands.analyze(shell, ctx.params, outputs)


@app.command("list", epilog=_EXIT_CODES, short_help="List the experiments of `train`.")
def list_configs(as_json: options.AsJson = False) -> None:
    """List the experiments that `train` knows by name."""
    from eigenboundary.cli import experiments, terminal

    with terminal.session() as shell:
        experiments.list_configs(shell, as_json=as_json)


@app.command(epilog=_EXIT_CODES, short_help="Train the networks of an experiment.")
def train(
    config: options.Config,
    output: options.Folder = Path("eigenboundary-networks"),
    seed: options.FirstSeed = 0,
    seeds: options.TrainedSeeds = 1,
    directory: options.Directory = None,
    as_json: options.AsJson = False,
    force: options.Recompute = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train the network of an experiment, after those it starts from.

    Finished networks stay in the folder; after Ctrl-C, the same command continues there.
    """
    from eigenboundary.cli import experiments, terminal

    with terminal.session(quiet=quiet, verbose=verbose) as shell:
        overrides = None if directory is None else {"directory": str(directory)}
        chosen: Any = {"seeds": range(seed, seed + seeds), "overrides": overrides}
        experiments.train(shell, config, output, as_json=as_json, overwrite=force, **chosen)


@app.command(epilog=_EXIT_CODES, short_help="Test the paper's claims over many seeds.")
def claims(
    seeds: options.ClaimSeeds = 10,
    output: options.Folder = Path("eigenboundary-claims"),
    jobs: options.Jobs = options.CORES,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Test the paper's claims over many seeds.

    Takes tens of minutes. Finished results stay in the folder; after Ctrl-C, the same command
    continues there.
    """
    from eigenboundary.cli import experiments, terminal

    with terminal.session(quiet=quiet, verbose=verbose) as shell:
        experiments.claims(shell, output, seeds=seeds, jobs=jobs, as_json=as_json)


@app.command(epilog=_EXIT_CODES, short_help="Make the paper's figures.")
def reproduce(
    figures: options.Figures,
    output: options.Folder = Path("eigenboundary-figures"),
    seed: options.Seed = 1,
    directory: options.Directory = None,
    force: options.Recompute = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Make the paper's figures: train, analyse and draw them, as PNG and PDF.

    All of them take about ten minutes, longer with MNIST. Finished results stay in the folder;
    after Ctrl-C, the same command continues there.
    """
    from eigenboundary.cli import experiments, terminal

    with terminal.session(quiet=quiet, verbose=verbose) as shell:
        chosen: Any = {"seed": seed, "directory": directory, "overwrite": force}
        experiments.reproduce(shell, figures, output, **chosen)


@app.command(epilog=_EXIT_CODES, short_help="Print, report or draw a saved analysis.")
def show(
    run: options.Run,
    report: options.Report = None,
    pictures: options.Pictures = None,
    as_json: options.AsJson = False,
    force: options.Force = False,
) -> None:
    """Print a saved analysis, or make its report or its pictures."""
    from eigenboundary.cli import commands, terminal

    with terminal.session() as shell:
        outputs = commands.Outputs(report=report, pictures=pictures, as_json=as_json, force=force)
        commands.show(shell, run, outputs)


@app.command(epilog=_EXIT_CODES, short_help="Compare analyses of several networks.")
def compare(
    runs: options.Runs,
    report: options.Report = None,
    picture: options.Picture = None,
    as_json: options.AsJson = False,
    force: options.Force = False,
) -> None:
    """Compare saved analyses of trained networks: numbers, and what is certain of them.

    A network is recommended where it is better altogether: by held-out accuracy, boundary area and
    margins. Save the analyses with --margins and --test-data.
    """
    from eigenboundary.cli import commands, terminal

    with terminal.session() as shell:
        outputs = commands.Outputs(report=report, picture=picture, as_json=as_json, force=force)
        commands.compare(shell, runs, outputs)
