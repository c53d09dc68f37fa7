r"""The margin of the boundary section that each eigenvector encodes (arXiv:2306.07104).

For an eigenvector :math:`v_i` the paper takes the training sample :math:`x_t` with the largest
alignment :math:`A_i`, on either side, and estimates the margin as

.. math:: \|x_t - x_b\|, \qquad x_b = \arg\max_x |A_i(x)|,

with :math:`x_b` found by gradient ascent over the input from :math:`x_t`. That search may end off
the boundary; here the maximum can be taken over points of the boundary instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eigenboundary.alignment.reinforcing_gradients import training_alignment, unit_columns
from eigenboundary.boundary.ascent import ascend, most_aligned, own_alignment
from eigenboundary.boundary.distance import boundary_distance
from eigenboundary.boundary.points import boundary_points
from eigenboundary.boundary.search.crossings import leading_two
from eigenboundary.boundary.search.input_gradients import outputs_at
from eigenboundary.boundary.search.norms import Geometry
from eigenboundary.problem.problem import Model, as_problem
from eigenboundary.runtime.arguments import check_integer, check_number, check_seed


@dataclass(frozen=True)
class SectionMargins:
    r"""Margins of the boundary sections that k eigenvectors encode, on their two sides.

    Attributes
    ----------
    samples : array of int, shape (k, 2)
        The training samples :math:`x_t` with the most positive and the most negative alignment.
    boundary_point : array, shape (k, 2, ...)
        :math:`x_b`.
    alignment : array, shape (k, 2)
        Absolute alignment at :math:`x_b`.
    gap : array, shape (k, 2)
        Difference of the two leading outputs at :math:`x_b`: zero on the boundary.
    classes : array of int, shape (k, 2, 2)
        The two leading classes at :math:`x_b`, smaller one first.
    paper_margin : array, shape (k, 2)
        :math:`\|x_t - x_b\|`.
    refined_margin : array, shape (k, 2)
        Distance of :math:`x_t` from the boundary, wherever it is nearest.
    """

    samples: NDArray[np.int64] = field(repr=False)
    boundary_point: NDArray[Any] = field(repr=False)
    alignment: NDArray[Any] = field(repr=False)
    gap: NDArray[Any] = field(repr=False)
    classes: NDArray[np.int64] = field(repr=False)
    paper_margin: NDArray[Any] = field(repr=False)
    refined_margin: NDArray[Any] = field(repr=False)


def paper_margins(
    model: Model,
    vectors: Any,
    *,
    data: Any = None,
    constrained: bool = True,
    n_points: int = 1000,
    n_steps: int = 200,
    learning_rate: float = 0.02,
    seed: int = 0,
    **options: Any,
) -> SectionMargins:
    r"""Compute the paper's margin of each eigenvector's section, and its samples' distances.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
    vectors : array or Tensor, shape (p, k)
        Eigenvectors.
    constrained : bool
        Whether to look for :math:`x_b` on the boundary alone: among its points, then along it.
        Otherwise it is found by gradient ascent over all inputs, as in the paper, which holds a
        gradient in θ for each of the 2k searches.
    n_points : int
        Points of the boundary to choose from.
    n_steps, learning_rate
        Steps of the ascent (Adam), and their size in units of the input.
    seed : int
        Seed of the searches.
    data, **options
        Samples and options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    SectionMargins

    Raises
    ------
    InvalidInputError
        If an argument is not as described.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> from eigenboundary.boundary import paper_margins
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    >>> model = torch.nn.Linear(2, 2)
    >>> model.weight.data, model.bias.data = torch.eye(2), torch.zeros(2)
    >>> problem = eb.Problem(model, (x, x.argmax(1)))
    >>> pairs = eb.top_eigenpairs(eb.HessianOperator(problem), 2)
    >>> margins = paper_margins(problem, pairs.vectors, n_points=50)
    >>> margins.samples.shape, bool(margins.gap.max() < 1e-4)
    ((2, 2), True)
    >>> bool((margins.paper_margin >= margins.refined_margin - 1e-5).all())
    True
    """
    check_integer(n_points, "n_points")
    check_integer(n_steps, "n_steps")
    check_seed(seed)
    check_number(learning_rate, "learning_rate", above=0)
    problem = as_problem(model, data, **options)
    directions = unit_columns(problem.network, vectors)
    cosines = training_alignment(problem, directions).cosines
    samples = torch.stack([cosines.argmax(0), cosines.argmin(0)], dim=1)  # (k, 2)
    x_t = problem.samples.inputs_at(samples.flatten())
    if constrained:
        found = boundary_points(problem, n=n_points, seed=seed)
        points = problem.network.to_compute(torch.from_numpy(found.points))
        x_b = most_aligned(problem, directions, points, seed)[0].repeat_interleave(2, dim=0)
    else:
        x_b = ascend(problem, x_t, directions.repeat_interleave(2, 1), n_steps, learning_rate)
    classes, gap, _ = leading_two(outputs_at(problem.network, x_b))
    columns = {
        "samples": samples,
        "boundary_point": x_b.reshape(*samples.shape, *x_b.shape[1:]),
        "alignment": own_alignment(problem, x_b, directions, 2).reshape(samples.shape),
        "gap": gap.reshape(samples.shape),
        "classes": classes.sort(1).values.reshape(*samples.shape, 2),
        "paper_margin": Geometry().length(x_t - x_b).reshape(samples.shape),
    }
    return SectionMargins(
        **{name: values.cpu().numpy() for name, values in columns.items()},
        refined_margin=boundary_distance(problem, x_t, seed=seed).value.reshape(samples.shape),
    )
