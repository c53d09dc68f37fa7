"""Outputs of a network and their gradients in the inputs, in blocks that fit in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from eigenboundary.problem.network import Network
from eigenboundary.runtime.precision import full_precision

_GRADIENT_BYTES = 2**28


def outputs_at(network: Network, x: Tensor) -> Tensor:
    """Outputs (n, C) for inputs on the device, none of them too many for one batch."""
    if not len(x):
        return x.new_zeros(0, network.signature.n_classes)
    return network.predict(x)


def gap_gradient(
    network: Network, x: Tensor, first: Tensor, second: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Difference of two outputs and its gradient in the input.

    Parameters
    ----------
    x : Tensor, shape (n, ...)
        On the device.
    first, second : Tensor of int64, shape (n,)
        Classes a and b of each input.

    Returns
    -------
    difference : Tensor, shape (n,)
        :math:`f_a(x) - f_b(x)`.
    gradient : Tensor, shape (n, ...)
        :math:`\nabla_x (f_a - f_b)(x)`.
    """

    def difference(outputs: Tensor, rows: slice) -> tuple[Tensor]:
        chosen = outputs.gather(1, torch.stack([first[rows], second[rows]], dim=1))
        return (chosen[:, 0] - chosen[:, 1],)

    values, gradient = _input_gradient(network, x, difference)
    return values, gradient


def depth_gradient(
    network: Network, x: Tensor, own: Tensor, other: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    r"""How deep inputs lie behind the boundary of a class, and the gradient of that.

    Parameters
    ----------
    x : Tensor, shape (n, ...)
        On the device.
    own : Tensor of int64, shape (n,)
        Class a of each input.
    other : Tensor of int64, shape (n,), optional
        The class b to be differentiated towards; default: the one with the largest output.

    Returns
    -------
    depth : Tensor, shape (n,)
        :math:`\max_{j \ne a} f_j(x) - f_a(x)`.
    towards : Tensor, shape (n,)
        :math:`f_b(x) - f_a(x)`.
    gradient : Tensor, shape (n, ...)
        :math:`\nabla_x (f_b - f_a)(x)`.
    """

    def differences(outputs: Tensor, rows: slice) -> tuple[Tensor, ...]:
        mine = outputs.gather(1, own[rows].unsqueeze(1))
        others = outputs.scatter(1, own[rows].unsqueeze(1), -torch.inf).amax(1)
        depth = others - mine.squeeze(1)
        if other is None:
            return depth, depth
        return (outputs.gather(1, other[rows].unsqueeze(1)) - mine).squeeze(1), depth

    towards, depth, gradient = _input_gradient(network, x, differences, 2)
    return depth, towards, gradient


@full_precision()
def _input_gradient(
    network: Network,
    x: Tensor,
    values_of: Callable[[Tensor, slice], tuple[Tensor, ...]],
    count: int = 1,
) -> tuple[Tensor, ...]:
    """Values of outputs, one an input, and the gradient of the first of them in the input."""
    if not len(x):
        return *(x.new_zeros(0) for _ in range(count)), torch.zeros_like(x)
    # One backward pass keeps less than the derivatives that chunks are made for.
    most = network.samples_per_chunk(0, _GRADIENT_BYTES)
    columns = []
    for rows in network.chunks(len(x), most):
        with torch.enable_grad():
            inputs = x[rows].detach().clone().requires_grad_(True)
            values = values_of(network.outputs(network.parameters, inputs), rows)
            # Pool do not depend on one another: one backward pass serves them all.
            gradient = torch.autograd.grad(values[0].sum(), inputs)[0]
        columns.append((*(value.detach() for value in values), gradient))
    return tuple(torch.cat(parts) for parts in zip(*columns, strict=True))
