"""The norm of each weight after 10 iterations of each experiment: `python -m tests.norms` rewrites norms.json.

Biases are left out. Some have gradients that are 0 but for rounding, such as those before a batch norm, and Adam turns
these into whole steps, whose signs differ between processors. So are statistics of batch norms, which follow them.
After 50 iterations some weights differ as well.

A change that must alter results rewrites the file and says why. Experiments on MNIST are trained with networks of 16
units per layer if DATA_ROOT is a folder with MNIST; otherwise their norms are kept.
"""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from frame.composition.compose import compose
from frame.composition.folders import config_folder
from tests.processes import Process, only_run

FILE = Path(__file__).parent / "system" / "norms.json"
DATA = ("digits_", "gaussians_", "MNIST_")
EXPERIMENTS = sorted(f.stem for f in (config_folder() / "experiment").glob("*.yaml") if f.stem.startswith(DATA))
WORDS = ["train_for=10 iterations", "callbacks=null", "logging=csv", "doctor=null"]
WORDS += ["checkpoint.every=null", "checkpoint.best=null", "device.gpus=0"]  # a GPU draws other noise
Norms = dict[str, float]


def has_data(experiment: str) -> bool:
    return not experiment.startswith("MNIST_") or (Path(os.environ.get("DATA_ROOT", "")) / "MNIST" / "raw").is_dir()


def smaller(experiment: str) -> list[str]:
    """Overrides that make the networks of an experiment on MNIST small."""
    if not experiment.startswith("MNIST_"):
        return []
    params = compose([f"experiment={experiment}"]).params
    sizes = {key: len(value) for key, value in params.items() if str(key).endswith("_layers") and value is not None}
    return [f"params.{key}=[{','.join(['16'] * n)}]" for key, n in sizes.items()]


def norms(experiment: str, cwd: Path) -> Norms:
    """Trains the experiment in `cwd`, and returns the norm of each tensor of two or more dimensions; see above."""
    process = Process(["train", f"+experiment={experiment}", *WORDS, *smaller(experiment)], cwd)
    assert process.wait(300) == 0, process.output
    state = torch.load(only_run(cwd) / "checkpoints" / "last.ckpt", weights_only=True)["model"]
    weights = {name: value for name, value in state.items() if value.ndim > 1 and not name.endswith(".running")}
    return {name: value.double().norm().item() for name, value in weights.items()}


def read() -> dict[str, Norms]:
    found: dict[str, Norms] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found


def main(names: Sequence[str]) -> None:
    found = {name: kept for name, kept in read().items() if name in EXPERIMENTS}
    for name in names or EXPERIMENTS:
        if has_data(name):
            with tempfile.TemporaryDirectory() as cwd:
                found[name] = {key: float(f"{value:.7g}") for key, value in norms(name, Path(cwd)).items()}
            print(name, len(found[name]), flush=True)
    FILE.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
