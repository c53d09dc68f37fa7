"""Errors in one line, tables, progress and log: the terminal that the commands share."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable
from rich.text import Text

from eigenboundary.cli.process import ExitCode, is_first, launched, raise_on_interrupt
from eigenboundary.report.model import Cell, Table
from eigenboundary.runtime.errors import InvalidInputError

#: Arguments of the library whose option or argument here has another name than theirs.
_RENAMED = {
    "analyses": "RUN",
    "config": "CONFIG",
    "controls": "--control",
    "figure": "FIGURE",
    "folder": "--output",
    "model": "MODULE:FUNCTION",
    "output": "--output-hook",
    "start": "--resume",
}
#: Arguments of the library whose option here has their name.
_KEPT = (
    *("box", "batch_size", "class_names", "complexity_tolerance", "curvature", "data", "device"),
    *("directory", "dtype", "epsilon", "feature_names", "k", "loss", "max_products"),
    *("memory_limit", "method", "parameters", "seed", "seeds", "test_data", "tolerance"),
)
_OPTIONS = _RENAMED | {name: f"--{name.replace('_', '-')}" for name in _KEPT}
# "data", "data['x']", "data's labels" and "each batch of data" all name the argument data.
_ARGUMENT = re.compile(r"^(each batch of )?(\w+)(?=$|\[|'s )")

_STYLES = {"bad": "yellow", "good": "green", "failed": "red", "outlier": "", "": ""}


@contextmanager
def options_named(**places: str) -> Iterator[None]:
    """Name options in errors, where the library names arguments; ``path="--save"`` adds one."""
    try:
        yield
    except InvalidInputError as error:
        options = _OPTIONS | places
        name = _ARGUMENT.sub(lambda m: f"{m[1] or ''}{options.get(m[2], m[2])}", error.name)
        raise error.renamed(name) from error


@dataclass(frozen=True)
class Terminal:
    """Results go to ``out``, everything else to ``err``."""

    out: Console
    err: Console
    quiet: bool = False

    def say(self, message: str) -> None:
        """Print a line on stderr, except in quiet runs, with file names left alone."""
        if not self.quiet:
            self.err.print(Text(message), soft_wrap=True)

    def show(self, table: Table) -> None:
        """Print a table on stdout."""
        shown = [not column.wide for column in table.columns]
        how: dict[str, Any] = {"title_justify": "left", "caption_justify": "left"}
        how |= {"box": box.SIMPLE_HEAD, "show_edge": False, "collapse_padding": True}
        drawn = RichTable(
            title=Text(table.title) if table.title else None,
            caption=Text(table.caption) if table.caption else None,
            show_header=any(column.name for column in table.columns),
            **how,
        )
        gives_way = any(column.kind == "text" for column in table.columns)
        for column in compress(table.columns, shown):
            drawn.add_column(
                Text(column.name),
                justify="right" if column.kind == "number" else "left",
                style="bold" if column.kind == "head" else "",
                no_wrap=gives_way and column.kind != "text",
                overflow="fold",  # a number is never cut short
            )
        for cells in table.cells():
            drawn.add_row(*map(_text, compress(cells, shown)))
        self.out.print(drawn)


def _text(cell: Cell) -> Text:
    text = Text(cell.text, style=_STYLES[cell.mark])
    return text.append(f"\n{cell.detail}", style="dim") if cell.detail else text


@contextmanager
def session(
    *, quiet: bool = False, verbose: bool = False, divided: bool = False
) -> Iterator[Terminal]:
    """Run a command, and end it with one line on an invalid input or an interrupt.

    Any other exception is a bug and keeps its traceback. Where a launcher has started several
    processes, a command whose work is ``divided`` runs in all of them and only the first prints;
    any other command runs in the first alone.
    """
    raise_on_interrupt()
    with contextlib.ExitStack() as stack:
        if divided and launched():
            from eigenboundary.runtime.processes import joined

            stack.enter_context(joined())
        elif not is_first():
            raise typer.Exit
        if is_first():
            shell = Terminal(Console(), Console(stderr=True), quiet)
        else:
            nothing = Console(file=stack.enter_context(open(os.devnull, "w")))
            shell = Terminal(nothing, nothing, quiet=True)
        yield stack.enter_context(_reporting(shell, verbose))


@contextmanager
def _reporting(terminal: Terminal, verbose: bool) -> Iterator[Terminal]:
    handler = _Handler(terminal.err)
    log = logging.getLogger("eigenboundary")
    before = log.level, log.propagate
    level = logging.INFO if verbose else logging.ERROR if terminal.quiet else logging.WARNING
    log.setLevel(level)
    log.propagate = False
    log.addHandler(handler)
    try:
        with options_named():
            yield terminal
    except InvalidInputError as error:
        terminal.err.print(Text.assemble(("Error: ", "bold red"), str(error)), soft_wrap=True)
        raise typer.Exit(ExitCode.MISTAKE) from None
    except KeyboardInterrupt:
        terminal.err.print("Interrupted.")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before


class _Handler(logging.Handler):
    """Print log records as `Warning: …` lines, above a running progress bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        line = Text.assemble((f"{record.levelname.capitalize()}: ", style), record.getMessage())
        self.console.print(line, soft_wrap=True)
        if record.exc_info:
            trace = logging.Formatter().formatException(record.exc_info)
            self.console.print(Text(trace), soft_wrap=True)


class StageProgress(Progress):
    """One progress bar a job, with its stage; on a terminal only, and gone at the end."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[stage]}", markup=False),
            TimeElapsedColumn(),
            console=terminal.err,
            transient=True,
            disable=terminal.quiet or not terminal.err.is_terminal,
        )
        self.jobs: dict[str, TaskID] = {}

    def report(self, job: str, stage: str, done: int, total: int) -> None:
        """Show how far ``job`` has come in ``stage``."""
        if job not in self.jobs:
            self.jobs[job] = self.add_task(job, stage=stage)
        text = f"{stage} {done}/{total}" if total > 1 else stage
        # A stage of one step has nothing to measure: its bar pulses until it is done.
        known = total > 1 or done >= total
        self.update(self.jobs[job], completed=done, stage=text)
        self.tasks[self.jobs[job]].total = max(total, 1) if known else None
