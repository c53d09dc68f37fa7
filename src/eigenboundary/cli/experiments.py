"""The commands about experiments: list them, train them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from eigenboundary.cli.options import arguments_named_as_options
from eigenboundary.cli.terminal import StageProgress, Terminal
from eigenboundary.experiments import (
    ExperimentConfig,
    TrainedNetwork,
    config_names,
    load_config,
    train_experiment,
)
from eigenboundary.experiments.training import evaluate
from eigenboundary.report.words import percent


def list_configs(shell: Terminal, *, as_json: bool) -> None:
    """Print the configurations that are shipped."""
    configs = [load_config(name) for name in config_names()]
    if as_json:
        shown = [{"name": c.name, "title": c.title, "description": c.description} for c in configs]
        typer.echo(json.dumps(shown))
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("config", style="bold", no_wrap=True)
    table.add_column("what it trains")
    for config in configs:
        table.add_row(config.name, Text(config.description))
    shell.out.print(table)


def train(
    shell: Terminal,
    config: str,
    folder: Path,
    *,
    seeds: list[int],
    directory: Path | None,
    as_json: bool,
    force: bool,
) -> None:
    """Train a configuration, keep the networks, and say how they ended."""
    with arguments_named_as_options():
        chosen = load_config(config)
    overrides = None if directory is None else {"directory": str(directory)}
    with StageProgress(shell) as progress, arguments_named_as_options():

        def update(which: ExperimentConfig, epoch: int, epochs: int) -> None:
            progress.update(which.title, "epoch", epoch, epochs)

        trained = train_experiment(
            chosen, seeds, folder=folder, force=force, overrides=overrides, progress=update
        )
    rows = [_row(network, folder) for network in trained]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table(title=chosen.title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for name in ("seed", "epochs", "loss", "accuracy", "on test data", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        test = row["test_accuracy"]
        table.add_row(
            str(row["seed"]),
            f"{row['epochs']:,}",
            "–" if row["loss"] is None else f"{row['loss']:.3g}",
            percent(row["accuracy"]),
            "–" if test is None else percent(test),
            f"{row['seconds']:.1f}",
        )
    shell.out.print(table)
    shell.say(f"Networks: {folder}/{chosen.name}-*.safetensors")


def _row(network: TrainedNetwork, folder: Path) -> dict[str, Any]:
    result, test = network.result, network.data.test
    return {
        "config": network.config.name,
        "seed": network.seed,
        "epochs": result.epochs,
        "loss": result.loss if math.isfinite(result.loss) else None,  # JSON has no NaN
        "accuracy": result.accuracy,
        "test_accuracy": evaluate(network.model, test)[1] if len(test[1]) else None,
        "seconds": round(result.seconds, 3),
        "file": str(folder / f"{network.config.name}-{network.seed}.safetensors"),
    }
