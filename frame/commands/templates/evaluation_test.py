"""Tests Mine on models with a known error."""

import pytest
import torch
from torch import Tensor

from frame.commands.templates.evaluation import Mine
from frame.common.errors import UserError
from frame.data.digits import Digits
from frame.evaluation.base import evaluating
from frame.models.base import Model


class Shifted(Model):
    """Returns x, brighter by `shift`."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def reconstruct(self, x: Tensor, sample_latents: bool = False, sample_images: bool = False) -> Tensor:
        return x + self.shift


@pytest.mark.parametrize("shift", [0.0, 0.25])
def test_a_known_error(shift: float) -> None:
    model, data = Shifted(shift), Digits()
    evaluation = Mine("test", n_samples=100)
    evaluation.check(model, data)
    with evaluating(model):
        entry = evaluation.evaluate(model, data)
    (scalar,) = entry.scalars.values()
    assert scalar.value == pytest.approx(shift, abs=1e-6)
    assert scalar.n_samples == 100 and entry.split == "test"


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UserError, match="reconstruct"):
        Mine().check(torch.nn.Identity(), Digits())
    with pytest.raises(UserError, match="n_samples"):
        Mine(n_samples=0)
