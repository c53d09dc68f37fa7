"""The labelled samples that a loss is averaged over, ready to compute with, in one fixed order."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eigenboundary.problem.data import SampleSource, TensorSource, as_source
from eigenboundary.problem.network import Network, UnseenNetwork, raw_bytes
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.memory import Memory
from eigenboundary.runtime.processes import Processes

#: Bytes of samples that are kept in memory, or on a device.
CACHE_BYTES = 2**28
# Samples, evenly spaced, by which processes tell whether they were given the same data.
_COMPARED = 1000


@dataclass(frozen=True, eq=False)
class Samples:
    """The labelled samples of a problem, made ready for its network."""

    network: Network
    #: All samples, those of this process, and the processes that divide them.
    source: SampleSource
    part: SampleSource
    processes: Processes
    #: Integers, shape (n,).
    labels: Tensor
    predictions: Tensor
    #: Mean of the samples' losses.
    loss_value: float

    def __len__(self) -> int:
        """Return the number n of samples."""
        return len(self.labels)

    @property
    def in_memory(self) -> bool:
        """Whether the samples are held in memory, not streamed."""
        return isinstance(self.source, TensorSource)

    @property
    def accuracy(self) -> float:
        """Share of samples whose predicted class is their label."""
        return float((self.labels == self.predictions).double().mean())

    @property
    def most(self) -> int:
        """Number of samples of the process that has most of them."""
        return -(-len(self) // self.processes.count)

    def batches(self, samples: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all samples in order, at most ``samples`` at a time, ready to compute with."""
        return self._batches(self.source, samples)

    def own_batches(self, samples: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the samples of this process, as :meth:`batches` does all."""
        return self._batches(self.part, samples)

    def _batches(self, source: SampleSource, samples: int) -> Iterator[tuple[Tensor, Tensor]]:
        network = self.network
        limit = min(samples, network.batch_size or samples)
        for x, y in source:
            for rows in range(0, len(x), limit):
                part = slice(rows, rows + limit)
                network.memory.reclaim()
                yield network.to_compute(x[part]), y[part].to(network.device, torch.int64)

    def holds(self, x: Tensor) -> bool:
        """Tell whether a batch is a view of samples that are held, not a copy of them."""
        held = self.part.x if isinstance(self.part, TensorSource) else None
        return held is not None and (
            held.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
        )

    def some_inputs(self, at_most: int) -> tuple[Tensor, Tensor]:
        """Return up to ``at_most`` inputs, evenly spaced, with their indices."""
        step = max(1, -(-len(self) // at_most))
        kept, start = [], 0
        for x, _ in self.source:
            offset = -start % step
            kept.append(x[offset::step].cpu().clone())  # a view would keep the whole batch
            start += len(x)
        return torch.cat(kept), torch.arange(0, len(self), step)

    def inputs_at(self, indices: Tensor) -> Tensor:
        """Return inputs by their indices (m,), ready to compute with; repeats are allowed."""
        wanted, position = indices.cpu().unique(return_inverse=True)
        kept, start = [], 0
        for x, _ in self.source:
            here = wanted[(wanted >= start) & (wanted < start + len(x))] - start
            kept.append(x[here.to(x.device)])
            start += len(x)
        return self.network.to_compute(torch.cat(kept)[position.to(kept[0].device)])


def own_part(
    network: UnseenNetwork,
    data: Any,
    cache_bytes: int,
    seed: int,
    memory: Memory,
    processes: Processes,
) -> tuple[SampleSource, SampleSource]:
    """Return all samples and those of this process, on its device where they fit.

    Processes with different networks or samples, or too few samples, raise InvalidInputError.
    """
    several = processes.count > 1
    source = processes.agree(
        lambda: as_source(data, cache_bytes=cache_bytes, seed=seed, divided=several)
    )
    part = _divided(network, source, processes) if several else source
    if network.device.type == "cpu" or not isinstance(part, TensorSource):
        return source, part
    placed = _placed(network, source, part, memory, processes)
    return (placed if part is source else source), placed


def _divided(network: UnseenNetwork, source: SampleSource, processes: Processes) -> SampleSource:
    """Return the samples of this process; every process must have been given all samples."""
    n, first = processes.agree(lambda: (source.size(), _first_samples(source)))
    wanted = "have the same weights in all processes"
    processes.check_alike(network.fingerprint(), "model", wanted)
    wanted = "be the same in all processes, which divide them among themselves"
    processes.check_alike((n, first), "data", wanted)
    if 0 < n < processes.count:
        wanted = f"hold a sample for each of the {processes.count} processes"
        raise InvalidInputError("data", wanted, str(n))
    return source.part(*processes.part(n))


def _placed(
    network: UnseenNetwork,
    source: SampleSource,
    part: TensorSource,
    memory: Memory,
    processes: Processes,
) -> TensorSource:
    """Put samples where they are computed with, if they fit, once for all."""
    x, dtype = part.x, network.dtype if part.x.is_floating_point() else part.x.dtype
    most = -(-source.size() // processes.count)  # the same in all processes
    size = most * (x[:1].numel() * dtype.itemsize + part.y.itemsize)
    if size > memory.at_most(CACHE_BYTES):
        return part
    try:
        placed = part.mapped(lambda x: x.to(network.device, dtype), lambda y: y.to(network.device))
    except torch.OutOfMemoryError:  # chunks of them may fit
        return part
    if placed.x is not x:
        memory.take(size)
        weakref.finalize(placed, memory.take, -size)
    return placed


def _first_samples(source: SampleSource) -> bytes:
    """Hash some of the first batch, all samples of it where they are in memory."""
    digest = hashlib.sha256()
    for tensor in next(iter(source), ()):
        rows = tensor if tensor.ndim else tensor.reshape(1)
        digest.update(raw_bytes(rows[:: max(1, len(rows) // _COMPARED)]))
    return digest.digest()
