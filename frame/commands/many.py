"""The commands on many runs, and on what is made for others: their words, before anything is imported for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frame.commands.beside import trust
from frame.commands.parser import COMMANDS, parse
from frame.common.errors import UserError
from frame.common.files import writing
from frame.composition.compose import use_own_folder


def sweep(words: Sequence[str]) -> int:
    """`frame sweep FILE [seeds=5] [jobs=2] [run_cap=20] [folder=...] [launcher=submitit] [key=value of runs ...]`."""
    typed = parse(COMMANDS["sweep"], words)
    use_own_folder(typed.config_dir)
    from frame.sweeps.sweep import Options
    from frame.sweeps.sweep import sweep as run

    options = Options(
        **typed.options,
        launcher_options=typed.families["launcher"],
        overrides=tuple(typed.others),
        config_dir=typed.config_dir,
    )
    return run(Path(typed.places[0]), options)


def export(words: Sequence[str]) -> int:
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


def new(words: Sequence[str]) -> int:
    """`frame new model MyVAE`."""
    typed = parse(COMMANDS["new"], words)
    from frame.commands.new import new as write

    with writing(Path.cwd()):
        print(write(typed.places[0], typed.places[1], typed.config_dir))
    return 0


def compare(words: Sequence[str]) -> int:
    """`frame compare STUDY [RUN ...] rows=params.beta metrics=[ELBO/Test] [select=valid] [against=...] [out=t.tex]`."""
    typed = parse(COMMANDS["compare"], words)
    use_own_folder(typed.config_dir, trains=False)
    options = typed.options
    from frame.analysis.compare import compare as side_by_side
    from frame.analysis.compare import counted
    from frame.analysis.series import settings
    from frame.analysis.tables import FORMATS, terminal
    from frame.runs.listing import Summary, find

    summaries: list[Summary] = [summary for group in counted(find(typed.places)) for summary in group]
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


def plot(words: Sequence[str]) -> int:
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


def report(words: Sequence[str]) -> int:
    """`frame report STUDY [metrics=[a,b]] [rows=a,b] [out=report.html]`."""
    typed = parse(COMMANDS["report"], words)
    use_own_folder(typed.config_dir, trains=False)
    from frame.analysis.report import report as written
    from frame.common.files import write_text

    out = typed.options.get("out", Path("report.html"))
    text = written(typed.places, typed.options.get("metrics", []), typed.options.get("rows", []))
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text)
    print(f"report   {out} ({len(text) / 1e6:.1f} MB)")
    return 0
