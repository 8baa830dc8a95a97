"""`frame report`: a study as one HTML file."""

from collections.abc import Sequence
from pathlib import Path

from frame.commands.parser import COMMANDS, parse
from frame.common.files import write_whole, writing
from frame.composition.folders import use_own_folder


def run(words: Sequence[str]) -> int:
    """`frame report STUDY [metrics=[a,b]] [rows=a,b] [out=report.html]`."""
    typed = parse(COMMANDS["report"], words)
    use_own_folder(typed.config_dir, trains=False)
    from frame.analysis.report import report_pieces

    out = typed.options.get("out", Path("report.html"))
    pieces = report_pieces(typed.places, typed.options.get("metrics", []), typed.options.get("rows", []))
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, lambda stream: stream.writelines(piece.encode() for piece in pieces))
    print(f"report   {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0
