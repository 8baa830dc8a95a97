"""`frame compare`: rows of runs with intervals and paired differences."""

from collections.abc import Sequence

from frame.commands.parser import COMMANDS, parse
from frame.common.errors import UserError
from frame.common.files import writing
from frame.composition.folders import use_own_folder


def run(words: Sequence[str]) -> int:
    """`frame compare STUDY [RUN ...] rows=params.beta metrics=[ELBO/Test] [select=valid] [against=...] [out=t.tex]`."""
    typed = parse(COMMANDS["compare"], words)
    use_own_folder(typed.config_dir, trains=False)
    options = typed.options
    from frame.analysis.compare import compare as side_by_side
    from frame.analysis.compare import counted
    from frame.analysis.series import settings
    from frame.analysis.tables import FORMATS, terminal
    from frame.runs.listing import RunSummary, find

    summaries: list[RunSummary] = [summary for group in counted(find(typed.places)) for summary in group]
    metrics = options.pop("metrics", None)
    if not metrics:
        there = {name for summary in summaries for name in summary.newest if "/floor/" not in name}
        raise UserError(f"compare needs metrics=[...]; these runs have: {', '.join(sorted(there)) or 'none'}")
    rows = options.pop("rows", None) or settings(summaries) or ["experiment"]
    out = options.pop("out", None)
    comparison = side_by_side(summaries, rows, metrics, **options)
    print(terminal(comparison))
    if out is not None:
        with writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(FORMATS[out.suffix](comparison))
        print(f"\ntable    {out}")
    return 0
