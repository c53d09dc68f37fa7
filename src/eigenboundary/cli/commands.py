"""The commands that analyse, show and compare, once their options are read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from eigenboundary.analysis import comparison as comparing
from eigenboundary.analysis import pipeline
from eigenboundary.analysis.loading import load
from eigenboundary.analysis.result import Analysis
from eigenboundary.cli import sources
from eigenboundary.cli.process import ExitCode
from eigenboundary.cli.terminal import StageProgress, Terminal, options_named
from eigenboundary.curvature import Outcome
from eigenboundary.report import tables, write_pictures, write_report
from eigenboundary.report.words import GLOSSARY
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.files import new_file, new_folder, replaced_when_complete
from eigenboundary.runtime.processes import current
from eigenboundary.runtime.random_state import preserved_random_state

_PICTURES = (".png", ".pdf", ".svg")
# Options of `analyze` that eigenboundary.analyze takes as they are.
_SETTINGS = (
    *("curvature", "dtype", "device", "seed", "batch_size", "memory_limit", "method", "tolerance"),
    *("max_products", "complexity_tolerance", "epsilon", "margins", "bulk", "box"),
)


@dataclass(frozen=True)
class Outputs:
    """Where the results go."""

    save: Path | None = None
    report: Path | None = None
    picture: Path | None = None
    pictures: Path | None = None
    as_json: bool = False
    force: bool = False

    def check(self, *inputs: Path) -> None:
        """Raise, before anything is computed, if a file cannot be written or is an input."""
        if self.picture is not None and self.picture.suffix not in _PICTURES:
            wanted = f"end in {', '.join(_PICTURES)}"
            raise InvalidInputError("--picture", wanted, repr(str(self.picture)))
        places = {"--save": self.save, "--report": self.report, "--picture": self.picture}
        for name, path in places.items():
            if path is None:
                continue
            if path.exists() and not self.force:
                wanted = "be a new file unless --force is given"
                raise InvalidInputError(name, wanted, because=f"{str(path)!r} exists")
            new_file(path, overwrite=True, name=name)
            if any(_same(path, other) for other in inputs):
                wanted = "not be one of the files that are read"
                raise InvalidInputError(name, wanted, repr(str(path)))
        if self.pictures is not None:
            new_folder(self.pictures, overwrite=self.force, name="--pictures")
        if self.save is not None and self.report is not None and _same(self.save, self.report):
            got = f"{str(self.save)!r} for both"
            raise InvalidInputError("--save and --report", "be two files", got)


def analyze(shell: Terminal, given: dict[str, Any], outputs: Outputs) -> None:
    """Analyse by the options given, save and show; the exit code tells what did not converge."""
    processes = current()
    read = [Path(given[name]) for name in ("data", "test_data", "weights") if given[name]]
    first = processes.rank == 0
    processes.agree(lambda: outputs.check(*read) if first else None)
    with sources.current_folder_importable(), StageProgress(shell) as progress:
        arguments = processes.agree(lambda: _read(given, progress))
        analysis = pipeline.analyze(
            **arguments,
            **{name: given[name] for name in _SETTINGS},
            parameters=given["parameters"] or None,
            controls=tuple(given["controls"] or ()),
            progress=lambda stage, done, total: progress.report("Analysing", stage, done, total),
        )
    if not first:
        return
    if outputs.save is not None:
        analysis.save(outputs.save, overwrite=outputs.force)
        shell.say(f"Saved to {outputs.save}")
    _present(shell, analysis, outputs)
    if analysis.provenance.outcome is Outcome.INTERRUPTED:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if not analysis.converged.all():
        raise typer.Exit(ExitCode.NOT_CONVERGED)


def _read(given: dict[str, Any], progress: StageProgress) -> dict[str, Any]:
    """Return the arguments that are read from modules, files and lists of names."""
    k, loss, hook = given["k"], given["loss"], given["output_hook"]
    if k not in ("auto", "all") and not (k.isdecimal() and int(k)):
        raise InvalidInputError("--k", "be an integer of at least 1, 'all' or 'auto'", repr(k))
    class_names, feature_names = (
        tuple(name.strip() for name in given[names].split(",")) if given[names] else ()
        for names in ("class_names", "feature_names")
    )
    start = _load(given["resume"], "--resume") if given["resume"] else None
    progress.report("Reading", "model", 0, 1)
    with preserved_random_state(given["seed"]):
        model = sources.load_model(given["model"])
        if given["weights"]:
            sources.load_weights(model, given["weights"])
        progress.report("Reading", "data", 0, 1)
        samples = sources.load_data(given["data"], "--data", class_names)
        test_data = None
        if given["test_data"]:
            known = class_names or samples.class_names
            test_data = sources.load_data(given["test_data"], "--test-data", known).data
    progress.report("Reading", "done", 1, 1)
    return {
        "model": model,
        "data": samples.data,
        "k": int(k) if k.isdecimal() else k,
        "loss": sources.resolve(loss, "--loss") if ":" in loss else loss,
        "output": sources.resolve(hook, "--output-hook") if hook else None,
        "start": start,
        "test_data": test_data,
        "class_names": class_names or samples.class_names or None,
        "feature_names": feature_names or samples.feature_names or None,
    }


def show(shell: Terminal, run: Path, outputs: Outputs) -> None:
    """Print a saved analysis, or make its report or its pictures."""
    outputs.check(run)
    _present(shell, _load(run, "RUN"), outputs)


def compare(shell: Terminal, runs: list[str], outputs: Outputs) -> None:
    """Compare saved analyses, and say which is better altogether."""
    paths = _named(runs)
    outputs.check(*paths.values())
    analyses = {name: _load(path, "RUN") for name, path in paths.items()}
    comparison = comparing.compare(analyses)
    if outputs.report is not None:
        write_report(analyses, outputs.report, title="Comparison", overwrite=outputs.force)
        shell.say(f"Report: {outputs.report}")
    if outputs.picture is not None:
        _draw(comparison, outputs.picture)
        shell.say(f"Picture: {outputs.picture}")
    if outputs.as_json:
        found = {
            "best": comparison.best,
            "front": comparison.front,
            "k": comparison.k,
            "networks": json.loads(comparison.table.to_json(orient="index")),
            "differences": comparison.differences.to_dict(orient="records"),
            "reasons": comparison.reasons,
            "caveats": comparison.caveats,
        }
        typer.echo(json.dumps(found))
        return
    shell.show(tables.comparison(analyses))
    shell.out.print(Text(comparison.verdict, style="bold green" if comparison.best else "bold"))
    for reason in comparison.reasons:
        shell.out.print(Text(reason))
    _print_notes(shell, comparison.caveats)


def _named(runs: list[str]) -> dict[str, Path]:
    """Return the paths of saved analyses by the names to show."""
    paths: dict[str, Path] = {}
    for run in runs:
        name, equals, file = run.partition("=")
        path = Path(run) if not equals or Path(run).exists() else Path(file)
        name = path.stem if str(path) == run else name
        if name in paths:
            because = f"{name!r} came twice (NAME=FILE gives another)"
            raise InvalidInputError("RUN", "have a name of its own", because=because)
        paths[name] = path
    if len(paths) < 2:
        raise InvalidInputError("RUN", "be given at least twice", repr(runs[0]))
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
    """Analyse three networks and compare them in a table and in a report."""
    from eigenboundary.experiments.demo import RUNS, run_demo

    report = folder / "report.html"
    results_are_here = any((folder / f"{run.name}.safetensors").exists() for run in RUNS)
    if report.exists() and not force and not results_are_here:
        wanted = "be an empty folder or an earlier demo's unless --force is given"
        raise InvalidInputError("--output", wanted, because=f"{str(report)!r} exists")
    reused: list[str] = []
    with StageProgress(shell) as progress:

        def update(run: Any, stage: str, done: int, total: int) -> None:
            progress.report(run.title, stage, done, total)
            if stage == "saved":
                reused.append(run.title)

        analyses = run_demo(folder, seed=seed, overwrite=force, progress=update)
    if reused:
        shell.say(f"Taken from an earlier run (--force computes anew): {', '.join(reused)}.")
    shell.show(tables.comparison(analyses))
    for term in ("Effective number", "G_θ at ε", "Mass"):
        shell.out.print(Text(f"{term}: {GLOSSARY[term]}", style="dim"))
    write_report(analyses, report, title="Demo: three small networks", overwrite=True)
    shell.say(f"Report: {report}   Results: {folder / '*.safetensors'}")


def _present(shell: Terminal, analysis: Analysis, outputs: Outputs) -> None:
    """Write the report and the pictures, and print the analysis."""
    if outputs.report is not None:
        title = (outputs.save or outputs.report).stem
        write_report({title: analysis}, outputs.report, overwrite=outputs.force)
        shell.say(f"Report: {outputs.report}")
    if outputs.pictures is not None:
        with options_named(folder="--pictures"):
            made = write_pictures(analysis, outputs.pictures, overwrite=outputs.force)
        shell.say(f"Pictures: {len(made)} files in {outputs.pictures}")
    if outputs.as_json:
        typer.echo(json.dumps(analysis.summary()))
        return
    shown = [tables.numbers(analysis), tables.eigenpairs(analysis)]
    shown += [] if analysis.sections is None else [tables.sections(analysis)]
    for table in shown:
        shell.show(table)
        shell.out.print()
    _print_notes(shell, analysis.notes)


def _print_notes(shell: Terminal, notes: tuple[str, ...]) -> None:
    for note in notes:
        shell.out.print(Text.assemble(("Note: ", "bold"), note))


def _load(path: Path, name: str) -> Analysis:
    with options_named(path=name):
        return load(path)


def _same(one: Path, other: Path) -> bool:
    return one.absolute() == other.absolute() or (
        one.exists() and other.exists() and one.samefile(other)
    )
