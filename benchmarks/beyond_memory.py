"""Training on data in memory, mapped, and decoded, beside the bare loop; with less memory than the data take.

    python benchmarks/beyond_memory.py                 a file of 10 times the memory that is allowed: about 10 minutes
    python benchmarks/beyond_memory.py --limit 300     MB that the process may take, in a control group (Linux, root)
    python benchmarks/beyond_memory.py --step 10       waits 10 ms for each batch instead of training, as for a GPU
    python benchmarks/beyond_memory.py --quick         a small file, 2 rounds: only a test that it works
    python benchmarks/beyond_memory.py --json          the last line is a JSON object: `ratios` by row

Mapped: the MLP VAE of `throughput.py` on MNIST's pictures, repeated until the file is large enough, and a random order.
The file is not in the system's cache at first, and the group has room for a tenth of it, so that nine rows of ten come
from the disk. A ratio is rows a second divided by those of the same loop on rows in memory in the same round. Pages
that a process had before it entered the group do not count.

Decoded: JPEG pictures of 256 x 256 as [3, 64, 64], by the loader and its workers, divided by as many processes that
only decode. Nothing is trained. The loader's own process converts bytes to floats on one thread, as little work as it
has where an accelerator converts them, or (`decoded_all_threads`) on all of torch's threads: those of OpenMP keep
their cores busy while they wait for the next batch, and the workers lack them.

    python benchmarks/beyond_memory.py --only decoded --runs 12          about 80 seconds

Measured (see README.md): mapped 1.02 with a wait of 20 ms a batch; decoded 0.97
(0.92 with all threads).
"""

import argparse
import contextlib
import json
import mmap
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import bare
import numpy as np
import throughput
import torch
from PIL import Image
from torch import Tensor

from frame.data.images import Images, Pictures
from frame.data.loader import Loader
from frame.data.memory import InMemory
from frame.data.MNIST import MNIST
from frame.data.npy import Npy

DECODED = (3, 64, 64)


@contextlib.contextmanager
def limited(n_bytes: int) -> Iterator[Path | None]:
    """This process in a control group of its own that may take so much; None if the machine allows no group."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = next((group for _, kind, group in lines if "memory" in kind.split(",")), None)
    v1 = own is not None
    top = Path("/sys/fs/cgroup/memory" if v1 else "/sys/fs/cgroup")
    above = top / (own if own is not None else lines[0][2]).strip("/")
    group = above / f"benchmark-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(n_bytes))
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        print(f"no control group ({error.strerror}): memory is not limited", file=sys.stderr)
        with contextlib.suppress(OSError):
            group.rmdir()
        yield None
        return
    try:
        yield group
    finally:
        (above / "cgroup.procs").write_text(str(os.getpid()))
        for _ in range(50):  # workers may still be ending
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


def write_rows(file: Path, pixels: Tensor, n_bytes: int) -> None:
    """The rows [N, 1, 28, 28] again and again, until the file is so large; it is on the disk and not in the cache."""
    some = pixels.view(-1, 1, 28, 28).numpy()
    times = max(1, round(n_bytes / some.nbytes))
    with file.open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (times * len(some), *some.shape[1:])}
        np.lib.format.write_array_header_1_0(stream, header)
        for _ in range(times):
            stream.write(some.data)
        stream.flush()
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def wait(loader: Loader, seconds: float, iterations: int, tick: Callable[[], None]) -> None:
    """Takes a loader's batches and waits, as a process does while an accelerator is at work."""
    for _ in islice(loader, iterations):
        time.sleep(seconds)
        tick()


def train(loader: Loader, size: bare.Size, iterations: int, tick: Callable[[], None]) -> None:
    """The bare step on a loader's batches."""
    encoder, decoder = bare.networks(size)
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
    for batch in islice(loader, iterations):
        bare.losses(encoder, decoder, batch["x"].flatten(1), 0.5)[0].backward()
        adam.step()
        adam.zero_grad(set_to_none=True)
        tick()


def resident() -> dict[str, float]:
    """MB of this process: its own memory, and pages of files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {key: int(lines[key].split()[0]) / 1024 for key in ("RssAnon", "RssFile")}


def mapped(
    folder: Path, limit: int, n_bytes: int, rounds: int, warm: int, iterations: int, size: bare.Size, step: float
) -> dict[str, Any]:
    """Seconds an iteration of each row, in rounds, and the memory before and after."""
    pixels = MNIST(throughput.pictures(folder)).split("train").batch(torch.arange(50_000))["x"].flatten(1)
    write_rows(folder / "x.npy", pixels, n_bytes)
    seconds: dict[str, list[float]] = {}
    with contextlib.redirect_stderr(throughput.Screen()):
        far = Npy(folder / "x.npy", n_valid=0, n_test=0).split("train")
    near = InMemory(pixels.view(-1, 1, 28, 28))
    with limited(limit) as group:
        before = resident()
        for number in range(rounds + 1):
            loaders = {
                "memory": Loader(near, size.batch, number),
                "mapped": Loader(far, size.batch, 2 * number),
                "mapped_1_worker": Loader(far, size.batch, 2 * number + 1, num_workers=1),
            }
            variants: dict[str, throughput.Train] = {
                name: partial(wait, loader, step) if step else partial(train, loader, size)
                for name, loader in loaders.items()
            }
            if not step:
                variants["bare"] = partial(bare.train, pixels, size)
            for name, one in variants.items():
                taken = throughput.measure(one, warm, iterations)
                if number > 0:  # the first round warms up
                    seconds.setdefault(name, []).append(taken)
            del one
            variants.clear()
            loaders.clear()  # ends workers, which are in the group
        after = resident()
    return {
        "seconds": seconds,
        "file_mb": round((folder / "x.npy").stat().st_size / 1e6),
        "limit_mb": round(limit / 1e6) if group is not None else None,
        "resident_mb": {"before": before, "after": after},
    }


def write_pictures(folder: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(n):
        small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
        place = folder / "pictures" / str(i % 2)
        place.mkdir(parents=True, exist_ok=True)
        small.resize((256, 256), Image.Resampling.BICUBIC).save(place / f"{i}.jpg")


def _decode(reader: Pictures, rows: list[np.ndarray]) -> None:
    torch.set_num_threads(1)
    torch.utils.data._utils.worker._worker_info = object()  # type: ignore[assignment]  # decodes without threads
    for some in rows:
        reader.read(some)


def decoded(folder: Path, n: int, rounds: int, workers: int, batch: int = 64) -> dict[str, list[float]]:
    """Seconds a pass over the pictures: of processes that only decode, and of the loader on one and on all threads."""
    write_pictures(folder, n)
    with contextlib.redirect_stderr(throughput.Screen()):
        source = Images(folder / "pictures", DECODED[1], n_valid=0, n_test=0, memory=1).split("train")
    loader, all_threads = Loader(source, batch, num_workers=workers), torch.get_num_threads()

    def decoder() -> None:
        order = torch.randperm(n).split(batch)
        parts = [[rows.numpy() for rows in order[i::workers]] for i in range(workers)]
        processes = [multiprocessing.Process(target=_decode, args=(source.x.reader, part)) for part in parts]  # type: ignore[attr-defined]
        for process in processes:
            process.start()
        for process in processes:
            process.join()

    def load(threads: int) -> None:
        torch.set_num_threads(threads)
        for _ in loader:
            pass
        torch.set_num_threads(all_threads)

    variants: dict[str, Callable[[], None]] = {
        "decoder": decoder,
        "decoded": partial(load, 1),
        "decoded_all_threads": partial(load, all_threads),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name in sorted(variants, key=lambda name: (list(variants).index(name) + number) % len(variants)):
            begun = time.perf_counter()
            variants[name]()
            if number > 0:  # in the first round the loader starts its workers
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def rates(seconds: dict[str, list[float]], yardstick: str) -> dict[str, list[float]]:
    """How many times as quick as the yardstick in each round."""
    return {
        name: [b / a for a, b in zip(values, seconds[yardstick], strict=True)]
        for name, values in seconds.items()
        if name != yardstick
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=300, help="MB that the process may take")
    parser.add_argument("--model", choices=bare.SIZES, default="large")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--step", type=float, default=0, help="ms to wait for each batch instead of training")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--only", choices=("mapped", "decoded"), help="one of the two halves")
    parser.add_argument("--json", action="store_true", help="print a JSON object as the last line")
    parser.add_argument("--quick", action="store_true", help="2 rounds of a small file")
    options = parser.parse_args()
    limit = options.limit << 20
    if options.quick:
        options.runs, options.iterations, options.pictures = 2, 12, 64
    where = f"CPU, {torch.get_num_threads()} threads; torch {torch.__version__}; pages of {mmap.PAGESIZE} bytes"
    found: dict[str, list[float]] = {}
    milliseconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("BIG_ROOT")) as temporary:
        folder = Path(temporary)
        if options.only != "decoded":
            n_bytes, warm = limit if options.quick else 10 * limit, options.iterations // 6
            size, step = bare.SIZES[options.model], options.step / 1000
            rows = mapped(folder, limit, n_bytes, options.runs, warm, options.iterations, size, step)
            found |= rates(rows["seconds"], "memory")
            medians = {name: statistics.median(values) for name, values in rows["seconds"].items()}
            milliseconds = {name: round(1000 * seconds, 3) for name, seconds in medians.items()}
            print(f"{options.model}; {where}; {options.runs} rounds of {options.iterations} iterations")
            print(f"a file of {rows['file_mb']} MB, {rows['limit_mb']} MB allowed; resident MB: {rows['resident_mb']}")
            print(f"ms an iteration: {milliseconds}")
        if options.only != "mapped":
            pictures = decoded(folder, options.pictures, options.runs, options.workers)
            found |= rates(pictures, "decoder")
            rate = {name: round(options.pictures / statistics.median(values)) for name, values in pictures.items()}
            print(f"{where}; {options.workers} workers, {options.runs} rounds; pictures/s: {rate}")
    print("\n| row | rate, median | lowest-highest |\n|---|---|---|")
    for name, values in found.items():
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f}-{max(values):.2f} |")
    if options.json:
        shown = {name: round(statistics.median(values), 4) for name, values in found.items()}
        print(json.dumps({"model": options.model, "where": where, "ratios": shown, "milliseconds": milliseconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
