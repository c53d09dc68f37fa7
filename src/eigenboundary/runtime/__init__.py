"""What the process may use: precision, memory, processes, interrupts, files; and its errors."""

from eigenboundary.runtime.errors import InvalidInputError

__all__ = [
    "InvalidInputError",
]
