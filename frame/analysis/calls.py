"""`frame compare` and `frame plot` without their printing, and what Python calls: `frame.compare`, `frame.plot`."""

from collections.abc import Mapping, Sequence
from inspect import get_annotations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frame.analysis.compare import Comparison, How, counted
from frame.analysis.compare import compare as side_by_side
from frame.analysis.series import settings
from frame.common.errors import UserError, choices
from frame.composition.folders import use_own_folder
from frame.composition.session import unchanged
from frame.runs.listing import RunSummary, find, places_of

if TYPE_CHECKING:
    import pandas

    from frame.analysis.figures import Plot

Names = str | Sequence[str]
NEEDED = {"values": ("x", "y"), "parallel": ("y",), "pictures": ("name",)}  # by kind of figure
WANTED = {"x": "params.beta", "y": "ELBO/Test", "name": "Samples"}
POINTS = ("rate_distortion", "information_plane")
STYLES = ("hue", "band", "log", "title")


def comparison(
    places: Sequence[str | Path], rows: Sequence[str] | None, metrics: Sequence[str] | None, **how: Any
) -> Comparison:
    """Runs side by side; see `frame.analysis.compare.compare`.

    Args:
        places: folders with runs at any depth, or patterns.
        rows: keys; None: those in which the runs differ.
        metrics: names of results.
        how: see `How`.

    Raises:
        UserError: no metric is named, or as `compare`.
    """
    summaries: list[RunSummary] = [summary for group in counted(find(places)) for summary in group]
    if not metrics:
        there = {name for summary in summaries for name in summary.newest if "/floor/" not in name}
        raise UserError(f"compare needs metrics=[...]; these runs have: {', '.join(sorted(there)) or 'none'}")
    return side_by_side(summaries, rows or settings(summaries) or ["experiment"], metrics, **how)


def figure(places: Sequence[str | Path], options: Mapping[str, Any]) -> "Plot":
    """The figure that the options of `frame plot` describe.

    Args:
        places: folders with runs at any depth, or patterns.
        options: `kind`, `x`, `y`, `hue`, `band`, `log`, `title` and `name`, as on the command line.

    Raises:
        UserError: an option is missing, or has no meaning for this kind of figure.
    """
    kind = options.get("kind", "values")
    for name in NEEDED.get(kind, ()):
        if name not in options:
            raise UserError(f"plot needs {name}=..., such as {name}={WANTED[name]}")
    from frame.analysis import figures, study_figures

    more: dict[str, Any] = {key: options[key] for key in STYLES if key in options}
    wrong = [key for key in more if kind != "values" and not (kind in POINTS and key == "hue")]
    if wrong:
        raise UserError(f"kind={kind} has no {wrong[0]}")
    if kind == "values":
        return figures.plot(places, options["x"], options["y"], **more)
    if kind == "parallel":
        return study_figures.parallel(places, options["y"])
    if kind == "pictures":
        return study_figures.pictures(places, options["name"])
    if kind not in POINTS:
        raise UserError(choices(str(kind), [*NEEDED, *POINTS], kind="kind of figure"))
    return study_figures.of_records(places, kind, options.get("y"), ",".join(options.get("hue", [])) or None)


def compare(runs: Any, metrics: Names | None = None, rows: Names | None = None, **how: Any) -> "pandas.DataFrame":
    """The table of `frame compare` as a data frame: a row for each setting and metric, and for each floor.

    Its columns are the keys of `rows`, then 'metric', 'unit', 'seeds', 'mean', 'low' and 'high' (a 95 % t interval over
    seeds), then the paired differences from the best row, or from `against`. `attrs["notes"]` are the notes below the
    table: what was measured how, and what is missing.

    Args:
        runs: a study's folder, a folder, a pattern, an opened run, or a list of these.
        metrics: one or several names of results.
        rows: keys by which runs are grouped; None: those in which they differ.
        how: 'select', 'within', 'against', 'minimize', 'columns', 'sort' and 'allow_test', as for the command.

    Raises:
        UserError: an option, a run, a key or a metric is wrong; without metrics, the error lists those that there are.

    Example:
        >>> frame.compare("runs/studies/VAE_MNIST", "ELBO/Test", rows="params.beta", select="valid")
    """
    import pandas

    from frame.analysis.tables import lines, notes_of

    known = get_annotations(How)
    for key in how:
        if key not in known:
            raise UserError(choices(key, [*known, "metrics", "rows"], kind="option of compare"))
    for key in ("minimize", "columns"):
        if how.get(key) is not None:
            how[key] = _listed(how[key])
    with unchanged():
        use_own_folder(trains=False)
        made = comparison(places_of(runs), _listed(rows), _listed(metrics), **how)
        head, *body = lines(made)
    table = pandas.DataFrame([[None if cell == "" else cell for cell in line] for line in body], columns=head)
    table.attrs["notes"] = notes_of(made)
    return table


def plot(runs: Any, x: str | None = None, y: str | None = None, **options: Any) -> "Plot":
    """The figure of `frame plot`: a notebook shows it, `figure` is matplotlib's, `data` are its numbers.

    Args:
        runs: a study's folder, a folder, a pattern, an opened run, or a list of these.
        x: a key of the runs; for curves 'iterations', 'epochs', 'samples' or 'seconds'.
        y: a result.
        options: 'hue', 'band', 'log', 'title', 'kind' and 'name', as for the command; and 'out', a file to write.

    Raises:
        UserError: an option, a run, a key or a result is wrong.

    Example:
        >>> frame.plot("runs/studies/VAE_MNIST", x="params.beta", y="ELBO/Test", out="elbo.pdf")
        >>> frame.plot("runs/digits_VAE", "epochs", "ELBO/Validation", hue="params.beta").data
    """
    known = ("kind", "name", *STYLES)
    out = options.pop("out", None)
    for key in options:
        if key not in known:
            raise UserError(choices(key, [*known, "x", "y", "out"], kind="option of plot"))
    given = {"x": x, "y": y, **options}
    if "hue" in options:
        given["hue"] = _listed(options["hue"])
    with unchanged():
        use_own_folder(trains=False)
        made = figure(places_of(runs), {key: value for key, value in given.items() if value is not None})
        if out is not None:
            made.write(Path(out))
    return made


def _listed(names: Names | None) -> list[str]:
    return [names] if isinstance(names, str) else [*(names or ())]
