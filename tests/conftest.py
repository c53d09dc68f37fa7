"""Small problems every test module can ask for."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from torch import nn

import eigenboundary as eb
from tests.references import Golden, load_golden

hypothesis.settings.register_profile(
    "default", deadline=None, max_examples=25, suppress_health_check=list(hypothesis.HealthCheck)
)
hypothesis.settings.load_profile("default")

GOLDEN_NAMES = (
    "gauss_normal",
    "gauss_adversarial",
    "gauss_large_norm",
    "checkerboard_normal",
    "checkerboard_wide",
)
_SHIPPED = Path(__file__).parent / "data"
_ALL = Path(
    os.environ.get("EIGENBOUNDARY_REFERENCES", Path(__file__).parents[2] / "shared" / "golden")
)


@pytest.fixture(params=GOLDEN_NAMES)
def golden(request: pytest.FixtureRequest) -> Golden:
    """Each reference network; those that do not come with the tests are skipped if absent."""
    for folder in (_SHIPPED, _ALL):
        path = folder / f"{request.param}.npz"
        if path.is_file():
            return load_golden(path)
    pytest.skip(f"{request.param}.npz is not in {_ALL} (set EIGENBOUNDARY_REFERENCES)")


@pytest.fixture
def gauss_normal() -> Golden:
    return load_golden(_SHIPPED / "gauss_normal.npz")


@pytest.fixture
def gauss_adversarial() -> Golden:
    return load_golden(_SHIPPED / "gauss_adversarial.npz")


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Thirty points of three classes in the plane."""
    return _blobs()


def _blobs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    means = np.array([[2.0, -1.0], [-2.0, 0.0], [0.0, 2.0]])
    y = np.arange(30) % 3
    return means[y] + 0.5 * rng.normal(size=(30, 2)), y


@pytest.fixture
def small_model() -> nn.Module:
    """A 2-6-3 network in float64, p = 39."""
    return _small_model()


@pytest.fixture(scope="session")
def with_margins() -> eb.Analysis:
    """An analysis of the small network on the thirty points, with margins and a test accuracy."""
    data = _blobs()
    return eb.analyze(_small_model(), data, k=3, margins=True, test_data=data)


def _small_model() -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model
