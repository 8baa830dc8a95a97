"""Seconds until commands answer, and until the first step of a run: best of `--runs`.

    python benchmarks/startup.py           fails if a quick command takes more than 0.5 s, or the first step comes more
                                           than 1.5 s after `import lightning.pytorch` would have been done

Quick commands do not import torch. What a run needs beside Lightning's import is counted. Python may keep what it
compiles, as it does for users, also where the environment forbids it.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = {
    "frame train --help": ["train", "--help"],
    "frame train --cfg job +experiment=digits_VAE": ["train", "--cfg", "job", "+experiment=digits_VAE"],
    "frame train +experiment=dig<TAB>": ["-sc", "query=bash"],
    "frame train +experiment=digits_VAE params.beat=1": ["train", "+experiment=digits_VAE", "params.beat=1"],
}
LIMIT, FIRST_STEP = 0.5, 1.5  # seconds
EXPERIMENTS = ("digits_VAE", "MNIST_VAE")
FRAME = str(Path(sys.executable).parent / "frame")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds(words: list[str]) -> float:
    line = "frame train +experiment=dig"
    environment = {**ENVIRONMENT, "COMP_LINE": line, "COMP_POINT": str(len(line))}
    start = time.perf_counter()
    subprocess.run([FRAME, *words], env=environment, capture_output=True, check=False)
    return time.perf_counter() - start


def importing_lightning() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import lightning.pytorch"], env=ENVIRONMENT, check=True, capture_output=True)
    return time.perf_counter() - start


def until_first_step(experiment: str) -> float:
    """From the start of the process to the end of the first iteration, without the evaluations before it.

    Raises:
        RuntimeError: the run made no step.
    """
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    first = "callbacks={first: {_target_: first_step.FirstStep}}"
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", f"+experiment={experiment}", "evaluations=null", f"+{first}", "logging=[tensorboard]"]
        start = time.time()
        done = subprocess.run(
            [FRAME, *words], cwd=folder, env={**ENVIRONMENT, "PYTHONPATH": path}, capture_output=True, text=True
        )
    found = re.search(r"first step at ([\d.]+)", done.stdout)
    if found is None:
        raise RuntimeError(f"{experiment} made no step: {done.stderr}")
    return float(found[1]) - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = range(parser.parse_args().runs)
    best = {name: min(seconds(words) for _ in runs) for name, words in COMMANDS.items()}
    print("| command | seconds |\n|---|---|")
    for name, value in best.items():
        print(f"| `{name}` | {value:.2f} |")
    alone = min(importing_lightning() for _ in runs)
    print(f"| `import lightning.pytorch` | {alone:.2f} |")
    late = 0.0
    data = Path(os.environ.get("DATA_ROOT", "data"))
    for experiment in EXPERIMENTS if (data / "MNIST").exists() else EXPERIMENTS[:1]:
        value = min(until_first_step(experiment) for _ in runs)
        late = max(late, value - alone)
        print(f"| first step of {experiment} | {value:.2f}, {value - alone:.2f} after Lightning's import |")
    return int(max(best.values()) > LIMIT or late > FIRST_STEP)


if __name__ == "__main__":
    sys.exit(main())
