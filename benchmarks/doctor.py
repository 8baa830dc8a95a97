"""The cost of the doctor: pairs of runs with it and without, in turns, in one process.

    python benchmarks/doctor.py                      5 pairs of MNIST_VAE, 1,000 iterations: 2 to 3 minutes on 2 cores
    python benchmarks/doctor.py --runs 1 --iterations 60 --warm 10      does it work?

Seconds are those of the processor in all threads, from iteration `--warm` on, so that other work on the machine
changes little. The last column is the time for judging rows by the doctor's own clock, as a share of the run.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

from throughput import Screen, Ticks, pictures, train

from frame.callbacks import Doctor
from frame.composition.compose import compose
from frame.engine.experiment import build


def trained(folder: Path, words: list[str], iterations: int, warm: int) -> tuple[float, float]:
    """CPU seconds per iteration, and the doctor's share of the run's seconds."""
    config = compose(["+experiment=MNIST_VAE", "callbacks=null", f"train_for={iterations} iterations", *words])
    experiment = build(config)
    ticks: list[float] = []
    experiment.callbacks.append(Ticks(lambda: ticks.append(time.process_time())))
    with contextlib.redirect_stdout(Screen()), contextlib.redirect_stderr(Screen()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(experiment, config, folder)
    took = sum(c.took for c in experiment.callbacks if isinstance(c, Doctor))
    share = took / experiment.optimization.counters["seconds"]
    return (ticks[-1] - ticks[warm - 1]) / (len(ticks) - warm), share


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="pairs, after one that is discarded")
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--warm", type=int, default=100, help="iterations before the stopwatch starts")
    options = parser.parse_args()
    ratios, shares, milliseconds = [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["DATA_ROOT"] = str(pictures(folder / "data"))
        for run in range(-1, options.runs):
            order = [[], ["doctor=null"]] if run % 2 else [["doctor=null"], []]
            found = {bool(words): trained(folder, words, options.iterations, options.warm) for words in order}
            if run >= 0:
                (watched, share), (alone, _) = found[False], found[True]
                ratios.append(watched / alone)
                shares.append(share)
                milliseconds.append(1000 * alone)
    print(
        f"{options.runs} pairs of {options.iterations} iterations, {statistics.median(milliseconds):.2f} ms of CPU each"
    )
    print(f"with the doctor: ratio {statistics.median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})")
    print(f"judging took {statistics.median(shares):.2%} of the run ({min(shares):.2%}–{max(shares):.2%})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
