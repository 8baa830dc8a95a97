"""`frame encode`: the codes of runs as a file for other programs."""

import math
from collections.abc import Sequence

from frame.commands.beside import trust
from frame.commands.parser import Command, Key, parse
from frame.commands.readers import device, file, names, one_of, whole
from frame.common.errors import UserError
from frame.common.interrupts import Interrupts
from frame.composition.folders import use_own_folder

# how a model's rows are read, also by `frame map`
CODE_KEYS = {
    "on": Key(names, "splits of the data", "all of them", "[train,test]"),
    "layer": Key(one_of("mean", "sample", "features"), "mean of the code, a sample, or the layer before it", "mean"),
    "batch_size": Key(whole, "rows that are encoded at once", "1024"),
    "checkpoint": Key(one_of("last", "best"), "which weights of the run", "last"),
    "weights": Key(one_of("average", "raw"), "averaged ones, if the run keeps them, or raw ones", "as the run says"),
    "source": Key(one_of("trained", "now"), "your own modules: as the run was trained, or as they are", "trained"),
    "packages": Key(names, "packages of yours that the run's config may build from", "none"),
    "device": Key(device, "where the model computes; auto: a GPU if there is one", "auto"),
}

COMMAND = Command(
    "encode",
    "RUN [RUN ...]",
    "the codes of each row, with labels, in a file for other programs",
    {
        "out": Key(
            file("a file of codes ends in", ".parquet", ".npz", ".npy"),
            "the file to write; .npy holds the codes alone",
            looks="codes.parquet",
        ),
        **CODE_KEYS,
    },
    (
        ("frame encode runs/digits_VAE/2026-11-28_10-00-00 out=codes.parquet", "index, label, code, split and run"),
        ("frame encode 'runs/digits_VAE/*' on=[test] layer=features out=features.npz", "features of several runs"),
    ),
    places=(1, math.inf),
    needs="encode needs a run",
    among="runs",
)


def run(words: Sequence[str]) -> int:
    """`frame encode`."""
    typed = parse(COMMAND, words)
    use_own_folder(typed.config_dir, trains=False)
    trust(typed.options.get("packages", []))
    options = dict(typed.options)
    out = options.pop("out", None)
    if out is None:
        raise UserError("encode needs a file: out=codes.parquet, or .npz, .npy")
    chosen = {key: options.pop(key) for key in ("on", "layer", "batch_size") if key in options}
    from frame.runs.listing import find

    folders = [found.path for found in find(typed.places)]
    from frame.engine.opening import open as open_run
    from frame.sharing.codes import codes_of_runs, write_codes

    with Interrupts():
        codes = codes_of_runs([open_run(folder, **{"device": "auto", **options}) for folder in folders], **chosen)
        write_codes(out, codes)
    print(f"encoded  {codes.n_rows} rows of {len(folders)} run{'s' * (len(folders) > 1)} to {out}")
    return 0
