r"""The sections of the boundary that eigenvectors encode, and how wide the margin is there.

A boundary point belongs to the eigenvector whose absolute alignment :math:`|A_i|` is largest at the
point. No eigenvector explains it where all k eigenvectors together hold less than half of its
squared alignment,

.. math:: \sum_{i \le k} A_i(x)^2 < \tfrac12.

Two outputs are equal there, so :math:`A_i^2` is the mean over the gradients that reinforce the one
class and the other.

The samples :math:`x_t` of a section are the training samples with the most positive and the most
negative alignment (arXiv:2306.07104), and its margin is the distance of the nearer sample from the
boundary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, overload

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.alignment.reinforcing_gradients import alignment_on_boundary
from eigenboundary.boundary.arguments import references_for
from eigenboundary.boundary.ascent import most_aligned
from eigenboundary.boundary.points import BoundaryPoints, boundary_points
from eigenboundary.boundary.search.crossings import leading_two
from eigenboundary.boundary.search.input_gradients import outputs_at
from eigenboundary.boundary.search.nearest import nearest_boundary
from eigenboundary.boundary.search.norms import Geometry, column
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.errors import InvalidInputError

Array = NDArray[np.float64]

# Share of a boundary point's squared alignment that the eigenvectors must hold.
_EXPLAINED = 0.5
# A side this much less aligned than the other is no side of a section.
WEAK_SIDE = 0.1


@dataclass(frozen=True, eq=False)
class Section:
    r"""The part of the boundary that one eigenvector encodes.

    Attributes
    ----------
    eigenvector : int
        Its index i, from 0.
    eigenvalue : float
    classes : (int, int)
        The two classes that meet at ``boundary_point``, smaller one first.
    share : float
        Share of all sampled boundary points that belong to it.
    training_samples : (int, int)
        Indices of :math:`x_t`: the samples with the most positive and the most negative alignment.
    training_alignment : (float, float)
        :math:`A_i(x_t)` of the two samples.
    boundary_point : array
        :math:`x_b`: the point of the boundary with the largest :math:`|A_i|`.
    alignment : float
        :math:`|A_i(x_b)|`.
    gap : float
        Remaining difference of the two leading outputs at :math:`x_b`.
    side_margins, side_paper_margins, side_lower_estimates : (float, float)
        For each :math:`x_t` its distance from the boundary (see ``margin``), :math:`\|x_t-x_b\|`,
        and the distance of the linearised network.
    nearest_points : array, shape (2, ...)
        The boundary points nearest to :math:`x_t`.
    nearest_sections : (int, int)
        The eigenvectors that the nearest points belong to; -1 for none.
    converged : bool
        Whether the eigenpair and the searches for both samples' margins have converged.
    samples : array, shape (2, ...)
        :math:`x_t`.
    """

    eigenvector: int
    eigenvalue: float
    classes: tuple[int, int]
    share: float
    training_samples: tuple[int, int]
    training_alignment: tuple[float, float]
    boundary_point: Annotated[NDArray[Any], "..."] = field(repr=False)
    alignment: float
    gap: float
    side_margins: tuple[float, float]
    side_paper_margins: tuple[float, float]
    side_lower_estimates: tuple[float, float]
    nearest_points: Annotated[NDArray[Any], 2, "..."] = field(repr=False)
    nearest_sections: tuple[int, int]
    converged: bool
    samples: Annotated[NDArray[Any], 2, "..."] = field(repr=False)

    @property
    def side(self) -> int:
        """Side of the sample nearer to the boundary: 0 for the positive one, 1 for the negative.

        A sample that is far less aligned than the other does not count.
        """
        reach = max(self.training_alignment[0], 0.0), max(-self.training_alignment[1], 0.0)
        margins = [
            math.inf if near < WEAK_SIDE * max(reach) or math.isnan(margin) else margin
            for near, margin in zip(reach, self.side_margins, strict=True)
        ]
        return int(np.argmin(margins))

    @property
    def margin(self) -> float:
        """Distance of the nearer :math:`x_t` from the boundary: an upper bound, refined.

        NaN where the search did not converge.
        """
        return self.side_margins[self.side]

    @property
    def paper_margin(self) -> float:
        r"""The paper's estimate of the margin: :math:`\|x_t - x_b\|` of the same sample."""
        return self.side_paper_margins[self.side]

    @property
    def lower_estimate(self) -> float:
        """Distance of the linearised network for the same sample: an estimate, no bound."""
        return self.side_lower_estimates[self.side]

    @property
    def sample_index(self) -> int:
        """Index of the training sample that has the margin."""
        return self.training_samples[self.side]


@dataclass(frozen=True, eq=False)
class BoundarySections(Sequence[Section]):
    r"""The sections of k eigenvectors, and the sampled boundary that they divide.

    Attributes
    ----------
    sections : tuple of Section
        In the order of the eigenvectors; the object itself is a sequence of them.
    points : BoundaryPoints
        The m sampled points of the boundary.
    alignment : array, shape (m, k)
        :math:`A_i` there, with the sign of the first of its two classes.
    norm : float
        Norm of the margins: 2 or infinity.
    box : (low, high) or None
        Range that the entries of inputs were kept in.
    """

    sections: tuple[Section, ...]
    points: BoundaryPoints
    alignment: Annotated[Array, "m", "j"]
    norm: float = 2.0
    box: tuple[float, float] | None = None

    @overload
    def __getitem__(self, index: int) -> Section: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Section, ...]: ...
    def __getitem__(self, index: int | slice) -> Section | tuple[Section, ...]:
        """Return the section of one eigenvector, or of several."""
        return self.sections[index]

    def __len__(self) -> int:
        """Return the number of eigenvectors."""
        return len(self.sections)

    @property
    def leading(self) -> NDArray[np.int64]:
        """The eigenvector that each sampled point belongs to, shape (m,); -1 for none."""
        return leading_eigenvectors(self.alignment)

    @property
    def unexplained(self) -> float:
        """Share of the sampled points that belong to no eigenvector."""
        return float((self.leading < 0).mean())

    @property
    def mass_outside(self) -> float:
        r"""Mean of :math:`1 - \sum_{i \le k} A_i^2` over the sampled points."""
        return float((1 - np.square(self.alignment).sum(1)).clip(0).mean())

    @property
    def class_pairs(self) -> pd.DataFrame:
        """Share of all sampled points by class pair (rows) and eigenvector (columns, from 1).

        The last column holds the points that no eigenvector explains; all entries sum to one.
        """
        names = [str(i + 1) for i in range(len(self))] + ["none"]
        leading = self.leading
        pairs = [f"{a} | {b}" for a, b in self.points.classes]
        columns = np.array(names)[np.where(leading < 0, len(self), leading)]
        counts = pd.crosstab(pd.Series(pairs, name="classes"), pd.Series(columns))
        order = sorted(counts.index, key=lambda pair: [int(c) for c in pair.split(" | ")])
        shares = counts.reindex(index=order, columns=names, fill_value=0) / max(1, len(leading))
        return shares.rename_axis(columns="eigenvector")

    @property
    def overlap(self) -> Array:
        r"""Share of the boundary that two sections have in common, shape (k, k).

        .. math:: \sum_x \min(a_i(x), a_j(x)), \qquad a_i(x) = A_i(x)^2 / \sum_{x'} A_i(x')^2

        over the sampled points: one on the diagonal, zero for sections that share nothing.
        """
        squared = np.square(self.alignment)
        profiles = squared / np.maximum(squared.sum(0), np.finfo(np.float64).tiny)
        shared = [np.minimum(profiles[:, [i]], profiles).sum(0) for i in range(len(self))]
        return np.array(shared).reshape(len(self), len(self))

    def to_dataframe(self) -> pd.DataFrame:
        """Return a table with one row an eigenvector."""
        rows = [
            {
                "eigenvalue": section.eigenvalue,
                "class_a": section.classes[0],
                "class_b": section.classes[1],
                "share": section.share,
                "alignment": section.alignment,
                "sample": section.sample_index,
                "margin": section.margin,
                "lower_estimate": section.lower_estimate,
                "paper_margin": section.paper_margin,
                "converged": section.converged,
            }
            for section in self
        ]
        return pd.DataFrame(rows, index=pd.RangeIndex(1, len(self) + 1, name="i"))


def leading_eigenvectors(cosines: Array) -> NDArray[np.int64]:
    """Return the eigenvector that each boundary point (m, k) belongs to, (m,); -1 for none."""
    squared = np.square(cosines)
    return np.where(squared.sum(1) < _EXPLAINED, -1, squared.argmax(1))


@dataclass(frozen=True, eq=False)
class Directions:
    """Eigenvectors (p, k) whose sections are searched for.

    They come with their eigenvalues, whether they have converged, (k,), and the alignments of the
    training samples with them, (n, k).
    """

    vectors: NDArray[Any]
    values: Array
    converged: NDArray[np.bool_]
    cosines: Array

    def first(self, k: int) -> Directions:
        """Return the first k eigenvectors."""
        return Directions(*(held[..., :k] for held in vars(self).values()))


def sections_of(
    problem: Problem,
    directions: Directions,
    geometry: Geometry,
    n_points: int,
    seed: int,
    progress: Callable[[str, int, int], None] | None,
) -> BoundarySections:
    """Find the section of the boundary that each eigenvector encodes."""
    progress = progress or (lambda stage, done, total: None)
    progress("boundary points", 0, 3)
    points = boundary_points(problem, n=n_points, seed=seed)
    if not len(points):
        wanted = "hold samples between which the boundary can be sampled"
        because = "no point with two equal outputs was found between samples of different classes"
        raise InvalidInputError("data", wanted, because=because)
    places = problem.network.to_compute(torch.from_numpy(points.points))
    vectors = torch.as_tensor(np.array(directions.vectors)).to(problem.device, problem.dtype)
    met = torch.from_numpy(points.classes).to(problem.device)
    at_points = _array(alignment_on_boundary(problem, places, met, vectors))
    progress("most aligned points", 1, 3)
    x_b, reached = most_aligned(problem, vectors, places, seed, geometry.box)
    classes, gap, _ = leading_two(outputs_at(problem.network, x_b))
    progress("margins", 2, 3)
    cosines = directions.cosines
    sides, converged = _sides(problem, cosines, at_points, places, x_b, vectors, geometry, seed)
    progress("margins", 3, 3)
    leading = leading_eigenvectors(at_points)
    sections = (
        Section(
            eigenvector=i,
            eigenvalue=float(directions.values[i]),
            classes=tuple(classes[i].sort().values.tolist()),
            share=float((leading == i).mean()),
            boundary_point=x_b[i].cpu().numpy(),
            alignment=float(reached[i]),
            gap=float(gap[i]),
            **pairs,
            converged=bool(directions.converged[i] and converged[i]),
        )
        for i, pairs in enumerate(sides)
    )
    return BoundarySections(tuple(sections), points, at_points, geometry.norm, geometry.box)


def _sides(
    problem: Problem,
    cosines: Array,
    at_points: Array,
    places: Tensor,
    x_b: Tensor,
    directions: Tensor,
    geometry: Geometry,
    seed: int,
) -> tuple[list[dict[str, Any]], NDArray[np.bool_]]:
    """Return each section's fields that come in pairs, and whether both searches converged."""
    samples = np.stack([cosines.argmax(0), cosines.argmin(0)], axis=1)
    x_t = problem.samples.inputs_at(torch.from_numpy(samples.flatten()))
    x_b = x_b.repeat_interleave(2, dim=0)
    ends = torch.stack([x_b, _nearest_of_section(x_t, places, at_points)], dim=1)
    pool = references_for(problem, None, x_t, geometry)
    found = nearest_boundary(problem.network, x_t, pool, 8, seed, geometry, ends=ends)
    met = np.isfinite(found.value)
    known = column(torch.from_numpy(met).to(x_t.device), x_t)
    nearest = torch.where(known, torch.from_numpy(found.point).to(x_t), x_t)
    classes = torch.from_numpy(found.classes).to(x_t.device)
    at_nearest = _array(alignment_on_boundary(problem, nearest, classes, directions))
    numbers = {
        "training_samples": samples,
        "training_alignment": np.take_along_axis(cosines.T, samples, axis=1),
        "side_margins": np.where(found.converged, found.value, math.nan),
        "side_paper_margins": _array(geometry.length(x_t - x_b)),
        "side_lower_estimates": found.lower_estimate,
        "nearest_sections": np.where(met, leading_eigenvectors(at_nearest), -1),
    }
    numbers = {name: values.reshape(-1, 2) for name, values in numbers.items()}
    inputs = {"nearest_points": found.point, "samples": x_t.cpu().numpy()}
    inputs = {name: x.reshape(-1, 2, *x.shape[1:]) for name, x in inputs.items()}
    sides = [
        {name: tuple(pairs[i].tolist()) for name, pairs in numbers.items()}
        | {name: pairs[i] for name, pairs in inputs.items()}
        for i in range(len(samples))
    ]
    return sides, np.logical_and(found.converged[::2], found.converged[1::2])


def _nearest_of_section(x_t: Tensor, places: Tensor, at_points: Array) -> Tensor:
    """Return the sampled point of its section nearest to each of its two samples, (2k, ...)."""
    leading = torch.from_numpy(leading_eigenvectors(at_points)).to(x_t.device)
    distances = torch.cdist(x_t.flatten(1), places.flatten(1))
    owner = torch.arange(at_points.shape[1], device=x_t.device).repeat_interleave(2).unsqueeze(1)
    elsewhere = leading.unsqueeze(0) != owner
    elsewhere &= ~elsewhere.all(1, keepdim=True)  # a section without points takes any of them
    return places[distances.masked_fill(elsewhere, math.inf).argmin(1)]


def _array(values: Tensor) -> Array:
    return np.asarray(values.cpu().double().numpy())
