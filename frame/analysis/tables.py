"""A comparison as text: for a terminal, CSV, Markdown, LaTeX, HTML."""

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from frame.analysis.compare import Comparison
from frame.analysis.intervals import Sample, shown, spread
from frame.common import escaping
from frame.runs.listing import shown as short

INTERVALS = "mean ± 95 % t interval over seeds"


def terminal(comparison: Comparison) -> str:
    """Aligned columns; the winner of a metric, if there is one, has a star."""
    head, body = _cells(comparison, bold=lambda text: f"*{text}")
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *body]
    ]
    stars = (
        ["* better than every other row, p < 0.05 after Holm over all pairs of rows"]
        if any(row.bold for row in comparison.rows)
        else []
    )
    return "\n".join([*lines, "", INTERVALS, *stars, *_brackets(comparison), *comparison.notes])


def notes_of(comparison: Comparison) -> list[str]:
    """The lines below the table."""
    return [INTERVALS, *_brackets(comparison), *comparison.notes]


def _brackets(comparison: Comparison) -> list[str]:
    samples = [sample for row in comparison.rows for sample in row.samples.values()]
    return ["[low, high]: a 95 % interval on the logit's scale, where ± would leave the unit's bounds"] * any(
        sample.is_bent for sample in samples
    )


def markdown(comparison: Comparison) -> str:
    head, body = _cells(comparison, bold=lambda text: f"**{text}**")
    table = markdown_table(*([*map(escaping.markdown, line)] for line in [head, *body]))
    return table + "\n\n" + "\n".join(f"- {escaping.markdown(note)}" for note in notes_of(comparison)) + "\n"


def markdown_table(head: Sequence[str], *rows: Sequence[str]) -> str:
    """A Markdown table of cells that are escaped already."""
    import pandas  # slow to import, and not needed for the terminal

    text: str = pandas.DataFrame(rows, columns=[*head], dtype=str).to_markdown(
        index=False, disable_numparse=True, stralign=None
    )
    return text


def latex(comparison: Comparison) -> str:
    """With booktabs."""
    import pandas

    head, body = _cells(comparison, bold=lambda text: text)
    cells = [[*map(escaping.latex, line)] for line in body]
    for row, line in zip(comparison.rows, cells, strict=False):
        for metric in row.bold & set(comparison.metrics):
            i = head.index(_titled(comparison, metric))
            line[i] = f"\\textbf{{{line[i]}}}"
    columns = "l" * len(comparison.keys) + "r" * (len(head) - len(comparison.keys))
    table = pandas.DataFrame(cells, columns=[*map(escaping.latex, head)], dtype=str)
    lines = table.to_latex(index=False, escape=False, column_format=columns).splitlines()
    if comparison.floors:
        lines.insert(-2 - len(comparison.floors), "\\midrule")
    notes = [f"% {' '.join(note.split())}" for note in [*_brackets(comparison), *comparison.notes]]
    return "\n".join(["% \\usepackage{booktabs}", *lines, *notes]) + "\n"


def as_html(comparison: Comparison) -> Any:
    """The table without its notes; see `notes_of`."""
    from markupsafe import Markup

    bold = Markup("<b>{}</b>").format
    return html_table(*_cells(comparison, bold=bold))


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    """An HTML table of texts, which are escaped unless they are marked as safe."""
    import pandas
    from markupsafe import Markup, escape

    cells = [[*map(escape, line)] for line in rows]
    table = pandas.DataFrame(cells, columns=[*map(escape, head)], dtype=object)
    with pandas.option_context("display.max_colwidth", None):
        text = table.to_html(index=False, escape=False, border=0, justify="left")
    return Markup(re.sub(r">\n *<", "><", text))  # half the size


def as_csv(comparison: Comparison) -> str:
    """See `lines`."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerows([*map(escaping.cell, line)] for line in lines(comparison))
    return stream.getvalue()


def lines(comparison: Comparison) -> list[list[Any]]:
    """The head, then all numbers in full, with a line for each row and metric. Floors have no differences."""
    interval = ["mean", "low", "high"]
    compared = ["pairs", "difference", "difference_low", "difference_high", "p_holm", "winner", "chosen"]
    head = [*comparison.keys, "metric", "unit", "seeds", *interval, *compared, *comparison.columns]
    found: list[list[Any]] = [head]
    for row in comparison.rows:
        for metric in comparison.metrics:
            if metric in row.samples:
                one = row.differences.get(metric)
                numbers = (
                    [""] * 5 if one is None else [one.n, one.mean, one.mean - one.half, one.mean + one.half, one.p]
                )
                facts = [row.facts[key] for key in comparison.columns]
                flags = [metric in row.bold, row.chosen]
                found.append([*row.label, *_numbers(comparison, metric, row.samples[metric]), *numbers, *flags, *facts])
    for floor, samples in comparison.floors.items():
        for metric, sample in samples.items():
            label = [f"floor: {floor}", *[""] * (len(comparison.keys) - 1)]
            found.append([*label, *_numbers(comparison, metric, sample)])
    return found


def _numbers(comparison: Comparison, metric: str, sample: Sample) -> list[Any]:
    return [metric, comparison.units[metric], len(sample.values), sample.mean, sample.low, sample.high]


def _titled(comparison: Comparison, metric: str) -> str:
    unit = comparison.units[metric]
    return f"{metric} ({unit})" if unit else metric


def _cells(comparison: Comparison, bold: Callable[[str], str]) -> tuple[list[str], list[list[str]]]:
    """The head; then rows, then floors. A metric is followed by its differences, if there are any."""
    compared = [metric for metric in comparison.metrics if any(row.differences.get(metric) for row in comparison.rows)]
    head = [*comparison.keys, "seeds"]
    for metric in comparison.metrics:
        head += [_titled(comparison, metric)] + (["difference", "p"] if metric in compared else [])
    head += comparison.columns
    body = []
    for row in comparison.rows:
        seeds = max((len(sample.values) for sample in row.samples.values()), default=len(row.runs))
        line = [*row.label, str(seeds)]
        if row.chosen:
            line[0] += " (chosen)"
        for metric in comparison.metrics:
            cell = shown(row.samples[metric]) if metric in row.samples else "-"
            line.append(bold(cell) if metric in row.bold else cell)
            if metric in compared:
                one = row.differences.get(metric)
                line += [spread(one.mean, one.half, "+") if one is not None else ""]
                line += [f"{one.p:.2g}" if one is not None and not math.isnan(one.p) else ""]
        body.append([*line, *(_short(row.facts[key]) for key in comparison.columns)])
    for floor, samples in comparison.floors.items():
        line = [f"floor: {floor}", *[""] * (len(comparison.keys) - 1), ""]
        for metric in comparison.metrics:
            line += [shown(samples[metric]) if metric in samples else ""] + (["", ""] if metric in compared else [])
        body.append([*line, *[""] * len(comparison.columns)])
    return head, body


def _short(value: Any) -> str:
    """A short form, such as 28,048 or 30.1 G."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return short(value)
    if abs(value) < 1000:
        return f"{value:.0f}" if value == int(value) else short(value)
    for size, name in ((1e12, " T"), (1e9, " G"), (1e6, " M")):
        if abs(value) >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:,.0f}"


FORMATS: dict[str, Callable[[Comparison], str]] = {".csv": as_csv, ".md": markdown, ".tex": latex}
