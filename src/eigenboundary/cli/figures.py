"""The command that makes the paper's figures."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.table import Table

from eigenboundary.cli.options import arguments_named_as_options
from eigenboundary.cli.terminal import StageProgress, Terminal
from eigenboundary.experiments.figures import Reproduced
from eigenboundary.experiments.figures import reproduce as reproduce_figures
from eigenboundary.experiments.figures.workshop import PARTS


def reproduce(
    shell: Terminal,
    figures: list[str],
    folder: Path,
    *,
    seed: int,
    directory: Path | None,
    force: bool,
) -> None:
    """Make the figures, name their files as they come, and say what took how long."""

    def done(made: Reproduced) -> None:
        kinds = ", ".join(file.suffix[1:] for file in made.files[1:])
        shell.say(f"{made.name}: {made.files[0]} ({kinds})")
        if made.note:
            shell.say(f"  {made.note}")

    with StageProgress(shell) as progress, arguments_named_as_options():
        made = reproduce_figures(
            figures,
            folder,
            seed=seed,
            directory=directory,
            force=force,
            progress=progress.update,
            done=done,
        )
    shell.out.print(_table(made))


def _table(made: list[Reproduced]) -> Table:
    table = Table(
        title="Seconds",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        show_footer=True,
    )
    total = {part: sum(figure.seconds[part] for figure in made) for part in PARTS}
    table.add_column("", "all", style="bold", no_wrap=True)
    for part in PARTS:
        table.add_column(part, f"{total[part]:.1f}", justify="right", no_wrap=True)
    table.add_column("all", f"{sum(total.values()):.1f}", justify="right", no_wrap=True)
    for figure in made:
        seconds = [figure.seconds[part] for part in PARTS]
        table.add_row(figure.name, *(f"{value:.1f}" for value in (*seconds, sum(seconds))))
    return table
