"""The process around a command: its exit codes, Ctrl-C while it starts, and launchers.

A launcher such as ``torchrun`` starts several processes. ``analyze`` divides the samples among
them; any other command runs in the first one alone. Only the first prints and writes.
"""

from __future__ import annotations

import os
import signal
import sys
from enum import IntEnum
from types import FrameType

# The variables that torch.distributed reads.
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class ExitCode(IntEnum):
    """How a command ended."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> ExitCode:
        """Make the integer, with its meaning beside it."""
        member = int.__new__(cls, code)
        member._value_, member.meaning = code, meaning
        return member

    SUCCESS = 0, "success"
    MISTAKE = 2, "an input or option cannot be used; one line on stderr names it"
    NOT_CONVERGED = 3, "the analysis is complete, but some eigenpairs did not converge"
    INTERRUPTED = 130, "interrupted by Ctrl-C"


def launched() -> bool:
    """Return whether a launcher has started several processes.

    Examples
    --------
    >>> launched()
    False
    """
    return all(os.environ.get(name) for name in _VARIABLES) and os.environ["WORLD_SIZE"] != "1"


def is_first() -> bool:
    """Return whether this is the first of the processes, or the only one."""
    return not launched() or os.environ["RANK"] == "0"


def exit_on_interrupt() -> None:
    """End the process on Ctrl-C at once, until :func:`raise_on_interrupt`.

    Python's KeyboardInterrupt may be lost or changed while a library in C is imported; during the
    imports nothing needs to be cleaned up.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def raise_on_interrupt() -> None:
    """Turn Ctrl-C into KeyboardInterrupt again, once a command has been imported."""
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit(_number: int, _frame: FrameType | None) -> None:
    if is_first():
        os.write(2, b"Interrupted.\n")
    os._exit(ExitCode.INTERRUPTED)


def tolerate_encoding() -> None:
    """Print a question mark for λ where the terminal's encoding has none."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
