"""What a launcher such as ``torchrun`` says of the processes that it has started.

``analyze`` divides the samples among them; any other command runs in the first one alone. Only the
first prints and writes.
"""

from __future__ import annotations

import os

# What torch.distributed needs to know.
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def launched() -> bool:
    """Whether this is one of several processes.

    Examples
    --------
    >>> launched()
    False
    """
    return all(os.environ.get(name) for name in _VARIABLES) and os.environ["WORLD_SIZE"] != "1"


def is_first() -> bool:
    """Whether this is the first of the processes, or the only one."""
    return not launched() or os.environ["RANK"] == "0"
