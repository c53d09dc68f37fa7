"""The processes that divide the samples; no other module uses torch.distributed.

Where ``torch.distributed`` has been initialised, the same program runs in every process, and each
process computes with its own part of the samples. Sums over samples are all-reduced
(:meth:`Processes.sum`), values of each sample are gathered in the data's order
(:meth:`Processes.gather`), and an error in one process is raised in all of them
(:meth:`Processes.agree`).

Decisions that depend on rounding, time or memory could differ between processes, which would then
wait for each other for ever. The first process alone takes them (:meth:`Processes.led`), while the
others take part in its calls (:meth:`Processes.call`).
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.interrupts import deferred_interrupts, ignored_interrupts

_T = TypeVar("_T")

# Time limits for the other processes to make the same call, and for the first to decide.
_TO_ARRIVE, _TO_DECIDE = timedelta(minutes=10), timedelta(days=30)


class Target(Protocol):
    """An object, one in each process, that :meth:`Processes.call` passes to functions."""

    @property
    def device(self) -> torch.device: ...


class Processes:
    """A single process, which has all samples and exchanges nothing.

    Attributes
    ----------
    rank, count : int
        Index of this process, from 0, and number of processes.
    """

    rank, count = 0, 1

    def part(self, n: int) -> tuple[int, int]:
        """Return the start and end of this process' share of n samples.

        Examples
        --------
        >>> Processes().part(7)
        (0, 7)
        """
        return n * self.rank // self.count, n * (self.rank + 1) // self.count

    def agree(self, job: Callable[[], _T]) -> _T:
        """Return the job's value; an error in one process is raised in all."""
        return job()

    def check_alike(self, value: Any, name: str, wanted: str) -> None:
        """Raise InvalidInputError in all processes unless the value is the same in all."""

    def sum(self, job: Callable[[], Tensor], like: Tensor) -> Tensor:
        """Return the sum of all processes' values, of the shape and type of ``like``."""
        return job()

    def gather(self, job: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Return all processes' values along the first axis, in their order."""
        return job()

    def led(self, job: Callable[[], _T], *targets: Target) -> _T:
        """Return the job's value, computed in the first process alone.

        The other processes take part in its calls with their own ``targets``.
        """
        return job()

    def call(self, function: Callable[..., _T], target: Target, *arguments: Any) -> _T:
        """Call ``function(target, *arguments)`` in all processes, within :meth:`led` too."""
        return function(target, *arguments)


@contextmanager
def joined() -> Iterator[None]:
    """Join the group of the processes that a launcher has started, and leave it at the end.

    Each process has its own GPU as the device "cuda", if there are enough.
    """
    if dist.is_initialized():
        yield
        return
    backend, local = "gloo", int(os.environ.get("LOCAL_RANK", "0"))
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", local + 1))
    if torch.cuda.is_available():
        torch.cuda.set_device(local % torch.cuda.device_count())
    if torch.cuda.is_available() and processes <= torch.cuda.device_count():
        backend = "cpu:gloo,cuda:nccl" if dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend)
    try:
        yield
    finally:
        dist.destroy_process_group()


def current() -> Processes:
    """Return the processes of ``torch.distributed``'s default group, or this one alone.

    If the others do not make the same call within ten minutes, a RuntimeError is raised.
    """
    global _known
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return _ALONE
    world = dist.group.WORLD
    if _known is None or _known[0] is not world:
        _known = world, _Group()
    _known[1].arrive()
    return _known[1]


_ALONE = Processes()
_known: tuple[Any, _Group] | None = None


class _Elsewhere(RuntimeError):
    """An error of another process whose kind does not matter."""


@dataclass(frozen=True)
class _Report:
    """An error in a form that can be sent."""

    rank: int
    error: BaseException


@dataclass(frozen=True)
class _Blank:
    """A placeholder of a tensor that is sent separately."""

    shape: torch.Size
    dtype: torch.dtype
    on_host: bool

    def tensor(self, device: torch.device) -> Tensor:
        place = torch.device("cpu") if self.on_host else device
        return torch.empty(self.shape, dtype=self.dtype, device=place)


@dataclass(frozen=True)
class _Call:
    function: Callable[..., Any]
    target: int
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class _End:
    """The end of a led job: its packed value, or the error."""

    value: bytes
    error: _Report | None


class _Group(Processes):
    """The processes of the default group."""

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        try:
            dist.new_group(timeout=_TO_ARRIVE, backend="gloo")
        except RuntimeError as error:
            raise RuntimeError(
                f"all {self.count} processes must make the same calls; others did not come."
            ) from error
        # The others wait while the first computes, longer than a group's usual timeout.
        self._hosts = dist.new_group(timeout=_TO_DECIDE, backend="gloo")
        self._targets: Sequence[Target] | None = None
        self._exchanging = False
        self._on_devices = all(self._of_all("nccl" in str(dist.get_backend_config())))

    def arrive(self) -> None:
        """Wait for the others, within a time limit."""
        dist.monitored_barrier(self._hosts, timeout=_TO_ARRIVE, wait_all_ranks=True)

    def agree(self, job: Callable[[], _T]) -> _T:
        value, error = _tried(job)
        self._raise_first(self._of_all(self._report(error)), error)
        return value  # type: ignore[return-value]

    def check_alike(self, value: Any, name: str, wanted: str) -> None:
        values = self._of_all(value)
        if any(other != values[0] for other in values):
            raise InvalidInputError(name, wanted, because="they differ")

    def sum(self, job: Callable[[], Tensor], like: Tensor) -> Tensor:
        value, error = _tried(job)
        # A further number counts the processes that failed.
        buffer = torch.zeros(like.numel() + 1, dtype=like.dtype, device=like.device)
        if value is not None:
            buffer[:-1] = value.reshape(-1)
        else:
            buffer[-1] = 1
        self._in_place(buffer, dist.all_reduce)
        if float(buffer[-1]):
            self._raise_first(self._of_all(self._report(error)), error)
        return buffer[:-1].view(like.shape)

    def gather(self, job: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        values, error = _tried(job)
        shapes = [value.shape for value in values or ()]
        told = self._of_all((self._report(error), shapes))
        self._raise_first([report for report, _ in told], error)
        columns = []
        for i, own in enumerate(values or ()):
            parts = [own.new_empty(shapes[i]) for _, shapes in told]
            parts[self.rank] = own.contiguous()
            for rank, part in enumerate(parts):
                self._broadcast(part, rank)
            columns.append(torch.cat(parts))
        return tuple(columns)

    def _report(self, error: BaseException | None) -> _Report | None:
        if error is None:
            return None
        if isinstance(error, InvalidInputError):
            sent: BaseException = error.renamed(error.name)
        elif isinstance(error, KeyboardInterrupt | torch.OutOfMemoryError | _Elsewhere):
            sent = type(error)(str(error))
        else:
            sent = _Elsewhere(f"process {self.rank}: {type(error).__name__}: {error}")
        return _Report(self.rank, sent)

    def _raise_first(self, reports: Sequence[_Report | None], error: BaseException | None) -> None:
        failed = [report for report in reports if report is not None]
        if not failed:
            return
        first = min(failed, key=lambda each: (isinstance(each.error, KeyboardInterrupt), each.rank))
        raise error if first.rank == self.rank and error is not None else first.error

    def led(self, job: Callable[[], _T], *targets: Target) -> _T:
        if self._targets is not None:  # within a led job
            return job()
        return self._lead(job, targets) if self.rank == 0 else self._follow(targets)

    def call(self, function: Callable[..., _T], target: Target, *arguments: Any) -> _T:
        if self._targets is not None:
            index = next(i for i, known in enumerate(self._targets) if known is target)
            self._tell(_Call(function, index, arguments))
        return function(target, *arguments)

    def _lead(self, job: Callable[[], _T], targets: Sequence[Target]) -> _T:
        self._targets = targets
        try:
            with deferred_interrupts():
                value = job()
            packed = io.BytesIO()
            torch.save(value, packed)
        except BaseException as error:
            if not self._exchanging:  # otherwise the others wait in an exchange, and fail
                self._tell(_End(b"", self._report(error)))
            raise
        finally:
            self._targets = None
        self._tell(_End(packed.getvalue(), None))
        return value

    def _follow(self, targets: Sequence[Target]) -> Any:
        with ignored_interrupts():
            while True:
                order = self._hear(targets)
                if isinstance(order, _End):
                    break
                try:
                    order.function(targets[order.target], *order.arguments)
                except BaseException:
                    if self._exchanging:
                        raise
                    # The error is raised in all processes, and the first decides what follows.
        if order.error is not None:
            raise order.error.error
        own = torch.empty(0, device=targets[0].device).device

        def here(storage: Any, location: str) -> Any:
            return storage.cuda(own.index) if location.startswith("cuda") else storage

        return torch.load(io.BytesIO(order.value), map_location=here, weights_only=False)

    def _tell(self, order: _Call | _End) -> None:
        tensors: list[Tensor] = []
        if isinstance(order, _Call):
            tensors = [a for a in order.arguments if isinstance(a, Tensor)]
            blanked = (
                _Blank(a.shape, a.dtype, a.device.type == "cpu") if isinstance(a, Tensor) else a
                for a in order.arguments
            )
            order = _Call(order.function, order.target, tuple(blanked))
        with self._exchange():
            dist.broadcast_object_list([order], src=0, group=self._hosts)
        for tensor in tensors:
            self._broadcast(tensor.contiguous(), 0)

    def _hear(self, targets: Sequence[Target]) -> _Call | _End:
        heard: list[Any] = [None]
        with self._exchange():
            dist.broadcast_object_list(heard, src=0, group=self._hosts)
        order = heard[0]
        if isinstance(order, _End):
            return order
        device = targets[order.target].device
        arguments = tuple(a.tensor(device) if isinstance(a, _Blank) else a for a in order.arguments)
        for argument in arguments:
            if isinstance(argument, Tensor):
                self._broadcast(argument, 0)
        return _Call(order.function, order.target, arguments)

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """Record an exchange that does not end, after which the processes are out of step."""
        self._exchanging = True
        yield
        self._exchanging = False

    def _of_all(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.count
        with self._exchange():
            dist.all_gather_object(values, value, group=self._hosts)
        return values

    def _broadcast(self, tensor: Tensor, source: int) -> None:
        self._in_place(tensor, lambda t, group: dist.broadcast(t, src=source, group=group))

    def _in_place(self, tensor: Tensor, operation: Callable[..., Any]) -> None:
        """Exchange a contiguous tensor by NCCL if it is on a GPU, otherwise over the hosts."""
        with self._exchange():
            if tensor.is_cuda and self._on_devices:
                operation(tensor, group=dist.group.WORLD)
            elif tensor.device.type != "cpu":
                host = tensor.cpu()
                operation(host, group=self._hosts)
                tensor.copy_(host)
            else:
                operation(tensor, group=self._hosts)


def _tried(job: Callable[[], _T]) -> tuple[_T | None, BaseException | None]:
    try:
        return job(), None
    except BaseException as error:
        return None, error
