"""The last lines of a run: what came out, where it is, and what to try next."""

from typing import Any

from omegaconf import DictConfig

from frame.optimization.base import Optimization
from frame.runs import RunFolder

NEXT = {
    "digits_VAE": "python train.py +experiment=MNIST_VAE",
    "MNIST_VAE": "python train.py +experiment=MNIST_VAE params.beta=1",
}


def last_words(run: RunFolder, config: DictConfig, optimization: Optimization) -> str:
    """A table of the newest value under each name, the folder, the newest pictures, and a command."""
    newest: dict[str, dict[str, Any]] = {record["name"]: record for record in run.records}
    lines = [""]
    if newest:
        width = max(len(name) for name in newest)
        lines.append(f"{'':{width}}  {'value':>10}  {'unit':<8}  {'split':<6} samples")
        for name, record in newest.items():
            lines.append(
                f"{name:{width}}  {record['value']:>10.4g}  {record['unit']:<8}  {record['split']:<6} "
                f"{record['n_samples'] or ''}"
            )
    counters = optimization.counters
    lines.append(
        f"\ntrained {counters['iterations']:.0f} iterations, {counters['epochs']:.1f} epochs "
        f"in {counters['seconds']:.0f} s"
    )
    lines.append(f"run      {run.path}")
    for name, file in newest_pictures(run).items():
        lines.append(f"picture  {file}   ({name})")
    lines.append(f"open     python -c \"import frame; print(frame.open('{run.path}').results)\"")
    lines.append(f"next     {NEXT.get(str(config.experiment_name), f'frame evaluate {run.path} evaluate_on=test')}")
    return "\n".join(lines)


def newest_pictures(run: RunFolder) -> dict[str, str]:
    """The newest picture of each folder below images/."""
    folders = sorted(f for f in (run.path / "images").glob("*") if f.is_dir())
    files = {folder.name: sorted(folder.glob("*.png")) for folder in folders}
    return {name: str(pictures[-1]) for name, pictures in files.items() if pictures}
