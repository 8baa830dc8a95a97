"""Pictures and their nearest neighbours in code space."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from frame.common.errors import TooFew, at_least
from frame.common.output import shortened
from frame.data.base import DataSet, named_classes
from frame.evaluation.base import Encodes, Evaluation, LogEntry
from frame.evaluation.codes import codes_of
from frame.evaluation.colours import COLOURS
from frame.evaluation.pictures import DOTS, grid
from frame.measures.neighbours import check_codes, nearest
from frame.measures.scores import kind_of

RIGHT, WRONG = COLOURS[0], COLOURS[3]  # distinct with colour blindness; frames and signs tell the same
BELOW, BESIDE, ABOVE = 20, 10, 16  # pixels around a picture, and above the first row
LETTER = 5.8  # pixels, of a name of a class


class NeighbourPictureEvaluation(Evaluation):
    """A row for each query: the picture, and the `train` pictures whose means of encode(x) are nearest to its own.

    If the data have labels, they are written below the pictures. A neighbour with the query's label has a tick and a
    solid frame, one with another label a cross and a dashed frame. On 'train', a picture is not its own neighbour.

    Args:
        evaluate_on: split of the queries.
        n_queries: number of queries.
        n_neighbours: neighbours of each query.
        n_bank: training pictures to search for neighbours; all of them if None or if there are fewer.

    Raises:
        UserError: a number is below 1.
        NoNumber: from `evaluate`, codes that are NaN or all equal.
        TooFew: from `evaluate`, there are no more pictures than neighbours.
    """

    needs = (Encodes,)
    numbers = {}
    pictures = ("",)
    draws = True

    def __init__(
        self, evaluate_on: str = "test", n_queries: int = 8, n_neighbours: int = 10, n_bank: int | None = 10_000
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_queries=n_queries, n_neighbours=n_neighbours)
        at_least(1, n_bank=n_bank)
        self.n_queries, self.n_neighbours, self.n_bank = n_queries, n_neighbours, n_bank

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        bank = codes_of(model, data, "train", "mean", self.n_bank)
        queries = codes_of(model, data, self.evaluate_on, "mean", self.n_queries)
        if len(bank.codes) <= self.n_neighbours:
            raise TooFew(f"{len(bank.codes)} pictures are too few for {self.n_neighbours} neighbours: give more")
        check_codes(bank.codes)
        found = nearest(bank.codes, queries.codes, self.n_neighbours, leave_one_out=self.evaluate_on == "train")
        index = torch.cat([rows for _, rows in found])  # [n_queries, n_neighbours]
        pictures = torch.cat(
            [
                self._rows(model, data, self.evaluate_on, self.n_queries, torch.arange(len(index))).unsqueeze(1),
                self._rows(model, data, "train", self.n_bank, index.flatten()).unflatten(0, index.shape),
            ],
            1,
        )
        labels: list[list[str]] = []
        if bank.y is not None and queries.y is not None and kind_of(bank.y) == "classes":
            labels = [named_classes(data, row) for row in torch.cat([queries.y.unsqueeze(1), bank.y[index]], 1)]
        below = (
            f"nearest of {len(bank.codes)} training pictures by the distance of codes; queries of {self.evaluate_on}"
        )
        return LogEntry(self.evaluate_on, figures={"": _figure(pictures, labels, below)})

    def _rows(self, model: nn.Module, data: DataSet, split: str, n: int | None, wanted: Tensor) -> Tensor:
        """The pictures whose codes have these indices in `codes_of`, as they were encoded."""
        found, start = torch.empty(0), 0
        for batch in self.batches(model, data, n, split=split):
            x = batch["x"].cpu()
            found = found if len(found) else torch.empty(len(wanted), *x.shape[1:])
            here = (wanted >= start) & (wanted < start + len(x))
            found[here] = x[wanted[here] - start]
            start += len(x)
        return found


def _figure(pictures: Tensor, labels: Sequence[Sequence[str]], below: str) -> Figure:
    """Draws pictures [Q, 1 + k, C, H, W] with labels [Q, 1 + k], if there are any, and a caption."""
    n_rows, n_columns = pictures.shape[:2]
    images = [[grid(picture.unsqueeze(0), 1)[3:-3, 3:-3] for picture in row] for row in pictures]
    high, wide = images[0][0].shape[0] + BELOW, images[0][0].shape[1] + BESIDE
    width, height = n_columns * wide + 2 * BESIDE, ABOVE + n_rows * high
    figure = Figure(figsize=(max(width / DOTS, 0.075 * len(below)), height / DOTS + 0.3), dpi=DOTS)
    size = figure.get_size_inches()
    axes = figure.add_axes(((size[0] - width / DOTS) / 2 / size[0], 0.3 / size[1], width / DOTS / size[0], 0))
    axes.set_position((axes.get_position().x0, 0.3 / size[1], width / DOTS / size[0], height / DOTS / size[1]))
    size_of_names = 7 if max((len(name) for row in labels for name in row), default=0) > 3 else 9
    for i, row in enumerate(images):
        for j, image in enumerate(row):
            # a query stands a little apart from its neighbours
            left, top = BESIDE / 2 + j * wide + (BESIDE if j else 0), ABOVE + i * high
            right, bottom = left + image.shape[1], top + image.shape[0]
            axes.imshow(image, extent=(left, right, bottom, top), interpolation="nearest")
            if not labels:
                continue
            text, colour = shortened(labels[i][j], int(wide / LETTER) - 2), "black"
            if j:
                same = labels[i][j] == labels[i][0]
                text, colour = f"{'✓' if same else '✗'} {text}", RIGHT if same else WRONG
                style = "solid" if same else (0, (2, 1.5))
                frame = Rectangle(
                    (left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=2, linestyle=style
                )
                axes.add_patch(frame)
            axes.text((left + right) / 2, bottom + 2, text, color=colour, ha="center", va="top", fontsize=size_of_names)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_xticks([])
    axes.text(wide / 2, 1, "query", ha="center", va="top", fontsize=8)
    axes.text(BESIDE * 1.5 + wide, 1, "nearest first", ha="left", va="top", fontsize=8)
    axes.set_xlabel(below, fontsize=9)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return figure
