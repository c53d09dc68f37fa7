r"""Derivatives of a network with respect to θ, for whole blocks of directions at once.

With :math:`J_s = \partial f_\theta(x_s)/\partial\theta` (shape (C, p)) and directions as the
columns of V (p, k):

=======================  =============================================
:func:`pushforward`      :math:`J_s V`, forward mode
:func:`pullback`         :math:`J_s^T r_s` for each sample, reverse mode
:func:`summed_pullback`  :math:`\sum_s J_s^T u_s`, reverse mode
:func:`hessian_product`  :math:`\nabla^2_\theta \sum_s \ell_s\, V`, forward over reverse
=======================  =============================================

Where an operation of the network lacks forward mode or a batching rule, the same numbers are
computed one direction or sample at a time, with reverse mode alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
import torch._dynamo  # torch.func imports it at its first gradient: two seconds, paid here
from torch import Tensor
from torch.func import grad, jvp, vjp, vmap

from eigenboundary.problem.losses import Loss
from eigenboundary.problem.network import Network, Tree
from eigenboundary.runtime.precision import full_precision

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def hessian_product(network: Network, loss: Loss, x: Tensor, y: Tensor, vectors: Tensor) -> Tensor:
    r"""Compute :math:`\nabla^2_\theta \sum_s \ell(f_\theta(x_s), y_s)\, V`, shape (p, k).

    The sum is over a batch as :meth:`Samples.batches` yields it.
    """
    return scalar_hessian_product(network, x, lambda f: loss.per_sample(f, y).sum(), vectors)


@full_precision()
def scalar_hessian_product(
    network: Network, x: Tensor, scalar: Callable[[Tensor], Tensor], vectors: Tensor
) -> Tensor:
    """Multiply the Hessian in θ of ``scalar(outputs)`` with each column, shape (p, k)."""

    def value(parameters: Tree) -> Tensor:
        return scalar(network.outputs(parameters, x))

    def forward_over_reverse() -> Tensor:
        tangents = network.unflatten(vectors.T.contiguous())
        gradient = grad(value)
        products = vmap(lambda t: jvp(gradient, (network.parameters,), (t,))[1])(tangents)
        return network.flatten(products).T

    @_differentiating()
    def reverse_over_reverse() -> Tensor:
        variables = _variables(network)
        flat = _differentiable_pullback(value(variables), variables, None)
        return _transposed_products(flat, variables, vectors)

    return _either(network, "hessian_product", forward_over_reverse, reverse_over_reverse)


@full_precision()
def kept_hessian_product(
    network: Network, loss: Loss, x: Tensor, y: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return :func:`hessian_product` of one batch, through the kept graph of its gradient."""
    with _differentiating():
        variables = _variables(network)
        value = loss.per_sample(network.outputs(variables, x), y).sum()
        flat = _differentiable_pullback(value, variables, None)
    return lambda vectors: _transposed_products(flat, variables, vectors)


@dataclass(frozen=True, eq=False)
class WeightedBatch:
    """A batch with weights (n,) and θ, whose products are pure functions that can be traced.

    The direction t and a product have one tensor a parameter.
    """

    network: Network
    loss: Loss
    x: Tensor
    y: Tensor
    weights: Tensor
    parameters: Tree

    def outputs(self, theta: Tree) -> Tensor:
        return self.network.outputs(theta, self.x)

    def hessian_product(self, tangents: Tree) -> Tree:
        r"""Compute :math:`\nabla^2_\theta \sum_s w_s \ell_s\, t` in forward mode."""

        def value(theta: Tree) -> Tensor:
            return (self.loss.per_sample(self.outputs(theta), self.y) * self.weights).sum()

        product: Tree = jvp(grad(value), (self.parameters,), (tangents,))[1]
        return product

    def functional_product(self, tangents: Tree) -> Tree:
        r"""Compute :math:`\sum_{s,c} w_s (\partial\ell_s/\partial f_c) \nabla^2 f_c\, t`."""
        slopes = self.loss.gradient(self.outputs(self.parameters), self.y)
        weighted = slopes * self.weights.unsqueeze(1)

        def value(theta: Tree) -> Tensor:
            return (self.outputs(theta) * weighted).sum()

        product: Tree = jvp(grad(value), (self.parameters,), (tangents,))[1]
        return product

    def gauss_newton_product(self, tangents: Tree) -> Tree:
        r"""Compute :math:`\sum_s w_s J_s^T \Lambda_s J_s\, t`."""
        values, pull = vjp(self.outputs, self.parameters)[:2]
        pushed = jvp(self.outputs, (self.parameters,), (tangents,))[1]
        curved = self.loss.output_hessian_product(values, self.y, pushed)
        product: Tree = pull(curved * self.weights.unsqueeze(1))[0]
        return product


@full_precision()
def pushforward(network: Network, x: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    r"""Compute outputs (n, C) and derivatives along k directions, :math:`J_s V`, (k, n, C)."""

    def outputs(parameters: Tree) -> Tensor:
        return network.outputs(parameters, x)

    def forward_mode() -> tuple[Tensor, Tensor]:
        tangents = network.unflatten(vectors.T.contiguous())
        along = vmap(lambda t: jvp(outputs, (network.parameters,), (t,))[:2])
        values, derivatives = along(tangents)
        return values[0], derivatives

    @_differentiating()
    def double_reverse() -> tuple[Tensor, Tensor]:
        # J^T u is linear in u, so its derivative along v is (J v): reverse mode twice.
        variables = _variables(network)
        values = outputs(variables)
        dual = torch.zeros_like(values, requires_grad=True)
        flat = _differentiable_pullback(values, variables, dual)
        rows = [torch.autograd.grad(flat, dual, v, retain_graph=True)[0] for v in vectors.unbind(1)]
        return values.detach(), torch.stack(rows)

    return _either(network, "pushforward", forward_mode, double_reverse)


@full_precision()
def pullback(network: Network, x: Tensor, cotangents: Tensor) -> Tensor:
    r"""Pull r cotangents a sample back, (n, r, C) to (n, r, p): :math:`J_s^T r_s`."""

    def one_sample(sample: Tensor, rows: Tensor) -> Tensor:
        pull = vjp(
            lambda parameters: network.outputs(parameters, sample.unsqueeze(0)).squeeze(0),
            network.parameters,
        )[1]
        return network.flatten(vmap(pull)(rows)[0])

    @_differentiating()
    def one_by_one() -> Tensor:
        variables, pulled = _variables(network), []
        for sample, rows in zip(x, cotangents, strict=True):
            values = network.outputs(variables, sample.unsqueeze(0)).squeeze(0)
            pulled.append(_transposed_products(values, variables, rows.T).T)
        return pulled[0].unsqueeze(0) if len(pulled) == 1 else torch.stack(pulled)

    if cotangents.shape[:2] == (1, 1):  # nothing to vectorise
        return one_by_one()
    return _either(network, "pullback", lambda: vmap(one_sample)(x, cotangents), one_by_one)


@full_precision()
def summed_pullback(network: Network, x: Tensor, cotangents: Tensor) -> Tensor:
    r"""Pull cotangents back and sum over a batch, (k, n, C) to (p, k): :math:`\sum_s J_s^T u_s`."""

    def batched() -> Tensor:
        pull = vjp(lambda parameters: network.outputs(parameters, x), network.parameters)[1]
        return network.flatten(vmap(pull)(cotangents)[0]).T

    @_differentiating()
    def looped() -> Tensor:
        variables = _variables(network)
        values = network.outputs(variables, x).reshape(-1)
        return _transposed_products(values, variables, cotangents.flatten(1).T)

    return _either(network, "summed_pullback", batched, looped)


@full_precision()
def squared_alignment_slopes(
    network: Network, loss: Loss, x: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Compute the gradient in x of each input's squared alignment with its direction.

    .. math:: \frac{\partial}{\partial x} \frac{(g(x)^T v)^2}{\|g(x)\|^2}, \quad
        g(x) = \nabla_\theta\, \ell\bigl(f_\theta(x), \arg\max f_\theta(x)\bigr):

    reverse mode over reverse mode. The results are the slopes at x, (m, ...), and the squared
    alignments, (m,), with directions that are unit columns, (p, m).
    """

    def square_of(values: Tensor, v: Tensor, pull: Callable[[Tensor], Tensor]) -> Tensor:
        residual, _ = loss.residual(values, values.argmax(-1))
        g = pull(residual)
        return (g @ v).square() / g.square().sum()

    def square(one: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        values, pull = vjp(
            lambda parameters: network.outputs(parameters, one.unsqueeze(0)), network.parameters
        )[:2]
        value = square_of(values, v, lambda r: network.flatten(pull(r)[0], leading=0))
        return value, value.detach()

    def batched() -> tuple[Tensor, Tensor]:
        slopes, squares = vmap(grad(square, has_aux=True))(x, directions.T)
        return slopes, squares

    @_differentiating()
    def looped() -> tuple[Tensor, Tensor]:
        variables, slopes, squares = _variables(network), [], []
        for one, v in zip(x.split(1), directions.unbind(1), strict=True):
            inputs = one.detach().clone().requires_grad_(True)
            values = network.outputs(variables, inputs)
            value = square_of(values, v, partial(_differentiable_pullback, values, variables))
            slopes.append(torch.autograd.grad(value, inputs)[0])
            squares.append(value.detach())
        return torch.cat(slopes), torch.stack(squares)

    return _either(network, "squared_alignment_slopes", batched, looped)


def _either(
    network: Network, name: str, vectorised: Callable[[], _T], reverse_only: Callable[[], _T]
) -> _T:
    """Run the vectorised form, or the reverse-mode form once the former has failed."""
    if name not in network.reverse_only:
        try:
            return vectorised()
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError) as error:
            reason = str(error).strip().splitlines()[0]
            _log.info("%s: falling back to reverse mode (%s)", name, reason)
    result = reverse_only()
    network.reverse_only.add(name)
    return result


@contextmanager
def _differentiating() -> Iterator[None]:
    """Allow plain backward passes, also where a caller has switched gradients off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _variables(network: Network) -> Tree:
    return {k: v.detach().clone().requires_grad_(True) for k, v in network.parameters.items()}


def _pulled_back(values: Tensor, variables: Tree, dual: Tensor | None, **graph: Any) -> Tensor:
    graph |= {"allow_unused": True, "materialize_grads": True}
    pieces = torch.autograd.grad(values, list(variables.values()), dual, **graph)
    return torch.cat([piece.reshape(-1) for piece in pieces])


_differentiable_pullback = partial(_pulled_back, create_graph=True)


def _transposed_products(values: Tensor, variables: Tree, columns: Tensor) -> Tensor:
    """Compute ``(d values / d variables)^T columns`` column by column, flat: (p, k)."""
    if not values.requires_grad:
        return columns.new_zeros(sum(v.numel() for v in variables.values()), columns.shape[1])
    products = [_pulled_back(values, variables, v, retain_graph=True) for v in columns.unbind(1)]
    return products[0].unsqueeze(1) if len(products) == 1 else torch.stack(products, dim=1)
