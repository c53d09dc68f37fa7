"""Hashes of the package's own modules, by which results on disk are known to be current."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path, PurePath

__all__ = ["PACKAGE", "source_digest"]

#: Where the modules are.
PACKAGE = Path(__file__).parent


def source_digest(wanted: Callable[[PurePath], bool], package: Path = PACKAGE) -> str:
    """A hash of the modules whose path within the package is wanted.

    Examples
    --------
    >>> len(source_digest(lambda path: path.name == "losses.py"))
    64
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        if wanted(name):
            code = path.read_bytes()
            digest.update(f"{name.as_posix()} {len(code)} ".encode() + code)
    return digest.hexdigest()
