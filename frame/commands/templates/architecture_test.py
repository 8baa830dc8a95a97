"""Tests of Mine: shapes, gradients of all parameters, and a run that trains its networks."""

from pathlib import Path

import pytest
import torch

from frame.architectures.base import DiscretisedLogisticPicture
from frame.commands.templates.architecture import Decoder, Encoder
from frame.common.errors import UserError
from frame.composition.compose import compose
from frame.composition.folders import use_own_folder
from frame.engine.experiment import train

CONFIG = Path(__file__).parents[1] / "config"


@pytest.mark.parametrize("channels", [[4], [4, 6], [4, 6, 8]])
def test_shapes_and_gradients(channels: list[int]) -> None:
    torch.manual_seed(0)
    encoder, decoder = Encoder(3, channels), Decoder(3, channels[::-1], DiscretisedLogisticPicture(17))
    x = torch.randint(0, 17, (5, 1, 8, 8)) / 16
    q_z_given_x = encoder(x)
    assert q_z_given_x.batch_shape == (5,) and q_z_given_x.event_shape == (3,)
    p_x_given_z = decoder(q_z_given_x.rsample())
    assert p_x_given_z.batch_shape == (5,) and p_x_given_z.event_shape == (1, 8, 8)
    p_x_given_z.log_prob(x).sum().backward()
    for name, parameter in [*encoder.named_parameters(), *decoder.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert encoder.features(x).shape[0] == 5


def test_bad_arguments_are_refused() -> None:
    for channels in ([], [4, 4, 4, 4]):
        with pytest.raises(UserError, match="channels"):
            Encoder(3, channels)
        with pytest.raises(UserError, match="channels"):
            Decoder(3, channels)


def test_a_run_trains_with_them(tmp_path: Path) -> None:
    use_own_folder(CONFIG)
    words = ["experiment=digits_Mine"]
    quick = ["train_for=3 iterations", "logging=csv", "callbacks=null", f"device.experiments_root={tmp_path}"]
    assert train(compose([*words, *quick]), words) == 0
