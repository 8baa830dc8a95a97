"""The four tracks of a leaderboard. Methods are ranked within a track only; two controls stand in each of them."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from hydra.utils import get_class

from frame.analysis.compare import Comparison, Row, compare
from frame.analysis.intervals import shown
from frame.common.errors import UserError
from frame.runs.listing import RunSummary

TRACKS = {
    "one view": "one picture, neither labels nor augmentation",
    "views": "two augmented views of each picture, no labels",
    "labels": "all labels",
    "few labels": "ten labels of each class, and the other pictures without",
}
PROBE, OWN = "linear_probe/Test/features", "accuracy/Test"
RANKED_BY = {track: OWN if track == "few labels" else PROBE for track in TRACKS}
# a supervised network and a VAE, trained on the same augmented pictures; the first is ranked among those with labels
CONTROLS = ("Classifier_views", "VAE_views")


def track_of(config: Mapping[str, Any]) -> str:
    """The track of a run, by what its training reads."""
    model: Any = get_class(config["model"]["_target_"])
    if str(config["data"]["_target_"]).endswith(".FewLabels"):
        return "few labels"
    if "y" in model.needs:
        return "labels"
    return "views" if "views" in model.needs or config["data"].get("train_on_view") else "one view"


def members(found: Sequence[RunSummary], track: str, names: Mapping[str, str]) -> list[RunSummary]:
    """The runs of a track, with its controls. `names` gives the methods of variants."""
    return [s for s in found if names[s.variant or ""] in CONTROLS or track_of(s.config) == track]


def is_ranked(method: str, track: str) -> bool:
    """Whether a method that stands in a track is ranked there; else it is a control."""
    return method not in CONTROLS or (track == "labels" and method == "Classifier_views")


def compared(found: Sequence[RunSummary], metrics: Sequence[str], sort: str) -> Comparison | None:
    """One row for each variant; None if no run has been measured. Rows are sorted on test, but none is chosen."""
    known = [metric for metric in metrics if any(s.record(metric) for s in found)]
    if sort not in known:
        return None
    columns = ["parameters", "epochs", "seconds", "flops"]
    return compare(found, ["variant"], known, sort=sort, allow_test=True, columns=columns)


def places(rows: Sequence[Row], track: str, metric: str, names: Mapping[str, str]) -> list[str]:
    """'1', '2' ... in the order of the rows; '' for controls and for rows without the metric."""
    found, n = [], 0
    for row in rows:
        counts = is_ranked(names[row.label[0]], track) and metric in row.samples
        n += counts
        found.append(str(n) if counts else "")
    return found


def title(method: str, track: str, runs: Sequence[RunSummary]) -> str:
    """A method's name in a table: controls in italics, and a mark if a run ended inside a schedule."""
    cut = any(s.status.get("unfinished") for s in runs)
    name = {"Classifier_views": "supervised, augmented", "VAE_views": "VAE, augmented"}.get(method, method)
    return (name if is_ranked(method, track) else f"*{name}* (control)") + (" †" if cut else "")


def cut_notes(rows: Sequence[Row]) -> str:
    """What † stands for; '' if no run ended inside a schedule."""
    found = {
        row.name: list(dict.fromkeys(name for s in row.runs for name in s.status.get("unfinished") or ()))
        for row in rows
    }
    named = "; ".join(f"{name}: {', '.join(several)}" for name, several in found.items() if several)
    return f"† ended inside its schedule ({named})." if named else ""


def floor(runs: Sequence[RunSummary], metric: str, name: str) -> float | None:
    """The mean over all runs of a floor that was measured beside a metric; None if there is none.

    Floors of a layer's metric are recorded without the layer: 'linear_probe/Test/floor/pixels'.
    """
    key = f"{metric.replace('/features', '')}/floor/{name}"
    values = [float(record["value"]) for s in runs if (record := s.record(key)) is not None]
    return fmean(values) if values else None


def cell(row: Row, metric: str) -> str:
    return shown(row.samples[metric]) if metric in row.samples else "–"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table whose first line is its head."""
    head, *rest = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rest])


def over_seeds(n: int, kind: str = "") -> str:
    """What the cells of a table over n seeds hold; `kind` stands before "seeds", such as 'new '."""
    if n > 1:
        return f"Mean ± 95 % t interval over {n} {kind}seeds (without ± they all found the same)"
    return f"One {kind}seed, so there is no interval"


def between(page: Path, begin: str, end: str, body: str) -> None:
    """Replaces what stands between two marks of a page.

    Raises:
        UserError: the page lacks a mark.
    """
    text = page.read_text()
    if begin not in text or end not in text.partition(begin)[2]:
        raise UserError(f"{page} has no lines '{begin}' and '{end}', between which the tables go")
    before, after = text.partition(begin)[0], text.partition(begin)[2].partition(end)[2]
    page.write_text(f"{before}{begin}\n\n{body}\n\n{end}{after}")


def frame(*words: str) -> int:
    """Runs a command of frame; returns its exit code."""
    return subprocess.run([sys.executable, "-m", "frame", *words], check=False).returncode


def measure(found: Sequence[RunSummary], *words: str) -> None:
    """Evaluates runs. What is measured already is skipped, and runs that cannot be measured are named."""
    if found:
        frame("evaluate", *(str(s.run.path) for s in found), *words)
