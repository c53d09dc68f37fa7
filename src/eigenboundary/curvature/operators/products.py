r"""The faster routes of products with a curvature matrix, and the record of the route taken.

A product sums over chunks of the data. The first product runs forward mode over reverse mode.
Later products keep the gradients' graphs, if they fit in memory, and run backward through them
(:class:`KeptGradients`). Once the work done exceeds the cost of tracing, the product is traced and
split (:class:`LinearizedProducts`): intermediate results that do not depend on the vectors are kept
for as many chunks as fit, and computed anew for the other chunks and for streamed data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from eigenboundary.curvature.operators.linearization import LinearMap
from eigenboundary.problem.derivatives import WeightedBatch, kept_hessian_product
from eigenboundary.problem.network import Tree
from eigenboundary.problem.problem import Problem
from eigenboundary.runtime.errors import first_line
from eigenboundary.runtime.interrupts import safe_point
from eigenboundary.runtime.linalg import random_block

_log = logging.getLogger(__name__)

#: (batch, tangents) to the product of the batch's weighted sum.
TracedProduct = Callable[[WeightedBatch, Tree], Tree]
#: (x, y, block) to the product of a batch's sum, by the route without a trace.
PlainProduct = Callable[[Tensor, Tensor, Tensor], Tensor]

# Tracing takes about 50 ms for each call of torch in a forward pass; in that time products
# perform about 3e8 floating-point operations of forward passes.
_WORK_PER_OPERATION = 3e8
# Activations of a chunk: smaller chunks cost Python time, larger ones do not fit in caches.
_CHUNK_BYTES = 2**24
_LEAST_SAMPLES = 32
# Largest size of a gradient's graph relative to the activations.
_GRAPH_BYTES = 8
# Activations of a chunk for all vectors that are multiplied at once.
_BLOCK_BYTES = 2**26
_MOST_VECTORS = 64


@dataclass(frozen=True)
class ProductRecord:
    """The route by which an operator computes its products.

    Attributes
    ----------
    route : {"recomputed", "linearized", "double backward"}
    reason : str
    samples, chunks : int
        Samples in a chunk and number of chunks; 0 where the route has no fixed chunks.
    kept, kept_bytes : int
        Chunks whose intermediate results are kept between products, and their size if known.
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
    """Tell whether so many products are more work than tracing one of them.

    Tracing only then costs at most twice the best choice with the number of products known.
    """
    costs = problem.signature
    work = products * problem.samples.most * (costs.flops + costs.activations)
    return work >= _WORK_PER_OPERATION * costs.operations


class KeptGradients:
    """Hessian products by double backward through kept graphs of the gradient.

    Graphs that exceed ``kept_bytes``, or products other than ``plain``'s, raise RuntimeError.
    """

    def __init__(self, problem: Problem, plain: PlainProduct, kept_bytes: int) -> None:
        self.samples = _samples(problem, kept_bytes)
        chunks = -(-problem.samples.most // self.samples)
        # Each graph holds a copy of θ and a gradient.
        needed = 2 * chunks * problem.n_parameters * problem.dtype.itemsize
        needed += _GRAPH_BYTES * problem.samples.most * _activation_bytes(problem)
        if needed > kept_bytes or not problem.samples.in_memory:
            raise RuntimeError("the gradients' graphs may not fit")
        self.kept_bytes = needed
        self.products: list[Callable[[Tensor], Tensor]] = []
        for x, y in problem.samples.own_batches(self.samples):
            safe_point()
            self.products.append(kept_hessian_product(problem.network, problem.loss, x, y))
            if len(self.products) == 1:
                vector = random_block(_like(problem), 1, 0)
                check_product(self.products[0](vector), plain(x, y, vector))

    def record(self, reason: str) -> ProductRecord:
        """Return the record of this route, which was taken for the given reason."""
        chunks = len(self.products)
        return ProductRecord("double backward", reason, self.samples, chunks, chunks)

    def __call__(self, block: Tensor) -> Tensor:
        """Compute the summed product with a (p, k) block."""
        total = torch.zeros_like(block)
        for product in self.products:
            safe_point()
            total += product(block)
        return total


class LinearizedProducts:
    """Products with a problem's curvature by a trace of one chunk's product.

    Intermediate results of at most ``kept_bytes`` are kept between products. Products other than
    ``plain``'s raise RuntimeError, and tracing itself may raise anything.
    """

    def __init__(
        self, problem: Problem, traced: TracedProduct, plain: PlainProduct, kept_bytes: int
    ) -> None:
        self.problem = problem
        self._vectorized = True
        self._kept: list[list[Tensor]] = []
        self._theta = list(problem.network.parameters.values())
        network, loss, names = problem.network, problem.loss, problem.parameter_names

        def function(tangents: list[Tensor], constants: list[Tensor]) -> list[Tensor]:
            x, y, weights, *theta = constants
            parameters = dict(zip(names, theta, strict=True))
            batch = WeightedBatch(network, loss, x, y, weights, parameters)
            product = traced(batch, dict(zip(names, tangents, strict=True)))
            return [product[name] for name in names]

        # A loader's own batches may be smaller.
        x, y = next(iter(problem.samples.own_batches(_samples(problem, kept_bytes))))
        self.samples = len(x)
        # Up to four results of this size exist at once.
        block_bytes = problem.network.memory.at_most(4 * _BLOCK_BYTES) // 4
        most = block_bytes // (self.samples * _activation_bytes(problem))
        self.width = max(1, min(_MOST_VECTORS, most))
        blank = [torch.zeros_like(p) for p in self._theta]
        self._map = LinearMap(function, blank, self._constants(x, y))
        self._check(plain, x, y)
        self.chunks, self.kept_bytes = self._keep(kept_bytes)

    @property
    def record(self) -> ProductRecord:
        """The record of this route."""
        reason = "as many products as tracing one takes had been computed"
        if not self._vectorized:
            reason += "; one vector at a time: it cannot be vectorized"
        chunks, kept = self.chunks, len(self._kept)
        return ProductRecord("linearized", reason, self.samples, chunks, kept, self.kept_bytes)

    def __call__(self, block: Tensor) -> Tensor:
        """Compute the summed product with a (p, k) block."""
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
        """Return a batch, filled up to a chunk by copies of weight zero, and θ."""
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
        """Compare one chunk's products with a vector and with a block with the plain ones."""
        block = random_block(_like(self.problem), 2, 0)
        kept = self._map.prepare(self._constants(x, y))
        expected = plain(x, y, block)
        one_by_one = [self._columns(v, kept) for v in block.split(1, dim=1)]
        check_product(torch.cat(one_by_one, dim=1), expected)
        try:
            check_product(self._columns(block, kept), expected)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of whatever kind a batching rule raises
            _log.info("products: one vector at a time (%s)", first_line(error))
            self._vectorized = False

    def _keep(self, kept_bytes: int) -> tuple[int, int]:
        """Keep as many results as fit; return the number of chunks and the bytes kept."""
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
    """Check that products by another route agree within rounding."""
    small = 1e-3 if ours.dtype == torch.float32 else 1e-7
    off = float((ours - expected).double().norm())
    if not off <= small * float(expected.double().norm()):
        raise RuntimeError("its products differ from those computed anew")


def _like(problem: Problem) -> tuple[int, torch.dtype, torch.device]:
    return problem.n_parameters, problem.dtype, problem.device


def _activation_bytes(problem: Problem) -> int:
    return problem.signature.activations * problem.dtype.itemsize


def _samples(problem: Problem, kept_bytes: int) -> int:
    """Return the number of samples in a chunk, which divides the data evenly."""
    each = _activation_bytes(problem)
    least = max(1, min(_LEAST_SAMPLES, kept_bytes // (_GRAPH_BYTES * each)))
    chunk_bytes = problem.network.memory.at_most(_GRAPH_BYTES * _CHUNK_BYTES) // _GRAPH_BYTES
    most = min(max(chunk_bytes // each, least), problem.network.batch_size or problem.samples.most)
    return -(-problem.samples.most // -(-problem.samples.most // most))


def _new_bytes(kept: list[Tensor], known: list[Tensor]) -> int:
    """Return the bytes of the kept tensors' storages other than those of known tensors."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    for tensor in known:
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(storages.values())
