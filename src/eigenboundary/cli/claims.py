"""The command that puts the paper's claims to the test."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from eigenboundary.cli.options import arguments_named_as_options
from eigenboundary.cli.terminal import StageProgress, Terminal
from eigenboundary.experiments.claims import ClaimResult, check_claims

_COLOURS = {"supported": "green", "not supported": "red", "undecided": "yellow"}


def claims(shell: Terminal, folder: Path, *, seeds: int, jobs: int, as_json: bool) -> None:
    """Train, measure, judge, and print one row a claim."""
    with StageProgress(shell) as progress, arguments_named_as_options():
        results = check_claims(
            seeds,
            folder=folder,
            jobs=jobs,
            progress=lambda what, done, total: progress.update("Claims", what, done, total),
        )
    rows = [result.to_dict() for result in results]
    (folder / "claims.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    (folder / "claims.md").write_text(markdown(results), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(rows))
        return
    shell.out.print(_table(results))
    shell.say(f"Table: {folder}/claims.md and claims.json")


def _table(results: list[ClaimResult]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("claim")
    table.add_column("data")
    for name in ("effect", "interval", "claimed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("seeds", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for result in results:
        claim = result.claim
        table.add_row(
            Text(f"{claim.number} {claim.statement}: {claim.measure}"),
            Text(claim.dataset),
            _effect(result),
            _interval(result),
            str(claim.threshold),
            str(len(result.effects)),
            Text(result.verdict, style=_COLOURS[result.verdict]),
        )
    return table


def markdown(results: list[ClaimResult]) -> str:
    """The table for a page of documentation."""
    lines = [
        "| claim | data | measure | effect | 95 % interval | claimed | seeds | verdict |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    lines += [
        f"| {r.claim.number}. {r.claim.statement} | {r.claim.dataset} | {r.claim.measure} | "
        f"{_effect(r)} | {_interval(r)} | {r.claim.threshold} | {len(r.effects)} | {r.verdict} |"
        for r in results
    ]
    return "\n".join(lines) + "\n"


def _effect(result: ClaimResult) -> str:
    return f"{result.effect:.3g}" if result.effects else "—"


def _interval(result: ClaimResult) -> str:
    low, high = result.interval
    return f"[{low:.3g}, {high:.3g}]"
