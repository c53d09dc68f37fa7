"""Arithmetic in the precision that was asked for: neither TF32 nor bfloat16 in place of float32.

PyTorch convolves float32 in TF32 on a GPU unless it is told not to, ten bits of the mantissa where
float32 has 23, and multiplies matrices so if a program allows it. Residuals of 1e-4 and the error
bounds that follow from them cannot be reached that way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import torch

__all__ = ["full_precision", "program_default"]

_KINDS = ("cpu", "cuda")
# What torch 2.9 and later hold a precision for, by their paths in torch.backends.
_PARTS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")

_local = threading.local()
_lock = threading.Lock()
_inside = 0
_restore: list[Callable[[], None]] = []


@contextmanager
def full_precision() -> Iterator[None]:
    """Within, float32 is computed as float32, and autocast is off; what was set is set again after.

    Usable as a decorator. TF32 and bfloat16 are settings of the whole process: where several
    threads are within, the last to leave sets them back. Tensors are made on the CPU within, where
    no device is given, whatever ``torch.set_default_device`` says.
    """
    with ExitStack() as stack:
        for kind in _KINDS:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        default = torch.get_default_device()
        if default.type != "cpu":
            stack.enter_context(_host_default(default))
        _enter()
        stack.callback(_leave)
        yield


@contextmanager
def _host_default(default: torch.device) -> Iterator[None]:
    """Make small things on the host, as is meant, though a program makes them on a GPU."""
    _local.default = default
    try:
        with torch.device("cpu"):
            yield
    finally:
        _local.default = None


@contextmanager
def program_default() -> Iterator[None]:
    """Within :func:`full_precision`, the default device that the program has set."""
    default = getattr(_local, "default", None)
    with nullcontext() if default is None else default:
        yield


def _enter() -> None:
    global _inside
    with _lock:
        _inside += 1
        if _inside == 1:
            _set_full()


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if not _inside:
            while _restore:
                _restore.pop(0)()


def _set_full() -> None:
    """Set every precision to the full one, and note what sets each back, in order."""
    parts, cudnn = list(_parts()), torch.backends.cudnn
    before = [part.fp32_precision for part in parts]
    # The older settings first, where they can be read: torch wants them to agree with the newer
    # ones, and raises where a program has made them disagree.
    with suppress(RuntimeError):
        _restore.append(partial(setattr, cudnn, "allow_tf32", cudnn.allow_tf32))
        cudnn.allow_tf32 = False
    with suppress(RuntimeError):
        allowed = torch.get_float32_matmul_precision()
        _restore.append(partial(torch.set_float32_matmul_precision, allowed))
        torch.set_float32_matmul_precision("highest")
    for part, value in zip(parts, before, strict=True):
        _restore.append(partial(setattr, part, "fp32_precision", value))
        part.fp32_precision = "ieee"


def _parts() -> Iterator[Any]:
    """Those of torch.backends' parts that have a precision to be set."""
    for path in _PARTS:
        part: Any = torch.backends
        for name in path.split("."):
            part = getattr(part, name, None)
        if hasattr(part, "fp32_precision"):
            yield part
