r"""How much may be held at once, where a limit is set.

The limit is on all that the process holds (on a GPU: what torch has allocated there). What is there
already, and what libraries load when they are first used, is taken off it. Of the rest, at most
half is for the eigensolver's vectors; of what they leave, at most a quarter is for each thing whose
size is a matter of choice (chunks of the data, gradients, cached samples), of which no more than
two are alive at once; and the rest for what operators keep between products.
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

# Derivatives, tracing and solvers load about this much when they are first used.
_LATER = 80 * 10**6
# Of any part but what is kept.
_LARGEST_PART = 2**28
# By this factor the process must have grown before it is looked again for memory to give back.
_REGROWN = 1.05
# A GPU computes so much more at once, and has memory of its own for it.
_TIMES_ON_GPU = 16
# Of what is free where there is no limit, a share is kept to save time: at least and, in the host's
# memory, at most this.
_SHARE_KEPT, _LEAST_KEPT, _MOST_KEPT = 1 / 4, 2**30, 2**33
# The control groups that this process is in, and where they are.
_GROUPS, _GROUPS_ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# With less than this, nothing can be computed in chunks of any use.
_LEAST = 40 * 10**6
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def as_bytes(value: Any, name: str = "memory_limit") -> int | None:
    """A number of bytes, or text such as "2 GB" or "1.5GiB"; None stays None.

    Raises
    ------
    InvalidInputError
        If it is neither, or not above zero.

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
        raise InvalidInputError(name, "be a number of bytes or text like '2 GB'", repr(value))
    return int(number)


def megabytes(size: float) -> str:
    """A size as it is said in messages."""
    return f"{math.ceil(size / 1e6):,} MB"


class Keeper(Protocol):
    """What keeps something to save time, and can do without."""

    def forget(self) -> None:
        """Give it up."""


class _Keepers(WeakKeyDictionary[Keeper, int]):
    """Keepers with their bytes; a copy in another process has none."""

    def __reduce__(self) -> tuple[type[_Keepers], tuple[()]]:
        return _Keepers, ()


class Memory:
    """What is left of a limit, and how it is shared.

    Parameters
    ----------
    limit : int, optional
        In bytes; default: none, and every part is as large as is usual, but on a GPU no more than a
        quarter of the free memory, and what is kept between products as :meth:`kept` says.
    device : torch.device
        Whose memory it is.

    Attributes
    ----------
    free : int or None
        Bytes left when this was made.
    vectors : int
        Bytes of these that the eigensolver has planned to use.

    Raises
    ------
    InvalidInputError
        If the process holds more than the limit already, or little less.
    """

    def __init__(self, limit: int | None = None, device: torch.device | None = None) -> None:
        self.limit, self.device, self.vectors = limit, device, 0
        self.free: int | None = None
        self._keepers = _Keepers()
        self._needed = 0  # what the process held after it had given back what it could
        # Looked at once: decisions must not change from one product to the next.
        self._largest_on_gpu = (
            int(_available(device) / (4 * _neighbours(device))) if _on_gpu(device) else None
        )
        if limit is None:
            return
        held = _held(device)
        self.free = limit - held
        if self.free < _LEAST:
            raise InvalidInputError(
                "memory_limit",
                f"be at least {megabytes(held + _LEAST)}, of which this process needs "
                f"{megabytes(held)} before it computes anything",
                f"{megabytes(limit)}",
            )

    def at_most(self, usual: int) -> int:
        """The usual size of a part in bytes, more on a GPU, or its share where that is less."""
        usual, largest = self._times * usual, self._times * _LARGEST_PART
        if self._largest_on_gpu is not None:
            usual = max(1, min(usual, self._largest_on_gpu))
        if self.free is None:
            return usual
        return max(1, min(usual, largest, (self.free - self.vectors) // 4))

    def at_any_time(self, usual: int) -> int:
        """The usual size, or its share, whatever the eigensolver has planned; no more on a GPU."""
        return usual if self.free is None else max(1, min(usual, _LARGEST_PART, self.free // 8))

    def kept(self, asked: int | None = None) -> int:
        """Bytes that may be kept to save time: those asked for, or some of what is free.

        Without a limit, a quarter of the process' share of the free memory, but at least 1 GiB, and
        in the host's memory at most 8 GiB; where there is a limit, no more than it leaves.
        """
        if self.free is not None:
            left = max(1, self._unplanned - sum(self._keepers.values()))
            return left if asked is None else min(left, asked)
        if asked is not None:
            return asked
        share = _SHARE_KEPT * _available(self.device) / _neighbours(self.device)
        return int(max(share if _on_gpu(self.device) else min(share, _MOST_KEPT), _LEAST_KEPT))

    def take(self, size: int) -> None:
        """Note that so many bytes are in use from now on."""
        if self.free is not None:
            self.free -= size

    def reclaim(self) -> None:
        """Above the limit, give the system back what was freed and is held for later.

        The C library keeps freed memory in pieces that the next parts do not always fit: several
        times what is in use, after many chunks. All that is planned fits in the limit.
        """
        if self.limit is None or _on_gpu(self.device):
            return
        if _resident() > max(self.limit, _REGROWN * self._needed):
            _trim()()
            self._needed = _resident()

    def keep(self, keeper: Keeper, size: int) -> None:
        """Note how many bytes something keeps from now on."""
        self._keepers[keeper] = size

    def require_part(self, size: int, purpose: str) -> None:
        """Check that a part of the least size that it can have is no more than its share.

        Raises
        ------
        InvalidInputError
            If it is more.
        """
        self._require(4 * size, purpose)

    def _require(self, needed: int, purpose: str) -> None:
        if self.free is not None and self.limit is not None and needed > self.free:
            raise InvalidInputError(
                "memory_limit",
                f"be at least {megabytes(self.limit - self.free + needed)} for {purpose}",
                f"{megabytes(self.limit)}",
            )

    @property
    def _times(self) -> int:
        return _TIMES_ON_GPU if _on_gpu(self.device) else 1

    @property
    def _unplanned(self) -> int:
        assert self.free is not None
        return self.free - self.vectors - 2 * self.at_most(_LARGEST_PART)

    def room(self, vector: int) -> int | None:
        """How many vectors of so many bytes the eigensolver may hold; None if any number."""
        return None if self.free is None else self.free // (2 * vector)

    def plan(self, count: int, vector: int, purpose: str) -> None:
        """Set so many vectors aside; what is kept where they are to be is given up.

        Raises
        ------
        InvalidInputError
            If they are more than there is room for.
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
    """Bytes that are in use, and that will be whatever is computed."""
    if _on_gpu(device):
        return int(torch.cuda.memory_allocated(device))
    return _resident() + _LATER


def _resident() -> int:
    """Bytes of the host's memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


@functools.cache
def _trim() -> Callable[[], object]:
    """What gives freed memory back to the system; nothing where the C library has no such call."""
    if sys.platform != "linux":
        return int
    with suppress(OSError, AttributeError):  # it is one of glibc's
        return functools.partial(ctypes.CDLL(None).malloc_trim, 0)
    return int


def _available(device: torch.device | None) -> int:
    """Bytes that nobody uses, in the container that this process is in."""
    if _on_gpu(device):
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return min([psutil.virtual_memory().available, *_left_in_groups()])


def _left_in_groups() -> Iterator[int]:
    """What each limit on a control group (of a container, a job, a service) leaves."""
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
                with suppress(OSError, ValueError):  # it is elsewhere, or its limit is "max"
                    free = int((group / most).read_text()) - int((group / used).read_text())
                    yield free + _cached_files(group)


def _cached_files(group: Path) -> int:
    """Bytes that a control group counts, and gives up when they are needed."""
    found: list[str] = []
    with suppress(OSError):
        # The first version has a group's own first, and then, as "total", with those within it.
        text = (group / "memory.stat").read_text()
        found = re.findall(r"^(?:total_)?inactive_file (\d+)", text, re.M)
    return int(found[-1]) if found else 0


def _neighbours(device: torch.device | None) -> float:
    """Processes of the same job that share the device's memory."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1.0, processes / max(1, torch.cuda.device_count() if _on_gpu(device) else 1))


def _on_gpu(device: torch.device | None) -> bool:
    return device is not None and device.type == "cuda"
