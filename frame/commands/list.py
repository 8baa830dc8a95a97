"""`frame list`: a table of runs."""

from collections.abc import Sequence
from pathlib import Path

from frame.commands.parser import Command, Key, parse
from frame.commands.readers import names, text
from frame.common.errors import UserError
from frame.common.numbers import counted

COMMAND = Command(
    "list",
    "[FOLDER ...]",
    "a table of runs, filtered and sorted by any key or result",
    {
        "sort": Key(text, "a key or result; -KEY puts the largest first", "by folder", "-KEY", "keys"),
        "columns": Key(names, "keys and results to show", "state, iteration, parts, what differs", among="keys"),
    },
    (
        ("frame list", "all runs below runs/"),
        ("frame list runs state=finished 'params.beta>0.5' sort=-ELBO/Validation", "filtered and sorted"),
    ),
    others="conditions: KEY=value, 'KEY>value', 'KEY!=value' and the like, in quotes",
    among="runs",
    prints=True,
)


def run(words: Sequence[str]) -> int:
    """`frame list`."""
    from frame.common import selection
    from frame.composition.settings import PARTS
    from frame.runs.listing import CONDITION, find, select, summaries, table, varying

    typed = parse(COMMAND, words)
    sort = typed.options.get("sort", "")
    places: list[str] = []
    conditions = list(typed.others)
    for word in typed.places:
        is_condition = not Path(word).exists() and "*" not in word and any(sign in word for sign in "<>")
        (conditions if is_condition else places).append(word)
    everything = summaries(find(places or ["runs"]))
    chosen = select(everything, conditions, sort or None)
    if not chosen:
        raise UserError(f"none of {counted(len(everything), 'runs')} has {' and '.join(conditions)}")
    asked = [match[1] for condition in conditions if (match := CONDITION.fullmatch(condition))]
    asked += [sort.removeprefix("-")] if sort else []
    columns = typed.options.get("columns") or list(
        dict.fromkeys(["run", "state", "iteration", *PARTS[:2], *varying(chosen), *asked])
    )
    print(table([{column: summary.get(column) for column in columns} for summary in chosen], columns))
    print(f"\n{len(chosen)} of {counted(len(everything), 'runs')}")
    by = sort.removeprefix("-")
    if any(selection.on_test(record) for summary in chosen if by and (record := summary.record(by)) is not None):
        print(f"sorted by {by}, which is measured on test: a run that is picked from this list is chosen on test")
    return 0
