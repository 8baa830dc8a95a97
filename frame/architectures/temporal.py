"""Convolutions over time, for series [B, C, T] of any length. Sizes come from the shape of one series."""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributions import Distribution

from frame.architectures import base
from frame.architectures.heads import DeltaHead, DiagonalNormalHead
from frame.architectures.layers import check_widths, mlp
from frame.common.errors import UserError, at_least
from frame.models.base import ConditionalDistribution
from frame.probability.distributions import PaddedSeries

SHORTEST = 8  # steps: shorter maps are not halved by default


def series(shape: Sequence[int]) -> tuple[int, int]:
    """Channels and steps of the series that a temporal network takes.

    Raises:
        UserError: `shape` has another number of dimensions.
    """
    if len(shape) != 2:
        raise UserError(
            f"shape={list(shape)}: temporal networks take series [channels, steps]: choose an MLP for rows of another "
            "shape, or conv for pictures"
        )
    return shape[0], shape[1]


def default_channels(shape: Sequence[int], least: int = 32, most: int = 128) -> list[int]:
    """32, 64, 128, 128, ... for convolutions that halve a series while it has 8 steps or more; at least one."""
    _, steps = series(shape)
    channels, steps = [least], steps // 2
    while steps >= SHORTEST:
        channels.append(min(2 * channels[-1], most))
        steps //= 2
    return channels


def _steps(shape: Sequence[int], channels: Sequence[int]) -> int:
    """Steps after each of the convolutions has halved them.

    Raises:
        UserError: none is left.
    """
    _, steps = series(shape)
    check_widths("channels", channels, least=1)
    if steps >> len(channels) < 1:
        raise UserError(f"channels={list(channels)}: {steps} steps cannot be halved {len(channels)} times: give fewer")
    return steps >> len(channels)


class TemporalBackbone(nn.Module):
    """Series [B, C, T] -> the last hidden layer, [B, n_out]; if there are none, the last map, flat or pooled.

    Each convolution reads 4 steps at a stride of 2, and halves the series.

    Args:
        shape: of one series, [C, T].
        channels: of the convolutions; None: see `default_channels`.
        layers: widths of the hidden layers behind them.
        pooled: the mean over the last map's steps, [B, channels[-1]], stands in place of the flat map.

    Raises:
        UserError: a width is not positive, `shape` is not [C, T], or its steps cannot be halved so often.
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int] | None = None,
        layers: Sequence[int] = (),
        pooled: bool = False,
    ) -> None:
        super().__init__()
        channels = default_channels(shape) if channels is None else channels
        steps = _steps(shape, channels)
        blocks: list[nn.Module] = []
        for n_in, n_out in zip([shape[0], *channels[:-1]], channels, strict=True):
            blocks += [nn.Conv1d(n_in, n_out, kernel_size=4, stride=2, padding=1), nn.ReLU()]
        self.convolutions, self.pooled = nn.Sequential(*blocks), pooled
        n_in = channels[-1] * (1 if pooled else steps)
        self.hidden = mlp(n_in, layers)
        self.n_out = [n_in, *layers][-1]

    def forward(self, x: Tensor) -> Tensor:
        maps = self.convolutions(x)
        found: Tensor = self.hidden(maps.mean(2) if self.pooled else maps.flatten(start_dim=1))
        return found


class TemporalEncoder(base.Encoder):
    """q(z|x) = N(mu(x), diag(sigma(x)^2)): series [B, C, T] -> batch_shape (B,), event_shape (z_dim,).

    Args:
        shape: of one series, [C, T].
        z_dim: number of latents.
        channels, layers, pooled: as in `TemporalBackbone`.
        scale_shift: sigma = softplus(rho + scale_shift).
        deterministic: the head is a `DeltaHead`, with all mass at mu(x).

    Raises:
        UserError: z_dim or a width is not positive, `shape` is not [C, T], or its steps cannot be halved so often.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        channels: Sequence[int] | None = None,
        layers: Sequence[int] = (),
        pooled: bool = False,
        scale_shift: float = 0.0,
        deterministic: bool = False,
    ) -> None:
        backbone = TemporalBackbone(shape, channels, layers, pooled)
        n = backbone.n_out
        super().__init__(backbone, DeltaHead(n, z_dim) if deterministic else DiagonalNormalHead(n, z_dim, scale_shift))


class NormalOfLengths(base.NormalPerValue):
    """p(x|z) of series with `data.pad=channel`, whose last channel says which steps are there: see `PaddedSeries`.

    Padded steps do not count, and lengths are part of the likelihood.

    Args:
        smallest: of the scales, as in `NormalPerValue`.

    Raises:
        UserError: smallest is not positive.
    """

    def forward(self, numbers: Tensor) -> PaddedSeries:
        values = self.values(numbers.float()[:, :, :-1])  # [B, 2, C + 1, T], of which the last channel has logits
        return PaddedSeries(values.loc, values.scale, numbers[:, 0, -1].float())


class TemporalDecoder(ConditionalDistribution):
    """p(x|z): z [B, z_dim] -> batch_shape (B,), event_shape [C, T]: a Normal for each step unless another is given.

    An MLP gives a short series, which transposed convolutions of stride 2 double; the last steps beyond T are cut off.

    Args:
        shape: of one series, [C, T].
        z_dim: number of latents.
        layers: widths of the hidden layers between z and the short series.
        channels: of the transposed convolutions; None: those of `default_channels` in the other order.
        distribution: of the values, `NormalPerValue` by default.

    Raises:
        UserError: z_dim or a width is not positive, `shape` is not [C, T], or its steps cannot be halved so often.
    """

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        layers: Sequence[int] = (),
        channels: Sequence[int] | None = None,
        distribution: base.PictureDistribution | None = None,
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim)
        channels = default_channels(shape)[::-1] if channels is None else channels
        _steps(shape, channels)
        self.z_dim, self.steps = z_dim, shape[1]
        self.distribution = distribution or base.NormalPerValue()
        self.smallest = (channels[0], math.ceil(shape[1] / 2 ** len(channels)))
        self.hidden = mlp(z_dim, [*layers, math.prod(self.smallest)])
        blocks: list[nn.Module] = []
        for n_in, n_out in zip(channels, [*channels[1:], self.distribution.n_parameters * shape[0]], strict=True):
            blocks += [nn.ConvTranspose1d(n_in, n_out, kernel_size=4, stride=2, padding=1), nn.ReLU()]
        self.convolutions = nn.Sequential(*blocks[:-1])

    def forward(self, z: Tensor) -> Distribution:
        numbers = self.convolutions(self.hidden(z).unflatten(-1, self.smallest))[..., : self.steps]
        found: Distribution = self.distribution(numbers.unflatten(1, (self.distribution.n_parameters, -1)))
        return found
