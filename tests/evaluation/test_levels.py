"""Bits per dimension exist only if p(x|z) is a probability of the data's values."""

import math

import pytest
import torch
from torch import nn

from frame.architectures.base import (
    BernoulliPicture,
    CategoricalPicture,
    DiagonalNormal,
    DiscretisedLogisticPicture,
    NormalPicture,
    PictureDistribution,
)
from frame.common.errors import UserError
from frame.data.base import DataSet, Source
from frame.data.digits import Digits
from frame.data.memory import InMemory
from frame.evaluation.base import LogEntry, evaluating
from frame.evaluation.elbo import ELBOEvaluation
from frame.evaluation.levels import levels_of, on_levels
from frame.evaluation.likelihood import IWAEBoundEvaluation
from frame.measures.likelihood import bits_per_dimension
from frame.models.VAE import VAE
from tests import digits


class Binary(DataSet):
    def load(self, split: str) -> Source:
        generator = torch.Generator().manual_seed(0)
        return InMemory(torch.randint(0, 2, (50, 1, 8, 8), generator=generator).mul(255).to(torch.uint8))


def vae(distribution: PictureDistribution) -> VAE:
    torch.manual_seed(0)
    return VAE(digits.Encoder(3, [8]), digits.Decoder(3, [8], distribution=distribution), DiagonalNormal(3), beta=1.0)


def run(evaluation: ELBOEvaluation | IWAEBoundEvaluation, model: nn.Module, data: DataSet) -> LogEntry:
    with evaluating(model):
        return evaluation.evaluate(model, data)


@pytest.mark.parametrize("evaluation", [ELBOEvaluation("valid"), IWAEBoundEvaluation("valid", 20, 3)])
@pytest.mark.parametrize(
    ("distribution", "data", "levels"),
    [
        (DiscretisedLogisticPicture(17), Digits(), 17),
        (CategoricalPicture(17), Digits(), 17),
        (BernoulliPicture(), Binary(), 2),
        (CategoricalPicture(256), Binary(), 256),
        (BernoulliPicture(), Digits(), None),  # a cross-entropy of grey pixels
        (DiscretisedLogisticPicture(9), Digits(), None),  # rounds two of the 17 levels into one
        (NormalPicture(0.1), Binary(), None),  # a density
    ],
)
def test_bits_if_values_have_probabilities(
    evaluation: ELBOEvaluation | IWAEBoundEvaluation,
    distribution: PictureDistribution,
    data: DataSet,
    levels: int | None,
) -> None:
    found = run(evaluation, vae(distribution), data).scalars
    assert ("bits_per_dim" in found) is (levels is not None)
    if levels is not None:
        bits, nats = found["bits_per_dim"], found[""]
        assert bits.value == pytest.approx(-nats.value / (64 * math.log(2)), rel=1e-6)
        assert bits.standard_error == pytest.approx((nats.standard_error or 0) / (64 * math.log(2)), rel=1e-6)
        assert bits.unit == "bits per dimension" and bits.n_samples == nats.n_samples
        assert f"p(x|z) of {levels} values" in bits.estimator and "upper bound" in bits.estimator


def test_a_coin_for_each_pixel_costs_one_bit() -> None:
    """All weights 0: p(x = 1) = 1/2 for each pixel, and q(z|x) = p(z) costs nothing."""
    model = vae(BernoulliPicture())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.encoder.head.scale_shift = math.log(math.e - 1)  # type: ignore[union-attr]  # softplus of it is 1
    bits = run(ELBOEvaluation("valid"), model, Binary()).scalars["bits_per_dim"]
    assert bits.value == pytest.approx(1, abs=1e-4)


def test_without_a_decoder_there_are_none() -> None:
    assert levels_of(nn.Identity(), {"x": torch.zeros(2, 3)}) is None
    assert on_levels(torch.tensor([0, 0.5, 1]), 3) and not on_levels(torch.tensor([0, 0.5, 1]), 2)
    assert on_levels(torch.tensor([16 / 255, 1.0]), 17)  # 1 / 16 in 8 bits
    assert not on_levels(torch.tensor([0.3123]), 256)  # not a picture of 8 bits
    assert not on_levels(torch.tensor([2.0]), 2) and not on_levels(torch.tensor([-1.0]), 2)
    assert bits_per_dimension(torch.tensor([-8 * math.log(2)]), 4).item() == pytest.approx(2)
    with pytest.raises(UserError, match="n_dims=0"):
        bits_per_dimension(torch.zeros(1), 0)
