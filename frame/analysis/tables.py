"""A comparison as text: for a terminal, CSV, Markdown, LaTeX."""

import csv
import html
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from frame.analysis.compare import Comparison
from frame.analysis.intervals import Sample, shown, spread
from frame.common import escaping
from frame.runs.listing import shown as short

escape = escaping.latex


def terminal(comparison: Comparison) -> str:
    """Aligned columns; the winner of a metric, where there is one, has a star."""
    head, body = _cells(comparison, bold=lambda text: f"*{text}", p=lambda p: f"{p:.2g}")
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
    return "\n".join([*lines, "", "mean ± 95 % t interval over seeds", *stars, *comparison.notes])


def markdown(comparison: Comparison) -> str:
    head, body = _cells(comparison, bold=lambda text: f"**{text}**", p=lambda p: f"{p:.2g}")
    escaped = [[*map(escaping.markdown, line)] for line in [head, *body]]
    rule = ["---"] * len(head)
    table = "\n".join(f"| {' | '.join(line)} |" for line in [escaped[0], rule, *escaped[1:]])
    notes = ["mean ± 95 % t interval over seeds", *comparison.notes]
    return table + "\n\n" + "\n".join(f"- {escaping.markdown(note)}" for note in notes) + "\n"


def latex(comparison: Comparison) -> str:
    """With booktabs."""
    head, body = _cells(comparison, bold=lambda text: text, p=lambda p: f"{p:.2g}")
    lines = [
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{'l' * len(comparison.keys)}{'r' * (len(head) - len(comparison.keys))}}}",
    ]
    lines += ["\\toprule", " & ".join(map(escape, head)) + r" \\", "\\midrule"]
    for number, line in enumerate(body):
        if number == len(comparison.rows):
            lines.append("\\midrule")
        cells = [escape(cell) for cell in line]
        if number < len(comparison.rows):
            row = comparison.rows[number]
            for metric in row.bold & set(comparison.metrics):
                i = head.index(_titled(comparison, metric))
                cells[i] = f"\\textbf{{{cells[i]}}}"
        lines.append(" & ".join(cells) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}", *(f"% {' '.join(note.split())}" for note in comparison.notes)]
    return "\n".join(lines) + "\n"


def as_html(comparison: Comparison) -> str:
    head, body = _cells(comparison, bold=lambda text: f"\0{text}\1", p=lambda p: f"{p:.2g}")
    lines = [f"<tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in line)}</tr>" for line in body]
    table = "\n".join(lines).replace("\0", "<b>").replace("\1", "</b>")
    notes = "".join(f"<li>{html.escape(n)}</li>" for n in ["mean ± 95 % t interval over seeds", *comparison.notes])
    return f'<div class="wide"><table>\n{table}\n</table></div>\n<ul>{notes}</ul>'


def as_csv(comparison: Comparison) -> str:
    """All numbers in full, a line for each row and metric; floors have no difference."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")

    def write(line: Sequence[Any]) -> None:
        rows.writerow(map(escaping.cell, line))

    interval = ["mean", "low", "high"]
    compared = ["pairs", "difference", "difference_low", "difference_high", "p_holm", "winner", "chosen"]
    write([*comparison.keys, "metric", "unit", "seeds", *interval, *compared, *comparison.columns])
    for row in comparison.rows:
        for metric in comparison.metrics:
            if metric in row.samples:
                one = row.differences.get(metric)
                numbers = (
                    [""] * 5 if one is None else [one.n, one.mean, one.mean - one.half, one.mean + one.half, one.p]
                )
                facts = [row.facts[key] for key in comparison.columns]
                flags = [metric in row.bold, row.chosen]
                write([*row.label, *_numbers(comparison, metric, row.samples[metric]), *numbers, *flags, *facts])
    for floor, samples in comparison.floors.items():
        for metric, sample in samples.items():
            label = [f"floor: {floor}", *[""] * (len(comparison.keys) - 1)]
            write([*label, *_numbers(comparison, metric, sample)])
    return stream.getvalue()


def _numbers(comparison: Comparison, metric: str, sample: Sample) -> list[Any]:
    return [metric, comparison.units[metric], len(sample.values), sample.mean, sample.low, sample.high]


def _titled(comparison: Comparison, metric: str) -> str:
    unit = comparison.units[metric]
    return f"{metric} ({unit})" if unit else metric


def _cells(
    comparison: Comparison, bold: Callable[[str], str], p: Callable[[float], str]
) -> tuple[list[str], list[list[str]]]:
    """The head, then rows, then floors; a metric's difference stands behind it where there are any."""
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
                line += [p(one.p) if one is not None and not math.isnan(one.p) else ""]
        body.append([*line, *(_short(row.facts[key]) for key in comparison.columns)])
    for floor, samples in comparison.floors.items():
        line = [f"floor: {floor}", *[""] * (len(comparison.keys) - 1), ""]
        for metric in comparison.metrics:
            line += [shown(samples[metric]) if metric in samples else ""] + (["", ""] if metric in compared else [])
        body.append([*line, *[""] * len(comparison.columns)])
    return head, body


def _short(value: Any) -> str:
    """28,048 or 30.1 G, which a reader takes in."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return short(value)
    if abs(value) < 1000:
        return f"{value:.0f}" if value == int(value) else short(value)
    for size, name in ((1e12, " T"), (1e9, " G"), (1e6, " M")):
        if abs(value) >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:,.0f}"


FORMATS: dict[str, Callable[[Comparison], str]] = {".csv": as_csv, ".md": markdown, ".tex": latex}
