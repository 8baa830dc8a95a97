"""Views a second of SimCLR's list for CIFAR-10: crop, flip, colour jitter and grayscale, 3 x 32 x 32.

    python benchmarks/augmentation.py             ours and kornia's, in turns
    python benchmarks/augmentation.py --quick     only a test that it works

Both have the same list, with parameters of their own for each picture, on the same batch. In each round both run once,
and the first round is discarded. A ratio compares the two of one round, so that a slow minute affects both. 'CPU' is
the time of all threads: it hardly changes on a busy machine.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from frame.composition.instantiate import instantiate

LIST = Path(__file__).resolve().parents[1] / "config" / "data" / "views_natural.yaml"


def ours() -> Callable[[Tensor], Tensor]:
    """The list of data=views_natural."""
    modules = [instantiate(node) for node in yaml.safe_load(LIST.read_text())["augmentations"].values()]
    generator = torch.Generator().manual_seed(0)

    def views(x: Tensor) -> Tensor:
        for module in modules:
            x = module(x, generator)
        return x

    return views


def kornias() -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kornia.augmentation as K

    return nn.Sequential(
        K.RandomResizedCrop((32, 32), (0.08, 1.0), (3 / 4, 4 / 3), align_corners=False),
        K.RandomHorizontalFlip(0.5),
        K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        K.RandomGrayscale(p=0.2),
    )


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - cpu


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=512, help="pictures in a batch")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="the last line is a JSON object")
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    x = torch.rand(options.rows, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    sides = {"frame": ours(), "kornia": kornias()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    with torch.no_grad():
        for _ in range(rounds + 1):
            for name, side in sides.items():
                times[name].append(seconds(lambda side=side: side(x)))  # type: ignore[misc]
    print(f"{torch.get_num_threads()} threads; torch {torch.__version__}; {rounds} rounds of {options.rows} pictures\n")
    print("| | views/s, median | best | views per CPU second |\n|---|---|---|---|")
    found = {}
    for name, all_ in times.items():
        wall, cpu = zip(*all_[1:], strict=True)
        found[name] = options.rows / median([*wall])
        print(
            f"| {name} | {found[name]:,.0f} | {options.rows / min(wall):,.0f} | {options.rows / median([*cpu]):,.0f} |"
        )
    ratios = sorted(k[0] / f[0] for f, k in zip(times["frame"][1:], times["kornia"][1:], strict=True))
    print(f"\nkornia takes {median(ratios):.1f} times as long ({ratios[0]:.1f}–{ratios[-1]:.1f})")
    if options.json:
        print(json.dumps({"views_per_second": found, "ratio": median(ratios)}))


if __name__ == "__main__":
    main()
