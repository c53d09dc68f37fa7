"""The IDX format of the MNIST files: a magic number, the sizes, the bytes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from eigenboundary.runtime.errors import InvalidInputError

_UNSIGNED_BYTE = 0x08
_CHUNK = 1 << 20


def read_idx(path: Path, item_shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The items of an IDX file of unsigned bytes, gzipped where its name ends in ``.gz``.

    Parameters
    ----------
    path : Path
    item_shape : tuple of int
        Of each item: (28, 28) for images, () for labels.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, has another header, or fewer or more bytes than it says.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "labels"
    >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes([7, 0, 1]))
    >>> read_idx(file, ())
    array([7, 0, 1], dtype=uint8)
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _read(stream, path.name, item_shape)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInputError(
            "directory", "hold files that can be read", f"{path.name} ({error})"
        ) from None


def _read(
    stream: BinaryIO | gzip.GzipFile, name: str, item_shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    dimensions = 1 + len(item_shape)
    header = stream.read(4 * (1 + dimensions))
    magic = bytes([0, 0, _UNSIGNED_BYTE, dimensions])
    if header[:4] != magic:
        raise InvalidInputError(
            "directory",
            f"hold {name} as an IDX file of unsigned bytes in {dimensions} dimension(s), magic "
            f"number 0x{magic.hex()}",
            f"0x{header[:4].hex()}",
        )
    if len(header) < 4 * (1 + dimensions):
        raise InvalidInputError(
            "directory", f"hold {name} as a whole", "a file that ends in its header"
        )
    count, *sizes = struct.unpack(f">{dimensions}I", header[4:])
    if tuple(sizes) != item_shape:
        raise InvalidInputError(
            "directory",
            f"hold {name} with images of {'×'.join(map(str, item_shape))} pixels",
            f"{'×'.join(map(str, sizes))}",
        )
    wanted = count * math.prod(item_shape)
    # In pieces and no further than one byte too many: the header's count may be anything.
    content = bytearray()
    while len(content) <= wanted and (piece := stream.read(_CHUNK)):
        content += piece
    if len(content) != wanted:
        came = f"only {len(content)}" if len(content) < wanted else "more"
        raise InvalidInputError(
            "directory", f"hold {name} with the {wanted} bytes its header announces", f"{came}"
        )
    return np.frombuffer(bytes(content), np.uint8).reshape(count, *item_shape)
