"""Seconds and memory of the commands that read many runs, over 2,000 artificial ones.

python benchmarks/many.py [--runs 2000] [--folder DIR] [COMMAND ...]    DIR is kept, and used as it is if it exists

`evaluate` opens a tenth as many copies of a run that was trained for an epoch, since artificial runs have no weights.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COMMANDS = {
    "list": ["list", "study"],
    "compare": ["compare", "study", "metrics=[ELBO/Validation]"],
    "report": ["report", "study", "out=report.html"],
    "evaluate": ["evaluate", "trained", "evaluation=[elbo]"],
}
LIMITS = {"list": (3.0, 300.0), "compare": (3.0, 300.0), "report": (20.0, 300.0), "evaluate": (60.0, 1000.0)}  # s, MB
SEEDS, MEASUREMENTS = 5, 15  # seeds of each setting; measurements of each of its two ELBOs, of four numbers
ESTIMATOR = "1 posterior sample a picture; KL analytic between Gaussians, else by the same sample"
UNITS = {"": "nats per picture", "/rate": "nats per picture", "/distortion": "nats per picture"}


def make(study: Path, n_runs: int) -> None:
    """Runs of digits_VAE as training leaves them: settings of three parameters over five seeds, as in a sweep."""
    from frame.composition.compose import compose
    from frame.composition.stored import resolved, stored
    from frame.runs.folder import RunFolder

    study.mkdir(parents=True)
    (study / "sweep.yaml").write_text("method: grid\n")
    first: Path | None = None
    for number in range(n_runs):
        setting, seed = divmod(number, SEEDS)
        beta, z_dim, lr = 0.5 * (1 + setting % 20), 2 ** (1 + setting // 20 % 5), 1e-4 * (1 + setting // 100)
        name = f"beta={beta},z_dim={z_dim},lr={lr:g},seed={seed}"
        folder = study / "runs" / name / "2026-01-01_00-00-00"
        words = ["+experiment=digits_VAE", f"params.beta={beta}", f"params.z_dim={z_dim}", f"params.lr={lr:g}"]
        words += [f"seed={seed}"]
        folder.mkdir(parents=True)
        run = RunFolder(folder)
        if first is None:
            first = folder
            config = compose(words)
            run.describe(stored(config, resolved(config)), words)
            run.write_costs(
                {"parameters": 28048, "encoder_parameters": 10384, "flops_per_sample": 149504.0, "batch_size": 64}
            )
            _pictures(folder)
        else:
            for file in ("code.json", "environment.json", "costs.json"):
                shutil.copyfile(first / file, folder / file)
            shutil.copytree(first / "images", folder / "images")
            text = (first / "config.yaml").read_text()
            for old, new in (
                ("beta: 0.5", f"beta: {beta}"),
                ("z_dim: 2", f"z_dim: {z_dim}"),
                ("lr: 0.0001", f"lr: {lr:.6f}"),
                ("seed: 0", f"seed: {seed}"),
                ("init: 0", f"init: {seed}"),
                ("noise: 0", f"noise: {seed}"),
            ):
                text = text.replace(f"{old}\n", f"{new}\n")
            (folder / "config.yaml").write_text(text)
            (folder / "overrides.yaml").write_text("".join(f"- {word}\n" for word in words))
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "lock").touch()
        counters = {"iterations": 3150.0, "epochs": 150.0, "seconds": 27.9, "samples": 194550.0, "updates": 3150.0}
        run.set_status("finished", reason="trained for 150 epochs", pid=1, counters=counters)
        records = _records(random.Random(number), beta)
        (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def train(cwd: Path, n_copies: int) -> None:
    """Copies of a run of digits_VAE that was trained for an epoch, in `trained`."""
    measured(["train", "+experiment=digits_VAE", "train_for=1 epochs", "evaluations=null", "logging=csv"], cwd, cwd)
    (run,) = (cwd / "runs" / "digits_VAE").iterdir()
    for number in range(n_copies):
        shutil.copytree(run, cwd / "trained" / f"{number:04}" / run.name)


def _pictures(folder: Path) -> None:
    from PIL import Image

    for name in ("Samples", "ImageReconstruction_Validation", "Traversals_Validation"):
        (folder / "images" / name).mkdir(parents=True)
        for iteration in (0, 1575, 3150):
            Image.effect_noise((380, 380), 60).save(folder / "images" / name / f"{iteration:08}.png")


def _records(noise: random.Random, beta: float) -> list[dict[str, Any]]:
    found = []
    for i in range(MEASUREMENTS):
        iteration = 225 * i
        for split, title in (("valid", "Validation"), ("train", "Train")):
            elbo = -90 - 150 / (1 + i) - beta + noise.gauss(0, 1)
            for part in ("", "/rate", "/distortion", "/bits_per_dim"):
                found.append(
                    {
                        "name": f"ELBO/{title}{part}",
                        "value": elbo if part == "" else noise.gauss(20, 5),
                        "unit": UNITS.get(part, "bits per dimension"),
                        "split": split,
                        "n_samples": 200,
                        "estimator": ESTIMATOR,
                        "standard_error": 0.88,
                        "layer": "",
                        "interval": None,
                        "bound": "lower" if part == "" else "",
                        "saturated": False,
                        "better": "more" if part == "" else "",
                        "checkpoint": f"iteration {iteration}",
                        "iteration": iteration,
                        "seconds": iteration / 113,
                        "took": 0.006,
                        "weights": "average",
                    }
                )
    return found


def measured(words: list[str], cwd: Path, cache: Path) -> tuple[float, float, float]:
    """Wall seconds, seconds of the processor, and MB of a command as a process of its own."""
    command = [sys.executable, "-m", "frame", *words]
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": root}
    start = time.perf_counter()
    with (cwd / "out.txt").open("w") as out:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}: {(cwd / 'out.txt').read_text()[-500:]}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("commands", nargs="*", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        cwd = options.folder or Path(temporary)
        if not (cwd / "study").exists():
            make(cwd / "study", options.runs)
        if not (cwd / "trained").exists() and "evaluate" in (options.commands or COMMANDS):
            train(cwd, max(options.runs // 10, 1))
        print("| command | first: s | processor | MB | again: s | processor | MB |\n|---|---|---|---|---|---|---|")
        too_much = False
        for name in options.commands or COMMANDS:
            shutil.rmtree(cwd / "cache", ignore_errors=True)
            first, again = (measured(COMMANDS[name], cwd, cwd / "cache") for _ in range(2))
            print(
                f"| `{name}` | {' | '.join(f'{a:.2f} | {b:.2f} | {c:.0f}' for a, b, c in (first, again))} |", flush=True
            )
            too_much |= again[0] > LIMITS[name][0] or max(first[2], again[2]) > LIMITS[name][1]
    return int(too_much)


if __name__ == "__main__":
    sys.exit(main())
