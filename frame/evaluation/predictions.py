"""A model's predictions on a split."""

from typing import Any

from torch import Tensor, nn

from frame.data.base import Batch, DataSet
from frame.evaluation.base import given, over_rows


def predictions(model: nn.Module, data: DataSet, split: str, n_samples: int | None) -> tuple[Tensor, Tensor]:
    """Log-probabilities [N, K] of `predict`, and the labels [N], of the same rows of the split each time."""
    predicting: Any = model

    def of(batch: Batch) -> dict[str, Tensor]:
        return {"log_p": predicting.predict(*given(model, batch)), "y": batch["y"]}

    found = over_rows(model, data, split, n_samples, of)
    return found["log_p"], found["y"]
