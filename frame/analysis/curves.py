"""Curves over the runs of a study, from a data frame of records (`frame.results`) to a Figure."""

from typing import Any

import matplotlib
import pandas
from matplotlib.figure import Figure

from frame.analysis.figures import HEIGHT, STYLE, WIDTH
from frame.common.errors import UserError
from frame.common.numbers import counted
from frame.evaluation.colours import look
from frame.runs.listing import shown

PROTOCOL = ("split", "estimator", "n_samples", "unit")


def rate_distortion(results: pandas.DataFrame, hue: str | None = None) -> Figure:
    """Distortion against rate, in nats per row (per picture): one point per run, with lines of equal ELBO.

    Args:
        results: from `frame.results`, with the records '<name>/rate' and '<name>/distortion' of one ELBO.
        hue: column that gives points their colour and mark, such as 'model'; a line joins the runs of each value.

    Raises:
        UserError: there are no such records, they were measured in several ways, or there is no such column.
    """
    names = {name.removesuffix("/rate") for name in results.get("name", ()) if str(name).endswith("/rate")}
    stems = sorted(name for name in names if f"{name}/distortion" in set(results["name"]))
    if not stems:
        raise UserError("no rate with its distortion: run frame evaluate RUNS evaluation=[elbo] first")
    if len(stems) > 1:
        raise UserError(f"rates of {', '.join(stems)} cannot be mixed: choose the rows of one by their name")
    x, y = measured_alike(results, f"{stems[0]}/rate"), measured_alike(results, f"{stems[0]}/distortion")
    figure, axes = _points(x, y, hue)
    # ELBO = -(rate + distortion), the same along a falling diagonal
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    for offset in _ticks(low + bottom, high + top):
        axes.plot([low, high], [offset - low, offset - high], color="0.85", linewidth=0.8, zorder=0)
        if bottom < offset - high < top:
            axes.annotate(f" ELBO {-offset:.4g}", (high, offset - high), fontsize=6.5, color="0.4", va="center")
    axes.set(xlim=(low, high), ylim=(bottom, top))
    axes.set_xlabel(f"rate, {x['unit'].iloc[0]}")
    axes.set_ylabel(f"distortion, {y['unit'].iloc[0]}")
    axes.set_title(_caption(x, stems[0]), fontsize=8)
    return figure


def information_plane(
    results: pandas.DataFrame, hue: str | None = None, x: str = "mixture", y: str = "classifier"
) -> Figure:
    """I(z; y) against I(x; z), in nats: one point per run. Hollow points are saturated: their I(x; z) may be larger.

    Args:
        results: from `frame.results`, with records of code_information and label_information.
        hue: column that gives points their colour and mark.
        x: 'mixture', 'infonce', 'leave_one_out' or 'rate'.
        y: 'classifier' or 'knn'.

    Raises:
        UserError: there are no such records, they were measured in several ways, or there is no such column.
    """
    found = {}
    for kind, key in (("code_information", x), ("label_information", y)):
        rows = [n for n in results.get("name", ()) if str(n).startswith(kind) and str(n).endswith(f"/{key}")]
        names = sorted(set(rows))
        if not names:
            raise UserError(f"no record {kind}/.../{key}: run frame evaluate RUNS evaluation=[{kind}] first")
        if len(names) > 1:
            raise UserError(f"{', '.join(names)} cannot be mixed: choose the rows of one by their name")
        found[kind] = measured_alike(results, names[0])
    across, up = found["code_information"], found["label_information"]
    saturated = across.get("saturated", pandas.Series(False, across.index)).eq(True)
    figure, axes = _points(across, up, hue, saturated)
    axes.set_xlabel(f"I(x; z), nats ({_bound(across)}: {x})")
    axes.set_ylabel(f"I(z; y), nats ({_bound(up)}: {y})")
    entropy = results[results["name"].astype(str).str.match("label_information.*/entropy")]
    if len(entropy):
        limit = float(entropy["value"].iloc[-1])
        axes.axhline(limit, color="0.6", linestyle="--", linewidth=0.8, zorder=0)
        axes.annotate("H(y)", (axes.get_xlim()[1], limit), fontsize=6.5, color="0.4", ha="right", va="bottom")
    hollow = "; hollow: saturated, may be larger" if saturated.any() else ""
    axes.set_title(f"{counted(len(across), 'runs')}, {across['split'].iloc[0]}{hollow}", fontsize=8)
    return figure


def measured_alike(results: pandas.DataFrame, name: str) -> pandas.DataFrame:
    """The newest record called `name` of each run, by its `run`.

    Raises:
        UserError: there is no record, or the records differ in split, estimator, number of samples or unit.
    """
    rows = results[results["name"] == name]
    if rows.empty:
        raise UserError(f"no record {name} in these runs: evaluate them first")
    rows = rows.sort_values("iteration", kind="stable").groupby("run").tail(1).set_index("run", drop=False)
    for column in PROTOCOL:
        values = sorted(map(str, rows[column].unique()))
        if len(values) > 1:
            raise UserError(
                f"{name} was measured in several ways ({column}: {' | '.join(values)}): choose those measured alike"
            )
    return rows.rename_axis(index=None).sort_index()


def _bound(rows: pandas.DataFrame) -> str:
    word = rows["bound"].iloc[0] if "bound" in rows else ""
    return {"lower": "lower bound", "upper": "upper bound"}.get(word, "no bound")


def _caption(rows: pandas.DataFrame, name: str) -> str:
    return f"{name}: {counted(len(rows), 'runs')}, {rows['n_samples'].iloc[0]} samples of {rows['split'].iloc[0]}"


def _points(
    x: pandas.DataFrame, y: pandas.DataFrame, hue: str | None, hollow: "pandas.Series[bool] | None" = None
) -> tuple[Figure, Any]:
    both = x.index.intersection(y.index)
    if both.empty:
        raise UserError("no run has both numbers: evaluate the same runs")
    if hue is not None and hue not in x.columns:
        raise UserError(f"no column '{hue}' in the results: there are {', '.join(map(str, x.columns))}")
    below = 0.16 * (0 if hue is None else 1 + (x.loc[both][hue].nunique(dropna=False) + 1) // 2)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT + 0.3 + below), layout="constrained")
        axes = figure.add_subplot()
    groups = x.loc[both].groupby(hue, dropna=False) if hue is not None else [("", x.loc[both])]
    for i, (label, rows) in enumerate(groups):
        rows = rows.sort_values("value")
        colour, marker = look(i)
        across, up = rows["value"].to_numpy(), y.loc[rows.index, "value"].to_numpy()
        up_error, across_error = [part.loc[rows.index, "standard_error"].fillna(0).to_numpy(float) for part in (y, x)]
        axes.errorbar(across, up, up_error, across_error, fmt="none", ecolor=colour, elinewidth=0.8)
        if hue is not None:
            axes.plot(across, up, color=colour, linewidth=0.8, alpha=0.6)
        empty = hollow.loc[rows.index].to_numpy() if hollow is not None else [False] * len(rows)
        faces = ["white" if open_ else colour for open_ in empty]
        axes.scatter(across, up, s=16, marker=marker, c=faces, edgecolors=colour, linewidths=1, zorder=3)
        axes.plot([], [], marker=marker, markersize=4, color=colour, linestyle="none", label=shown(label))
    if hue is not None:
        figure.legend(title=hue, loc="outside lower center", ncols=2, frameon=False, fontsize=7, title_fontsize=7)
    return figure, axes


def _ticks(low: float, high: float) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    return [float(tick) for tick in MaxNLocator(6).tick_values(low, high)]
