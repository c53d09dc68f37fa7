"""Gradients of single training samples, as unit vectors."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.displays import style
from eigenboundary.experiments.figures.page import Page, fit, restyled
from eigenboundary.experiments.figures.panels import row_name
from eigenboundary.experiments.figures.workshop import Workshop
from eigenboundary.problem.derivatives import pullback
from eigenboundary.problem.problem import Problem

Array = NDArray[np.float64]

_NETWORKS = {"normal": "blobs-normal", "adversarial": "blobs-adversarial"}
# Samples pulled back at once.
_CHUNK = 64


@dataclass(frozen=True)
class Coherence:
    """Cosines between the gradients of training samples, which are sorted by class.

    Attributes
    ----------
    name : str
    class_names : tuple of str
    labels : array of int, shape (n,)
        Ascending.
    loss : array, shape (n, n)
        Of the losses.
    logits : array, shape (C, n, n)
        Of each logit.
    """

    name: str
    class_names: tuple[str, ...]
    labels: NDArray[np.int64] = field(repr=False)
    loss: Array = field(repr=False)
    logits: Array = field(repr=False)


def loss_gradients(problem: Problem) -> Tensor:
    r"""The training gradients :math:`\nabla_\theta \ell(f(x_s), y_s)` at unit length, (n, p)."""
    pulled = []
    for x, y in problem.samples.batches(_CHUNK):
        # Directions: a confident sample's gradient itself would underflow.
        residual, _ = problem.loss.residual(problem.network.evaluate(x), y)
        pulled.append(pullback(problem.network, x, residual.unsqueeze(1)).squeeze(1))
    return _unit(torch.cat(pulled))


def logit_gradients(problem: Problem) -> Tensor:
    r"""The gradients :math:`\nabla_\theta f_c(x_s)` at unit length, shape (C, n, p)."""
    pulled = []
    for x, _ in problem.samples.batches(_CHUNK):
        basis = torch.eye(problem.n_classes, dtype=problem.dtype, device=problem.device)
        pulled.append(pullback(problem.network, x, basis.expand(len(x), -1, -1)))
    return _unit(torch.cat(pulled).transpose(0, 1))


def _unit(gradients: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(gradients, dim=-1, keepdim=True)
    return gradients / torch.where(norms > 0, norms, torch.ones_like(norms))


def compute_coherence(workshop: Workshop) -> list[Coherence]:
    """The cosines of a simple and a complex boundary's network."""
    found = []
    for name, config in _NETWORKS.items():
        network = workshop.network(config)
        with workshop.timed("analysis"):
            problem = workshop.problem(network)
            order = torch.argsort(problem.labels, stable=True)
            losses = loss_gradients(problem)[order]
            logits = logit_gradients(problem)[:, order]
            found.append(
                Coherence(
                    name=name,
                    class_names=network.data.class_names,
                    labels=problem.labels[order].cpu().numpy(),
                    loss=(losses @ losses.T).cpu().numpy(),
                    logits=(logits @ logits.transpose(1, 2)).cpu().numpy(),
                )
            )
    return found


def draw_coherence(found: list[Coherence]) -> Page:
    """A row a network: the losses, then each logit."""
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
            with restyled():
                image = ax.imshow(
                    matrix,
                    cmap=style.ALIGNMENT_MAP,
                    norm=style.ALIGNMENT_RANGE,
                    interpolation="nearest",
                )
                for edge in np.flatnonzero(np.diff(coherence.labels)):
                    ax.axhline(edge + 0.5, color=style.INK, linewidth=0.5)
                    ax.axvline(edge + 0.5, color=style.INK, linewidth=0.5)
            ax.set(xticks=[], yticks=[])
            fit(ax, name if i == 0 else "", scale=1)
            _class_strip(ax, coherence.labels)
    below = top + step * len(found) - 0.05
    page.class_legend(np.unique(found[0].labels).tolist(), found[0].class_names, left, below)
    page.bar(image, 5.5, below + 0.02, "cosine of the gradients of two samples")
    return page


def _class_strip(ax: Axes, labels: NDArray[np.int64]) -> None:
    for label in np.unique(labels):
        first, last = np.flatnonzero(labels == label)[[0, -1]]
        bar = Rectangle(
            (first - 0.5, -0.045),
            *(last - first + 1, 0.03),
            transform=ax.get_xaxis_transform(),
            facecolor=style.class_color(int(label)),
            clip_on=False,
            linewidth=0,
        )
        ax.add_patch(bar)
