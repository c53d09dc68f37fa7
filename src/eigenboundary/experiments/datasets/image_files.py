"""Files of MNIST (IDX) and CIFAR-10 (binary or NumPy arrays), and both from OpenML.

Missing, broken and other files raise an InvalidInputError about ``directory``.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import warnings
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eigenboundary.experiments.datasets.split import Labels
from eigenboundary.runtime.errors import InvalidInputError, first_line
from eigenboundary.runtime.files import as_path

MNIST_SHAPE, CIFAR_SHAPE = (28, 28), (3, 32, 32)
#: Names of the parts of MNIST in its files.
MNIST_PREFIX = {"test": "t10k", "train": "train"}

_CHUNK = 1 << 20
_MNIST_TRAIN = 60_000
_RECORD = 1 + 3 * 32 * 32
_TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST_FILE = "test_batch.bin"
_KEYS = ("x_train", "y_train", "x_test", "y_test")


class Part(NamedTuple):
    """Images (n, ...) and their labels (n,)."""

    images: NDArray[np.uint8]
    labels: Labels


def _refusal(wanted: str, got: str) -> InvalidInputError:
    return InvalidInputError("directory", f"hold {wanted}", got)


def _unreadable(path: Path, error: Exception) -> InvalidInputError:
    return _refusal("files that can be read", f"{path.name} ({first_line(error)})")


def _existing(directory: Any) -> Path:
    path = as_path(directory, "directory")
    if not path.exists():
        raise InvalidInputError("directory", "exist", repr(str(path)))
    return path


def _check_labels(labels: NDArray[np.integer], name: str) -> None:
    wrong = labels[(labels < 0) | (labels > 9)]
    if len(wrong):
        raise _refusal(f"{name} with labels from 0 to 9", str(wrong[0]))


def fetch(name: str, item_shape: tuple[int, ...], what: str) -> Part:
    """Fetch the first version of an OpenML data set, which scikit-learn's data folder keeps."""
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A network error occurred")  # the error says it
            x, y = fetch_openml(name, version=1, return_X_y=True, as_frame=False, n_retries=1)
        images = np.asarray(x, np.uint8).reshape(-1, *item_shape)
        return Part(images, np.asarray(y).astype(np.int64))
    except (OSError, HTTPException, ValueError, ImportError) as error:
        wanted = f"name a folder with {what} unless OpenML sends them"
        got = f"None ({first_line(error)[:100]})"
        raise InvalidInputError("directory", wanted, got) from None


def fetch_mnist(part: str) -> Part:
    """Fetch a part of MNIST from OpenML."""
    everything = fetch("mnist_784", MNIST_SHAPE, "the IDX files of MNIST")
    rows = slice(_MNIST_TRAIN) if part == "train" else slice(_MNIST_TRAIN, None)
    return Part(everything.images[rows], everything.labels[rows])


def read_mnist(directory: str | os.PathLike[str], part: str) -> Part:
    """Read a part of MNIST from the directory, or from `MNIST/raw` in it."""
    place, prefix = _existing(directory), MNIST_PREFIX[part]
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    for folder in (place, place / "MNIST" / "raw"):
        # Both from one folder, so that images never meet another data set's labels.
        of_images, of_labels = (
            next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
            for name in names
        )
        if of_images is not None and of_labels is not None:
            break
    else:
        wanted = f"{names[0]} and {names[1]} (or .gz), by themselves or in MNIST/raw"
        raise _refusal(wanted, f"{str(place)!r}, which does not")
    images, labels = read_idx(of_images, MNIST_SHAPE), read_idx(of_labels, ())
    if len(images) != len(labels):
        got = f"{len(images)} images in {of_images.name} and {len(labels)} labels in"
        raise _refusal("a label for each image", f"{got} {of_labels.name}")
    _check_labels(labels, of_labels.name)
    return Part(images, labels.astype(np.int64))


def read_idx(path: Path, item_shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read the items of an IDX file of unsigned bytes, gzipped where its name ends in ``.gz``.

    The format is a magic number, the sizes, the bytes. ``item_shape`` is (28, 28) for images and ()
    for labels.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "labels"
    >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes([7, 0, 1]))
    >>> read_idx(file, ())
    array([7, 0, 1], dtype=uint8)
    """
    dimensions, name = 1 + len(item_shape), path.name
    magic = bytes([0, 0, 8, dimensions])  # 8 stands for unsigned bytes
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            header = stream.read(4 * (1 + dimensions))
            if header[:4] != magic:
                wanted = (
                    f"{name} as an IDX file of unsigned bytes in {dimensions} dimension(s), magic"
                )
                raise _refusal(f"{wanted} number 0x{magic.hex()}", f"0x{header[:4].hex()}")
            if len(header) < 4 * (1 + dimensions):
                raise _refusal(f"{name} as a whole", "a file that ends in its header")
            count, *sizes = struct.unpack(f">{dimensions}I", header[4:])
            if tuple(sizes) != item_shape:
                wanted, got = ("×".join(map(str, shape)) for shape in (item_shape, sizes))
                raise _refusal(f"{name} with images of {wanted} pixels", got)
            size, content = count * math.prod(item_shape), bytearray()
            # In pieces and no further than one byte too many: the header's count may be anything.
            while len(content) <= size and (piece := stream.read(_CHUNK)):
                content += piece
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None
    if len(content) != size:
        got = f"only {len(content)}" if len(content) < size else "more"
        raise _refusal(f"{name} with the {size} bytes its header announces", got)
    return np.frombuffer(bytes(content), np.uint8).reshape(count, *item_shape)


def read_cifar(directory: str | os.PathLike[str]) -> tuple[Part, Part]:
    """Read the training and the test part of CIFAR-10.

    The directory, or `cifar-10-batches-bin` in it, holds the binary version; or it holds one
    ``.npz`` file, or is one.
    """
    place = _existing(directory)
    if place.suffix == ".npz":
        return _read_npz(place)
    for folder in (place, place / "cifar-10-batches-bin"):
        if any((folder / name).is_file() for name in (*_TRAIN_FILES, _TEST_FILE)):
            return _read_binary(folder)
    archives = sorted(place.glob("*.npz"))
    if len(archives) == 1:
        return _read_npz(archives[0])
    got = f"{len(archives)} .npz files" if archives else f"{str(place)!r}, which has neither"
    for folder in (place, place / "cifar-10-batches-py"):
        if (folder / "data_batch_1").exists() or (folder / "test_batch").exists():
            got = "the Python version, whose files are pickles and could run any code"
    wanted = "the binary version of CIFAR-10 (data_batch_1.bin to data_batch_5.bin and"
    raise _refusal(f"{wanted} test_batch.bin) or one .npz file", got)


def _read_binary(folder: Path) -> tuple[Part, Part]:
    missing = [name for name in (*_TRAIN_FILES, _TEST_FILE) if not (folder / name).is_file()]
    if missing:
        got = f"{str(folder)!r} without {', '.join(missing)}"
        raise _refusal("data_batch_1.bin to data_batch_5.bin and test_batch.bin", got)
    batches = [_read_batch(folder / name) for name in _TRAIN_FILES]
    train = Part(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))
    return train, _read_batch(folder / _TEST_FILE)


def _read_batch(path: Path) -> Part:
    """Read records of one byte for the label and 3,072 for the pixels, channel by channel."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    if not content or len(content) % _RECORD:
        wanted = f"{path.name} with whole records of {_RECORD} bytes"
        raise _refusal(wanted, f"{len(content)} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    part = Part(records[:, 1:].reshape(-1, *CIFAR_SHAPE), records[:, 0].astype(np.int64))
    _check_labels(part.labels, path.name)
    return part


def _read_npz(path: Path) -> tuple[Part, Part]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in _KEYS if key in stored}
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from None
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        wanted = f"{path.name} with the arrays {', '.join(_KEYS)}"
        raise _refusal(wanted, f"none called {', '.join(missing)}")
    return _checked_part(arrays, "train", path.name), _checked_part(arrays, "test", path.name)


def _checked_part(arrays: dict[str, NDArray[Any]], part: str, name: str) -> Part:
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if x.dtype != np.uint8 or x.shape[1:] != CIFAR_SHAPE:
        wanted = f"{name} with x_{part} of shape (n, 3, 32, 32) and type uint8"
        raise _refusal(wanted, f"{x.shape} and {x.dtype}")
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        wanted = f"{name} with one integer of y_{part} for each of the {len(x)} images"
        raise _refusal(wanted, f"shape {y.shape} and type {y.dtype}")
    _check_labels(y, name)
    return Part(x, y.astype(np.int64))
