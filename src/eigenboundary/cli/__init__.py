"""The command line, `eigenboundary`: a thin layer over the analysis, the report and the demo.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from eigenboundary.cli.app import app, main

__all__ = ["app", "main"]
