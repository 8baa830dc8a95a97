"""Measures of factors, through a model and its data."""

import pytest
import torch
from torch import Tensor

from frame.common.errors import TooFew, UserError
from frame.composition.compose import chosen_evaluation
from frame.composition.instantiate import instantiate
from frame.data.base import Batch, DataSet, Source
from frame.data.digits import Digits
from frame.data.take import Take
from frame.evaluation.base import Evaluation, evaluating
from frame.models.base import Model
from frame.probability.distributions import Delta

NAMES = ("mig", "modularity", "sap", "dci", "factor_vae_score", "beta_vae_score")


class Knows(Model):
    """Its input and its code are the factors themselves; a further code is constant."""

    def encode(self, x: Tensor) -> Delta:
        return Delta(torch.cat([x.flatten(1), torch.zeros(len(x), 1)], 1))


class Grid(DataSet):
    """Two factors of 3 and 4 values; x are the factors."""

    shape = (2,)
    keys = ("x", "factors")

    def load(self, split: str) -> Source:
        return GridRows()


class GridRows:
    def __len__(self) -> int:
        return 1200

    def batch(self, indices: Tensor) -> Batch:
        factors = torch.stack([indices % 3, indices % 4], 1)
        return {"x": factors.float(), "factors": factors, "index": indices}

    def transform(self, batch: Batch, generator: torch.Generator) -> Batch:
        return batch


def built(name: str) -> Evaluation:
    node = chosen_evaluation(name, {})
    evaluation: Evaluation = instantiate({**node, **({"n_jobs": 1} if "n_jobs" in node else {})})
    return evaluation


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_knows_the_factors_has_the_best_score(name: str) -> None:
    model, data = Knows(), Grid()
    evaluation = built(name)
    evaluation.check(model, data)
    with evaluating(model):
        entry = evaluation.evaluate(model, data)
    scalar = entry.scalars[""]
    # linear machines cannot single out a value in the middle; in modularity a constant third code counts as 0
    least = {"sap": 0.3, "modularity": 0.6}.get(name, 0.95)
    assert least < scalar.value <= 1 + 1e-9
    assert scalar.n_samples == 1200 and scalar.layer == "mean" and scalar.estimator and entry.split == "test"


def test_data_without_factors_and_too_few_rows_are_refused() -> None:
    for name in NAMES:
        with pytest.raises(UserError, match="needs 'factors' in the data; Digits has only"):
            built(name).check(Knows(), Digits())
    with pytest.raises(TooFew):
        built("mig").evaluate(Knows(), Take(Grid(), 4))
