"""Convolutional networks of an input and a class: by their parts, and errors."""

import pytest
import torch

from frame.architectures import conditional
from frame.common.errors import UserError
from frame.models.base import ConditionalDistribution
from frame.models.ConditionalVAE import ConditionalVAE


class ClassPrior(ConditionalDistribution):
    """p(z|y) = N(0, I)."""

    def forward(self, y: torch.Tensor, *, encoder: object = None) -> torch.distributions.Distribution:
        loc = torch.zeros(len(y), 2)
        return torch.distributions.Independent(torch.distributions.Normal(loc, 1.0), 1)


def test_convolutions_read_the_class_as_planes() -> None:
    torch.manual_seed(0)
    encoder = conditional.ConvEncoder((2, 8, 12), 3, 4, [5], [6])
    x, y = torch.rand(3, 2, 8, 12), torch.tensor([2, 0, 1])
    backbone = encoder.backbone
    assert isinstance(backbone, conditional.ConvClassBackbone)
    both = torch.zeros(3, 5, 8, 12)
    both[:, :2] = x
    for row, c in enumerate(y.tolist()):
        both[row, 2 + c] = 1.0
    torch.testing.assert_close(encoder.features(x, y), backbone.of_both(both))
    assert encoder(x, y).event_shape == (4,) and encoder.features(x, y).shape == (3, 6)


def test_a_decoder_reads_the_class_beside_the_code() -> None:
    torch.manual_seed(0)
    decoder = conditional.ConvDecoder((2, 8, 12), 3, 4, [6], [5])
    z, y = torch.randn(3, 4), torch.tensor([2, 0, 1])
    p = decoder(z, y)
    assert p.event_shape == (2, 8, 12)
    torch.testing.assert_close(p.mean, decoder.of_both(torch.cat([z, torch.eye(3)[y]], 1)).mean)


def test_a_model_of_them_takes_a_step() -> None:
    torch.manual_seed(0)
    shape = (1, 8, 8)
    encoder, decoder = conditional.ConvEncoder(shape, 3, 2), conditional.ConvDecoder(shape, 3, 2)
    model = ConditionalVAE(encoder, decoder, ClassPrior(), beta=1.0, n_classes=3)
    model({"x": torch.rand(4, *shape), "y": torch.arange(4) % 3})["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", [conditional.ConvEncoder, conditional.ConvDecoder])
def test_errors_are_one_line(kind: type) -> None:
    for arguments, says in (
        (((12,), 3, 2), r"^shape=\[12\]: .* take pictures"),
        (((1, 9, 9), 3, 2), "9 x 9 pixels cannot be halved"),
        (((1, 8, 8), 0, 2), "n_classes=0: it must be at least 1"),
        (((1, 8, 8), 3, 0), "z_dim=0: it must be at least 1"),
    ):
        with pytest.raises(UserError, match=says):
            kind(*arguments)
