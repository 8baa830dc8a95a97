"""`frame compare`: rows of runs with intervals and paired differences."""

import math
from collections.abc import Sequence

from frame.commands.parser import Command, Key, parse
from frame.commands.readers import any_names, file, names, text, truth
from frame.common.files import writing
from frame.composition.folders import use_own_folder

COMMAND = Command(
    "compare",
    "STUDY [RUN ...]",
    "a table over seeds: means with intervals, paired differences, a mark where a row is better than all others",
    {
        "metrics": Key(names, "the results to compare", "those that there are, listed", among="metrics"),
        "rows": Key(names, "keys by which runs are grouped", "those in which the runs differ", among="keys"),
        "select": Key(text, "valid, or a metric: marks the row that is best by it", "none", "valid", "metrics"),
        "within": Key(text, "a key: only the best row for each of its values, by select", "all rows", "KEY", "keys"),
        "against": Key(text, "the row that differences are from", "the best row", "ROW"),
        "minimize": Key(any_names, "metrics of which less is better", "as the records say", among="metrics"),
        "columns": Key(any_names, "more keys, whose means are shown", "what tells several models apart", among="keys"),
        "sort": Key(text, "a metric: the best row comes first", "by the rows' names", "METRIC", "metrics"),
        "allow_test": Key(truth, "let select and sort use a number measured on test", "false"),
        "out": Key(file("it ends in one of", ".csv", ".md", ".tex"), "writes the table, too", "only shown"),
    },
    (
        ("frame compare runs/studies/VAE_MNIST metrics=ELBO/Validation", "the settings of a sweep"),
        ("frame compare runs rows=experiment metrics=ELBO/Test select=valid out=table.tex", "chosen on valid"),
    ),
    places=(1, math.inf),
    needs="compare needs a study or runs",
    among="runs",
    prints=True,
)


def run(words: Sequence[str]) -> int:
    """`frame compare`."""
    typed = parse(COMMAND, words)
    use_own_folder(typed.config_dir, trains=False)
    options = typed.options
    from frame.analysis.calls import comparison as compared
    from frame.analysis.tables import FORMATS, terminal

    out, rows, metrics = (options.pop(name, None) for name in ("out", "rows", "metrics"))
    comparison = compared(typed.places, rows, metrics, **options)
    print(terminal(comparison))
    if out is not None:
        with writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(FORMATS[out.suffix](comparison))
        print(f"\ntable    {out}")
    return 0
