"""`frame export`: a run as a folder for others."""

from collections.abc import Sequence
from pathlib import Path

from frame.commands.beside import trust
from frame.commands.parser import COMMANDS, parse
from frame.common.files import writing
from frame.composition.folders import use_own_folder


def run(words: Sequence[str]) -> int:
    """`frame export RUN [out=FOLDER] [checkpoint=best] [weights=raw] [format=onnx] [packages=[a]] [tolerance=1e-4]`."""
    typed = parse(COMMANDS["export"], words)
    use_own_folder(typed.config_dir, trains=False)
    trust(typed.options.get("packages", []))
    form = typed.options.pop("format", "safetensors")
    from frame.sharing.export import export as write
    from frame.sharing.export import said

    with writing(typed.options.get("out", Path("exports"))):
        written = write(Path(typed.places[0]), form=form, **typed.options)
    print(said(written))
    return 0
