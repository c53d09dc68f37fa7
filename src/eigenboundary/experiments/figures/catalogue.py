"""The figures by name, and the one call that makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eigenboundary.experiments.figures import (
    directions,
    dynamics,
    encoding,
    gradients,
    landscapes,
    margins,
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
    """How a figure is made.

    Attributes
    ----------
    name : str
        Also that of its files.
    title : str
    compute : callable
        From a workshop, the figure's numbers.
    draw : callable
        From the numbers, the page.
    films : callable, optional
        Writes animations of the numbers into a folder, and returns the files.
    """

    name: str
    title: str
    compute: Callable[[Workshop], Any]
    draw: Callable[[Any], Page]
    films: Callable[[Any, Path], tuple[Path, ...]] | None = None


@dataclass(frozen=True)
class Reproduced:
    """A figure that was made.

    Attributes
    ----------
    name, title : str
    files : tuple of Path
    seconds : dict of float
        By part: training, analysis, drawing.
    note : str
        What its reader has to know.
    """

    name: str
    title: str
    files: tuple[Path, ...]
    seconds: dict[str, float] = field(repr=False)
    note: str = ""


_ALL = (
    Figure("fig1", "Six points on a line", toy.compute_toy, toy.draw_toy),
    Figure(
        "fig2",
        "The top eigenvectors encode the boundary",
        encoding.compute_encoding,
        encoding.draw_encoding,
    ),
    Figure(
        "fig3",
        "Boundaries of different complexity",
        regimes.compute_regimes,
        regimes.draw_regimes,
    ),
    Figure(
        "fig4",
        "All training gradients against the top eigenvectors",
        regimes.compute_regimes,
        regimes.draw_alignments,
    ),
    Figure(
        "fig5",
        "Simplicity bias and margins",
        margins.compute_margins,
        margins.draw_margins,
    ),
    Figure(
        "fig6",
        "Images, on a t-SNE embedding",
        rows.compute_images,
        rows.draw_rows,
    ),
    Figure("appendix-datasets", "Other data sets", rows.compute_datasets, rows.draw_rows),
    Figure(
        "appendix-directions",
        "Top eigenvectors and control directions",
        directions.compute_directions,
        directions.draw_directions,
    ),
    Figure(
        "appendix-variants",
        "Other losses, units and optimizers",
        rows.compute_variants,
        rows.draw_rows,
    ),
    Figure("appendix-robust", "Adversarial training", rows.compute_robust, rows.draw_rows),
    Figure("appendix-subsets", "The Hessian of two classes", rows.compute_subsets, rows.draw_rows),
    Figure(
        "appendix-coherence",
        "Coherence of gradients",
        gradients.compute_coherence,
        gradients.draw_coherence,
    ),
    Figure(
        "appendix-dynamics",
        "Alignment through training",
        dynamics.compute_dynamics,
        dynamics.draw_dynamics,
    ),
    Figure(
        "appendix-motion",
        "The boundary along eigenvectors",
        landscapes.compute_motion,
        landscapes.draw_motion,
        landscapes.write_animations,
    ),
    Figure(
        "appendix-landscape",
        "The loss along and between",
        landscapes.compute_landscape,
        landscapes.draw_landscape,
    ),
)

#: The figures by name, in the paper's order.
FIGURES: dict[str, Figure] = {figure.name: figure for figure in _ALL}
#: Names that stand for several.
GROUPS: dict[str, tuple[str, ...]] = {
    "appendix": tuple(name for name in FIGURES if name.startswith("appendix")),
    "all": tuple(FIGURES),
}


def figure_names(chosen: Sequence[str]) -> list[str]:
    """The figures that some names stand for, each once, in the paper's order.

    Raises
    ------
    InvalidInputError
        If there is no figure of that name, or no name at all.

    Examples
    --------
    >>> figure_names(["fig2", "fig1", "fig2"])
    ['fig1', 'fig2']
    """
    known = (*FIGURES, *GROUPS)
    for name in chosen:
        if name not in known:
            raise InvalidInputError("figure", f"be one of {', '.join(known)}", repr(name))
    if not chosen:
        raise InvalidInputError("figure", f"be one of {', '.join(known)}", "none")
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
    """Make some of the paper's figures: train, analyse, draw, and write PNG and PDF.

    Parameters
    ----------
    figures : sequence of str
        Names of :data:`FIGURES` and :data:`GROUPS`.
    folder : path
        For the figures; networks and analyses are kept in it and taken from it.
    seed : int
        Of everything random.
    directory : path, optional
        Where the files of MNIST are. Without it Fig. 6 shows digits that come with scikit-learn.
    configs : path, optional
        A folder whose configurations take the place of shipped ones of the same name.
    resolution : int
        Points a side of pictures of the plane.
    overwrite : bool
        Make anew what the folder holds.
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
        If there is no such figure, the folder cannot be written to or holds networks trained
        otherwise, or the directory has no files of MNIST.
    KeyboardInterrupt
        On Ctrl-C; the same call goes on from there.
    """
    names = figure_names(figures)
    workshop = Workshop(
        folder,
        seed=seed,
        directory=directory,
        configs=None if configs is None else Path(configs),
        resolution=resolution,
        overwrite=overwrite,
        progress=progress,
    )
    made = []
    with one_thread():
        for name in names:
            made.append(_make(FIGURES[name], workshop))
            if done is not None:
                done(made[-1])
    return made


def _make(figure: Figure, workshop: Workshop) -> Reproduced:
    workshop.restart(figure.title)
    numbers = figure.compute(workshop)
    workshop.report("drawing", 0, 1)
    with workshop.timed("drawing"):
        files = figure.draw(numbers).save(workshop.folder, figure.name)
        if figure.films is not None:
            files += figure.films(numbers, workshop.folder)
    workshop.report("done", 1, 1)
    return Reproduced(
        figure.name, figure.title, files, workshop.seconds, getattr(numbers, "note", "")
    )
