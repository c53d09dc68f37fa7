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
    if target.exists() and not overwrite:
        raise InvalidInputError(
            name, "not exist yet, or overwriting be allowed", because=f"{str(target)!r} exists"
        )
    if target.is_dir():
        raise InvalidInputError(name, "be a file", because=f"{str(target)!r} is a folder")
    if not target.absolute().parent.is_dir():
        raise InvalidInputError(
            name, "be in an existing folder", because=f"{str(target.parent)!r} does not exist"
        )
    if not os.access(target.absolute().parent, os.W_OK):
        raise InvalidInputError(
            name,
            "be in a folder that can be written to",
            because=f"{str(target.parent)!r} cannot",
        )
    return target


def new_folder(path: str | Path, *, overwrite: bool, name: str = "folder") -> Path:
    """Return the path of a folder for new files, made if needed, or raise InvalidInputError."""
    target = as_path(path, name)
    if target.exists() and not target.is_dir():
        raise InvalidInputError(name, "be a folder", because=f"{str(target)!r} is a file")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise InvalidInputError(
            name,
            "be a new or empty folder, or overwriting be allowed",
            because=f"{str(target)!r} holds files",
        )
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(
            name,
            "be a folder that can be made",
            because=f"{str(target)!r} could not be ({type(error).__name__})",
        ) from None
    return target


@contextmanager
def replaced_when_complete(target: Path, name: str = "path") -> Iterator[Path]:
    """Yield a file to write, which replaces the target when it is complete.

    Raises
    ------
    InvalidInputError
        If the file cannot be written.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())  # safetensors makes files that only the owner reads
        os.replace(partial, target)
    except (OSError, SafetensorError) as error:
        raise InvalidInputError(
            name,
            "be a place that can be written to",
            because=f"{str(target)!r} could not be ({type(error).__name__})",
        ) from error
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
        raise InvalidInputError(
            name, "be a path", f"{path!r} of type {type(path).__name__}"
        ) from None
