r"""Coordinates of parameter space that rescaling the layers of a ReLU network does not change.

Factors that pass from layer to layer (see :mod:`eigenboundary.landscape.reparametrization`),
θ' = Sθ with S diagonal, leave the predictions as they are, but the gradient becomes
:math:`S^{-1} g` and the Hessian :math:`S^{-1} H S^{-1}`. With D the diagonal of the norms of the
tensors that the parameters belong to, D' = SD, and

.. math:: \tilde g = D g, \qquad \tilde H = D H D

are the same before and after. They are gradient and Hessian in the coordinates
:math:`z = D^{-1}\theta`, so a :class:`~eigenboundary.Problem` in those is all it takes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eigenboundary.problem.classifier import Tree
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.errors import InvalidInputError


class LayerNormalizedProblem(Problem):
    r"""A problem in the coordinates :math:`z = D^{-1}\theta`; see :func:`layer_normalized`.

    Attributes
    ----------
    scales : Tensor, shape (p,)
        The diagonal of D.
    """

    def __init__(self, problem: Problem) -> None:
        if not isinstance(problem, Problem):
            raise InvalidInputError("problem", "be a Problem", type(problem).__name__)
        if isinstance(problem, LayerNormalizedProblem):
            raise InvalidInputError("problem", "not be layer-normalised already", "one that is")
        vars(self).update(vars(problem))
        self.reverse_only = set(problem.reverse_only)
        norms = {n: torch.linalg.vector_norm(t.double()) for n, t in problem.parameters.items()}
        self._norms: Tree = {
            # A tensor of zeros, or of nothing, has no scale of its own.
            name: torch.where(norm > 0, norm, torch.ones_like(norm)).to(problem.dtype)
            for name, norm in norms.items()
        }
        entries = {n: self._norms[n].expand(t.shape) for n, t in problem.parameters.items()}
        self.scales = self.flatten(entries, leading=0)
        self.parameters = {n: t / self._norms[n] for n, t in problem.parameters.items()}

    def _raw_outputs(self, parameters: Tree, x: Tensor) -> Any:
        return super()._raw_outputs({n: z * self._norms[n] for n, z in parameters.items()}, x)


def layer_normalized(problem: Problem) -> LayerNormalizedProblem:
    r"""The problem in coordinates that rescaling the layers of a ReLU network does not change.

    Every parameter tensor is measured in units of its own (Frobenius) norm: θ = Dz with D the
    diagonal of those norms, held fixed. All that is computed from the result, with
    :class:`~eigenboundary.HessianOperator`, :func:`~eigenboundary.alignment` and the rest, is in
    terms of z: the gradient is Dg, the Hessian DHD, and an alignment
    :math:`\langle Dg, u\rangle / \|Dg\|\|u\|`. Eigenvalues and alignments are then the same, to
    rounding, for a network and what :func:`~eigenboundary.reparametrize` makes of it. Factors that
    differ between the units of a layer do change them.

    Parameters
    ----------
    problem : Problem
        Left as it is; its data are shared.

    Returns
    -------
    Problem
        With attribute ``scales``, the diagonal of D, shape (p,). A tensor of zeros keeps scale 1,
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
    return LayerNormalizedProblem(problem)
