r"""The sections of the boundary that eigenvectors encode, and how wide the margin is there.

A boundary point belongs to the eigenvector whose absolute alignment :math:`|A_i|` leads there; it
is explained by none where all k of them together hold less than half of its squared alignment,

.. math:: \sum_{i \le k} A_i(x)^2 < \tfrac12.

Two classes are predicted alike there, so :math:`A_i^2` is the mean over the gradients that
reinforce the one and the other.

The samples :math:`x_t` of a section are the training samples with the most positive and the most
negative alignment (arXiv:2306.07104), and its margin is the distance of the nearer one of them
from the boundary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, overload

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.alignment.reinforcing_gradients import alignment_on_boundary
from eigenboundary.boundary.ascent import most_aligned
from eigenboundary.boundary.points import BoundaryPoints, boundary_points
from eigenboundary.boundary.search.crossings import leading_two
from eigenboundary.boundary.search.input_gradients import outputs_at
from eigenboundary.boundary.search.nearest import nearest_boundary, references_for
from eigenboundary.boundary.search.norms import Geometry
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.errors import InvalidInputError

Array = NDArray[np.float64]

# Of a sample's squared alignment at a boundary point, what the eigenvectors must hold of it.
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
        :math:`A_i(x_t)` of these.
    boundary_point : array
        :math:`x_b`: the point of the boundary with the largest :math:`|A_i|`.
    alignment : float
        :math:`|A_i(x_b)|`.
    gap : float
        What is left of the difference of the two leading outputs at :math:`x_b`.
    side_margins, side_paper_margins, side_lower_estimates : (float, float)
        For each :math:`x_t` its distance from the boundary (see ``margin``), :math:`\|x_t-x_b\|`,
        and the distance of the linearised network.
    nearest_points : array, shape (2, ...)
        The boundary points nearest to :math:`x_t`.
    nearest_sections : (int, int)
        The eigenvector that these belong to; -1 for none.
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
        """Which of the two samples is nearer to the boundary; one far less aligned doesn't count.

        0 for the positive side, 1 for the negative one.
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
        r"""The paper's estimate of it: :math:`\|x_t - x_b\|` of the same sample."""
        return self.side_paper_margins[self.side]

    @property
    def lower_estimate(self) -> float:
        """Distance of the linearised network for the same sample: an estimate, no bound."""
        return self.side_lower_estimates[self.side]

    @property
    def sample_index(self) -> int:
        """The training sample whose margin it is."""
        return self.training_samples[self.side]


@dataclass(frozen=True, eq=False)
class BoundarySections(Sequence[Section]):
    r"""The sections of k eigenvectors, and the sampled boundary they are told from.

    Attributes
    ----------
    sections : tuple of Section
        In the order of the eigenvectors; the object itself is a sequence of them.
    points : BoundaryPoints
        The m sampled points of the boundary.
    alignment : array, shape (m, k)
        :math:`A_i` there, with the sign of the first of its two classes.
    norm : float
        Of the margins: 2 or infinity.
    box : (low, high) or None
        Range that the entries of inputs were kept in.
    """

    sections: tuple[Section, ...]
    points: BoundaryPoints
    alignment: Annotated[Array, "m", "k"]
    norm: float = 2.0
    box: tuple[float, float] | None = None

    @overload
    def __getitem__(self, index: int) -> Section: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Section, ...]: ...
    def __getitem__(self, index: int | slice) -> Section | tuple[Section, ...]:
        """The section of one eigenvector."""
        return self.sections[index]

    def __len__(self) -> int:
        """Number of eigenvectors."""
        return len(self.sections)

    def __iter__(self) -> Iterator[Section]:
        """Section after section."""
        return iter(self.sections)

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

        The last column holds those that no eigenvector explains; all entries sum to one.
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
        r"""How much of the boundary two sections share, shape (k, k).

        .. math:: \sum_x \min(a_i(x), a_j(x)), \qquad a_i(x) = A_i(x)^2 / \sum_{x'} A_i(x')^2

        over the sampled points: one on the diagonal, zero for sections that share nothing.
        """
        squared = np.square(self.alignment)
        profiles = squared / np.maximum(squared.sum(0), np.finfo(np.float64).tiny)
        shared = [np.minimum(profiles[:, [i]], profiles).sum(0) for i in range(len(self))]
        return np.array(shared).reshape(len(self), len(self))

    def to_dataframe(self) -> pd.DataFrame:
        """One row an eigenvector."""
        return pd.DataFrame(
            {
                "eigenvalue": [s.eigenvalue for s in self],
                "class_a": [s.classes[0] for s in self],
                "class_b": [s.classes[1] for s in self],
                "share": [s.share for s in self],
                "alignment": [s.alignment for s in self],
                "sample": [s.sample_index for s in self],
                "margin": [s.margin for s in self],
                "lower_estimate": [s.lower_estimate for s in self],
                "paper_margin": [s.paper_margin for s in self],
                "converged": [s.converged for s in self],
            },
            index=pd.RangeIndex(1, len(self) + 1, name="i"),
        )


def leading_eigenvectors(cosines: Array) -> NDArray[np.int64]:
    """The eigenvector each boundary point (m, k) belongs to, (m,); -1 for none."""
    squared = np.square(cosines)
    return np.where(squared.sum(1) < _EXPLAINED, -1, squared.argmax(1))


def sections_of(
    problem: Problem,
    vectors: Any,
    eigenvalues: Array,
    trusted: NDArray[np.bool_],
    cosines: Array,
    *,
    geometry: Geometry,
    n_points: int,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> BoundarySections:
    """The sections of eigenvectors (p, k).

    Parameters
    ----------
    trusted : array of bool, shape (k,)
        Whether the eigenpair has converged.
    cosines : array, shape (n, k)
        Alignments of the training samples.
    progress : callable
        Called as ``progress(stage, done, total)``.
    """
    progress("boundary points", 0, 3)
    points = boundary_points(problem, n=n_points, seed=seed)
    if not len(points):
        raise InvalidInputError(
            "data",
            "hold samples between which the boundary can be sampled",
            because="no point where two outputs are equal was found between samples of different "
            "predicted classes",
        )
    places = problem.network.to_compute(torch.from_numpy(points.points))
    directions = torch.as_tensor(np.array(vectors)).to(problem.device, problem.dtype)
    met = torch.from_numpy(points.classes).to(problem.device)
    at_points = _array(alignment_on_boundary(problem, places, met, directions))
    progress("most aligned points", 1, 3)
    x_b, reached = most_aligned(problem, directions, places, seed, geometry.box)
    classes, gap, _ = leading_two(outputs_at(problem.network, x_b))
    progress("margins", 2, 3)
    sides = _Sides(problem, cosines, at_points, places, x_b, directions, geometry, seed)
    progress("margins", 3, 3)
    shares = [float((leading_eigenvectors(at_points) == i).mean()) for i in range(len(x_b))]
    pairs = classes.sort(1).values.tolist()
    sections = (
        Section(
            eigenvector=i,
            eigenvalue=float(eigenvalues[i]),
            classes=(pairs[i][0], pairs[i][1]),
            share=shares[i],
            boundary_point=x_b[i].cpu().numpy(),
            alignment=float(reached[i]),
            gap=float(gap[i]),
            **sides.of(i),
            converged=bool(trusted[i]) and sides.converged(i),
        )
        for i in range(len(x_b))
    )
    return BoundarySections(tuple(sections), points, at_points, geometry.norm, geometry.box)


class _Sides:
    """The samples x_t of every section and their distances from the boundary, (k, 2) each."""

    def __init__(
        self,
        problem: Problem,
        cosines: Array,
        at_points: Array,
        places: Tensor,
        x_b: Tensor,
        directions: Tensor,
        geometry: Geometry,
        seed: int,
    ) -> None:
        self.samples = np.stack([cosines.argmax(0), cosines.argmin(0)], axis=1)
        self.cosines = np.take_along_axis(cosines.T, self.samples, axis=1)
        x_t = problem.samples.inputs_at(torch.from_numpy(self.samples.flatten()))
        ends = torch.stack(
            [x_b.repeat_interleave(2, dim=0), _nearest_of_section(x_t, places, at_points)], dim=1
        )
        references = references_for(problem, None, x_t, geometry)
        found = nearest_boundary(problem.network, x_t, references, 8, seed, geometry, ends=ends)
        k = len(self.samples)
        self.found_by_side = found.converged.reshape(k, 2)
        margins = np.where(found.converged, found.value, math.nan)
        self.margins = margins.reshape(k, 2)
        self.lower = found.lower_estimate.reshape(k, 2)
        self.paper = _array(geometry.length(x_t - x_b.repeat_interleave(2, dim=0))).reshape(k, 2)
        self.points = found.point.reshape(k, 2, *found.point.shape[1:])
        self.inputs = x_t.cpu().numpy().reshape(self.points.shape)
        on_boundary = torch.where(
            torch.from_numpy(np.isfinite(found.value))
            .to(x_t.device)
            .reshape(-1, *[1] * (x_t.ndim - 1)),
            torch.from_numpy(found.point).to(x_t),
            x_t,
        )
        met = torch.from_numpy(found.classes).to(x_t.device)
        at_nearest = alignment_on_boundary(problem, on_boundary, met, directions)
        leading = leading_eigenvectors(_array(at_nearest))
        self.sections = np.where(np.isfinite(found.value), leading, -1).reshape(k, 2)

    def of(self, i: int) -> dict[str, Any]:
        """The fields of section i that come in pairs."""
        return {
            "training_samples": tuple(self.samples[i].tolist()),
            "training_alignment": tuple(self.cosines[i].tolist()),
            "side_margins": tuple(self.margins[i].tolist()),
            "side_paper_margins": tuple(self.paper[i].tolist()),
            "side_lower_estimates": tuple(self.lower[i].tolist()),
            "nearest_points": self.points[i],
            "samples": self.inputs[i],
            "nearest_sections": tuple(self.sections[i].tolist()),
        }

    def converged(self, i: int) -> bool:
        return bool(self.found_by_side[i].all())


def _nearest_of_section(x_t: Tensor, places: Tensor, at_points: Array) -> Tensor:
    """For the two samples of each section its sampled boundary point nearest to them, (2k, ...)."""
    leading = torch.from_numpy(leading_eigenvectors(at_points)).to(x_t.device)
    distances = torch.cdist(x_t.flatten(1), places.flatten(1))
    owner = torch.arange(at_points.shape[1], device=x_t.device).repeat_interleave(2).unsqueeze(1)
    elsewhere = leading.unsqueeze(0) != owner
    elsewhere &= ~elsewhere.all(1, keepdim=True)  # a section without points: of all of them
    return places[distances.masked_fill(elsewhere, math.inf).argmin(1)]


def _array(values: Tensor) -> Array:
    return np.asarray(values.cpu().double().numpy())
