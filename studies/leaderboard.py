"""The quick leaderboard, on digits: measures its runs, and writes tables and figure into a page.

    python -m studies.leaderboard RUNS docs/results.md

`make leaderboard` calls it. The text between the two marks of the page is replaced.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from frame.analysis.compare import Comparison
from frame.runs.listing import RunSummary, find, summaries
from studies.tracks import (
    OWN,
    PROBE,
    RANKED_BY,
    TRACKS,
    between,
    cell,
    compared,
    cut_notes,
    floor,
    is_ranked,
    markdown,
    measure,
    members,
    over_seeds,
    places,
    title,
    track_of,
)

METRICS = {
    PROBE: "linear probe",
    "linear_probe/Test": "on the code",
    "nearest_neighbour/Test/features": "one neighbour",
    "few_labels/Test/features/1_per_class": "10 labels",
    OWN: "own prediction",
}
FLOORS = {"pixels": "raw pixels", "untrained_features": "untrained"}
EVALUATIONS = (
    "evaluation=[linear_probe,nearest_neighbour,few_labels]",
    "linear_probe.floors=[pixels,untrained]",
    "nearest_neighbour.codes=[features]",
    "nearest_neighbour.floors=[pixels,untrained]",
    "few_labels.layers=[features]",
    "few_labels.labels_per_class=[1]",
    "few_labels.floors=[pixels,untrained]",
)
BEGIN, END = "<!-- leaderboard: make leaderboard writes this -->", "<!-- end of the leaderboard -->"
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"


def table(comparison: Comparison, track: str, names: Mapping[str, str]) -> str:
    """The table of a track in Markdown: accuracies in per cent, and the costs of each method."""
    metrics = {metric: METRICS[metric] for metric in comparison.metrics}
    head = ["", "method", *(f"{title}, %" for title in metrics.values()), "parameters", "epochs", "seconds", "GFLOP"]
    lines = [head]
    for place, row in zip(places(comparison.rows, track, RANKED_BY[track], names), comparison.rows, strict=True):
        method = names[row.label[0]]
        parameters, epochs, seconds, flops = (row.facts[key] for key in ("parameters", "epochs", "seconds", "flops"))
        costs = [f"{parameters:,.0f}", f"{epochs:.0f}", f"{seconds:.0f}", f"{flops / 1e9:.0f}" if flops else ""]
        lines.append([place, title(method, track, row.runs), *(cell(row, metric) for metric in metrics), *costs])
    runs = [s for row in comparison.rows for s in row.runs]
    if track != "few labels":
        for key, name in FLOORS.items():
            keys = [key if "/features" in metric else key.removesuffix("_features") for metric in metrics]
            values = [floor(runs, metric, of_layer) for metric, of_layer in zip(metrics, keys, strict=True)]
            numbers = ["" if value is None else f"{value:.1f}" for value in values]
            lines.append(["", f"*{name}* (floor)", *numbers, "", "", "", ""])
    note = cut_notes(comparison.rows)
    return f"**{track.capitalize()}** – {TRACKS[track]}\n\n{markdown(lines)}" + (f"\n\n{note}" if note else "")


def protocol(n_seeds: int) -> str:
    over = over_seeds(n_seeds)
    return (
        f"{over}; the 300 test digits inside scikit-learn. Methods are ranked within a track only, by the linear probe "
        "on the layer before the code, which has 128 units in all networks (MAE: 64); with few labels by their own "
        "predictions. All were trained for 150 epochs, and none was tuned here (one trial each). Rows are sorted by a "
        "number on test, but none is chosen by it. The probe is a logistic regression on all training labels with C "
        "chosen on valid. *On the code*: the same of the last layer, 8 numbers or an embedding of 16 or 64. *10 "
        "labels*: a probe on one label of each class, 20 draws. Joint-embedding methods have batches of 128, the "
        "others of 64. Controls are trained on the augmented pictures of SimCLR; floors need no training."
    )


def figure(comparisons: Mapping[str, Comparison], names: Mapping[str, str]) -> Figure:
    """Dots with intervals for each track, the best on top; floors are lines."""
    rows = {track: comparison.rows[::-1] for track, comparison in comparisons.items()}
    heights = [len(several) + 1 for several in rows.values()]
    made = Figure(figsize=(7.0, 0.19 * sum(heights) + 1.5), layout="constrained")
    for axis, (track, several) in zip(
        made.subplots(len(rows), 1, height_ratios=heights, squeeze=False).flat, rows.items(), strict=True
    ):
        metric = RANKED_BY[track]
        shown_ones = [row for row in several if metric in row.samples]
        for y, row in enumerate(shown_ones):
            sample, mine = row.samples[metric], is_ranked(names[row.label[0]], track)
            colour, half = (BLUE, sample.half) if mine else (ORANGE, sample.half)
            error = None if half != half else half
            axis.errorbar(
                sample.mean, y, xerr=error, fmt="o" if mine else "s", color=colour, markersize=4, elinewidth=1
            )
        for key, style in (("pixels", "--"), ("untrained_features", "-.")):
            value = floor([s for row in several for s in row.runs], metric, key)
            if value is not None and track != "few labels":
                axis.axvline(value, color=GREY, ls=style, lw=1, label=FLOORS[key])
        axis.set_yticks(
            range(len(shown_ones)), [title(names[row.label[0]], track, []).replace("*", "") for row in shown_ones]
        )
        axis.set_title(f"{track}: {'own prediction' if metric == OWN else 'linear probe'} (%)", fontsize=8, loc="left")
        axis.tick_params(labelsize=7)
        axis.grid(axis="x", alpha=0.3)
    handles, labels = made.axes[0].get_legend_handles_labels()
    if handles:
        made.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return made


def boards(found: list[RunSummary]) -> tuple[dict[str, Comparison], dict[str, str]]:
    """The comparison of each track that has a measured run, and the methods' names by variant."""
    names = {s.variant or "": s.variant or "" for s in found}
    comparisons = {}
    for track in TRACKS:
        mine = members(found, track, names)
        metrics = [OWN] if track == "few labels" else [name for name in METRICS if name != OWN]
        comparison = compared(mine, metrics, RANKED_BY[track]) if mine else None
        if comparison is not None:
            comparisons[track] = comparison
    return comparisons, names


def main(runs: str, page: str) -> None:
    found = [s for s in summaries(find([runs])) if s.state == "finished"]
    probed = [s for s in found if track_of(s.config) != "few labels"]
    measure(probed, *EVALUATIONS)
    measure([s for s in found if s not in probed or s.variant == "Classifier_views"], "evaluation=[accuracy]")
    comparisons, names = boards(summaries(find([runs])))
    n_seeds = max(len(s.values) for c in comparisons.values() for row in c.rows for s in row.samples.values())
    file = Path(page)
    pictures = file.parent / ("docs/pictures" if (file.parent / "docs").is_dir() else "pictures")
    picture = pictures / "leaderboard.png"
    figure(comparisons, names).savefig(picture, dpi=150)
    tables = [table(comparison, track, names) for track, comparison in comparisons.items()]
    where = picture.relative_to(file.parent)
    body = [*tables, protocol(n_seeds), f"![accuracy of each method in its track, with its interval]({where})"]
    between(file, BEGIN, END, "\n\n".join(body))
    print("\n".join(dict.fromkeys(note for comparison in comparisons.values() for note in comparison.notes)))
    print(f"tables   {file}\npicture  {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:])
