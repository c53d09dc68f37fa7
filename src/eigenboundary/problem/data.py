"""Samples as the user has them, arrays, a Dataset or a DataLoader, read in one fixed order.

Every pass over the data must see the same samples in the same order, or products with the
Hessian would belong to different matrices. A source therefore replays what a loader draws:
shuffling is taken out, random draws are re-seeded, and the caller's random state is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from eigenboundary.problem.inputs import LABELS, Layout, as_tensor
from eigenboundary.runtime.errors import InvalidInputError, first_line
from eigenboundary.runtime.random_state import _random_states, preserved_random_state

_DEFAULT_BATCH = 256


class SampleSource(Protocol):
    """Batches ``(x, y)``, the same ones in every pass."""

    #: Names and shapes of named inputs; known once a batch has been read.
    layout: Layout | None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...

    def size(self) -> int:
        """Return the number of samples."""

    def part(self, start: int, stop: int) -> SampleSource:
        """Return some of the samples; the others are not read where that can be avoided."""


class TensorSource:
    """Samples held in memory."""

    def __init__(self, x: Tensor, y: Tensor, layout: Layout | None = None) -> None:
        self.x, self.y, self.layout = x, y, layout

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.x, self.y

    def size(self) -> int:
        """Return the number of samples."""
        return len(self.x)

    def mapped(
        self, of_x: Callable[[Tensor], Tensor], of_y: Callable[[Tensor], Tensor]
    ) -> TensorSource:
        """Return the samples with both tensors mapped."""
        return TensorSource(of_x(self.x), of_y(self.y), self.layout)

    def part(self, start: int, stop: int) -> TensorSource:
        """Return some of the samples, as views."""
        return TensorSource(self.x[start:stop], self.y[start:stop], self.layout)


class _Window:
    """Some samples of a source that has to be read from its beginning."""

    def __init__(self, source: SampleSource, start: int, stop: int) -> None:
        self.source, self.start, self.stop = source, start, stop
        self.layout = source.layout

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        position = 0
        for x, y in self.source:
            rows = slice(max(0, self.start - position), max(0, self.stop - position))
            if len(x[rows]):
                yield x[rows], y[rows]
            position += len(x)
            if position >= self.stop:
                return

    def size(self) -> int:
        return self.stop - self.start

    def part(self, start: int, stop: int) -> _Window:
        return _Window(self.source, self.start + start, self.start + stop)


class LoaderSource:
    """Samples streamed from a loader, replayed identically in every pass."""

    def __init__(self, loader: DataLoader[Any], seed: int, layout: Layout | None = None) -> None:
        self.loader, self.seed, self.layout = loader, seed, layout

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        with preserved_random_state(self.seed):
            try:
                for batch in self.loader:
                    x, y, self.layout = _as_pair(batch, "each batch of data", self.layout)
                    yield x, y
            except (InvalidInputError, GeneratorExit):
                raise
            except Exception as error:
                wanted = "be readable from the first sample to the last"
                because = f"it raised {type(error).__name__}: {first_line(error)}"
                raise InvalidInputError("data", wanted, because=because) from error

    def size(self) -> int:
        """Return the number of samples; samples without an index are counted by reading them."""
        batches = self._batches()
        return sum(len(x) for x, _ in self) if batches is None else sum(map(len, batches))

    def part(self, start: int, stop: int) -> SampleSource:
        """Return some of the samples, read by index unless reading draws random numbers."""
        batches = self._batches()
        if batches is None or self._draws(batches[0][0]):
            return _Window(self, start, stop)
        indices = list(itertools.chain.from_iterable(batches))[start:stop]
        n_batches = -(-len(indices) // max(map(len, batches)))
        size = -(-len(indices) // n_batches)
        drawn = [indices[i : i + size] for i in range(0, len(indices), size)]
        return LoaderSource(_alike(self.loader, batch_sampler=drawn), self.seed, self.layout)

    def _batches(self) -> list[list[Any]] | None:
        """Return the sample indices of each batch, if samples have indices."""
        sampler = self.loader.batch_sampler
        if sampler is None or isinstance(self.loader.dataset, IterableDataset):
            return None
        return [list(batch) for batch in sampler]

    def _draws(self, index: Any) -> bool:
        """Tell whether reading a sample draws random numbers, which depend on earlier reads."""
        with preserved_random_state(self.seed):
            before = _random_states()
            try:
                self.loader.dataset[index]
            except Exception:  # reported when all samples are read
                return True
            return before != _random_states()


def as_source(data: Any, *, cache_bytes: int, seed: int, divided: bool = False) -> SampleSource:
    """Wrap the user's data; see :class:`~eigenboundary.Problem` for its kinds and the options.

    Where samples will be ``divided`` among processes, a loader that has divided them already
    (DistributedSampler) stands for its whole dataset. Data of another kind, or data that change
    from one pass to the next, raise InvalidInputError.
    """
    if isinstance(data, DataLoader):
        source = LoaderSource(_replayable(data, seed, divided), seed)
    elif isinstance(data, Dataset):
        source = LoaderSource(DataLoader(data, batch_size=_DEFAULT_BATCH), seed)
    else:
        x, y, layout = _as_pair(data, "data", None)
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
            got = f"x of shape {tuple(x.shape)} and y of shape {tuple(y.shape)}"
            raise InvalidInputError("data", "hold as many labels as inputs", got)
        return TensorSource(x, y, layout)
    return _cached(source, cache_bytes)


def _cached(source: LoaderSource, cache_bytes: int) -> SampleSource:
    """Keep the samples if they fit; check that two passes agree if they do not."""
    kept: list[tuple[Tensor, Tensor]] = []
    size = 0
    for x, y in source:
        size += x.nbytes + y.nbytes
        if size > cache_bytes:
            _check_replays(source)
            return source
        kept.append((x, y))
    if not kept:
        raise InvalidInputError("data", "hold at least one sample", "an empty one")
    xs, ys = zip(*kept, strict=True)
    if ys[0].ndim == 0 or any(len(x) != len(y) for x, y in kept):
        shapes = f"x of shape {tuple(xs[0].shape)} and y of shape {tuple(ys[0].shape)}"
        wanted = "give batches (x, y) with one label an input"
        raise InvalidInputError("data", wanted, f"{shapes} (batch_size=None?)")
    if len({tuple(x.shape[1:]) for x in xs}) > 1:
        wanted = "hold inputs of one shape"
        raise InvalidInputError("data", wanted, because="batches differ in shape")
    return TensorSource(torch.cat(xs), torch.cat(ys), source.layout)


def _check_replays(source: LoaderSource) -> None:
    first, second = (next(iter(source)) for _ in range(2))
    if not (torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])):
        because = "two passes over the DataLoader differed (take out random augmentation)"
        raise InvalidInputError("data", "give the same samples in every pass", because=because)


def _replayable(loader: DataLoader[Any], seed: int, divided: bool) -> DataLoader[Any]:
    """Return the loader without its shuffling: a fixed order, every sample once."""
    if isinstance(loader.dataset, IterableDataset):
        return loader
    batch_size = loader.batch_size or _DEFAULT_BATCH
    # An order the user chose (a subset, a weighting) is drawn once and kept.
    sampler = loader.sampler
    plain = isinstance(sampler, SequentialSampler)
    if isinstance(sampler, RandomSampler):
        plain = not sampler.replacement and len(sampler) == len(sampler.data_source)
    if divided and isinstance(sampler, DistributedSampler):
        plain = True
    if loader.batch_sampler is None or loader.batch_size is None:
        plain = False
    if plain:
        return _alike(loader, batch_size=batch_size)
    parts = (loader, sampler, loader.batch_sampler)
    drawn_by = {id(g): g for part in parts if (g := getattr(part, "generator", None))}.values()
    states = [(g, g.get_state()) for g in drawn_by if isinstance(g, torch.Generator)]
    with preserved_random_state(seed):
        drawn = list(sampler if loader.batch_sampler is None else loader.batch_sampler)
    for generator, state in states:
        generator.set_state(state)
    if loader.batch_sampler is None:
        return _alike(loader, batch_size=None, sampler=drawn)
    return _alike(loader, batch_sampler=drawn)


def _alike(loader: DataLoader[Any], **order: Any) -> DataLoader[Any]:
    """Return a loader that reads the samples in another order, but in the same way."""
    same = {name: getattr(loader, name) for name in ("num_workers", "collate_fn", "worker_init_fn")}
    return DataLoader(loader.dataset, **order, **same)


def _as_pair(batch: Any, name: str, layout: Layout | None) -> tuple[Tensor, Tensor, Layout | None]:
    """Return inputs and labels of a batch; named inputs are packed by the layout."""
    if isinstance(batch, Mapping):
        batch = batch, _labels_among(batch, name)
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        size = f" of length {len(batch)}" if isinstance(batch, tuple | list) else ""
        wanted = f"be a pair (x, y){', a Dataset or a DataLoader' if name == 'data' else ''}"
        raise InvalidInputError(name, wanted, f"{type(batch).__name__}{size}")
    x, y = batch
    if layout is None and isinstance(x, Mapping):
        layout = Layout.of(x, name)
    inputs = as_tensor(x, name) if layout is None else layout.pack(x, name)
    return inputs, as_tensor(y, name), layout


def _labels_among(inputs: Mapping[str, Any], name: str) -> Any:
    for key in LABELS:
        if key in inputs:
            return inputs[key]
    got = f"a mapping with {', '.join(map(str, inputs)) or 'nothing'}"
    raise InvalidInputError(name, "be a pair (x, y), or hold the labels under 'labels'", got)
