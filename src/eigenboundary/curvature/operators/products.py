r"""How products with a curvature matrix are computed, and the record of it.

A product sums over chunks of the data. The first is computed by running forward mode over reverse
mode. From then on the gradients' graphs are kept, if they fit in memory, and each product is a
backward pass through them (:class:`KeptGradients`). Once more work has been done than tracing
takes, the product is traced and split (:class:`LinearizedProducts`), and what does not depend on
the vectors is kept for as many chunks as fit; for the other chunks, and for data that are streamed,
it is computed again in each product.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from eigenboundary.curvature.operators.linearization import LinearMap
from eigenboundary.problem.derivatives import kept_hessian_product
from eigenboundary.problem.network import Tree
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.interrupts import safe_point

_log = logging.getLogger(__name__)

#: (x, y, weights, parameters, tangents) to the product of a batch's weighted sum, as trees.
TracedProduct = Callable[[Tensor, Tensor, Tensor, Tree, Tree], Tree]
#: (x, y, block) to the same by the route that needs no trace.
PlainProduct = Callable[[Tensor, Tensor, Tensor], Tensor]

# Tracing takes about 50 ms for each call of torch in a forward pass, in which time products
# go through some 3e8 floating-point operations of forward passes.
_WORK_PER_OPERATION = 3e8
# Activations of one chunk: more chunks cost Python time, larger ones leave the caches.
_CHUNK_BYTES = 2**24
_LEAST_SAMPLES = 32
# Bytes of a gradient's graph, at most, for each byte of activations.
_GRAPH_BYTES = 8
# Activations of one chunk for all vectors that are multiplied at once.
_BLOCK_BYTES = 2**26
_MOST_VECTORS = 64


@dataclass(frozen=True)
class ProductRecord:
    """How an operator computes its products, and why.

    Attributes
    ----------
    route : {"recomputed", "linearized", "double backward"}
    reason : str
    samples, chunks : int
        Of the data at a time, and how many such chunks; 0 where the route has no fixed ones.
    kept, kept_bytes : int
        Chunks whose intermediate results are kept between products, and their size where that is
        known.
    """

    route: str
    reason: str
    samples: int = 0
    chunks: int = 0
    kept: int = 0
    kept_bytes: int = 0

    def __str__(self) -> str:
        if not self.chunks:
            return f"{self.route} ({self.reason})"
        size = f" in {self.kept_bytes / 2**20:.0f} MB" if self.kept_bytes else ""
        return (
            f"{self.route} ({self.kept} of {self.chunks} chunks of {self.samples} samples "
            f"kept{size}; {self.reason})"
        )


def pays(problem: Problem, products: int) -> bool:
    """Whether so many products are more work than tracing one of them.

    Waiting for that costs at most twice what knowing the number of products beforehand would.
    """
    per_sample = problem.signature.flops + problem.signature.activations
    return (
        products * problem.samples.most * per_sample
        >= _WORK_PER_OPERATION * problem.signature.operations
    )


class KeptGradients:
    """Hessian products by double backward, through graphs of the gradient that are kept.

    Parameters
    ----------
    problem : Problem
    kept_bytes : int
        Most bytes that the graphs may take; they must all fit.

    Raises
    ------
    RuntimeError
        If they do not fit, or their products differ from ``plain``'s.
    """

    def __init__(self, problem: Problem, plain: PlainProduct, kept_bytes: int) -> None:
        self.samples = _samples(problem, kept_bytes)
        chunks = -(-problem.samples.most // self.samples)
        itemsize = torch.finfo(problem.dtype).bits // 8
        # Each graph begins with its own copy of θ and ends with a gradient.
        needed = 2 * chunks * problem.n_parameters * itemsize
        needed += _GRAPH_BYTES * problem.samples.most * _activation_bytes(problem)
        if needed > kept_bytes or not problem.samples.in_memory:
            raise RuntimeError("the gradients' graphs may not fit")
        self.kept_bytes = needed
        self.products: list[Callable[[Tensor], Tensor]] = []
        for x, y in problem.samples.own_batches(self.samples):
            safe_point()
            self.products.append(kept_hessian_product(problem.network, problem.loss, x, y))
            if len(self.products) == 1:
                vector = _random_block(problem, 1)
                check_product(self.products[0](vector), plain(x, y, vector))

    def record(self, reason: str) -> ProductRecord:
        """How products are computed now."""
        chunks = len(self.products)
        return ProductRecord("double backward", reason, self.samples, chunks, chunks)

    def __call__(self, block: Tensor) -> Tensor:
        """The summed product with a (p, k) block."""
        total = torch.zeros_like(block)
        for product in self.products:
            safe_point()
            total += product(block)
        return total


class LinearizedProducts:
    """Products with a problem's curvature, by a trace of that of one chunk.

    Parameters
    ----------
    problem : Problem
    traced : TracedProduct
        What is traced.
    plain : PlainProduct
        What the first products are checked against.
    kept_bytes : int
        Most bytes to keep between products.

    Raises
    ------
    RuntimeError
        If the trace's products are not the plain ones. Tracing itself may raise anything.
    """

    def __init__(
        self, problem: Problem, traced: TracedProduct, plain: PlainProduct, kept_bytes: int
    ) -> None:
        self.problem = problem
        self._vectorized = True
        self._kept: list[list[Tensor]] = []
        self._theta = list(problem.network.parameters.values())
        names = problem.parameter_names

        def function(tangents: list[Tensor], constants: list[Tensor]) -> list[Tensor]:
            x, y, weights, *theta = constants
            product = traced(
                x,
                y,
                weights,
                dict(zip(names, theta, strict=True)),
                dict(zip(names, tangents, strict=True)),
            )
            return [product[name] for name in names]

        # A loader's own batches may be smaller.
        x, y = next(iter(problem.samples.own_batches(_samples(problem, kept_bytes))))
        self.samples = len(x)
        # Several such results are alive at once.
        block_bytes = problem.network.memory.at_most(4 * _BLOCK_BYTES) // 4
        self.width = max(
            1, min(_MOST_VECTORS, block_bytes // (self.samples * _activation_bytes(problem)))
        )
        blank = [torch.zeros_like(p) for p in self._theta]
        self._map = LinearMap(function, blank, self._constants(x, y))
        self._check(plain, x, y)
        self.chunks, self.kept_bytes = self._keep(kept_bytes)

    @property
    def record(self) -> ProductRecord:
        """How products are computed now."""
        return ProductRecord(
            "linearized",
            "as many products as tracing one takes had been computed"
            + ("" if self._vectorized else "; one vector at a time: it cannot be vectorized"),
            self.samples,
            self.chunks,
            len(self._kept),
            self.kept_bytes,
        )

    def __call__(self, block: Tensor) -> Tensor:
        """The summed product with a (p, k) block."""
        total = torch.zeros_like(block)
        for kept in self._kept:
            safe_point()
            total += self._apply(block, kept)
        if len(self._kept) < self.chunks:
            for number, (x, y) in enumerate(self.problem.samples.own_batches(self.samples)):
                if number >= len(self._kept):
                    safe_point()
                    total += self._apply(block, self._map.prepare(self._constants(x, y)))
        return total

    def _constants(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """A batch, filled up to a chunk by copies that weigh nothing."""
        weights = torch.ones(len(x), dtype=self.problem.dtype, device=x.device)
        missing = self.samples - len(x)
        if missing:
            x = torch.cat([x, x[:1].expand(missing, *x.shape[1:])])
            y = torch.cat([y, y[:1].expand(missing)])
            weights = torch.nn.functional.pad(weights, (0, missing))
        return [x, y, weights, *self._theta]

    def _apply(self, block: Tensor, kept: list[Tensor]) -> Tensor:
        width = self.width if self._vectorized else 1
        parts = [self._columns(part, kept) for part in block.split(width, dim=1)]
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def _columns(self, block: Tensor, kept: list[Tensor]) -> Tensor:
        tangents = list(self.problem.network.unflatten(block.T.contiguous()).values())
        if block.shape[1] == 1:
            values = self._map.apply([t.squeeze(0) for t in tangents], kept)
            return torch.cat([value.reshape(-1) for value in values]).unsqueeze(1)
        values = vmap(lambda *t: self._map.apply(t, kept))(*tangents)
        return torch.cat([value.flatten(1) for value in values], dim=1).T

    def _check(self, plain: PlainProduct, x: Tensor, y: Tensor) -> None:
        """Compare one chunk's products, one vector and a block of them, with the plain ones."""
        block = _random_block(self.problem, 2)
        kept = self._map.prepare(self._constants(x, y))
        expected = plain(x, y, block)
        check_product(
            torch.cat([self._columns(v, kept) for v in block.split(1, dim=1)], 1), expected
        )
        try:
            check_product(self._columns(block, kept), expected)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of whatever kind a batching rule raises
            _log.info("products: one vector at a time (%s)", str(error).strip().splitlines()[0])
            self._vectorized = False

    def _keep(self, kept_bytes: int) -> tuple[int, int]:
        """Keep what fits; returns the number of chunks and the bytes that are kept."""
        if not self.problem.samples.in_memory:
            return -(-self.problem.samples.most // self.samples), 0
        chunks = total = 0
        for x, y in self.problem.samples.own_batches(self.samples):
            safe_point()
            chunks += 1
            if len(self._kept) < chunks - 1:
                continue
            constants = self._constants(x, y)
            kept = self._map.prepare(constants)
            known = [*self._theta, x] if self.problem.samples.holds(x) else self._theta
            size = _new_bytes(kept, known)
            if total + size <= kept_bytes:
                self._kept.append(kept)
                total += size
        return chunks, total


def check_product(ours: Tensor, expected: Tensor) -> None:
    """Products by another route must agree to what rounding leaves of them."""
    small = 1e-3 if ours.dtype == torch.float32 else 1e-7
    off = float((ours - expected).double().norm())
    if not off <= small * float(expected.double().norm()):
        raise RuntimeError("its products differ from those computed anew")


def _random_block(problem: Problem, columns: int) -> Tensor:
    block = torch.randn(problem.n_parameters, columns, generator=torch.Generator().manual_seed(0))
    return block.to(problem.device, problem.dtype)


def _activation_bytes(problem: Problem) -> int:
    return problem.signature.activations * torch.finfo(problem.dtype).bits // 8


def _samples(problem: Problem, kept_bytes: int) -> int:
    """Samples a chunk: equal parts of the data."""
    each = _activation_bytes(problem)
    least = max(1, min(_LEAST_SAMPLES, kept_bytes // (_GRAPH_BYTES * each)))
    chunk_bytes = problem.network.memory.at_most(_GRAPH_BYTES * _CHUNK_BYTES) // _GRAPH_BYTES
    most = min(max(chunk_bytes // each, least), problem.network.batch_size or problem.samples.most)
    return -(-problem.samples.most // -(-problem.samples.most // most))


def _new_bytes(kept: list[Tensor], known: list[Tensor]) -> int:
    """Bytes that the kept tensors hold besides those that are known."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    for tensor in known:
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(storages.values())


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
