r"""Reinforcing gradients and their alignment with directions in parameter space.

The reinforcing gradient of an input takes the network's own prediction as the target,

.. math:: g_\theta(x) = \nabla_\theta \ell(f_\theta(x), \hat y(x)),
          \qquad \hat y(x) = \arg\max f_\theta(x),

and its alignment with a direction v is the cosine (arXiv:2306.07104, sec. 3)

.. math:: A_v(x) = \frac{\langle g_\theta(x), v\rangle}{\|g_\theta(x)\| \|v\|}.

With :math:`g = e^{s} J^T r` (see :meth:`Loss.residual`) the scale :math:`e^s`, which underflows
for confident networks, cancels. Gradients are held a few at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eigenboundary.problem.derivatives import pullback, pushforward
from eigenboundary.problem.network import Network
from eigenboundary.problem.problem import Model, Problem, problem_at
from eigenboundary.runtime.arguments import check_shape
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.interrupts import safe_point
from eigenboundary.runtime.linalg import column_norms, inner
from eigenboundary.runtime.precision import full_precision

_log = logging.getLogger(__name__)

# Bytes for the per-sample gradients held at once.
_GRADIENT_BYTES = 2**25
# Directions pushed forward at once.
_VECTORS = 64
# Gradients for which reading all directions pays. With fewer it pays where an operation of a pass
# through the network takes as long as reading so many entries of a direction.
_MANY, _ENTRIES_AN_OPERATION = 16, 1 / 40


@dataclass(frozen=True)
class Alignment:
    """Alignments of n inputs with k directions; a gradient that vanishes has no direction."""

    cosines: Tensor  # (n, k), 0 where the reinforcing gradient vanishes
    log_norms: Tensor  # (n,), float64: logarithm of the gradient's norm, -inf where it vanishes
    outputs: Tensor  # (n, C)


@full_precision()
def alignments(model: Model, x: Any, vectors: Any, **options: Any) -> Tensor:
    r"""Compute the alignments :math:`A_i(x)` of any inputs with any directions.

    They are the cosines between the inputs' reinforcing gradients and the directions.

    Parameters
    ----------
    model : torch.nn.Module, Problem or Analysis
    x : array or Tensor, shape (n, ...), or a mapping of them
        Inputs like those of the data; no labels are needed.
    vectors : array or Tensor, shape (p, k) or (p,)
        Directions in parameter space, as columns, of any length.
    **options
        Options of :class:`~eigenboundary.Problem`, for a module.

    Returns
    -------
    Tensor, shape (n, k)
        Cosines in [-1, 1].

    Raises
    ------
    InvalidInputError
        If a shape does not fit or a value is not finite.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> x, y = torch.randn(30, 2), torch.arange(30) % 3
    >>> problem = eb.Problem(torch.nn.Linear(2, 3), (x, y))
    >>> eb.alignments(problem, x[:5], torch.eye(9)[:, :4]).shape
    torch.Size([5, 4])
    """
    problem, inputs = problem_at(model, x, **options)
    batches = problem.network.input_batches(inputs, _samples(problem.network, vectors))
    return _warned(align(problem, batches, vectors)).cosines


def training_alignment(problem: Problem, vectors: Any) -> Alignment:
    """Compute the alignments of the training samples, in the data's order."""
    return _warned(problem.processes.call(_gathered, problem, vectors))


def _gathered(problem: Problem, vectors: Any) -> Alignment:
    def own() -> tuple[Tensor, Tensor, Tensor]:
        batches = (x for x, _ in problem.samples.own_batches(_samples(problem.network, vectors)))
        part = align(problem, batches, vectors)
        return part.cosines, part.log_norms, part.outputs

    return Alignment(*problem.processes.gather(own))


def _warned(result: Alignment) -> Alignment:
    vanished = int(torch.isneginf(result.log_norms).sum())
    if vanished:
        _log.warning("%d reinforcing gradients vanish: their alignment is set to 0", vanished)
    return result


def alignment_on_boundary(problem: Problem, x: Tensor, classes: Tensor, vectors: Any) -> Tensor:
    r"""Compute the alignments of points on the boundary between two classes a and b.

    The outputs of a and b are equal there. With further classes, the gradients that reinforce a
    and b differ by more than their sign, and rounding decides which is predicted. So
    :math:`A_i^2` is the mean over both gradients; the sign is that of the gradient of a. The
    classes have shape (n, 2), the vectors (p, k) and the alignments (n, k).
    """
    samples = _samples(problem.network, vectors)
    first, second = (
        align(problem, problem.network.input_batches(x, samples), vectors, targets).cosines
        for targets in classes.unbind(1)
    )
    return torch.copysign(((first.square() + second.square()) / 2).sqrt(), first)


@full_precision()
def align(
    problem: Problem, batches: Iterator[Tensor], vectors: Any, targets: Tensor | None = None
) -> Alignment:
    """Compute the alignments of a stream of batches that are ready to compute with.

    The gradients reinforce the classes ``targets`` (n,); default: the predicted ones.
    """
    network = problem.network
    directions = unit_columns(network, vectors)
    cosines, log_norms, outputs = [], [], []
    done = 0
    for x in batches:
        safe_point()
        values = network.evaluate(x)
        wanted = values.argmax(-1) if targets is None else targets[done : done + len(x)]
        done += len(x)
        residual, log_scale = problem.loss.residual(values, wanted)
        numerators, norms = _products_and_norms(network, x, residual, directions)
        safe = torch.where(norms > 0, norms, torch.ones_like(norms))
        cosines.append((numerators / safe.unsqueeze(1).to(numerators.dtype)).clamp(-1, 1))
        log_norms.append(norms.log() + log_scale.double())
        outputs.append(values)
    if not cosines:
        k, c = directions.shape[1], network.signature.n_classes
        cosines, outputs = [directions.new_zeros(0, k)], [directions.new_zeros(0, c)]
        log_norms = [torch.zeros(0, dtype=torch.float64)]
    return Alignment(torch.cat(cosines), torch.cat(log_norms), torch.cat(outputs))


def unit_columns(network: Network, vectors: Any) -> Tensor:
    """Return directions as unit columns (p, k) on the network's device."""
    if isinstance(vectors, np.ndarray) and not vectors.flags.writeable:
        vectors = vectors.copy()  # torch takes no view of the read-only arrays of an analysis
    columns = torch.as_tensor(vectors).to(network.device, network.dtype)
    if columns.ndim == 1:
        columns = columns.unsqueeze(1)
    check_shape(columns, "vectors", (network.n_parameters, "k"))
    norms = column_norms(columns)
    if not torch.isfinite(norms).all() or not (norms > 0).all():
        raise InvalidInputError("vectors", "be finite and not zero")
    # One vector after the other in memory: what splits it into parameters then copies nothing.
    return (columns / norms.to(columns.dtype)).T.contiguous().T


def _samples(network: Network, vectors: Any) -> int:
    """Return how many inputs to take at once; the vectors may not have been checked yet."""
    shape = vectors.shape if hasattr(vectors, "shape") else torch.as_tensor(vectors).shape
    width = int(shape[-1]) if len(shape) else 1
    return network.samples_per_chunk(min(2 * width, _VECTORS))


def _products_and_norms(
    network: Network, x: Tensor, residual: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Compute :math:`\langle J_s^T r_s, v\rangle` (n, k), and the gradients' float64 norms (n,).

    Where many gradients fit in memory, they are multiplied with the directions. Where few do, each
    product would read all directions; if a pass through the network takes less time than that,
    the products are :math:`\langle r_s, J_s v\rangle`, in forward mode.
    """
    itemsize = torch.finfo(network.dtype).bits // 8
    per_sample = itemsize * (network.n_parameters + 4 * network.signature.activations)
    step = max(1, network.memory.at_most(_GRADIENT_BYTES) // per_sample)
    cheap = network.n_parameters <= _ENTRIES_AN_OPERATION * network.signature.flops
    directly = step >= _MANY or cheap
    norms, products = [], []
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        gradients = pullback(network, x[part], residual[part].unsqueeze(1)).squeeze(1)
        norms.append(column_norms(gradients.T))
        if directly:
            products.append(inner(gradients.T, directions).to(directions.dtype))
    if not directly:
        pushed = [pushforward(network, x, v)[1] for v in directions.split(_VECTORS, dim=1)]
        products = [torch.cat([torch.einsum("knc,nc->nk", p, residual) for p in pushed], dim=1)]
    return torch.cat(products), torch.cat(norms)
