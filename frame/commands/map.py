"""`frame map`: the codes of a run in a viewer."""

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frame.commands.beside import trust
from frame.commands.encode import CODE_KEYS
from frame.commands.parser import Command, Key, parse
from frame.commands.readers import folder, names, one_of, truth, whole
from frame.common.files import writing
from frame.common.interrupts import Interrupts
from frame.composition.folders import use_own_folder

COMMAND = Command(
    "map",
    "RUN",
    "codes in a viewer, with labels, pictures and records: Embedding Atlas or TensorBoard's projector",
    {
        "out": Key(folder, "the folder to write", "maps/, and the names of the run"),
        "viewer": Key(one_of("atlas", "tensorboard"), "who shows it", "atlas if it is installed, else tensorboard"),
        "open": Key(truth, "starts the viewer; else its command is printed", "false"),
        "n_samples": Key(whole, "rows of each split, drawn from larger ones", "10000"),
        "projection": Key(one_of("umap", "pca"), "how the atlas places codes", "umap if it is installed, else pca"),
        **CODE_KEYS,
        "on": Key(names, "splits of the data", "test", "[train,test]"),
    },
    (
        ("frame map runs/digits_VAE/2026-11-28_10-00-00 open=true", "shows the codes of test"),
        ("frame map runs/digits_VAE/2026-11-28_10-00-00 viewer=tensorboard layer=features", "for the projector"),
    ),
    places=(1, 1),
    needs="map takes one run",
    among="runs",
)


def run(words: Sequence[str]) -> int:
    """`frame map`."""
    typed = parse(COMMAND, words)
    use_own_folder(typed.config_dir, trains=False)
    trust(typed.options.get("packages", []))
    options = dict(typed.options)
    show = options.pop("open", False)
    opening: dict[str, Any] = {"device": "auto"}
    opening |= {
        key: options.pop(key) for key in ("checkpoint", "weights", "source", "packages", "device") if key in options
    }
    from frame.engine.opening import open as open_run
    from frame.sharing.maps import here, write_map

    with Interrupts(), writing(options.get("out", Path("maps"))):
        written, command = write_map(open_run(typed.places[0], **opening), **options)
    print(f"map      {written}")
    print(f"show it  {shlex.join(command)}", flush=True)
    return subprocess.run(here(command)).returncode if show else 0
