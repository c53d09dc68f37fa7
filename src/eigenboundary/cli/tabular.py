"""Samples with the names of their classes and features, from .npz and .csv files and pandas."""

from __future__ import annotations

import logging
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenboundary.runtime.errors import InvalidInputError, first_line

_log = logging.getLogger(__name__)

_ARRAYS = (("x", "y"), ("X", "y"), ("x_train", "y_train"), ("X_train", "y_train"))
_WANTED = {"class_names", "feature_names"}.union(*_ARRAYS)
_LABEL_COLUMNS = ("label", "target", "y", "class")
_SHOWN = 8


@dataclass(frozen=True)
class Samples:
    """What :func:`eigenboundary.analyze` takes as data, with the names that the source holds."""

    data: Any  # (x, y), Dataset or DataLoader
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()


def load_npz(path: Path, class_names: tuple[str, ...] = ()) -> Samples:
    """Read the arrays x and y (or X and y, x_train and y_train) of an .npz file.

    Arrays class_names and feature_names are read where the file holds them.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in stored if name in _WANTED}
            names = list(stored.keys())
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        reason = first_line(error)
        if "allow_pickle" in reason:
            archive = zipfile.is_zipfile(path)
            reason = "it holds Python objects" if archive else "it is no archive of arrays"
        wanted, because = "be a file that numpy.savez wrote", f"{str(path)!r} is not, or is damaged"
        raise InvalidInputError("data", wanted, because=f"{because} ({reason})") from None
    for x, y in _ARRAYS:
        if x in arrays and y in arrays:
            classes = class_names or tuple(map(str, arrays.get("class_names", ())))
            labels, classes = _numbered(arrays[y], classes)
            features = tuple(map(str, arrays.get("feature_names", ())))
            return Samples((arrays[x], labels), classes, features)
    wanted = "hold arrays x and y (or X and y, or x_train and y_train)"
    because = f"{str(path)!r} holds {', '.join(names) or 'none'}"
    raise InvalidInputError("data", wanted, because=because)


def load_csv(path: Path, class_names: tuple[str, ...] = ()) -> Samples:
    """Read features (n, d) and labels (n,) from a .csv file, with or without a header.

    The label is the column named label, target, y or class, or else the last one. Labels that are
    words become 0, 1, … in the order of ``class_names``, or else in their sorted order.
    """
    try:
        first = pd.read_csv(path, header=None, nrows=1, dtype=str, skipinitialspace=True)
        numbers = pd.to_numeric(first.iloc[0, :-1], errors="coerce").notna().all()
        table = pd.read_csv(path, header=None if numbers else 0, skipinitialspace=True)
    except (ValueError, OSError) as error:
        because = f"{str(path)!r} cannot be read as one ({first_line(error)})"
        wanted = "be a table of comma-separated values"
        raise InvalidInputError("data", wanted, because=because) from None
    if table.shape[1] < 2 or not len(table):
        wanted = "have rows of at least one feature and a label"
        because = f"{str(path)!r} has {len(table)} rows of {table.shape[1]} columns"
        raise InvalidInputError("data", wanted, because=because)
    columns = {str(column).strip().lower(): column for column in reversed(table.columns)}
    found = [columns[name] for name in _LABEL_COLUMNS if name in columns]
    label = found[0] if found else table.columns[-1]
    features = table.drop(columns=label)
    if str(features.columns[0]).startswith("Unnamed:"):
        _log.warning("the first column of %s has no name: taken for row numbers, left out", path)
        features = features.iloc[:, 1:]
    return _from_frame(features, table[label], class_names, repr(str(path)))


def from_object(data: Any, class_names: tuple[str, ...] = ()) -> Samples:
    """Wrap the data that the user's function returned, with the names in pandas objects."""
    if isinstance(data, tuple | list) and len(data) == 2:
        x, y = data
        if isinstance(x, pd.DataFrame):
            return _from_frame(x, pd.Series(y), class_names, "the DataFrame")
        if isinstance(y, pd.Series) or (isinstance(y, np.ndarray) and y.dtype.kind in "OUST"):
            y, class_names = _numbered(y, class_names)
            return Samples((x, y), class_names)
    return Samples(data)


def _from_frame(
    features: pd.DataFrame, labels: pd.Series[Any], class_names: tuple[str, ...], source: str
) -> Samples:
    words = [str(c) for c in features.columns if not pd.api.types.is_numeric_dtype(features[c])]
    if words:
        because = f"{source} has others in column {', '.join(words[:_SHOWN])}"
        raise InvalidInputError("data", "have numbers for features", because=because)
    if labels.isna().any():
        without = f"{int(labels.isna().sum())} rows without one in column {labels.name}"
        wanted = "have a label in every row"
        raise InvalidInputError("data", wanted, because=f"{source} has {without}")
    y, class_names = _numbered(labels, class_names)
    named = all(isinstance(column, str) for column in features.columns)
    feature_names = tuple(column.strip() for column in features.columns) if named else ()
    return Samples((features.to_numpy(dtype=np.float64), y), class_names, feature_names)


def _numbered(labels: Any, names: tuple[str, ...]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return words as the numbers of their names; the analysis checks labels that are numbers."""
    categories = getattr(labels.dtype, "categories", None)
    if categories is not None and not pd.api.types.is_numeric_dtype(categories):
        names = names or tuple(map(str, categories))
    values = np.asarray(labels)
    if values.dtype.kind == "f" and np.all(values == np.round(values)):
        return values.astype(np.int64), names
    if values.dtype.kind not in "OUST":
        return values, names
    words = values.astype(str).tolist()
    if not names:
        names = tuple(sorted(set(words)))
        shown = ", ".join(f"{name} = {i}" for i, name in enumerate(names[:_SHOWN]))
        more = f", … ({len(names)} in all)" if len(names) > _SHOWN else ""
        _log.warning("labels are words and were numbered in sorted order: %s%s", shown, more)
    if unknown := sorted(set(words) - set(names)):
        because = f"it has {', '.join(map(repr, unknown[:_SHOWN]))}"
        wanted = f"have only the labels {', '.join(names[:_SHOWN])}"
        raise InvalidInputError("data", wanted, because=because)
    order = {name: i for i, name in enumerate(names)}
    return np.array([order[word] for word in words], dtype=np.int64), names
