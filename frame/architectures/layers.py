"""Blocks that the architectures share."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise, zip_longest

import torch
from torch import Tensor, nn

from frame.common.errors import UserError, choices
from frame.common.ranks import all_rows, mean_over_ranks, several


def check_widths(name: str, widths: Sequence[int], least: int = 0) -> None:
    """Raises UserError if a width is not a positive whole number, or there are fewer than `least`."""
    if len(widths) < least:
        raise UserError(f"{name}={list(widths)}: give {least} or more widths")
    if any(not isinstance(width, int) or width < 1 for width in widths):
        raise UserError(f"{name}={list(widths)}: every width must be a whole number of at least 1")


def picture(shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width of the pictures that a convolutional network takes.

    Raises:
        UserError: `shape` has another number of dimensions.
    """
    if len(shape) != 3:
        raise UserError(
            f"shape={list(shape)}: convolutional networks and ViTs take pictures [channels, height, width]: choose an "
            "MLP for rows of another shape"
        )
    channels, height, width = shape
    return channels, height, width


class Linear(nn.Linear):
    """torch's layer, in 0.75 to 0.95 of its time where it is wide, on a CPU with several threads.

    It computes x W^T [rows, out_features] as (W x^T)^T, in the same bits. Probably threads then share the weights, and
    not the fewer rows of the batch. The memory of the output is by columns: a layer or an activation that follows is as
    quick with it, but `view` fails and other operations are slower. So it is for outputs that only a layer reads.
    Compiled and exported graphs have torch's layer, because they hold for any number of rows.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None or not self._is_wide(x):
            return super().forward(x)
        return torch.addmm(self.bias.unsqueeze(1), self.weight, x.t()).t()

    def _is_wide(self, x: Tensor) -> bool:
        if torch.compiler.is_compiling():
            return False
        several = x.device.type == "cpu" and torch.get_num_threads() > 1
        return several and x.dim() == 2 and self.out_features >= 2 * len(x) and self.weight.numel() >= 2**15


def mlp(
    n_in: int, layers: Sequence[int], activation: nn.Module | None = None, *, read_by_linear: bool = False
) -> nn.Sequential:
    """Linear and activation (ReLU by default) for each width in `layers`: [..., n_in] -> [..., layers[-1]].

    `torch.nn.GLU` makes gated layers, (A x + a) * sigmoid(B x + b): linear layers get twice the width, which it halves.
    `read_by_linear` says that only a linear layer reads the output, which may then lie in memory by columns.

    Raises:
        UserError: a width is not positive.
    """
    check_widths("layers", layers)
    widths = [n_in, *layers]
    blocks: list[nn.Module] = []
    halved = 2 if isinstance(activation, nn.GLU) else 1
    for i, (width_in, width_out) in enumerate(pairwise(widths), 1):
        kind = Linear if i < len(layers) or read_by_linear else nn.Linear
        blocks += [kind(width_in, halved * width_out), activation or nn.ReLU()]
    return nn.Sequential(*blocks)


def halving(channels_in: int, channels: Sequence[int], activation: nn.Module | None = None) -> nn.Sequential:
    """n 4 x 4 convolutions of stride 2, each with an activation (ReLU by default).

    [B, channels_in, H, W] -> [B, channels[-1], H/2^n, W/2^n].
    """
    check_widths("channels", channels)
    blocks: list[nn.Module] = []
    for n_in, n_out in zip([channels_in, *channels[:-1]], channels, strict=True):
        blocks += [nn.Conv2d(n_in, n_out, kernel_size=4, stride=2, padding=1), activation or nn.ReLU()]
    return nn.Sequential(*blocks)


def doubling(channels: Sequence[int], channels_out: int) -> nn.Sequential:
    """The mirror image of `halving`: [B, channels[0], H, W] -> [B, channels_out, H*2^n, W*2^n], no ReLU at the end."""
    check_widths("channels", channels)
    blocks: list[nn.Module] = []
    for n_in, n_out in zip(channels, [*channels[1:], channels_out], strict=True):
        blocks += [nn.ConvTranspose2d(n_in, n_out, kernel_size=4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*blocks[:-1])


class BatchNorm(nn.Module):
    """Each of n channels [B, n, *where] with mean 0 and variance 1 over the batch, then scaled and shifted.

    Ioffe & Szegedy 2015 (1502.03167), algorithm 1. Without running statistics the result of a row depends on the other
    rows in evaluation, too, and there are no buffers. Statistics are computed in float32. Running statistics are means
    over all processes.

    Args:
        n: channels.
        affine: whether channels are scaled and shifted by parameters.
        momentum: weight of each batch in the running mean and variance, which evaluation uses; None: there are no
            running statistics.
        eps: added to the variance.
        shared: whether the mean and variance are those of all ranks' rows, as if one process had them.
    """

    def __init__(
        self, n: int, affine: bool = True, momentum: float | None = None, eps: float = 1e-5, shared: bool = False
    ) -> None:
        super().__init__()
        self.shared = shared
        self.weight = nn.Parameter(torch.ones(n)) if affine else None
        self.bias = nn.Parameter(torch.zeros(n)) if affine else None
        self.running = None if momentum is None else nn.Buffer(torch.empty(2, n))
        self.momentum, self.eps = momentum, eps
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None and self.bias is not None:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)
        if self.running is not None:
            self.running[0], self.running[1] = 0.0, 1.0

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()  # half precision would round the mean
        if self.running is not None and not self.training:
            return self._normalised(x, *self.running)
        if self.shared and several():
            mean, variance = self.statistics(x)
            self._remember(mean, variance)
            return self._normalised(x, mean, variance)
        # torch's kernel, in a quarter of the time; it also gives the mean and 1 / sqrt(variance + eps)
        found, mean, inverse = torch.native_batch_norm(x, self.weight, self.bias, None, None, True, 0.0, self.eps)
        if self.running is not None:
            self._remember(mean, (inverse.square().reciprocal() - self.eps).clamp(min=0))
        return found

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Updates the running statistics, if there are any."""
        if self.running is not None and self.momentum is not None:
            now = mean_over_ranks(torch.stack([mean, variance]).detach())
            self.running.mul_(1 - self.momentum).add_(now, alpha=self.momentum)

    def _normalised(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        channels = [-1] + [1] * (x.dim() - 2)
        x = (x - mean.view(channels)) * (variance + self.eps).rsqrt().view(channels)
        if self.weight is None or self.bias is None:
            return x
        return x * self.weight.view(channels) + self.bias.view(channels)

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the variance of each channel over the batch, both [n]."""
        dims = [0, *range(2, x.dim())]
        if not (self.shared and several()):
            return x.mean(dims), x.var(dims, correction=0)
        # Var = E[x^2] - E[x]^2 would cancel, so the ranks' variances and means are put together
        means, variances = all_rows(torch.stack([x.mean(dims), x.var(dims, correction=0)]).unsqueeze(0)).unbind(1)
        mean = means.mean(0)
        return mean, variances.mean(0) + (means - mean).square().mean(0)


def batch_normalised(
    layers: nn.Sequential, skip: int = 0, momentum: float | None = None, shared: bool = False
) -> nn.Sequential:
    """The layers with a `BatchNorm` before each activation, which replaces the bias of its layer.

    The first `skip` layers do not change, nor does a last one without activation. See `BatchNorm` for the others.
    """
    blocks: list[nn.Module] = []
    for layer, following in zip_longest(layers, [*layers][1:]):
        blocks.append(layer)
        n = getattr(layer, "out_features", None) or getattr(layer, "out_channels", None)
        if n is None or following is None:
            continue
        if skip > 0:
            skip -= 1
            continue
        layer.register_parameter("bias", None)
        blocks.append(BatchNorm(n, momentum=momentum, shared=shared))
    return nn.Sequential(*blocks)


def one_hot(y: Tensor, n_classes: int) -> Tensor:
    """Classes [B] -> [B, n_classes] of 0 and 1. Unlike torch's, it reads no value, so a CUDA graph can have it."""
    return (y.unsqueeze(-1) == torch.arange(n_classes, device=y.device)).float()


def he(network: nn.Module) -> None:
    """Draws first weights of std sqrt(2 / n) for n inputs, which keep the size of a signal through ReLUs.

    He et al. 2015, "Delving deep into rectifiers" (1502.01852), eq. 10; biases start at 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            n_in = float(module.in_features)
        elif isinstance(module, nn.ConvTranspose2d):  # an output pixel reads 1 / stride of the kernel along each axis
            n_in = module.in_channels * math.prod(module.kernel_size) / math.prod(module.stride)
        else:
            continue
        nn.init.normal_(module.weight, std=math.sqrt(2 / n_in))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def glorot(network: nn.Module) -> None:
    """Draws first weights from U[-a, a], a = sqrt(6 / (n_in + n_out)), which keep the size of a signal through tanh.

    Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. 16; biases
    start at 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


FIRST_WEIGHTS: dict[str, Callable[[nn.Module], None]] = {"torch": lambda network: None, "he": he, "glorot": glorot}


def start(network: nn.Module, init: str) -> None:
    """Draws first weights by 'he' or 'glorot'; 'torch' keeps torch's own, which are smaller.

    Raises:
        UserError: an unknown `init`.
    """
    if init not in FIRST_WEIGHTS:
        raise UserError(choices(str(init), FIRST_WEIGHTS, kind="init"))
    FIRST_WEIGHTS[init](network)
