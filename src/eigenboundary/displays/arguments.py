"""Checks of what displays accept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eigenboundary.runtime.arguments import as_array, check_integer
from eigenboundary.runtime.errors import InvalidInputError

Array = NDArray[np.float64]
Part = TypeVar("Part")


def numbers(value: Any, name: str, *, ndim: int = 1) -> Array:
    """Return a finite array of floats.

    Raises
    ------
    InvalidInputError
        If it has another number of dimensions, or entries that are not finite.
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
    """Return alignments, shape (n, k), none beyond ±1 but for rounding."""
    array = numbers(value, name, ndim=2)
    if array.size == 0 or np.abs(array).max() > 1.001:
        largest = f"up to {np.abs(array).max():.3g}" if array.size else f"shape {array.shape}"
        raise InvalidInputError(
            name, "have at least one sample and eigenvector and entries in [-1, 1]", largest
        )
    return array


def check_eigenvalues(value: ArrayLike | None, k: int) -> list[float | None]:
    """Return k eigenvalues, or k times None where none are given."""
    if value is None:
        return [None] * k
    array = numbers(value, "eigenvalues")
    if len(array) != k:
        raise InvalidInputError("eigenvalues", f"be {k}, one an eigenvector", f"{len(array)}")
    return [float(eigenvalue) for eigenvalue in array]


def check_flat_inputs(value: Any) -> Array:
    """Return inputs of two features, shape (n, 2)."""
    array = numbers(value, "inputs", ndim=2)
    if array.shape[1] != 2:
        raise InvalidInputError(
            "inputs", "have two features to be drawn in a plane", f"{array.shape[1]}"
        )
    return array


def check_labels(value: Any, n: int, name: str = "labels") -> NDArray[np.int64]:
    """Return the class labels of n samples."""
    array = as_array(value)
    if array.shape != (n,) or array.dtype.kind not in "iu" or (array < 0).any():
        raise InvalidInputError(
            name,
            f"be {n} integers of at least 0, one a sample",
            f"shape {array.shape} of {array.dtype}",
        )
    return array.astype(np.int64)


def names_of_classes(names: Sequence[str] | None, n_classes: int) -> list[str]:
    """Return the names given, or ``class 0``, ``class 1``, ..."""
    if names is None:
        return [f"class {c}" for c in range(n_classes)]
    if len(names) < n_classes:
        raise InvalidInputError(
            "class_names", f"have a name for each of {n_classes} classes", f"{len(names)}"
        )
    return [str(name) for name in names]


def eigenvectors_shown(wanted: int | None, k: int, default: int = 5) -> int:
    """Return how many of k eigenvectors to draw."""
    check_integer(wanted, "n_eigenvectors", optional=True)
    if wanted is not None and wanted > k:
        raise InvalidInputError(
            "n_eigenvectors", f"be at most k = {k}, the number computed", f"{wanted}"
        )
    return min(k, default) if wanted is None else wanted


def check_computed(part: Part | None, what: str, call: str) -> Part:
    """Return a part of an analysis, or say which call computes it."""
    if part is None:
        raise InvalidInputError("analysis", f"have {what} ({call})", "one without")
    return part


def check_sections(sections: Part | None) -> Part:
    """Return the sections of an analysis, or say which calls compute them."""
    call = "analyze(..., margins=True) or analysis.find_sections()"
    return check_computed(sections, "sections", call)


def evenly_spaced(n: int, most: int) -> NDArray[np.int64]:
    """Return all of n indices, or as many evenly spaced ones as are drawn at most."""
    return np.unique(np.linspace(0, max(n - 1, 0), min(n, most)).round().astype(int))
