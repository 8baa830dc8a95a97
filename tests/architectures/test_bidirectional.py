"""BiGAN's networks: by hand from the paper's description, and on what a row depends."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from frame.architectures.bidirectional import Discriminator, Encoder, Generator
from frame.common.errors import UserError

SHAPE = (1, 4, 5)
X, Z = torch.rand(50, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.rand(50, 3) * 2 - 1


def normalised(h: Tensor) -> Tensor:
    return (h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt()


def parts(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name.replace(".weight", ""): p.T for name, p in network.named_parameters()}


def test_the_encoder_by_hand() -> None:
    encoder = Encoder(SHAPE, 3, [8, 6, 5])
    w = parts(encoder)
    first, *hidden, last = w.values()
    assert set(w) == {"backbone.1", "backbone.3.linear", "backbone.4.linear", "head.linear"}  # no bias, no scale
    h = F.leaky_relu(X.flatten(1) @ first, 0.2)
    for weight in hidden:
        h = F.leaky_relu(normalised(h @ weight), 0.2)
    torch.testing.assert_close(encoder.features(X), h)
    q = encoder(X)
    assert q.batch_shape == (50,) and q.event_shape == (3,)
    torch.testing.assert_close(q.mean, (h @ last / 2).tanh())  # within the prior's cube


def test_the_generator_by_hand() -> None:
    generator = Generator(SHAPE, 3, [6, 8])
    w = parts(generator)
    h = normalised(Z @ w["first.linear"]).relu()
    h = normalised(torch.cat([h, Z], 1) @ w["hidden.0.linear"]).relu()
    pictures = generator(Z).mean
    assert pictures.shape == (50, *SHAPE)
    torch.testing.assert_close(pictures.flatten(1), (h @ w["linear"]).sigmoid())


def test_the_discriminator_by_hand() -> None:
    discriminator = Discriminator(SHAPE, 3, [8, 6])
    w = parts(discriminator)
    h = F.leaky_relu(X.flatten(1) @ w["first"], 0.2)
    h = F.leaky_relu(normalised(torch.cat([h, Z], 1) @ w["hidden.0.linear"]), 0.2)
    torch.testing.assert_close(discriminator(X, Z), (h @ w["linear"])[:, 0])


def test_in_eval_mode_a_code_does_not_depend_on_other_rows() -> None:
    encoder = Encoder(SHAPE, 3, [8, 6])
    with torch.no_grad():
        for _ in range(200):
            encoder(X)
    together = encoder(X).mean
    encoder.eval()
    torch.testing.assert_close(encoder(X[:1]).mean, encoder(X).mean[:1])
    torch.testing.assert_close(encoder(X).mean, together, atol=1e-3, rtol=1e-3)  # the same rows each time


def test_errors_are_named() -> None:
    with pytest.raises(UserError, match=r"layers=\[8\]: give 2 or more widths"):
        Discriminator(SHAPE, 3, [8])
    with pytest.raises(UserError, match=r"layers=\[\]: give 1 or more"):
        Encoder(SHAPE, 3, [])
    with pytest.raises(UserError, match="z_dim=0"):
        Generator(SHAPE, 0, [8])
