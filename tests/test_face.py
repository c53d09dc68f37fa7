"""The package's face: what it hands on, and what it loads."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import eigenboundary as eb


def test_every_public_name_can_be_had() -> None:
    for name in eb.__all__:
        assert getattr(eb, name) is not None
    assert set(eb.__all__) <= set(dir(eb))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        eb.nothing  # noqa: B018


def test_type_checkers_see_the_names_that_are_handed_on() -> None:
    tree = ast.parse(Path(eb.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    starred = {node.module for node in block.body if isinstance(node, ast.ImportFrom)}
    for room, names in eb._ROOMS.items():
        assert f"eigenboundary.{room}" in starred
        if room != "runtime.version":
            face = importlib.import_module(f"eigenboundary.{room}")
            assert set(names) <= set(face.__all__)


def test_result_classes_are_documented() -> None:
    for name in eb.__all__:
        value = getattr(eb, name)
        assert name == "__version__" or value.__doc__, name


def test_a_name_loads_what_it_needs_alone() -> None:
    """What is loaded for one name is there for the next, of which less is left out."""
    left_out = {
        "eb": {"torch", "numpy", "pandas", "matplotlib", "torch._dynamo"},
        "eb.Problem": {"matplotlib", "pandas", "sklearn"},
        "eb.analyze": {"matplotlib", "sklearn"},
        "eb.datasets": {"matplotlib"},
    }
    code = "; ".join(
        ["import sys, eigenboundary as eb", *(f"{use}; print(*sys.modules)" for use in left_out)]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for (use, modules), loaded in zip(left_out.items(), done.stdout.splitlines(), strict=True):
        assert not modules & set(loaded.split()), use
