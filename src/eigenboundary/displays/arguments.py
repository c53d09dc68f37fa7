"""What displays accept, and the lines that several of them draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigenboundary.runtime.arguments import as_array, check_positive_integer
from eigenboundary.runtime.errors import InvalidInputError

Array = NDArray[np.float64]


def numbers(value: Any, name: str, *, ndim: int = 1) -> Array:
    """A finite array of floats.

    Raises
    ------
    InvalidInputError
        If it has another number of dimensions, or numbers are missing.
    """
    array = as_array(value, np.float64)
    if array.ndim != ndim:
        raise InvalidInputError(
            name, f"be an array of {ndim} dimension{'s'[: ndim > 1]}", f"shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise InvalidInputError(
            name, "be finite", f"{int((~np.isfinite(array)).sum())} entries that are not"
        )
    return array


def check_alignment(value: Any, name: str = "alignment") -> Array:
    """Alignments, shape (n, k), none beyond ±1 but for rounding."""
    array = numbers(value, name, ndim=2)
    if array.size == 0 or np.abs(array).max() > 1.001:
        largest = f"up to {np.abs(array).max():.3g}" if array.size else f"shape {array.shape}"
        raise InvalidInputError(
            name,
            "have at least one sample and eigenvector and entries in [-1, 1]",
            f"{largest}",
        )
    return array


def check_labels(value: Any, n: int, name: str = "labels") -> NDArray[np.int64]:
    """Class labels of n samples."""
    array = as_array(value)
    if array.shape != (n,) or array.dtype.kind not in "iu" or (array < 0).any():
        raise InvalidInputError(
            name,
            f"be {n} integers of at least 0, one a sample",
            f"shape {array.shape} of {array.dtype}",
        )
    return array.astype(np.int64)


def names_of_classes(names: Sequence[str] | None, n_classes: int) -> list[str]:
    """The names given, or ``class 0``, ``class 1``, ..."""
    if names is None:
        return [f"class {c}" for c in range(n_classes)]
    if len(names) < n_classes:
        raise InvalidInputError(
            "class_names", f"have a name for each of {n_classes} classes", f"{len(names)}"
        )
    return [str(name) for name in names]


def eigenvectors_shown(wanted: int | None, k: int, default: int = 5) -> int:
    """How many of k eigenvectors to draw."""
    check_positive_integer(wanted, "n_eigenvectors", optional=True)
    if wanted is not None and wanted > k:
        raise InvalidInputError(
            "n_eigenvectors", f"be at most k = {k}, the number computed", f"{wanted}"
        )
    return min(k, default) if wanted is None else wanted


def class_margins(outputs: NDArray[Any]) -> list[Array]:
    """Of each class predicted somewhere but not everywhere: its output above the others' best."""
    values = np.nan_to_num(outputs.astype(np.float64))
    margins = []
    for label in range(values.shape[-1]):
        margin = values[..., label] - np.delete(values, label, axis=-1).max(-1)
        if margin.min() < 0 < margin.max():
            margins.append(margin)
    # With two classes both lines are the same one.
    return margins[:1] if len(margins) == 2 else margins
