"""How an opened run shows itself: one line in a terminal, its results and pictures in a notebook."""

import base64
from pathlib import Path

from frame.common.errors import UserError
from frame.common.templates import rendered
from frame.composition.settings import PARTS
from frame.runs.folder import RunFolder
from frame.runs.listing import shown
from frame.runs.reading import remarks
from frame.runs.summary import RunSummary

MOST, LARGEST = 8, 2_000_000  # pictures, and bytes of one
HEAD = ("name", "value", "±", "unit", "split", "rows", "how")


def as_text(folder: RunFolder) -> str:
    """One line: where it is, what it is, and its state."""
    summary = RunSummary(folder)
    try:
        return f"<run {folder.path}: {_parts(summary)}; {_state(summary)}>"
    except UserError as error:
        return f"<run {folder.path}: {error}>"


def as_html(folder: RunFolder) -> str:
    """The newest record under each name as a table, floors last, and the newest pictures, each as a part of the text.

    Raises:
        UserError: one of its files is damaged.
    """
    summary = RunSummary(folder)
    records = sorted(summary.newest.values(), key=lambda record: "/floor/" in record["name"])
    rows = [
        (
            record["name"],
            shown(record["value"]),
            shown(record.get("standard_error")),
            record.get("unit") or "",
            record.get("split") or "",
            record.get("n_samples") or "",
            (record.get("estimator") or "") + remarks(record),
        )
        for record in records
    ]
    files = folder.newest_pictures
    small = [file for file in files if file.stat().st_size <= LARGEST][:MOST]
    return rendered(
        Path(__file__).parent / "templates" / "run.html",
        path=str(folder.path),
        parts=_parts(summary),
        state=_state(summary),
        head=HEAD,
        rows=rows,
        pictures=[(file.parent.name, base64.b64encode(file.read_bytes()).decode()) for file in small],
        left_out=f"{len(files) - len(small)} more pictures in {folder.path / 'images'}" if files[len(small) :] else "",
    )


def _parts(summary: RunSummary) -> str:
    named = [str(summary.get(part)) for part in PARTS[:2] if summary.get(part)]
    params = [f"{key.removeprefix('params.')}={shown(summary.get(key))}" for key in summary.params]
    return " on ".join(named) + ", " + ", ".join([*params, f"seed={summary.get('seed')}"])


def _state(summary: RunSummary) -> str:
    reason = str(summary.status.get("reason") or "").strip().splitlines()
    return summary.state + (f": {reason[-1]}" if reason else "")
