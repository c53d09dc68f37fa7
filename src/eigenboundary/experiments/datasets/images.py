"""MNIST and CIFAR-10, read from a folder the user names or fetched from OpenML."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eigenboundary.experiments.datasets import openml, options
from eigenboundary.experiments.datasets.cifar_files import IMAGE_SHAPE as CIFAR_SHAPE
from eigenboundary.experiments.datasets.cifar_files import Part, read_cifar
from eigenboundary.experiments.datasets.idx import read_idx
from eigenboundary.experiments.datasets.split import DataSplit, Labels, as_pair, split_by_class
from eigenboundary.runtime.arguments import check_choice, check_seed
from eigenboundary.runtime.errors import InvalidInputError

_MNIST_SHAPE = (28, 28)
_MNIST_TRAIN = 60_000
_MNIST_PREFIX = {"test": "t10k", "train": "train"}
_CIFAR_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# With a test part of its own the rest is divided as otherwise: 50 to 20.
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
    """The handwritten digits of MNIST, relabelled 0, 1, … in the order of ``classes``.

    By default the images of the paper: the first 300 zeros, ones and sevens of the test part,
    split anew. The paper leaves their pixels as they are: ``scale="raw"``.

    Parameters
    ----------
    seed : int
        Of the split.
    classes : sequence of int
    per_class : int or None
        The first so many images of each class; None takes all.
    directory : path, optional
        The folder with the IDX files (``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``,
        or ``train-…``; each may be gzipped), or with ``MNIST/raw``, where torchvision puts them.
        None fetches `mnist_784` from OpenML.
    part : {"test", "train"}
        Which of the two files; either is split in three.
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
    wanted = options.check_labels(classes, "digits")
    options.check_per_class(per_class)
    check_choice(part, "part", tuple(_MNIST_PREFIX))
    check_choice(scale, "scale", ("unit", "raw"))
    source = _mnist_from_openml(part) if directory is None else _read_mnist(_path(directory), part)
    images, labels = _first_of_each(source, wanted, per_class)
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
    """Photographs of animals and vehicles, relabelled 0, 1, … in the order of ``classes``.

    The files have a test part: it is ``test``, in its own order, and the training part is divided
    by 5 to 2 into ``train`` and ``validation``. OpenML has one table of all images: from there
    they are split like the other data sets, 50, 20 and 30 %.

    Parameters
    ----------
    seed : int
        Of the split.
    classes : sequence of int
        From 0 to 9: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck.
    per_class : int or None
        The first so many images of each class in the training part, and at most so many in the
        test part; None takes all.
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
        If an option cannot be used, the folder has no such files or broken ones, or there is
        neither a folder nor a network.
    """
    check_seed(seed)
    wanted = options.check_labels(classes, "labels")
    options.check_per_class(per_class)
    names = tuple(_CIFAR_NAMES[label] for label in wanted)
    rng = np.random.default_rng(seed)
    if directory is None:
        everything = openml.fetch("CIFAR_10", CIFAR_SHAPE, "the files of CIFAR-10")
        split = split_by_class(*_first_of_each(everything, wanted, per_class), rng, names)
    else:
        train, test = read_cifar(_path(directory))
        chosen = _first_of_each(train, wanted, per_class)
        split = split_by_class(*chosen, rng, names, _SHARES_BESIDE_TEST)
        split = replace(split, test=as_pair(*_at_most(test, wanted, per_class)))
    return split.with_inputs(lambda x: x / 255)


def _path(directory: Any) -> Path:
    if not isinstance(directory, str | os.PathLike):
        raise InvalidInputError("directory", "be the path of a folder, or None", repr(directory))
    path = Path(directory)
    if not path.exists():
        raise InvalidInputError("directory", "exist", repr(str(path)))
    return path


# -------------------------------------------------------------------------------------- MNIST


def _read_mnist(directory: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    prefix = _MNIST_PREFIX[part]
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    for folder in (directory, directory / "MNIST" / "raw"):
        # Both from one folder, so that images never meet another data set's labels.
        paths = [_plain_or_gzipped(folder / name) for name in names]
        if all(path is not None for path in paths):
            break
    else:
        raise InvalidInputError(
            "directory",
            f"hold {names[0]} and {names[1]} (or .gz), by themselves or in MNIST/raw",
            f"{str(directory)!r}, which does not",
        )
    images_path, labels_path = (path for path in paths if path is not None)
    images, labels = read_idx(images_path, _MNIST_SHAPE), read_idx(labels_path, ())
    if len(images) != len(labels):
        raise InvalidInputError(
            "directory",
            "hold a label for each image",
            f"{len(images)} images in {images_path.name} and {len(labels)} labels in "
            f"{labels_path.name}",
        )
    if len(labels) and labels.max() > 9:
        raise InvalidInputError(
            "directory", f"hold {labels_path.name} with labels from 0 to 9", f"{labels.max()}"
        )
    return images, labels


def _plain_or_gzipped(path: Path) -> Path | None:
    candidates = (path, path.with_name(f"{path.name}.gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _mnist_from_openml(part: str) -> tuple[NDArray[np.uint8], Labels]:
    images, labels = openml.fetch("mnist_784", _MNIST_SHAPE, "the IDX files of MNIST")
    rows = slice(_MNIST_TRAIN) if part == "train" else slice(_MNIST_TRAIN, None)
    return images[rows], labels[rows]


# ---------------------------------------------------------------------------------- selection


def _first_of_each(
    source: Part | tuple[NDArray[np.uint8], NDArray[Any]],
    classes: tuple[int, ...],
    per_class: int | None,
) -> tuple[NDArray[np.uint8], Labels]:
    _, labels = source
    for label in classes:
        held = int((labels == label).sum())
        if per_class is not None and held < per_class:
            raise InvalidInputError(
                "per_class",
                f"be at most the {held} images there are of class {label}",
                repr(per_class),
            )
        if held < options.FEWEST:
            raise InvalidInputError(
                "classes",
                f"be ones with at least {options.FEWEST} images",
                f"{label}, which has {held}",
            )
    return _at_most(source, classes, per_class)


def _at_most(
    source: Part | tuple[NDArray[np.uint8], NDArray[Any]],
    classes: tuple[int, ...],
    per_class: int | None,
) -> tuple[NDArray[np.uint8], Labels]:
    """The first images of each class, in the files' order, with their new labels."""
    images, labels = source
    new = np.full(len(labels), -1, np.int64)
    for position, label in enumerate(classes):
        new[np.flatnonzero(labels == label)[:per_class]] = position
    kept = np.flatnonzero(new >= 0)
    return images[kept], new[kept]
