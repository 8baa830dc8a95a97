"""Captured steps (`execution=captured`) on a GPU. Without one it says so and exits with 2.

    python benchmarks/captured.py              all three parts: about 10 minutes
    python benchmarks/captured.py vae          MNIST_VAE beside the bare loop in a CUDA graph, eager, and the template
    python benchmarks/captured.py resume       a run that is killed and resumed ends in the bits of one that is not
    python benchmarks/captured.py simclr       a step of SimCLR with a ResNet-18 in bf16 beside the bare step

To reach: MNIST_VAE at 0.9 of the rate of the bare loop in a CUDA graph and at 10 times that of Lightning's template;
SimCLR at 0.95 of the pictures a second of the bare step. The exit code is 1 if one of them, or the same bits, are not
reached.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import bare
import networks
import others
import throughput
import torch

from frame.data.MNIST import MNIST

PARTS = ("vae", "resume", "simclr")
CAPTURED, DEVICE = "execution=captured", "cuda"


def vae(folder: Path, rounds: int, iterations: int) -> bool:
    """Seconds an iteration of each variant, in rounds; whether captured steps are quick enough."""
    size = bare.SIZES["large"]
    pixels = MNIST(throughput.pictures(folder)).split("train").batch(torch.arange(50_000))["x"].flatten(1)
    there = pixels.to(DEVICE)
    rows: dict[str, throughput.Train] = {
        "bare loop in a CUDA graph": partial(bare.train_graph, there, size),
        "bare loop": partial(bare.train, there, size),
        "frame, captured": partial(throughput.full, folder, size, [CAPTURED], []),
        "frame, eager": partial(throughput.full, folder, size, [], []),
        "Lightning's template": partial(others.lightning_template, pixels, size),
    }
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, train in rows.items():
            taken = throughput.measure(train, iterations // 4, iterations)
            if number > 0:  # the first round warms up
                seconds[name].append(taken)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        low, high = (1000 * bound for bound in (min(values), max(values)))
        print(f"{name}: {1000 * middle[name]:.3f} ms an iteration ({low:.3f} to {high:.3f})", flush=True)
    graph = middle["bare loop in a CUDA graph"] / middle["frame, captured"]
    template = middle["Lightning's template"] / middle["frame, captured"]
    print(f"captured: {graph:.2f} of the bare loop in a CUDA graph, {template:.1f} times the template")
    return graph >= 0.9 and template >= 10


def resume(folder: Path, iterations: int = 4000) -> bool:
    """Whether a run that is killed in the middle and resumed has the weights of one that is not."""
    root = throughput.pictures(folder / "data")
    words = [
        *("train", "+experiment=MNIST_VAE", CAPTURED, "logging=csv", "callbacks=null", "seed=1"),
        *(f"train_for={iterations} iterations", f"checkpoint.every={iterations // 20} iterations"),
        "optimization.average=0.999",
        f"device.data_root={root}",
    ]
    ends = []
    for kills in (False, True):
        place = folder / ("killed" if kills else "straight")
        place.mkdir()
        command = [sys.executable, "-m", "frame", *words, f"device.experiments_root={place}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            if kills and list(place.glob("**/previous.ckpt")):  # two were written
                process.send_signal(signal.SIGKILL)
                process.wait()
            time.sleep(0.05)
        (run,) = (found.parent.parent for found in place.glob("**/checkpoints/last.ckpt"))
        if kills:
            subprocess.run([sys.executable, "-m", "frame", "train", f"resume={run}"], check=True)
        ends.append(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True))
    pairs = [(ends[0][part], ends[1][part]) for part in ("model", "average")]
    same = all(torch.equal(one[name], other[name]) for one, other in pairs for name in one)
    print(f"killed and resumed: {'the same bits' if same else 'NOT the same bits'}")
    return same


def simclr(folder: Path, rounds: int, iterations: int) -> bool:
    """Pictures a second of a bare step and of runs; whether captured ones are quick enough."""
    words = ["+experiment=CIFAR10_SimCLR", "callbacks=null", "evaluations=null", "logging=csv"]
    words += ["+trainer.precision=bf16-mixed"]

    def run(*more: str) -> throughput.Train:
        return partial(networks.full_run, [*words, *more], folder)

    rows: dict[str, throughput.Train] = {
        "bare step": partial(networks.bare_loop, words, partial(networks.SGD, lr=0.24), DEVICE),
        "frame, captured": run(CAPTURED),
        "frame, captured, channels_last": run(CAPTURED, "execution.channels_last=true"),
        "frame, eager": run(),
    }
    found = networks.rates(rows, 512, rounds, iterations // 4, iterations)
    rates = {name: statistics.median(values) for name, values in found.items()}
    for name, rate in rates.items():
        print(f"{name}: {rate:,.0f} pictures a second; 200 epochs of 45,000 in {9_000_000 / rate / 60:.1f} minutes")
    share = rates["frame, captured"] / rates["bare step"]
    print(f"captured: {share:.2f} of the bare step")
    return share >= 0.95


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=390)
    options = parser.parse_args(words)
    if not torch.cuda.is_available():
        print("benchmarks/captured.py needs a GPU (CUDA), and this machine shows none", file=sys.stderr)
        return 2
    print(f"{torch.cuda.get_device_name()}; torch {torch.__version__}")
    reached = []
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        os.environ["DATA_ROOT"] = str(throughput.pictures(here / "pictures"))
        for part in [options.part] if options.part else PARTS:
            place = here / part
            place.mkdir()
            reached.append(
                resume(place)
                if part == "resume"
                else {"vae": vae, "simclr": simclr}[part](place, options.rounds, options.iterations)
            )
    return int(not all(reached))


if __name__ == "__main__":
    sys.exit(main())
