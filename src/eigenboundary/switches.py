"""Settings of the whole process that are changed while anything needs them changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

__all__ = ["Switch"]


class Switch:
    """Within, some settings are others; the last thread to leave sets them back.

    Parameters
    ----------
    change : callable
        ``change(switch)``: calls :meth:`set` for each setting.

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
        """Change one setting, and note what sets it back."""
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
            with suppress(Exception):  # the others are set back all the same
                self._restore.pop(0)()
