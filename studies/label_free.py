"""Choosing a run without labels: which measure of unlabelled rows finds the accurate runs of a method?

    python studies/label_free.py draw > studies/label_free.yml     the configurations, drawn once
    frame sweep studies/label_free.yml jobs=2 folder=runs/label_free
    frame evaluate runs/label_free evaluation=[geometry] evaluate_on=train geometry.layers=[features] \\
        geometry.n_lidar=1000
    frame evaluate runs/label_free evaluation=[linear_probe] linear_probe.layers=[features]
    python studies/label_free.py table runs/label_free             the tables

Four methods with 32 configurations each; the first of each is its default. Measures are of the backbone's features of
unlabelled training rows at the last checkpoint, accuracy is a linear probe's on test. The primary measure, named before
anything was run, is RankMe. A run has collapsed if its probe is below that of the untrained encoder, and is left out of
the correlations. Methods are compared by tau within each of them only.
"""

import sys
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import kendalltau

from frame.runs.listing import find, summaries

METHODS = ("SimCLR", "BYOL", "VICReg", "LeJEPA")
N, N_BOOT = 32, 2000  # configurations of a method, and draws of the bootstrap
PRIMARY = "rankme"
# the records' names, and 1 if more is better, -1 if less is
MEASURES = {
    "rankme": ("geometry/Train/features/rankme", 1),
    "alpha_req": ("geometry/Train/features/alpha_req", -1),
    "lidar": ("geometry/Train/features/lidar", 1),
    "alignment": ("geometry/Train/features/alignment", -1),
    "uniformity": ("geometry/Train/features/uniformity", -1),
}
ACCURACY, FLOOR = "linear_probe/Test/features", "linear_probe/Test/floor/untrained_features"
HEAD = """# The configurations that studies/label_free.py drew: how well do measures without labels choose a run?
# python studies/label_free.py draw > studies/label_free.yml
program: train.py
command:
  - ${env}
  - ${interpreter}
  - ${program}
  - ${args_no_hyphens}
  - train_for="3 epochs"
  - evaluations=null
  - logging=csv
method: grid
variants:"""


def draw() -> str:
    """The sweep file: for each method its default, then configurations that a fixed seed draws."""
    lines = [HEAD]
    for number, method in enumerate(METHODS):
        random = np.random.default_rng((16, number))
        for i in range(N):
            words = [f"experiment=FashionMNIST_{method}", *(drawn(method, random) if i else ())]
            lines.append(f"  {method}_{i:02d}: {' '.join(words)}")
    return "\n".join(lines)


def drawn(method: str, random: np.random.Generator) -> list[str]:
    """The words of one configuration."""

    def log(low: float, high: float) -> str:
        return f"{np.exp(random.uniform(np.log(low), np.log(high))):.3g}"

    words = [
        f"params.lr={log(1e-4, 1e-2)}",
        f"+optimization.optimizer.weight_decay={log(1e-6, 1e-3)}",
        f"data.augmentations.crop.scale=[{random.uniform(0.1, 0.9):.2f},1.0]",
        f"data.augmentations.jitter.brightness={random.uniform(0, 0.8):.2f}",
        f"params.z_dim={random.choice([32, 64, 128, 256])}",
        f"architectures.projector.layers={random.choice(['[]', '[256]', '[512,512]'])}",
    ]
    own = {
        "SimCLR": lambda: [f"params.temperature={log(0.05, 1.0)}"],
        "BYOL": lambda: [f"params.decay={1 - float(log(1e-3, 0.3)):.4f}"],
        "VICReg": lambda: [f"params.variance={log(1, 100)}", f"params.covariance={log(0.1, 10)}"],
        "LeJEPA": lambda: [f"params.weight={log(0.005, 0.5)}"],
    }
    return words + own[method]()


def tau(measure: Sequence[float], accuracy: Sequence[float]) -> tuple[float, float, float]:
    """Kendall's tau-b, and the ends of its 95 % interval by the bootstrap over configurations."""
    x, y = np.asarray(measure), np.asarray(accuracy)
    random = np.random.default_rng(0)
    again = [kendalltau(x[rows], y[rows]).statistic for rows in random.integers(len(x), size=(N_BOOT, len(x)))]
    low, high = np.nanpercentile(again, [2.5, 97.5])
    return float(kendalltau(x, y).statistic), float(low), float(high)


def lost(measure: Sequence[float], accuracy: Sequence[float]) -> float:
    """The accuracy that is lost by taking the run with the largest measure instead of the best run."""
    return float(max(accuracy) - accuracy[int(np.argmax(measure))])


def table(method: str, runs: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Rows in Markdown: each measure's tau and the accuracy lost by it, beside the default's and a random run's.

    Args:
        method: its name.
        runs: by the variant's name, the oriented measures (more is better), 'accuracy' and 'floor'.
    """
    whole = {name: run for name, run in sorted(runs.items()) if run["accuracy"] >= run["floor"]}
    accuracy = [run["accuracy"] for run in whole.values()]
    rows = [f"| {method} | random | | {max(accuracy) - float(np.mean(accuracy)):.2f} |"]
    default = whole.get(f"{method}_00")
    if default is not None:
        rows.append(f"| {method} | default | | {max(accuracy) - default['accuracy']:.2f} |")
    for measure in MEASURES:
        values = [run[measure] for run in whole.values()]
        found, low, high = tau(values, accuracy)
        name = f"**{measure}**" if measure == PRIMARY else measure
        rows.append(f"| {method} | {name} | {found:.2f} ({low:.2f} to {high:.2f}) | {lost(values, accuracy):.2f} |")
    return [*rows, f"| {method} | collapsed | {len(runs) - len(whole)} of {len(runs)} | |"]


def main(folder: str) -> None:
    found: dict[str, dict[str, dict[str, float]]] = {method: {} for method in METHODS}
    for summary in summaries(find([folder])):
        variant, newest = summary.variant or "", summary.newest
        names = {ACCURACY, FLOOR, *(name for name, _ in MEASURES.values())}
        if not names <= newest.keys():
            print(f"{summary.run.path} is left out: it lacks {', '.join(sorted(names - newest.keys()))}")
            continue
        run = {measure: sign * float(newest[name]["value"]) for measure, (name, sign) in MEASURES.items()}
        run |= {"accuracy": float(newest[ACCURACY]["value"]), "floor": float(newest[FLOOR]["value"])}
        found[variant.rpartition("_")[0]][variant] = run
    print("| method | chosen by | Kendall's tau-b (95 %) | accuracy lost, points |\n|---|---|---|---|")
    print("\n".join(row for method, runs in found.items() if runs for row in table(method, runs)))


if __name__ == "__main__":
    if sys.argv[1:] == ["draw"]:
        print(draw())
    else:
        main(sys.argv[2])
