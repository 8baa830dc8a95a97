"""A step of SimCLR with a ResNet-18 and a masked step of a ViT, 3x32x32, beside bare loops over the same batches.

    python benchmarks/networks.py             both on the CPU: about 10 minutes on 2 cores
    python benchmarks/networks.py mae         one of them: simclr or mae
    python benchmarks/networks.py --json      the last line is a JSON object: ratios and pictures a second

The bare loop has the networks, the loss and the views of the run, and steps the optimizer itself. The run has the rest,
too: progress bar, TensorBoard and CSV, checkpoints, the doctor, schedules. CIFAR-10 from DATA_ROOT.
`benchmarks/captured.py simclr` is the same on a GPU.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import throughput
import torch

from frame.composition.compose import compose
from frame.engine.experiment import build

Tick = Callable[[], None]
EXPERIMENTS = {"simclr": "CIFAR10_SimCLR", "mae": "CIFAR10_MAE"}
BATCHES = {"simclr": 32, "mae": 64}  # pictures; SimCLR takes two views of each
SGD = partial(torch.optim.SGD, lr=0.03, momentum=0.9, weight_decay=5e-4, fused=True)
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "simclr": SGD,
    "mae": partial(torch.optim.AdamW, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
}


def full_run(words: Sequence[str], folder: Path, iterations: int, tick: Tick) -> None:
    """A run of `frame train`."""
    config = compose([*words, f"train_for={iterations} iterations", f"device.experiments_root={folder}"])
    experiment = build(config)
    experiment.callbacks.append(throughput.Ticks(tick))
    throughput.train(experiment, config, folder)


def bare_loop(
    words: Sequence[str],
    optimizer_of: Callable[..., torch.optim.Optimizer],
    device: str,
    iterations: int,
    tick: Tick,
) -> None:
    """The same networks, batches and losses, and nothing else."""
    experiment = build(compose([*words, "callbacks=null"]))
    model: Any = experiment.model.to(device)
    bf16 = str(experiment.plain.get("trainer", {}).get("precision", "")).startswith("bf16")
    optimizer = optimizer_of(model.parameters())
    for batch in islice(chain.from_iterable(repeat(experiment.loader)), iterations):
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16, cache_enabled=False):
            loss = model(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tick()


def rates(
    rows: dict[str, throughput.Train], batch: int, rounds: int, warm: int, iterations: int
) -> dict[str, list[float]]:
    """Pictures a second of each row in each round, in turns; the first round warms up and is discarded."""
    found: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, train in rows.items():
            seconds = throughput.measure(train, warm, iterations)
            if number > 0:
                found[name].append(batch / seconds)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", nargs="?", choices=EXPERIMENTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=24)
    parser.add_argument("--json", action="store_true", help="print a JSON object as the last line")
    options = parser.parse_args()
    told: dict[str, dict[str, float]] = {}
    print("| step | pictures/s, bare | pictures/s, frame | ratio, median | lowest–highest |\n|---|---|---|---|---|")
    for method in [options.method] if options.method else EXPERIMENTS:
        words = [f"+experiment={EXPERIMENTS[method]}", "evaluations=null", "logging=[tensorboard]"]
        words.append(f"params.batch_size={BATCHES[method]}")
        with tempfile.TemporaryDirectory() as folder:
            rows: dict[str, throughput.Train] = {
                "bare": partial(bare_loop, words, OPTIMIZERS[method], "cpu"),
                "frame": partial(full_run, words, Path(folder)),
            }
            found = rates(rows, BATCHES[method], options.rounds, options.iterations // 4, options.iterations)
        ratios = [ours / bare for ours, bare in zip(found["frame"], found["bare"], strict=True)]
        middle = {name: statistics.median(values) for name, values in found.items()}
        told[method] = middle | {"ratio": statistics.median(ratios)}
        print(
            f"| {method} | {middle['bare']:.1f} | {middle['frame']:.1f} | {told[method]['ratio']:.2f} | "
            f"{min(ratios):.2f}–{max(ratios):.2f} |",
            flush=True,
        )
    if options.json:
        print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
