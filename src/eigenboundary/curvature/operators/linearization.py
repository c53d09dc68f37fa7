r"""Linear maps that are applied many times, split into operations that run once and the others.

Forward mode computes :math:`t \mapsto A t` for a matrix A of derivatives by running the network
again for each t, though operations that do not depend on t give the same numbers every time. Here
the map is traced once and its operations are split: :meth:`LinearMap.prepare` runs those that do
not depend on t, once a chunk of data, and :meth:`LinearMap.apply` runs the others for each t.
``torch.func.linearize`` does the same, but here one trace serves all chunks, and mutations are
removed so that kept results can be used again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, fx
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

_aten = torch.ops.aten
# Without mutations, these operations return their argument if its type and layout stay.
_COPIES = {
    _aten._to_copy.default,
    _aten.alias.default,
    _aten.clone.default,
    _aten.detach.default,
    _aten.expand.default,
    _aten.view.default,
}
_FUSED: dict[object, Callable[..., Tensor]] = {
    _aten.mul.Tensor: _aten.addcmul.default,
    _aten.mm.default: _aten.addmm.default,
}

#: (t, constants) to A t; all are lists of tensors.
Function = Callable[[list[Tensor], list[Tensor]], list[Tensor]]


class LinearMap:
    """A function that is linear in its first argument, split by what depends on that argument.

    Parameters
    ----------
    function : callable
        ``function(tangents, constants)``, linear in the tangents.
    tangents, constants : list of Tensor
        Arguments of the trace, which serves all constants of the same shapes.

    Examples
    --------
    >>> import torch
    >>> product = lambda t, c: [c[0].exp() * t[0]]
    >>> linear = LinearMap(product, [torch.ones(2)], [torch.zeros(2)])
    >>> kept = linear.prepare([torch.tensor([0.0, 1.0]).log()])
    >>> linear.apply([torch.tensor([5.0, 7.0])], kept)
    [tensor([0., 7.])]
    """

    def __init__(self, function: Function, tangents: list[Tensor], constants: list[Tensor]) -> None:
        count = len(tangents)

        def flat(*arguments: Tensor) -> list[Tensor]:
            return function(list(arguments[:count]), list(arguments[count:]))

        # The next product would see a mutation of a kept result.
        pure = functionalize(flat, remove="mutations")
        traced = make_fx(pure)(*tangents, *constants)
        _simplify(traced.graph)
        self._prepare, self._apply = _split(traced, count)
        _fuse(self._apply.graph)
        self._apply.recompile()

    def prepare(self, constants: list[Tensor]) -> list[Tensor]:
        """Compute the results that do not depend on the tangents, for these constants."""
        kept: list[Tensor] = self._prepare(*constants)
        return kept

    def apply(self, tangents: Iterable[Tensor], kept: list[Tensor]) -> list[Tensor]:
        """Compute the map's value from the tangents and the result of :meth:`prepare`."""
        value: list[Tensor] = self._apply(*tangents, *kept)
        return value


def _simplify(graph: fx.Graph) -> None:
    """Remove operations without effect: copies, and sums with zeros, of which there are many."""
    for node in list(graph.nodes):
        kept = None
        if node.target is _aten.copy.default and _alike(node.args[0], node.args[1]):
            kept = node.args[1]
        elif node.target in _COPIES and _alike(node.args[0], node):
            kept = node.args[0]
        elif node.target is _aten.add.Tensor and not node.kwargs:
            left, right = node.args
            if _alike(left, right):
                kept = right if _is_zero(left) else left if _is_zero(right) else None
        if kept is not None:
            node.replace_all_uses_with(kept)
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _fuse(graph: fx.Graph) -> None:
    """Fuse sums with products of entries or matrices into ``addcmul`` and ``addmm``."""
    for node in list(graph.nodes):
        if node.target is not _aten.add.Tensor or node.kwargs:
            continue
        for product, other in (node.args, node.args[::-1]):
            if not isinstance(product, fx.Node) or not _fusible(product, other, node):
                continue
            fused = _FUSED[product.target]
            with graph.inserting_before(node):
                value = graph.call_function(fused, (other, *product.args))
            value.meta = dict(node.meta)
            node.replace_all_uses_with(value)
            graph.erase_node(node)
            graph.erase_node(product)
            break


def _fusible(product: fx.Node, other: object, total: fx.Node) -> bool:
    """Tell whether a product serves this sum alone, with tensors of one type and device."""
    if product.target not in _FUSED or len(product.users) > 1 or other is product:
        return False
    nodes = [*product.args, total]
    if not _alike(other, total) or not all(isinstance(node, fx.Node) for node in nodes):
        return False
    values = [node.meta["val"] for node in nodes if isinstance(node, fx.Node)]
    # ``addmm`` returns its sum row by row.
    same = len({(value.dtype, value.device) for value in values}) == 1
    return same and bool(values[-1].is_contiguous())


def _alike(one: object, other: object) -> bool:
    """Tell whether both nodes are tensors of one shape, type and layout."""
    if not isinstance(one, fx.Node) or not isinstance(other, fx.Node):
        return False
    a, b = one.meta.get("val"), other.meta.get("val")
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return False
    same = a.shape == b.shape and a.dtype == b.dtype and a.device == b.device
    return same and a.stride() == b.stride()


def _is_zero(node: fx.Node) -> bool:
    return node.target is _aten.zeros_like.default


def _split(traced: fx.GraphModule, count: int) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Split the traced operations into graphs constants → kept and (tangents, kept) → values."""
    nodes = list(traced.graph.nodes)
    (output,) = (node for node in nodes if node.op == "output")
    arguments = [node for node in nodes if node.op == "placeholder"]
    dependent = set(arguments[:count])
    for node in nodes:
        if any(parent in dependent for parent in node.all_input_nodes):
            dependent.add(node)
    boundary = [
        node
        for node in nodes
        if node not in dependent and any(u in dependent or u is output for u in node.users)
    ]
    first, second = fx.Graph(), fx.Graph()
    in_first: dict[fx.Node, fx.Node] = {}
    in_second = {node: second.placeholder(node.name) for node in arguments[:count]}
    in_second |= {node: second.placeholder(f"kept_{node.name}") for node in boundary}
    for node, argument in in_second.items():
        argument.meta = dict(node.meta)
    for node in nodes:
        if node is output or node in arguments[:count]:
            continue
        if node in dependent:
            in_second[node] = second.node_copy(node, lambda parent: in_second[parent])
        else:
            in_first[node] = first.node_copy(node, lambda parent: in_first[parent])
    first.output([in_first[node] for node in boundary])
    second.output(fx.node.map_arg(output.args[0], lambda node: in_second[node]))
    first.eliminate_dead_code()
    return fx.GraphModule(traced, first), fx.GraphModule(torch.nn.Module(), second)
