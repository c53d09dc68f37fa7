"""MNIST and CIFAR-10, read from a folder the user names or fetched from OpenML."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eigenboundary.experiments.datasets.image_files import (
    CIFAR_SHAPE,
    MNIST_PREFIX,
    Part,
    fetch,
    fetch_mnist,
    read_cifar,
    read_mnist,
)
from eigenboundary.experiments.datasets.split import (
    FEWEST,
    DataSplit,
    Labels,
    as_pair,
    check_labels,
    first_of_each,
    split_by_class,
)
from eigenboundary.runtime.arguments import check_choice, check_integer, check_seed
from eigenboundary.runtime.errors import InvalidInputError

_CIFAR_NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# Where the files have a test part, the rest is divided in the usual proportion: 50 to 20.
_SHARES_BESIDE_TEST = (5 / 7, 2 / 7)


def mnist(
    *,
    seed: int = 0,
    classes: Sequence[int] = (0, 1, 7),
    per_class: int | None = 300,
    directory: str | os.PathLike[str] | None = None,
    part: str = "test",
    scale: str = "unit",
) -> DataSplit:
    """Load the handwritten digits of MNIST, relabelled 0, 1, … in the order of ``classes``.

    By default these are the images of the paper: the first 300 zeros, ones and sevens of the test
    part, split anew. The paper leaves their pixels as they are: ``scale="raw"``.

    Parameters
    ----------
    seed : int
        Seed of the split.
    classes : sequence of int
    per_class : int or None
        Number of images of each class, the first in the file; None takes all.
    directory : path, optional
        The folder with the IDX files (``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``,
        or ``train-…``; each may be gzipped), or with ``MNIST/raw``, where torchvision puts them.
        None fetches `mnist_784` from OpenML.
    part : {"test", "train"}
        The part of MNIST, which is split in three.
    scale : {"unit", "raw"}
        Pixels from 0 to 1, or from 0 to 255.

    Returns
    -------
    DataSplit
        Inputs (n, 1, 28, 28).

    Raises
    ------
    InvalidInputError
        If an option cannot be used, the folder has no such files or broken ones, or there is
        neither a folder nor a network.
    """
    check_seed(seed)
    wanted = check_labels(classes, "digits")
    check_integer(per_class, "per_class", FEWEST, optional=True)
    check_choice(part, "part", tuple(MNIST_PREFIX))
    check_choice(scale, "scale", ("unit", "raw"))
    source = fetch_mnist(part) if directory is None else read_mnist(directory, part)
    images, labels = _chosen(source, wanted, per_class)
    rng = np.random.default_rng(seed)
    split = split_by_class(images[:, None], labels, rng, tuple(map(str, wanted)))
    return split.with_inputs(lambda x: x / 255) if scale == "unit" else split


def cifar10(
    *,
    seed: int = 0,
    classes: Sequence[int] = tuple(range(10)),
    per_class: int | None = None,
    directory: str | os.PathLike[str] | None = None,
) -> DataSplit:
    """Load the photographs of CIFAR-10, relabelled 0, 1, … in the order of ``classes``.

    The test part of the files is ``test``, in its own order; their training part is divided by 5
    to 2 into ``train`` and ``validation``. OpenML has one table of all images, which is split like
    the other data sets, 50, 20 and 30 %.

    Parameters
    ----------
    seed : int
        Seed of the split.
    classes : sequence of int
        From 0 to 9: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck.
    per_class : int or None
        Number of images of each class in the training part, the first in the files, and the most
        in the test part; None takes all.
    directory : path, optional
        The folder with the binary version (``data_batch_1.bin`` to ``data_batch_5.bin`` and
        ``test_batch.bin``), or with ``cifar-10-batches-bin``, or with one ``.npz`` file of the
        uint8 arrays x_train (n, 3, 32, 32), y_train, x_test and y_test, or that file. The Python
        version is refused: its files are pickles. None fetches `CIFAR_10` from OpenML.

    Returns
    -------
    DataSplit
        Inputs (n, 3, 32, 32) from 0 to 1.

    Raises
    ------
    InvalidInputError
        As :func:`mnist` does.
    """
    check_seed(seed)
    wanted = check_labels(classes, "labels")
    check_integer(per_class, "per_class", FEWEST, optional=True)
    names = tuple(_CIFAR_NAMES[label] for label in wanted)
    rng = np.random.default_rng(seed)
    if directory is None:
        everything = fetch("CIFAR_10", CIFAR_SHAPE, "the files of CIFAR-10")
        split = split_by_class(*_chosen(everything, wanted, per_class), rng, names)
    else:
        train, test = read_cifar(directory)
        chosen = _chosen(train, wanted, per_class)
        split = split_by_class(*chosen, rng, names, _SHARES_BESIDE_TEST)
        split = replace(split, test=as_pair(*first_of_each(*test, wanted, per_class)))
    return split.with_inputs(lambda x: x / 255)


def _chosen(
    source: Part, classes: tuple[int, ...], per_class: int | None
) -> tuple[NDArray[np.uint8], Labels]:
    """Return the first images of each class, of which there must be as many as are wanted."""
    for label in classes:
        held = int((source.labels == label).sum())
        if per_class is not None and held < per_class:
            wanted = f"be at most the {held} images there are of class {label}"
            raise InvalidInputError("per_class", wanted, repr(per_class))
        if held < FEWEST:
            wanted = f"be ones with at least {FEWEST} images"
            raise InvalidInputError("classes", wanted, f"{label}, which has {held}")
    return first_of_each(*source, classes, per_class)
