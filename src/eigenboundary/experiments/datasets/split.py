"""A labelled data set in three parts, each class divided in the same shares by a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eigenboundary.runtime.errors import InvalidInputError

Pair = tuple[Tensor, Tensor]
Labels = NDArray[np.int64]

_TRAIN, _VALIDATION = 0.5, 0.2
#: The fewest samples of a class that leave one for each part of a split.
FEWEST = 4


@dataclass(frozen=True)
class DataSplit:
    """A data set in three parts, each a pair of float32 inputs (n, ...) and int64 labels (n,).

    Attributes
    ----------
    train, validation, test : (Tensor, Tensor)
        50, 20 and 30 % of each class, in random order, unless the data set says otherwise.
    class_names : tuple of str
    """

    train: Pair
    validation: Pair
    test: Pair
    class_names: tuple[str, ...]

    def with_inputs(self, transform: Callable[[Tensor], Tensor]) -> DataSplit:
        """Return the split with every part's inputs transformed.

        Examples
        --------
        >>> pair = torch.ones(2, 1), torch.tensor([0, 1])
        >>> DataSplit(pair, pair, pair, ("a", "b")).with_inputs(lambda x: 2 * x).test[0]
        tensor([[2.],
                [2.]])
        """
        train, validation, test = (
            (transform(x), y) for x, y in (self.train, self.validation, self.test)
        )
        return DataSplit(train, validation, test, self.class_names)


def as_pair(x: NDArray[Any], y: Labels) -> Pair:
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.int64)


def split_by_class(
    x: NDArray[Any],
    y: Labels,
    rng: np.random.Generator,
    class_names: tuple[str, ...],
    shares: tuple[float, float] = (_TRAIN, _VALIDATION),
) -> DataSplit:
    """Divide each class by ``shares``: training, validation, and what is left for the test.

    Examples
    --------
    >>> x, y = np.arange(20.0)[:, None], np.repeat([0, 1], 10)
    >>> split = split_by_class(x, y, np.random.default_rng(0), ("low", "high"))
    >>> [part[1].bincount().tolist() for part in (split.train, split.validation, split.test)]
    [[5, 5], [2, 2], [3, 3]]
    """
    parts: tuple[list[Labels], ...] = ([], [], [])
    for label in range(len(class_names)):
        rows = rng.permutation(np.flatnonzero(y == label))
        cuts = np.cumsum([round(share * len(rows)) for share in shares])
        for part, piece in zip(parts, np.split(rows, cuts), strict=True):
            part.append(piece)
    orders = [rng.permutation(np.concatenate(part)) for part in parts]
    train, validation, test = (as_pair(x[order], y[order]) for order in orders)
    return DataSplit(train, validation, test, class_names)


def check_labels(classes: Any, noun: str) -> tuple[int, ...]:
    """Return at least two different labels from 0 to 9, as plain integers."""
    labels = tuple(classes) if isinstance(classes, Iterable) else ()
    whole = all(isinstance(label, int | np.integer) for label in labels)
    known = whole and not any(isinstance(label, bool) or not 0 <= label <= 9 for label in labels)
    if len(labels) < 2 or not known or len(set(labels)) < len(labels):
        came = " ".join(repr(classes).split())  # an array's text has several lines
        raise InvalidInputError("classes", f"be at least two different {noun} from 0 to 9", came)
    return tuple(int(label) for label in labels)


def first_of_each(
    x: NDArray[Any], y: Labels, classes: tuple[int, ...], most: int | None = None
) -> tuple[NDArray[Any], Labels]:
    """Return the first samples of each class, in their order, labelled by the class' position.

    Examples
    --------
    >>> x, y = first_of_each(np.arange(5), np.array([7, 3, 7, 1, 7]), (3, 7), most=2)
    >>> x.tolist(), y.tolist()
    ([0, 1, 2], [1, 0, 1])
    """
    position = np.full(len(y), -1, np.int64)
    for index, label in enumerate(classes):
        position[np.flatnonzero(y == label)[:most]] = index
    kept = np.flatnonzero(position >= 0)
    return x[kept], position[kept]
