"""Variants of an experiment with the same seeds: what is missing is trained, then a table of paired differences.

    python benchmarks/paired.py digits_VIB               benchmarks/pairs/digits_VIB.yaml, or any path of a YAML file
    python benchmarks/paired.py digits_VIB --jobs 2      two runs at a time, which makes their seconds longer
    python benchmarks/paired.py digits_VIB --jobs 0      only the table of what is there

    variants: {vae: experiment=digits_VAE, beta 4: experiment=digits_VAE params.beta=4}   overrides, as typed
    common: train_for="5 epochs"          added to each; may be left out
    seeds: [1, 2, 3]
    against: vae                          the differences are from this variant; may be left out
    metrics: [ELBO/Validation, ELBO/Validation@2000, ELBO/Validation@120s]

A metric is a record's name: its last value, that at an iteration, or the last within so many seconds of training; its
floors follow it. A run lies in <root>/<name>/<variant>/<seed>/; finished ones are kept, interrupted ones resumed.
"""

import argparse
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import yaml

from frame.measures.statistics import mean_and_standard_error
from frame.mistakes import Mistake, at_least, choices
from frame.runs import RunFolder

HERE = Path(__file__).resolve().parent
KEYS = ("variants", "common", "seeds", "against", "metrics")
Records = Mapping[tuple[str, int], Sequence[dict[str, Any]]]  # by variant and seed


def load(file: Path, root: Path) -> tuple[dict[str, Any], dict[tuple[str, int], list[str]]]:
    """The comparison that a YAML file describes, and the overrides of each cell, by variant and seed."""
    if not file.is_file():
        raise Mistake(f"there is no {file}")
    plan = dict(yaml.safe_load(file.read_text()) or {})
    unknown = [key for key in plan if key not in KEYS]
    missing = [key for key in ("variants", "seeds", "metrics") if not plan.get(key)]
    if unknown or missing:
        raise Mistake(f"{file}: {choices(unknown[0], KEYS, kind='key') if unknown else f'{missing[0]} is missing'}")
    if plan.get("against") not in (None, *plan["variants"]):
        raise Mistake(f"{file}: against: {choices(str(plan['against']), plan['variants'], kind='variant')}")
    cells = {}
    for variant, overrides in plan["variants"].items():
        for seed in plan["seeds"]:
            typed = shlex.split(f"{overrides} {plan.get('common') or ''} seed={seed} logging=csv")
            where = [f"experiment_name='{seed}'", f"device.experiments_root={root / file.stem / str(variant)}"]
            cells[str(variant), int(seed)] = [*typed, *where]
    return plan, cells


def newest(folder: Path, words: Sequence[str]) -> RunFolder | None:
    """The newest run in a cell's folder, or None; a mistake where it was started with other overrides."""
    stamps = sorted(path.parent for path in folder.glob("*/status.json"))
    if not stamps:
        return None
    run = RunFolder.existing(stamps[-1])
    if yaml.safe_load((run.path / "overrides.yaml").read_text()) != list(words):
        raise Mistake(f"{run.path} was started with other overrides: delete it, or give the variant another name")
    return run


def train(folder: Path, words: Sequence[str], jobs: int) -> int:
    """Trains what is missing of a cell; returns the exit code. What is printed goes into <seed>.log beside it."""
    run = newest(folder, words)
    if run is not None and run.status.get("state") == "finished":
        return 0
    arguments = words if run is None or run.checkpoint() is None else [f"resume={run.path}"]
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs)), **os.environ}
    command = [sys.executable, "train.py", *arguments]
    with folder.with_suffix(".log").open("a") as log:
        return subprocess.run(command, cwd=HERE.parent, env=environment, stdout=log, stderr=log).returncode


def value(records: Sequence[dict[str, Any]], metric: str) -> float:
    """The metric's value among a run's records; NaN where it was not measured."""
    name, _, at = metric.partition("@")
    found = [record for record in records if record["name"] == name]
    if at.endswith("s"):
        found = [record for record in found if record["seconds"] <= float(at[:-1])]
    elif at not in ("", "last"):
        found = [record for record in found if record["iteration"] == int(at)]
    return float(found[-1]["value"]) if found else math.nan


def table(metrics: Sequence[str], records: Records, against: str | None) -> str:
    """Means over seeds, and over the seeds of both the differences from `against`, each with its standard error."""
    lines = ["| metric | variant | seeds | mean ± s.e. | paired difference ± s.e. |", "|---|---|---|---|---|"]
    names = dict.fromkeys(record["name"] for found in records.values() for record in found)
    columns: dict[str, dict[tuple[str, int], float]] = {}
    for metric in metrics:
        name, at, point = metric.partition("@")
        for shown in (metric, *(f"{floor}{at}{point}" for floor in names if floor.startswith(f"{name}/floor/"))):
            columns[shown] = {cell: value(found, shown) for cell, found in records.items()}
    columns["seconds of training"] = {c: max((r["seconds"] for r in f), default=math.nan) for c, f in records.items()}
    for metric, values in columns.items():
        for variant in dict.fromkeys(variant for variant, _ in records):
            own = {seed: number for (v, seed), number in values.items() if v == variant and not math.isnan(number)}
            pairs = [number - values.get((against or "", seed), math.nan) for seed, number in own.items()]
            difference = "" if variant == against else written([d for d in pairs if not math.isnan(d)], "+")
            lines.append(f"| {metric} | {variant} | {len(own)} | {written([*own.values()])} | {difference} |")
    return "\n".join(lines)


def written(numbers: Sequence[float], sign: str = "") -> str:
    """`mean ± standard error`; the mean alone of one number, nothing of none."""
    mean, error = mean_and_standard_error(torch.tensor(numbers)) if numbers else (math.nan, math.nan)
    return "" if math.isnan(mean) else f"{mean:{sign}.5g}" if math.isnan(error) else f"{mean:{sign}.5g} ± {error:.2g}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of a file in benchmarks/pairs, or a path")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; 0: no runs, only the table")
    parser.add_argument("--root", type=Path, default=Path("runs/pairs"), help="folder of the runs")
    given = parser.parse_args(arguments)
    file = Path(given.name) if given.name.endswith(".yaml") else HERE / "pairs" / f"{given.name}.yaml"
    root, codes = given.root.resolve(), []
    try:
        at_least(0, jobs=given.jobs)
        plan, cells = load(file, root)
        folders = {(variant, seed): root / file.stem / variant / str(seed) for variant, seed in cells}
        runs = {cell: newest(folders[cell], words) for cell, words in cells.items()}  # mistakes come first
        if given.jobs:
            with ThreadPoolExecutor(given.jobs) as pool:
                codes = [*pool.map(lambda cell: train(folders[cell], cells[cell], given.jobs), cells)]
            runs = {cell: newest(folders[cell], words) for cell, words in cells.items()}
    except Mistake as mistake:
        print(f"paired: {mistake}", file=sys.stderr)
        return 2
    whole = {cell: run.records if run and run.status.get("state") == "finished" else [] for cell, run in runs.items()}
    print(table(plan["metrics"], whole, plan.get("against")))
    for cell, code in zip(cells, codes, strict=False):
        if code:
            print(f"paired: {cell[0]}, seed {cell[1]}, ended with {code}: {folders[cell]}.log", file=sys.stderr)
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
