"""Peak memory under a limit, with data larger than it: each limit in a process of its own."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

import eigenboundary as eb
from benchmarks.fresh import json_of_fresh_process, peak_bytes
from eigenboundary.runtime.memory import as_bytes

#: 1.1 GB of inputs, and a network of p = 197 thousand.
_SAMPLES, _NUMBERS, _WIDTH, _CLASSES = 22_400, 12_288, 16, 3
_K, _TOLERANCE = 5, 1e-3
_LIMITS = ("900 MB", "1500 MB")
_CACHE_BYTES = 2**31  # all of the data, if there were no limit


class _Stored(Dataset[tuple[Tensor, int]]):
    """Samples read from a file one at a time, as a folder of images would be."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)

    def __len__(self) -> int:
        return _SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        size = 4 * _NUMBERS
        raw = bytearray(os.pread(self._file, size, size * index))
        return torch.frombuffer(raw, dtype=torch.float32), index % _CLASSES


def memory() -> dict[str, object]:
    """Top eigenpairs and all alignments, without a limit and with each of the limits."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "inputs"
        _write(path)
        free, *limited = [
            json_of_fresh_process("benchmarks.memory", str(path), limit) for limit in ("", *_LIMITS)
        ]
    found = {}
    for limit, row in zip(_LIMITS, limited, strict=True):
        bytes_ = as_bytes(limit)
        assert bytes_ is not None
        label = limit.replace(" ", "_")
        found[f"peak_mb_at_{label}"] = row["peak"] / 1e6
        found[f"peak_over_limit_at_{label}"] = row["peak"] / bytes_
        found[f"seconds_at_{label}"] = row["seconds"]
        found[f"how_at_{label}"] = row["how"]
    error = max(
        float(np.abs(np.divide(row["values"], free["values"]) - 1).max()) for row in limited
    )
    worst = max(found[f"peak_over_limit_at_{limit.replace(' ', '_')}"] for limit in _LIMITS)
    return {
        "data_mb": 4 * _SAMPLES * _NUMBERS / 1e6,
        "parameters": free["parameters"],
        "ours_s": limited[0]["seconds"],
        "peak_mb_unlimited": free["peak"] / 1e6,
        "seconds_unlimited": free["seconds"],
        **found,
        "worst_peak_over_limit": worst,
        "allowed": 1.2,
        "eigenvalue_difference": error,
        "reference_ok": bool(error < 1e-4 and worst <= 1.2),
        "threads": torch.get_num_threads(),
    }


def _write(path: Path) -> None:
    generator = np.random.default_rng(0)
    centres = 0.1 * generator.normal(size=(_CLASSES, _NUMBERS))
    with path.open("wb") as file:
        for start in range(0, _SAMPLES, 1000):
            classes = np.arange(start, min(start + 1000, _SAMPLES)) % _CLASSES
            noise = generator.normal(size=(len(classes), _NUMBERS))
            file.write((centres[classes] + noise).astype(np.float32).tobytes())


def _one(path: Path, limit: str) -> dict[str, Any]:
    model = eb.networks.build("fnn", inputs=_NUMBERS, classes=_CLASSES, hidden=(_WIDTH, _WIDTH))
    began = time.perf_counter()
    analysis = eb.analyze(
        model,
        _Stored(path),
        k=_K,
        tolerance=_TOLERANCE,
        cache_bytes=_CACHE_BYTES,
        memory_limit=limit or None,
    )
    return {
        "peak": peak_bytes(),
        "seconds": time.perf_counter() - began,
        "values": analysis.eigenvalues.tolist(),
        "parameters": analysis.n_parameters,
        "how": analysis.provenance.computed,
    }


if __name__ == "__main__":
    print(json.dumps(_one(Path(sys.argv[1]), sys.argv[2])))
