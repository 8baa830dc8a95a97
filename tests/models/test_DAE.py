"""A denoising autoencoder: what is corrupted, its limit without noise, and that the clean x is the target."""

import pytest
import torch
from torch import Tensor

from frame.common.errors import UserError
from frame.models.AE import AE
from frame.models.base import ConditionalDistribution
from frame.models.DAE import DAE
from frame.probability.distributions import Delta
from tests import digits


class Record(ConditionalDistribution):
    """An encoder that keeps what it was given."""

    def forward(self, x: Tensor) -> Delta:
        self.seen = x
        return Delta(x.flatten(1))


def test_without_corruption_it_is_the_autoencoder() -> None:
    torch.manual_seed(0)
    encoder, decoder, x = digits.Encoder(3, [8]), digits.Decoder(3, [8]), torch.rand(6, 1, 8, 8)
    clean, plain = DAE(encoder, decoder, 0.0, 0.0), AE(encoder, decoder)
    torch.testing.assert_close(clean({"x": x})["loss"], plain({"x": x})["loss"])
    noisy = DAE(encoder, decoder, 0.5)
    torch.testing.assert_close(noisy.encode(x).mean, plain.encode(x).mean)
    torch.testing.assert_close(noisy.reconstruct(x), plain.reconstruct(x))


def test_the_encoder_sees_corrupted_rows_and_the_target_is_clean() -> None:
    torch.manual_seed(0)
    encoder, decoder, x = Record(), digits.Decoder(64, [8]), torch.rand(400, 1, 8, 8) + 1
    model = DAE(encoder, decoder, 0.3)
    loss = model({"x": x})["loss"]
    seen = encoder.seen
    dropped = seen == 0
    assert dropped.float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(seen[~dropped], x[~dropped])
    assert len(dropped.flatten(1).unique(dim=0)) == 400  # each row has its own noise
    torch.testing.assert_close(loss, -decoder(seen.flatten(1)).log_prob(x).mean())


def test_gaussian_noise_is_seeded() -> None:
    x = torch.rand(500, 1, 8, 8)
    model = DAE(Record(), digits.Decoder(64, []), 0.0, 0.2)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(model.corrupted(x))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    noise = found[0] - x
    assert noise.std().item() == pytest.approx(0.2, rel=0.02) and noise.mean().item() == pytest.approx(0, abs=0.01)


def test_errors_are_named() -> None:
    for arguments, why in [({"drop": 1.0}, "drop=1: it must lie below 1"), ({"drop": -0.1}, "drop=-0.1")]:
        with pytest.raises(UserError, match=why):
            DAE(digits.Encoder(3, [8]), digits.Decoder(3, [8]), **arguments)
    with pytest.raises(UserError, match="noise=-1"):
        DAE(digits.Encoder(3, [8]), digits.Decoder(3, [8]), noise=-1)
