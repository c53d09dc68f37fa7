"""Gradients of single training samples, as unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from eigenboundary.problem.derivatives import pullback
from eigenboundary.problem.problem import Problem


def loss_gradients(problem: Problem, *, reinforcing: bool = False) -> Tensor:
    r"""Compute the gradients :math:`\nabla_\theta \ell(f(x_s), y_s)` at unit length, shape (n, p).

    Reinforcing gradients have the predicted classes in the place of the labels.
    """
    pulled = []
    for x, y in problem.samples.batches(64):
        outputs = problem.network.evaluate(x)
        # Only the direction: the gradient of a confident sample itself would underflow.
        residual, _ = problem.loss.residual(outputs, outputs.argmax(-1) if reinforcing else y)
        pulled.append(pullback(problem.network, x, residual.unsqueeze(1)).squeeze(1))
    return unit(torch.cat(pulled))


def unit(gradients: Tensor) -> Tensor:
    """Scale gradients (..., p) to unit length; zero stays zero."""
    return normalize(gradients, dim=-1, eps=torch.finfo(gradients.dtype).tiny)
