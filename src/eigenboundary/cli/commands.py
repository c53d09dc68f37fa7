"""What the commands do, once their options are read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from eigenboundary.analysis import comparison as comparing
from eigenboundary.analysis import pipeline
from eigenboundary.analysis.loading import load
from eigenboundary.analysis.result import Analysis
from eigenboundary.cli import sources, tables
from eigenboundary.cli.options import arguments_named_as_options
from eigenboundary.cli.terminal import INTERRUPTED, NOT_CONVERGED, StageProgress, Terminal
from eigenboundary.curvature import Outcome
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.files import new_file, new_folder, replaced_when_complete
from eigenboundary.runtime.processes import current
from eigenboundary.runtime.random_state import preserved_random_state

_PICTURES = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class Request:
    """What to analyse; ``options`` go to :func:`eigenboundary.analyze` as they are."""

    model: str
    data: str
    test_data: str | None
    weights: Path | None
    k: str
    loss: str
    output_hook: str | None
    resume: Path | None
    options: dict[str, Any]


@dataclass(frozen=True)
class Outputs:
    """Where the results go."""

    save: Path | None
    report: Path | None
    as_json: bool
    force: bool
    picture: Path | None = None
    pictures: Path | None = None

    def check(self, *inputs: Path | None) -> None:
        """Before anything is computed: each file can be written, and none is an input."""
        places = {"--save": self.save, "--report": self.report, "--picture": self.picture}
        for name, path in places.items():
            if path is None:
                continue
            if name == "--picture" and path.suffix not in _PICTURES:
                raise InvalidInputError(
                    "--picture", f"end in {', '.join(_PICTURES)}", repr(str(path))
                )
            if path.exists() and not self.force:
                raise InvalidInputError(
                    name,
                    "be a new file unless --force is given",
                    because=f"{str(path)!r} exists",
                )
            new_file(path, overwrite=True, name=name)
            if any(other is not None and _same(path, other) for other in inputs):
                raise InvalidInputError(
                    name, "not be one of the files that are read", repr(str(path))
                )
        if self.pictures is not None:
            with _named_as("--pictures", "folder"):
                new_folder(self.pictures, overwrite=self.force)
        if self.save is not None and self.report is not None and _same(self.save, self.report):
            raise InvalidInputError(
                "--save and --report", "be two files", f"{str(self.save)!r} for both"
            )


def analyze(shell: Terminal, request: Request, outputs: Outputs) -> None:
    """Analyse, show, save; the exit code says whether all eigenpairs converged."""
    processes = current()
    read = [Path(name) for name in (request.data, request.test_data) if name]
    first = processes.rank == 0
    processes.agree(lambda: outputs.check(*read, request.weights) if first else None)
    with sources.current_folder_importable(), StageProgress(shell) as progress:
        arguments = processes.agree(lambda: _read(request, progress))
        with arguments_named_as_options():
            analysis = pipeline.analyze(
                **arguments,
                progress=lambda stage, done, total: progress.update(
                    "Analysing", stage, done, total
                ),
                **request.options,
            )
    if not first:
        return
    if outputs.save is not None:
        analysis.save(outputs.save, overwrite=outputs.force)
        shell.say(f"Saved to {outputs.save}")
    _present(shell, analysis, outputs)
    if analysis.provenance.outcome is Outcome.INTERRUPTED:
        raise typer.Exit(INTERRUPTED)
    if not analysis.converged.all():
        raise typer.Exit(NOT_CONVERGED)


def _read(request: Request, progress: StageProgress) -> dict[str, Any]:
    """The arguments that are read from modules and files."""
    k = _eigenpairs(request.k)
    start = None if request.resume is None else _load(request.resume, "--resume")
    progress.update("Reading", "model", 0, 1)
    with preserved_random_state(request.options["seed"]):
        model = sources.load_model(request.model)
        if request.weights is not None:
            sources.load_weights(model, request.weights)
        progress.update("Reading", "data", 0, 1)
        data = sources.load_data(request.data)
        test_data = None
        if request.test_data is not None:
            test_data = sources.load_data(request.test_data, "--test-data")
    progress.update("Reading", "done", 1, 1)
    loss, hook = request.loss, request.output_hook
    return {
        "model": model,
        "data": data,
        "k": k,
        "loss": sources.resolve(loss, "--loss") if ":" in loss else loss,
        "output": None if hook is None else sources.resolve(hook, "--output-hook"),
        "start": start,
        "test_data": test_data,
    }


def show(shell: Terminal, run: Path, outputs: Outputs) -> None:
    """Print a saved analysis, or make its report."""
    outputs.check(run)
    _present(shell, _load(run, "RUN"), outputs)


def compare(shell: Terminal, runs: list[str], outputs: Outputs) -> None:
    """Compare saved analyses and recommend one."""
    paths = _named(runs)
    outputs.check(*paths.values())
    analyses = {name: _load(path, "RUN") for name, path in paths.items()}
    with arguments_named_as_options():
        comparison = comparing.compare(analyses)
    if outputs.report is not None:
        _write_report(analyses, outputs.report, title="Comparison", overwrite=outputs.force)
        shell.say(f"Report: {outputs.report}")
    if outputs.picture is not None:
        _draw(comparison, outputs.picture)
        shell.say(f"Picture: {outputs.picture}")
    if outputs.as_json:
        rows = json.loads(comparison.table.to_json(orient="index"))
        found = {"best": comparison.best, "k": comparison.k, "networks": rows}
        typer.echo(
            json.dumps({**found, "reasons": comparison.reasons, "caveats": comparison.caveats})
        )
        return
    shell.out.print(tables.comparison(analyses))
    for line in tables.recommendation(comparison):
        shell.out.print(line)


def _named(runs: list[str]) -> dict[str, Path]:
    """Paths of saved analyses by the names to show."""
    paths: dict[str, Path] = {}
    for run in runs:
        name, equals, file = run.partition("=")
        path = Path(run) if not equals or Path(run).exists() else Path(file)
        name = path.stem if str(path) == run else name
        if name in paths:
            raise InvalidInputError(
                "RUN",
                "have a name of its own",
                because=f"{name!r} came twice (NAME=FILE gives another)",
            )
        paths[name] = path
    return paths


def _draw(comparison: comparing.Comparison, path: Path) -> None:
    from matplotlib.figure import Figure

    from eigenboundary.displays import ComparisonDisplay
    from eigenboundary.displays.style import styled

    with styled():
        figure = Figure(figsize=(10.5, 0.42 * len(comparison.table) + 1.7), layout="constrained")
        ComparisonDisplay(comparison).plot(figure)
        with replaced_when_complete(path, "--picture") as partial:
            figure.savefig(partial, format=path.suffix.removeprefix("."), dpi=200)


def demo(shell: Terminal, folder: Path, *, seed: int, force: bool) -> None:
    """Run the three networks, compare them in a table and in a report."""
    from eigenboundary.experiments.demo import RUNS, run_demo

    report = folder / "report.html"
    results_are_here = any((folder / f"{run.name}.safetensors").exists() for run in RUNS)
    if report.exists() and not force and not results_are_here:
        raise InvalidInputError(
            "--output",
            "be an empty folder or an earlier demo's unless --force is given",
            because=f"{str(report)!r} exists",
        )
    reused: list[str] = []
    with StageProgress(shell) as progress:

        def update(run: Any, stage: str, done: int, total: int) -> None:
            progress.update(run.title, stage, done, total)
            if stage == "saved":
                reused.append(run.title)

        with arguments_named_as_options():
            analyses = run_demo(folder, seed=seed, force=force, progress=update)
    if reused:
        shell.say(f"Taken from an earlier run (--force computes anew): {', '.join(reused)}.")
    shell.out.print(tables.comparison(analyses))
    shell.out.print(tables.explanation())
    _write_report(analyses, report, title="Demo: three small networks")
    shell.say(
        f"Report: {report}   Results: {folder}{'/' if str(folder) != '/' else ''}*.safetensors"
    )


def _present(shell: Terminal, analysis: Analysis, outputs: Outputs) -> None:
    if outputs.report is not None:
        title = (outputs.save or outputs.report).stem
        _write_report({title: analysis}, outputs.report, title=None, overwrite=outputs.force)
        shell.say(f"Report: {outputs.report}")
    if outputs.pictures is not None:
        from eigenboundary.report import write_pictures

        with _named_as("--pictures", "folder"):
            made = write_pictures(analysis, outputs.pictures, overwrite=outputs.force)
        shell.say(f"Pictures: {len(made)} files in {outputs.pictures}")
    if outputs.as_json:
        typer.echo(json.dumps(analysis.summary()))
        return
    shell.out.print(tables.headline(analysis))
    shell.out.print(tables.eigenpairs(analysis))
    if analysis.sections is not None:
        shell.out.print(tables.sections(analysis))
    for note in tables.notes(analysis):
        shell.out.print(note)


def _write_report(
    analyses: dict[str, Analysis], path: Path, *, title: str | None, overwrite: bool = True
) -> None:
    from eigenboundary.report import write_report

    write_report(analyses, path, title=title, overwrite=overwrite)


def _load(path: Path, name: str) -> Analysis:
    with _named_as(name, "path"):
        return load(path)


@contextmanager
def _named_as(option: str, argument: str) -> Iterator[None]:
    """The library's sentences name its argument; here it is an option's."""
    try:
        yield
    except InvalidInputError as error:
        raise error.renamed(option) if error.name == argument else error from None


def _eigenpairs(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InvalidInputError("--k", "be an integer of at least 1 or 'all'", repr(text))
    return int(text)


def _same(one: Path, other: Path) -> bool:
    return one.absolute() == other.absolute() or (
        one.exists() and other.exists() and one.samefile(other)
    )
