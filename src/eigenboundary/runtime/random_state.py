"""The random states of the program, seeded for a while and restored."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def preserved_random_state(seed: int) -> Iterator[None]:
    """Seed torch, NumPy and ``random`` inside, and restore their states on the way out."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    started = torch.cuda.is_initialized()
    devices = range(torch.cuda.device_count()) if started else []
    try:
        with torch.random.fork_rng(devices=list(devices)):
            torch.manual_seed(int(seed))
            np.random.seed(int(seed) % 2**32)
            random.seed(int(seed))
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        if not started and torch.cuda.is_available():
            # torch.manual_seed has queued the seed for GPUs that were not in use yet.
            torch.cuda.manual_seed_all(torch.initial_seed())


def _random_states() -> tuple[bytes, str, object]:
    numpy_state = repr(np.random.get_state(legacy=False))
    return torch.get_rng_state().numpy().tobytes(), numpy_state, random.getstate()
