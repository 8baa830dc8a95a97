"""The last lines of a run: what came out, where it is, and what to try next."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from frame.common.shell import pasted
from frame.optimization.base import Optimization
from frame.runs.folder import RunFolder

NEXT = {"digits_VAE": "+experiment=MNIST_VAE", "MNIST_VAE": "+experiment=MNIST_VAE params.beta=1"}


def last_words(run: RunFolder, config: DictConfig, optimization: Optimization) -> str:
    """A table of the newest value under each name, the folder, the newest pictures, and a command."""
    newest: dict[str, dict[str, Any]] = {record["name"]: record for record in run.records}
    lines = [""]
    if newest:
        width = max(len(name) for name in newest)
        units = max(len(record["unit"]) for record in newest.values())
        lines.append(f"{'':{width}}  {'value':>10}  {'unit':<{units}}  {'split':<6} samples")
        for name, record in newest.items():
            lines.append(
                f"{name:{width}}  {number(record['value']):>10}  {record['unit']:<{units}}  {record['split']:<6} "
                f"{record['n_samples'] or ''}"
            )
    counters = optimization.counters
    lines.append(
        f"\ntrained {counters['iterations']:.0f} iterations, {counters['epochs']:.1f} epochs "
        f"in {counters['seconds']:.0f} s"
    )
    lines.append(f"run      {run.path}")
    lines += [f"picture  {file}" for file in run.newest_pictures]
    lines.append(f"test     {command('evaluate')} {pasted(run.path, 'evaluate_on=test')}")
    following = NEXT.get(str(config.experiment_name))
    if following is not None:
        lines.append(f"next     {command('train')} {following}")
    return "\n".join(lines)


def number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4g}"


def command(name: str) -> str:
    """The subcommand as it can be typed here, whether or not an environment is activated."""
    beside = Path(sys.executable).parent
    shown = os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
    found = shutil.which("frame")
    activated = found is not None and Path(found).parent == beside
    if name == "train" and Path(sys.argv[0]).name == "train.py":
        return "python train.py" if activated else pasted(f"{shown}/python", Path(sys.argv[0]))
    return f"frame {name}" if activated else pasted(f"{shown}/frame", name)
