"""Pictures and their reconstructions."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from frame.common.errors import at_least
from frame.data.base import DataSet
from frame.evaluation.base import Evaluation, LogEntry, Reconstructs, given, is_series
from frame.evaluation.pictures import labelled_grid, series_grid

COLUMNS = 10


class ImageReconstructionQualitativeEvaluation(Evaluation):
    """Originals above their reconstructions, the same pictures each time. Series are drawn as lines over each other.

    Args:
        evaluate_on: split.
        n_pictures: number of pictures, ten in a row; fewer if the split is smaller.
        sample_images: show a sample of p(x|z) instead of its mean.
        sample_latents: decode a sample of q(z|x) instead of its mean.

    Raises:
        UserError: n_pictures < 1.
    """

    needs = (Reconstructs,)
    numbers = {}
    pictures = ("",)
    draws = True
    draws_series = True

    def __init__(
        self,
        evaluate_on: str = "valid",
        n_pictures: int = 10,
        sample_images: bool = False,
        sample_latents: bool = False,
    ) -> None:
        super().__init__(evaluate_on)
        at_least(1, n_pictures=n_pictures)
        self.n_pictures = n_pictures
        self.sample_images = sample_images
        self.sample_latents = sample_latents

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, Reconstructs)
        batches = [given(model, batch) for batch in self.batches(model, data, self.n_pictures)]
        taken = [torch.cat(parts) for parts in zip(*batches, strict=True)]
        x, reconstruct = taken[0], cast(Callable[..., Tensor], model.reconstruct)
        again = reconstruct(*taken, sample_latents=self.sample_latents, sample_images=self.sample_images)
        below = f"{'a sample' if self.sample_images else 'the mean'} of p(x|z) for "
        below += f"{'a sample' if self.sample_latents else 'the mean'} of q(z|x); {self.evaluate_on}"
        if is_series(x):
            sets = [("original", x), ("reconstruction", again)]
            return LogEntry(self.evaluate_on, figures={"": series_grid(sets, min(COLUMNS // 2, len(x)), below)})
        rows: list[Tensor] = []
        for originals, reconstructions in zip(x.split(COLUMNS), again.split(COLUMNS), strict=True):
            # White pictures fill the last row, so that its reconstructions start a new one
            blank = torch.ones(min(COLUMNS, len(x)) - len(originals), *x.shape[1:], device=x.device)
            rows += [originals, blank, reconstructions, blank]
        labels = ["original", "reconstruction"] * (len(rows) // 4)
        figure = labelled_grid(torch.cat(rows), min(COLUMNS, len(x)), labels, below=below)
        return LogEntry(self.evaluate_on, figures={"": figure})
