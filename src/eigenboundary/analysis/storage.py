"""Analyses on disk: one safetensors file, its header carrying versioned JSON. No pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.files import new_file, replaced_when_complete
from eigenboundary.runtime.records import Arrays, pack

#: Raised by one with every change that an older reader would misread.
FORMAT_VERSION = 6
_KEY = "eigenboundary"


def save(analysis: Any, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a dataclass, an analysis, to one file, or raise InvalidInputError."""
    target = new_file(path, overwrite=overwrite)
    arrays: Arrays = {}
    header = {"format": FORMAT_VERSION, "analysis": pack(analysis, arrays)}
    with replaced_when_complete(target) as partial:
        save_file(arrays, partial, metadata={_KEY: json.dumps(header, allow_nan=False)})


def read(path: Path) -> tuple[Any, Arrays]:
    """Read the record and the arrays that :func:`save` wrote, or raise InvalidInputError."""
    if not path.is_file():
        wanted = "be an existing analysis file"
        raise InvalidInputError("path", wanted, because=f"{str(path)!r} is none")
    try:
        with safe_open(path, framework="np") as stored:
            metadata = stored.metadata() or {}
            if _KEY not in metadata:
                wanted = "be a file written by Analysis.save"
                because = f"{str(path)!r} is another kind of safetensors file"
                raise InvalidInputError("path", wanted, because=because)
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        header = json.loads(metadata[_KEY])
    except InvalidInputError:
        raise
    except (SafetensorError, ValueError, OSError) as error:
        wanted = "be a file written by Analysis.save"
        because = f"{str(path)!r} is not, or is damaged ({type(error).__name__})"
        raise InvalidInputError("path", wanted, because=because) from None
    version = header.get("format") if isinstance(header, dict) else None
    if version != FORMAT_VERSION:
        because = f"{str(path)!r} is of version {version!r} (use the eigenboundary that wrote it)"
        raise InvalidInputError("path", f"be of format version {FORMAT_VERSION}", because=because)
    return header.get("analysis"), arrays
