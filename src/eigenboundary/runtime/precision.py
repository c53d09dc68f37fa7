"""Arithmetic in full precision, without TF32 or bfloat16 in place of float32.

By default PyTorch convolves float32 in TF32 on a GPU, with ten bits of mantissa instead of 23, and
a program can allow TF32 in matrix products. Residuals of 1e-4 and the error bounds that follow from
them need full precision.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import torch

_KINDS = ("cpu", "cuda")
# Parts of torch.backends that have a precision in torch 2.9 and later, each with the part that it
# follows where its own is not set.
_PARTS = {"mkldnn.matmul": "mkldnn", "mkldnn.conv": "mkldnn", "mkldnn.rnn": "mkldnn"}
_PARTS_ON_GPU = {"cuda.matmul": "cudnn", "cudnn.conv": "cudnn", "cudnn.rnn": "cudnn"}
_local = threading.local()


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 as float32 and without autocast, and restore the settings afterwards.

    It also serves as a decorator. TF32 and bfloat16 are settings of the whole process: the last of
    several threads to leave restores them. Within, new tensors are on the CPU by default, whatever
    ``torch.set_default_device`` says.

    A part with the precision of the part that it follows, follows it again afterwards. cuDNN's
    parts, which start as "tf32" and follow until they are set, are then set to "tf32".
    """
    with ExitStack() as stack:
        for kind in _KINDS:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        default = torch.get_default_device()
        if default.type != "cpu":
            stack.enter_context(_host_default(default))
        stack.enter_context(_full)
        yield


@contextmanager
def _host_default(default: torch.device) -> Iterator[None]:
    """Create small tensors on the host, though the program's default device may be a GPU."""
    before = getattr(_local, "default", None)
    _local.default = default
    try:
        with torch.device("cpu"):
            yield
    finally:
        _local.default = before


@contextmanager
def program_default() -> Iterator[None]:
    """Restore the program's default device within :func:`full_precision`."""
    default = getattr(_local, "default", None)
    with nullcontext() if default is None else default:
        yield


class Switch:
    """A context with changed settings, which the last thread to leave restores.

    ``change(switch)`` calls :meth:`set` for each setting.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> backend = SimpleNamespace(fast=True)
    >>> with Switch(lambda switch: switch.set(partial(setattr, backend, "fast"), True, False)):
    ...     print(backend.fast)
    False
    >>> backend.fast
    True
    """

    def __init__(self, change: Callable[[Switch], None]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._inside = 0
        self._restore: list[Callable[[], None]] = []

    def set(self, setter: Callable[[Any], None], before: Any, within: Any) -> None:
        """Change one setting, and record how to restore it."""
        setter(within)
        self._restore.append(partial(setter, before))

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                try:
                    self._change(self)
                except BaseException:
                    self._set_back()
                    raise
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._set_back()

    def _set_back(self) -> None:
        while self._restore:
            with suppress(Exception):  # restore the others all the same
                self._restore.pop(0)()


def _set_full(switch: Switch) -> None:
    """Set every precision to the full one."""
    parts, cudnn = list(_parts()), torch.backends.cudnn
    before = [_own(part, followed) for part, followed in parts]
    # The older settings first: torch raises where a program has made them disagree with the newer.
    if torch.cuda.is_available():
        with suppress(RuntimeError):
            switch.set(partial(setattr, cudnn, "allow_tf32"), cudnn.allow_tf32, False)
    with suppress(RuntimeError):
        allowed = torch.get_float32_matmul_precision()
        switch.set(torch.set_float32_matmul_precision, allowed, "highest")
    for (part, _), value in zip(parts, before, strict=True):
        switch.set(partial(setattr, part, "fp32_precision"), value, "ieee")


_full = Switch(_set_full)


def _parts() -> Iterator[tuple[Any, Any]]:
    """Yield the parts of torch.backends that have a precision, each with the one it follows."""
    paths = _PARTS | (_PARTS_ON_GPU if torch.cuda.is_available() else {})
    for path, followed in paths.items():
        part: Any = torch.backends
        for name in path.split("."):
            part = getattr(part, name, None)
        if hasattr(part, "fp32_precision"):
            yield part, getattr(torch.backends, followed)


def _own(part: Any, followed: Any) -> str:
    """Return the precision to restore for a part; "none" lets it follow."""
    value: str = part.fp32_precision
    return "none" if value == followed.fp32_precision else value
