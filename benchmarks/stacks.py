"""Seconds of a study whose cells are stacked, as multiples of those of one cell.

    python benchmarks/stacks.py                   digits_VAE: 1, 4, 16 and 64 cells, and 16 and 64 in two stacks
    python benchmarks/stacks.py --quick --json    short runs: only a test that it works

Each row is `frame sweep` as a user gives it: start, folders, evaluations, pictures and checkpoints are counted. Rows of
a round are divided by its first row.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDY = """
program: train.py
method: grid
variants:
  VAE: experiment={experiment} logging=csv {words}
"""


def study(folder: Path, file: Path, cells: int, jobs: int) -> float:
    """Seconds that a study takes."""
    command = Path(sys.executable).parent / "frame"
    words = [f"seeds={cells}", f"stack={max(1, cells // jobs)}", f"jobs={jobs}", f"folder={folder}"]
    since = time.monotonic()
    done = subprocess.run([command, "sweep", file, *words], capture_output=True, text=True)
    took = time.monotonic() - since
    finished = len(list(folder.glob("runs/*/*/config.yaml")))
    if done.returncode != 0 or finished != cells:
        raise SystemExit(f"{finished} of {cells} cells: {done.stderr[-2000:]}")
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="digits_VAE")
    parser.add_argument("--rows", default="1x1,4x1,16x1,16x2,64x1,64x2", help="cells x stacks at the same time")
    parser.add_argument("--runs", type=int, default=1, help="rounds")
    parser.add_argument("--quick", action="store_true", help="1x1 and 4x1, of 20 iterations")
    parser.add_argument("--json", action="store_true", help="print a JSON object as the last line")
    options = parser.parse_args()
    names = ["1x1", "4x1"] if options.quick else options.rows.split(",")
    words = "train_for='20 iterations'" if options.quick else ""
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "study.yml"
        file.write_text(STUDY.format(experiment=options.experiment, words=words))
        for number in range(options.runs):
            for name in names:
                cells, jobs = map(int, name.split("x"))
                seconds[name].append(study(Path(temporary) / f"{name}-{number}", file, cells, jobs))
    ratios = {
        name: statistics.median(took / one for took, one in zip(values, seconds[names[0]], strict=True))
        for name, values in seconds.items()
    }
    print(f"{options.experiment}; {os.cpu_count()} cores; {options.runs} rounds\n")
    print("| cells x stacks | seconds | times the first row |\n|---|---|---|")
    for name, ratio in ratios.items():
        print(f"| {name} | {statistics.median(seconds[name]):.1f} | {ratio:.1f} |")
    if options.json:
        print(json.dumps({"ratios": ratios, "seconds": {name: statistics.median(s) for name, s in seconds.items()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
