"""The work of two processes with a core each, as a multiple of the work of one.

    python benchmarks/processes.py                     the small VAE of throughput.py, 3 rounds: about 2 minutes

Full runs of `frame`, one thread each, pinned to a core of their own where the system can do that. Each says when its
first and its last iteration are done; a process counts its iterations while both train.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

CODE = """
import os, sys, tempfile, time, json
core, iterations, model = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {core})
import torch
torch.set_num_threads(1)
import throughput, bare
from pathlib import Path
ticks = []
with tempfile.TemporaryDirectory() as folder:
    os.environ["DATA_ROOT"] = str(throughput.pictures(Path(folder) / "data"))
    size = bare.SIZES[model]
    throughput.full(Path(folder), size, [], [], iterations, lambda: ticks.append(time.time()))
print(json.dumps(ticks[20:]))
"""


def trained(cores: list[int], iterations: int, model: str) -> list[list[float]]:
    """The times at which each process had done an iteration."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [[sys.executable, "-c", CODE, str(core), str(iterations), model] for core in cores]
    here = Path(__file__).parent
    processes = [
        subprocess.Popen(a, cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for a in arguments
    ]
    return [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]


def rate(ticks: list[list[float]]) -> float:
    """Iterations a second of all processes together, while all of them train."""
    start, end = max(times[0] for times in ticks), min(times[-1] for times in ticks)
    return sum(sum(start < t <= end for t in times) for times in ticks) / (end - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=4000)
    parser.add_argument("--model", choices=("small", "large"), default="small")
    options = parser.parse_args()
    ratios = []
    for _ in range(options.runs):
        one = rate(trained([0], options.iterations, options.model))
        two = rate(trained([0, 1], options.iterations, options.model))
        ratios.append(two / one)
        print(f"one {one:.0f} iterations/s, two {two:.0f} together: {two / one:.2f}", flush=True)
        time.sleep(1)
    print(f"two processes do {statistics.median(ratios):.2f} times the work of one (median of {options.runs})")
    return int(statistics.median(ratios) < 1.8)


if __name__ == "__main__":
    sys.exit(main())
