"""`frame plot`: a figure of many runs, with its numbers."""

import math
from collections.abc import Sequence
from pathlib import Path

from frame.commands.parser import Command, Key, parse
from frame.commands.readers import file, names, one_of, text
from frame.common.files import writing
from frame.composition.folders import use_own_folder

COMMAND = Command(
    "plot",
    "STUDY [RUN ...]",
    "a figure of many runs, with a CSV of its numbers",
    {
        "x": Key(text, "a key; for curves iterations, epochs, samples or seconds", "needed for values", "KEY", "keys"),
        "y": Key(text, "a result", "needed for values and parallel", "METRIC", "metrics"),
        "hue": Key(names, "keys that give lines their colours", "none", among="keys"),
        "band": Key(one_of("ci", "sd", "none"), "interval of the mean over seeds, standard deviation, or none", "ci"),
        "log": Key(one_of("x", "y", "xy"), "axes on a logarithmic scale", "none"),
        "title": Key(text, "text above the figure", "none"),
        "kind": Key(
            one_of("values", "parallel", "pictures", "rate_distortion", "information_plane"), "the figure", "values"
        ),
        "name": Key(text, "name of the pictures, for kind=pictures", "", "Samples"),
        "out": Key(file("a figure ends in", ".pdf", ".svg", ".png", ".eps"), "the file to write", "named by x and y"),
    },
    (
        ("frame plot runs/studies/VAE_MNIST x=params.beta y=ELBO/Validation", "a metric over a parameter"),
        ("frame plot runs/studies/VAE_MNIST x=epochs y=ELBO/Validation hue=params.beta out=curves.pdf", "curves"),
    ),
    places=(1, math.inf),
    needs="plot needs a study or runs",
    among="runs",
)


def run(words: Sequence[str]) -> int:
    """`frame plot`."""
    typed = parse(COMMAND, words)
    use_own_folder(typed.config_dir, trains=False)
    places, options = typed.places, typed.options
    from frame.analysis.calls import figure

    made = figure(places, options)
    from frame.analysis.figures import default_name

    out = options.get("out") or Path(default_name(options))
    with writing(out):
        made.write(out)
    print("\n".join([*made.notes, f"figure   {out}", f"numbers  {out.with_suffix('.csv')}"]))
    return 0
