"""Samples of a model."""

import math

from torch import nn

from frame.common.errors import at_least
from frame.data.base import DataSet
from frame.evaluation.base import Evaluation, LogEntry, Samples, is_series
from frame.evaluation.pictures import labelled_grid, series_grid


class ImageSampleEvaluation(Evaluation):
    """Pictures from the model's own distribution, from the same noise each time. Series are drawn as lines.

    Args:
        n_pictures: number of pictures, arranged in a square.
        sample_images: show samples of p(x|z) instead of its means.

    Raises:
        UserError: n_pictures < 1.
    """

    needs = (Samples,)
    needs_data = ()
    numbers = {}
    pictures = ("",)
    draws = True
    draws_series = True

    def __init__(self, n_pictures: int = 64, sample_images: bool = False) -> None:
        super().__init__()
        at_least(1, n_pictures=n_pictures)
        self.n_pictures = n_pictures
        self.sample_images = sample_images

    def evaluate(self, model: nn.Module, data: DataSet) -> LogEntry:
        assert isinstance(model, Samples)
        pictures = model.sample(self.n_pictures, sample_images=self.sample_images)
        below = f"{self.n_pictures} samples{'' if self.sample_images else ', means of p(x|z)'}"
        if is_series(pictures):
            figure = series_grid([("", pictures)], math.ceil(math.sqrt(self.n_pictures)), below)
            return LogEntry(self.evaluate_on, figures={"": figure})
        figure = labelled_grid(pictures, math.ceil(math.sqrt(self.n_pictures)), below=below)
        return LogEntry(self.evaluate_on, figures={"": figure})
