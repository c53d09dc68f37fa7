"""The command line, ``eigenboundary``: a thin layer over the analysis, the report and the demo.

The help and the version import nothing heavy; a command imports what it needs once it is chosen.
"""

from __future__ import annotations

import sys

from eigenboundary.cli import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from eigenboundary.cli.interface import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line and exit with its code."""
    process.exit_on_interrupt()
    from eigenboundary.cli.interface import run

    sys.exit(run())


def __getattr__(name: str) -> Any:
    """Import the application when it is first used."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from eigenboundary.cli.interface import app

    return app
