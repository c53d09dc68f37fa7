"""A change of results must raise the version of the algorithm that made them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from eigenboundary.runtime import version
from tests import golden_results


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return golden_results.results()


@pytest.mark.parametrize(
    "algorithm", ["TRAINING_ALGORITHM", "ANALYSIS_ALGORITHM", "MEASURES_ALGORITHM"]
)
def test_results_change_only_with_the_version_of_their_algorithm(
    found: dict[str, Any], algorithm: str
) -> None:
    golden = json.loads(golden_results.FILE.read_text())[algorithm]
    assert golden["version"] == getattr(version, algorithm), (
        f"{algorithm} is new: run `python -m tests.golden_results`"
    )
    expected, came = dict(_flat(golden["results"])), dict(_flat(found[algorithm]))
    assert came.keys() == expected.keys(), f"raise {algorithm} in version.py"
    for name, value in expected.items():
        assert came[name] == (
            pytest.approx(value, rel=2e-3, abs=1e-6) if isinstance(value, float) else value
        ), f"{name} has changed: raise {algorithm} in version.py"


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and string of nested lists and dicts, by its place."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _flat(item, f"{name}/{key}")
    else:
        yield name, None if isinstance(value, float) and np.isnan(value) else value
