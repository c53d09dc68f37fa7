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

from eigenboundary.runtime.errors import InvalidInputError

_log = logging.getLogger(__name__)

_ARRAYS = (("x", "y"), ("X", "y"), ("x_train", "y_train"), ("X_train", "y_train"))
_LABEL_COLUMNS = ("label", "target", "y", "class")
_SHOWN = 8


@dataclass(frozen=True)
class Samples:
    """What :func:`eigenboundary.analyze` takes as data, and the names that came with it.

    Attributes
    ----------
    data : (x, y), Dataset or DataLoader
    class_names, feature_names : tuple of str
        Empty where the source has none.
    """

    data: Any
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()


def load_npz(path: Path, class_names: tuple[str, ...] = ()) -> Samples:
    """Read the arrays x and y (or X and y, x_train and y_train) of an .npz file.

    Arrays class_names and feature_names are read where the file holds them.

    Raises
    ------
    InvalidInputError
        If the file is damaged or holds other arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = list(stored.keys())
            for x_name, y_name in _ARRAYS:
                if x_name in names and y_name in names:
                    classes, features = (
                        tuple(map(str, stored[name])) if name in names else ()
                        for name in ("class_names", "feature_names")
                    )
                    x, y = np.asarray(stored[x_name]), np.asarray(stored[y_name])
                    y, classes = _numbered(y, class_names or classes)
                    return Samples((x, y), classes, features)
    except InvalidInputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        reason = _first_line(error)
        if "allow_pickle" in reason:
            archive = zipfile.is_zipfile(path)
            reason = "it holds Python objects" if archive else "it is no archive of arrays"
        raise InvalidInputError(
            "data",
            "be a file that numpy.savez wrote",
            because=f"{str(path)!r} is not, or is damaged ({reason})",
        ) from None
    raise InvalidInputError(
        "data",
        "hold arrays x and y (or X and y, or x_train and y_train)",
        because=f"{str(path)!r} holds {', '.join(names) or 'none'}",
    )


def load_csv(path: Path, class_names: tuple[str, ...] = ()) -> Samples:
    """Read features (n, d) and labels (n,) from a .csv file, with or without a header.

    The label is the column named label, target, y or class, or else the last one. Labels that are
    words become 0, 1, … in the order of ``class_names``, or else in their sorted order.

    Raises
    ------
    InvalidInputError
        If the file is no table of numbers with a label.
    """
    table = _read_csv(path)
    if table.shape[1] < 2 or not len(table):
        raise InvalidInputError(
            "data",
            "have rows of at least one feature and a label",
            because=f"{str(path)!r} has {len(table)} rows of {table.shape[1]} columns",
        )
    known = {str(column).strip().lower(): column for column in reversed(table.columns)}
    found = [known[name] for name in _LABEL_COLUMNS if name in known]
    label = found[0] if found else table.columns[-1]
    features = table.drop(columns=label)
    unnamed = [c for c in features.columns[:1] if str(c).startswith("Unnamed:")]
    if unnamed:
        _log.warning("the first column of %s has no name: taken for row numbers, left out", path)
        features = features.drop(columns=unnamed)
    return _from_frame(features, table[label], class_names, repr(str(path)))


def from_object(data: Any, class_names: tuple[str, ...] = ()) -> Samples:
    """Wrap the data that a function of the user returned; names are taken from pandas objects."""
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
        raise InvalidInputError(
            "data",
            "have numbers for features",
            because=f"{source} has others in column {', '.join(words[:_SHOWN])}",
        )
    if labels.isna().any():
        raise InvalidInputError(
            "data",
            "have a label in every row",
            because=f"{source} has {int(labels.isna().sum())} rows without one in column "
            f"{labels.name}",
        )
    y, class_names = _numbered(labels, class_names)
    named = all(isinstance(column, str) for column in features.columns)
    feature_names = tuple(column.strip() for column in features.columns) if named else ()
    return Samples((features.to_numpy(dtype=np.float64), y), class_names, feature_names)


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        first = pd.read_csv(path, header=None, nrows=1, dtype=str, skipinitialspace=True)
        header = 0 if not all(_is_number(cell) for cell in first.iloc[0, :-1]) else None
        return pd.read_csv(path, header=header, skipinitialspace=True)
    except (ValueError, OSError) as error:
        raise InvalidInputError(
            "data",
            "be a table of comma-separated values",
            because=f"{str(path)!r} cannot be read as one ({_first_line(error)})",
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return not pd.isna(cell)


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
    words = values.astype(str)
    if not names:
        names = tuple(map(str, np.unique(words)))
        shown = ", ".join(f"{name} = {i}" for i, name in enumerate(names[:_SHOWN]))
        more = f", … ({len(names)} in all)" if len(names) > _SHOWN else ""
        _log.warning("labels are words and were numbered in sorted order: %s%s", shown, more)
    order = {name: i for i, name in enumerate(names)}
    unknown = sorted(set(words.tolist()) - set(order))
    if unknown:
        raise InvalidInputError(
            "data",
            f"have only the labels {', '.join(names[:_SHOWN])}",
            because=f"it has {', '.join(map(repr, unknown[:_SHOWN]))}",
        )
    return np.array([order[word] for word in words], dtype=np.int64), names
