"""Outputs of a network and their gradients in the inputs, in blocks that fit in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from eigenboundary.problem.network import Network
from eigenboundary.runtime.precision import full_precision

_GRADIENT_BYTES = 2**28


def outputs_at(network: Network, x: Tensor) -> Tensor:
    """Compute the outputs (n, C) for any number of inputs, which may be none."""
    if not len(x):
        return x.new_zeros(0, network.signature.n_classes)
    return network.predict(x)


def differences(outputs: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Compute the output of each row's first class less that of its second, shape (n,)."""
    values = outputs.gather(1, torch.stack([first, second], dim=1))
    return values[:, 0] - values[:, 1]


def depth(outputs: Tensor, own: Tensor) -> Tensor:
    """Compute how far the largest other output is above that of the own class, shape (n,)."""
    own = own.unsqueeze(1)
    others = outputs.scatter(1, own, -torch.inf).amax(1)
    return others - outputs.gather(1, own).squeeze(1)


def gap_gradient(
    network: Network, x: Tensor, first: Tensor, second: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Compute :math:`f_a(x) - f_b(x)` and its gradient in the inputs (n, ...).

    ``first`` and ``second`` are the classes a and b of each input, shape (n,).
    """
    values, gradient = _input_gradient(
        network, x, lambda outputs, rows: (differences(outputs, first[rows], second[rows]),)
    )
    return values, gradient


def depth_gradient(
    network: Network, x: Tensor, own: Tensor, other: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Compute how deep inputs (n, ...) lie behind the boundary of their own class a.

    The results are the depth :math:`\max_{j \ne a} f_j(x) - f_a(x)`, the value :math:`f_b(x) -
    f_a(x)` and its gradient, with b the ``other`` class, by default that of the largest other
    output.
    """

    def values_of(outputs: Tensor, rows: slice) -> tuple[Tensor, ...]:
        behind = depth(outputs, own[rows])
        return behind if other is None else differences(outputs, other[rows], own[rows]), behind

    towards, behind, gradient = _input_gradient(network, x, values_of, 2)
    return behind, towards, gradient


@full_precision()
def _input_gradient(
    network: Network,
    x: Tensor,
    values_of: Callable[[Tensor, slice], tuple[Tensor, ...]],
    count: int = 1,
) -> tuple[Tensor, ...]:
    """Compute values of outputs, and the gradient of the first of them in the input."""
    if not len(x):
        return *(x.new_zeros(0) for _ in range(count)), torch.zeros_like(x)
    # One backward pass keeps less than the derivatives that chunks are made for.
    most = network.samples_per_chunk(0, _GRADIENT_BYTES)
    columns = []
    for rows in network.chunks(len(x), most):
        with torch.enable_grad():
            inputs = x[rows].detach().clone().requires_grad_(True)
            values = values_of(network.outputs(network.parameters, inputs), rows)
            # Inputs do not depend on one another: one backward pass serves them all.
            gradient = torch.autograd.grad(values[0].sum(), inputs)[0]
        columns.append((*(value.detach() for value in values), gradient))
    return tuple(torch.cat(parts) for parts in zip(*columns, strict=True))
