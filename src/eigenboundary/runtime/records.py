"""Frozen dataclasses as plain arrays and JSON, and back, by what their fields declare.

A dataclass is its own schema: :func:`pack` and :func:`unpack` walk its fields and their types. The
shape of an array stands in its type, ``Annotated[NDArray[np.float64], "n", "k"]``: equal names
stand for equal lengths, and ``"..."`` for any further axes.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

#: Metadata of a field that is not stored.
UNSTORED = {"stored": False}
_ARRAY = "array"


class RecordError(ValueError):
    """A record does not fit the dataclass that it is read as."""


def pack(value: Any, arrays: Arrays, name: str = "") -> Any:
    """Return a value as JSON takes it; its arrays are added to ``arrays`` under dotted names.

    Examples
    --------
    >>> from eigenboundary.curvature.spectrum.trace import TraceEstimate
    >>> pack(TraceEstimate(2.0, float("inf"), 3), {})
    {'value': 2.0, 'error': 'inf', 'products': 3}
    """
    if isinstance(value, np.ndarray):
        arrays[name] = np.ascontiguousarray(value)
        return _ARRAY
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = {key: getattr(value, key) for key in _stored(type(value))}
        return {key: pack(item, arrays, _joined(name, key)) for key, item in held.items()}
    if isinstance(value, Mapping):
        return {key: pack(item, arrays, _joined(name, key)) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [pack(item, arrays, _joined(name, i)) for i, item in enumerate(value)]
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, np.generic):
        value = value.item()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def unpack(
    kind: Any, record: Any, arrays: Mapping[str, NDArray[Any]], shared: tuple[str, ...] = ()
) -> Any:
    """Return the value of a type that :func:`pack` took apart, or raise RecordError.

    ``shared`` names the lengths that a nested dataclass has in common with the outer one.
    """
    return _Reader(arrays, shared).read(kind, record, "", {})


@dataclass(frozen=True)
class _Reader:
    arrays: Mapping[str, NDArray[Any]]
    shared: tuple[str, ...]
    shape: tuple[str | int, ...] = field(default=("...",))

    def read(self, kind: Any, record: Any, name: str, lengths: dict[str, int]) -> Any:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is Annotated:
            return dataclasses.replace(self, shape=arguments[1:]).read(
                arguments[0], record, name, lengths
            )
        if origin in (typing.Union, types.UnionType):
            (kind,) = (each for each in arguments if each is not types.NoneType)
            return None if record is None else self.read(kind, record, name, lengths)
        if origin is np.ndarray:
            return self._array(arguments, record, name, lengths)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, record, name, lengths)
        if origin is dict:
            _require(isinstance(record, dict), name, "a table", record)
            return {
                key: self.read(arguments[1], item, _joined(name, key), lengths)
                for key, item in record.items()
            }
        if origin is tuple:
            _require(isinstance(record, list), name, "a list", record)
            kinds = [arguments[0]] * len(record) if arguments[-1] is Ellipsis else [*arguments]
            _require(len(kinds) == len(record), name, f"{len(kinds)} entries", record)
            places = (_joined(name, i) for i in range(len(kinds)))
            entries = zip(kinds, record, places, strict=True)
            return tuple(self.read(*entry, lengths) for entry in entries)
        return _scalar(kind, record, name)

    def _dataclass(self, kind: Any, record: Any, name: str, outer: dict[str, int]) -> Any:
        fields = _stored(kind)
        _require(isinstance(record, dict), name, "a table", record)
        _require(record.keys() == set(fields), name, f"of fields {', '.join(fields)}", [*record])
        lengths = {key: outer[key] for key in self.shared if key in outer}
        values = {}
        for key, hint in fields.items():
            values[key] = self.read(hint, record[key], _joined(name, key), lengths)
        return kind(**values)

    def _array(
        self, arguments: tuple[Any, ...], record: Any, name: str, lengths: dict[str, int]
    ) -> NDArray[Any]:
        _require(record == _ARRAY and name in self.arrays, name, "an array", record)
        found = self.arrays[name]
        (wanted,) = typing.get_args(arguments[1])
        if wanted is not Any:
            fits = found.dtype.kind == np.dtype(wanted).kind
            _require(fits, name, f"of dtype {np.dtype(wanted)}", found.dtype)
        open_ended = self.shape[-1:] == ("...",)
        named = self.shape[:-1] if open_ended else self.shape
        fits = found.ndim >= len(named) if open_ended else found.ndim == len(named)
        sizes = [
            axis if isinstance(axis, int) else lengths.setdefault(axis, size)
            for axis, size in zip(named, found.shape, strict=False)
        ]
        _require(fits and list(found.shape[: len(named)]) == sizes, name, sizes, found.shape)
        return found


def _scalar(kind: Any, record: Any, name: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        _require(record in kind.__members__, name, f"one of {', '.join(kind.__members__)}", record)
        return kind[record]
    if kind is torch.dtype:
        found = getattr(torch, str(record), None)
        _require(isinstance(found, torch.dtype), name, "a torch dtype", record)
        return found
    if kind is float:
        number = isinstance(record, int | float) and not isinstance(record, bool)
        _require(number or record in ("nan", "inf", "-inf"), name, "a number", record)
        return float(record)
    _require(type(record) is kind, name, f"of type {getattr(kind, '__name__', kind)}", record)
    return record


def _require(fits: bool, name: str, wanted: object, came: object) -> None:
    if not fits:
        shown = f"of shape {tuple(wanted)}" if isinstance(wanted, list) else wanted
        raise RecordError(f"{name or 'the record'} is not {shown}: {str(came)[:80]}")


@functools.cache
def _stored(kind: Any) -> dict[str, Any]:
    """Return the types of the fields of a dataclass that are stored, by their names."""
    hints = typing.get_type_hints(kind, include_extras=True)
    stored = (f.name for f in dataclasses.fields(kind) if f.metadata.get("stored", True))
    return {name: hints[name] for name in stored}


def _joined(name: str, part: object) -> str:
    return f"{name}.{part}" if name else str(part)
