from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    """Draw without a window; no test sees the figures of another, or of a docstring."""
    plt.switch_backend("Agg")
    plt.close("all")
    yield
    plt.close("all")
