"""A model's predictions on a split."""

from typing import Any

import torch
from torch import Tensor, nn

from frame.data.base import DataSet
from frame.evaluation.base import batches, given


def predictions(model: nn.Module, data: DataSet, split: str, n_samples: int | None) -> tuple[Tensor, Tensor]:
    """Log-probabilities [N, K] of `predict`, and the labels [N], of the same rows of the split each time."""
    predicting: Any = model
    pairs = [(predicting.predict(*given(model, b)).cpu(), b["y"].cpu()) for b in batches(model, data, split, n_samples)]
    return torch.cat([p for p, _ in pairs]), torch.cat([y for _, y in pairs])
