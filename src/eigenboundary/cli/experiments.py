"""The commands about experiments: list and train them, make figures, test claims."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import typer

from eigenboundary.cli.terminal import StageProgress, Terminal
from eigenboundary.experiments import (
    ExperimentConfig,
    TrainedNetwork,
    config_names,
    load_config,
    train_experiment,
)
from eigenboundary.experiments.claims import ClaimResult, check_claims
from eigenboundary.experiments.figures import Reproduced
from eigenboundary.experiments.figures import reproduce as reproduce_figures
from eigenboundary.experiments.figures.workshop import PARTS
from eigenboundary.experiments.training import evaluate
from eigenboundary.report.model import Cell, Column, Mark, Table
from eigenboundary.runtime.formats import format_number, percent

_MARKS: dict[str, Mark] = {"supported": "good", "not supported": "failed", "undecided": "bad"}


def list_configs(shell: Terminal, *, as_json: bool) -> None:
    """Print the configurations that are shipped."""
    configs = [load_config(name) for name in config_names()]
    if as_json:
        shown = [{"name": c.name, "title": c.title, "description": c.description} for c in configs]
        typer.echo(json.dumps(shown))
        return
    columns = (Column("config", "head"), Column("what it trains", "text"))
    shell.show(Table(columns, [(config.name, config.description) for config in configs]))


def train(shell: Terminal, config: str, folder: Path, *, as_json: bool, **options: Any) -> None:
    """Train a configuration, keep the networks, and show their losses and accuracies."""
    chosen = load_config(config)
    with StageProgress(shell) as progress:

        def update(which: ExperimentConfig, epoch: int, epochs: int) -> None:
            progress.report(which.title, "epoch", epoch, epochs)

        trained = train_experiment(chosen, folder=folder, progress=update, **options)
    rows = [_row(network, folder) for network in trained]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    columns = {
        "seed": Column("seed"),
        "epochs": Column("epochs", format="{:,}".format),
        "loss": Column("loss", format=lambda loss: "–" if loss is None else format_number(loss)),
        "accuracy": Column("accuracy", format=percent),
        "test_accuracy": Column("test accuracy", format=lambda a: "–" if a is None else percent(a)),
        "seconds": Column("seconds", format="{:.1f}".format),
    }
    cells = [[row[name] for name in columns] for row in rows]
    shell.show(Table(tuple(columns.values()), cells, title=chosen.title))
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


def reproduce(shell: Terminal, figures: list[str], folder: Path, **options: Any) -> None:
    """Make the figures, name each file when it is written, and show the seconds they took."""

    def done(made: Reproduced) -> None:
        kinds = ", ".join(file.suffix[1:] for file in made.files[1:])
        shell.say(f"{made.name}: {made.files[0]} ({kinds})")
        if made.note:
            shell.say(f"  {made.note}")

    with StageProgress(shell) as progress:
        made = reproduce_figures(figures, folder, progress=progress.report, done=done, **options)
    seconds = pd.DataFrame({figure.name: figure.seconds for figure in made}, PARTS).T
    seconds.loc["all"] = seconds.sum()
    seconds["all"] = seconds.sum(axis=1)
    columns = (Column(name, format="{:.1f}".format) for name in seconds)
    shell.show(Table((Column("", "head"), *columns), list(seconds.itertuples()), title="Seconds"))


def claims(shell: Terminal, folder: Path, *, seeds: int, jobs: int, as_json: bool) -> None:
    """Train, measure and judge, and show one row a claim."""
    with StageProgress(shell) as progress:
        results = check_claims(
            seeds,
            folder=folder,
            jobs=jobs,
            progress=lambda what, done, total: progress.report("Claims", what, done, total),
        )
    rows = [result.to_dict() for result in results]
    table = claims_table(results)
    (folder / "claims.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    (folder / "claims.md").write_text(table.markdown() + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(rows))
        return
    shell.show(table)
    shell.say(f"Table: {folder}/claims.md and claims.json")


def claims_table(results: list[ClaimResult]) -> Table:
    """Return one row a claim: its measured effect, the interval of that, and the verdict."""
    columns = (
        *(Column(name, "text") for name in ("claim", "data", "measure")),
        Column("effect", format=lambda effect: "—" if math.isnan(effect) else f"{effect:.3g}"),
        Column("95 % interval", format=lambda ends: "[{:.3g}, {:.3g}]".format(*ends)),
        *(Column("claimed"), Column("seeds")),
        Column("verdict", "word", lambda verdict: Cell(verdict, mark=_MARKS[verdict])),
    )
    rows = []
    for result in results:
        claim = result.claim
        what = f"{claim.number}. {claim.statement}", claim.dataset, claim.measure
        found = result.effect, result.interval, claim.threshold, len(result.effects), result.verdict
        rows.append((*what, *found))
    return Table(columns, rows)
