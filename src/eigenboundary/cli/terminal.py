"""What the commands share at the terminal: errors in one line, progress and log on stderr."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from eigenboundary.cli.launcher import is_first, launched
from eigenboundary.runtime.errors import InvalidInputError

#: Exit codes; 0 is success.
FAILED, NOT_CONVERGED, INTERRUPTED = 2, 3, 130


@dataclass(frozen=True)
class Terminal:
    """Results go to ``out``, everything else to ``err``."""

    out: Console
    err: Console
    quiet: bool = False

    def say(self, message: str) -> None:
        """A line on stderr, not in quiet runs; file names in it are left alone."""
        if not self.quiet:
            self.err.print(Text(message), soft_wrap=True)


@contextmanager
def session(
    *, quiet: bool = False, verbose: bool = False, divided: bool = False
) -> Iterator[Terminal]:
    """Run a command: a user's mistake ends it with one line, an interrupt with another.

    Anything else that is raised is a bug and keeps its traceback. Where a launcher has started
    several processes, a command whose work is ``divided`` runs in all of them, and only the first
    says anything; any other runs in the first alone.
    """
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
        yield terminal
    except InvalidInputError as error:
        terminal.err.print(Text.assemble(("Error: ", "bold red"), str(error)), soft_wrap=True)
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        terminal.err.print("Interrupted.")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before


class _Handler(logging.Handler):
    """Log records as `Warning: …` lines, above a running progress bar."""

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


class StageProgress:
    """One bar a job that shows its stage; on a terminal only, and gone when done."""

    def __init__(self, terminal: Terminal) -> None:
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[stage]}", markup=False),
            TimeElapsedColumn(),
            console=terminal.err,
            transient=True,
            disable=terminal.quiet or not terminal.err.is_terminal,
        )
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> StageProgress:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def update(self, job: str, stage: str, done: int, total: int) -> None:
        """Show that ``job`` has come so far in ``stage``."""
        if job not in self.tasks:
            self.tasks[job] = self.bars.add_task(job, stage=stage)
        text = f"{stage} {done}/{total}" if total > 1 else stage
        # A stage of one step has nothing to measure: its bar pulses until it is done.
        known = total > 1 or done >= total
        self.bars.update(self.tasks[job], completed=done, stage=text)
        self.bars.tasks[self.tasks[job]].total = max(total, 1) if known else None


def tolerate_encoding() -> None:
    """A terminal that has no λ shows a question mark instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
