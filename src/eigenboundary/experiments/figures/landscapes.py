"""Appendix: the boundary and the loss along eigenvectors, and the loss between networks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from eigenboundary.boundary.motion import BoundaryMotion, boundary_along
from eigenboundary.displays import (
    BoundaryMotionDisplay,
    LossCurveDisplay,
    LossSurfaceDisplay,
    style,
)
from eigenboundary.experiments.figures.page import SMALL, Page, fit, lettered, restyled
from eigenboundary.experiments.figures.panels import row_name
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

Array = NDArray[np.float64]

_NORMAL, _OTHER, _DYNAMICS = "blobs-normal", "blobs-adversarial", "blobs-dynamics"
_MOVED = 3
_FRAMES, _PANELS = 13, 5
# To second order the loss rises by so much at the ends of the motion.
_RISE = 1.0
_CURVES = 5
_ITERATIONS = 1000
_FLOOR = 1e-7


@dataclass(frozen=True)
class Motion:
    """Decision regions along the top eigenvectors, each as far as raises the loss alike.

    Attributes
    ----------
    class_names : tuple of str
    inputs, labels : array, shape (n, 2) and (n,)
    motions : list of BoundaryMotion
        Along v_1, v_2, v_3.
    """

    class_names: tuple[str, ...]
    inputs: Array = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    motions: list[BoundaryMotion] = field(repr=False)


def compute_motion(workshop: Workshop) -> Motion:
    """Move θ along the top three eigenvectors."""
    network = workshop.network(_NORMAL)
    analysis = workshop.analysis(network)
    with workshop.timed("analysis"):
        problem = workshop.problem(network, "float32")
        motions = []
        for value, vector in zip(
            analysis.eigenvalues[:_MOVED], analysis.eigenvectors.T[:_MOVED], strict=True
        ):
            reach = float(np.sqrt(2 * _RISE / max(value, 1e-6)))
            steps = reach * np.linspace(-1, 1, _FRAMES)  # the middle one is zero exactly
            motions.append(boundary_along(problem, vector, steps, resolution=workshop.resolution))
        x, y = network.data.train
        return Motion(network.data.class_names, x.double().numpy(), y.numpy(), motions)


def draw_motion(data: Motion) -> Page:
    """A row an eigenvector, θ in the middle."""
    left, top, side, gap = 0.22, 0.22, 1.24, 0.07
    step = side + 0.24
    page = Page(top + step * len(data.motions) + 0.1)
    for i in range(len(data.motions)):
        axes = page.row(_PANELS, left, top + i * step, (side, side), gap)
        display = _display(data, i)
        display.plot(axes)
        legend = axes[0].get_legend()
        if legend is not None:
            legend.remove()
        for ax in axes:
            fit(ax, ax.get_title(loc="left"), scale=0.55)
        row_name(axes[0], f"along $v_{i + 1}$")
    below = top + step * len(data.motions) - 0.16
    page.class_legend(range(len(data.class_names)), data.class_names, left, below)
    page.write(
        *(6.7, below, r"grey line: the boundary at $\theta$"),
        ha="right",
        fontsize=SMALL,
        color=style.MUTED,
    )
    return page


def write_animations(data: Motion, folder: Path) -> tuple[Path, ...]:
    """The same motion as films, one an eigenvector."""
    return tuple(
        _display(data, i).save_animation(folder / f"appendix-motion-v{i + 1}.gif", fps=8, dpi=80)
        for i in range(len(data.motions))
    )


def _display(data: Motion, i: int) -> BoundaryMotionDisplay:
    return BoundaryMotionDisplay(
        data.motions[i],
        data.inputs,
        data.labels,
        direction=f"$v_{i + 1}$",
        n_panels=_PANELS,
        class_names=data.class_names,
    )


@dataclass(frozen=True)
class Landscape:
    """The loss along lines and curves.

    Attributes
    ----------
    along : dict of LossCurve
        Through θ along each top eigenvector.
    training : LossCurve
        On the segment from where training started to where it ended.
    between : LowLossCurve
        From the network of the simple boundary to that of the complex one.
    plane : LossPlane
        Through both and the bend of the curve.
    path : array, shape (m, 2)
        The curve in that plane.
    """

    along: dict[str, LossCurve]
    training: LossCurve
    between: LowLossCurve
    plane: LossPlane
    path: Array = field(repr=False)


def compute_landscape(workshop: Workshop) -> Landscape:
    """Evaluate the loss around and between networks of the blobs."""
    normal, other = workshop.network(_NORMAL), workshop.network(_OTHER)
    dynamics = workshop.network(_DYNAMICS)
    analysis = workshop.analysis(normal)
    with workshop.timed("analysis"):
        problem = workshop.problem(normal, "float32")
        steps = np.linspace(-1, 1, 81)
        vectors = analysis.eigenvectors.T[:_CURVES]
        along = {f"$v_{i + 1}$": loss_along(problem, v, steps) for i, v in enumerate(vectors)}
        start = dynamics.result.checkpoints[min(dynamics.result.checkpoints)]
        training = loss_between(problem, start, dynamics.model)

        def report(iteration: int, _: float) -> None:
            workshop.report("low-loss curve", iteration, _ITERATIONS)

        between = low_loss_curve(
            problem,
            normal.model,
            other.model,
            iterations=_ITERATIONS,
            seed=workshop.seed,
            progress=report,
        )
        plane = plane_through(problem, between.start, between.end, between.bend, 41)
        path = plane.project(between.points(np.linspace(0, 1, 101)))
    return Landscape(along, training, between, plane, path)


def draw_landscape(data: Landscape) -> Page:
    """Two rows of two: eigenvectors and training; between two networks and their plane."""
    page = Page(4.6)
    lefts, tops, height = (0.6, 4.0), (0.24, 2.56), 1.65
    axes = [page.axes(left, top, 2.6, height) for top in tops for left in lefts]
    axes[3].remove()
    axes[3] = page.axes(4.0, tops[1], 2.05, height)
    names = ("distance from $\\theta$", "from the start, 0, to the end of training, 1")
    LossCurveDisplay(data.along, xlabel=names[0]).plot(axes[0])
    LossCurveDisplay(data.training, xlabel=names[1]).plot(axes[1])
    curves = {"straight": data.between.segment, "low-loss curve": data.between.curve}
    LossCurveDisplay(curves, xlabel="from normal, 0, to adversarial, 1").plot(axes[2])
    # Where all is learnt, the loss falls without end; how far says nothing.
    plane = replace(data.plane, loss=np.maximum(data.plane.loss, _FLOOR))
    surface = LossSurfaceDisplay(
        plane, ("normal", "adversarial", "bend"), data.path, labels=("distance", "")
    ).plot(axes[3])
    straight, curve = (
        style.format_number(max(height, 0.0), 2)
        for height in (data.between.segment_barrier, data.between.barrier)
    )
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
    _legend(axes[0], "lower left")
    _legend(axes[2], "lower center")
    axes[3].set_aspect("auto")
    surface.colorbar_.ax.tick_params(labelsize=SMALL, length=2)
    surface.colorbar_.set_label("")
    return page


def _legend(ax: Axes, place: Literal["lower left", "lower center"]) -> None:
    with restyled():
        ax.legend(loc=place, handlelength=1.4)
