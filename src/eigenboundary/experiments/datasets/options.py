"""Checks of options that several data sets share."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any

from eigenboundary.runtime.arguments import check_integer
from eigenboundary.runtime.errors import InvalidInputError

_MOST_SAMPLES = 10_000_000
_MOST_NOISE = 1e6
#: The fewest samples of a class that leave one for each part of a split.
FEWEST = 4


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_noise(noise: Any) -> None:
    real = isinstance(noise, numbers.Real) and not isinstance(noise, bool)
    if not real or not 0 <= float(noise) < math.inf:
        raise InvalidInputError("noise", "be a finite number of at least 0", repr(noise))
    if noise > _MOST_NOISE:
        raise InvalidInputError("noise", f"be at most {_MOST_NOISE:,.0f}", repr(noise))


def check_samples(samples: Any, blobs: int) -> None:
    if not _is_whole(samples) or samples < FEWEST * blobs:
        wanted = f"be an integer of at least {FEWEST * blobs}"
        raise InvalidInputError("samples", wanted, repr(samples))
    if samples > _MOST_SAMPLES:
        raise InvalidInputError("samples", f"be at most {_MOST_SAMPLES:,}", repr(samples))


def check_per_class(per_class: Any) -> None:
    check_integer(per_class, "per_class", optional=True)
    if per_class is not None and per_class < FEWEST:
        wanted = f"be at least {FEWEST}, for a split in three"
        raise InvalidInputError("per_class", wanted, repr(per_class))


def check_labels(classes: Any, noun: str) -> tuple[int, ...]:
    """Return at least two different labels from 0 to 9, as plain integers."""
    labels = tuple(classes) if isinstance(classes, Iterable) else ()
    known = all(_is_whole(label) and 0 <= label <= 9 for label in labels)
    if len(labels) < 2 or not known or len(set(labels)) < len(labels):
        came = " ".join(repr(classes).split())  # an array's text has several lines
        raise InvalidInputError("classes", f"be at least two different {noun} from 0 to 9", came)
    return tuple(int(label) for label in labels)
