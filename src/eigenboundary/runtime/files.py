"""Files and folders for results, which are never overwritten silently or written in part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from eigenboundary.runtime.errors import InvalidInputError


def new_file(path: str | Path, *, overwrite: bool, name: str = "path") -> Path:
    """Return the path if a file may be written there, and raise InvalidInputError otherwise."""
    target = as_path(path, name)
    folder = target.absolute().parent
    if target.exists() and not overwrite:
        raise _unusable(name, "not exist yet, or overwriting be allowed", target, "exists")
    if target.is_dir():
        raise _unusable(name, "be a file", target, "is a folder")
    if not folder.is_dir():
        raise _unusable(name, "be in an existing folder", target.parent, "does not exist")
    if not os.access(folder, os.W_OK):
        raise _unusable(name, "be in a folder that can be written to", target.parent, "cannot")
    return target


def new_folder(path: str | Path, *, overwrite: bool, name: str = "folder") -> Path:
    """Return the path of a folder for new files, made if needed, or raise InvalidInputError."""
    target = as_path(path, name)
    if target.exists() and not target.is_dir():
        raise _unusable(name, "be a folder", target, "is a file")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        wanted = "be a new or empty folder, or overwriting be allowed"
        raise _unusable(name, wanted, target, "holds files")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"could not be ({type(error).__name__})"
        raise _unusable(name, "be a folder that can be made", target, reason) from None
    return target


def _unusable(name: str, wanted: str, path: Path, reason: str) -> InvalidInputError:
    return InvalidInputError(name, wanted, because=f"{str(path)!r} {reason}")


@contextmanager
def replaced_when_complete(target: Path, name: str = "path") -> Iterator[Path]:
    """Yield a file to write, which replaces the target when it is complete."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())  # safetensors makes files that only the owner reads
        os.replace(partial, target)
    except (OSError, SafetensorError) as error:
        reason = f"could not be ({type(error).__name__})"
        raise _unusable(name, "be a place that can be written to", target, reason) from error
    finally:
        partial.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def as_path(path: Any, name: str) -> Path:
    try:
        return Path(path)
    except TypeError:
        got = f"{path!r} of type {type(path).__name__}"
        raise InvalidInputError(name, "be a path", got) from None
