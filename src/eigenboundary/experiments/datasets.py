"""Small labelled data sets, split for training by a seed. None of them needs a download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_iris
from torch import Tensor

from eigenboundary import checks
from eigenboundary.errors import InvalidInputError

__all__ = ["DATASETS", "DataSplit", "digits", "gaussian_blobs", "iris", "load"]

Pair = tuple[Tensor, Tensor]

_TRAIN, _VALIDATION = 0.5, 0.2
_BLOB_MEANS = ((2.0, -1.0), (-2.0, 0.0), (0.0, 2.0))
_BLOB_DEVIATIONS = ((0.5, 0.5), (0.5, 1.0), (0.5, 0.5))


@dataclass(frozen=True)
class DataSplit:
    """A data set in three parts, each a pair of inputs (n, ...) and int64 labels (n,).

    Attributes
    ----------
    train, validation, test : (Tensor, Tensor)
        50, 20 and 30 % of each class, in random order.
    class_names : tuple of str
    """

    train: Pair
    validation: Pair
    test: Pair
    class_names: tuple[str, ...]


def gaussian_blobs(seed: int = 0) -> DataSplit:
    """Three Gaussians in the plane, 100 samples each: the paper's `gauss` data.

    Examples
    --------
    >>> x, y = gaussian_blobs().train
    >>> x.shape, y.bincount()
    (torch.Size([150, 2]), tensor([50, 50, 50]))
    """
    checks.check_seed(seed)
    rng = np.random.default_rng(seed)
    x = np.concatenate(
        [rng.normal(m, d, (100, 2)) for m, d in zip(_BLOB_MEANS, _BLOB_DEVIATIONS, strict=True)]
    )
    return _split(x, np.repeat(np.arange(3), 100), rng, ("lower right", "left", "top"))


def iris(seed: int = 0) -> DataSplit:
    """Fisher's irises: four measures of 150 flowers, standardised over the training part.

    Examples
    --------
    >>> iris().class_names
    ('setosa', 'versicolor', 'virginica')
    """
    checks.check_seed(seed)
    bunch = load_iris()
    rng = np.random.default_rng(seed)
    split = _split(bunch.data, bunch.target, rng, tuple(map(str, bunch.target_names)))
    mean, deviation = split.train[0].mean(0), split.train[0].std(0)
    train, validation, test = (
        ((x - mean) / deviation, y) for x, y in (split.train, split.validation, split.test)
    )
    return DataSplit(train, validation, test, split.class_names)


def digits(seed: int = 0, classes: tuple[int, ...] = (0, 1, 7)) -> DataSplit:
    """Handwritten digits of 8×8 pixels in [0, 1], relabelled 0, 1, … in the order of ``classes``.

    Examples
    --------
    >>> split = digits()
    >>> split.train[0].shape, split.class_names
    (torch.Size([270, 1, 8, 8]), ('0', '1', '7'))
    """
    checks.check_seed(seed)
    known = len(set(classes)) == len(classes) and set(classes) <= set(range(10))
    if len(classes) < 2 or not known:
        raise InvalidInputError(
            f"classes must be at least two different digits from 0 to 9; got {classes!r}."
        )
    bunch = load_digits()
    kept = np.isin(bunch.target, classes)
    position = {digit: label for label, digit in enumerate(classes)}
    labels = np.array([position[int(digit)] for digit in bunch.target[kept]])
    images = bunch.images[kept][:, None] / 16.0
    return _split(images, labels, np.random.default_rng(seed), tuple(map(str, classes)))


DATASETS: dict[str, Callable[..., DataSplit]] = {
    "gaussian_blobs": gaussian_blobs,
    "iris": iris,
    "digits": digits,
}


def load(name: str, seed: int = 0, **options: object) -> DataSplit:
    """A data set by its name.

    Parameters
    ----------
    name : {"gaussian_blobs", "iris", "digits"}
    seed : int
        Of the split, and of the samples where these are drawn.
    **options
        Passed on; "digits" takes ``classes``.

    Returns
    -------
    DataSplit

    Raises
    ------
    InvalidInputError
        If there is no such data set, or it has no such option.

    Examples
    --------
    >>> [len(y) for _, y in (load("iris").train, load("iris").validation, load("iris").test)]
    [75, 30, 45]
    """
    checks.check_choice(name, "name", tuple(DATASETS))
    try:
        return DATASETS[name](seed, **options)
    except TypeError as error:
        raise InvalidInputError(
            f"options must be ones that data set {name!r} takes; got {', '.join(options)} "
            f"({error})."
        ) from None


def _split(
    x: NDArray[np.float64],
    y: NDArray[np.int64],
    rng: np.random.Generator,
    class_names: tuple[str, ...],
) -> DataSplit:
    parts: tuple[list[NDArray[np.int64]], ...] = ([], [], [])
    for label in range(len(class_names)):
        rows = rng.permutation(np.flatnonzero(y == label))
        cuts = np.cumsum([round(_TRAIN * len(rows)), round(_VALIDATION * len(rows))])
        for part, piece in zip(parts, np.split(rows, cuts), strict=True):
            part.append(piece)
    orders = [rng.permutation(np.concatenate(part)) for part in parts]
    train, validation, test = (
        (torch.tensor(x[order], dtype=torch.float32), torch.tensor(y[order], dtype=torch.int64))
        for order in orders
    )
    return DataSplit(train, validation, test, class_names)
