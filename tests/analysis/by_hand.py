"""Artificial runs: folders with a config, a status and records, written within milliseconds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Record = Mapping[str, Any]


def record(name: str, value: float, split: str = "test", iteration: int = 100, **more: Any) -> dict[str, Any]:
    whole = {
        "name": name,
        "value": value,
        "unit": "nats per picture",
        "split": split,
        "n_samples": 300,
        "estimator": "1 posterior sample a picture",
        "standard_error": 0.5,
        "layer": "",
        "interval": None,
        "bound": "",
        "saturated": False,
        "better": "more",
        "checkpoint": f"iteration {iteration}",
        "iteration": iteration,
        "seconds": iteration / 10,
        "took": 0.1,
        "weights": "average",
    }
    return {**whole, **more}


def run(
    folder: Path,
    params: Mapping[str, Any],
    seed: int | None,
    records: Sequence[Record],
    state: str = "finished",
    model: str = "VAE",
    **config: Any,
) -> Path:
    folder.mkdir(parents=True)
    whole = {
        "experiment_name": "byhand",
        "params": dict(params),
        "seed": seed,
        "seeds": {"init": seed, "data": seed, "noise": seed},
        "model": {"_target_": f"frame.models.{model}.{model}"},
        "data": {"_target_": "frame.data.digits.Digits"},
        "optimization": {"_target_": "frame.optimization.batch.BatchOptimization"},
        **config,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(whole))
    (folder / "overrides.yaml").write_text(yaml.safe_dump(["+experiment=byhand", f"seed={seed}"]))
    counters = {"iterations": 100, "epochs": 5.0, "seconds": 10.0}
    (folder / "status.json").write_text(json.dumps({"format": 2, "state": state, "counters": counters}))
    (folder / "records.jsonl").write_text("".join(json.dumps(dict(r)) + "\n" for r in records))
    return folder


def study(folder: Path, values: Mapping[float, Sequence[float]], name: str = "ELBO/Test") -> Path:
    """A swept study: the values of each beta, one per seed; on valid they are 1 higher."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.yaml").write_text("method: grid\n")
    on_valid = name.replace("/Test", "/Validation")
    for beta, over_seeds in values.items():
        for seed, value in enumerate(over_seeds, 1):
            records = [record(name, value), record(on_valid, value + 1, "valid")]
            run(folder / "runs" / f"beta={beta},seed={seed}" / "2026-01-01_00-00-00", {"beta": beta}, seed, records)
    return folder
