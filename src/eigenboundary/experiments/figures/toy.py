"""Fig. 1: six points on a line, a small network, and its Hessian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from eigenboundary.analysis.result import Analysis
from eigenboundary.displays import LossSurfaceDisplay, SpectrumDisplay, style
from eigenboundary.experiments.figures.page import SMALL, Page, drop_legend, fit, lettered, restyled
from eigenboundary.experiments.figures.workshop import Workshop
from eigenboundary.experiments.train import TrainedNetwork
from eigenboundary.experiments.unit_gradients import loss_gradients
from eigenboundary.landscape import LossPlane, loss_plane

Array = NDArray[np.float64]

# Seeds trained at once, and how often.
_SEEDS, _ROUNDS = 16, 4
_LINE = (0.35, 1.55, 1201)
# Colours that the two classes do not have.
_VECTOR_COLORS = (style.ACCENT, style.class_color(2))
# The second axis of the surface ends where the loss has risen by so much, to second order.
_RISE = 1.0
# Arrows at unit length that are too close to be told apart.
_COINCIDE = 0.15


@dataclass(frozen=True, repr=False)
class ToyData:
    """The numbers of Fig. 1."""

    seed: int  # the first whose network learns all six points
    tried: int  # the number of seeds looked at
    learnt: tuple[int, ...]  # the seeds whose networks learn all six
    analysis: Analysis  # with all p eigenpairs
    x: Array  # the line, (m,)
    probability: Array  # of the class inside, (m,)
    boundary: Array  # where the probability is one half, (b,)
    alignment: Array  # with the top two eigenvectors on the line, (m, 2)
    plane: LossPlane  # through θ along the top two eigenvectors
    gradients: Array  # the unit training gradients in that plane, (n, 2)


def first_that_learns(
    workshop: Workshop, seeds: int, rounds: int
) -> tuple[TrainedNetwork, int, tuple[int, ...]]:
    """Return the network of the first seed that learns all points, or else the best.

    The other two are the number of seeds tried and the seeds that learn all points.
    """
    tried: list[TrainedNetwork] = []
    for block in range(rounds):
        first = workshop.seed + block * seeds
        tried += workshop.networks("toy-1d", range(first, first + seeds))
        learnt = [network for network in tried if network.result.accuracy == 1.0]
        if learnt:
            return learnt[0], len(tried), tuple(network.seed for network in learnt)
    return max(tried, key=lambda network: network.result.accuracy), len(tried), ()


def compute(workshop: Workshop) -> ToyData:
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
            x=x,
            probability=probability,
            boundary=_crossings(x, probability - 0.5),
            alignment=analysis.alignment(line)[:, :2],
            plane=loss_plane(problem, first, second, np.linspace(-reach, reach, 61)),
            gradients=(loss_gradients(problem) @ torch.stack([first, second], 1)).numpy(),
        )


def _crossings(x: Array, values: Array) -> Array:
    """Return where linear interpolation between the points is zero.

    Examples
    --------
    >>> _crossings(np.array([0.0, 1.0, 2.0]), np.array([-1.0, 1.0, 3.0])).tolist()
    [0.5]
    """
    at = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)
    share = values[at] / (values[at] - values[at + 1])
    return np.asarray(x[at] + share * (x[at + 1] - x[at]))


def draw(data: ToyData) -> Page:
    """Draw probability above alignment on the line, beside the loss surface and the spectrum."""
    page = Page(4.0)
    left, width, height, tops = 0.5, 2.9, 1.34, (0.22, 2.13)
    _probability(page.axes(left, tops[0], width, height), data)
    _alignment(page.axes(left, tops[1], width, height), data)
    _surface(page.axes(4.18, tops[0], 1.62, height), data)
    spectrum, found = page.axes(4.18, tops[1], 2.45, height), data.analysis.outlier_count
    SpectrumDisplay(data.analysis.eigenvalues, [], found.count, found.resolved).plot(spectrum)
    drop_legend(spectrum)
    plural = "" if found.count == 1 else "s"
    fit(spectrum, lettered(3, f"spectrum, {found.count} outlier{plural}"), scale=0.6)
    spectrum.set_ylabel(r"$\lambda_i$", labelpad=0)
    page.class_legend(("outside", "inside"), left, page.height - 0.16)
    which = f"seed {data.seed}, the first of {data.tried} that learns all points"
    if not data.learnt:
        which = f"none of {data.tried} seeds learns all points; the best, {data.seed}, is shown"
    page.remark(6.7, page.height - 0.16, which, ha="right")
    return page


def _boundary(ax: Axes, data: ToyData) -> None:
    for point in data.boundary:
        ax.axvline(point, color=style.INK, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
    ax.set_xlim(data.x[0], data.x[-1])


def _probability(ax: Axes, data: ToyData) -> None:
    with restyled():
        _boundary(ax, data)
        ax.plot(data.x, data.probability, color=style.INK, linewidth=1.3, zorder=3)
        inside = data.probability > 0.5
        for label, where in ((1, inside), (0, ~inside)):
            color, marker = style.class_color(label), style.class_marker(label)
            area: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "zorder": 0}
            area |= {"color": color, "alpha": 0.14, "linewidth": 0}
            ax.fill_between(data.x, 0, 1, where=where.tolist(), **area)
            x = data.analysis.inputs[data.analysis.labels == label, 0]
            how: dict[str, Any] = {"edgecolors": "white", "linewidths": 0.5, "zorder": 4}
            heights = np.full(len(x), float(label))
            ax.scatter(x, heights, s=26, marker=marker, color=color, clip_on=False, **how)
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
            arrow = {"arrowstyle": "-|>,head_width=0.2,head_length=0.4", "mutation_scale": 8}
            arrow |= {"color": style.class_color(int(label)), "linewidth": 1.3}
            arrow |= {"shrinkA": 0, "shrinkB": 0}
            ax.annotate("", xy=tuple(tip), xytext=(0, 0), arrowprops=arrow, zorder=5)
        outline = [withStroke(linewidth=1.5, foreground="#00000099")]
        for names, tip in _tips(data.analysis.inputs[:, 0], data.gradients):
            # Beyond the tip of a steep arrow, above a level one.
            steep = abs(tip[0]) < 0.7
            x, y = length * (1.22 * tip if steep else np.array([0.72, 1.0]) * tip + [0.0, 0.11])
            how: dict[str, Any] = {"fontsize": SMALL, "color": "white", "ha": "center", "zorder": 6}
            place = "center" if steep else "bottom"
            ax.text(x, y, names, va=place, path_effects=outline, **how)


def _tips(inputs: NDArray[np.float32], gradients: Array) -> list[tuple[str, Array]]:
    """Name the arrows by their points; arrows that coincide share a name."""
    shared: list[tuple[list[str], Array]] = []
    for x, tip in zip(inputs, gradients, strict=True):
        for names, other in shared:
            if np.linalg.norm(tip - other) < _COINCIDE:
                names.append(f"{x:g}")
                break
        else:
            shared.append(([f"{x:g}"], tip))
    return [(", ".join(names), tip) for names, tip in shared]
