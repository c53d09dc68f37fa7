"""Labelled data sets by name, split for training by a seed.

The synthetic ones have the parameters of arXiv:2306.07104.

Examples
--------
>>> import eigenboundary as eb
>>> split = eb.datasets.load("checkerboard", seed=1, version="noisy")
>>> [len(y) for _, y in (split.train, split.validation, split.test)]
[200, 80, 120]
>>> split.class_names
('right', 'left')
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from eigenboundary.experiments.datasets.images import cifar10, mnist
from eigenboundary.experiments.datasets.split import DataSplit
from eigenboundary.experiments.datasets.synthetic import (
    checkerboard,
    circles,
    gaussian_blobs,
    half_moons,
    hierarchical,
    toy_1d,
)
from eigenboundary.experiments.datasets.tabular import digits, iris
from eigenboundary.runtime.arguments import check_choice
from eigenboundary.runtime.errors import InvalidInputError

_DRAWN = (toy_1d, gaussian_blobs, circles, half_moons, hierarchical, checkerboard)
DATASETS: dict[str, Callable[..., DataSplit]] = {
    function.__name__: function for function in (*_DRAWN, iris, digits, mnist, cifar10)
}
__all__ = ["DATASETS", "DataSplit", "check_options", "load", *DATASETS]  # noqa: PLE0604


def load(name: str, *, seed: int = 0, **options: object) -> DataSplit:
    """Load a data set by its name.

    Parameters
    ----------
    name : str
        "toy_1d", "gaussian_blobs", "circles", "half_moons", "hierarchical", "checkerboard",
        "iris", "digits", "mnist" or "cifar10".
    seed : int
        Seed of the split, and of samples that are drawn.
    **options
        Options of the function of that name.

    Returns
    -------
    DataSplit

    Raises
    ------
    InvalidInputError
        If there is no such data set, it has no such option, or the option has no such value.

    Examples
    --------
    >>> [len(y) for _, y in (load("iris").train, load("iris").validation, load("iris").test)]
    [75, 30, 45]
    """
    check_choice(name, "name", tuple(DATASETS))
    check_options(name, options)
    return DATASETS[name](seed=seed, **options)


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raise an error for options that a data set does not take."""
    known = [option for option in inspect.signature(DATASETS[name]).parameters if option != "seed"]
    unknown = [option for option in options if option not in known]
    if unknown:
        wanted = f"be ones that data set {name!r} takes ({', '.join(known) or 'none'})"
        raise InvalidInputError("options", wanted, ", ".join(unknown))
