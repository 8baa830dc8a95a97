"""Training speed, paired in one process, as ratios to a bare loop with the same networks.

    python benchmarks/throughput.py            7 runs of each variant, interleaved: about 5 minutes on 2 cores
    python benchmarks/throughput.py --quick    2 short runs: only a test that it works

MLP VAE 784-1024-128-64, batches of 128, fused Adam; MNIST from DATA_ROOT, or random pictures of its size. A run is
timed from iteration `--warm` on, so that one-time costs (Adam's state, opening files) are left out. Evaluations run
before the first and after the last iteration and are not timed. Nor are checkpoints, which are written every 30
seconds, after the end of such short runs; another row has one every 200 iterations.
"""

import argparse
import contextlib
import io
import os
import statistics
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bare
import numpy as np
import others
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from frame.composition.compose import compose
from frame.data.MNIST import MNIST
from frame.engine.experiment import build, fit
from frame.runs.folder import RunFolder


class Stopwatch:
    """Seconds from the end of iteration `warm` to the end of iteration `last`."""

    def __init__(self, warm: int, last: int) -> None:
        self.warm, self.last, self.done = warm, last, 0
        self.started = self.seconds = float("nan")

    def tick(self) -> None:
        self.done += 1
        if self.done in (self.warm, self.last):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            now = time.perf_counter()
            self.started, self.seconds = now, now - self.started  # not a number at `warm`


class Screen(io.StringIO):
    """A fake terminal, so that progress bars are drawn."""

    def isatty(self) -> bool:
        return True


class Ticks(Callback):
    """Comes after the callbacks of the config; later callbacks count in the next iteration."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self.tick = tick

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.tick()


def ours(folder: Path, overrides: list[str], iterations: int, tick: Callable[[], None]) -> None:
    """A run as `frame train` makes it: progress bar, TensorBoard and CSV, checkpoints, pictures, evaluations."""
    config = compose(
        [
            "+experiment=MNIST_VAE",
            "logging=[tensorboard]",
            "data.binarize=none",
            f"train_for={iterations} iterations",
            f"device.experiments_root={folder}",
            *overrides,
        ]
    )
    for callback in config.callbacks.values():
        callback.evaluate_every = f"{iterations + 1} iterations"  # at the start and after the last
    experiment = build(config)
    experiment.callbacks.append(Ticks(tick))
    if fit(experiment, RunFolder.create(folder, "throughput")) != 0:
        raise RuntimeError(f"the run failed: {sys.stderr.getvalue() if isinstance(sys.stderr, Screen) else ''}")


def pictures(root: Path) -> Path:
    """The folder that holds MNIST: DATA_ROOT, or `root`, filled with random pictures of the same size."""
    given = os.environ.get("DATA_ROOT")
    if given and (Path(given) / "MNIST").is_dir():
        return Path(given)
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    (raw / "train-images-idx3-ubyte").write_bytes(
        struct.pack(">iiii", 2051, 60_000, 28, 28) + rng.integers(0, 256, 60_000 * 784, np.uint8).tobytes()
    )
    (raw / "train-labels-idx1-ubyte").write_bytes(
        struct.pack(">ii", 2049, 60_000) + rng.integers(0, 10, 60_000, np.uint8).tobytes()
    )
    return root


def variants(pixels: Tensor, folder: Path) -> dict[str, Callable[[int, Callable[[], None]], None]]:
    """By name: functions of (iterations, tick) that train and call tick after each iteration; the baseline first.

    The bare loops have the pixels on their device; the others move their batches there themselves.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = pixels.to(device)
    found: dict[str, Callable[[int, Callable[[], None]], None]] = {
        "bare loop": partial(bare.train, there),
        "**frame, full run**": partial(ours, folder, []),
        "frame, a checkpoint each 200 iterations": partial(ours, folder, ["checkpoint.every=200 iterations"]),
        "frame, bf16-mixed": partial(ours, folder, ["+trainer.precision=bf16-mixed"]),
        "Lightning template, PIL per sample": partial(others.lightning_template, pixels),
    }
    if device.type == "cuda":
        found["bare loop in a CUDA graph"] = partial(bare.train_graph, there)
    try:
        import pythae  # noqa: F401

        found["pythae's trainer"] = partial(others.pythae_trainer, pixels)
    except ImportError:
        print("pythae is not installed and is left out: make bench-extra installs it", file=sys.stderr)
    return found


def measure(train: Callable[[int, Callable[[], None]], None], warm: int, iterations: int) -> float:
    """Seconds an iteration."""
    watch = Stopwatch(warm, iterations)
    torch.manual_seed(0)
    with contextlib.redirect_stdout(Screen()), contextlib.redirect_stderr(Screen()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice about workers
        train(iterations, watch.tick)
    assert watch.done == iterations, f"{watch.done} iterations instead of {iterations}"
    return watch.seconds / (iterations - warm)


def table(seconds: dict[str, list[float]]) -> str:
    """A table in Markdown. Each run is divided by the bare loop of its own round."""
    yardstick = next(iter(seconds.values()))
    lines = ["| variant | ratio, median | lowest–highest | ms an iteration, median |", "|---|---|---|---|"]
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values, yardstick, strict=True)]
        middle = 1000 * statistics.median(values)
        lines.append(
            f"| {name} | {statistics.median(ratios):.2f} | {min(ratios):.2f}–{max(ratios):.2f} | {middle:.2f} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=390, help="iterations of a run, at most an epoch (390)")
    parser.add_argument("--warm", type=int, default=20, help="iterations before the stopwatch starts")
    parser.add_argument("--only", default="", help="variants whose name has this text, beside the bare loop")
    parser.add_argument("--quick", action="store_true", help="2 runs of 30 iterations")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.iterations, options.warm = 2, 30, 5
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = pictures(folder / "data")
        os.environ["DATA_ROOT"] = str(root)
        pixels = MNIST(root).split("train").batch(torch.arange(50_000))["x"].flatten(1)
        chosen = variants(pixels, folder / "runs")
        chosen = {n: t for i, (n, t) in enumerate(chosen.items()) if i == 0 or options.only in n}
        seconds: dict[str, list[float]] = {name: [] for name in chosen}
        for run in range(-1, options.runs):  # the first round is discarded
            for name, train in chosen.items():
                value = measure(train, options.warm, options.iterations)
                if run >= 0:
                    seconds[name].append(value)
    if torch.cuda.is_available():
        where = torch.cuda.get_device_name()
    else:
        where = f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}; torch {torch.__version__}; {options.runs} runs of {options.iterations} iterations")
    print("real MNIST\n" if root != folder / "data" else "random pictures\n")
    print(table(seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
