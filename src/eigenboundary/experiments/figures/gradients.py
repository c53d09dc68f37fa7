"""Appendix: coherence of the gradients of single training samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.displays import style
from eigenboundary.experiments.figures.page import Page, fit, restyled
from eigenboundary.experiments.figures.panels import row_name
from eigenboundary.experiments.figures.workshop import Workshop
from eigenboundary.experiments.unit_gradients import loss_gradients, unit
from eigenboundary.problem.derivatives import pullback
from eigenboundary.problem.problem import Problem

Array = NDArray[np.float64]

_NETWORKS = {"normal": "blobs-normal", "adversarial": "blobs-adversarial"}


@dataclass(frozen=True, repr=False)
class Coherence:
    """Cosines between the gradients of training samples, which are sorted by class."""

    name: str
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]  # (n,), ascending
    loss: Array  # (n, n), between gradients of losses
    logits: Array  # (C, n, n), between gradients of each logit


def logit_gradients(problem: Problem) -> Tensor:
    r"""Compute the gradients :math:`\nabla_\theta f_c(x_s)` at unit length, shape (C, n, p)."""
    basis = torch.eye(problem.n_classes, dtype=problem.dtype, device=problem.device)
    pulled = [
        pullback(problem.network, x, basis.expand(len(x), -1, -1))
        for x, _ in problem.samples.batches(64)
    ]
    return unit(torch.cat(pulled).transpose(0, 1))


def compute(workshop: Workshop) -> list[Coherence]:
    """Compute the cosines in the networks of a simple and a complex boundary."""
    found = []
    for name, config in _NETWORKS.items():
        network = workshop.network(config)
        with workshop.timed("analysis"):
            problem = workshop.problem(network)
            order = torch.argsort(problem.labels, stable=True)
            losses = loss_gradients(problem)[order]
            logits = logit_gradients(problem)[:, order]
            matrices = (problem.labels[order], losses @ losses.T, logits @ logits.transpose(1, 2))
            arrays = (matrix.cpu().numpy() for matrix in matrices)
            found.append(Coherence(name, network.data.class_names, *arrays))
    return found


def draw(found: list[Coherence]) -> Page:
    """Draw a row a network: the losses, then each logit."""
    columns = 1 + len(found[0].logits)
    left, top, gap = 0.22, 0.22, 0.1
    side = (6.72 - left - (columns - 1) * gap) / columns
    step = side + 0.2
    page = Page(top + step * len(found) + 0.26)
    for i, coherence in enumerate(found):
        axes = page.row(columns, left, top + i * step, (side, side), gap)
        row_name(axes[0], coherence.name)
        names = ["loss", *(f"logit of “{name}”" for name in coherence.class_names)]
        for ax, matrix, name in zip(axes, [coherence.loss, *coherence.logits], names, strict=True):
            colors: Any = {"cmap": style.ALIGNMENT_MAP, "norm": style.ALIGNMENT_RANGE}
            with restyled():
                image = ax.imshow(matrix, interpolation="nearest", **colors)
                for edge in np.flatnonzero(np.diff(coherence.labels)):
                    ax.axhline(edge + 0.5, color=style.INK, linewidth=0.5)
                    ax.axvline(edge + 0.5, color=style.INK, linewidth=0.5)
            ax.set(xticks=[], yticks=[])
            fit(ax, name if i == 0 else "", scale=1)
            for label in range(len(coherence.class_names)):
                first, last = np.flatnonzero(coherence.labels == label)[[0, -1]]
                strip: Any = {"facecolor": style.class_color(label), "linewidth": 0}
                strip |= {"transform": ax.get_xaxis_transform(), "clip_on": False}
                ax.add_patch(Rectangle((first - 0.5, -0.045), last - first + 1, 0.03, **strip))
    below = top + step * len(found) - 0.05
    page.class_legend(found[0].class_names, left, below)
    page.bar(image, 5.5, below + 0.02, "cosine of the gradients of two samples")
    return page
