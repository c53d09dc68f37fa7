r"""The training loss of a classifier: a network, a per-sample loss and the data.

.. math:: L(\theta) = \frac1n \sum_s \ell(f_\theta(x_s), y_s)
"""

from __future__ import annotations

import functools
import hashlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eigenboundary.problem.classifier import Classifier
from eigenboundary.problem.data import SampleSource, TensorSource, as_source
from eigenboundary.problem.losses import Loss, PerSampleLoss
from eigenboundary.problem.survey import survey
from eigenboundary.runtime.arguments import check_seed
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.memory import Memory, as_bytes
from eigenboundary.runtime.precision import full_precision
from eigenboundary.runtime.processes import current

_CACHE_BYTES = 2**28
# Samples, evenly spaced, by which processes tell whether they were given the same data.
_COMPARED = 1000


class Problem(Classifier):
    r"""A classifier's training loss as a function of one flat parameter vector.

    Parameters
    ----------
    model : torch.nn.Module
        The trained classifier; ``model(x)`` gives outputs of shape (n, C), or something with such
        ``.logits``. It is copied, the copy is put in eval mode, and the original is left as it was.
    data : (x, y), Dataset or DataLoader
        The samples the loss is averaged over; y holds integer class labels. Where x is a mapping of
        named tensors (token ids, attention masks), all of one length, ``model(**x)`` is called.
        A mapping alone, as Hugging Face's data sets yield, holds y under "labels"; the model
        is never given that.
    loss : {"cross_entropy", "nll", "mse"} or callable
        "cross_entropy" takes logits, "nll" log-probabilities, "mse" compares the outputs with
        one-hot targets (mean over classes). A callable maps ``(outputs (n, C), labels (n,))`` to
        one loss per sample, (n,).
    output : callable, optional
        Turns what the model returns into the (n, C) outputs, e.g. ``lambda o: o["scores"]``.
    parameters : str or sequence of str, optional
        Glob patterns of the parameter names θ consists of; default: all that require a gradient.
    device, dtype : optional
        Where and in what precision to compute; default: the model's own. Neither TF32 nor autocast
        takes the place of float32.
    batch_size : int, optional
        Most samples to push through the model at once; default: chosen by memory.
    cache_bytes : int
        A Dataset or DataLoader up to this size is kept in memory, a larger one is streamed.
    memory_limit : int or str, optional
        Most that this process may hold in all, in bytes or like "2 GB"; on a GPU, most that torch
        may allocate there. Then the data are taken in smaller chunks, less is kept, and searches
        for eigenpairs restart sooner: the same numbers to rounding, in more time.
    seed : int
        Seeds whatever randomness the dataset has.

    Attributes
    ----------
    n_parameters : int
        p, the length of θ.
    n_samples, n_classes : int
        n and C.
    labels, predictions : Tensor of int64, shape (n,)
    loss_value : float
        L(θ).
    parameter_names : tuple of str
        The order in which parameters are flattened.
    notes : tuple of str
        What a reader of the numbers should know (e.g. that eval mode was used).

    Raises
    ------
    InvalidInputError
        If any of the above is not as described.

    Examples
    --------
    >>> import torch
    >>> import eigenboundary as eb
    >>> model = torch.nn.Linear(2, 3)
    >>> problem = eb.Problem(model, (torch.randn(12, 2), torch.arange(12) % 3))
    >>> problem.n_parameters, problem.n_samples, problem.n_classes
    (9, 12, 3)
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        loss: str | PerSampleLoss | Loss = "cross_entropy",
        *,
        output: Callable[[Any], Tensor] | None = None,
        parameters: str | Sequence[str] | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        batch_size: int | None = None,
        cache_bytes: int = _CACHE_BYTES,
        memory_limit: int | str | None = None,
        seed: int = 0,
    ) -> None:
        initialise = functools.partial(
            super().__init__,
            model,
            loss,
            output=output,
            parameters=parameters,
            device=device,
            dtype=dtype,
            batch_size=batch_size,
        )
        self.processes = current()
        self.processes.agree(lambda: check_seed(seed))
        limit = self.processes.agree(lambda: as_bytes(memory_limit))
        self.processes.agree(initialise)
        self.memory = self.processes.agree(lambda: Memory(limit, self.device))
        if self.memory.free is not None:  # all must come to the same decisions
            free = torch.tensor([self.memory.free], device=self.device)
            self.memory.free = int(self.processes.gather(lambda: (free,))[0].min())
        self._read(data, cache_bytes, seed)

    @full_precision()
    def _read(self, data: Any, cache_bytes: int, seed: int) -> None:
        self.seed = seed
        several = self.processes.count > 1
        if cache_bytes and self.device.type == "cpu":  # else the limit is on another memory
            cache_bytes = self.memory.at_most(cache_bytes)
        self._source: SampleSource = self.processes.agree(
            lambda: as_source(data, cache_bytes=cache_bytes, seed=seed, divided=several)
        )
        self.layout = self._source.layout
        self._part = self._own_part() if several else self._source
        if self.device.type != "cpu":
            self._place()
        found = survey(self, self._part, self.processes)
        self.n_samples = len(found.labels)
        self.labels = found.labels
        self.predictions = found.predictions
        self.loss_value = found.loss_value

    def _place(self) -> None:
        """Put this process' samples where they are computed with, if they fit, once for all."""
        if not isinstance(self._part, TensorSource):
            return
        x = self._part.x
        itemsize = torch.finfo(self.dtype).bits // 8 if x.is_floating_point() else x.itemsize
        most = -(-self._source.size() // self.processes.count)  # the same in all processes
        size = most * (x[:1].numel() * itemsize + self._part.y.itemsize)
        if size > self.memory.at_most(_CACHE_BYTES):
            return
        try:
            placed = self._part.mapped(self.to_compute, lambda y: y.to(self.device))
        except torch.OutOfMemoryError:  # chunks of them may fit
            return
        if placed.x is x and placed.y is self._part.y:  # they are there
            return
        if placed.x is not x:
            self.memory.take(size)
            weakref.finalize(placed, self.memory.take, -size)
        if self._part is self._source:
            self._source = placed
        self._part = placed

    def holds(self, x: Tensor) -> bool:
        """Whether a batch is a view of samples that are held, not a copy of them."""
        held = self._part.x if isinstance(self._part, TensorSource) else None
        return held is not None and (
            held.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
        )

    def _own_part(self) -> SampleSource:
        """The samples of this process; every one must have been given all of them."""
        n, first = self.processes.agree(lambda: (self._source.size(), _first_samples(self._source)))
        self.processes.check_alike(
            self.fingerprint(),
            InvalidInputError(
                "model", "have the same weights in all processes", because="they differ"
            ),
        )
        self.processes.check_alike(
            (n, first),
            InvalidInputError(
                "data",
                "be the same in all processes, which divide them among themselves",
                because="they differ",
            ),
        )
        if 0 < n < self.processes.count:
            raise InvalidInputError(
                "data", f"hold a sample for each of the {self.processes.count} processes", f"{n}"
            )
        return self._source.part(*self.processes.part(n))

    @property
    def in_memory(self) -> bool:
        """Whether the samples are held in memory, not streamed."""
        return isinstance(self._source, TensorSource)

    @property
    def accuracy(self) -> float:
        """Share of samples whose predicted class is their label."""
        return float((self.labels == self.predictions).double().mean())

    @property
    def most_samples(self) -> int:
        """Samples of the process that has most of them."""
        return -(-self.n_samples // self.processes.count)

    def batches(self, samples: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The training samples in order, at most ``samples`` at a time, ready to compute with."""
        return self._batches(self._source, samples)

    def own_batches(self, samples: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Likewise those of this process: all of them, unless they are divided among several."""
        return self._batches(self._part, samples)

    def _batches(self, source: SampleSource, samples: int) -> Iterator[tuple[Tensor, Tensor]]:
        limit = min(samples, self.batch_size or samples)
        for x, y in source:
            for rows in range(0, len(x), limit):
                part = slice(rows, rows + limit)
                self.memory.reclaim()
                yield self.to_compute(x[part]), y[part].to(self.device, torch.int64)

    def training_inputs(self, at_most: int) -> tuple[Tensor, Tensor]:
        """Up to ``at_most`` training inputs, evenly spaced, with their indices."""
        step = max(1, -(-self.n_samples // at_most))
        kept, start = [], 0
        for x, _ in self._source:
            offset = -start % step
            kept.append(x[offset::step].cpu().clone())  # a view would keep the whole batch
            start += len(x)
        return torch.cat(kept), torch.arange(0, self.n_samples, step)

    def inputs_at(self, indices: Tensor) -> Tensor:
        """Training inputs by their indices (m,), ready to compute with; repeats are allowed."""
        wanted, position = indices.cpu().unique(return_inverse=True)
        kept, start = [], 0
        for x, _ in self._source:
            here = wanted[(wanted >= start) & (wanted < start + len(x))] - start
            kept.append(x[here.to(x.device)])
            start += len(x)
        return self.to_compute(torch.cat(kept)[position.to(kept[0].device)])


def _first_samples(source: SampleSource) -> bytes:
    """A hash of some of the first batch, all samples of it where they are in memory."""
    digest = hashlib.sha256()
    for tensor in next(iter(source), ()):
        step = max(1, len(tensor) // _COMPARED) if tensor.ndim else 1
        some = tensor[::step] if tensor.ndim else tensor
        digest.update(
            some.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    return digest.digest()


def with_data(classifier: Classifier, data: Any, *, seed: int = 0) -> Problem:
    """The loss of the same network, computed in the same way, over other samples."""
    problem = Problem.__new__(Problem)
    problem.__dict__.update(vars(classifier))
    problem.processes = current()
    problem.notes, problem.reverse_only = classifier.notes, set(classifier.reverse_only)
    problem._read(data, _CACHE_BYTES, seed)
    return problem
