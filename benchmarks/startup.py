"""Seconds of commands that must start fast because they do not import torch: best of 3.

python benchmarks/startup.py
"""

import os
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "frame train --help": ["train", "--help"],
    "frame train --cfg job +experiment=digits_VAE": ["train", "--cfg", "job", "+experiment=digits_VAE"],
    "frame train +experiment=dig<TAB>": ["-sc", "query=bash"],
    "frame train +experiment=digits_VAE params.beat=1": ["train", "+experiment=digits_VAE", "params.beat=1"],
}
LIMIT = 0.8  # seconds


def seconds(words: list[str]) -> float:
    line = "frame train +experiment=dig"
    environment = {**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))}
    command = [str(Path(sys.executable).parent / "frame"), *words]
    start = time.perf_counter()
    subprocess.run(command, env=environment, capture_output=True, check=False)
    return time.perf_counter() - start


def main() -> int:
    best = {name: min(seconds(words) for _ in range(3)) for name, words in COMMANDS.items()}
    print("| command | seconds |\n|---|---|")
    for name, value in best.items():
        print(f"| `{name}` | {value:.2f} |")
    return int(max(best.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
