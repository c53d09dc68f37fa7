"""Appendix: the loss along eigenvectors, along training and between networks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eigenboundary.displays import LossCurveDisplay, LossSurfaceDisplay
from eigenboundary.experiments.figures.page import SMALL, Page, fit, lettered, restyled
from eigenboundary.experiments.figures.workshop import Workshop
from eigenboundary.landscape import (
    LossCurve,
    LossPlane,
    LowLossCurve,
    loss_along,
    loss_between,
    low_loss_curve,
    plane_through,
)
from eigenboundary.runtime.formats import format_number

_CURVES = 5
_ITERATIONS = 1000
_FLOOR = 1e-7


@dataclass(frozen=True, repr=False)
class Landscape:
    """The loss along lines and curves."""

    along: dict[str, LossCurve]  # through θ along each top eigenvector
    training: LossCurve  # on the segment from the start of training to its end
    between: LowLossCurve  # from the simple boundary's network to the complex one's
    plane: LossPlane  # through both networks and the bend of the curve
    path: NDArray[np.float64]  # the curve in that plane, (m, 2)


def compute(workshop: Workshop) -> Landscape:
    """Evaluate the loss around and between networks of the blobs."""
    names = ("blobs-normal", "blobs-adversarial", "blobs-dynamics")
    normal, other, dynamics = map(workshop.network, names)
    analysis = workshop.analysis(normal)
    with workshop.timed("analysis"):
        problem = workshop.problem(normal, "float32")
        steps = np.linspace(-1, 1, 81)
        vectors = analysis.eigenvectors.T[:_CURVES]
        along = {f"$v_{i + 1}$": loss_along(problem, v, steps) for i, v in enumerate(vectors)}
        start = dynamics.result.checkpoints[min(dynamics.result.checkpoints)]
        training = loss_between(problem, start, dynamics.model)
        between = low_loss_curve(
            *(problem, normal.model, other.model),
            iterations=_ITERATIONS,
            seed=workshop.seed,
            progress=lambda at, _: workshop.report("low-loss curve", at, _ITERATIONS),
        )
        plane = plane_through(problem, between.start, between.end, between.bend, 41)
        path = plane.project(between.points(np.linspace(0, 1, 101)))
    return Landscape(along, training, between, plane, path)


def draw(data: Landscape) -> Page:
    """Draw two rows of two: eigenvectors, training; between two networks, their plane."""
    page = Page(4.6)
    places = ((0.6, 0.24, 2.6), (4.0, 0.24, 2.6), (0.6, 2.56, 2.6), (4.0, 2.56, 2.05))
    axes = [page.axes(*place, 1.65) for place in places]
    LossCurveDisplay(data.along, xlabel="distance from $\\theta$").plot(axes[0])
    training = "from the start, 0, to the end of training, 1"
    LossCurveDisplay(data.training, xlabel=training).plot(axes[1])
    curves = {"straight": data.between.segment, "low-loss curve": data.between.curve}
    LossCurveDisplay(curves, xlabel="from normal, 0, to adversarial, 1").plot(axes[2])
    # Where all samples are learnt, the loss falls without end; its depth means nothing.
    plane = replace(data.plane, loss=np.maximum(data.plane.loss, _FLOOR))
    names = ("normal", "adversarial", "bend")
    display = LossSurfaceDisplay(plane, names, data.path, labels=("distance", ""))
    surface = display.plot(axes[3])
    barriers = data.between.segment_barrier, data.between.barrier
    straight, curve = (format_number(max(barrier, 0.0), 2) for barrier in barriers)
    titles = (
        "along the top eigenvectors",
        "along training",
        f"barrier {straight} straight, {curve} on the curve",
        "training loss on the plane of the curve",
    )
    for i, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        fit(ax, lettered(i, title), scale=0.7)
        if i < 3:
            ax.set_ylabel("training loss")
    axes[2].set_ylim(bottom=max(axes[2].get_ylim()[0], _FLOOR))
    with restyled():
        axes[0].legend(loc="lower left", handlelength=1.4)
        axes[2].legend(loc="lower center", handlelength=1.4)
    axes[3].set_aspect("auto")
    surface.colorbar_.ax.tick_params(labelsize=SMALL, length=2)
    surface.colorbar_.set_label("")
    return page
