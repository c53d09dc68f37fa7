r"""The plane through three inputs: what the network predicts there, and how its gradients align.

Inputs of any dimension have a plane through any three of them, a, b and c, that are not in line:

.. math:: x(u, w) = a + u\, e_1 + w\, e_2, \qquad e_1 = (b - a) / \|b - a\|,

with :math:`e_2` the unit vector orthogonal to :math:`e_1` on whose positive side c lies. Lengths
in the plane are lengths in input space.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.alignment.reinforcing_gradients import align, unit_columns
from eigenboundary.boundary.sections import BoundarySections
from eigenboundary.problem.network import Network
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.arguments import as_array
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.interrupts import safe_point

_MARGIN = 0.15


Array = NDArray[np.float64]
#: What is shown around three points, as a share of their larger extent.
BORDER = 0.25
# Of an analysis: planes kept, grid points a side, and eigenvectors aligned with at the least.
_PLANES, _MOST_POINTS, _ALIGNED = 3, 60, 5
# Of the grid's inputs held at once.
_INPUT_BYTES = 2**26
# Of the box' width: rounding takes pixels that are black in all three points below zero.
_SLACK = 1e-5


@dataclass(frozen=True, eq=False)
class InputPlane:
    r"""Outputs and alignments on a grid of the plane through three inputs.

    Attributes
    ----------
    first, second : array, shape (r,)
        Coordinates u of the columns and w of the rows: Euclidean distances from the first point.
    outputs : array, shape (r, r, C)
        Row i, column j is the input :math:`x(\mathrm{first}_j, \mathrm{second}_i)`.
    alignment : array, shape (r, r, k)
        k is 0 where no vectors were given.
    origin : array, shape (...)
        The first point.
    axes : array, shape (2, ...)
        :math:`e_1` and :math:`e_2`.
    points : array, shape (3, 2)
        Coordinates of the three points.
    inside : array of bool, shape (r, r)
        Whether the input lies in the box; all true where none was given.
    eigenvector : int or None
        Where the points are :math:`x_t^+, x_t^-, x_b` of a section: its eigenvector, from 0.
    """

    first: Array = field(repr=False)
    second: Array = field(repr=False)
    outputs: NDArray[np.float32] = field(repr=False)
    alignment: NDArray[np.float32] = field(repr=False)
    origin: Array = field(repr=False)
    axes: Array = field(repr=False)
    points: Array
    inside: NDArray[np.bool_] = field(repr=False)
    eigenvector: int | None = None

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Predicted class, shape (r, r)."""
        return self.outputs.argmax(-1)

    @property
    def gap(self) -> NDArray[np.float32]:
        """Difference of the two largest outputs, shape (r, r); zero on the boundary."""
        leading = np.sort(self.outputs, axis=-1)
        return leading[..., -1] - leading[..., -2]

    def inputs_at(self, coordinates: Any) -> Array:
        """The inputs at coordinates (m, 2) of the plane, shape (m, ...)."""
        steps = as_array(coordinates, np.float64).reshape(-1, 2)
        return self.origin + np.tensordot(steps, self.axes, axes=1)

    def project(self, x: Any) -> Array:
        """Coordinates of the points of the plane nearest to any inputs (m, ...): shape (m, 2)."""
        inputs = as_array(x, np.float64).reshape(-1, *self.origin.shape)
        flat = (inputs - self.origin).reshape(len(inputs), -1)
        return flat @ self.axes.reshape(2, -1).T


def plane_of(
    problem: Problem,
    points: Tensor,
    vectors: Any = None,
    *,
    resolution: int,
    border: float,
    box: tuple[float, float] | None = None,
    eigenvector: int | None = None,
) -> InputPlane:
    """Evaluate the plane through three points (3, ...) that are ready to compute with.

    See :func:`~eigenboundary.input_plane`.

    Raises
    ------
    InvalidInputError
        If the points lie in one line.
    """
    network = problem.network
    at = points.detach().cpu().double()
    axes, coordinates = _axes(at.flatten(1), points.dtype)
    first, second = _extent(coordinates, resolution, border)
    grid = torch.from_numpy(np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2))
    inside: list[NDArray[np.bool_]] = []

    def batches(samples: int) -> Iterator[Tensor]:
        for rows in grid.split(samples):
            x = (at[0].flatten() + rows @ axes).reshape(-1, *at.shape[1:])
            inside.append(in_box(x, box))
            yield network.to_compute(x)

    if vectors is None:
        samples = _samples(network, 1, at[0].numel())
        outputs = torch.cat([_outputs(network, x) for x in batches(samples)])
        cosines = outputs.new_zeros(len(grid), 0)
    else:
        columns = unit_columns(network, vectors)
        samples = _samples(network, min(2 * columns.shape[1], 64), at[0].numel())
        found = align(problem, batches(samples), columns)
        outputs, cosines = found.outputs, found.cosines
    shape = (resolution, resolution, -1)
    return InputPlane(
        first=first,
        second=second,
        outputs=outputs.cpu().float().reshape(shape).numpy(),
        alignment=cosines.cpu().float().numpy().reshape(*shape[:2], cosines.shape[1]),
        origin=at[0].numpy(),
        axes=axes.reshape(2, *at.shape[1:]).numpy(),
        points=coordinates,
        inside=np.concatenate(inside).reshape(shape[:2]),
        eigenvector=eigenvector,
    )


def planes_of_sections(
    problem: Problem, sections: BoundarySections, vectors: Any, resolution: int
) -> tuple[InputPlane, ...]:
    """Planes through x_t+, x_t- and x_b of the first three sections that lead anywhere.

    Alignments are those with the top five eigenvectors of (p, k), and with the section's own. None
    of inputs of one or two dimensions, and none of points in one line.
    """
    if math.prod(problem.signature.input_shape) < 3 or not resolution:
        return ()
    planes: list[InputPlane] = []
    for section in sections:
        if not section.share or section.samples is None:
            continue
        points = torch.from_numpy(np.stack([*section.samples, section.boundary_point]))
        try:
            plane = plane_of(
                problem,
                problem.network.to_compute(points),
                vectors[:, : max(_ALIGNED, section.eigenvector + 1)],
                resolution=min(resolution, _MOST_POINTS),
                border=BORDER,
                box=sections.box,
                eigenvector=section.eigenvector,
            )
        except InvalidInputError:
            continue
        planes.append(plane)
        if len(planes) == _PLANES:
            break
    return tuple(planes)


def _outputs(network: Network, x: Tensor) -> Tensor:
    safe_point()
    return network.evaluate(x)


def _samples(network: Network, directions: int, features: int) -> int:
    input_bytes = max(1, features) * torch.finfo(network.dtype).bits // 8
    fitting = max(1, network.memory.at_most(_INPUT_BYTES) // input_bytes)
    fitting = min(network.samples_per_chunk(directions), fitting)
    return min(fitting, network.batch_size or fitting)


def in_box(x: Tensor, box: tuple[float, float] | None) -> NDArray[np.bool_]:
    """Which inputs (m, ...) keep to the box, but for rounding: shape (m,)."""
    if box is None:
        return np.ones(len(x), dtype=bool)
    slack = _SLACK * (box[1] - box[0])
    flat = x.flatten(1)
    return ((flat >= box[0] - slack) & (flat <= box[1] + slack)).all(1).cpu().numpy()


def _axes(points: Tensor, dtype: torch.dtype) -> tuple[Tensor, Array]:
    """Orthonormal rows (2, d), and the coordinates of the three points (3, d)."""
    for i, j in itertools.combinations(range(3), 2):
        if torch.equal(points[i], points[j]):
            raise InvalidInputError(
                "points", "be three different inputs", f"the same one as points {i} and {j}"
            )
    first = points[1] - points[0]
    unit = first / first.norm()
    other = points[2] - points[0]
    rest = other - (unit @ other) * unit
    rest = rest - (unit @ rest) * unit  # once more: the first difference may be mostly rounding
    longest = float(torch.pdist(points).max())
    smallest = 1e-10 if dtype == torch.float64 else 1e-5
    if not float(rest.norm()) > smallest * longest:
        raise InvalidInputError(
            "points",
            "not lie in one line, through which there is no single plane",
            because=f"the third is {float(rest.norm()):.1e} from the line through the first two",
        )
    axes = torch.stack([unit, rest / rest.norm()])
    coordinates = (points - points[0]) @ axes.T
    coordinates[1, 1] = 0.0  # by definition
    return axes, coordinates.numpy()


def _extent(coordinates: Array, resolution: int, border: float) -> tuple[Array, Array]:
    low, high = coordinates.min(0), coordinates.max(0)
    # The same all around, so that flat triangles do not make a strip of a picture.
    pad = border * float((high - low).max())
    low, high = low - pad, high + pad
    return (
        np.linspace(low[0], high[0], resolution),
        np.linspace(low[1], high[1], resolution),
    )


@dataclass(frozen=True)
class PlaneGrid:
    """What the network predicts, and how its gradients align, on a grid of the input plane.

    Attributes
    ----------
    x, y : array, shape (r,)
        Coordinates of the columns and rows.
    outputs : array, shape (r, r, C)
        Row i, column j is the input (x[j], y[i]).
    alignment : array, shape (r, r, k)
    """

    x: NDArray[np.float64] = field(repr=False)
    y: NDArray[np.float64] = field(repr=False)
    outputs: NDArray[np.float32] = field(repr=False)
    alignment: NDArray[np.float32] = field(repr=False)

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Predicted class, shape (r, r)."""
        return self.outputs.argmax(-1)

    @property
    def gap(self) -> NDArray[np.float32]:
        """Difference of the two largest outputs, shape (r, r); zero on the boundary."""
        leading = np.sort(self.outputs, axis=-1)
        return leading[..., -1] - leading[..., -2]


def evaluate_plane(problem: Problem, vectors: Tensor, inputs: Tensor, resolution: int) -> PlaneGrid:
    """Evaluate a square grid over the extent of the inputs and a margin around it."""
    network = problem.network
    low, high = inputs.amin(0).double(), inputs.amax(0).double()
    pad = _MARGIN * (high - low).clamp_min(1e-6)
    x, y = (
        torch.linspace(float(low[i] - pad[i]), float(high[i] + pad[i]), resolution)
        for i in range(2)
    )
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
    samples = network.samples_per_chunk(2 * vectors.shape[1])
    result = align(problem, network.input_batches(points, samples), vectors)
    shape = (resolution, resolution, -1)
    return PlaneGrid(
        x.double().numpy(),
        y.double().numpy(),
        result.outputs.cpu().float().reshape(shape).numpy(),
        result.cosines.cpu().float().reshape(shape).numpy(),
    )
