"""`frame report`: a study as one HTML file."""

import math
from collections.abc import Sequence
from pathlib import Path

from frame.commands.parser import Command, Key, parse
from frame.commands.readers import file, names
from frame.common.files import write_whole, writing
from frame.composition.folders import use_own_folder

COMMAND = Command(
    "report",
    "STUDY [RUN ...]",
    "a study as one HTML page: what came out, tables, curves, pictures, configs",
    {
        "metrics": Key(names, "the results to show", "those measured on test, else on valid", among="metrics"),
        "rows": Key(names, "keys by which runs are grouped", "those in which the runs differ", among="keys"),
        "out": Key(file("a report ends in", ".html", ".htm"), "the file to write", "report.html"),
    },
    (
        ("frame report runs/studies/VAE_MNIST", "a sweep"),
        ("frame report 'runs/*' rows=experiment metrics=ELBO/Test,knn/Test out=page.html", "several experiments"),
    ),
    places=(1, math.inf),
    needs="report needs a study or runs",
    among="runs",
)


def run(words: Sequence[str]) -> int:
    """`frame report`."""
    typed = parse(COMMAND, words)
    use_own_folder(typed.config_dir, trains=False)
    from frame.analysis.report import report_pieces

    out = typed.options.get("out", Path("report.html"))
    pieces = report_pieces(typed.places, typed.options.get("metrics", []), typed.options.get("rows", []))
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, lambda stream: stream.writelines(piece.encode() for piece in pieces))
    print(f"report   {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0
