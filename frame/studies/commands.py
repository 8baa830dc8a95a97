"""The commands on many runs, and on what is made for others: their words, before anything is imported for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frame.compose import use_own_folder
from frame.mistakes import Mistake, choices
from frame.words import is_place, listed, own_folder, whole


def sweep(words: Sequence[str]) -> int:
    """`frame sweep FILE [seeds=5] [jobs=2] [run_cap=20] [folder=...] [launcher=submitit] [key=value of runs ...]`."""
    rest, own = own_folder(words)
    use_own_folder(own)
    files = [word for word in rest if "=" not in word]
    if len(files) != 1:
        raise Mistake("sweep needs one file, or a study's folder: frame sweep sweeps/VAE_MNIST.yml seeds=5")
    names = ("seeds", "jobs", "run_cap", "folder", "launcher", "retry", "again")
    options = {key: value for key, _, value in (w.partition("=") for w in rest if "=" in w) if key in names}
    launcher = {w.split("=", 1)[0][9:]: w.split("=", 1)[1] for w in rest if w.startswith("launcher.")}
    others = [w for w in rest if "=" in w and w.split("=")[0] not in names and not w.startswith("launcher.")]
    for name in ("retry", "again"):
        if options.get(name, "false") not in ("true", "false"):
            raise Mistake(choices(options[name], ("true", "false"), kind=name))
    from frame.studies.sweep import Options
    from frame.studies.sweep import sweep as run

    seeds = options.get("seeds", "")
    numbers = [whole("seeds", text) for text in listed(seeds)]
    return run(
        Path(files[0]),
        Options(
            seeds=tuple(numbers if seeds.startswith("[") or len(numbers) != 1 else range(1, numbers[0] + 1)),
            jobs=whole("jobs", options.get("jobs", "1")),
            run_cap=whole("run_cap", options["run_cap"]) if "run_cap" in options else None,
            folder=Path(options["folder"]) if "folder" in options else None,
            launcher=options.get("launcher", "local"),
            launcher_options=launcher,
            retry=options.get("retry") == "true",
            again=options.get("again") == "true",
            overrides=tuple(others),
            config_dir=own,
        ),
    )


def export(words: Sequence[str]) -> int:
    """`frame export RUN [out=FOLDER] [checkpoint=best] [weights=raw] [format=onnx] [packages=[a]] [tolerance=1e-4]`."""
    overrides, folder = own_folder(words)
    use_own_folder(folder)
    runs = [word for word in overrides if is_place(word)]
    options = dict(word.split("=", 1) for word in overrides if not is_place(word))
    formats = ("safetensors", "onnx", "torch_export")
    valid = {"checkpoint": ("last", "best"), "weights": ("average", "raw"), "format": formats}
    for name, value in options.items():
        if name not in (*valid, "out", "packages", "tolerance"):
            raise Mistake(choices(name, (*valid, "out", "packages", "tolerance"), kind="option of export"))
        if name in valid and value not in valid[name]:
            raise Mistake(choices(value, valid[name], kind=name))
    if len(runs) != 1:
        raise Mistake("export takes one run: frame export runs/... out=FOLDER")
    try:
        tolerance = float(options.pop("tolerance", "1e-4"))
    except ValueError:
        raise Mistake("tolerance is a number, such as 1e-4") from None
    out = Path(options.pop("out")).expanduser() if "out" in options else None
    form, packages = options.pop("format", "safetensors"), listed(options.pop("packages", ""))
    from frame.studies.export import export as write
    from frame.studies.export import said

    written = write(Path(runs[0]), out=out, form=form, packages=packages, tolerance=tolerance, **options)
    print(said(written))
    return 0


def new(words: Sequence[str]) -> int:
    """`frame new model MyVAE`."""
    from frame.studies.new import KINDS
    from frame.studies.new import new as write

    names, folder = own_folder(words)
    if len(names) != 2:
        raise Mistake(f"new needs a kind and a name: frame new model MyVAE; kinds: {', '.join(KINDS)}")
    print(write(names[0], names[1], folder))
    return 0


def compare(words: Sequence[str]) -> int:
    """`frame compare STUDY [RUN ...] rows=params.beta metrics=[ELBO/Test] [select=valid] [against=...] [out=t.tex]`."""
    valid = ("rows", "metrics", "select", "within", "against", "minimize", "columns", "sort", "out")
    places, options = _places_and_options(words, valid, "compare")
    from frame.listing import Summary, find
    from frame.studies.compare import compare as side_by_side
    from frame.studies.compare import counted
    from frame.studies.series import settings
    from frame.studies.tables import FORMATS, terminal

    runs = find(places)
    summaries: list[Summary] = [summary for group in counted(runs) for summary in group]
    metrics = listed(options.get("metrics", ""))
    if not metrics:
        there = {name for summary in summaries for name in summary.newest if "/floor/" not in name}
        raise Mistake(f"compare needs metrics=[...]; these runs have: {', '.join(sorted(there)) or 'none'}")
    rows = listed(options.get("rows", "")) or settings(summaries) or ["experiment"]
    out = Path(options["out"]).expanduser() if "out" in options else None
    if out is not None and out.suffix not in FORMATS:
        raise Mistake(f"out={out}: it ends in one of {', '.join(FORMATS)}")
    comparison = side_by_side(
        runs,
        rows,
        metrics,
        select=options.get("select"),
        within=options.get("within"),
        against=options.get("against"),
        minimize=listed(options.get("minimize", "")),
        columns=listed(options["columns"]) if "columns" in options else None,
        sort=options.get("sort"),
    )
    print(terminal(comparison))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(FORMATS[out.suffix](comparison))
        print(f"\ntable    {out}")
    return 0


def plot(words: Sequence[str]) -> int:
    """`frame plot STUDY x=params.beta y=METRIC [hue=model] [band=ci|sd|none] [log=x] [kind=...] [out=fig.pdf]`."""
    valid = ("x", "y", "hue", "band", "log", "title", "kind", "name", "out")
    places, options = _places_and_options(words, valid, "plot")
    kinds: dict[str, tuple[str, ...]] = {"values": ("x", "y"), "parallel": ("y",), "pictures": ("name",)}
    kinds |= {"rate_distortion": (), "information_plane": ()}
    kind = options.get("kind", "values")
    if kind not in kinds:
        raise Mistake(choices(kind, kinds, kind="kind"))
    for name in kinds[kind]:
        if name not in options:
            wanted = {"x": "params.beta", "y": "ELBO/Test", "name": "Samples"}
            raise Mistake(f"plot needs {name}=..., such as {name}={wanted[name]}")
    from frame.studies import plot as figures
    from frame.studies import plot_kinds

    more: dict[str, Any] = {key: options[key] for key in ("hue", "band", "log", "title") if key in options}
    more |= {"hue": listed(options["hue"])} if "hue" in options else {}
    points = ("rate_distortion", "information_plane")
    wrong = [key for key in more if kind != "values" and not (kind in points and key == "hue")]
    if wrong:
        raise Mistake(f"kind={kind} has no {wrong[0]}")
    if kind == "values":
        made = figures.plot(places, options["x"], options["y"], **more)
    elif kind == "parallel":
        made = plot_kinds.parallel(places, options["y"])
    elif kind != "pictures":
        made = plot_kinds.of_records(places, kind, options.get("y"), options.get("hue"))
    else:
        made = plot_kinds.pictures(places, options["name"])
    out = Path(options.get("out", figures.default_name(options))).expanduser()
    made.write(out)
    print("\n".join([*made.notes, f"figure   {out}", f"numbers  {out.with_suffix('.csv')}"]))
    return 0


def _places_and_options(words: Sequence[str], valid: Sequence[str], command: str) -> tuple[list[str], dict[str, str]]:
    """Folders, which may have '=' in their names as cells do, and key=value."""
    rest, own = own_folder(words)
    use_own_folder(own)
    places, options = [], {}
    for word in rest:
        key, _, value = word.partition("=")
        if is_place(word):
            places.append(word)
        elif key not in valid:
            raise Mistake(choices(key, valid, kind=f"option of {command}"))
        else:
            options[key] = value
    if not places:
        raise Mistake(f"{command} needs a study or runs: frame {command} runs/studies/...")
    return places, options


def report(words: Sequence[str]) -> int:
    """`frame report STUDY [metrics=[a,b]] [rows=a,b] [out=report.html]`."""
    places, options = _places_and_options(words, ("metrics", "rows", "out"), "report")
    from frame.files import write_text
    from frame.studies.report import report as written

    out = Path(options.get("out", "report.html")).expanduser()
    if out.suffix not in (".html", ".htm"):
        raise Mistake(f"out={out}: a report ends in .html")
    text = written(places, listed(options.get("metrics", "")), listed(options.get("rows", "")))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)
    print(f"report   {out} ({len(text) / 1e6:.1f} MB)")
    return 0
