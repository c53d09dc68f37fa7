"""The files of CIFAR-10: the binary version, or an archive of NumPy arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eigenboundary.runtime.errors import InvalidInputError

IMAGE_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST_FILE = "test_batch.bin"
_BINARY_FOLDER, _PICKLED_FOLDER = "cifar-10-batches-bin", "cifar-10-batches-py"
_KEYS = ("x_train", "y_train", "x_test", "y_test")


class Part(NamedTuple):
    """Images (n, 3, 32, 32) and their labels (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def read_cifar(directory: Path) -> tuple[Part, Part]:
    """The training and the test part.

    The directory, or `cifar-10-batches-bin` in it, holds the binary version; or it holds one
    ``.npz`` file, or is one.

    Raises
    ------
    InvalidInputError
        If there are no such files, or they hold something else.
    """
    if directory.suffix == ".npz":
        return _read_npz(directory)
    for folder in (directory, directory / _BINARY_FOLDER):
        if any((folder / name).is_file() for name in (*_TRAIN_FILES, _TEST_FILE)):
            return _read_binary(folder)
    archives = sorted(directory.glob("*.npz"))
    if len(archives) == 1:
        return _read_npz(archives[0])
    raise InvalidInputError(
        "directory",
        "hold the binary version of CIFAR-10 (data_batch_1.bin to data_batch_5.bin and "
        "test_batch.bin) or one .npz file",
        f"{_found(directory, archives)}",
    )


def _found(directory: Path, archives: list[Path]) -> str:
    for folder in (directory, directory / _PICKLED_FOLDER):
        if (folder / "data_batch_1").exists() or (folder / "test_batch").exists():
            return "the Python version, whose files are pickles and could run any code"
    if len(archives) > 1:
        return f"{len(archives)} .npz files"
    return f"{str(directory)!r}, which has neither"


def _read_binary(folder: Path) -> tuple[Part, Part]:
    missing = [name for name in (*_TRAIN_FILES, _TEST_FILE) if not (folder / name).is_file()]
    if missing:
        raise InvalidInputError(
            "directory",
            "hold data_batch_1.bin to data_batch_5.bin and test_batch.bin",
            f"{str(folder)!r} without {', '.join(missing)}",
        )
    batches = [_read_batch(folder / name) for name in _TRAIN_FILES]
    train = Part(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))
    return train, _read_batch(folder / _TEST_FILE)


def _read_batch(path: Path) -> Part:
    """Records of one byte for the label and 3,072 for the pixels, channel by channel."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    if not content or len(content) % _RECORD:
        raise InvalidInputError(
            "directory",
            f"hold {path.name} with whole records of {_RECORD} bytes",
            f"{len(content)} bytes",
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    part = Part(records[:, 1:].reshape(-1, *IMAGE_SHAPE), records[:, 0].astype(np.int64))
    _check_labels(part.labels, path.name)
    return part


def _read_npz(path: Path) -> tuple[Part, Part]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in _KEYS if key in stored}
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from None
    if len(arrays) < len(_KEYS):
        missing = [key for key in _KEYS if key not in arrays]
        raise InvalidInputError(
            "directory",
            f"hold {path.name} with the arrays {', '.join(_KEYS)}",
            f"none called {', '.join(missing)}",
        )
    train, test = (
        _checked_part(arrays[f"x_{part}"], arrays[f"y_{part}"], part, path.name)
        for part in ("train", "test")
    )
    return train, test


def _checked_part(x: NDArray[np.uint8], y: NDArray[np.int64], part: str, name: str) -> Part:
    if x.dtype != np.uint8 or x.shape[1:] != IMAGE_SHAPE:
        raise InvalidInputError(
            "directory",
            f"hold {name} with x_{part} of shape (n, 3, 32, 32) and type uint8",
            f"{x.shape} and {x.dtype}",
        )
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise InvalidInputError(
            "directory",
            f"hold {name} with one integer of y_{part} for each of the {len(x)} images",
            f"shape {y.shape} and type {y.dtype}",
        )
    _check_labels(y, name)
    return Part(x, y.astype(np.int64))


def _check_labels(labels: NDArray[np.int64], name: str) -> None:
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        raise InvalidInputError(
            "directory",
            f"hold {name} with labels from 0 to 9",
            f"{int(labels.min())} to {int(labels.max())}",
        )


def _unreadable(path: Path, error: Exception) -> InvalidInputError:
    reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return InvalidInputError("directory", "hold files that can be read", f"{path.name} ({reason})")
