r"""Coordinates of parameter space that rescaling the layers of a ReLU network does not change.

Factors that pass from layer to layer (see :mod:`eigenboundary.landscape.reparametrization`),
θ' = Sθ with S diagonal, leave the predictions as they are, but turn the gradient into
:math:`S^{-1} g`, the Hessian into :math:`S^{-1} H S^{-1}`, and the diagonal D of the norms of the
tensors that the parameters belong to into SD. So gradient and Hessian in the coordinates
:math:`z = D^{-1}\theta` do not change:

.. math:: \tilde g = D g, \qquad \tilde H = D H D.
"""

from __future__ import annotations

from typing import Any

import torch

from eigenboundary.problem.problem import Model, Problem, as_problem
from eigenboundary.runtime.errors import InvalidInputError


def layer_normalized(model: Model, data: Any = None, **options: Any) -> Problem:
    r"""Return the problem in coordinates that rescaling a ReLU network's layers does not change.

    Every parameter tensor is measured in units of its own (Frobenius) norm: θ = Dz with D the
    diagonal of these norms, held fixed. Whatever is computed from the result, with
    :class:`~eigenboundary.HessianOperator`, :func:`~eigenboundary.alignments` and the rest, is in
    terms of z: the gradient is Dg, the Hessian DHD, and an alignment
    :math:`\langle Dg, u\rangle / \|Dg\|\|u\|`. A network and its reparametrization by
    :func:`~eigenboundary.reparametrize` then have equal eigenvalues and alignments, to rounding.
    Factors that differ between the units of a layer do change them.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
        Left as it is; the samples are shared.
    data, **options
        Samples and options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    Problem
        Its ``network.scales`` is the diagonal of D, shape (p,). A tensor of zeros keeps scale 1,
        and its entries' coordinates are not invariant.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> _ = torch.manual_seed(0)
    >>> data = torch.randn(12, 2).double(), torch.arange(12) % 3
    >>> hidden, last = torch.nn.Linear(2, 4), torch.nn.Linear(4, 3)
    >>> model = torch.nn.Sequential(hidden, torch.nn.ReLU(), last).double()
    >>> for network in (model, eb.reparametrize(model, [10.0, 0.1])):
    ...     problem = eb.layer_normalized(eb.Problem(network, data))
    ...     print(round(eb.HessianOperator(problem).trace(), 4))
    1.375
    1.375
    """
    problem = as_problem(model, data, **options)
    network = problem.network
    if network.units is not None:
        raise InvalidInputError("model", "not be layer-normalised already", "one that is")
    units = {}
    for name, tensor in network.parameters.items():
        norm = torch.linalg.vector_norm(tensor.double())
        # A tensor of zeros, or an empty one, has no scale of its own.
        units[name] = torch.where(norm > 0, norm, torch.ones_like(norm)).to(network.dtype)
    samples = problem.samples if problem.has_samples else None
    return Problem.of(network.in_units(units), problem.loss, samples, problem.seed)
