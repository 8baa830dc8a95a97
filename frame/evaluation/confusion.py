"""Which classes are confused with which."""

from collections.abc import Sequence

from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from frame.common.output import shortened
from frame.evaluation.pictures import MOST_LETTERS

MOST_NUMBERS = 20  # with more classes than this, numbers in the cells are too small to read


def confusion_figure(counts: Tensor, title: str, names: Sequence[str] = ()) -> Figure:
    """Rows are true classes, columns predicted ones; each cell is a percentage of its row, empty for 0.

    Dark cells are frequent; the colour scale is stretched at its lower end, so that rare errors are visible.

    Args:
        counts: [K, K], row i the pictures of class i.
        title: what was measured, and its accuracy.
        names: of the classes; their numbers if there are none.
    """
    counts = counts.double()
    percent = 100 * counts / counts.sum(1, keepdim=True).clamp(min=1)  # a class without pictures stays empty
    k = len(counts)
    side = min(max(4.5, 1.2 + 0.5 * k), 12)
    figure = Figure(figsize=(side + 1.1, side), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    shown = axes.imshow(percent.numpy(), cmap="Blues", norm=PowerNorm(0.4, 0, 100))
    if k <= MOST_NUMBERS:
        for i in range(k):
            for j in range(k):
                value = float(percent[i, j])
                if value > 0:
                    text = f"{value:.1f}" if value < 99.95 else "100"
                    colour = "white" if value > 25 else "black"
                    axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=8)
        names = [shortened(name, MOST_LETTERS) for name in names] or [str(i) for i in range(k)]
        upright = max(map(len, names)) > 3
        axes.set_xticks(range(k), names, rotation=90 if upright else 0)
        axes.set_yticks(range(k), names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title, fontsize=10)
    figure.colorbar(shown, ax=axes, label="% of the true class", ticks=[0, 1, 5, 20, 50, 100], shrink=0.85)
    return figure
