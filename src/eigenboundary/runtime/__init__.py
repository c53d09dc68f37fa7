"""The process: its precision, memory, processes, interrupts, files, arguments and errors."""

from eigenboundary.runtime.errors import InvalidInputError

__all__ = ["InvalidInputError"]
