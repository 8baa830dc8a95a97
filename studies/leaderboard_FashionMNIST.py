"""The leaderboard on FashionMNIST: trials that are drawn beforehand, chosen on valid, and run again with new seeds.

    python -m studies.leaderboard_FashionMNIST draw > studies/leaderboard_FashionMNIST.yml
    frame sweep studies/leaderboard_FashionMNIST.yml jobs=2 folder=runs/leaderboard_FashionMNIST
    python -m studies.leaderboard_FashionMNIST finish runs/leaderboard_FashionMNIST docs/results.md jobs=2

The first command was given once. The second runs the trials: each method's default and eight points of its ranges
(ranges/leaderboard_FashionMNIST.yml), all for the same time and with one seed. The third measures them on valid,
chooses the best one of each method, runs it again with three new seeds for an equal time, for equally many pictures,
and the default for the length of its own experiment, measures these on test, and writes the tables. Both continue where
they were stopped. `finish` takes columns=[time] for one column alone, and further options of `frame sweep`.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from frame.analysis.compare import Row
from frame.analysis.intervals import interval, spread
from frame.common.errors import UserError
from frame.common.files import write_text
from frame.runs.listing import RunSummary, find, summaries
from frame.sweeps.sweep_file import load
from studies.draws import method_of, ranges, trials
from studies.tracks import (
    CONTROLS,
    RANKED_BY,
    TRACKS,
    between,
    cell,
    compared,
    cut_notes,
    floor,
    frame,
    markdown,
    measure,
    members,
    over_seeds,
    places,
    title,
    track_of,
)

FILE = Path(__file__).with_suffix(".yml")
N = 9  # trials of a method, with its default
TIME, PICTURES = "1 minute", "100000 samples"  # 2 epochs of 50,000 pictures; pictures without labels count, too
TRIAL_SEED, SEEDS = 1, (101, 102, 103)
# by the prefix of the final runs: the column's title
COLUMNS = {"time": "equal time", "pictures": "equal pictures", "own": "own recipe"}
PROBES = (
    "evaluation=[linear_probe]",
    "linear_probe.layers=[features]",
    "linear_probe.n_train_samples=10000",
)
BEGIN = "<!-- leaderboard on FashionMNIST: studies/leaderboard_FashionMNIST.py writes this -->"
END = "<!-- end of the leaderboard on FashionMNIST -->"
HEAD = f"""# The trials that studies/leaderboard_FashionMNIST.py drew from ranges/leaderboard_FashionMNIST.yml.
# python -m studies.leaderboard_FashionMNIST draw > studies/leaderboard_FashionMNIST.yml
# The methods' defaults come first, then their second trials, and so on: run_cap=26 runs the defaults alone.
program: train.py
command:
  - ${{env}}
  - ${{interpreter}}
  - ${{program}}
  - ${{args_no_hyphens}}
  - train_for="{TIME}"
  - seed={TRIAL_SEED}
  - evaluations=null # all trials are measured afterwards in the same way
  - logging=csv
method: grid
variants:"""
FINAL = """# The best trial of each method by valid, for new seeds: studies/leaderboard_FashionMNIST.py wrote this.
program: train.py
command: ["${{env}}", "${{interpreter}}", "${{program}}", "${{args_no_hyphens}}", evaluations=null, logging=csv]
method: grid
variants:
{variants}
"""


def draw() -> str:
    """The sweep file."""
    given = ranges("leaderboard_FashionMNIST.yml")
    drawn = []
    for track in TRACKS:
        for method, own in given[track].items():
            if method != "all":
                searched = {**given["all"], **given[track]["all"], **own}
                drawn.append(trials(method, searched.pop("words"), searched, N))
    return "\n".join([HEAD, *(f"  {name}: {words}" for trial in zip(*drawn, strict=True) for name, words in trial)])


def chosen(found: Sequence[RunSummary]) -> dict[str, tuple[str, int]]:
    """The best trial of each method by its metric on valid, and how many trials were measured.

    Raises:
        UserError: no trial has been measured.
    """
    measured: dict[str, dict[str, float]] = {}
    for summary in found:
        record = summary.record(on_valid(track_of(summary.config)))
        if record is not None and summary.variant:
            measured.setdefault(method_of(summary.variant), {})[summary.variant] = float(record["value"])
    if not measured:
        raise UserError(f"no trial is finished and measured: frame sweep {FILE.name} runs them")
    # of equally good trials the first, which is the default if it is among them
    return {method: (max(sorted(own), key=own.__getitem__), len(own)) for method, own in measured.items()}


def on_valid(track: str) -> str:
    """The metric by which the trials of a track are chosen."""
    return RANKED_BY[track].replace("/Test", "/Validation")


def final(best: Mapping[str, tuple[str, int]], columns: Sequence[str], time: str) -> str:
    """The sweep file of the final runs. A variant names its column and its trial: another choice is another run.

    Args:
        best: see `chosen`.
        columns: of COLUMNS.
        time: how long the trials were trained.
    """
    words = load(FILE).variants
    lines = []
    for column in columns:
        for method, (trial, _) in best.items():
            name = f"{method}_00" if column == "own" else trial
            length = {"time": [f"train_for='{time}'"], "pictures": [f"train_for='{PICTURES}'"], "own": []}[column]
            typed = " ".join(repr(word) if " " in word else word for word in words[name])
            lines.append(f"  {column}-{name}: {' '.join([typed, *length])}")
    return FINAL.format(variants="\n".join(lines))


def by_column(found: Sequence[RunSummary], best: Mapping[str, tuple[str, int]]) -> dict[str, list[RunSummary]]:
    """The final runs of the trials that are chosen now, by column."""
    runs: dict[str, list[RunSummary]] = {column: [] for column in COLUMNS}
    for summary in found:
        column, _, trial = (summary.variant or "").partition("-")
        method = method_of(trial)
        wanted = {f"{method}_00"} if column == "own" else {best[method][0]} if method in best else set()
        if column in runs and trial in wanted and summary.state == "finished":
            runs[column].append(summary)
    return runs


def table(track: str, runs: Mapping[str, Sequence[RunSummary]], best: Mapping[str, tuple[str, int]]) -> str:
    """The table of a track in Markdown, ranked by equal time."""
    metric = RANKED_BY[track]
    columns = {}
    for column, several in runs.items():
        names = {s.variant or "": method_of((s.variant or "").partition("-")[2]) for s in several}
        comparison = compared(members(several, track, names), [metric], metric) if several else None
        rows = comparison.rows if comparison is not None else []
        columns[column] = {names[row.label[0]]: row for row in rows}
    present = [column for column in COLUMNS if columns[column]]
    main = next(iter(present), "time")
    ranked = [*columns[main].values()]
    names = {row.label[0]: method for method, row in columns[main].items()}
    probed = track != "few labels"  # untrained predictions are no floor
    titles = [*(f"{COLUMNS[column]}, %" for column in present), *(["above untrained"] if probed else [])]
    lines = [["", "method", *titles, "chosen of", "epochs", "parameters"]]
    for place, row in zip(places(ranked, track, metric, names), ranked, strict=True):
        method = names[row.label[0]]
        cells = [cell(columns[c][method], metric) if method in columns[c] else "not yet measured" for c in present]
        trial, n = best[method]
        how = "default" if trial.endswith("_00") else f"trial {int(trial[-2:])}"
        facts = [f"{row.facts['epochs']:.1f}", f"{row.facts['parameters']:,.0f}"]
        everywhere = [s for c in present if method in columns[c] for s in columns[c][method].runs]
        gained = [above(row, metric)] if probed else []
        lines.append([place, title(method, track, everywhere), *cells, *gained, f"{n}: {how}", *facts])
    all_runs = [s for several in runs.values() for s in several]
    of_track = [s for row in ranked for s in row.runs]
    if probed:
        for key, name in (
            ("pixels", "raw pixels"),
            ("whitened", "whitened PCA-50"),
            ("untrained_features", "untrained"),
        ):
            value = floor(of_track if key == "untrained_features" else all_runs, metric, key)
            shown = "" if value is None else f"{value:.1f}"
            lines.append(["", f"*{name}* (floor)", *([shown] * len(present)), "", "", "", ""])
    given = ranges("leaderboard_FashionMNIST.yml")[track]
    missing = [method for method in given if method not in ("all", *columns[main], *CONTROLS)]
    notes = [cut_notes([row for column in columns.values() for row in column.values()])]
    notes += [f"Not yet measured: {', '.join(missing)}."] if missing else []
    body = markdown(lines) if ranked else ""
    return "\n\n".join(part for part in (f"**{track.capitalize()}** – {TRACKS[track]}", body, *notes) if part)


def above(row: Row, metric: str) -> str:
    """How much the runs of a row are above their own encoders before training, paired; '–' without these floors."""
    found = []
    for summary in row.runs:
        own, untrained = summary.record(metric), floor([summary], metric, "untrained_features")
        if own is not None and untrained is not None:
            found.append(float(own["value"]) - untrained)
    return spread(*interval(found), sign="+") if found else "–"


def protocol(runs: Mapping[str, Sequence[RunSummary]], best: Mapping[str, tuple[str, int]], time: str) -> str:
    seeds = {column: len({s.get("seed") for s in several}) for column, several in runs.items()}
    n_seeds = max(seeds.values(), default=0)
    over = over_seeds(n_seeds, "new ")
    counts = sorted({n for _, n in best.values()})
    n_trials = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
    lengths = {
        "pictures": f"*Equal pictures*: {int(PICTURES.split()[0]):,} pictures",
        "own": "*Own recipe*: the default, for the length of its own experiment",
    }
    measured = "".join(
        f"{length}{'' if n == n_seeds else f', with {n} of the seeds'}. "
        for column, length in lengths.items()
        if (n := seeds.get(column, 0))
    )
    missing = ", ".join(name for column, name in COLUMNS.items() if not runs.get(column))
    absent = f"Not yet measured: {missing}. " if missing else ""
    return (
        f"{over}; 10,000 test pictures. Methods are ranked within a track only, by the column *equal time*: {time} of "
        f"training, without evaluations. {measured}{absent}{n_trials} of {N} trials of each method were run, for "
        f"{time} with seed {TRIAL_SEED}; the best one on valid was trained again, with seeds that no trial had. "
        "Nothing was chosen on test. The trials and the ranges that they were drawn from are in studies/. The number "
        "is that of a linear probe on the 128 features of the encoder, of 10,000 training rows with C chosen on valid, "
        "and *above untrained* is the paired difference from the same encoder before its training. With few labels it "
        "is the method's own prediction, and the trial was chosen with all 10,000 labels of valid. All have the same "
        "convolutional encoder; MAE has a ViT of the same width. Controls are trained on the same augmented pictures."
    )


def finish(folder: Path, page: Path, columns: Sequence[str], seeds: Sequence[int], words: Sequence[str]) -> None:
    """Measures the trials, chooses, runs the best again, measures them and writes the page.

    Raises:
        UserError: no trial is finished, or a run would use a trial's seed again.
    """
    if TRIAL_SEED in seeds:
        raise UserError(f"seeds={list(seeds)}: the trials had seed {TRIAL_SEED}, so give others")
    found = finished(folder / "runs")
    few = [s for s in found if track_of(s.config) == "few labels"]
    measure([s for s in found if s not in few], *PROBES, "linear_probe.floors=[]", "evaluate_on=valid")
    measure(few, "evaluation=[accuracy]", "evaluate_on=valid")
    found = finished(folder / "runs")
    best = chosen(found)
    time = str(found[0].get("train_for"))
    write_text(folder / "final.yml", final(best, columns, time))
    given = f"seeds=[{','.join(map(str, seeds))}]"
    frame("sweep", str(folder / "final.yml"), given, f"folder={folder / 'final'}", *words)
    runs = by_column(finished(folder / "final"), best)
    measured = [s for several in runs.values() for s in several]
    few = [s for s in measured if track_of(s.config) == "few labels"]
    probed = [s for s in measured if s not in few]
    measure(probed[:1], *PROBES, "linear_probe.floors=[pixels,whitened]", "evaluate_on=test")  # the same for all
    measure(probed, *PROBES, "linear_probe.floors=[untrained]", "evaluate_on=test")
    supervised = [s for s in measured if "-Classifier_views" in (s.variant or "")]  # a control there
    measure([*few, *supervised], "evaluation=[accuracy]", "evaluate_on=test")
    runs = by_column(finished(folder / "final"), best)
    body = [*(table(track, runs, best) for track in TRACKS), protocol(runs, best, time)]
    between(page, BEGIN, END, "\n\n".join(body))
    print(f"tables   {page}")


def finished(folder: Path) -> list[RunSummary]:
    return [s for s in summaries(find([folder])) if s.state == "finished"]


def main(words: Sequence[str]) -> None:
    if list(words) == ["draw"]:
        print(draw())
        return
    if len(words) < 3 or words[0] != "finish":
        raise UserError("give: draw, or finish FOLDER PAGE [columns=[time]] [seeds=[101]] [jobs=2 ...]")
    options = dict(word.split("=", 1) for word in words[3:] if "=" in word)
    columns = listed(options.pop("columns", "") or ",".join(COLUMNS))
    if unknown := set(columns) - COLUMNS.keys():
        raise UserError(f"columns: there is no {sorted(unknown)[0]}; there are {', '.join(COLUMNS)}")
    seeds = [int(seed) for seed in listed(options.pop("seeds", "") or ",".join(map(str, SEEDS)))]
    finish(Path(words[1]), Path(words[2]), columns, seeds, [f"{key}={value}" for key, value in options.items()])


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.strip("[]").split(",")]


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"frame: {error}")
