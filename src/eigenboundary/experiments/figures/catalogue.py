"""The figures by name, and the one call that makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from eigenboundary.experiments.figures import (
    directions,
    dynamics,
    encoding,
    gradients,
    landscapes,
    margins,
    motion,
    regimes,
    rows,
    toy,
)
from eigenboundary.experiments.figures.page import Page
from eigenboundary.experiments.figures.workshop import FigureProgress, Workshop
from eigenboundary.experiments.threads import one_thread
from eigenboundary.runtime.errors import InvalidInputError


@dataclass(frozen=True)
class Figure:
    """How a figure is made: its numbers from a workshop, a page from the numbers."""

    name: str  # also the name of its files
    title: str
    compute: Callable[[Workshop], Any]
    draw: Callable[[Any], Page]
    #: Writes animations of the numbers into a folder, and returns their files.
    films: Callable[[Any, Path], tuple[Path, ...]] | None = None


@dataclass(frozen=True)
class Reproduced:
    """A reproduced figure, with a note for the reader."""

    name: str
    title: str
    files: tuple[Path, ...]
    seconds: dict[str, float] = field(repr=False)  # by part: training, analysis, drawing
    note: str = ""


def _rows(name: str, title: str, configs: dict[str, str]) -> Figure:
    return Figure(f"appendix-{name}", title, partial(rows.compute, configs), rows.draw)


def _appendix(name: str, title: str, module: Any) -> Figure:
    films = getattr(module, "write_animations", None)
    return Figure(f"appendix-{name}", title, module.compute, module.draw, films)


_ALL = (
    Figure("fig1", "Six points on a line", toy.compute, toy.draw),
    Figure("fig2", "The top eigenvectors encode the boundary", encoding.compute, encoding.draw),
    Figure("fig3", "Boundaries of different complexity", regimes.compute, regimes.draw),
    Figure("fig4", "Gradients against top eigenvectors", regimes.compute, regimes.draw_alignments),
    Figure("fig5", "Simplicity bias and margins", margins.compute, margins.draw),
    Figure("fig6", "Images, on a t-SNE embedding", rows.compute_images, rows.draw),
    _rows("datasets", "Other data sets", rows.DATASETS),
    _appendix("directions", "Top eigenvectors and control directions", directions),
    _rows("variants", "Other losses, units and optimizers", rows.VARIANTS),
    _rows("robust", "Adversarial training", rows.ROBUST),
    Figure("appendix-subsets", "The Hessian of two classes", rows.compute_subsets, rows.draw),
    _appendix("coherence", "Coherence of gradients", gradients),
    _appendix("dynamics", "Alignment through training", dynamics),
    _appendix("motion", "The boundary along eigenvectors", motion),
    _appendix("landscape", "The loss along and between", landscapes),
)

#: The figures by name, in the paper's order.
FIGURES: dict[str, Figure] = {figure.name: figure for figure in _ALL}
#: Names that stand for several.
GROUPS: dict[str, tuple[str, ...]] = {
    "appendix": tuple(name for name in FIGURES if name.startswith("appendix")),
    "all": tuple(FIGURES),
}


def figure_names(chosen: Sequence[str]) -> list[str]:
    """Return the figures that some names stand for, each once, in the paper's order.

    Raises
    ------
    InvalidInputError
        If a name is not one of a figure or group, or there is no name.

    Examples
    --------
    >>> figure_names(["fig2", "fig1", "fig2"])
    ['fig1', 'fig2']
    """
    known = (*FIGURES, *GROUPS)
    unknown = [repr(name) for name in chosen if name not in known]
    if unknown or not chosen:
        got = unknown[0] if unknown else "none"
        raise InvalidInputError("figure", f"be one of {', '.join(known)}", got)
    wanted = {each for name in chosen for each in GROUPS.get(name, (name,))}
    return [name for name in FIGURES if name in wanted]


def reproduce(
    figures: Sequence[str],
    folder: str | Path,
    *,
    seed: int = 1,
    directory: str | Path | None = None,
    configs: str | Path | None = None,
    resolution: int = 120,
    overwrite: bool = False,
    progress: FigureProgress | None = None,
    done: Callable[[Reproduced], None] | None = None,
) -> list[Reproduced]:
    """Reproduce some of the paper's figures: train, analyse, draw, and write PNG and PDF.

    Parameters
    ----------
    figures : sequence of str
        Names of :data:`FIGURES` and :data:`GROUPS`.
    folder : path
        Folder for the figures; it keeps networks and analyses, which later calls use again.
    seed : int
        Seed of everything random.
    directory : path, optional
        Where the files of MNIST are. Without it Fig. 6 shows digits that come with scikit-learn.
    configs : path, optional
        A folder whose configurations take the place of shipped ones of the same name.
    resolution : int
        Points a side of pictures of the plane.
    overwrite : bool
        Compute anew what the folder holds.
    progress : callable, optional
        Called as ``progress(figure, stage, done, total)``.
    done : callable, optional
        Called with each figure as soon as its files are written.

    Returns
    -------
    list of Reproduced

    Raises
    ------
    InvalidInputError
        If there is no such figure, the folder cannot be written to or holds networks of other
        configurations, or the directory has no files of MNIST.
    KeyboardInterrupt
        On Ctrl-C; the same call goes on from there.
    """
    chosen = [FIGURES[name] for name in figure_names(figures)]
    where = None if configs is None else Path(configs)
    given: dict[str, Any] = {"seed": seed, "directory": directory, "configs": where}
    given |= {"resolution": resolution, "overwrite": overwrite, "progress": progress}
    workshop = Workshop(folder, **given)
    made = []
    with one_thread():
        for figure in chosen:
            workshop.restart(figure.title)
            numbers = figure.compute(workshop)
            workshop.report("drawing", 0, 1)
            with workshop.timed("drawing"):
                files = figure.draw(numbers).save(workshop.folder, figure.name)
                if figure.films is not None:
                    files += figure.films(numbers, workshop.folder)
            workshop.report("done", 1, 1)
            note = getattr(numbers, "note", "")
            made.append(Reproduced(figure.name, figure.title, files, workshop.seconds, note))
            if done is not None:
                done(made[-1])
    return made
