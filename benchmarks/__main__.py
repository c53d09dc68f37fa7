"""Run benchmarks: ``python -m benchmarks [NAME] [--json] [--write]``."""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks.fresh import json_of_fresh_process
from benchmarks.registry import JOBS, LACKING
from benchmarks.tables import keep


def show(result: dict[str, object]) -> None:
    print(result.pop("benchmark"))
    for key, value in result.items():
        text = f"{value:.4g}" if isinstance(value, float) else value
        print(f"  {key:<28} {text}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("name", nargs="?", choices=sorted(JOBS), help="default: all of them")
    parser.add_argument("--json", action="store_true", help="print one JSON object a benchmark")
    parser.add_argument(
        "--write", action="store_true", help="keep the results in the documentation's table"
    )
    arguments = parser.parse_args()
    for name in [arguments.name] if arguments.name else JOBS:
        missing = LACKING[name]() if name in LACKING else ""
        if missing and arguments.name:
            sys.exit(missing)
        if missing:
            print(f"{name} left out: {missing}", file=sys.stderr)
            continue
        # In its own process, so that no other has warmed anything up.
        result = json_of_fresh_process("benchmarks.registry", name)
        if arguments.write:
            keep(result)
        if arguments.json:
            print(json.dumps(result))
        else:
            show(result)


if __name__ == "__main__":
    main()
