"""Fig. 1: six points on a line, a small network, and its Hessian."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from eigenboundary.analysis.result import Analysis
from eigenboundary.displays import LossSurfaceDisplay, SpectrumDisplay, style
from eigenboundary.experiments.figures.gradients import loss_gradients
from eigenboundary.experiments.figures.page import SMALL, Page, fit, lettered, restyled
from eigenboundary.experiments.figures.workshop import Workshop
from eigenboundary.experiments.train import TrainedNetwork
from eigenboundary.landscape import LossPlane, loss_plane
from eigenboundary.problem.problem import Problem

Array = NDArray[np.float64]

_CONFIG = "toy-1d"
# Seeds trained at once, and how often.
_SEEDS, _ROUNDS = 16, 4
_LINE = (0.35, 1.55, 1201)
# Other colours than the two classes have.
_VECTOR_COLORS = (style.ACCENT, style.class_color(2))
# The second axis of the surface ends where the loss has risen by so much, to second order.
_RISE = 1.0
# Arrows this close, at unit length, are told apart by nobody.
_COINCIDE = 0.15


@dataclass(frozen=True)
class ToyData:
    """The numbers of Fig. 1.

    Attributes
    ----------
    seed : int
        The first whose network learns all six points.
    tried : int
        Seeds looked at, from the one asked for.
    learnt : tuple of int
        Those that learn all six.
    analysis : Analysis
        Of all p eigenpairs.
    inputs : array, shape (n,)
    x, probability : array, shape (m,)
        The line, and the probability of the class inside.
    boundary : array, shape (b,)
        Where it is one half.
    alignment : array, shape (m, 2)
        With the top two eigenvectors, on the line.
    plane : LossPlane
        Through θ along the top two eigenvectors.
    gradients : array, shape (n, 2)
        The unit training gradients in that plane.
    """

    seed: int
    tried: int
    learnt: tuple[int, ...]
    analysis: Analysis
    inputs: Array = field(repr=False)
    x: Array = field(repr=False)
    probability: Array = field(repr=False)
    boundary: Array = field(repr=False)
    alignment: Array = field(repr=False)
    plane: LossPlane = field(repr=False)
    gradients: Array = field(repr=False)


def first_that_learns(
    workshop: Workshop, seeds: int, rounds: int
) -> tuple[TrainedNetwork, int, tuple[int, ...]]:
    """The network of the first seed that learns all points, seeds tried, and those that learn.

    Where none does, it is the one that learns most.
    """
    tried: list[TrainedNetwork] = []
    for block in range(rounds):
        first = workshop.seed + block * seeds
        tried += workshop.networks(_CONFIG, range(first, first + seeds))
        learnt = [network for network in tried if network.result.accuracy == 1.0]
        if learnt:
            return learnt[0], len(tried), tuple(network.seed for network in learnt)
    return max(tried, key=lambda network: network.result.accuracy), len(tried), ()


def compute_toy(workshop: Workshop) -> ToyData:
    """Train seed after seed until one learns the six points, and analyse its network."""
    network, tried, learnt = first_that_learns(workshop, _SEEDS, _ROUNDS)
    size = sum(parameter.numel() for parameter in network.model.parameters())
    analysis = workshop.analysis(network, size)
    with workshop.timed("analysis"):
        problem = workshop.problem(network)
        x = np.linspace(*_LINE)
        line = torch.from_numpy(x).unsqueeze(1)
        probability = problem.network.predict(line).softmax(-1)[:, 1].numpy()
        first, second = torch.from_numpy(np.array(analysis.eigenvectors[:, :2])).T
        reach = float(np.sqrt(2 * _RISE / max(analysis.eigenvalues[1], 1e-6)))
        return ToyData(
            seed=network.seed,
            tried=tried,
            learnt=learnt,
            analysis=analysis,
            inputs=network.data.train[0].double().flatten().numpy(),
            x=x,
            probability=probability,
            boundary=_crossings(x, probability - 0.5),
            alignment=analysis.alignment(line)[:, :2],
            plane=loss_plane(problem, first, second, np.linspace(-reach, reach, 61)),
            gradients=_projected(problem, torch.stack([first, second], 1)),
        )


def _projected(problem: Problem, vectors: torch.Tensor) -> Array:
    return (loss_gradients(problem) @ vectors).numpy()


def _crossings(x: Array, values: Array) -> Array:
    """Where linear interpolation between the points is zero.

    Examples
    --------
    >>> _crossings(np.array([0.0, 1.0, 2.0]), np.array([-1.0, 1.0, 3.0])).tolist()
    [0.5]
    """
    at = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)
    share = values[at] / (values[at] - values[at + 1])
    return np.asarray(x[at] + share * (x[at + 1] - x[at]))


def draw_toy(data: ToyData) -> Page:
    """Probability above alignment on the line, beside the loss surface above the spectrum."""
    page = Page(4.0)
    left, width, height, tops = 0.5, 2.9, 1.34, (0.22, 2.13)
    above = page.axes(left, tops[0], width, height)
    below = page.axes(left, tops[1], width, height)
    _probability(above, data)
    _alignment(below, data)
    surface = page.axes(4.18, tops[0], 1.62, height)
    _surface(surface, data)
    _spectrum(page.axes(4.18, tops[1], 2.45, height), data)
    page.class_legend([0, 1], ("outside", "inside"), left, page.height - 0.16)
    page.write(6.7, page.height - 0.16, _which(data), ha="right", fontsize=SMALL, color=style.MUTED)
    return page


def _which(data: ToyData) -> str:
    if not data.learnt:
        return f"none of {data.tried} seeds learns all points; the best, {data.seed}, is shown"
    return f"seed {data.seed}, the first of {data.tried} that learns all points"


def _boundary(ax: Axes, data: ToyData) -> None:
    for point in data.boundary:
        ax.axvline(point, color=style.INK, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
    ax.set_xlim(data.x[0], data.x[-1])


def _points(ax: Axes, data: ToyData, heights: Array, size: float = 26) -> None:
    for label in np.unique(data.analysis.labels):
        of = data.analysis.labels == label
        ax.scatter(
            *(data.inputs[of], heights[of]),
            s=size,
            marker=style.class_marker(int(label)),
            color=style.class_color(int(label)),
            edgecolors="white",
            linewidths=0.5,
            zorder=4,
            clip_on=False,
        )


def _probability(ax: Axes, data: ToyData) -> None:
    with restyled():
        _boundary(ax, data)
        ax.plot(data.x, data.probability, color=style.INK, linewidth=1.3, zorder=3)
        inside = data.probability > 0.5
        for label, where in ((1, inside), (0, ~inside)):
            ax.fill_between(
                *(data.x, 0, 1),
                where=where.tolist(),
                color=style.class_color(label),
                alpha=0.14,
                linewidth=0,
                transform=ax.get_xaxis_transform(),
                zorder=0,
            )
        _points(ax, data, data.analysis.labels.astype(float))
        ax.set(ylim=(-0.08, 1.08), yticks=[0, 0.5, 1], xticklabels=[])
        ax.set_ylabel("probability of “inside”")
        ax.set_title(lettered(0, "data and network"), loc="left")


def _alignment(ax: Axes, data: ToyData) -> None:
    with restyled():
        _boundary(ax, data)
        ax.axhline(0, color=style.FAINT, linewidth=0.6, zorder=0)
        for i, color in enumerate(_VECTOR_COLORS):
            name = f"$A_{i + 1}(x)$"
            ax.plot(data.x, data.alignment[:, i], color=color, linewidth=1.3, label=name, zorder=3)
        ax.set(ylim=(-1.08, 1.08), yticks=[-1, 0, 1], xlabel="input $x$")
        ax.set_ylabel("alignment", labelpad=0)
        ax.set_title(lettered(1, "alignment with $v_1$ and $v_2$"), loc="left")
        ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderpad=0)


def _surface(ax: Axes, data: ToyData) -> None:
    display = LossSurfaceDisplay(data.plane, labels=("along $v_1$", "along $v_2$")).plot(ax)
    ax.set_aspect("auto")
    fit(ax, lettered(2, "loss and gradients"))
    display.colorbar_.ax.tick_params(labelsize=SMALL, length=2)
    display.colorbar_.set_label("training loss", fontsize=SMALL)
    length = 0.8 * float(data.plane.first.max())
    with restyled():
        for label, tip in zip(data.analysis.labels, length * data.gradients, strict=True):
            ax.annotate(
                "",
                xy=tuple(tip),
                xytext=(0, 0),
                arrowprops={
                    "arrowstyle": "-|>,head_width=0.2,head_length=0.4",
                    "facecolor": style.class_color(int(label)),
                    "edgecolor": style.class_color(int(label)),
                    "linewidth": 1.3,
                    "shrinkA": 0,
                    "shrinkB": 0,
                    "mutation_scale": 8,
                },
                zorder=5,
            )
        outline = [withStroke(linewidth=1.5, foreground="#00000099")]
        for names, tip in _tips(data.inputs, data.gradients):
            # Beyond the tip of a steep arrow, above that of a level one.
            steep = abs(tip[0]) < 0.7
            x, y = length * (1.22 * tip if steep else np.array([0.72, 1.0]) * tip + [0.0, 0.11])
            ax.text(
                *(x, y, names),
                fontsize=SMALL,
                color="white",
                ha="center",
                va="center" if steep else "bottom",
                path_effects=outline,
                zorder=6,
            )


def _tips(inputs: Array, gradients: Array) -> list[tuple[str, Array]]:
    """The points by their arrows; those whose arrows coincide share a name."""
    shared: list[tuple[list[str], Array]] = []
    for x, tip in zip(inputs, gradients, strict=True):
        for names, other in shared:
            if np.linalg.norm(tip - other) < _COINCIDE:
                names.append(f"{x:g}")
                break
        else:
            shared.append(([f"{x:g}"], tip))
    return [(", ".join(names), tip) for names, tip in shared]


def _spectrum(ax: Axes, data: ToyData) -> None:
    found = data.analysis.outlier_count
    SpectrumDisplay(data.analysis.eigenvalues, [], found.count, found.resolved).plot(ax)
    legend = ax.get_legend()
    if legend is not None:
        legend.remove()
    plural = "" if found.count == 1 else "s"
    fit(ax, lettered(3, f"spectrum, {found.count} outlier{plural}"), scale=0.6)
    ax.set_ylabel(r"$\lambda_i$", labelpad=0)
