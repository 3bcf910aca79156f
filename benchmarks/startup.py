"""Seconds to `import rlaif` and to print `rlaif --help`, median of nine processes: `python benchmarks/startup.py`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import rlaif": [sys.executable, "-c", "import rlaif"],
    "rlaif --help": [sys.executable, "-m", "rlaif", "--help"],
    "constitution lint": [sys.executable, "-m", "rlaif", "constitution", "lint", "harmless"],
}


def seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    for name, command in COMMANDS.items():
        seconds(command)
        print(f"{name:<20} {statistics.median(seconds(command) for _ in range(9)):.3f} s")


if __name__ == "__main__":
    main()
