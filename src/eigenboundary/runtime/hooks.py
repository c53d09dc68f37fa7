"""Registered names by which a result reaches higher rooms, such as the page that shows it.

The package's face registers the place of each name, which is imported at its first use.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the package's face imports this module, and nothing that takes long
if TYPE_CHECKING:
    from typing import Any

_PLACES: dict[str, str] = {}


def register(name: str, place: str) -> None:
    """Register the place of a name as ``"module:attribute"``."""
    _PLACES[name] = place


def reach(name: str) -> Any:
    """Import and return the object registered under a name.

    Examples
    --------
    >>> register("square root", "math:sqrt")
    >>> reach("square root")(9.0)
    3.0
    """
    import importlib

    module, _, attribute = _PLACES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
