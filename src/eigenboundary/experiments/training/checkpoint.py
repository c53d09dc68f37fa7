"""A training run on disk, so that it can be taken up where it was interrupted. No pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.files import new_file, replaced_when_complete

_KEY = "eigenboundary-training"


class OtherRunError(InvalidInputError):
    """A state on disk cannot be taken up by this run."""


def fingerprint(settings: Any, tensors: list[Tensor]) -> str:
    """A hash of what a run starts from: its settings, data and initial weights."""
    digest = hashlib.sha256(repr(settings).encode())
    for tensor in tensors:
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_checkpoint(
    path: Path, tensors: dict[str, Tensor], numbers: dict[str, Any], started_from: str
) -> None:
    """Write a run's state, replacing the last one."""
    target = new_file(path, overwrite=True, name="state_file")
    header = {"started_from": started_from, "numbers": numbers}
    with replaced_when_complete(target, "state_file") as partial:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            partial,
            metadata={_KEY: json.dumps(header)},
        )


def read_checkpoint(path: Path, started_from: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a run's state.

    Raises
    ------
    OtherRunError
        If the file is damaged, of another kind, or of a run that started from something else.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            header = json.loads((stored.metadata() or {}).get(_KEY, "null"))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise OtherRunError(
            "state_file",
            "be one that a training run left",
            because=f"{str(path)!r} is damaged ({type(error).__name__})",
        ) from None
    if not isinstance(header, dict):
        raise OtherRunError(
            "state_file",
            "be one that a training run left",
            because=f"{str(path)!r} is another file",
        )
    if header["started_from"] != started_from:
        raise OtherRunError(
            "state_file",
            "be of this training run",
            because=f"{str(path)!r} is of one with other settings, data, initial weights or "
            "another version's code (delete it to start anew)",
        )
    return tensors, header["numbers"]
