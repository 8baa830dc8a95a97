"""Convolutions for pictures of 8 x 8, to be changed into networks of your own."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributions import Distribution

from frame.architectures import base
from frame.architectures.heads import DiagonalNormalHead
from frame.common.errors import UserError, at_least
from frame.models.base import ConditionalDistribution


class Backbone(nn.Module):
    """x [B, 1, 8, 8] in [0, 1] -> features [B, n_out]; it may return a map [B, n, H, W] or tokens [B, T, n], too.

    Args:
        channels: of each convolution; each halves the picture.

    Raises:
        UserError: more than 3 convolutions.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        check_channels(channels)
        steps: list[nn.Module] = []
        for n_in, n_out in zip([1, *channels], channels, strict=False):
            steps += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.ReLU()]
        self.convolutions = nn.Sequential(*steps, nn.Flatten())
        self.n_out = channels[-1] * (8 // 2 ** len(channels)) ** 2

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.convolutions(x)
        return found


class Encoder(base.Encoder):
    """q(z|x) = N(mu(x), diag(sigma(x)^2)): x [B, 1, 8, 8] in [0, 1] -> batch_shape (B,), event_shape (z_dim,).

    Args:
        z_dim: number of latents.
        channels: of each convolution; each halves the picture.

    Raises:
        UserError: z_dim < 1, or more than 3 convolutions.
    """

    def __init__(self, z_dim: int, channels: Sequence[int]) -> None:
        backbone = Backbone(channels)
        super().__init__(backbone, DiagonalNormalHead(backbone.n_out, z_dim))


class Decoder(ConditionalDistribution):
    """p(x|z): z [B, z_dim] -> batch_shape (B,), event_shape (1, 8, 8).

    Args:
        z_dim: number of latents.
        channels: of each convolution, from z to x; each doubles the picture.
        distribution: of the values, Bernoulli by default.

    Raises:
        UserError: z_dim < 1, or more than 3 convolutions.
    """

    def __init__(
        self, z_dim: int, channels: Sequence[int], distribution: base.PictureDistribution | None = None
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        check_channels(channels)
        self.z_dim = z_dim
        self.distribution = distribution or base.BernoulliPicture()
        side = 8 // 2 ** len(channels)
        steps: list[nn.Module] = [nn.Linear(z_dim, channels[0] * side**2), nn.Unflatten(1, (channels[0], side, side))]
        for n_in, n_out in zip(channels, [*channels[1:], self.distribution.n_parameters], strict=True):
            steps += [nn.ReLU(), nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1)]
        self.deconvolutions = nn.Sequential(*steps)

    def forward(self, z: Tensor) -> Distribution:
        numbers: Tensor = self.deconvolutions(z)  # [B, n_parameters, 8, 8]
        found: Distribution = self.distribution(numbers.unsqueeze(2))
        return found


def check_channels(channels: Sequence[int]) -> None:
    """Raises UserError if there are none, or more than can halve a picture of 8."""
    if not 1 <= len(channels) <= 3:
        raise UserError(f"channels={list(channels)}: each halves the picture of 8, so give 1 to 3 of them")
