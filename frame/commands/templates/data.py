"""A data set of crosses, to be changed into one of your own: read your files in `load`."""

import torch

from frame.common.errors import at_least
from frame.data.base import DataSet, Source
from frame.data.memory import InMemory, check_binarize


class Mine(DataSet):
    """White crosses at random places, 1 x 8 x 8; 'y' says in which quarter of the picture the centre is.

    Args:
        n_rows: pictures in each split.
        binarize: 'none', 'dynamic' or 'static', see `InMemory`.

    Raises:
        UserError: n_rows < 1, or an unknown `binarize`.
    """

    shape = (1, 8, 8)
    n_classes = 4
    keys = ("x", "y")

    def __init__(self, n_rows: int = 1000, binarize: str = "none") -> None:
        super().__init__()
        at_least(1, n_rows=n_rows)
        check_binarize(binarize)
        self.n_rows, self.binarize = n_rows, binarize

    def load(self, split: str) -> Source:
        seed = self.splits.index(split)  # splits share pictures only by chance
        generator = torch.Generator().manual_seed(seed)
        row, column = torch.randint(0, 8, (2, self.n_rows, 1, 1), generator=generator)
        rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
        cross = (rows == row) | (columns == column)  # [N, 8, 8]
        y = 2 * (row >= 4).long() + (column >= 4).long()
        return InMemory(cross.unsqueeze(1).to(torch.uint8) * 255, y.flatten(), binarize=self.binarize, seed=seed)
