"""AE: the loss by hand, and a code without noise."""

import pytest
import torch
from torch.distributions import Normal

from frame.architectures.base import NormalPicture
from frame.common.errors import UserError
from frame.evaluation.base import BoundsLikelihood, Decodes, Encodes, HasFeatures, Reconstructs, Samples
from frame.models.AE import AE
from tests import digits

X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def small() -> AE:
    torch.manual_seed(0)
    return AE(digits.Encoder(3, [8]), digits.Decoder(3, [8], distribution=NormalPicture(0.5)))


def test_loss_is_the_log_density_at_the_code_summed_over_pixels() -> None:
    """-log N(x; x', s^2) = (x - x')^2 / (2 s^2) + log(s sqrt(2 pi)), a pixel at a time."""
    model = small()
    again = model.reconstruct(X)
    total = 0.0
    for picture, rebuilt in zip(X.flatten(1), again.flatten(1), strict=True):
        for pixel, value in zip(picture, rebuilt, strict=True):
            total -= Normal(value, 0.5).log_prob(pixel).item()
    torch.testing.assert_close(model({"x": X})["loss"], torch.tensor(total / 6))


def test_the_code_has_no_noise() -> None:
    model = small()
    q = model.encode(X)
    assert not q.variance.any()
    torch.testing.assert_close(q.mean, model.encoder(X).mean)
    assert torch.equal(model({"x": X})["loss"], model({"x": X})["loss"])
    assert torch.equal(model.reconstruct(X, sample_latents=True), model.reconstruct(X))
    assert not torch.equal(model.reconstruct(X, sample_images=True), model.reconstruct(X))


def test_capabilities() -> None:
    model = small()
    for capability in (Encodes, Decodes, Reconstructs, HasFeatures):
        assert isinstance(model, capability)
    assert not isinstance(model, Samples) and not isinstance(model, BoundsLikelihood)  # it has no prior


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match=r"z_dim differs \(encoder 3, decoder 4\)"):
        AE(digits.Encoder(3, [8]), digits.Decoder(4, [8]))
