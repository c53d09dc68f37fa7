"""Checks of plain arguments, whose errors name the argument and the value that came."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.runtime.errors import InvalidInputError


def check_integer(
    value: Any,
    name: str,
    at_least: int = 1,
    at_most: int | None = None,
    *,
    optional: bool = False,
) -> None:
    """Check that the value is an integer from ``at_least`` to ``at_most``, or None if optional.

    Examples
    --------
    >>> check_integer(1, "resolution", 2)
    Traceback (most recent call last):
    eigenboundary.runtime.errors.InvalidInputError: resolution must be an integer of at least 2; ...
    """
    if optional and value is None:
        return
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < at_least or (at_most is not None and value > at_most):
        bounds = f"of at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
        raise InvalidInputError(name, f"be an integer {bounds}", repr(value))


def check_number(
    value: Any,
    name: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    optional: bool = False,
) -> None:
    """Check that the value is a finite real number within bounds, or None if optional.

    Examples
    --------
    >>> check_number(1.5, "momentum", at_least=0, below=1)
    Traceback (most recent call last):
    eigenboundary.runtime.errors.InvalidInputError: momentum must be a number of at least 0 and ...
    """
    if optional and value is None:
        return
    bounds = [
        (words, bound, holds)
        for words, bound, holds in (
            ("above", above, operator.gt),
            ("of at least", at_least, operator.ge),
            ("below", below, operator.lt),
            ("of at most", at_most, operator.le),
        )
        if bound is not None
    ]
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (real and -inf < value < inf) or not all(
        holds(value, bound) for _, bound, holds in bounds
    ):
        wanted = " and ".join(f"{words} {bound:g}" for words, bound, _ in bounds)
        if above is not None and below is not None:
            wanted = f"between {above:g} and {below:g}"
        wanted = f"a number {wanted}" if bounds else "a finite number"
        raise InvalidInputError(name, f"be {wanted}", repr(value))


def check_seed(seed: Any) -> None:
    whole = isinstance(seed, numbers.Integral) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**63:
        raise InvalidInputError("seed", "be an integer from 0 to 2**63 - 1", repr(seed))


def check_choice(value: Any, name: str, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise InvalidInputError(name, f"be one of {known}", repr(value))


def check_flag(value: Any, name: str) -> None:
    if not isinstance(value, bool | np.bool_):
        raise InvalidInputError(name, "be True or False", repr(value))


def check_instance(value: Any, name: str, kind: type, *, hint: str = "") -> None:
    """Check that the value is an instance of a class; the hint follows its name in the message."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise InvalidInputError(name, f"be {article} {kind.__name__}{hint}", type(value).__name__)


def check_shape(array: Any, name: str, shape: Sequence[int | str], hint: str = "") -> None:
    """Check the shape of an array or tensor; a letter stands for any positive length."""
    fits = len(array.shape) == len(shape) and all(
        length > 0 if isinstance(wanted, str) else length == wanted
        for length, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = str(tuple(shape)).replace("'", "")
        raise InvalidInputError(name, f"have shape {wanted}{hint}", f"{tuple(array.shape)}")


def check_progress(value: Any) -> None:
    if value is not None and not callable(value):
        raise InvalidInputError("progress", "be a function of (stage, done, total)", repr(value))


def check_tolerance(value: Any, name: str = "tolerance") -> None:
    check_number(value, name, above=0, below=1, optional=True)


def as_array(value: Any, dtype: Any = None) -> NDArray[Any]:
    """Return array-like values as an array; tensors may be on a GPU or require gradients."""
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=dtype)


def finite_columns(value: Any, name: str, size: int, wanted: str) -> Tensor:
    """Return array-like values as finite columns (size, k); read-only arrays are copied."""
    try:
        found = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError):
        raise InvalidInputError(name, wanted, type(value).__name__) from None
    if found.ndim != 2 or found.shape[0] != size or not found.isfinite().all():
        raise InvalidInputError(name, wanted, str(tuple(found.shape)))
    return found


def finite_array(value: Any, name: str, *, ndim: int | None = None) -> NDArray[np.float64]:
    """Return finite array-like values as float64, of ``ndim`` dimensions if given."""
    try:
        array = as_array(value, np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError(name, "hold numbers", repr(value)[:60]) from None
    if ndim is not None and array.ndim != ndim:
        dimensions = f"{ndim} dimension{'s'[: ndim > 1]}"
        raise InvalidInputError(name, f"be an array of {dimensions}", f"shape {array.shape}")
    missing = int((~np.isfinite(array)).sum())
    if missing:
        raise InvalidInputError(name, "be finite", f"{missing} entries that are not")
    return array
