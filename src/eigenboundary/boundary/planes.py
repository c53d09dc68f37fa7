r"""A plane of inputs: what the network predicts there, and how its gradients align.

Two-dimensional inputs are a plane themselves. Inputs of any dimension have a plane through any
three of them, a, b and c, that are not in line:

.. math:: x(u, w) = a + u\, e_1 + w\, e_2, \qquad e_1 = (b - a) / \|b - a\|,

with :math:`e_2` the unit vector orthogonal to :math:`e_1` on whose positive side c lies. Lengths
in the plane are lengths in input space.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.alignment.reinforcing_gradients import align
from eigenboundary.boundary.sections import BoundarySections
from eigenboundary.problem.network import Network
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.arguments import as_array
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.interrupts import safe_point

Array = NDArray[np.float64]
#: Width of the border shown around three points, as a share of their larger extent.
BORDER = 0.25
# Width of the border around two-dimensional inputs, as a share of their extent along each axis.
_BORDER_OF_INPUTS = 0.15
# Planes that an analysis keeps, grid points along each of their sides, and eigenvectors that are
# aligned with at the least.
_PLANES, _MOST_POINTS, _ALIGNED = 3, 60, 5
# Bytes of grid points that are held at once.
_INPUT_BYTES = 2**26
# Share of the box' width by which rounding may take an input out of the box.
_SLACK = 1e-5


@dataclass(frozen=True, eq=False)
class Plane:
    r"""Outputs and alignments on a grid of a plane of inputs.

    Attributes
    ----------
    first, second : array, shape (c,) and (r,)
        Coordinates u of the columns and w of the rows, in units of the inputs.
    outputs : array, shape (r, c, C)
        Row i, column j is the input :math:`x(\mathrm{first}_j, \mathrm{second}_i)`.
    alignment : array, shape (r, c, k)
        Alignments A_i(x); k is 0 where no vectors were given.
    inside : array of bool, shape (r, c)
        Whether the input lies in the box; all true where none was given.
    origin : array, shape (...)
        The first of three inputs; zero for the plane of two-dimensional inputs.
    axes : array, shape (2, ...)
        :math:`e_1` and :math:`e_2`; the identity for the plane of two-dimensional inputs.
    points : array, shape (3, 2) or (0, 2)
        Coordinates of the three inputs that span the plane; none for two-dimensional inputs.
    eigenvector : int or None
        Eigenvector, from 0, of the section whose :math:`x_t^+, x_t^-, x_b` span the plane.
    """

    first: Annotated[Array, "c"] = field(repr=False)
    second: Annotated[Array, "r"] = field(repr=False)
    outputs: Annotated[NDArray[np.float32], "r", "c", "classes"] = field(repr=False)
    alignment: Annotated[NDArray[np.float32], "r", "c", "aligned"] = field(repr=False)
    inside: Annotated[NDArray[np.bool_], "r", "c"] = field(default=None, repr=False)  # type: ignore[arg-type]
    origin: Annotated[Array, "..."] = field(default_factory=lambda: np.zeros(2), repr=False)
    axes: Annotated[Array, 2, "..."] = field(default_factory=lambda: np.eye(2), repr=False)
    points: Annotated[Array, "spanning", 2] = field(default_factory=lambda: np.zeros((0, 2)))
    eigenvector: int | None = None

    def __post_init__(self) -> None:
        if self.inside is None:
            object.__setattr__(self, "inside", np.ones(self.outputs.shape[:2], dtype=bool))

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Predicted class, shape (r, c)."""
        return self.outputs.argmax(-1)

    @property
    def gap(self) -> NDArray[np.float32]:
        """Difference of the two largest outputs, shape (r, c); zero on the boundary."""
        leading = np.sort(self.outputs, axis=-1)
        return leading[..., -1] - leading[..., -2]

    @property
    def class_margins(self) -> list[Array]:
        """Output of a class above the best of the others, (r, c); zero on the class's boundary.

        There is one array for each class that is predicted somewhere but not everywhere; two
        classes share one.
        """
        values = np.nan_to_num(self.outputs.astype(np.float64))
        margins = []
        for label in range(values.shape[-1]):
            margin = values[..., label] - np.delete(values, label, axis=-1).max(-1)
            if margin.min() < 0 < margin.max():
                margins.append(margin)
        return margins[:1] if len(margins) == 2 else margins

    def inputs_at(self, coordinates: Any) -> Array:
        """Return the inputs at coordinates (m, 2) of the plane, shape (m, ...)."""
        steps = as_array(coordinates, np.float64).reshape(-1, 2)
        return self.origin + np.tensordot(steps, self.axes, axes=1)

    def project(self, x: Any) -> Array:
        """Return the coordinates (m, 2) of the points of the plane nearest to inputs (m, ...)."""
        inputs = as_array(x, np.float64).reshape(-1, *self.origin.shape)
        flat = (inputs - self.origin).reshape(len(inputs), -1)
        return flat @ self.axes.reshape(2, -1).T


def plane_of_inputs(problem: Problem, vectors: Tensor, inputs: Tensor, resolution: int) -> Plane:
    """Evaluate the plane of two-dimensional inputs, over their extent and a border around it."""
    first, second = coordinates_of(inputs, resolution)
    origin, axes = torch.zeros(2).double(), torch.eye(2).double()
    return _evaluate(problem, vectors, first, second, origin, axes)


def coordinates_of(inputs: Tensor, resolution: int) -> tuple[Array, Array]:
    """Return the coordinates of a grid over two-dimensional inputs and a border around them."""
    low, high = inputs.amin(0).double(), inputs.amax(0).double()
    pad = _BORDER_OF_INPUTS * (high - low).clamp_min(1e-6)
    low, high = low - pad, high + pad
    first, second = (
        torch.linspace(float(low[i]), float(high[i]), resolution).double().numpy() for i in range(2)
    )
    return first, second


def plane_of_points(
    problem: Problem,
    points: Tensor,
    vectors: Any,
    resolution: int,
    border: float,
    box: tuple[float, float] | None,
    eigenvector: int | None,
) -> Plane:
    """Evaluate the plane through three points (3, ...); see :func:`~eigenboundary.input_plane`."""
    at = points.detach().cpu().double()
    axes, coordinates = _axes(at.flatten(1), points.dtype)
    first, second = _extent(coordinates, resolution, border)
    plane = _evaluate(problem, vectors, first, second, at[0], axes, box)
    return replace(plane, points=coordinates, eigenvector=eigenvector)


def _evaluate(
    problem: Problem,
    vectors: Any,
    first: Array,
    second: Array,
    origin: Tensor,
    axes: Tensor,
    box: tuple[float, float] | None = None,
) -> Plane:
    """Evaluate the grid origin + first axes[0] + second axes[1] in parts, with axes (2, d)."""
    network = problem.network
    grid = torch.from_numpy(np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2))
    inside: list[NDArray[np.bool_]] = []
    # A vector (p,) counts as one; align refuses other shapes.
    directions = 1 if vectors is None else min(2 * (*np.shape(vectors), 1, 1)[1], 64)

    def batches() -> Iterator[Tensor]:
        for rows in network.chunks(len(grid), _samples(network, directions, axes.shape[1])):
            x = (origin.flatten() + grid[rows] @ axes).reshape(-1, *origin.shape)
            inside.append(in_box(x, box))
            safe_point()
            yield network.to_compute(x)

    if vectors is None:
        outputs = torch.cat([network.evaluate(x) for x in batches()])
        cosines = outputs.new_zeros(len(grid), 0)
    else:
        found = align(problem, batches(), vectors)
        outputs, cosines = found.outputs, found.cosines
    shape = (len(second), len(first))
    return Plane(
        first=first,
        second=second,
        outputs=outputs.cpu().float().reshape(*shape, -1).numpy(),
        alignment=cosines.cpu().float().reshape(*shape, cosines.shape[1]).numpy(),
        inside=np.concatenate(inside).reshape(shape),
        origin=origin.numpy(),
        axes=axes.reshape(2, *origin.shape).numpy(),
    )


def planes_of_sections(
    problem: Problem, sections: BoundarySections, vectors: Any, resolution: int
) -> tuple[Plane, ...]:
    """Evaluate the planes through x_t+, x_t- and x_b of the first three sections that lead.

    Alignments are those with the top five eigenvectors of (p, k), and with the section's own.
    Inputs of one or two dimensions, and points in one line, have no such planes.
    """
    if math.prod(problem.signature.input_shape) < 3 or not resolution:
        return ()
    planes: list[Plane] = []
    for section in sections:
        if not section.share or section.samples is None:
            continue
        points = torch.from_numpy(np.stack([*section.samples, section.boundary_point]))
        at, own = problem.network.to_compute(points), section.eigenvector
        aligned, side = vectors[:, : max(_ALIGNED, own + 1)], min(resolution, _MOST_POINTS)
        with suppress(InvalidInputError):
            planes.append(plane_of_points(problem, at, aligned, side, BORDER, sections.box, own))
        if len(planes) == _PLANES:
            break
    return tuple(planes)


def _samples(network: Network, directions: int, features: int) -> int:
    """Return the number of grid points whose inputs and activations fit in memory together."""
    input_bytes = max(1, features) * torch.finfo(network.dtype).bits // 8
    fitting = max(1, network.memory.at_most(_INPUT_BYTES) // input_bytes)
    return min(network.samples_per_chunk(directions), fitting)


def in_box(x: Tensor, box: tuple[float, float] | None) -> NDArray[np.bool_]:
    """Return which inputs (m, ...) lie in the box, but for rounding: shape (m,)."""
    if box is None:
        return np.ones(len(x), dtype=bool)
    slack = _SLACK * (box[1] - box[0])
    flat = x.flatten(1)
    return ((flat >= box[0] - slack) & (flat <= box[1] + slack)).all(1).cpu().numpy()


def _axes(points: Tensor, dtype: torch.dtype) -> tuple[Tensor, Array]:
    """Return orthonormal rows (2, d), and the coordinates (3, 2) of the three points (3, d)."""
    for i, j in itertools.combinations(range(3), 2):
        if torch.equal(points[i], points[j]):
            wanted = "be three different inputs"
            raise InvalidInputError("points", wanted, f"the same one as points {i} and {j}")
    first = points[1] - points[0]
    unit = first / first.norm()
    other = points[2] - points[0]
    rest = other - (unit @ other) * unit
    rest = rest - (unit @ rest) * unit  # once more: the first difference may be mostly rounding
    longest = float(torch.pdist(points).max())
    smallest = 1e-10 if dtype == torch.float64 else 1e-5
    if not float(rest.norm()) > smallest * longest:
        wanted = "not lie in one line, through which there is no single plane"
        because = f"the third is {float(rest.norm()):.1e} from the line through the first two"
        raise InvalidInputError("points", wanted, because=because)
    axes = torch.stack([unit, rest / rest.norm()])
    coordinates = (points - points[0]) @ axes.T
    coordinates[1, 1] = 0.0  # by definition
    return axes, coordinates.numpy()


def _extent(coordinates: Array, resolution: int, border: float) -> tuple[Array, Array]:
    low, high = coordinates.min(0), coordinates.max(0)
    # One margin all around, so that flat triangles do not make a strip of a picture.
    pad = border * float((high - low).max())
    low, high = low - pad, high + pad
    first, second = (np.linspace(low[i], high[i], resolution) for i in range(2))
    return first, second
