"""Ctrl-C that waits for a safe point.

Python raises KeyboardInterrupt at any instruction. Inside torch's backward engine or its function
transforms the exception is lost or leaves them in an invalid state. Here an interrupt is recorded,
and raised at the next safe point.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_pending = threading.Event()


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Delay Ctrl-C until :func:`safe_point`; a second Ctrl-C interrupts at once.

    It has no effect outside the main thread, or where other code handles the signal.
    """
    handled = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not handled:
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        if _pending.is_set():
            _pending.clear()
            signal.default_int_handler(number, frame)
        _pending.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield
        safe_point()
    finally:
        _pending.clear()
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def ignored_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C, a recorded one included; another process decides what it ends."""
    _pending.clear()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def safe_point() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed since the last safe point."""
    if _pending.is_set():
        _pending.clear()
        raise KeyboardInterrupt
