"""Choosing a run without labels: which measure of unlabelled rows finds the accurate runs of a method?

    python -m studies.label_free draw > studies/label_free.yml     the configurations, drawn once
    frame sweep studies/label_free.yml jobs=2 folder=runs/label_free
    python -m studies.label_free measure runs/label_free           measures of train, accuracy on test
    python -m studies.label_free table runs/label_free             the tables

All of them continue where they were stopped. A cell takes 2 to 5 minutes of one core, and its measures one more.

Four methods with 32 configurations each; the first of each is its default. Measures are of the backbone's 128 features
(the loss: of the embeddings) of unlabelled training rows at the last checkpoint; accuracy is a linear probe's on test.
The primary measure, named before anything was run, is RankMe. A run has collapsed if its probe is below that of the
untrained encoder of the same layer and width, and is left out of the correlations. Methods are not compared with one
another. A method's loss is only compared between configurations with equal weights and temperature, which are drawn
from few values for that reason.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frame.runs.listing import RunSummary, find, summaries
from studies.draws import ranges, trials

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
    "loss": ("loss/Train", -1),
}
# what a loss depends on besides the network: it is compared where these are equal
WEIGHTS = {
    "SimCLR": ("params.temperature",),
    "BYOL": (),
    "VICReg": ("params.invariance", "params.variance", "params.covariance"),
    "LeJEPA": ("params.weight",),
}
ACCURACY, FLOOR = "linear_probe/Test/features", "linear_probe/Test/floor/untrained_features"
EVALUATIONS = (
    ("evaluation=[geometry]", "evaluate_on=train", "geometry.layers=[features]", "geometry.n_lidar=1000"),
    ("evaluation=[loss]",),
    (
        "evaluation=[linear_probe]",
        "linear_probe.layers=[features]",
        "linear_probe.floors=[untrained]",
        "linear_probe.n_train_samples=10000",
    ),
)
HEAD = """# The configurations that studies/label_free.py drew: how well do measures without labels choose a run?
# python -m studies.label_free draw > studies/label_free.yml
program: train.py
command:
  - ${env}
  - ${interpreter}
  - ${program}
  - ${args_no_hyphens}
  - train_for="2 epochs"
  - evaluations=null
  - logging=csv
method: grid
variants:"""


def draw() -> str:
    """The sweep file: the methods' defaults, then their second configurations, and so on."""
    given = ranges("label_free.yml")
    drawn = [trials(m, f"experiment=FashionMNIST_{m}", {**given["all"], **(given[m] or {})}, N) for m in METHODS]
    return "\n".join([HEAD, *(f"  {name}: {words}" for trial in zip(*drawn, strict=True) for name, words in trial)])


def tau(measure: Sequence[float], accuracy: Sequence[float], groups: Sequence[Any]) -> float:
    """Kendall's tau-b over the pairs of configurations that are in the same group; NaN if there is no such pair.

    (C - D) / sqrt(n_x n_y): C concordant and D discordant pairs, n_x and n_y pairs that differ in x and in y.
    """
    x, y = np.asarray(measure, dtype=float), np.asarray(accuracy, dtype=float)
    codes = np.unique([str(group) for group in groups], return_inverse=True)[1]
    first, second = np.triu_indices(len(x), 1)
    same = codes[first] == codes[second]
    dx, dy = np.sign(x[first] - x[second])[same], np.sign(y[first] - y[second])[same]
    both = np.count_nonzero(dx) * np.count_nonzero(dy)
    return float((dx * dy).sum() / np.sqrt(both)) if both else float("nan")


def interval(measure: Sequence[float], accuracy: Sequence[float], groups: Sequence[Any]) -> tuple[float, float]:
    """The ends of tau's 95 % interval by the bootstrap over configurations."""
    x, y, g = np.asarray(measure), np.asarray(accuracy), np.asarray([str(group) for group in groups])
    random = np.random.default_rng(0)
    again = [tau(x[rows], y[rows], g[rows]) for rows in random.integers(len(x), size=(N_BOOT, len(x)))]
    known = np.asarray(again)[~np.isnan(again)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (float("nan"),) * 2
    return float(low), float(high)


def lost(measure: Sequence[float], accuracy: Sequence[float], groups: Sequence[Any]) -> float:
    """The accuracy that is lost by taking the run with the largest measure instead of the best one.

    Of several groups, the mean over their configurations of what is lost in the own group. Of runs with the same
    measure, the mean.
    """
    largest = [max(_in(measure, groups, group)) for group in groups]
    return _mean_lost(accuracy, groups, [value == most for value, most in zip(measure, largest, strict=True)])


def lost_at_random(accuracy: Sequence[float], groups: Sequence[Any]) -> float:
    """The same for a run that is drawn at random, on average."""
    return _mean_lost(accuracy, groups, [True] * len(accuracy))


def _in(values: Sequence[float], groups: Sequence[Any], group: Any) -> list[float]:
    return [value for value, own in zip(values, groups, strict=True) if own == group]


def _mean_lost(accuracy: Sequence[float], groups: Sequence[Any], taken: Sequence[bool]) -> float:
    total = 0.0
    for group in dict.fromkeys(groups):
        mine, theirs = _in(accuracy, groups, group), _in(taken, groups, group)
        total += len(mine) * (
            max(mine) - float(np.mean([a for a, is_taken in zip(mine, theirs, strict=True) if is_taken]))
        )
    return total / len(accuracy)


def table(method: str, runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Rows in Markdown: each measure's tau and the accuracy lost by it, beside oracle, default and random.

    Args:
        method: its name.
        runs: by the variant's name, the oriented measures (more is better), 'accuracy', 'floor' and 'weights'.
    """
    whole = {name: run for name, run in sorted(runs.items()) if run["accuracy"] >= run["floor"]}
    collapsed = f"| {method} | collapsed | {len(runs) - len(whole)} of {len(runs)} | | |"
    if not whole:
        return [collapsed]
    accuracy = [run["accuracy"] for run in whole.values()]
    one, own = [None] * len(whole), [run["weights"] for run in whole.values()]
    rows = [f"| {method} | oracle: {max(accuracy):.2f} % | | 0.00 | |"]
    default = whole.get(f"{method}_00")
    if default is not None:
        rows.append(f"| {method} | default | | {max(accuracy) - default['accuracy']:.2f} | |")
    rows.append(f"| {method} | random | | {lost_at_random(accuracy, one):.2f} | |")
    for measure in MEASURES:
        values = [run[measure] for run in whole.values()]
        groups = own if measure == "loss" else one
        found, (low, high) = tau(values, accuracy, groups), interval(values, accuracy, groups)
        name = f"**{measure}**" if measure == PRIMARY else measure
        within = len(set(groups))
        note = (
            f"within {within} groups of equal weights, random {lost_at_random(accuracy, groups):.2f}"
            if within > 1
            else ""
        )
        shown = f"{found:.2f} ({low:.2f} to {high:.2f})" if found == found else "no pair"
        rows.append(f"| {method} | {name} | {shown} | {lost(values, accuracy, groups):.2f} | {note} |")
    return [*rows, collapsed]


def measured(found: Sequence[RunSummary]) -> tuple[dict[str, dict[str, dict[str, Any]]], list[str]]:
    """The finished and measured runs of each method, as `table` takes them; and a line for each other run."""
    by_method: dict[str, dict[str, dict[str, Any]]] = {method: {} for method in METHODS}
    others = []
    for summary in found:
        variant, newest = summary.variant or "", summary.newest
        names = {ACCURACY, FLOOR, *(name for name, _ in MEASURES.values())}
        if summary.state != "finished" or not names <= newest.keys():
            lacks = ", ".join(sorted(names - newest.keys()))
            why = f"lacks {lacks}" if summary.state == "finished" else f"is {summary.state}"
            others.append(f"{summary.run.path} is left out: it {why}")
            continue
        method = variant.rpartition("_")[0]
        run: dict[str, Any] = {
            measure: sign * float(newest[name]["value"]) for measure, (name, sign) in MEASURES.items()
        }
        run |= {"accuracy": float(newest[ACCURACY]["value"]), "floor": float(newest[FLOOR]["value"])}
        run["weights"] = tuple(str(summary.get(key)) for key in WEIGHTS[method])
        by_method[method][variant] = run
    return by_method, others


def main(what: str, folder: str) -> None:
    if what == "measure":
        for words in EVALUATIONS:
            subprocess.run([sys.executable, "-m", "frame", "evaluate", folder, *words], check=False)
        return
    by_method, others = measured(summaries(find([folder])))
    print("\n".join(others))
    print("| method | chosen by | Kendall's tau-b (95 %) | accuracy lost, points | |\n|---|---|---|---|---|")
    print("\n".join(row for method, runs in by_method.items() if runs for row in table(method, runs)))


if __name__ == "__main__":
    if sys.argv[1:] == ["draw"]:
        print(draw())
    elif len(sys.argv) == 3 and sys.argv[1] in ("measure", "table") and Path(sys.argv[2]).is_dir():
        main(*sys.argv[1:])
    else:
        sys.exit(str(__doc__).partition("\n\n")[2].partition("\n\n")[0])
