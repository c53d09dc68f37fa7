r"""Shares of the memory that a computation may use.

A memory limit applies to all memory of the process (on a GPU: to torch's allocations there). The
memory already in use, and the memory of libraries at their first use, is subtracted. At most half
of the rest is for the eigensolver's vectors. At most a quarter of what they leave is for each part
of adjustable size (chunks of the data, gradients, cached samples), of which no more than two exist
at once. The remainder is for results that operators keep between products.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import psutil
import torch

from eigenboundary.runtime.errors import InvalidInputError

# Derivatives, tracing and solvers load about this many bytes at their first use.
_LATER = 80 * 10**6
# Largest size of a part other than kept results.
_LARGEST_PART = 2**28
# Growth of the process since the last release after which freed memory is released again.
_REGROWN = 1.05
# Factor by which parts are larger on a GPU, which computes more at once.
_TIMES_ON_GPU = 16
# Share of the free memory for kept results without a limit; its least size, and its largest on the
# host.
_SHARE_KEPT, _LEAST_KEPT, _MOST_KEPT = 1 / 4, 2**30, 2**33
# The list of this process' control groups, and the folder of all groups.
_GROUPS, _GROUPS_ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# Less memory than this leaves only chunks too small to be of use.
_LEAST = 40 * 10**6
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def as_bytes(value: Any) -> int | None:
    """Read a number of bytes, or text such as "2 GB" or "1.5GiB"; None stays None.

    Examples
    --------
    >>> as_bytes("1.5 GB")
    1500000000
    """
    if value is None:
        return None
    number = float("nan")
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = int(value)
    elif isinstance(value, str):
        parts = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]i?)?b?\s*", value.lower())
        if parts:
            number = float(parts[1]) * _UNITS[parts[2] or ""]
    if not number >= 1:
        wanted = "be a number of bytes or text like '2 GB'"
        raise InvalidInputError("memory_limit", wanted, repr(value))
    return int(number)


def megabytes(size: float) -> str:
    """Format a size for messages."""
    return f"{math.ceil(size / 1e6):,} MB"


class Keeper(Protocol):
    """Something that keeps results to save time, and can drop them."""

    def forget(self) -> None:
        """Drop the kept results."""


class _Keepers(WeakKeyDictionary[Keeper, int]):
    """Keepers with their bytes; empty in a copy or another process."""

    def __reduce__(self) -> tuple[type[_Keepers], tuple[()]]:
        return _Keepers, ()


class Memory:
    """The free part of a memory limit, and its shares.

    Parameters
    ----------
    limit : int, optional
        In bytes. Without a limit every part has its usual size, on a GPU at most a quarter of the
        free memory, and kept results have the size that :meth:`kept` gives.
    device : torch.device
        The device of the memory; default: the host.

    Attributes
    ----------
    free : int or None
        Bytes free at the start; None without a limit. Too few raise InvalidInputError.
    vectors : int
        Bytes of these that the eigensolver has reserved.
    """

    def __init__(self, limit: int | None = None, device: torch.device | None = None) -> None:
        self.limit, self.device, self.vectors = limit, device, 0
        self.free: int | None = None
        self._keepers = _Keepers()
        self._needed = 0  # memory of the process after its last release
        # Measured once, since sizes must not change from one product to the next.
        self._times, self._largest = 1, sys.maxsize
        if _on_gpu(device):
            self._times = _TIMES_ON_GPU
            self._largest = max(1, int(_available(device) / (4 * _neighbours(device))))
        if limit is None:
            return
        held = _held(device)
        self.free = limit - held
        if self.free < _LEAST:
            purpose = f", of which this process needs {megabytes(held)} before it computes anything"
            wanted = f"be at least {megabytes(held + _LEAST)}{purpose}"
            raise InvalidInputError("memory_limit", wanted, megabytes(limit))

    def at_most(self, usual: int) -> int:
        """Return the usual size of a part in bytes, larger on a GPU, or its share if smaller."""
        size = min(self._times * usual, self._largest)
        if self.free is None:
            return size
        return max(1, min(size, self._times * _LARGEST_PART, (self.free - self.vectors) // 4))

    def at_any_time(self, usual: int) -> int:
        """Return the usual size or a share that does not depend on reserved vectors or device."""
        return usual if self.free is None else max(1, min(usual, _LARGEST_PART, self.free // 8))

    def kept(self, asked: int | None = None) -> int:
        """Return how many bytes may be kept to save time: those asked for, or a default.

        With a limit, no more than it leaves. Without one, a quarter of the process' share of the
        free memory, but at least 1 GiB, and on the host at most 8 GiB.
        """
        if self.free is not None:
            left = max(1, self._unplanned - sum(self._keepers.values()))
            return left if asked is None else min(left, asked)
        if asked is not None:
            return asked
        share = _SHARE_KEPT * _available(self.device) / _neighbours(self.device)
        return int(max(share if _on_gpu(self.device) else min(share, _MOST_KEPT), _LEAST_KEPT))

    def take(self, size: int) -> None:
        """Subtract so many bytes, in use from now on, from the free memory."""
        if self.free is not None:
            self.free -= size

    def reclaim(self) -> None:
        """Return freed memory to the system where the process exceeds the limit.

        The C library keeps freed memory in pieces that new parts do not always fit. After many
        chunks these can be several times the memory in use, all of which fits in the limit.
        """
        if self.limit is None or _on_gpu(self.device):
            return
        if _resident() > max(self.limit, _REGROWN * self._needed):
            _trim()()
            self._needed = _resident()

    def keep(self, keeper: Keeper, size: int) -> None:
        """Record how many bytes a keeper holds from now on."""
        self._keepers[keeper] = size

    def require_part(self, size: int, purpose: str) -> None:
        """Raise InvalidInputError if a part's least possible size exceeds its share."""
        self._require(4 * size, purpose)

    def _require(self, needed: int, purpose: str) -> None:
        if self.free is not None and self.limit is not None and needed > self.free:
            wanted = f"be at least {megabytes(self.limit - self.free + needed)} for {purpose}"
            raise InvalidInputError("memory_limit", wanted, megabytes(self.limit))

    @property
    def _unplanned(self) -> int:
        assert self.free is not None
        return self.free - self.vectors - 2 * self.at_most(_LARGEST_PART)

    def room(self, vector: int) -> int | None:
        """Return how many vectors of so many bytes the eigensolver may hold; None if unlimited."""
        return None if self.free is None else self.free // (2 * vector)

    def plan(self, count: int, vector: int, purpose: str) -> None:
        """Reserve the memory of so many vectors; keepers drop their results if that needs it.

        Vectors that do not fit raise InvalidInputError.
        """
        if self.free is None:
            return
        self._require(2 * count * vector, purpose)
        self.vectors = count * vector
        if sum(self._keepers.values()) > self._unplanned:
            for keeper in list(self._keepers):
                keeper.forget()
                self.keep(keeper, 0)


def _held(device: torch.device | None) -> int:
    """Return the bytes in use, with those that any computation will need."""
    if _on_gpu(device):
        return int(torch.cuda.memory_allocated(device))
    return _resident() + _LATER


def _resident() -> int:
    """Return the bytes of the host's memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


@functools.cache
def _trim() -> Callable[[], object]:
    """Return the C library's release of freed memory, or a function without effect."""
    with suppress(OSError, AttributeError):  # only glibc has it
        if sys.platform == "linux":
            return functools.partial(ctypes.CDLL(None).malloc_trim, 0)
    return int


def _available(device: torch.device | None) -> int:
    """Return the free bytes, of the process' container on the host."""
    if _on_gpu(device):
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return min([psutil.virtual_memory().available, *_left_in_groups()])


def _left_in_groups() -> Iterator[int]:
    """Yield what each limit on a control group (a container, a job, a service) leaves."""
    groups = _GROUPS.read_text(errors="surrogateescape") if _GROUPS.exists() else ""
    for _, controllers, path in re.findall(r"^(\d+):([^:\n]*):(.*)$", groups, re.M):
        if not controllers:  # the second version
            root, most, used = _GROUPS_ROOT, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            root = _GROUPS_ROOT / "memory"
            most, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        own = root / path.lstrip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(root):
                with suppress(OSError, ValueError):  # there is no file, or its limit is "max"
                    free = int((group / most).read_text()) - int((group / used).read_text())
                    yield free + _cached_files(group)


def _cached_files(group: Path) -> int:
    """Return the bytes of cached files, which a control group counts but releases on demand."""
    found: list[str] = []
    with suppress(OSError):
        # The first version lists a group's own bytes, and then, as "total", all within it.
        text = (group / "memory.stat").read_text()
        found = re.findall(r"^(?:total_)?inactive_file (\d+)", text, re.M)
    return int(found[-1]) if found else 0


def _neighbours(device: torch.device | None) -> float:
    """Return the number of the job's processes that share the device's memory."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1.0, processes / max(1, torch.cuda.device_count() if _on_gpu(device) else 1))


def _on_gpu(device: torch.device | None) -> bool:
    return device is not None and device.type == "cuda"
