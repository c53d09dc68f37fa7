"""Figures of one form: a row a network, with its regions or embedding and the top alignments.

Fig. 6 and, in the appendix, other data sets, other losses, units and optimizers, adversarial
training, and the Hessian of two classes at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from eigenboundary.analysis.result import Analysis
from eigenboundary.boundary.planes import Plane
from eigenboundary.displays import embed
from eigenboundary.experiments.figures.page import Page
from eigenboundary.experiments.figures.panels import (
    ALIGNMENT,
    embedding_row,
    plane_of,
    plane_row,
    row_name,
)
from eigenboundary.experiments.figures.workshop import Workshop

Array = NDArray[np.float64]

#: Configurations by the name of their row.
DATASETS = {
    "circles": "circles-normal",
    "half moons": "half-moons-normal",
    "two classes": "hierarchical-two",
    "four classes": "hierarchical-four",
    "Iris": "iris-normal",
}
VARIANTS = {
    "MSE": "blobs-mse",
    "NLL": "blobs-nll",
    "sigmoid": "blobs-sigmoid",
    "Adam": "blobs-adam",
}
ROBUST = {"normal": "blobs-normal", "robust": "blobs-robust"}
_VECTORS = 5
_NO_MNIST = "Digits of 8×8 pixels from scikit-learn; MNIST needs its files (--directory)."


@dataclass(frozen=True)
class Row:
    """A network and what its row shows."""

    name: str
    analysis: Analysis
    #: The plane of two-dimensional inputs, where it is not the analysis' own.
    grid: Plane | None = None
    #: The embedding (n, 2) of other inputs, and the method that made it.
    embedding: Array | None = field(default=None, repr=False)
    method: str = ""


@dataclass(frozen=True)
class Rows:
    """The rows of a figure, and a remark below them."""

    rows: tuple[Row, ...]
    note: str = ""


def compute(configs: dict[str, str], workshop: Workshop) -> Rows:
    """Analyse one network a configuration."""
    return Rows(tuple(_row(workshop, name, config) for name, config in configs.items()))


def compute_images(workshop: Workshop) -> Rows:
    """Analyse a simple and a complex boundary between images: MNIST, or digits without it."""
    data = "digits" if workshop.directory is None else "mnist"
    normal = _row(workshop, "normal", f"{data}-normal", "t-SNE")
    # Both networks have the same images, so one embedding serves both.
    adversarial = _row(workshop, "adversarial", f"{data}-adversarial", "t-SNE", normal.embedding)
    return Rows((normal, adversarial), _NO_MNIST if workshop.directory is None else "")


def compute_subsets(workshop: Workshop) -> Rows:
    """Analyse the Hessian of all classes, and of two at a time, of one network."""
    network = workshop.network("blobs-normal")
    (x, y), names = network.data.train, network.data.class_names
    rows = [Row("all classes", workshop.analysis(network))]
    for one, other in combinations(range(len(names)), 2):
        kept = torch.isin(y, torch.tensor([one, other]))
        part, name = (x[kept], y[kept]), f"classes{one}{other}"
        analysis = workshop.analysis(network, name=name, data=part, grid=False)
        with workshop.timed("analysis"):
            # Over the plane of all samples, so that all rows show one plane.
            plane = plane_of(workshop, network, analysis, _VECTORS)
        rows.append(Row(f"{names[one]},\n{names[other]}", analysis, plane))
    return Rows(tuple(rows))


def _row(
    workshop: Workshop, name: str, config: str, method: str = "PCA", embedding: Array | None = None
) -> Row:
    network = workshop.network(config)
    analysis = workshop.analysis(network)
    if analysis.grid is not None:
        return Row(name, analysis)
    if embedding is None:
        with workshop.timed("analysis"):
            workshop.report(f"{method} of {network.config.title}", 0, 1)
            # All training inputs: an analysis keeps fewer of a large set.
            inputs = network.data.train[0].flatten(1).numpy()
            embedding = embed(inputs, {"PCA": "pca", "t-SNE": "tsne"}[method], workshop.seed)
    return Row(name, analysis, embedding=embedding, method=method)


def draw(data: Rows) -> Page:
    """Draw classes and top five alignments, a row a network."""
    columns = 1 + _VECTORS
    left = 0.36 if any("\n" in row.name for row in data.rows) else 0.22
    top, gap = 0.22, 0.06
    side = (6.72 - left - (columns - 1) * gap) / columns
    step = side + 0.25
    names = [row.analysis.class_names for row in data.rows]
    # Rows that have other classes than the row before; the legend is drawn anew above them.
    told = [i for i in range(len(names)) if i == 0 or names[i] != names[i - 1]]
    extra = 0.2
    below = extra * (len(told) - 1) + 0.12 + 0.18 * bool(data.note)
    page, down = Page(top + step * len(data.rows) + below), top
    for i, row in enumerate(data.rows):
        axes = page.row(1 + min(_VECTORS, row.analysis.k), left, down, (side, side), gap)
        if row.embedding is None:
            plane_row(axes, row.analysis, grid=row.grid, scale=0.45)
            if i > 0:
                axes[0].set_title("", loc="left")
        else:
            title = f"classes, {row.method}" if len(row.method) < 4 else row.method
            embedding_row(axes, row.embedding, row.analysis, title)
        row_name(axes[0], row.name)
        down += step
        if i + 1 == len(data.rows) or i + 1 in told:
            page.class_legend(names[i], left, down - 0.17)
            down += extra if i + 1 < len(data.rows) else 0
    page.bar(ALIGNMENT, 5.5, down - 0.15, "alignment $A_i(x)$")
    if data.note:
        page.remark(left, page.height - 0.15, data.note)
    return page
