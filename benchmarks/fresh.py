"""Parts of benchmarks in processes of their own, and the memory that those took."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any


def json_of_fresh_process(module: str, *arguments: str) -> dict[str, Any]:
    """What ``python -m module arguments`` prints last; its log goes where ours does."""
    command = [sys.executable, "-m", module, *arguments]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if finished.returncode:
        sys.exit(f"{' '.join(command[1:])} failed (see above)")
    row: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return row


def peak_bytes() -> int:
    """The largest resident size of this process so far."""
    # Not getrusage: that counts what the process held that started this one.
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found is None:
        raise RuntimeError("the peak of the resident size is not known on this system")
    return 1024 * int(found[1])
