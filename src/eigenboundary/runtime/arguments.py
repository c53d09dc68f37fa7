"""Checks of plain arguments, each with one sentence for what came."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.runtime.errors import InvalidInputError


def check_positive_integer(value: Any, name: str, *, optional: bool = False) -> None:
    if optional and value is None:
        return
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < 1:
        raise InvalidInputError(name, "be an integer of at least 1", repr(value))


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


def check_progress(value: Any) -> None:
    if value is not None and not callable(value):
        raise InvalidInputError("progress", "be a function of (stage, done, total)", repr(value))


def check_tolerance(value: Any, name: str = "tolerance") -> None:
    if value is None:
        return
    if not isinstance(value, numbers.Real) or not 0 < float(value) < 1:
        raise InvalidInputError(name, "be a number between 0 and 1", repr(value))


def as_array(value: Any, dtype: Any = None) -> NDArray[Any]:
    """Array-like values; tensors may be on a GPU, and may require gradients."""
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=dtype)
