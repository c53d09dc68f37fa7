"""Samples from .npz and .csv files."""

from __future__ import annotations

import logging
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eigenboundary.runtime.errors import InvalidInputError

_log = logging.getLogger(__name__)

_NAMES = (("x", "y"), ("X", "y"), ("x_train", "y_train"), ("X_train", "y_train"))
_LABEL_COLUMNS = ("label", "target", "y", "class")
_SHOWN = 8

Samples = tuple[NDArray[Any], NDArray[Any]]


def load_npz(path: Path) -> Samples:
    """The arrays x and y (or X and y, x_train and y_train) of an .npz file.

    Raises
    ------
    InvalidInputError
        If the file is damaged or holds other arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = list(stored.keys())
            for x_name, y_name in _NAMES:
                if x_name in names and y_name in names:
                    return np.asarray(stored[x_name]), _as_labels(np.asarray(stored[y_name]))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if "allow_pickle" in reason:
            archive = zipfile.is_zipfile(path)
            reason = "it holds Python objects" if archive else "it is no archive of arrays"
        raise InvalidInputError(
            "--data",
            "be a file that numpy.savez wrote",
            because=f"{str(path)!r} is not, or is damaged ({reason})",
        ) from None
    raise InvalidInputError(
        "--data",
        "hold arrays x and y (or X and y, or x_train and y_train)",
        because=f"{str(path)!r} holds {', '.join(names) or 'none'}",
    )


def load_csv(path: Path) -> Samples:
    """Features (n, d) and labels (n,) of a .csv file, with or without a header.

    The label is the column named label, target, y or class, or else the last one. Labels that are
    words become 0, 1, … in their sorted order.

    Raises
    ------
    InvalidInputError
        If the file is no table of numbers with a label.
    """
    table = _read_csv(path)
    if table.shape[1] < 2 or not len(table):
        raise InvalidInputError(
            "--data",
            "have rows of at least one feature and a label",
            because=f"{str(path)!r} has {len(table)} rows of {table.shape[1]} columns",
        )
    label = _label_column(table)
    features = table.drop(columns=label)
    unnamed = [c for c in features.columns[:1] if str(c).startswith("Unnamed:")]
    if unnamed:
        _log.warning("the first column of %s has no name: taken for row numbers, left out", path)
        features = features.drop(columns=unnamed)
    words = [str(c) for c in features.columns if not pd.api.types.is_numeric_dtype(features[c])]
    if words:
        raise InvalidInputError(
            "--data",
            "have numbers for features",
            because=f"{str(path)!r} has others in column {', '.join(words[:_SHOWN])}",
        )
    labels = table[label]
    if labels.isna().any():
        raise InvalidInputError(
            "--data",
            "have a label in every row",
            because=f"{str(path)!r} has {int(labels.isna().sum())} rows without one in column "
            f"{label}",
        )
    return features.to_numpy(dtype=np.float64), _as_labels(labels.to_numpy())


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        first = pd.read_csv(path, header=None, nrows=1, dtype=str, skipinitialspace=True)
        header = 0 if not all(_is_number(cell) for cell in first.iloc[0, :-1]) else None
        return pd.read_csv(path, header=header, skipinitialspace=True)
    except (ValueError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InvalidInputError(
            "--data",
            "be a table of comma-separated values",
            because=f"{str(path)!r} cannot be read as one ({reason})",
        ) from None


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return not pd.isna(cell)


def _label_column(table: pd.DataFrame) -> Any:
    for name in _LABEL_COLUMNS:
        for column in table.columns:
            if str(column).strip().lower() == name:
                return column
    return table.columns[-1]


def _as_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Words numbered in sorted order; numbers as they are, checked by the analysis."""
    if labels.dtype.kind in "OUST":
        words, numbered = np.unique(labels.astype(str), return_inverse=True)
        shown = ", ".join(f"{word} = {i}" for i, word in enumerate(words[:_SHOWN]))
        more = f", … ({len(words)} in all)" if len(words) > _SHOWN else ""
        _log.warning("labels are words and were numbered in sorted order: %s%s", shown, more)
        return numbered.astype(np.int64)
    if labels.dtype.kind == "f" and np.all(labels == np.round(labels)):
        return labels.astype(np.int64)
    return labels
