"""Checks of what displays accept."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eigenboundary.runtime.arguments import as_array, check_integer, finite_array
from eigenboundary.runtime.errors import InvalidInputError

Array = NDArray[np.float64]
Part = TypeVar("Part")


def check_alignment(value: Any, name: str = "alignment") -> Array:
    """Return alignments, shape (n, k), none beyond ±1 but for rounding."""
    array = finite_array(value, name, ndim=2)
    if array.size == 0 or np.abs(array).max() > 1.001:
        largest = f"up to {np.abs(array).max():.3g}" if array.size else f"shape {array.shape}"
        wanted = "have at least one sample and eigenvector and entries in [-1, 1]"
        raise InvalidInputError(name, wanted, largest)
    return array


def check_eigenvalues(value: ArrayLike | None, k: int) -> list[float | None]:
    """Return k eigenvalues, or k times None where none are given."""
    if value is None:
        return [None] * k
    array = finite_array(value, "eigenvalues", ndim=1)
    check_count(array, "eigenvalues", k, "an eigenvector")
    return [float(eigenvalue) for eigenvalue in array]


def check_count(values: Sized, name: str, n: int, of: str) -> None:
    """Check the number of values; ``of`` says what each of them belongs to."""
    if len(values) != n:
        raise InvalidInputError(name, f"be {n}, one {of}", f"{len(values)}")


def check_flat_inputs(value: Any) -> Array:
    """Return inputs of two features, shape (n, 2)."""
    array = finite_array(value, "inputs", ndim=2)
    if array.shape[1] != 2:
        wanted = "have two features to be drawn in a plane"
        raise InvalidInputError("inputs", wanted, f"{array.shape[1]}")
    return array


def check_labels(value: Any, n: int, name: str = "labels") -> NDArray[np.int64]:
    """Return the class labels of n samples."""
    array = as_array(value)
    if array.shape != (n,) or array.dtype.kind not in "iu" or (array < 0).any():
        came = f"shape {array.shape} of {array.dtype}"
        raise InvalidInputError(name, f"be {n} integers of at least 0, one a sample", came)
    return array.astype(np.int64)


def names_of_classes(names: Sequence[str] | None, n_classes: int) -> list[str]:
    """Return the names given, or ``class 0``, ``class 1``, ..."""
    if names is None:
        return [f"class {c}" for c in range(n_classes)]
    if len(names) < n_classes:
        wanted = f"have a name for each of {n_classes} classes"
        raise InvalidInputError("class_names", wanted, f"{len(names)}")
    return [str(name) for name in names]


def eigenvectors_shown(wanted: int | None, k: int, default: int = 5) -> int:
    """Return how many of k eigenvectors to draw."""
    if wanted is None:
        return min(k, default)
    check_integer(wanted, "n_eigenvectors")
    if wanted > k:
        most = f"be at most k = {k}, the number computed"
        raise InvalidInputError("n_eigenvectors", most, f"{wanted}")
    return wanted


def check_computed(part: Part | None, what: str, call: str) -> Part:
    """Return a part of an analysis, or say which call computes it."""
    if part is None:
        raise InvalidInputError("analysis", f"have {what} ({call})", "one without")
    return part


def evenly_spaced(n: int, most: int) -> NDArray[np.int64]:
    """Return all of n indices, or as many evenly spaced ones as are drawn at most."""
    return np.unique(np.linspace(0, max(n - 1, 0), min(n, most)).round().astype(int))
