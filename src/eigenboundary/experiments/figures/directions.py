"""Appendix: top eigenvectors align with the boundary; control directions do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from eigenboundary.alignment.reinforcing_gradients import training_alignment
from eigenboundary.analysis.result import Analysis
from eigenboundary.boundary.planes import Plane, plane_of_inputs
from eigenboundary.curvature import Eigenpairs, HessianOperator
from eigenboundary.curvature.spectrum.controls import CONTROLS, control_vectors
from eigenboundary.displays import ControlsDisplay
from eigenboundary.experiments.figures.page import SMALL, Page, fit
from eigenboundary.experiments.figures.panels import ALIGNMENT, plane_row, vector_names
from eigenboundary.experiments.figures.workshop import Workshop
from eigenboundary.runtime.formats import format_number

_SHOWN = 4
_DIRECTIONS = 10


@dataclass(frozen=True)
class Directions:
    """The numbers of the figure."""

    analysis: Analysis  # with all eigenpairs that are not null
    #: Alignment over the plane with the first directions of each kind; "top" comes first.
    planes: dict[str, Plane]
    #: Alignment (n, 10) of the training samples with the directions of each kind.
    alignment: dict[str, np.ndarray]


def compute(workshop: Workshop) -> Directions:
    """Align the samples, and the plane, with the top eigenvectors and with the controls."""
    network = workshop.network("blobs-normal")
    analysis = workshop.analysis(network, None, grid=False)
    with workshop.timed("analysis"):
        problem, made_by = workshop.problem(network), analysis.provenance
        held = analysis.eigenvalues, analysis.eigenvectors, analysis.residuals, analysis.converged
        values, pairs, residuals, converged = (torch.from_numpy(np.array(array)) for array in held)
        scale = float(np.abs(analysis.eigenvalues).max())
        found_by = made_by.tolerance, scale, made_by.solver, made_by.products
        known = Eigenpairs(values, pairs, residuals, converged, *found_by)
        operator, k = HessianOperator(problem), min(_DIRECTIONS, analysis.k)
        vectors = {"top": known.vectors[:, :k]}
        for kind in CONTROLS:
            workshop.report(f"control directions: {kind.replace('_', ' ')}", 0, 1)
            vectors[kind] = control_vectors(operator, kind, k, seed=workshop.seed, eigenpairs=known)
        x, resolution = network.data.train[0], workshop.resolution
        planes = {
            kind: plane_of_inputs(problem, v[:, :_SHOWN], x, resolution)
            for kind, v in vectors.items()
        }
        cosines = {kind: training_alignment(problem, v).cosines for kind, v in vectors.items()}
    return Directions(analysis, planes, {kind: found.numpy() for kind, found in cosines.items()})


def draw(data: Directions) -> Page:
    """Draw a row of planes a kind, and below them the distribution over the training samples."""
    left, top, side, gap = 0.05, 0.22, 1.27, 0.07
    step = side + 0.24
    page = Page(top + step * len(data.planes) + 0.25 + 1.75)
    for i, (kind, plane) in enumerate(data.planes.items()):
        down = top + i * step
        axes = page.row(1 + _SHOWN, left, down, (side, side), gap)
        if kind == "top":
            titles = ["decision regions", *vector_names(data.analysis, _SHOWN)]
        else:
            largest = np.abs(plane.alignment).max((0, 1))
            titles = ["", *(f"$|A|$ ≤ {format_number(v, 2)}" for v in largest)]
            axes[0].set_visible(False)
            name = kind.replace("lowest", "lowest_eigenvectors").replace("_", "\n")
            page.write(left + side, down + side / 2, name, ha="right", va="center")
        plane_row(axes, data.analysis, grid=plane, titles=titles)
    down = top + step * len(data.planes) - 0.1
    page.class_legend(data.analysis.class_names, left, down)
    page.bar(ALIGNMENT, 5.5, down + 0.02, "alignment $A(x)$")
    ax = page.axes(1.55, down + 0.6, 5.1, 1.1)
    controls = {kind: values for kind, values in data.alignment.items() if kind != "top"}
    ControlsDisplay(data.alignment["top"], controls, data.analysis.n_parameters).plot(ax)
    fit(ax, "all training samples", scale=0.8)
    ax.tick_params(axis="y", length=0, labelsize=SMALL)
    return page
