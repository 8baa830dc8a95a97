"""A categorical code compared with labels: counts, purity, and pictures that differ only in the code."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frame.common.errors import UserError
from frame.data.digits import Digits
from frame.evaluation.base import evaluating
from frame.evaluation.categories import CategoriesEvaluation
from frame.evaluation.pictures import GAP


class Seer(nn.Module):
    """Tells digits 0 to 4 from 5 to 9 by looking them up, and draws noise whose brightness is the code."""

    def __init__(self) -> None:
        super().__init__()
        batch = Digits().split("valid").batch(torch.arange(200))
        self.labels = {x.numpy().tobytes(): int(y) for x, y in zip(batch["x"], batch["y"], strict=True)}

    def categories(self, x: Tensor) -> Tensor:
        rows = (x * 255).round().to(torch.uint8)
        high = torch.tensor([float(self.labels[row.numpy().tobytes()] >= 5) for row in rows])
        return torch.stack([1 - high, high, torch.zeros_like(high) - 1], dim=1).log_softmax(1)

    def sample_categories(self, n_samples: int) -> Tensor:
        return (torch.rand(1, n_samples, 1, 8, 8) + torch.arange(3).view(3, 1, 1, 1, 1)) / 3


def test_codes_that_halve_the_labels() -> None:
    model, data = Seer(), Digits()
    with evaluating(model):
        entry = CategoriesEvaluation("valid", n_columns=4).evaluate(model, data)
    y = data.split("valid").batch(torch.arange(200))["y"]
    counts = torch.bincount(y, minlength=10)
    columns, rows = entry.tables[""]
    assert columns == ["code", *map(str, range(10))]
    assert rows[0] == [0, *counts[:5].tolist(), *[0] * 5]
    assert rows[1] == [1, *[0] * 5, *counts[5:].tolist()]
    assert rows[2] == [2, *[0] * 10]
    pure = (counts[:5].max() + counts[5:].max()).item() / 200
    assert entry.scalars[""].value == pytest.approx(100 * pure) and entry.scalars[""].n_samples == 200
    assert 0 < entry.scalars["nmi"].value < 1


def test_pictures_of_a_row_share_the_code_and_columns_the_noise() -> None:
    model = Seer()
    with evaluating(model):
        figure = CategoriesEvaluation("valid", n_samples=10, n_columns=4).evaluate(model, Digits()).figures[""]
    side = 56 + GAP
    image = np.asarray(figure.axes[0].images[0].get_array()).astype(int)
    assert figure.axes[0].get_yticklabels()[2].get_text().startswith("code 2, most ")
    tiles = [
        [image[GAP + r * side : (r + 1) * side, GAP + c * side : (c + 1) * side] for c in range(4)] for r in range(3)
    ]
    for column in range(4):
        assert np.abs(tiles[1][column] - tiles[0][column] - 85).max() <= 1
        assert np.abs(tiles[2][column] - tiles[0][column] - 170).max() <= 1
    assert np.abs(tiles[0][0] - tiles[0][1]).max() > 10


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match="n_columns=0"):
        CategoriesEvaluation(n_columns=0)
    with pytest.raises(UserError, match="needs a model that has categories, sample_categories"):
        CategoriesEvaluation().check(nn.Linear(1, 1), Digits())
