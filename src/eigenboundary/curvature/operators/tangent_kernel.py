r"""Inner products between parameter gradients of a network's outputs at different inputs.

With cotangents r of the outputs, the gradient of :math:`r^T f_\theta(x_s)` in θ is
:math:`J_s^T r`, and

.. math:: K_{(s,r),(t,r')} = r^T J_s J_t^T r'

is the empirical neural tangent kernel (Jacot, Gabriel & Hongler 2018), in coordinates θ = Dz with
:math:`J D^2 J^T`. A linear layer with input a and derivative δ in its output contributes
:math:`\langle a, a'\rangle\,\langle\delta, \delta'\rangle` for its weight and
:math:`\langle\delta, \delta'\rangle` for its bias (Novak, Sohl-Dickstein & Schoenholz 2022), so
that its gradients are never formed. Gradients of other parameters are formed block by block.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from eigenboundary.problem.derivatives import pullback
from eigenboundary.problem.network import Network
from eigenboundary.runtime.errors import first_line
from eigenboundary.runtime.interrupts import safe_point
from eigenboundary.runtime.precision import full_precision

_log = logging.getLogger(__name__)

# Bytes of gradients that are formed at once, and that are kept rather than computed again.
_BLOCK_BYTES, KEPT_BYTES = 2**27, 2**30
# Inputs by which the kernel of the layers is compared with inner products of whole gradients.
_COMPARED = 2


@full_precision()
def tangent_kernel(network: Network, x: Tensor, cotangents: Tensor) -> Tensor:
    """Compute the inner products between the gradients at all inputs.

    Parameters
    ----------
    x : Tensor, shape (n, ...)
        Inputs, ready to compute with.
    cotangents : Tensor, shape (n, r, C)
        r cotangents an input.

    Returns
    -------
    Tensor of float64, shape (nr, nr)
        Symmetric and positive semi-definite to rounding, on the host.
    """
    layers = _plain_layers(network, x, cotangents)
    rows = cotangents.shape[0] * cotangents.shape[1]
    total = torch.zeros(rows, rows, dtype=torch.float64)
    _add_layers(total, network, layers, x, cotangents)
    covered = {name for layer in layers for name in layer.names}
    rest = {n: t for n, t in network.parameters.items() if n not in covered}
    if rest:
        _add_gradients(total, replace(network, parameters=rest), x, cotangents)
    return total


def formed_parameters(network: Network, x: Tensor, cotangents: Tensor) -> int:
    """Return for how many parameters gradients would be formed, as a few inputs (n, ...) show."""
    layers = _plain_layers(network, x, cotangents)
    covered = sum(network.parameters[name].numel() for layer in layers for name in layer.names)
    return network.n_parameters - covered


@dataclass(frozen=True)
class _Layer:
    """A linear layer that is called once, with the names of its parameters among θ."""

    module: nn.Linear
    weight: str | None
    bias: str | None

    @property
    def names(self) -> list[str]:
        return [name for name in (self.weight, self.bias) if name is not None]


def _plain_layers(network: Network, x: Tensor, cotangents: Tensor) -> list[_Layer]:
    """Return the linear layers whose kernel is a product, as a trial on a few inputs shows."""
    few, some = x[:_COMPARED], cotangents[:_COMPARED]
    size = some.shape[0] * some.shape[1]
    kernel, expected = torch.zeros(2, size, size, dtype=torch.float64)
    try:
        layers = _called_once(network, _linear_layers(network), few)
        _add_layers(kernel, network, layers, few, some)
    except Exception as error:  # whatever a module that is differentiated by itself may raise
        _log.info("tangent kernel by whole gradients (%s)", first_line(error))
        return []
    names = {name for layer in layers for name in layer.names}
    if not names:
        return []
    part = {n: t for n, t in network.parameters.items() if n in names}
    _add_gradients(expected, replace(network, parameters=part), few, some)
    allowed = 1e3 * torch.finfo(network.dtype).eps * float(expected.abs().max())
    if float((kernel - expected).abs().max()) <= allowed:
        return layers
    _log.info("tangent kernel by whole gradients (that of the linear layers differs)")
    return []


def _called_once(network: Network, layers: list[_Layer], x: Tensor) -> list[_Layer]:
    """Return the layers that are called once, with one vector an input."""
    with torch.no_grad(), _recorded(layers) as calls:
        network.outputs(network.parameters, x)
    return [
        layer
        for layer, of_layer in zip(layers, calls, strict=True)
        if len(of_layer) == 1 and of_layer[0][0].ndim == 2 and len(of_layer[0][0]) == len(x)
    ]


def _linear_layers(network: Network) -> list[_Layer]:
    """Return the linear layers that have a parameter among θ and share none."""
    modules = dict(network.module.named_modules())
    uses = Counter(id(t) for m in modules.values() for t in m.parameters(recurse=False))
    layers = []
    for prefix, module in modules.items():
        if type(module) is not nn.Linear:
            continue
        weight, bias = (
            name if name in network.parameters and uses[id(getattr(module, kind))] == 1 else None
            for kind in ("weight", "bias")
            for name in (f"{prefix}.{kind}".lstrip("."),)
        )
        if weight or bias:
            layers.append(_Layer(module, weight, bias))
    return layers


def _add_layers(
    total: Tensor, network: Network, layers: list[_Layer], x: Tensor, cotangents: Tensor
) -> None:
    """Add the kernel of linear layers."""
    n, r, _ = cotangents.shape
    parts: list[list[tuple[Tensor, Tensor]]] = [[] for _ in layers]
    for rows in network.chunks(n, network.samples_per_chunk(1)):
        safe_point()
        for part, pair in zip(
            parts, _inputs_and_derivatives(network, layers, x[rows], cotangents[rows]), strict=True
        ):
            part.append(pair)
    for layer, part in zip(layers, parts, strict=True):
        safe_point()
        inputs = torch.cat([a for a, _ in part]).double()
        derivatives = torch.cat([d for _, d in part]).flatten(0, 1).double()
        factor = torch.zeros(n, n, dtype=torch.float64, device=inputs.device)
        if layer.weight is not None:
            factor += _unit(network, layer.weight) ** 2 * (inputs @ inputs.T)
        if layer.bias is not None:
            factor += _unit(network, layer.bias) ** 2
        kernel = (derivatives @ derivatives.T).view(n, r, n, r)
        total += (kernel * factor.view(n, 1, n, 1)).view(n * r, n * r).cpu()


def _unit(network: Network, name: str) -> float:
    return 1.0 if network.units is None else float(network.units[name])


def _inputs_and_derivatives(
    network: Network, layers: list[_Layer], x: Tensor, cotangents: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Return each layer's input (n, i) and the outputs' derivatives in its output (n, r, o)."""
    if not layers:
        return []
    with torch.inference_mode(False), torch.enable_grad(), _recorded(layers) as calls:
        outputs = network.outputs(network.parameters, x)
    inputs, values = zip(*(of_layer[0] for of_layer in calls), strict=True)
    derivatives = [
        torch.autograd.grad(outputs, values, column, retain_graph=True)
        for column in cotangents.unbind(1)
    ]
    stacked = [torch.stack(of_layer, dim=1) for of_layer in zip(*derivatives, strict=True)]
    return [(a.detach(), d) for a, d in zip(inputs, stacked, strict=True)]


@contextmanager
def _recorded(layers: list[_Layer]) -> Iterator[list[list[tuple[Tensor, Tensor]]]]:
    """Record inputs and outputs of each call of the layers."""
    calls: list[list[tuple[Tensor, Tensor]]] = [[] for _ in layers]

    def recorder(of_layer: list[tuple[Tensor, Tensor]]) -> Any:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], value: Tensor) -> Tensor:
            value = value if value.requires_grad else value.detach().requires_grad_(True)
            of_layer.append((inputs[0], value))
            return value.clone()  # the original stays as it is where the next layer is in place

        return record

    handles = [
        layer.module.register_forward_hook(recorder(of_layer))
        for layer, of_layer in zip(layers, calls, strict=True)
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _add_gradients(total: Tensor, network: Network, x: Tensor, cotangents: Tensor) -> None:
    """Add inner products of whole gradients, two blocks of which are held at once."""
    n, r, _ = cotangents.shape
    each = 2 * 8 * max(1, r * network.n_parameters)
    step = min(network.samples_per_chunk(r), max(1, network.memory.at_most(_BLOCK_BYTES) // each))
    blocks = [slice(i, min(i + step, n)) for i in range(0, n, step)]
    whole = network.dtype.itemsize * n * r * network.n_parameters
    keep = whole <= network.memory.at_most(KEPT_BYTES)
    kept: dict[int, Tensor] = {}

    def gradients(rows: slice) -> Tensor:
        safe_point()
        found = kept.get(rows.start)
        if found is None:
            found = pullback(network, x[rows], cotangents[rows]).flatten(0, 1)
        if keep:
            kept[rows.start] = found
        return found.double()

    for i, first in enumerate(blocks):
        left = gradients(first)
        for second in blocks[i:]:
            right = left if second is first else gradients(second)
            products = (left @ right.T).cpu()
            above = slice(r * first.start, r * first.stop), slice(r * second.start, r * second.stop)
            total[above] += products
            if second is not first:
                total[above[::-1]] += products.T
        kept.pop(first.start, None)
