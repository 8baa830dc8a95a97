"""Training speed, paired in one process, as ratios to a bare loop with the same networks.

    python benchmarks/throughput.py --model large    7 runs of each variant, interleaved: about 6 minutes on 2 cores
    python benchmarks/throughput.py --model small    where the fixed price of an iteration shows
    python benchmarks/throughput.py --quick          2 short runs: only a test that it works
    python benchmarks/throughput.py --json           the last line is a JSON object: `ratios` by variant

MLP VAEs with fused Adam: large is 784-1024-128-64 with batches of 128, small is 784-64-8 with batches of 64. MNIST from
DATA_ROOT, or random pictures of its size. A run is timed from iteration `--warm` on, so that one-time costs (Adam's
state, opening files) are left out. Evaluations run before the first and after the last iteration and are not timed. Nor
are checkpoints, which are written every 30 seconds, after the end of such short runs; another row has one every 200
iterations.
"""

import argparse
import contextlib
import io
import itertools
import json
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
from bare import Size
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from torch import Tensor

from frame.callbacks.duration import TrainDuration
from frame.callbacks.losses import LossLog
from frame.composition.compose import compose
from frame.composition.stored import stored
from frame.data.MNIST import MNIST
from frame.engine.experiment import Experiment, build, fit
from frame.optimization.base import Optimization
from frame.optimization.clock import Agreement
from frame.optimization.stretches import Stretches
from frame.runs.folder import RunFolder

EACH_200 = "checkpoint.every=200 iterations"


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
    """Ticks once for each iteration, whether Lightning is asked for each or for a stretch.

    It comes after the callbacks of the config; later callbacks count in the next iteration.
    """

    def __init__(self, tick: Callable[[], None]) -> None:
        self.tick, self.done = tick, 0

    def is_due(self, optimization: Optimization) -> bool:
        if optimization.counters["iterations"] > self.done:
            self.done += 1
            self.tick()
        return False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        assert isinstance(pl_module, Optimization)
        self.is_due(pl_module)


class EachBatch(Callback):
    """Wants to be called for each batch, so that there are no stretches."""

    def on_train_batch_start(self, *args: Any) -> None: ...


def words(size: Size, iterations: int, folder: Path, *more: str) -> list[str]:
    """The command line of a run of `frame` that does the work of the bare loop."""
    return [
        "+experiment=MNIST_VAE",
        "logging=[tensorboard]",
        "data.binarize=none",
        "~architectures.decoder.distribution",
        "+architectures.decoder.distribution={_target_: frame.architectures.base.BernoulliPicture}",
        f"params.encoder_layers={[*size.layers]}",
        f"params.decoder_layers={[*reversed(size.layers)]}",
        f"params.z_dim={size.z_dim}",
        f"params.batch_size={size.batch}",
        f"train_for={iterations} iterations",
        f"device.experiments_root={folder}",
        *more,
    ]


def full(
    folder: Path, size: Size, more: list[str], each: list[Callback], iterations: int, tick: Callable[[], None]
) -> None:
    """A run of `frame train`: progress bar, TensorBoard and CSV, checkpoints, pictures, evaluations, the doctor."""
    config = compose(words(size, iterations, folder, *more))
    for callback in config.callbacks.values():
        callback.evaluate_every = f"{iterations + 1} iterations"  # at the start and after the last
    experiment = build(config)
    experiment.callbacks += [Ticks(tick), *each]
    train(experiment, config, folder)


def train(experiment: Experiment, config: DictConfig, folder: Path) -> None:
    """Trains in a new folder below `folder`.

    Raises:
        RuntimeError: the run failed.
    """
    run = RunFolder.create(folder, "benchmark")
    run.describe(stored(config, experiment.plain), [])
    if fit(experiment, run) != 0:
        said = sys.stderr.getvalue() if isinstance(sys.stderr, Screen) else ""
        raise RuntimeError(f"the run failed: {said[-1000:]}")  # the bar before it is long


def model_alone(folder: Path, size: Size, pixels: Tensor, iterations: int, tick: Callable[[], None]) -> None:
    """The bare loop with our networks and loss."""
    model = build(compose(words(size, iterations, folder, "callbacks=null"))).model.to(pixels.device)
    bare.descend(
        list(model.parameters()),
        lambda x: model({"x": x.view(-1, 1, 28, 28)})["loss"],
        pixels,
        size,
        iterations,
        tick,
    )


def without_lightning(folder: Path, size: Size, iterations: int, tick: Callable[[], None]) -> None:
    """Our loader, step and bookkeeping (noise, counters, losses) without Lightning's loop."""
    experiment = build(compose(words(size, iterations, folder, "callbacks=null")))
    optimization, loader = experiment.optimization, experiment.loader
    optimization.to(experiment.trainer.strategy.root_device)
    optimization.configure_optimizers()
    optimization.start(loader, Agreement(device=experiment.trainer.strategy.root_device), Tensor.backward)
    for batch in itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), iterations):
        optimization.iterate(batch)
        if len(optimization.recent) == 50:
            optimization.losses()
        tick()


def lightning_alone(folder: Path, size: Size, iterations: int, tick: Callable[[], None]) -> None:
    """The same in Lightning's loop, with no callback beside the one that ends it."""
    experiment = build(compose(words(size, iterations, folder, "callbacks=null")))
    callbacks: list[TrainDuration | LossLog | Ticks] = [TrainDuration(experiment.limits), LossLog(50), Ticks(tick)]
    experiment.trainer.callbacks = callbacks  # type: ignore[attr-defined]
    experiment.optimization.watchers = [callback.is_due for callback in callbacks]
    experiment.trainer.fit(experiment.optimization, Stretches(experiment.loader))


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


Train = Callable[[int, Callable[[], None]], None]  # of the iterations and of what is called after each


def variants(size: Size, pixels: Tensor, folder: Path) -> dict[str, tuple[str, Train]]:
    """By the key in `ratios`: the row's title, and what trains; the baseline first.

    The bare loops have the pixels on their device; the others move their batches there themselves.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = pixels.to(device)
    run = partial(full, folder, size)
    found: dict[str, tuple[str, Train]] = {
        "bare": ("bare loop", partial(bare.train, there, size)),
        "model": ("the bare loop with frame's model", partial(model_alone, folder, size, there)),
        "without_lightning": ("+ loader and bookkeeping", partial(without_lightning, folder, size)),
        "lightning": ("+ Lightning's loop", partial(lightning_alone, folder, size)),
        "frame": ("**frame, full run**", partial(run, [], [])),
        "frame_each_batch": ("the same, hooks for each batch", partial(run, [], [EachBatch()])),
        "frame_checkpoints": ("the same, a checkpoint each 200 iterations", partial(run, [EACH_200], [])),
        "frame_compiled": ("the same, compiled", partial(run, ["execution=compiled"], [])),
        "lightning_template": ("Lightning template, PIL per sample", partial(others.lightning_template, pixels, size)),
    }
    if device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        found["frame_bf16"] = ("**frame, full run**, bf16-mixed", partial(run, ["+trainer.precision=bf16-mixed"], []))
    else:  # several times slower, minutes for each run
        print("this processor has no bf16 instructions: frame_bf16 is left out", file=sys.stderr)
    if device.type == "cuda":
        found["bare_graph"] = ("bare loop in a CUDA graph", partial(bare.train_graph, there, size))
    try:
        import pythae  # noqa: F401

        found["pythae"] = ("pythae's trainer", partial(others.pythae_trainer, pixels, size))
    except ImportError:
        print("pythae is not installed and is left out: make bench-extra installs it", file=sys.stderr)
    return found


def measure(train: Train, warm: int, iterations: int) -> float:
    """Seconds an iteration."""
    watch = Stopwatch(warm, iterations)
    torch.manual_seed(0)
    with contextlib.redirect_stdout(Screen()), contextlib.redirect_stderr(Screen()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice about workers
        train(iterations, watch.tick)
    assert watch.done == iterations, f"{watch.done} iterations instead of {iterations}"
    return watch.seconds / (iterations - warm)


def ratios(seconds: dict[str, list[float]]) -> dict[str, list[float]]:
    """Each run divided by the bare loop of its own round."""
    yardstick = next(iter(seconds.values()))
    return {name: [a / b for a, b in zip(values, yardstick, strict=True)] for name, values in seconds.items()}


def table(seconds: dict[str, list[float]], titles: dict[str, str]) -> str:
    """A table in Markdown."""
    lines = ["| variant | ratio, median | lowest–highest | ms an iteration, median |", "|---|---|---|---|"]
    for name, found in ratios(seconds).items():
        middle = 1000 * statistics.median(seconds[name])
        lines.append(
            f"| {titles[name]} | {statistics.median(found):.2f} | {min(found):.2f}–{max(found):.2f} | {middle:.2f} |"
        )
    return "\n".join(lines)


def as_json(seconds: dict[str, list[float]], model: str, where: str) -> str:
    """One line: the medians of the ratios by variant, their lowest and highest values, and milliseconds."""
    found = ratios(seconds)
    return json.dumps(
        {
            "model": model,
            "where": where,
            "ratios": {name: round(statistics.median(values), 4) for name, values in found.items()},
            "lowest": {name: round(min(values), 4) for name, values in found.items()},
            "highest": {name: round(max(values), 4) for name, values in found.items()},
            "milliseconds": {name: round(1000 * statistics.median(values), 4) for name, values in seconds.items()},
        }
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=bare.SIZES, default="large")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--iterations", type=int, help="iterations of a run, at most an epoch: 390 large, 780 small")
    parser.add_argument("--warm", type=int, default=20, help="iterations before the stopwatch starts")
    parser.add_argument("--only", default="", help="keys of variants beside the bare loop, such as model,frame")
    parser.add_argument("--json", action="store_true", help="print a JSON object as the last line")
    parser.add_argument("--quick", action="store_true", help="2 runs of 30 iterations")
    options = parser.parse_args()
    size = bare.SIZES[options.model]
    iterations = options.iterations or 50_000 // size.batch
    if options.quick:
        options.runs, iterations, options.warm = 2, 30, 5
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = pictures(folder / "data")
        os.environ["DATA_ROOT"] = str(root)
        pixels = MNIST(root).split("train").batch(torch.arange(50_000))["x"].flatten(1)
        known = variants(size, pixels, folder / "runs")
        wanted = options.only.split(",") if options.only else list(known)
        if unknown := set(wanted) - known.keys():
            parser.error(f"--only={options.only}: {', '.join(sorted(unknown))} is none of {', '.join(known)}")
        chosen = {name: variant for name, variant in known.items() if name == "bare" or name in wanted}
        seconds: dict[str, list[float]] = {name: [] for name in chosen}
        for run in range(-1, options.runs):  # the first round is discarded
            for name, (_, train) in chosen.items():
                value = measure(train, options.warm, iterations)
                if run >= 0:
                    seconds[name].append(value)
    if torch.cuda.is_available():
        where = torch.cuda.get_device_name()
    else:
        where = f"CPU, {torch.get_num_threads()} threads"
    where += f"; torch {torch.__version__}"
    print(f"{options.model}; {where}; {options.runs} runs of {iterations} iterations")
    print("real MNIST\n" if root != folder / "data" else "random pictures\n")
    print(table(seconds, {name: title for name, (title, _) in chosen.items()}))
    if options.json:
        print(as_json(seconds, options.model, where))
    return 0


if __name__ == "__main__":
    sys.exit(main())
