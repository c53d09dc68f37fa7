"""Appendix: the boundary along eigenvectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eigenboundary.analysis.result import Analysis
from eigenboundary.boundary.motion import BoundaryMotion, boundary_along
from eigenboundary.displays import BoundaryMotionDisplay
from eigenboundary.experiments.figures.page import Page, drop_legend, fit
from eigenboundary.experiments.figures.panels import row_name
from eigenboundary.experiments.figures.workshop import Workshop

_MOVED = 3
_FRAMES, _PANELS = 13, 5
# To second order the loss rises by so much at the ends of the motion.
_RISE = 1.0


@dataclass(frozen=True, repr=False)
class Motion:
    """Decision regions along v_1, v_2, v_3, each as far as raises the loss alike."""

    analysis: Analysis
    motions: list[BoundaryMotion]


def compute(workshop: Workshop) -> Motion:
    """Move θ along the top three eigenvectors."""
    network = workshop.network("blobs-normal")
    analysis = workshop.analysis(network)
    with workshop.timed("analysis"):
        problem = workshop.problem(network, "float32")
        motions = []
        pairs = zip(analysis.eigenvalues[:_MOVED], analysis.eigenvectors.T, strict=False)
        for value, vector in pairs:
            reach = float(np.sqrt(2 * _RISE / max(value, 1e-6)))
            steps = reach * np.linspace(-1, 1, _FRAMES)  # the middle one is zero exactly
            motions.append(boundary_along(problem, vector, steps, resolution=workshop.resolution))
    return Motion(analysis, motions)


def draw(data: Motion) -> Page:
    """Draw a row an eigenvector, with θ in the middle."""
    left, top, side, gap = 0.22, 0.22, 1.24, 0.07
    step = side + 0.24
    page = Page(top + step * len(data.motions) + 0.1)
    for i, display in enumerate(_displays(data)):
        axes = page.row(_PANELS, left, top + i * step, (side, side), gap)
        display.plot(axes)
        drop_legend(axes[0])
        for ax in axes:
            fit(ax, ax.get_title(loc="left"), scale=0.55)
        row_name(axes[0], f"along $v_{i + 1}$")
    below = top + step * len(data.motions) - 0.16
    page.class_legend(data.analysis.class_names, left, below)
    page.remark(6.7, below, r"grey line: the boundary at $\theta$", ha="right")
    return page


def write_animations(data: Motion, folder: Path) -> tuple[Path, ...]:
    """Write the motion as films, one an eigenvector."""
    return tuple(
        display.save_animation(folder / f"appendix-motion-v{i}.gif", fps=8, dpi=80)
        for i, display in enumerate(_displays(data), 1)
    )


def _displays(data: Motion) -> list[BoundaryMotionDisplay]:
    samples = data.analysis.inputs, data.analysis.labels
    how: dict[str, Any] = {"n_panels": _PANELS, "class_names": data.analysis.class_names}
    return [
        BoundaryMotionDisplay(motion, *samples, direction=f"$v_{i}$", **how)
        for i, motion in enumerate(data.motions, 1)
    ]
