r"""Fig. 2: the top eigenvectors encode the boundary.

The paper composes the boundary from the alignments as :math:`\sum_i \lambda_i A_i(x)`, which
depends on the arbitrary signs of the eigenvectors. The jump of the alignments from one point to
the next, :math:`\frac12 \sqrt{\sum_i (\Delta A_i)^2}`, does not: a reinforcing gradient reverses
where the prediction changes, so the jump is the gradient's share in the span of the eigenvectors
there, and close to zero elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from eigenboundary.analysis.result import Analysis
from eigenboundary.boundary.planes import Plane
from eigenboundary.displays import style
from eigenboundary.experiments.figures.page import Page, fit, lettered, restyled
from eigenboundary.experiments.figures.panels import ALIGNMENT, plane_of, plane_row, vector_names
from eigenboundary.experiments.figures.workshop import Workshop

Array = NDArray[np.float64]

_VECTORS = 5
# The grid's factor: jumps are lines as wide as its cells.
_FINER = 2
_PANEL = (1.58, 1.5)
_GAP = 0.11
_JUMP_MAP, _JUMP_RANGE = "Greys", Normalize(0.0, 1.0)


@dataclass(frozen=True, repr=False)
class EncodingData:
    """The numbers of Fig. 2."""

    analysis: Analysis
    grid: Plane  # finer than the analysis' own
    #: The paper's weighted sum of the top alignments, (r, r), at most 1 in size.
    composed: Array
    #: The jumps of the same alignments, (r, r), in [0, 1].
    jump: Array


def weighted_sum(grid: Plane, eigenvalues: Array) -> Array:
    r"""Compute :math:`\sum_i \lambda_i A_i`, divided by its largest size.

    Examples
    --------
    >>> grid = Plane(np.arange(2.0), np.arange(1.0), np.zeros((1, 2, 2)), np.ones((1, 2, 3)))
    >>> weighted_sum(grid, np.array([3.0, 1.0])).tolist()
    [[1.0, 1.0]]
    """
    total = grid.alignment[..., : len(eigenvalues)].astype(np.float64) @ eigenvalues
    return np.asarray(total / max(np.abs(total).max(), np.finfo(float).tiny))


def jumps(grid: Plane, k: int) -> Array:
    r"""Compute :math:`\frac12 \sqrt{\sum_{i \le k} (\Delta A_i)^2}` to the next row or column.

    Examples
    --------
    >>> alignment = np.array([[[0.8], [-0.8], [-0.8]]])
    >>> grid = Plane(np.arange(3.0), np.arange(1.0), np.zeros((1, 3, 2)), alignment)
    >>> jumps(grid, 1).tolist()
    [[0.8, 0.0, 0.0]]
    """
    values = grid.alignment[..., :k].astype(np.float64)
    result = np.zeros(values.shape[:2])
    for axis in (0, 1):
        step = np.linalg.norm(np.diff(values, axis=axis), axis=-1) / 2
        inside = tuple(slice(0, size) for size in step.shape)
        result[inside] = np.maximum(result[inside], step)
    return result


def compute(workshop: Workshop) -> EncodingData:
    """Train the network on the blobs and analyse it."""
    network = workshop.network("blobs-normal")
    analysis = workshop.analysis(network)
    with workshop.timed("analysis"):
        values = analysis.eigenvalues[:_VECTORS]
        grid = plane_of(workshop, network, analysis, _VECTORS, finer=_FINER)
        composed, jump = weighted_sum(grid, values), jumps(grid, len(values))
    return EncodingData(analysis, grid, composed, jump)


def draw(data: EncodingData) -> Page:
    """Draw regions, five alignments and what they compose, in two rows of four."""
    page = Page(3.94)
    left, tops = 0.05, (0.22, 2.02)
    rows = [page.row(4, left, top, _PANEL, _GAP) for top in tops]
    names = ["decision regions", *vector_names(data.analysis, _VECTORS)]
    titles = [lettered(i, name) for i, name in enumerate(names)]
    plane_row(rows[0] + rows[1][:2], data.analysis, grid=data.grid, titles=titles)
    sums, jump = rows[1][2:]
    _surface(sums, data.grid, data.composed, style.ALIGNMENT_MAP, style.ALIGNMENT_RANGE)
    # Three cells wide, to be seen.
    _surface(jump, data.grid, maximum_filter(data.jump, 3), _JUMP_MAP, _JUMP_RANGE)
    fit(sums, lettered(6, r"$\Sigma\,\lambda_i A_i$, scaled"))
    fit(jump, lettered(7, r"jumps of $A_1 \ldots A_5$"))
    below = tops[1] + _PANEL[1] + 0.1
    page.class_legend(data.analysis.class_names, left, below)
    page.bar(ALIGNMENT, left + 2 * (_PANEL[0] + _GAP) + 0.4, below + 0.02, "alignment $A_i(x)$")
    jumps_at = left + 3 * (_PANEL[0] + _GAP) + 0.42
    drawn = ScalarMappable(_JUMP_RANGE, _JUMP_MAP)
    page.bar(drawn, jumps_at, below + 0.02, "jump", ticks=(0, 0.5, 1))
    return page


def _surface(ax: Axes, grid: Plane, values: Array, colors: str, norm: Normalize) -> None:
    how: Any = {"cmap": colors, "norm": norm, "shading": "nearest", "rasterized": True}
    with restyled():
        ax.pcolormesh(grid.first, grid.second, values, **how)
    ax.set(xlim=grid.first[[0, -1]], ylim=grid.second[[0, -1]], xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set_visible(False)
