"""Ctrl-C that waits for a safe point.

Python raises KeyboardInterrupt wherever it happens to be; inside torch's backward engine or its
function transforms it is swallowed or leaves them in disorder. Here it is noted, and raised at the
next safe point.
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
    """Hold Ctrl-C back until :func:`safe_point`; a second one gets through at once.

    Only in the main thread, and only where nobody else handles the signal.
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
    """Let Ctrl-C pass, one from just before included: another process decides what it ends."""
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
