"""`frame plot`: a figure of many runs, with its numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frame.commands.parser import COMMANDS, parse
from frame.common.errors import UserError
from frame.common.files import writing
from frame.composition.folders import use_own_folder


def run(words: Sequence[str]) -> int:
    """`frame plot STUDY x=params.beta y=METRIC [hue=model] [band=ci|sd|none] [log=x] [kind=...] [out=fig.pdf]`."""
    typed = parse(COMMANDS["plot"], words)
    use_own_folder(typed.config_dir, trains=False)
    places, options = typed.places, typed.options
    kinds: dict[str, tuple[str, ...]] = {"values": ("x", "y"), "parallel": ("y",), "pictures": ("name",)}
    kind = options.get("kind", "values")
    for name in kinds.get(kind, ()):
        if name not in options:
            wanted = {"x": "params.beta", "y": "ELBO/Test", "name": "Samples"}
            raise UserError(f"plot needs {name}=..., such as {name}={wanted[name]}")
    from frame.analysis import figures as figures
    from frame.analysis import study_figures

    more: dict[str, Any] = {key: options[key] for key in ("hue", "band", "log", "title") if key in options}
    points = ("rate_distortion", "information_plane")
    wrong = [key for key in more if kind != "values" and not (kind in points and key == "hue")]
    if wrong:
        raise UserError(f"kind={kind} has no {wrong[0]}")
    if kind == "values":
        made = figures.plot(places, options["x"], options["y"], **more)
    elif kind == "parallel":
        made = study_figures.parallel(places, options["y"])
    elif kind != "pictures":
        made = study_figures.of_records(places, kind, options.get("y"), ",".join(options.get("hue", [])) or None)
    else:
        made = study_figures.pictures(places, options["name"])
    out = options.get("out") or Path(figures.default_name(options))
    with writing(out):
        made.write(out)
    print("\n".join([*made.notes, f"figure   {out}", f"numbers  {out.with_suffix('.csv')}"]))
    return 0
