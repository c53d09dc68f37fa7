"""Results on disk: one class for all that experiments keep, one rule for when it is used again.

A result is used again if it has the key that it would have today: the same configuration, the same
data, the same version of its algorithm (:mod:`eigenboundary.runtime.version`). Otherwise it is
made again, with one warning, and the earlier file moves to the folder ``superseded`` beside it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safe_numpy
from safetensors import torch as safe_torch
from torch import Tensor

from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.files import replaced_when_complete

_log = logging.getLogger(__name__)

_KEY = "eigenboundary-archive"
_SUPERSEDED = "superseded"
# Between the keys of nested tensors; no parameter's name has it.
_SEPARATOR = "//"
_T = TypeVar("_T", bound=Hashable)


class OtherResultError(InvalidInputError):
    """A kept file is damaged, holds something else, or has another configuration."""


class OutdatedResultError(OtherResultError):
    """A kept file was made by another version's code or from other data."""


@dataclass(frozen=True)
class Key:
    """The configuration, data and algorithm that decide a result."""

    configuration: dict[str, Any]  # the settings, as JSON can hold them, with the parents'
    data: str  # the fingerprint of the samples and weights that the result is made from
    algorithm: str  # the algorithms that make it, with their versions


@dataclass(frozen=True)
class Stored:
    """A kept result: its file, and the plain values in the file's header."""

    path: Path
    values: dict[str, Any]

    def tensors(self) -> dict[str, Any]:
        """Read the file's tensors, nested as they were given; keys are text."""
        result: dict[str, Any] = {}
        for name, tensor in safe_torch.load_file(self.path).items():
            *places, last = name.split(_SEPARATOR)
            inner = result
            for place in places:
                inner = inner.setdefault(place, {})
            inner[last] = tensor
        return result


def fingerprint(text: str, tensors: Iterable[Tensor]) -> str:
    """Return a hash of a text and the bytes of some tensors."""
    digest = hashlib.sha256(text.encode())
    for tensor in tensors:
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Archive:
    """Results in a folder, one safetensors file each, with their keys in the headers.

    The folder is made where missing; errors call it ``argument``. An archive that overwrites
    disregards and replaces what is in the folder, except for what it wrote itself.
    """

    def __init__(
        self, folder: str | Path, *, overwrite: bool = False, argument: str = "folder"
    ) -> None:
        self.folder, self.overwrite, self.argument = Path(folder), overwrite, argument
        self._ours: set[str] = set()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            got = f"{str(folder)!r} ({error.strerror})"
            raise InvalidInputError(argument, "be one that can be written to", got) from None

    def read(self, name: str, key: Key) -> Stored | None:
        """Return the result of that name, None without one; another key is an OtherResultError."""
        path = self.folder / name
        if not path.exists() or (self.overwrite and name not in self._ours):
            return None
        kind, reason, header = OtherResultError, "", dict[str, Any]()
        configuration = json.loads(json.dumps(key.configuration))  # as the header has it
        try:
            with safe_open(path, framework="pt") as stored:
                header = json.loads((stored.metadata() or {}).get(_KEY, "{}"))
        except (SafetensorError, ValueError, OSError) as error:
            reason = f"is damaged ({type(error).__name__})"
        if not header:
            reason = reason or "is another kind of file"
        elif difference := _difference(header["configuration"], configuration):
            reason = f"was made with {difference}"
        elif header["algorithm"] != key.algorithm:
            kind, reason = OutdatedResultError, "was made by another version's code"
        elif header["data"] != key.data:
            kind, reason = OutdatedResultError, "was made from other samples or weights"
        if reason:
            because = f"{str(path)!r} {reason} (remove or overwrite it)"
            raise kind(self.argument, "hold only what this call would make", because=because)
        self._ours.add(name)
        return Stored(path, header["values"])

    def find(self, wanted: Mapping[_T, tuple[str, Key]], *, strict: bool) -> dict[_T, Stored]:
        """Return the results that can be used again, by file name and key; warn of the others.

        Where ``strict`` is set, a damaged file and one of another configuration are errors.
        """
        found, others = {}, []
        for which, (name, key) in wanted.items():
            try:
                if stored := self.read(name, key):
                    found[which] = stored
            except OtherResultError as error:
                if strict and not isinstance(error, OutdatedResultError):
                    raise
                others.append(f"{error.because}".rpartition(" (")[0])
        if others:
            place = self.folder / _SUPERSEDED
            _log.warning("made again (the earlier go to %s): %s", place, "; ".join(others))
        return found

    def write(
        self, name: str, key: Key, tensors: Mapping[Any, Any], values: Mapping[str, Any]
    ) -> None:
        """Write nested mappings of tensors, and plain values; another's file is superseded."""
        with self._replaced(name) as partial:
            safe_torch.save_file(dict(_flat(tensors)), partial, {_KEY: _header(key, values)})

    def write_saved(self, name: str, key: Key, save: Callable[[Path], object]) -> None:
        """Write a result that saves itself as a safetensors file, with its key added."""
        with tempfile.TemporaryDirectory() as place, self._replaced(name) as partial:
            save(plain := Path(place) / name)
            with safe_open(plain, framework="np") as stored:
                arrays = {n: stored.get_tensor(n) for n in stored.keys()}  # noqa: SIM118
                metadata = stored.metadata() | {_KEY: _header(key, {})}
            safe_numpy.save_file(arrays, partial, metadata)

    @contextmanager
    def _replaced(self, name: str) -> Iterator[Path]:
        with replaced_when_complete(self.folder / name, self.argument) as partial:
            yield partial
            if not (self.overwrite or name in self._ours):
                self.supersede(name)
        self._ours.add(name)

    def supersede(self, name: str) -> Path | None:
        """Move a file to ``superseded``; return its new path, or None if there is no file."""
        path = self.folder / name
        if not path.exists():
            return None
        place, number = Archive(self.folder / _SUPERSEDED, argument=self.argument).folder, 1
        stem = path.stem.lstrip(".")
        while (target := place / f"{stem}-{number}{path.suffix}").exists():
            number += 1
        return path.rename(target)


def _flat(tensors: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in tensors.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value.detach().cpu().contiguous()
        else:
            yield from _flat(value, f"{prefix}{name}{_SEPARATOR}")


def _header(key: Key, values: Mapping[str, Any]) -> str:
    return json.dumps({**vars(key), "values": dict(values)})


def _difference(was: Any, now: Any, place: str = "") -> str | None:
    """Name the first setting in which two configurations differ."""
    if was == now:
        return None
    if isinstance(was, dict) and isinstance(now, dict):
        for key in {**now, **was}:
            inner = f"{place}.{key}".lstrip(".")
            if difference := _difference(was.get(key), now.get(key), inner):
                return difference
    return f"{place} {was!r}, not {now!r}"
