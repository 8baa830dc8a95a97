"""The leaderboard's table and figure, from evaluated runs: python studies/leaderboard.py RUNS docs/results.md

`make leaderboard` calls it. The text between the two marks of the page is replaced.
"""

import sys
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from matplotlib.figure import Figure

from frame.analysis.compare import Comparison, Row, compare
from frame.analysis.intervals import shown
from frame.runs.listing import find

METRICS = {
    "linear_probe/Test": "linear probe",
    "nearest_neighbour/Test": "one neighbour",
    "few_labels/Test/1_per_class": "10 labels",
}
BEGIN, END = "<!-- leaderboard: make leaderboard writes this -->", "<!-- end of the leaderboard -->"
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"


def name(experiment: str) -> str:
    return experiment.partition("_")[2]


def labelled(row: Row) -> bool:
    """Whether the method trains with all labels."""
    method: Any = get_class(row.runs[0].config["model"]["_target_"])
    return "y" in method.needs


def table(comparison: Comparison, n_seeds: int) -> str:
    """The table in Markdown: accuracies in per cent, and the costs of each method."""
    head = ["method", "labels", "views", *(f"{title}, %" for title in METRICS.values())]
    lines = [[*head, "parameters", "epochs", "seconds", "GFLOP"], ["---"] * (len(head) + 4)]
    for row in comparison.rows:
        views = "none" if row.facts["augmentation"] == "none" else "two"
        cells = [name(row.label[0]), "all" if labelled(row) else "none", views]
        cells += [shown(row.samples[metric]) if metric in row.samples else "-" for metric in METRICS]
        parameters, epochs, seconds, flops = (row.facts[key] for key in ("parameters", "epochs", "seconds", "flops"))
        lines.append([*cells, f"{parameters:,}", f"{epochs:.0f}", f"{seconds:.0f}", f"{flops / 1e9:.0f}"])
    for floor, samples in comparison.floors.items():
        if "features" not in floor:
            cells = [f"*{floor}*", "none", "", *(shown(samples[m]) if m in samples else "" for m in METRICS)]
            lines.append([*cells, "", "", "", ""])
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    encoder = comparison.rows[0].runs[0].get("encoder_parameters")
    protocol = (
        f"Mean ± 95 % t interval over {n_seeds} seeds, on the 300 test digits inside scikit-learn. All have the same "
        f"encoder (64-128-8, {encoder:,} parameters; fewer if it has no scale), batches of 64 and 150 epochs, "
        "and otherwise the settings of their own experiments: none was tuned here (one trial each). The experiments of "
        "BiGAN (300 epochs), InfoMax, MVInfoMax and MIB (4,000 iterations) train longer than these 150 epochs and have "
        "larger encoders, the last three 16 latents; those of VIB, CEB, NonlinearIB (100) and the Classifier (30) are "
        "shorter. Rows are sorted by a number on test, but none is chosen by it. The mean of the code is "
        "measured. The probe is a logistic regression on all training labels with C chosen on valid; *10 labels* "
        "are one of each class, 20 draws. *Views* are two distorted copies of each picture. Rows in italics need no "
        "training."
    )
    return f"{text}\n\n{protocol}"


def figure(comparison: Comparison) -> Figure:
    """Dots with intervals, the best on top. The shape shows whether labels were used; floors are lines."""
    rows = comparison.rows[::-1]
    made = Figure(figsize=(7.0, 0.22 * len(rows) + 1.2), layout="constrained")
    axes = made.subplots(1, len(METRICS), sharey=True)
    for axis, (metric, title) in zip(axes, METRICS.items(), strict=True):
        for y, row in enumerate(rows):
            sample = row.samples.get(metric)
            if sample is not None:
                marker, colour = ("s", ORANGE) if labelled(row) else ("o", BLUE)
                axis.errorbar(sample.mean, y, xerr=sample.half, fmt=marker, color=colour, markersize=4, elinewidth=1)
        for floor, style in (("pixels", "--"), ("pca", ":"), ("untrained", "-.")):
            if metric in comparison.floors.get(floor, {}):
                axis.axvline(comparison.floors[floor][metric].mean, color=GREY, ls=style, lw=1, label=floor)
        axis.set_xlabel(f"{title} (%)", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(rows)), [name(row.label[0]) for row in rows])
    axes[0].plot([], [], "o", color=BLUE, markersize=4, label="no labels")
    axes[0].plot([], [], "s", color=ORANGE, markersize=4, label="all labels")
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    return made


def main(runs: str, page: str) -> None:
    # rows are sorted by a number on test, as the page says, but none is chosen
    comparison = compare(find([runs]), ["experiment"], [*METRICS], sort="linear_probe/Test", allow_test=True)
    n_seeds = max(len(sample.values) for row in comparison.rows for sample in row.samples.values())
    file = Path(page)
    pictures = file.parent / ("docs/pictures" if (file.parent / "docs").is_dir() else "pictures")
    picture = pictures / "leaderboard.png"
    figure(comparison).savefig(picture, dpi=150)
    text = file.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    where = picture.relative_to(file.parent)
    body = f"{BEGIN}\n\n{table(comparison, n_seeds)}\n\n![accuracy of each method with its interval]({where})\n\n{END}"
    file.write_text(before + body + after)
    print("\n".join(comparison.notes))
    print(f"table    {file}\npicture  {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:])
