"""Hashes of the code that computes, by which results kept on disk are known to be current."""

from __future__ import annotations

import functools
from pathlib import Path

from eigenboundary.source import PACKAGE, source_digest

__all__ = ["code_digest"]

#: What only asks for results, or shows them.
_LEFT_OUT = ("cli", "displays", "experiments", "report")


@functools.cache
def code_digest() -> str:
    """A hash of the package's modules, but for those that only ask for numbers or show them.

    Examples
    --------
    >>> len(code_digest())
    64
    """
    return _digest(PACKAGE)


def _digest(package: Path) -> str:
    return source_digest(lambda path: path.parts[0] not in _LEFT_OUT, package)
